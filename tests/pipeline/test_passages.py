"""Losses of documents that are ranked by their passages."""

from __future__ import annotations

from colmodern import PassageHit
from colmodern.evaluation.fidelity import LostDoc
from colmodern.pipeline.losses import Loss
from colmodern.pipeline.passages import losses_of_documents, lost_passages


def test_a_lost_document_is_explained_by_the_passage_that_exact_search_ranked_it_by() -> None:
    exact = {"q": [PassageHit("a", 3.0, passage=2), PassageHit("b#1", 2.0, passage=0)]}
    lost = [LostDoc("q", "b#1", 1, 2, None, (10,)), LostDoc("q", "a", 2, 1, 7, (10,))]
    passages = lost_passages(lost, exact)
    assert [document.doc_id for document in passages] == ["b#1#0", "a#2"]
    losses = [Loss(document, "pruned", "too low") for document in passages]
    documents = losses_of_documents(losses)
    assert [loss.document for loss in documents] == lost
    assert [loss.reason for loss in documents] == ["passage 0: too low", "passage 2: too low"]
