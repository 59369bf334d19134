from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import checkpoints
import ir_measures
import pytest
import yaml
from conftest import CORPUS, write_jsonl

from colmodern import Encoder, ExactIndex
from colmodern.config.load import load_eval_config
from colmodern.errors import StorageError
from colmodern.pipeline.evaluate.run import run_eval
from colmodern.pipeline.result import EvalResult
from colmodern.progress import Silent
from colmodern.ragged.store import EmbeddingStore

FILES = {
    "config.yaml",
    "environment.json",
    "metrics.json",
    "per_query.jsonl",
    "qrels.trec",
    "report.html",
    "run.trec",
    "timings.json",
}

LOADED = ("load data", "load model", "everything else")


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def run(path: Path, *overrides: str) -> tuple[EvalResult, list[str]]:
    notes = Notes()
    return run_eval(load_eval_config(path, overrides), progress=notes), notes.said


def reused(result: EvalResult) -> dict[str, bool]:
    always = {"compare", "measure"}
    return {name: timing.reused for name, timing in result.timings.items() if name not in always}


def test_a_run_folder_has_every_file_and_they_agree(eval_config: Callable[..., Path]) -> None:
    result, _ = run(eval_config())
    assert {file.name for file in result.folder.iterdir()} == FILES
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert metrics["measures"] == result.evaluation.mean
    assert (metrics["documents"], metrics["queries"], metrics["truncated_documents"]) == (6, 3, 1)
    assert metrics["search_device"] == result.config.encoder.device
    lines = (result.folder / "per_query.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["query_id"] for row in rows] == ["q1", "q2", "q3"]
    assert {row["retrieved"] for row in rows} == {6}
    assert 50 < metrics["peak_memory_mb"] < 100_000
    mean = sum(row["nDCG@10"] for row in rows) / len(rows)
    assert metrics["measures"]["nDCG@10"] == pytest.approx(mean)
    timings = json.loads((result.folder / "timings.json").read_text())
    stages = ["encode documents", "encode queries", "search", "measure"]
    assert list(timings) == [*stages, *LOADED]
    assert "parse a date" in (result.folder / "report.html").read_text()


@pytest.mark.parametrize("kind", ["exact", "plaid"])
def test_the_report_explains_the_hardest_queries(
    eval_config: Callable[..., Path], kind: str
) -> None:
    result, _ = run(eval_config(), f"index={{kind: {kind}, compare_with_exact: false}}"
                    if kind == "plaid" else "index={kind: exact}")  # fmt: skip
    page = (result.folder / "report.html").read_text()
    shown = re.findall(r"Why\? ([a-z ]+): (d\d)</span>", page)
    relevant = [doc_id for role, doc_id in shown if role == "the best relevant document"]
    assert sorted(relevant) == ["d1", "d2", "d3"]
    others = [doc_id for role, doc_id in shown if role == "the first document that is not relevant"]
    assert len(others) == 3
    assert page.count('class="heat"') == 6
    assert page.count("Result 1 of 6.") == 3  # of three queries with judged first results
    assert "<mark" in page  # passages, though the embeddings keep no characters
    assert len(page) < 400_000


def test_judgments_of_missing_documents_count_and_are_told(
    eval_config: Callable[..., Path], beir: Path
) -> None:
    measures = "measures=[R@100]"
    whole, _ = run(eval_config(), measures)
    with (beir / "qrels" / "test.tsv").open("a") as stream:
        stream.write("q1\tgone\t1\nq9\td1\t1\n")
    result, _ = run(eval_config(), measures)
    assert whole.evaluation.per_query["q1"] == {"R@100": 1.0}
    assert result.evaluation.per_query["q1"] == {"R@100": 0.5}  # nothing can find the other one
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert metrics["judgments_of_unknown_documents"] == metrics["judged_queries_left_out"] == 1
    page = (result.folder / "report.html").read_text()
    assert "judged, not in the corpus" in page
    assert "(judged, but not in the corpus)" in page


def test_a_run_that_splits_and_pools_says_so_and_cuts_nothing(eval_config) -> None:
    result, _ = run(eval_config(), "encoder.overflow=split", "encoder.pool_factor=2")
    facts = json.loads((result.folder / "metrics.json").read_text())
    assert (facts["truncated_documents"], facts["cut_tokens_share"]) == (0, 0)
    assert facts["split_documents"] == 1
    assert facts["windows"] > facts["documents"]
    assert facts["pool_factor"] == 2
    assert facts["tokens"] < facts["tokens_before_pooling"]
    report = (result.folder / "report.html").read_text()
    for shown in ("split documents", "windows", "pool factor", "tokens before pooling"):
        assert shown in report


def test_measures_equal_another_reading_of_the_trec_files(eval_config) -> None:
    result, _ = run(eval_config())
    measures = [ir_measures.parse_measure(name) for name in result.evaluation.mean]
    outside = ir_measures.calc_aggregate(
        measures,
        list(ir_measures.read_trec_qrels(str(result.folder / "qrels.trec"))),
        list(ir_measures.read_trec_run(str(result.folder / "run.trec"))),
    )
    for measure in measures:
        assert outside[measure] == pytest.approx(result.evaluation.mean[str(measure)], abs=1e-9)


def test_the_ranking_is_exact_maxsim_of_the_encoder(eval_config, pylate_bert: Path) -> None:
    result, _ = run(eval_config(), "storage.dtype=float32")
    encoder = Encoder.from_pretrained(pylate_bert)
    texts = [f"{document['title']} {document['text']}" for document in CORPUS]
    index = ExactIndex(encoder.encode_documents(texts), [document["_id"] for document in CORPUS])
    expected = index.search(encoder.encode_queries(["wing lift"])[0], 10)
    lines = (result.folder / "run.trec").read_text().splitlines()
    found = [line.split() for line in lines if line.startswith("q2 ")]
    assert [fields[2] for fields in found] == [doc_id for doc_id, _ in expected]
    for fields, (_, score) in zip(found, expected, strict=True):
        assert float(fields[4]) == pytest.approx(score, abs=1e-4)


def test_everything_a_score_depends_on_is_written(eval_config, pylate_bert: Path) -> None:
    result, _ = run(eval_config())
    config = yaml.safe_load((result.folder / "config.yaml").read_text())
    assert config["encoder"]["query_length"] == 16  # from the checkpoint
    assert config["encoder"]["device"] != "auto"
    environment = json.loads((result.folder / "environment.json").read_text())
    assert (
        environment["model"]["weights_sha256"]
        == Encoder.from_pretrained(pylate_bert).weights_sha256
    )
    assert environment["packages"]["torch"]
    assert environment["hardware"]["cores"] >= 1
    assert environment["dataset"]["fingerprint"]


def test_a_resolved_config_gives_the_same_run_without_work(eval_config, tmp_path: Path) -> None:
    first, _ = run(eval_config())
    shutil.copy(first.folder / "config.yaml", tmp_path / "again.yaml")
    second, _ = run(tmp_path / "again.yaml", "name=again")
    assert all(reused(second).values())
    assert (second.folder / "run.trec").read_bytes() == (first.folder / "run.trec").read_bytes()


def test_finished_stages_are_reused_and_said_so(eval_config) -> None:
    run(eval_config())
    result, said = run(eval_config())
    assert all(reused(result).values())
    for stage in ("encode documents", "encode queries", "search"):
        assert any(note.startswith(f"{stage}: reused") for note in said)


@pytest.mark.parametrize(
    ("override", "recomputed"),
    [
        ("search.k=101", {"search"}),
        ("encoder.query_length=12", {"encode queries", "search"}),
        ("encoder.document_length=12", {"encode documents", "search"}),
        ("encoder.pool_factor=2", {"encode documents", "search"}),
        ("encoder.overflow=split", {"encode documents", "search"}),
        ("encoder.protected_tokens=3", set()),
        ("encoder.devices=[cpu]", set()),
        ("encoder.dtype=bfloat16", {"encode documents", "encode queries", "search"}),
        ("dataset.join_titles=false", {"encode documents", "search"}),
        ("dataset.max_queries=2", {"encode queries", "search"}),
        ("storage.dtype=float32", {"encode documents", "search"}),
        ("measures=[AP]", set()),
        ("index.exact_max_memory=100M", set()),
        ("index.device=cpu", set()),
        ("index.precision=int8", {"search"}),
        ("index.device_max_memory=1G", set()),
    ],
)
def test_a_changed_setting_recomputes_what_depends_on_it(
    eval_config, override: str, recomputed: set[str]
) -> None:
    run(eval_config())
    result, _ = run(eval_config(), override)
    assert {stage for stage, was in reused(result).items() if not was} == recomputed


def test_a_changed_document_is_encoded_again(eval_config, beir: Path) -> None:
    run(eval_config())
    write_jsonl(beir / "corpus.jsonl", [*CORPUS[:5], {"_id": "d6", "text": "other"}])
    result, _ = run(eval_config())
    assert {s for s, was in reused(result).items() if not was} == {"encode documents", "search"}


def test_an_interrupted_encoding_goes_on_at_its_last_shard(eval_config, tmp_path: Path) -> None:
    class Stop(Notes):
        """Interrupts when a number of texts is done."""

        def __init__(self, after: int) -> None:
            super().__init__()
            self.left = after

        def advance(self, n: int) -> None:
            self.left -= n
            if self.left <= 0:
                raise KeyboardInterrupt

    config = load_eval_config(eval_config(), ["storage.shard_tokens=20"])
    with pytest.raises(KeyboardInterrupt):
        run_eval(config, progress=Stop(after=4))
    [folder] = (tmp_path / "runs" / ".cache").glob("documents-*")
    finished = sorted(p.name for p in folder.iterdir())
    assert finished
    assert "manifest.json" not in finished
    stamps = {name: (folder / name / "shard.json").stat().st_mtime_ns for name in finished}
    notes = Notes()
    result = run_eval(config, progress=notes)
    assert any("encode documents: resuming after" in note for note in notes.said)
    assert {n: (folder / n / "shard.json").stat().st_mtime_ns for n in finished} == stamps
    shutil.rmtree(tmp_path / "runs")
    fresh = run_eval(config)
    assert fresh.evaluation == result.evaluation


def test_same_config_same_bytes(eval_config, tmp_path: Path) -> None:
    def embeddings() -> dict[str, str]:
        run(eval_config())
        [folder] = (tmp_path / "runs" / ".cache").glob("documents-*")
        sums = EmbeddingStore(folder).manifest["shards"][0]["sha256"]
        shutil.rmtree(tmp_path / "runs")
        return sums

    assert embeddings() == embeddings()


def cached(result: EvalResult, stage: str) -> Path:
    [folder] = (result.folder.parent / ".cache").glob(f"{stage}-*")
    return folder


@pytest.mark.parametrize("damage", ["cut", "missing", "timing"])
def test_a_damaged_search_is_never_reused(eval_config, damage: str) -> None:
    result, _ = run(eval_config())
    folder = cached(result, "search")
    if damage == "cut":
        path = folder / "run.trec"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    elif damage == "missing":
        (folder / "run.trec").unlink()
    else:
        (folder / "search.json").write_text("{")
    before = (result.folder / "metrics.json").read_text()
    with pytest.raises(StorageError, match="delete the folder and run again"):
        run(eval_config())
    assert (result.folder / "metrics.json").read_text() == before


def test_damaged_embeddings_are_never_reused(eval_config) -> None:
    result, _ = run(eval_config())
    path = cached(result, "documents") / "shard-00000" / "values.npy"
    content = bytearray(path.read_bytes())
    content[-20] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"values\.npy differs from its checksum"):
        run(eval_config())


