from __future__ import annotations

from pathlib import Path

import numpy as np
import oracles
import pytest
from conftest import SCORE_TOLERANCE
from index.plaid.corpora import corpus, decoded, lengths_like_passages, names

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.errors import InputError
from colmodern.index.plaid.search import steps
from colmodern.types import Stage

TOLERANCE = SCORE_TOLERANCE["float32"]
DOCUMENTS = corpus(lengths_like_passages(300))
QUERY = corpus([12], seed=1)[0]


@pytest.fixture(scope="module")
def plaid(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    index = PlaidIndex.build(DOCUMENTS, tmp_path_factory.mktemp("i") / "i", names(300))
    index.delete(["d5"])
    return index


@pytest.mark.parametrize(
    "budget", [{}, {"nprobe": 1, "n_candidates": 12}, {"nprobe": 300, "n_candidates": 300}]
)
def test_what_is_explained_is_what_is_found(plaid: PlaidIndex, budget: dict[str, int]) -> None:
    k = 10
    found = plaid.search(QUERY, k, **budget)
    rank = {doc.doc_id: place + 1 for place, doc in enumerate(found)}
    scores = {doc.doc_id: doc.score for doc in found}
    for doc_id in names(300):
        if doc_id == "d5":
            continue
        told = plaid.explain(QUERY, doc_id, k, **budget)
        assert told.is_result == (doc_id in rank), doc_id
        stages = [stage.rank is not None for stage in told.stages]
        assert stages == sorted(stages, reverse=True)  # once lost, it does not come back
        if told.is_result:
            assert (told.lost_at, told.lost_by) == (None, None)
            assert told.stages[-1].rank == rank[doc_id]
            assert told.stages[-1].score == pytest.approx(scores[doc_id], abs=TOLERANCE)
            assert told.reason == f"result {rank[doc_id]} of {k}"
            assert told.score == pytest.approx(scores[doc_id], abs=TOLERANCE)
        elif told.lost_at is not None:
            lost = [stage.stage for stage in told.stages if stage.rank is None]
            assert told.lost_at == lost[0]
            stages = [Stage.PROBE, *(stage.stage for stage in told.stages)]
            assert told.lost_by == stages[stages.index(told.lost_at) - 1]
            assert f"lost before '{told.lost_at}'" in told.reason
            assert "raise" in told.reason
        else:
            assert told.stages[-1].rank > k
            assert told.lost_by == Stage.SCORE


def test_every_stage_can_lose_a_document(plaid: PlaidIndex) -> None:
    lost = {
        plaid.explain(QUERY, doc_id, 1, nprobe=1, n_candidates=30).lost_at
        for doc_id in names(300)
        if doc_id != "d5"
    }
    assert {"gathered", "scored"} <= lost


def test_a_document_that_is_cut_by_parts_of_its_vector_was_gathered(
    plaid: PlaidIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc_ids = [doc_id for doc_id in names(300) if doc_id != "d5"]

    def lost(by_parts: int) -> list[tuple[Stage | None, int]]:
        monkeypatch.setattr(steps, "BY_PARTS", by_parts)
        explained = [plaid.explain(QUERY, d, 1, nprobe=8, n_candidates=4) for d in doc_ids]
        return [(e.lost_by, e.stages[0].n_seen) for e in explained]

    # without a cut, as many documents are gathered, and no other ones are lost by the probe
    plain, cut = lost(10_000), lost(1)
    n_gathered = cut[0][1]
    assert len(cut) > n_gathered > 100
    assert {n for _, n in plain + cut} == {n_gathered}
    assert [by == Stage.PROBE for by, _ in cut] == [by == Stage.PROBE for by, _ in plain]


def test_the_alignment_is_each_query_tokens_best_document_token(plaid: PlaidIndex) -> None:
    told = plaid.explain(QUERY, "d2")
    tokens = decoded(plaid)["d2"]
    assert [match.query_token for match in told.alignment] == list(range(12))
    for match in told.alignment:
        similarities = tokens @ np.float32(QUERY[match.query_token])
        assert match.doc_token == similarities.argmax()
        assert match.similarity == pytest.approx(similarities.max(), abs=TOLERANCE)
    assert told.score == pytest.approx(oracles.maxsim(QUERY.tolist(), tokens.tolist()), abs=1e-4)


def test_a_document_or_a_query_without_tokens_is_explained(plaid: PlaidIndex) -> None:
    told = plaid.explain(QUERY, "d7")  # has no tokens
    assert (told.score, told.alignment) == (0.0, ())
    assert plaid.explain(np.empty((0, 16)), "d2").score == 0.0


def test_equal_documents_rank_by_id_as_in_results(tmp_path: Path) -> None:
    same = TokenEmbeddings(np.tile(DOCUMENTS[0], (9, 1)), np.arange(10) * len(DOCUMENTS[0]))
    index = PlaidIndex.build(same, tmp_path / "i", [f"d{9 - i}" for i in range(9)])
    told = [index.explain(QUERY, f"d{i}", 3) for i in range(1, 10)]
    assert [one.is_result for one in told] == [True] * 3 + [False] * 6
    assert [one.stages[-1].rank for one in told] == list(range(1, 10))


def test_an_unknown_or_deleted_document_is_refused(plaid: PlaidIndex) -> None:
    for doc_id in ("nobody", "d5"):
        with pytest.raises(InputError, match=f"doc_id='{doc_id}' is not in the index"):
            plaid.explain(QUERY, doc_id)
    with pytest.raises(InputError, match="query has dim=8"):
        plaid.explain(np.ones((1, 8)), "d2")
    with pytest.raises(InputError, match="k=0"):
        plaid.explain(QUERY, "d2", 0)
