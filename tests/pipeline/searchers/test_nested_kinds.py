"""Searches made of searches that are made of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline.evaluate.test_run import run
from pipeline.searchers.test_rerank import BM25, SMALL, results

from colmodern import EmbeddingStore
from colmodern.config.load import load_eval_config
from colmodern.errors import ConfigError, StorageError
from colmodern.fusion import fuse
from colmodern.pipeline.cache import prune
from colmodern.pipeline.open.encoder import LoadedEncoders
from colmodern.pipeline.open.job import load
from colmodern.pipeline.open.staged import open_staged
from colmodern.pipeline.plan.plan import make_plan
from colmodern.progress import Silent

Config = Callable[..., Path]
RERANK = f"{{kind: rerank, candidates: {BM25}, depth: 5}}"
HYBRID = f"{{kind: hybrid, of: [{BM25}, exact], depth: 5}}"
SHARDED = "{kind: sharded, shards: 2}"
NESTED = {
    "hybrid of rerank": f"{{kind: hybrid, of: [{BM25}, {RERANK}], depth: 4}}",
    "hybrid of two reranks": f"{{kind: hybrid, of: [{RERANK}, {RERANK}], depth: 4}}",
    "hybrid of hybrid": f"{{kind: hybrid, of: [{HYBRID}, exact], depth: 4}}",
    "rerank of hybrid": f"{{kind: rerank, candidates: {HYBRID}}}",
    "rerank of shards": f"{{kind: rerank, candidates: {SHARDED}, depth: 4}}",
    "compressed rerank": f"{{kind: rerank, candidates: {BM25}, scorer: plaid, nbits: 1, depth: 5}}",
    "rerank of compressed rerank": (
        f"{{kind: rerank, candidates: {{kind: rerank, candidates: {BM25}, scorer: plaid, depth: 5}}, "
        "depth: 4}"
    ),
}


def test_a_hybrid_fuses_reranked_results(eval_config: Config) -> None:
    path = eval_config(extra=SMALL)
    parts = []
    for name, index in (("a", BM25), ("b", RERANK)):
        part, _ = run(path, f"index={index}", f"name={name}", "search.k=4", "measures=[R@3]")
        parts.append(results(part.folder))
    hybrid, _ = run(path, f"index={NESTED['hybrid of rerank']}")
    expected = fuse(parts, 3)
    for query_id, ranking in results(hybrid.folder).items():
        assert [d for d, _ in ranking] == [d for d, _ in expected[query_id]]
    assert [stage.name for stage in hybrid.stages] == ["bm25", "rerank", "hybrid"]


@pytest.mark.parametrize("first", ["hybrid", "shards"])
def test_reranked_results_are_candidates_by_exact_maxsim(eval_config: Config, first: str) -> None:
    path = eval_config(extra=SMALL)
    index = HYBRID if first == "hybrid" else SHARDED
    found, _ = run(path, f"index={index}", "name=first", "search.k=4", "measures=[R@3]")
    exact, _ = run(path, "name=exact", "search.k=6")
    depth = "index.depth=4"
    reranked, _ = run(path, f"index={NESTED[f'rerank of {first}']}", depth, "name=reranked")
    candidates = {q: {d for d, _ in x[:4]} for q, x in results(found.folder).items()}
    for query_id, ranking in results(exact.folder).items():
        best = [d for d, _ in ranking if d in candidates[query_id]][:3]
        assert [d for d, _ in results(reranked.folder)[query_id]] == best


@pytest.mark.parametrize("kind", NESTED)
def test_a_run_is_searched_with_the_stages_that_it_was_evaluated_with(
    eval_config: Config, kind: str, tmp_path: Path
) -> None:
    result, _ = run(eval_config(extra=SMALL), f"index={NESTED[kind]}")
    environment = json.loads((result.folder / "environment.json").read_text())
    folders = {name: result.folder / path for name, path in environment["embeddings"].items()}
    documents, queries = (EmbeddingStore(folders[name]) for name in ("documents", "queries"))
    index = open_staged(
        result.folder, documents, device="cpu", encoder_device="cpu", name="--device"
    )
    assert index is not None
    texts = [result_texts(result.folder)[query_id] for query_id in queries.doc_ids]
    found = index.search_batch(texts, queries.to_memory(), 3)
    run_results = results(result.folder)
    for query_id, ranking in zip(queries.doc_ids, found, strict=True):
        expected = run_results.get(query_id, [])
        assert [d for d, _ in ranking] == [d for d, _ in expected]
        assert [s for _, s in ranking] == pytest.approx([s for _, s in expected], abs=1e-4)
    index.info()
    prune(tmp_path / "runs")
    assert open_staged(
        result.folder, documents, device="cpu", encoder_device="cpu", name="--device"
    )


def result_texts(folder: Path) -> dict[str, str]:
    lines = (folder / "per_query.jsonl").read_text().splitlines()
    return {record["query_id"]: record["query"] for record in map(json.loads, lines)}


def test_stages_of_a_stage_carry_its_name(eval_config: Config) -> None:
    path = eval_config(extra=SMALL)
    twice, _ = run(path, f"index={NESTED['hybrid of two reranks']}")
    names = ["search rerank 1", "search rerank 2"]
    inner = [
        f"{name}: {stage}" for name in names for stage in ("build BM25 index", "find candidates")
    ]
    assert {*names, *inner} <= twice.timings.keys()
    over, _ = run(path, f"index={NESTED['rerank of hybrid']}", "name=over")
    stages = ("build BM25 index", "search bm25", "search exact")
    expected = [*(f"find candidates: {stage}" for stage in stages), "find candidates", "search"]
    assert set(expected) <= over.timings.keys()
    config = load_eval_config(path, [f"index={NESTED['rerank of hybrid']}"])
    plan = make_plan(
        load(config, LoadedEncoders(), progress=Silent()), timed=False, progress=Silent()
    )
    assert set(expected) <= plan.memory.keys()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{kind: rerank, candidates: rerank}", "would be scored so again; give the candidates"),
        ("{kind: rerank, candidates: sharded}", "index.candidates.shards: missing"),
        (
            f"{{kind: rerank, candidates: {HYBRID}, depth: 6}}",
            "candidates.depth=5 is below depth=6",
        ),
        (
            "{kind: rerank, candidates: {kind: hybrid, tune_split: dev}}",
            "candidates.tune_split=dev: only the outermost search tunes weights",
        ),
    ],
)
def test_what_cannot_be_nested_says_why(eval_config: Config, index: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_eval_config(eval_config(extra=f"index: {index}\n" + SMALL))


@pytest.mark.parametrize(
    ("kind", "lacking"),
    [
        ("hybrid of rerank", "a search lacks its"),
        ("compressed rerank", "the scorer lacks its index"),
    ],
)
def test_a_record_of_other_searches_is_damage(eval_config: Config, kind: str, lacking: str) -> None:
    result, _ = run(eval_config(extra=SMALL), f"index={NESTED[kind]}")
    path = result.folder / "environment.json"
    environment = json.loads(path.read_text())
    store = EmbeddingStore(result.folder / environment["embeddings"]["documents"])
    whole = environment["first_stages"]
    short = [None, whole[1]] if kind == "hybrid of rerank" else [whole[0], None]
    for paths, fault in (([whole[0]], "not 2 folders"), (short, lacking)):
        path.write_text(json.dumps({**environment, "first_stages": paths}))
        with pytest.raises(StorageError, match=f"first_stages: {fault}"):
            open_staged(result.folder, store, device="cpu", encoder_device="cpu", name="--device")
