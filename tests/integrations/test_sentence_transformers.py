"""Embeddings of a MultiVectorEncoder of sentence-transformers in an index of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import checkpoints
import pytest
from integrations.conftest import TEXTS

from colmodern import Encoder, PlaidIndex, TokenEmbeddings

pytestmark = [pytest.mark.tools, pytest.mark.filterwarnings("ignore")]
library: Any = pytest.importorskip("sentence_transformers", minversion="6.0")

QUERY = "how to parse a date"


def test_two_lines_index_its_embeddings_and_search_them(tmp_path: Path) -> None:
    folder = checkpoints.sentence_transformers(tmp_path / "model", "bert", expansion=None)
    model = library.MultiVectorEncoder(str(folder), device="cpu")
    documents = TokenEmbeddings.from_list(model.encode_document(list(TEXTS.values())))
    index = PlaidIndex.build(documents, tmp_path / "index", doc_ids=list(TEXTS))
    results = index.search(model.encode_query([QUERY])[0], k=3, rescore=documents)
    scores = {
        doc_id: float(model.similarity(model.encode_query([QUERY]), model.encode_document([text])))
        for doc_id, text in TEXTS.items()
    }
    best = sorted(scores, key=lambda doc_id: -scores[doc_id])[:3]
    assert [result.doc_id for result in results] == best
    assert [result.score for result in results] == pytest.approx(
        [scores[x] for x in best], abs=1e-3
    )
    encoder = Encoder.from_pretrained(folder, device="cpu")  # the same model, read by colmodern
    mine = index.search(encoder.encode_queries([QUERY])[0], k=3, rescore=documents)
    assert [result.doc_id for result in mine] == best
