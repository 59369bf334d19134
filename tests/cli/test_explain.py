"""colmodern explain says why a document is found or not, of every folder that can be searched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.test_main import Run, run
from conftest import CORPUS, write_jsonl

from colmodern import Collection
from colmodern.datasets.load import load_corpus
from colmodern.encoding.store import text_of
from colmodern.pipeline.open.exact_rank import ExactRank
from colmodern.ragged.store import EmbeddingStore

__all__ = ["run"]  # the fixture

QUERY = "sort names"


@pytest.fixture
def encoded(run: Run, beir: Path, pylate_bert: Path, tmp_path: Path) -> Path:
    assert run("encode", beir, "-o", tmp_path / "encoded", "-m", pylate_bert)[0] == 0
    return tmp_path / "encoded"


@pytest.fixture
def indexed(run: Run, encoded: Path, tmp_path: Path) -> Callable[..., tuple[object, ...]]:
    """Gives the arguments that explain a document of an index."""
    assert run("index", "build", encoded, tmp_path / "i")[0] == 0

    def arguments(doc_id: str, *more: object) -> tuple[object, ...]:
        return "explain", tmp_path / "i", QUERY, doc_id, "--embeddings", encoded, *more

    return arguments


def test_it_says_what_became_of_a_document(run: Run, indexed: Callable[..., tuple]) -> None:
    code, out, _ = run(*indexed("d4", "-k", "6"))
    assert code == 0
    assert "d4: result" in out.splitlines()[-2]
    assert "d4: exact search has it at rank" in out.splitlines()[-1]
    assert "scored" in out
    assert "similarity" in out
    code, out, err = run(*indexed("d9"))
    assert (code, out) == (2, "")
    assert "d9" in err


def test_it_names_the_words_that_match(run: Run, indexed: Callable[..., tuple]) -> None:
    _, out, _ = run(*indexed("d4"))
    matches = [line.split("\t") for line in out.split("\n\n")[1].splitlines()[:-2]]
    assert matches[0] == ["query token", "document token", "position", "similarity"]
    words = [row[0] for row in matches if row[0] in ("sort", "name", "##s")]
    assert words == ["sort", "name", "##s"]
    assert {row[1] for row in matches[1:]} & {"sort", "name", "##s"}
    answer = json.loads(run(*indexed("d4", "--json"))[1])
    assert [row["query_word"] for row in answer["alignment"]] == [row[0] for row in matches[1:]]
    assert [row["document_word"] for row in answer["alignment"]] == [row[1] for row in matches[1:]]


def test_words_of_documents_from_elsewhere_are_left_out(
    run: Run, indexed: Callable[..., tuple], pylate_bert: Path, tmp_path: Path
) -> None:
    more = tmp_path / "texts" / "corpus.jsonl"
    more.parent.mkdir()
    write_jsonl(more, [{"_id": "new", "title": "", "text": "sort names"}])
    assert run("encode", more.parent, "-o", tmp_path / "more", "-m", pylate_bert)[0] == 0
    assert run("index", "add", tmp_path / "i", tmp_path / "more")[0] == 0
    code, out, _ = run(*indexed("new", "--json"))
    assert code == 0
    assert {row["document_word"] for row in json.loads(out)["alignment"]} == {None}


def test_it_says_whether_an_index_setting_can_help(
    run: Run, indexed: Callable[..., tuple], encoded: Path
) -> None:
    store = EmbeddingStore(encoded)
    rank = {
        doc_id: json.loads(run(*indexed(doc_id, "--json"))[1])["exact"]["rank"]
        for doc_id in store.doc_ids
    }
    assert sorted(rank.values()) == list(range(1, store.n_docs + 1))
    last = max(rank, key=lambda doc_id: rank[doc_id])
    _, out, _ = run(*indexed(last, "-k", "1", "--n-candidates", "1"))
    assert "no index setting brings it reliably into the first 1" in out.splitlines()[-1]
    _, out, _ = run(*indexed(last, "-k", "1", "--no-exact"))
    assert f"{last}: exact search has it" not in out


def test_a_document_that_exact_search_has_among_the_results_can_be_brought_back() -> None:
    assert ExactRank(98, 5.6, 1000).verdict(100, is_result=False) == (
        "exact search has it at rank 98 with score 5.60, within the first 100: a setting of the "
        "index can bring it back"
    )
    assert "below rank 1,000: no index setting" in ExactRank(None, None, 1000).verdict(
        10, is_result=False
    )


def test_it_tries_other_settings(run: Run, indexed: Callable[..., tuple]) -> None:
    _, out, _ = run(*indexed("d6", "-k", "1", "--nprobe", "1", "--n-candidates", "2"))
    stages = dict(line.split("\t")[:2] for line in out.split("\n\n")[0].splitlines()[1:])
    assert "gathered" in stages  # without --nprobe a small index scores all documents in prune
    assert stages["scored"] == "2"
    code, _, err = run(*indexed("d6", "-k", "1", "--n-candidates", "0"))
    assert code == 2
    assert "n_candidates=0; pass a whole number, at least 1" in err
    code, _, err = run(*indexed("d6", "-k", "0"))
    assert code == 2
    assert "k=0" in err


def test_of_a_run_it_shows_the_passages(
    run: Run, beir: Path, pylate_bert: Path, tmp_path: Path
) -> None:
    for name, kept in (("kept", "true"), ("read", "false")):
        code, _, err = run(
            "eval", "demo", f"encoder.model={pylate_bert}", f"dataset.name={beir}", f"name={name}",
            f"storage.spans={kept}", f"output={tmp_path}", "encoder.document_length=24",
            "index.compare_with_exact=false", "dataset.max_queries=null",
            "dataset.sample_seed=null",
        )  # fmt: skip
        assert code == 0, err
    texts = {document.doc_id: text_of(document) for document in load_corpus(beir)}
    answers = [
        json.loads(run("explain", tmp_path / name, QUERY, "d4", "--json")[1])
        for name in ("kept", "read")
    ]
    for answer in answers:
        assert answer["spans"]
        assert [span["text"] for span in answer["spans"]] == [
            texts["d4"][span["start"] : span["end"]] for span in answer["spans"]
        ]
    assert answers[0]["spans"] == answers[1]["spans"]  # read from the text where no index has them


def test_of_exact_search_it_says_the_rank(
    run: Run, eval_config: Callable[..., Path], encoded: Path
) -> None:
    config = eval_config(extra="index: {kind: exact}\n")
    folder = json.loads(run("eval", config, "--json")[1])["run"]
    found = json.loads(run("search", folder, QUERY, "-k", "6", "--json")[1])
    for hit in found:
        answer = json.loads(run("explain", folder, QUERY, hit["doc_id"], "-k", "2", "--json")[1])
        assert [stage["stage"] for stage in answer["stages"]] == ["scored"]
        assert answer["stages"][0]["rank"] == hit["rank"]
        assert answer["stages"][0]["score"] == pytest.approx(hit["score"], abs=1e-3)
        assert ("below the 2 results" in answer["reason"]) == (hit["rank"] > 2)
    code, out, _ = run("explain", encoded, QUERY, "d4")  # embeddings alone
    assert code == 0
    assert "d4: result" in out
    code, _, err = run("explain", encoded, QUERY, "d9")
    assert code == 2
    assert "doc_id='d9' is not in" in err
    code, _, err = run("explain", encoded, QUERY, "d4", "--nprobe", "3")
    assert code == 2
    assert "is searched exactly" in err


def test_of_a_run_of_candidates_it_says_what_it_ranks(
    run: Run, eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "first.trec").write_text(
        "".join(f"{q} Q0 d1 1 2.0 x\n{q} Q0 d4 2 1.0 x\n" for q in ("q1", "q2", "q3"))
    )
    candidates = f"{{kind: rerank, candidates: {tmp_path / 'first.trec'}}}"
    config = eval_config(extra=f"index: {candidates}\n")
    code, out, err = run("eval", config, "--json")
    assert code == 0, err
    folder = Path(json.loads(out)["run"])
    code, out, _ = run("explain", folder, QUERY, "d4")
    assert code == 0
    assert "the run ranked candidates alone" in out
    settings = folder / "config.yaml"
    settings.write_text(settings.read_text().replace("kind: rerank", "kind: hybrid"))
    code, _, err = run("explain", folder, QUERY, "d4")
    assert code == 2
    assert "index.kind=hybrid, whose scores are not those of token embeddings" in err


def test_of_a_collection_it_has_the_text(run: Run, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c") as collection:
        collection.add(CORPUS)
    code, out, _ = run("explain", tmp_path / "c", "how to parse a date", "d1", "--json")
    assert code == 0
    answer = json.loads(out)
    assert any("parse a date" in span["text"] for span in answer["spans"])
    assert answer["exact"] is None
    assert answer["tokens_cut"] == 0
    for option in (("--exact",), ("--embeddings", tmp_path)):
        code, _, err = run("explain", tmp_path / "c", "date", "d1", *option)
        assert code == 2
        assert f"leave {option[0]} out" in err
    code, _, err = run("explain", tmp_path / "c", "date", "nowhere")
    assert code == 2
    assert "'nowhere' is not in the collection" in err


def test_a_page_holds_text_and_heat_map(run: Run, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c") as collection:
        collection.add([("<b>1", "parse a <script>alert(1)</script> date string")])
    page = tmp_path / "page.html"
    code, out, _ = run("explain", tmp_path / "c", "parse a date", "<b>1", "-o", page)
    assert (code, out.strip()) == (0, str(page))
    text = page.read_text("utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert 'class="heat"' in text
    assert "result 1" in text
    page.unlink()
    page.mkdir()
    code, _, err = run("explain", tmp_path / "c", "parse a date", "<b>1", "-o", page)
    assert code == 2
    assert "cannot write" in err


def test_an_index_alone_asks_for_the_embeddings(run: Run, encoded: Path, tmp_path: Path) -> None:
    assert run("index", "build", encoded, tmp_path / "i")[0] == 0
    code, _, err = run("explain", tmp_path / "i", QUERY, "d4")
    assert code == 2
    assert "with --embeddings" in err
    code, _, err = run("explain", tmp_path / "nowhere", QUERY, "d4")
    assert code == 2
    assert "no folder" in err


def test_the_old_name_says_the_new_one(
    run: Run, indexed: Callable[..., tuple], encoded: Path, tmp_path: Path
) -> None:
    old = ("index", "explain", tmp_path / "i", encoded, "d4", QUERY)
    code, out, err = run(*old)
    assert code == 0
    assert out == run(*indexed("d4"))[1]
    assert "is now called colmodern explain" in err
    code, _, err = run(*old[:4], "d4", "sort", "names")
    assert code == 2
    assert "the query in quotes" in err
    assert "explain" not in run("index", "--help")[1]
