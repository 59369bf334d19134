from __future__ import annotations

import pytest

from colmodern.datasets.memory import MemoryCorpus
from colmodern.errors import InputError
from colmodern.types import Document


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (Document("a", "x"), "document 1: id 'a' is already that of document 0"),
        (Document("b c", "x"), "document 1: id 'b c' has white space"),
        (Document("b\0", "x"), "document 1: .* NUL"),
        (Document("b", "x\ud800"), "document 1: text has half a surrogate pair"),
        (Document("b", "x", "\udfff"), "document 1: title has half"),
        (Document("b", None), "document 1: text None is not text"),  # type: ignore[arg-type]
    ],
)
def test_documents_that_cannot_be_stored_are_named_by_position(
    document: Document, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        MemoryCorpus([Document("a", "text"), document])
