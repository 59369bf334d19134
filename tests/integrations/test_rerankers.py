from __future__ import annotations

from typing import Any

import pytest
from integrations.conftest import TEXTS

from colmodern import Encoder, Reranker
from colmodern.errors import InputError

pytestmark = [pytest.mark.tools, pytest.mark.filterwarnings("ignore")]
rerankers: Any = pytest.importorskip("rerankers", reason="needs the extra rerankers")

QUERY = "how to parse a date"


def test_it_is_called_as_the_rerankers_of_the_package(tiny: Encoder) -> None:
    from colmodern.integrations.rerankers import ColmodernRanker

    ranker = ColmodernRanker(tiny)
    wanted = Reranker(tiny).rank(QUERY, TEXTS)
    results = ranker.rank(QUERY, list(TEXTS.values()), doc_ids=list(TEXTS))
    assert [result.doc_id for result in results] == [document.doc_id for document in wanted]
    assert [result.score for result in results] == pytest.approx([x.score for x in wanted])
    assert [result.rank for result in results] == list(range(1, len(TEXTS) + 1))
    assert [result.doc_id for result in results.top_k(2)] == [x.doc_id for x in wanted[:2]]
    assert results.get_score_by_docid("d2") == pytest.approx(ranker.score(QUERY, TEXTS["d2"]))


def test_it_takes_documents_of_the_package_and_carries_metadata_along(tiny: Encoder) -> None:
    from rerankers.documents import Document

    from colmodern.integrations.rerankers import ColmodernRanker

    ranker = ColmodernRanker(tiny)
    documents = [
        Document(text, doc_id=i, metadata={"n": i}) for i, text in enumerate(TEXTS.values())
    ]
    best = ranker.rank(QUERY, documents)[0]
    assert best.document.metadata == {"n": best.doc_id}
    assert best.text == documents[best.doc_id].text
    assert ranker.rank(QUERY, []).results == []
    assert ranker.rank(QUERY, "one text")[0].doc_id == 0
    with pytest.raises(
        InputError, match="doc_ids has 2 entries for 1 documents; pass one for each"
    ):
        ranker.rank(QUERY, ["one text"], doc_ids=["a", "b"])
