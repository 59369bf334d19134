"""Which stage of a real index loses a document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import unit_rows

from colmodern import ExactIndex, PlaidIndex
from colmodern.config.index import PlaidIndexConfig
from colmodern.evaluation.fidelity import Fidelity, compare
from colmodern.pipeline.losses import Loss, fidelity_as_json, losses_by_stage
from colmodern.pipeline.searchers.plaid import NOT_PROBED, PRUNED, QUANTISED, PlaidSearcher
from colmodern.progress import Silent
from colmodern.ragged.store import EmbeddingStore, ShardWriter

K = 10
STAGES = PlaidSearcher.loss_stages
N_DOCS = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries, documents and a coarse index of them."""
    folder = tmp_path_factory.mktemp("lossy")
    for name, lengths, seed in (("queries", [8] * 12, 1), ("documents", [20] * N_DOCS, 2)):
        writer = ShardWriter(folder / name, fingerprint=name, dtype="float32")
        ids = [f"{name[0]}{i}" for i in range(len(lengths))]
        writer.add(unit_rows(lengths, 32, seed), ids, facts={"seconds": 0.0})
        writer.finish()
    documents = EmbeddingStore(folder / "documents")
    PlaidIndex.build(documents, folder / "index", nbits=1, n_centroids=256)
    return folder


def losses(folder: Path, **budget: int) -> tuple[Fidelity, list[Loss]]:
    queries, documents = (EmbeddingStore(folder / name) for name in ("queries", "documents"))
    embeddings, index = queries.to_memory(), PlaidIndex.load(folder / "index")
    truth = ExactIndex(documents, documents.doc_ids).search_batch(embeddings, K)
    exact = dict(zip(queries.doc_ids, truth, strict=True))
    found = index.search_batch(embeddings, K, **budget)
    run = dict(zip(queries.doc_ids, found, strict=True))
    qrels = {query: {doc_id: 1 for doc_id, _ in best} for query, best in exact.items()}
    fidelity = compare(run, exact, qrels, measures=["R@10"], k=K)
    searcher = PlaidSearcher(PlaidIndexConfig(**budget), "cpu")
    return fidelity, searcher.explain_losses(fidelity.lost, queries, folder / "index", K, Silent())


def test_every_lost_document_has_its_stage(folder: Path) -> None:
    fidelity, found = losses(folder, nprobe=1, n_candidates=K)
    assert [loss.document for loss in found] == list(fidelity.lost)
    missing = sum(round((1 - row["overlap@10"]) * K) for row in fidelity.per_query.values())
    assert len(found) == missing > 20
    counts = losses_by_stage(found, STAGES)[K]
    assert sum(counts.values()) == missing
    assert counts[NOT_PROBED] > 0
    assert counts[PRUNED] > 0
    for loss in found:
        assert ("no centroid of its tokens was probed" in loss.reason) == (loss.stage == NOT_PROBED)


def test_probing_everything_leaves_what_pruning_and_quantisation_lose(folder: Path) -> None:
    _, found = losses(folder, nprobe=256, n_candidates=K)
    stages = {loss.stage for loss in found}
    assert NOT_PROBED not in stages
    assert PRUNED in stages


def test_with_all_documents_as_candidates_only_quantisation_loses(folder: Path) -> None:
    _, found = losses(folder, nprobe=1, n_candidates=N_DOCS)
    assert {loss.stage for loss in found} == {QUANTISED}


def test_as_json_counts_and_names_them(folder: Path) -> None:
    fidelity, found = losses(folder, nprobe=1, n_candidates=K)
    told = json.loads(json.dumps(fidelity_as_json(fidelity, found, STAGES)))
    assert told["lost"]["relevant_documents"] == len(found) == len(told["lost"]["documents"])
    assert sum(told["lost"]["by_stage"]["@10"].values()) == len(found)
    assert set(told["lost"]["by_stage"]["@10"]) == set(STAGES)
    first = told["lost"]["documents"][0]
    assert first["query_id"] == found[0].document.query_id
    assert first["stage"] in STAGES


def test_nothing_lost_is_no_work(folder: Path) -> None:
    queries = EmbeddingStore(folder / "queries")
    nowhere = folder / "there is no index here"
    searcher = PlaidSearcher(PlaidIndexConfig(), "cpu")
    assert searcher.explain_losses([], queries, nowhere, K, Silent()) == []
    assert losses_by_stage([], STAGES) == {}
