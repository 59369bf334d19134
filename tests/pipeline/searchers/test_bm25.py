"""Evaluations with BM25."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline.evaluate.test_run import run

from colmodern import BM25Index
from colmodern.config.load import load_eval_config
from colmodern.config.sweep import load_sweeps
from colmodern.errors import ConfigError, InputError
from colmodern.evaluation.trec import read_run
from colmodern.pipeline.describe.describe import describe
from colmodern.pipeline.evaluate.run import run_eval
from colmodern.pipeline.open.artifacts import stores_of
from colmodern.pipeline.open.encoder import LoadedEncoders
from colmodern.pipeline.open.job import load
from colmodern.pipeline.plan.plan import make_plan
from colmodern.pipeline.sweep.sweep import run_sweep
from colmodern.progress import Silent

BM25 = "index: {kind: bm25, stemmer: null}\n"  # without the package that stems
SMALL = "measures: [nDCG@3, R@3]\nsearch: {k: 3}\n"


def test_a_run_has_the_results_of_the_index(
    eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    path = eval_config(extra=BM25 + SMALL)
    result, _ = run(path)
    job = load(load_eval_config(path), LoadedEncoders(), progress=Silent())
    texts = [(d.doc_id, f"{d.title} {d.text}".strip()) for d in job.dataset.corpus]
    index = BM25Index.build(texts, tmp_path / "index", stemmer=None)
    stored = read_run(result.folder / "run.trec")
    for query_id, text in job.dataset.queries.items():
        expected = [doc_id for doc_id, _ in index.search(text, 3)]
        assert [doc_id for doc_id, _ in stored.get(query_id, [])] == expected
    assert result.evaluation.mean["nDCG@3"] > 0.5
    assert result.fidelity is None
    assert result.facts["bm25"]["settings"]["stemmer"] is None


def test_no_document_is_encoded(eval_config: Callable[..., Path]) -> None:
    result, _ = run(eval_config(extra=BM25 + SMALL))
    assert "encode documents" not in result.timings
    assert (result.facts["documents"], result.facts["tokens"]) == (6, 0)
    assert not list(result.folder.parent.glob(".cache/documents-*/shard-*"))
    compared, _ = run(eval_config(extra=SMALL), "name=exact")
    assert "encode documents" in compared.timings


def test_a_config_needs_no_model(beir: Path, tmp_path: Path) -> None:
    config = {
        "name": "words",
        "dataset": {"name": str(beir)},
        "index": {"kind": "bm25"},
        "output": str(tmp_path / "runs"),
    }
    result = run_eval(config)
    assert (
        result.evaluation == run_eval({**config, "encoder": {"model": "colmodern/tiny"}}).evaluation
    )
    with pytest.raises(ConfigError, match="encoder: missing; give it a value"):
        run_eval({**config, "index": {"kind": "hybrid"}})


def test_no_model_is_loaded_or_named(eval_config: Callable[..., Path], tmp_path: Path) -> None:
    result, _ = run(eval_config(extra=BM25 + SMALL), f"encoder.model={tmp_path / 'nowhere'}")
    assert not {"truncated_queries", "cut_query_tokens_share"} & result.facts.keys()
    assert "encode queries" not in result.timings
    facts = describe(str(result.folder))
    assert facts["model"] is None
    assert stores_of(result.folder)["queries"].n_tokens == 0
    for name in ("report.html", "config.yaml", "environment.json"):
        text = (result.folder / name).read_text()
        assert "nowhere" not in text
        assert "colmodern/tiny" not in text
    again = run_eval(result.folder / "config.yaml", ["name=again"])
    assert again.evaluation == result.evaluation


def test_an_index_is_built_once_and_again_for_other_settings(
    eval_config: Callable[..., Path],
) -> None:
    path = eval_config(extra=BM25 + SMALL)
    first, _ = run(path)
    assert not first.timings["build BM25 index"].reused
    again, said = run(path, "search.k=2", "measures=[R@2]")
    assert again.timings["build BM25 index"].reused
    assert any(note.startswith("build BM25 index: reused") for note in said)
    for setting in ("index.b=0.7", "dataset.join_titles=false"):
        assert not run(path, setting)[0].timings["build BM25 index"].reused


def test_a_stop_list_that_does_not_exist_is_refused_before_all_work(
    eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="stop_words='klingon': bm25s has no such list"):
        run(eval_config(extra=BM25 + SMALL), "index.stop_words=klingon")
    assert not (tmp_path / "runs").exists()


def test_a_plan_has_its_stages(eval_config: Callable[..., Path]) -> None:
    path = eval_config(extra=BM25 + SMALL)
    job = load(load_eval_config(path), LoadedEncoders(), progress=Silent())
    plan = make_plan(job, timed=True, progress=Silent())
    assert list(plan.memory) == list(plan.seconds) == ["build BM25 index", "search"]
    run_eval(load_eval_config(path, ["max_memory=100G"]))


def test_its_parameters_can_be_swept(eval_config: Callable[..., Path]) -> None:
    path = eval_config(extra=BM25 + SMALL + "sweep: {k1: [0.5, 2], b: [0, 1]}\n")
    [config] = load_sweeps([path])
    sweep, _ = run_sweep(config)
    swept = [(point.settings["k1"], point.settings["b"]) for point in sweep.points]
    assert swept == [(0.5, 0), (0.5, 1), (2, 0), (2, 1)]