def test_a_changed_projection_is_noticed(eval_config, tmp_path: Path) -> None:
    model = checkpoints.pylate(tmp_path / "model", "bert")
    first, _ = run(eval_config(), f"encoder.model={model}")
    path = model / "1_Dense" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "activation_function": "torch.nn.modules.Tanh"}))
    second, _ = run(eval_config(), f"encoder.model={model}")
    assert not any(reused(second).values())
    assert first.evaluation.per_query.keys() == second.evaluation.per_query.keys()


def test_the_environment_of_each_stage_is_kept(eval_config) -> None:
    result, _ = run(eval_config())
    environment = json.loads((result.folder / "environment.json").read_text())
    assert set(environment["stages"]) == {"encode documents", "encode queries", "search"}
    for made_in in environment["stages"].values():
        assert made_in["packages"]["torch"]
        assert made_in["hardware"]["processor"]


def test_queries_that_are_cut_are_counted_and_said(eval_config: Callable[..., Path]) -> None:
    result, notes = run(eval_config(), "encoder.query_length=6")
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert metrics["truncated_queries"] == 1
    assert "1 of 3 queries cut at 6 tokens" in notes
    assert "truncated queries" in (result.folder / "report.html").read_text()
    result, notes = run(eval_config(), "encoder.query_length=30", "name=longer")
    assert result.facts["truncated_queries"] == 0
    assert not any("cut at" in note for note in notes)
