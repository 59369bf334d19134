from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CORPUS, write_jsonl

from colmodern.cli.main import main
from colmodern.evaluation.trec import read_run

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Calls the command line; gives exit status, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return code, out, err

    return call


def test_eval_prints_a_table_and_the_run_folder_last(run: Run, eval_config, tmp_path: Path) -> None:
    code, out, err = run("eval", eval_config())
    assert code == 0
    assert out.splitlines()[-1] == str(tmp_path / "runs" / "small")
    for label in ("nDCG@10", "RR@10", "R@100", "documents / s", "queries / s", "bytes / token"):
        assert label in out
    assert "truncated documents" in out
    assert "encode documents" in err
    assert "encode documents: reused" in run("eval", eval_config())[2]


def test_encode_search_and_info(run: Run, beir: Path, pylate_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "embeddings"
    code, out, _ = run(
        "encode", beir, "-o", folder, "-m", pylate_bert, "--set", "document_length=20"
    )
    assert (code, out.splitlines()[-1]) == (0, str(folder))
    assert run("encode", beir, "-o", folder, "-m", pylate_bert, "--set", "document_length=20")[
        2
    ].count("already encoded")
    code, out, _ = run("search", folder, "lift of a wing", "-k", "2")
    assert code == 0
    assert out.count("d") >= 2
    run_path = tmp_path / "out.trec"
    code, out, _ = run("search", folder, "--queries", beir / "queries.jsonl", "-o", run_path)
    assert (code, out.strip()) == (0, str(run_path))
    assert len(run_path.read_text().splitlines()) == 4 * 6
    code, out, _ = run("info", folder, "--verify")
    assert code == 0
    assert "n_docs: 6" in out
    assert "document_length: 20" in out


def test_encode_says_what_was_cut_or_split(
    run: Run, beir: Path, pylate_bert: Path, tmp_path: Path
) -> None:
    def encode(name: str, *options: str) -> str:
        code, out, err = run("encode", beir, "-o", tmp_path / name, "-m", pylate_bert, *options)
        assert code == 0, err
        return out

    assert re.search(r"1 documents truncated, \d\d\.\d% of all tokens cut", encode("cut"))
    split = encode("split", "--set", "overflow=split", "--set", "overlap=3")
    assert "1 documents split into windows, 0 truncated" in split
    pooled = encode("pooled", "--set", "pool_factor=3", "--devices", "cpu")
    tokens = [int(re.search(r"(\d+) tokens", out)[1]) for out in (encode("cut"), pooled)]
    assert tokens[1] < tokens[0] / 2
    assert "pool_factor: 3" in run("info", tmp_path / "pooled")[1]


def test_a_run_is_searched_with_the_precision_it_was_evaluated_with(
    run: Run, eval_config, beir: Path, tmp_path: Path
) -> None:
    assert run("eval", eval_config(), "index.precision=int8")[0] == 0
    folder, plain = tmp_path / "runs" / "small", tmp_path / "float32.trec"
    search = ("search", folder, "--queries", beir / "queries.jsonl", "-k", "6", "-o")
    assert run(*search, tmp_path / "int8.trec")[0] == 0
    assert run(*search, plain, "--precision", "float32")[0] == 0
    scores = [read_run(path) for path in (folder / "run.trec", tmp_path / "int8.trec", plain)]
    for query_id, ranking in scores[0].items():
        assert ranking == scores[1][query_id][: len(ranking)]
    assert scores[1] != scores[2]


def test_precision_is_of_exact_search_alone(run: Run, eval_config, tmp_path: Path) -> None:
    assert run("eval", eval_config(), "index.kind=plaid")[0] == 0
    code, _, err = run("search", tmp_path / "runs" / "small", "sort", "--precision", "int8")
    assert code == 2
    assert "--precision applies to exact search only" in err


def test_search_in_a_run_shows_texts(run: Run, eval_config, tmp_path: Path) -> None:
    run("eval", eval_config())
    code, out, _ = run("search", tmp_path / "runs" / "small", "sort names", "-k", "6")
    assert code == 0
    assert "sort" in out
    assert "text" in out
    code, out, _ = run("info", tmp_path / "runs" / "small")
    assert code == 0
    assert "nDCG@10" in out


def test_rerank_a_run(run: Run, beir: Path, pylate_bert: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.trec"
    first.write_text("q1 Q0 d2 1 9 bm25\nq1 Q0 d1 2 8 bm25\nq3 Q0 d3 1 5 bm25\n")
    out_path = tmp_path / "second.trec"
    code, out, err = run("rerank", beir, "--run", first, "-o", out_path, "-m", pylate_bert)
    assert (code, out.splitlines()[-1]) == (0, str(out_path))
    assert "before" in out
    assert "documents: 0 documents truncated, 0.0% of all tokens cut" in err
    lines = [line.split() for line in out_path.read_text().splitlines()]
    assert {(row[0], row[2]) for row in lines} == {("q1", "d1"), ("q1", "d2"), ("q3", "d3")}
    code, _, _ = run("rerank", beir, "--run", first, "-o", out_path, "-m", pylate_bert, "-k", "1")
    assert code == 0
    lines = [line.split() for line in out_path.read_text().splitlines()]
    # below the depth the order of the first stage goes on, with falling scores
    assert [(row[0], row[2], row[3]) for row in lines] == [
        *(("q1", "d2", "1"), ("q1", "d1", "2"), ("q3", "d3", "1"))
    ]
    assert float(lines[0][4]) > float(lines[1][4])


def test_rerank_takes_measures(run: Run, beir: Path, pylate_bert: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.trec"
    first.write_text("q1 Q0 d2 1 9 bm25\nq1 Q0 d1 2 8 bm25\n")
    words = ["rerank", beir, "--run", first, "-o", tmp_path / "x", "-m", pylate_bert, "-k", "1"]
    code, out, _ = run(*words, "--measure", "R@2", "--measure", "P@1", "--json")
    values = json.loads(out)
    assert (code, set(values["after"])) == (0, {"R@2", "P@1"})
    assert values["before"] == values["after"]  # one candidate has one order
    code, _, err = run(*words, "--measure", "nDGC@10")
    assert (code, "is not a measure" in err) == (2, True)


def test_rerank_never_replaces_its_run(run: Run, beir: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.trec"
    first.write_text("q1 Q0 d2 1 9 bm25\n")
    code, _, err = run("rerank", beir, "--run", first, "-o", first, "-m", "colmodern/tiny")
    assert (code, f"would replace {first}; give another path" in err) == (2, True)
    assert first.read_text() == "q1 Q0 d2 1 9 bm25\n"


def test_rerank_reads_gzip_and_says_when_no_query_is_judged(
    run: Run, beir: Path, pylate_bert: Path, tmp_path: Path
) -> None:
    first, out_path = tmp_path / "first.trec.gz", tmp_path / "second.trec"
    first.write_bytes(gzip.compress(b"q4 Q0 d2 1 -inf bm25\nq4 Q0 d1 2 8 bm25\n"))
    code, out, err = run(
        "rerank", beir, "--run", first, "-o", out_path, "-m", pylate_bert, "-k", "1"
    )
    assert (code, out) == (0, f"{out_path}\n")
    assert "no measures: none of the run's queries is judged" in err
    assert [line.split()[2] for line in out_path.read_text().splitlines()] == ["d1", "d2"]


def test_info_describes_machine_and_model(run: Run, pylate_bert: Path) -> None:
    code, out, _ = run("info")
    assert code == 0
    assert "torch:" in out
    code, out, _ = run("info", pylate_bert)
    assert code == 0
    assert "kind: pylate" in out


BAD = {
    "unknown key": ("eval", "{config}", "serch.k=5"),
    "k of 0": ("eval", "{config}", "search.k=0"),
    "no such device": ("eval", "{config}", "index.device=gpu"),
    "a GPU that is not there": ("eval", "{config}", "index.device=cuda:99"),
    "missing config": ("eval", "none.yaml"),
    "missing dataset": ("eval", "{config}", "dataset.name=none"),
    "unknown checkpoint": ("eval", "{config}", "encoder.model={tmp}"),
    "unknown measure": ("eval", "{config}", "measures=[nDGC@10]"),
    "no model": ("encode", "{beir}", "-o", "{tmp}/x"),
    "bad setting": (
        "encode",
        "{beir}",
        "-o",
        "{tmp}/x",
        "-m",
        "{model}",
        "--set",
        "query_lenght=3",
    ),
    "too long": (
        "encode",
        "{beir}",
        "-o",
        "{tmp}/x",
        "-m",
        "{model}",
        "--set",
        "document_length=9000",
    ),
    "foreign output": ("encode", "{beir}", "-o", "{tmp}", "-m", "{model}"),
    "search nothing": ("search", "{tmp}/none", "query"),
    "search foreign": ("search", "{tmp}", "query"),
    "search without query": ("search", "{tmp}"),
    "search k of 0": ("search", "{tmp}", "query", "-k", "0"),
    "rerank on devices": (
        "rerank",
        "{beir}",
        "--run",
        "none",
        "-o",
        "{tmp}/x",
        "-m",
        "{model}",
        "--set",
        "devices=[cpu]",
    ),
    "rerank no run": ("rerank", "{beir}", "--run", "none", "-o", "{tmp}/x", "-m", "{model}"),
    "unknown command": ("serch",),
    "info nothing": ("info", "{tmp}/none"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_one_message_and_status_2(
    run: Run, case: str, eval_config, beir: Path, pylate_bert: Path, tmp_path: Path
) -> None:
    paths = {"config": eval_config(), "tmp": tmp_path, "beir": beir, "model": pylate_bert}
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*(argument.format(**paths) for argument in BAD[case]))
    assert code == 2
    assert out == ""
    assert "rror" in err
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_malformed_line_is_named_with_its_number(run: Run, eval_config, beir: Path) -> None:
    with (beir / "corpus.jsonl").open("a") as stream:
        stream.write("{oops\n")
    code, _, err = run("eval", eval_config())
    assert code == 2
    assert "corpus.jsonl:7: not valid JSON" in err


def test_a_run_of_another_collection_is_refused(
    run: Run, beir: Path, pylate_bert: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run.trec"
    for line, message in (
        ("q9 Q0 d1 1 1 t\n", "query 'q9'"),
        ("q1 Q0 d9 1 1 t\n", "document 'd9'"),
    ):
        path.write_text(line)
        code, _, err = run("rerank", beir, "--run", path, "-o", tmp_path / "x", "-m", pylate_bert)
        assert code == 2
        assert message in err
    assert not (tmp_path / "x").exists()


def test_our_own_fault_is_status_1_and_debug_shows_it(run: Run, eval_config, monkeypatch) -> None:
    from colmodern.pipeline.evaluate import run as evaluate

    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("made for this test")

    monkeypatch.setattr(evaluate, "run_eval", broken)
    code, _, err = run("eval", eval_config())
    assert code == 1
    assert "internal error: ZeroDivisionError: made for this test" in err
    assert "Traceback" not in err
    for arguments in (("--debug", "eval"), ("eval", "--debug")):
        with pytest.raises(ZeroDivisionError):
            main([*arguments, str(eval_config())])


def test_an_interruption_says_how_to_go_on(run: Run, eval_config, monkeypatch) -> None:
    from colmodern.pipeline.evaluate import run as evaluate

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "run_eval", interrupted)
    code, _, err = run("eval", eval_config())
    assert code == 130
    assert "run the same command again" in err


def test_embeddings_of_a_changed_model_are_refused(run: Run, tmp_path: Path) -> None:
    import checkpoints

    model = checkpoints.pylate(tmp_path / "model", "bert")
    write_jsonl(tmp_path / "corpus.jsonl", CORPUS)
    assert run("encode", tmp_path / "corpus.jsonl", "-o", tmp_path / "e", "-m", model)[0] == 0
    assert run("search", tmp_path / "e", "sort", "-k", "1")[0] == 0
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))
    code, _, err = run("search", tmp_path / "e", "sort", "-k", "1")
    assert code == 2
    assert "encode the documents again" in err


@pytest.mark.parametrize("code", ["import colmodern", "import colmodern.cli.main"])
def test_import_is_light(code: str) -> None:
    heavy = "torch transformers numba datasets faiss pydantic scipy pandas numpy rich"
    check = f"import sys; {code}; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_lists_every_command_without_loading_one() -> None:
    check = (
        "import sys, colmodern.cli.main as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: print(sorted(k for k in sys.modules if k.startswith('colmodern.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    *page, loaded = done.stdout.splitlines()
    assert loaded == "['colmodern.cli.main', 'colmodern.cli.terminal']"
    for command in ("eval", "encode", "search", "index", "rerank", "info"):
        assert any(line.strip().startswith(command) for line in page)


def test_a_run_of_ours_with_unjudged_queries_is_reranked(
    run: Run, beir: Path, pylate_bert: Path, tmp_path: Path
) -> None:
    assert run("encode", beir, "-o", tmp_path / "e", "-m", pylate_bert)[0] == 0
    first, second = tmp_path / "first.trec", tmp_path / "second.trec"
    assert run("search", tmp_path / "e", "--queries", beir / "queries.jsonl", "-o", first)[0] == 0
    assert run("rerank", beir, "--run", first, "-o", second, "-m", pylate_bert)[0] == 0
    lines = [path.read_text().splitlines() for path in (first, second)]
    paths = [[line.split()[:3] for line in run_lines] for run_lines in lines]
    assert paths[0] == paths[1]


def test_a_collection_without_judgments_is_reranked_without_measures(
    run: Run, beir: Path, pylate_bert: Path, tmp_path: Path
) -> None:
    (beir / "qrels" / "test.tsv").unlink()
    path = tmp_path / "run.trec"
    path.write_text("q1 Q0 d1 1 1 t\n")
    code, out, _ = run("rerank", beir, "--run", path, "-o", tmp_path / "x", "-m", pylate_bert)
    assert (code, out.strip()) == (0, str(tmp_path / "x"))


def test_brackets_in_texts_and_paths_are_no_markup(
    run: Run, eval_config, beir: Path, tmp_path: Path
) -> None:
    text = "read the [/path] of [red]file[/red] :smile:"
    write_jsonl(beir / "corpus.jsonl", [*CORPUS[:5], {"_id": "d6", "text": text}])
    odd = beir.rename(tmp_path / "sm[red]all")
    assert run("eval", eval_config(), f"dataset.name={odd}")[0] == 0
    code, out, _ = run("search", tmp_path / "runs" / "small", "read the path", "-k", "6")
    assert code == 0
    shown = " ".join(out.replace("│", " ").replace("|", " ").split())
    for word in ("[/path]", "[red]file[/red]", ":smile:"):
        assert word in shown


@pytest.mark.parametrize("output", ["{tmp}/a_file/x", "{tmp}/folder", "/proc/nowhere/x"])
def test_an_output_that_cannot_be_written_is_status_2(
    run: Run, beir: Path, pylate_bert: Path, tmp_path: Path, output: str
) -> None:
    (tmp_path / "a_file").write_text("")
    (tmp_path / "folder").mkdir()
    path = tmp_path / "run.trec"
    path.write_text("q1 Q0 d1 1 1 t\n")
    target = output.format(tmp=tmp_path)
    code, _, err = run("rerank", beir, "--run", path, "-o", target, "-m", pylate_bert)
    assert code == 2
    assert "cannot write" in err


def test_verify_looks_into_the_embeddings_of_a_run(run: Run, eval_config, tmp_path: Path) -> None:
    run("eval", eval_config())
    assert run("info", tmp_path / "runs" / "small", "--verify")[0] == 0
    [values] = (tmp_path / "runs" / ".cache").glob("documents-*/shard-00000/values.npy")
    content = bytearray(values.read_bytes())
    content[-1] ^= 1
    values.write_bytes(content)
    code, _, err = run("info", tmp_path / "runs" / "small", "--verify")
    assert code == 2
    assert "differs from its checksum" in err
