from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_beir, write_jsonl
from oracles import maxsim
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from colmodern import Encoder
from colmodern.config.mine import MineConfig, load_mine_config
from colmodern.config.train import load_train_config
from colmodern.errors import CheckpointError, DataError, StorageError
from colmodern.progress import Silent
from colmodern.training.examples import check_rows, read_rows
from colmodern.training.mining.collection import open_collection
from colmodern.training.mining.mine import run_mine
from colmodern.training.mining.teachers import EncoderTeacher

PAIRS = [
    {"query": "parse a date", "positive": "parse a date string, read the number"},
    {"query": "wing lift", "positive": "the lift of a wing in the flow"},
    {"query": "read a file", "positive": "open the file and read the value"},
    {"query": "sort names", "positive": "sort the list of names"},
    {"query": "heat", "positive": "heat and speed"},
    {"query": "heat", "positive": "the heat of the flow"},
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "pairs.jsonl", PAIRS)
    return tmp_path / "pairs.jsonl"


def test_a_positive_that_the_corpus_lacks_is_left_out(tmp_path: Path) -> None:
    rows = ["q1\td1\t1", "q1\tgone\t1", "q2\td2\t1"]
    folder = write_beir(tmp_path / "small", qrels=rows)
    found = open_collection(config(tmp_path / "out.jsonl", tmp_path, f"dataset.name={folder}"))
    assert (found.qrels, found.missing) == ({"q1": {"d1": 1}, "q2": {"d2": 1}}, {})


def config(output: Path, model: Path, *more: str) -> MineConfig:
    basics = [f"output={output}", f"encoder.model={model}", "encoder.device=cpu"]
    return load_mine_config(None, [*basics, "negatives.number=2", "storage.dtype=float32", *more])


def rows_of(path: Path) -> list[dict]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.decode().splitlines()]


def test_rows_have_positive_negatives_and_exact_scores(
    pairs: Path, tmp_path: Path, pylate_bert: Path
) -> None:
    output = tmp_path / "mined.jsonl"
    facts = run_mine(config(output, pylate_bert, f"pairs={pairs}"))
    rows = rows_of(output)
    assert [(row["query"], row["documents"][0]) for row in rows] == [
        (pair["query"], pair["positive"]) for pair in PAIRS
    ]
    assert facts["rows"] == 6
    encoder = Encoder.from_pretrained(pylate_bert, device="cpu")
    for row in rows:
        assert len(set(row["documents"])) == 3
        [query], documents = (
            encoder.encode_queries([row["query"]]),
            encoder.encode_documents(row["documents"]),
        )
        expected = [maxsim(query, document) for document in documents]
        np.testing.assert_allclose(row["scores"], expected, atol=1e-4)
        assert row["scores"][1] >= row["scores"][2]  # by rank, and the finder is the teacher
    positives = {pair["positive"] for pair in PAIRS if pair["query"] == "heat"}
    for row in rows[-2:]:
        assert not positives & set(row["documents"][1:])
    assert not output.with_name("mined.jsonl.work").exists()
    told = json.loads(output.with_name("mined.jsonl.json").read_text())
    assert told["config"]["negatives"]["number"] == 2
    assert told["teacher"]["kind"] == "encoder"


