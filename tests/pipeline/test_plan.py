"""What a plan says, beside what a run takes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import unit_rows, write_beir

from colmodern.config.load import build, load_eval_config, parse_overrides
from colmodern.config.models import EvalConfig
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ResourceError
from colmodern.index.plaid.index import PlaidIndex
from colmodern.pipeline.evaluate.run import run_eval
from colmodern.pipeline.open.encoder import LoadedEncoders
from colmodern.pipeline.open.job import EvalJob, load
from colmodern.pipeline.plan.memory import check_memory, memory_by_stage, resident_bytes
from colmodern.pipeline.plan.plan import make_plan
from colmodern.pipeline.plan.sizes import embedding_bytes, index_bytes
from colmodern.pipeline.plan.view import counts_table, stages_table, suite_table, verdict
from colmodern.pipeline.sample import Sample
from colmodern.progress import Silent
from colmodern.ragged.store import ShardWriter

WORDS = [
    "parse",
    "read",
    "sort",
    "open",
    "close",
    "list",
    "file",
    "name",
    "value",
    "number",
    "date",
]


@pytest.fixture
def many(tmp_path: Path, pylate_bert: Path) -> Callable[..., Path]:
    """Writes the config of 900 documents of 1 to 30 words."""
    rng = np.random.default_rng(0)
    corpus = [
        {"_id": f"doc-{i}", "text": " ".join(rng.choice(WORDS, rng.integers(1, 30)))}
        for i in range(900)
    ]
    folder = write_beir(tmp_path / "many", corpus=corpus, qrels=["q1\tdoc-1\t1", "q2\tdoc-2\t1"])

    def write(extra: str = "", encoder: str = "") -> Path:
        path = tmp_path / "many.yaml"
        path.write_text(
            f"dataset: {{name: {folder}}}\noutput: {tmp_path / 'runs'}\n"
            f"encoder: {{model: {pylate_bert}{encoder}}}\n{extra}"
        )
        return path

    return write


class SimpleWidth:
    """An encoder whose rows are as wide as those of a real model."""

    dim = 384
    device = "cpu"

    def __init__(self, encoder: Encoder) -> None:
        self.settings = encoder.settings
        self.batch_bytes = encoder.batch_bytes


def prepared(path: Path, *overrides: str) -> EvalJob:
    return load(load_eval_config(path, overrides), LoadedEncoders(), progress=Silent())


@pytest.mark.parametrize(
    "encoder", ["", ", pool_factor: 3", ", overflow: split, document_length: 12, overlap: 2"]
)
def test_all_documents_counted_is_what_is_encoded(many, encoder: str) -> None:
    path = many(encoder=encoder)
    plan = make_plan(prepared(path), timed=False, progress=Silent())
    result = run_eval(load_eval_config(path))
    assert plan.n_sampled == plan.n_docs == result.facts["documents"]
    assert plan.tokens == (result.facts["tokens"],) * 3
    assert plan.disk["embeddings"].value == pytest.approx(result.facts["bytes"], rel=0.1)


def test_a_sample_holds_the_truth_in_its_interval_and_is_the_same_for_a_seed(many) -> None:
    ready = prepared(many())
    truth = make_plan(ready, timed=False, progress=Silent()).tokens.value
    plans = [
        make_plan(ready, size=100, seed=seed, timed=False, progress=Silent()) for seed in range(20)
    ]
    held = [plan.tokens.low <= truth <= plan.tokens.high for plan in plans]
    assert sum(held) >= 16  # of 20 intervals of 95 %
    assert all(plan.tokens.value == pytest.approx(truth, rel=0.25) for plan in plans)
    again = make_plan(ready, size=100, seed=3, timed=False, progress=Silent())
    assert again.tokens == plans[3].tokens != plans[4].tokens


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_bytes_of_an_index_are_those_of_a_real_one(tmp_path: Path, nbits: int) -> None:
    dim, n_docs = 64, 600
    rng = np.random.default_rng(1)
    documents = unit_rows(rng.integers(20, 60, n_docs).tolist(), dim, seed=2)
    ids = [f"document-{i:05d}" for i in range(n_docs)]
    real = PlaidIndex.build(documents, tmp_path / "index", ids, nbits=nbits).info()["bytes"]
    told = index_bytes(
        documents.n_tokens,
        n_docs,
        dim=dim,
        nbits=nbits,
        id_bytes=14,
        n_centroids=None,
        vocabulary=int(documents.token_ids.max()) + 1,
    )
    assert told == pytest.approx(real["total"] - real["manifest"], rel=0.06)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_bytes_of_embeddings_are_those_of_a_real_store(tmp_path: Path, dtype: str) -> None:
    documents = unit_rows([50] * 400, 32, seed=0)
    writer = ShardWriter(tmp_path / "store", fingerprint="x", dtype=dtype)
    writer.add(documents, [f"document-{i:05d}" for i in range(400)])
    item = 2 if dtype == "float16" else 4
    told = embedding_bytes(documents.n_tokens, 400, dim=32, item=item, id_bytes=14)
    assert told == pytest.approx(writer.finish().n_bytes, rel=0.02)


def test_stages_are_timed_only_when_asked(many) -> None:
    ready = prepared(many("index: {kind: plaid}\n"))
    untimed = make_plan(ready, timed=False, progress=Silent())
    assert untimed.seconds == {}
    timed = make_plan(ready, timed=True, progress=Silent())
    assert set(timed.seconds) == set(timed.memory)
    assert all(one.value > 0 for one in timed.seconds.values())
    assert [row[2].text for row in stages_table(untimed).rows] == ["-"] * 5
    json.dumps(timed.as_json())


def test_a_plan_with_a_gpu_says_that_its_memory_is_of_the_cpu(many) -> None:
    plan = make_plan(prepared(many()), timed=False, progress=Silent())
    on_gpu = replace(plan, search_device="cuda:1")
    for table, of_both in (
        (stages_table(plan), stages_table(on_gpu)),
        (suite_table([plan]), suite_table([plan, on_gpu])),
    ):
        assert "GPU" not in table.note
        assert "as if the CPU did them; what cuda:1 holds" in of_both.note
    assert plan.as_json()["search_device"] == "cpu"


def test_the_tables_say_what_the_plan_holds(many) -> None:
    plan = make_plan(
        prepared(many("index: {kind: plaid, nbits: 2}\n")), timed=False, progress=Silent()
    )
    rows = {row[0].text: row[1].text for row in counts_table(plan).rows}
    assert rows["documents"] == "900"
    assert rows["token embeddings"] == f"{plan.tokens.value:,.0f}"
    assert "index, 2 bits (this config)" in rows
    assert [row[0].text for row in suite_table([plan, plan]).rows] == ["many", "many", "all"]
    assert verdict(plan) == ""


def test_settings_that_would_fit_do(many) -> None:
    ready = prepared(many("index: {kind: plaid}\n"))
    # a million documents: the shards, the build and exact search take what they may
    large = Sample(
        n_docs=1_000_000,
        texts=["read the list of names " * 20] * 100,
        token_counts=np.full(100, 90.0),
        inputs=np.full(100, 100.0),
        guesses=np.full(100, 117.0),
        guessed=117e6,
        id_bytes=10,
        n_queries=1000,
        n_query_tokens=20_000,
        n_query_inputs=20_000,
    )
    wide = replace(ready, encoder=SimpleWidth(ready.encoder))
    needed = memory_by_stage(wide.config, wide.encoder, large)
    for share in (0.8, 0.5):
        limit = int(resident_bytes() + share * (max(needed.values()) - resident_bytes()))
        config = wide.config.model_copy(update={"max_memory": str(limit)})
        with pytest.raises(
            ResourceError, match=rf"max_memory={limit} is too little: .* it fits with "
        ) as error:
            check_memory(config, wide.encoder, large)
        cure = re.search(r"it fits with (.*)$", str(error.value))
        assert cure is not None
        values = parse_overrides(cure[1].split(), config.model_dump())
        check_memory(build(EvalConfig, values, source="cure"), wide.encoder, large)


def test_what_does_not_fit_is_refused_before_anything_is_spent(many, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="max_memory=10M is too little: encode takes about"):
        run_eval(load_eval_config(many(), ["max_memory=10M"]))
    assert not (tmp_path / "runs").exists()


def test_where_no_setting_is_enough_the_least_is_said(many) -> None:
    with pytest.raises(
        ResourceError, match="no setting of storage and index makes it fit; give at least"
    ):
        run_eval(load_eval_config(many(), ["max_memory=10M"]))


def test_enough_memory_changes_nothing(many) -> None:
    path = many()
    free = run_eval(load_eval_config(path, ["name=free"]))
    bounded = run_eval(load_eval_config(path, ["name=bounded", "max_memory=100G"]))
    assert free.evaluation == bounded.evaluation
    assert (free.folder / "run.trec").read_bytes() == (bounded.folder / "run.trec").read_bytes()


def test_a_plan_says_that_it_does_not_fit(many) -> None:
    plan = make_plan(prepared(many(), "max_memory=10M"), timed=False, progress=Silent())
    assert plan.fits == {}
    assert "whatever is set" in verdict(plan)
    curable = replace(plan, fits={"index.build_max_memory": "1G"})
    assert "it fits with index.build_max_memory=1G" in verdict(curable)