def test_a_judged_collection_with_an_index_and_another_teacher(
    tmp_path: Path, pylate_bert: Path, bert: Path
) -> None:
    # d7 repeats the text of d1 and so is no negative of q1; query ids are also document ids
    corpus = [{"_id": f"q{i}", "text": pair["positive"]} for i, pair in enumerate(PAIRS)]
    corpus.append({"_id": "d7", "text": PAIRS[0]["positive"]})
    qrels = ["query-id\tcorpus-id\tscore", "q1\tq0\t1", "q2\tq1\t1", "q3\tq2\t0"]
    folder = write_beir(tmp_path / "set", corpus=corpus, qrels=qrels)
    output = tmp_path / "mined.jsonl.gz"
    facts = run_mine(
        config(
            output,
            pylate_bert,
            f"dataset.name={folder}",
            "index.kind=plaid",
            f"teacher.model={bert}",
            "teacher.device=cpu",
            "negatives.number=4",
            "negatives.last_rank=6",
        )
    )
    rows = rows_of(output)
    assert [row["documents"][0] for row in rows] == [PAIRS[0]["positive"], PAIRS[1]["positive"]]
    assert all(PAIRS[0]["positive"] not in row["documents"][1:] for row in rows[:1])
    assert PAIRS[1]["positive"] in rows[0]["documents"]  # its id is that of the query
    assert facts["dropped"]["same text as a positive"] == 1
    teacher = Encoder.from_pretrained(bert, device="cpu")
    [query], documents = (
        teacher.encode_queries([rows[0]["query"]]),
        teacher.encode_documents(rows[0]["documents"]),
    )
    np.testing.assert_allclose(
        rows[0]["scores"], [maxsim(query, document) for document in documents], atol=1e-4
    )


def test_a_document_that_a_query_excludes_is_no_negative_of_it(
    tmp_path: Path, pylate_bert: Path
) -> None:
    corpus = [{"_id": f"d{i}", "text": pair["positive"]} for i, pair in enumerate(PAIRS)]
    qrels = ["q1\td0\t1", "q2\td1\t1"]
    queries = [{"_id": "q1", "text": "dates"}, {"_id": "q2", "text": "wings"}]

    def negatives(name: str) -> list[set[str]]:
        folder = write_beir(tmp_path / name, corpus=corpus, queries=queries, qrels=qrels)
        output = tmp_path / f"{name}.jsonl"
        run_mine(config(output, pylate_bert, f"dataset.name={folder}"))
        return [set(row["documents"][1:]) for row in rows_of(output)]

    before = negatives("before")
    texts = {document["text"]: document["_id"] for document in corpus}
    queries[0]["excluded"] = [texts[text] for text in before[0]]
    after = negatives("after")
    assert not before[0] & after[0]
    assert (len(after[0]), after[1]) == (2, before[1])


@pytest.fixture
def cross_encoder(tmp_path: Path, bert: Path) -> Path:
    folder = tmp_path / "cross"
    torch.manual_seed(0)
    settings = BertConfig.from_pretrained(bert, num_labels=1, initializer_range=0.5)
    BertForSequenceClassification(settings).save_pretrained(folder)
    AutoTokenizer.from_pretrained(bert).save_pretrained(folder)
    return folder


def test_a_cross_encoder_teaches(
    pairs: Path, tmp_path: Path, pylate_bert: Path, cross_encoder: Path
) -> None:
    output = tmp_path / "mined.jsonl"
    teacher = ["teacher.kind=cross_encoder", f"teacher.model={cross_encoder}", "teacher.device=cpu"]
    run_mine(config(output, pylate_bert, f"pairs={pairs}", *teacher, "teacher.batch_size=2"))
    rows = rows_of(output)
    assert len(rows) == 6
    tokenizer = AutoTokenizer.from_pretrained(cross_encoder)
    model = BertForSequenceClassification.from_pretrained(cross_encoder).eval()
    for row in rows:
        for text, score in zip(row["documents"], row["scores"], strict=True):
            with torch.no_grad():
                expected = model(**tokenizer(row["query"], text, return_tensors="pt")).logits
            assert score == pytest.approx(expected.item(), abs=1e-4)
    assert len({score for row in rows for score in row["scores"]}) > 6


def test_what_is_no_cross_encoder_is_refused(
    pairs: Path, tmp_path: Path, pylate_bert: Path, cross_encoder: Path
) -> None:
    settings = json.loads((cross_encoder / "config.json").read_text())
    settings.update(id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1})
    (cross_encoder / "config.json").write_text(json.dumps(settings))
    (cross_encoder / "model.safetensors").unlink()
    chosen = config(
        tmp_path / "mined.jsonl",
        pylate_bert,
        f"pairs={pairs}",
        "teacher.kind=cross_encoder",
        f"teacher.model={cross_encoder}",
    )
    with pytest.raises(CheckpointError, match="has no weights"):
        run_mine(chosen)
    for name in ("model.safetensors", "pytorch_model.bin"):
        (cross_encoder / name).write_bytes(b"junk")
        with pytest.raises(CheckpointError, match="as a cross-encoder"):
            run_mine(chosen)
        (cross_encoder / name).unlink()


def test_a_broken_run_goes_on_and_writes_the_same_bytes(
    pairs: Path, tmp_path: Path, pylate_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colmodern.training.mining.stages._CHUNK", 2)
    whole, broken = tmp_path / "whole.jsonl.gz", tmp_path / "broken.jsonl.gz"
    run_mine(config(whole, pylate_bert, f"pairs={pairs}"))
    score, calls = EncoderTeacher.scores, []

    def fail_at_the_second(self: EncoderTeacher, *asked: object) -> object:
        calls.append(asked)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(self, *asked)

    monkeypatch.setattr(EncoderTeacher, "scores", fail_at_the_second)
    chosen = config(broken, pylate_bert, f"pairs={pairs}")
    with pytest.raises(KeyboardInterrupt):
        run_mine(chosen)
    assert not broken.exists()
    run_mine(chosen)
    assert len(calls) == 4  # the first two queries were scored before
    assert broken.read_bytes() == whole.read_bytes()


class Counting(Silent):
    """Counts the units of work of each task."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self._task = ""

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        self._task = task

    def advance(self, n: int) -> None:
        self.done[self._task] += n


class CountingTeacher(EncoderTeacher):
    """Counts the pairs that are scored."""

    n_pairs = 0

    def scores(self, queries: Sequence[str], doc_ids: Sequence[Sequence[str]]) -> list[np.ndarray]:
        CountingTeacher.n_pairs += sum(map(len, doc_ids))
        return super().scores(queries, doc_ids)


def test_each_stage_is_done_again_only_for_what_it_depends_on(
    pairs: Path, tmp_path: Path, pylate_bert: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colmodern.training.mining.stages.EncoderTeacher", CountingTeacher)
    outputs = (tmp_path / f"{i}.jsonl" for i in range(100))
    basics = [f"pairs={pairs}", "negatives.number=1"]

    def work_of(*more: str) -> tuple[dict[str, int], int]:
        CountingTeacher.n_pairs = 0
        progress = Counting()
        options = [*basics, f"work={tmp_path / 'work'}", *more]
        run_mine(config(next(outputs), pylate_bert, *options), progress=progress)
        encoded = {name: n for name, n in progress.done.items() if name.startswith("encode")}
        return encoded, CountingTeacher.n_pairs

    # 5 queries, 6 documents: every query's scores are of all documents
    assert work_of() == ({"encode documents": 6, "encode queries": 5}, 30)
    assert work_of("negatives.number=3", "negatives.choose=random") == ({}, 0)
    reused, fresh = next(outputs), next(outputs)
    for output, more in ((reused, [f"work={tmp_path / 'work'}"]), (fresh, [])):
        run_mine(config(output, pylate_bert, *basics, "negatives.number=2", *more))
    assert reused.read_bytes() == fresh.read_bytes()
    # another depth and another index search again, and score what is new
    assert work_of("negatives.last_rank=3", "index.precision=int8") == ({}, 0)
    # another teacher encodes and scores its candidates, and leaves the others as they are
    assert work_of(f"teacher.model={bert}") == ({"encode documents": 6}, 30)
    assert work_of(f"teacher.model={bert}", "negatives.margin=0") == ({}, 0)
    assert work_of() == ({}, 0)
    # what embeddings depend on does encode again
    assert work_of("encoder.query_length=15") == ({"encode queries": 5}, 30)
    assert work_of("storage.dtype=float16") == ({"encode documents": 6}, 30)


def test_too_few_negatives_leave_the_work_for_the_next_run(
    pairs: Path, tmp_path: Path, pylate_bert: Path
) -> None:
    output = tmp_path / "mined.jsonl"
    with pytest.raises(DataError, match="no query has 60 negatives"):
        run_mine(config(output, pylate_bert, f"pairs={pairs}", "negatives.number=60"))
    progress = Counting()
    run_mine(config(output, pylate_bert, f"pairs={pairs}"), progress=progress)
    assert not any(name.startswith("encode") for name in progress.done)
    assert not (tmp_path / "mined.jsonl.work").exists()


def test_another_cross_encoder_under_the_same_name_scores_anew(
    pairs: Path, tmp_path: Path, pylate_bert: Path, cross_encoder: Path
) -> None:
    teacher = ["teacher.kind=cross_encoder", f"teacher.model={cross_encoder}", "teacher.device=cpu"]
    options = [f"pairs={pairs}", f"work={tmp_path / 'work'}", *teacher]
    run_mine(config(tmp_path / "one.jsonl", pylate_bert, *options))
    torch.manual_seed(1)
    settings = BertConfig.from_pretrained(cross_encoder, num_labels=1, initializer_range=0.5)
    BertForSequenceClassification(settings).save_pretrained(cross_encoder)
    run_mine(config(tmp_path / "two.jsonl", pylate_bert, *options))
    one, two = rows_of(tmp_path / "one.jsonl"), rows_of(tmp_path / "two.jsonl")
    assert [row["scores"] for row in one] != [row["scores"] for row in two]


def test_half_a_surrogate_in_a_pair_is_refused_with_its_line(
    tmp_path: Path, pylate_bert: Path
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"query": "sort", "positive": "a"}\n{"query": "b\\ud83d", "positive": "a"}\n')
    with pytest.raises(DataError, match=r"pairs\.jsonl:2.*half a surrogate pair"):
        run_mine(config(tmp_path / "mined.jsonl", pylate_bert, f"pairs={path}"))


def test_rules_that_leave_nothing_and_an_output_that_is_there_are_refused(
    pairs: Path, tmp_path: Path, pylate_bert: Path
) -> None:
    output = tmp_path / "mined.jsonl"
    with pytest.raises(DataError, match=r"no query has 2 negatives .*loosen margin"):
        run_mine(config(output, pylate_bert, f"pairs={pairs}", "negatives.margin=1000"))
    assert not output.exists()
    output.write_text("somebody's")
    with pytest.raises(StorageError, match="is there already"):
        run_mine(config(output, pylate_bert, f"pairs={pairs}"))


RECIPES = Path(__file__).parents[3] / "configs" / "train"


@pytest.mark.parametrize("name", ["mined.jsonl.gz", "mined.jsonl"])
@pytest.mark.parametrize("number", [1, 3])
def test_the_shipped_recipe_reads_what_mining_writes(
    pairs: Path,
    tmp_path: Path,
    pylate_bert: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: int,
) -> None:
    pytest.importorskip("datasets")
    from colmodern.training.data import load_sources

    monkeypatch.chdir(tmp_path)
    run_mine(config(Path(name), pylate_bert, f"pairs={pairs}", f"negatives.number={number}"))
    changes = [] if name == "mined.jsonl.gz" else [f"data.0.path={name}"]
    recipe = load_train_config(RECIPES / "mined.yaml", changes)
    [source] = load_sources(recipe, tmp_path)
    assert source.facts["rows"] == len(PAIRS)
    mined = rows_of(tmp_path / name)
    for row, expected in zip(source.examples, mined, strict=True):
        assert (row["query"], row["documents"]) == (expected["query"], expected["documents"])
        assert np.argsort(row["scores"]).tolist() == np.argsort(expected["scores"]).tolist()
        assert len(row["documents"]) == number + 1


def test_mined_rows_read_as_pairs_say_which_kind_they_are(
    pairs: Path, tmp_path: Path, pylate_bert: Path
) -> None:
    output = tmp_path / "mined.jsonl.gz"
    run_mine(config(output, pylate_bert, f"pairs={pairs}", "max_rows=5"))
    assert len(list(check_rows(read_rows(output), "scores", 3))) == 5
    for kind in ("pairs", "triples"):
        with pytest.raises(DataError, match=rf":1: .* is of kind scores, not {kind}; set the"):
            list(check_rows(read_rows(output), kind, None))  # type: ignore[arg-type]
