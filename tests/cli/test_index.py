"""colmodern index ...: built, changed, checked, attached and split into shards."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.test_main import Run, run
from conftest import unit_rows

from colmodern.cli.progress import TerminalProgress
from colmodern.ragged.store import ShardWriter

__all__ = ["run"]  # the fixture

LENGTHS = [5, 1, 0, 9, 12, 3, 7, 30]


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Many small files are written here, and no power fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def write_store(
    folder: Path, *, ids: list[str], dim: int = 16, seed: int = 0, encoder: str = "mine"
) -> Path:
    writer = ShardWriter(folder, fingerprint="of this test")
    writer.add(unit_rows(LENGTHS[: len(ids)], dim, seed), ids)
    writer.finish(encoder={"fingerprint": encoder * 8})
    return folder


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight documents, a ... h."""
    return write_store(tmp_path_factory.mktemp("embeddings") / "e", ids=list("abcdefgh"))


@pytest.fixture(scope="module")
def built(embeddings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of them, not to be changed."""
    from colmodern import PlaidIndex

    folder = tmp_path_factory.mktemp("index") / "index"
    PlaidIndex.build(embeddings, folder)
    return folder


@pytest.fixture
def index(built: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(built, tmp_path / "index"))


def info(run: Run, index: Path) -> dict:
    code, out, _ = run("index", "info", index, "--json")
    assert code == 0
    return json.loads(out)


def test_build_makes_the_index_of_the_library_and_says_where(
    run: Run, embeddings: Path, built: Path, tmp_path: Path
) -> None:
    code, out, err = run("index", "build", embeddings, tmp_path / "mine")
    assert (code, out.splitlines()[-1]) == (0, str(tmp_path / "mine"))
    assert "8 documents, 67 tokens of 16 dimensions" in out
    assert "compress: 67 tokens" in err
    mine = (tmp_path / "mine" / "manifest.json").read_bytes()
    assert mine == (built / "manifest.json").read_bytes()


def test_build_takes_its_settings(run: Run, embeddings: Path, tmp_path: Path) -> None:
    options = ("--nbits", 2, "--codec", "residual", "--n-centroids", 3, "--seed", 7)
    assert run("index", "build", embeddings, tmp_path / "i", *options, "--max-memory", "1G")[0] == 0
    settings = info(run, tmp_path / "i")["settings"]
    wanted = {"nbits": 2, "codec": "residual", "n_centroids": 3, "seed": 7}
    assert {name: settings[name] for name in wanted} == wanted


def test_the_old_name_of_an_option_is_taken_with_a_note(
    run: Run, embeddings: Path, tmp_path: Path
) -> None:
    options = ("index", "build", embeddings, tmp_path / "i", "--max-ram", "1G")
    code, _, err = run(*options)
    assert code == 0
    assert "--max-ram is now called --max-memory" in err
    code, _, err = run(*options, "--max-memory", "1G")
    assert code == 2
    assert "--max-ram is the old name of --max-memory; give --max-memory alone" in err


def test_add_delete_update_and_compact_change_what_is_found(
    run: Run, index: Path, tmp_path: Path
) -> None:
    more = write_store(tmp_path / "more", ids=["new 1", "new 2"], seed=1)
    code, out, _ = run("index", "add", index, more, "--no-merge", "--no-durable")
    assert (code, out.splitlines()[-1]) == (0, str(index))
    assert "10 documents" in out
    assert "3 deleted" in run("index", "delete", index, "a", "new 1", "h")[1]
    (tmp_path / "ids").write_text("new 2\nb\n")
    code, out, _ = run("index", "delete", index, "--from-file", tmp_path / "ids")
    assert code == 0
    assert "2 deleted\n5 documents" in out
    code, out, _ = run("index", "delete", index, "--from-file", tmp_path / "ids", "--skip-unknown")
    assert (code, out.splitlines()[0]) == (0, "0 deleted")
    same = write_store(tmp_path / "same", ids=["c", "d", "x"], seed=2)
    assert "6 documents" in run("index", "update", index, same, "--no-merge")[1]
    before = info(run, index)
    assert (before["deleted"], before["segments"]) == (7, 3)
    assert run("index", "compact", index)[0] == 0
    after = info(run, index)
    assert (after["documents"], after["deleted"], after["segments"]) == (6, 0, 1)
    code, out, err = run("index", "check", index)
    assert (code, out.splitlines()[-1]) == (0, str(index))
    assert "nothing is wrong" in out
    assert "check files" in err


def test_info_shows_counts_settings_and_parts(run: Run, built: Path) -> None:
    code, out, _ = run("index", "info", built)
    assert code == 0
    for text in ("documents", "tokens", "67", "nbits", "residuals", "total", "minemine"):
        assert text in out
    facts = info(run, built)
    assert (facts["documents"], facts["tokens"], facts["dim"]) == (8, 67, 16)
    assert facts["bytes"]["residuals"] > 0
    code, out, _ = run("info", built, "--verify")  # the general command knows an index too
    assert code == 0
    assert "bytes_per_token" in out


@pytest.mark.parametrize("arguments", [("--overwrite",), ("--overwrite", "--nbits", "2")])
def test_overwrite_replaces_an_index(
    run: Run, embeddings: Path, index: Path, arguments: tuple[str, ...]
) -> None:
    run("index", "delete", index, "a")
    assert run("index", "build", embeddings, index, *arguments)[0] == 0
    assert info(run, index)["documents"] == 8


BAD = {
    "over an index": ("build", "{embeddings}", "{index}", "or pass --overwrite"),
    "over a folder": ("build", "{embeddings}", "{tmp}", "exists; choose another folder"),
    "overwriting a folder": (
        "build",
        "{embeddings}",
        "{tmp}",
        "--overwrite",
        "it is not an index, so delete it yourself",
    ),
    "build of nothing": ("build", "{tmp}/none", "{tmp}/x", "no folder"),
    "build of no embeddings": ("build", "{tmp}", "{tmp}/x", "holds no embeddings"),
    "build of an index": ("build", "{index}", "{tmp}/x", "not 'colmodern-embeddings'"),
    "3 bits": ("build", "{embeddings}", "{tmp}/x", "--nbits", "3", "choose 1, 2, 4 or 8"),
    "no bits": ("build", "{embeddings}", "{tmp}/x", "--nbits", "many", "not a valid integer"),
    "unknown codec": ("build", "{embeddings}", "{tmp}/x", "--codec", "opq", "'pq'"),
    "no centroids": ("build", "{embeddings}", "{tmp}/x", "--n-centroids", "0", "n_centroids=0"),
    "bad seed": ("build", "{embeddings}", "{tmp}/x", "--seed", "-1", "-1 is not in the range"),
    "bad memory": ("build", "{embeddings}", "{tmp}/x", "--max-memory", "lots", "is not a size"),
    "little memory": ("build", "{embeddings}", "{tmp}/x", "--max-memory", "1K", "too little"),
    "odd dim": ("build", "{odd}", "{tmp}/x", "a multiple of 8"),
    "add another dim": ("add", "{index}", "{wide}", "dim=24, the index has dim=16"),
    "add another encoder": ("add", "{index}", "{foreign}", "another encoder"),
    "add known ids": ("add", "{index}", "{embeddings}", "is in the index already"),
    "add to nothing": ("add", "{tmp}/none", "{embeddings}", "there is no index"),
    "add to embeddings": ("add", "{embeddings}", "{embeddings}", "holds no PLAID index"),
    "update another dim": ("update", "{index}", "{wide}", "dim=24"),
    "delete unknown": ("delete", "{index}", "a", "zzz", "document 'zzz' is not in the index"),
    "delete nothing": ("delete", "{index}", "give either the ids"),
    "delete no file": ("delete", "{index}", "--from-file", "{tmp}/none", "cannot read"),
    "compact nothing": ("compact", "{tmp}/none", "there is no index"),
    "info of nothing": ("info", "{tmp}/none", "there is no index"),
    "info of foreign": ("info", "{tmp}", "holds no PLAID index"),
    "check of embeddings": ("check", "{embeddings}", "holds no PLAID index"),
    "unknown command": ("bild", "No such command"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_one_message_status_2_and_no_change(
    run: Run, case: str, index: Path, embeddings: Path, tmp_path: Path
) -> None:
    *arguments, message = BAD[case]
    paths = {
        "tmp": tmp_path,
        "index": index,
        "embeddings": embeddings,
        "odd": write_store(tmp_path / "odd", ids=["a"], dim=12),
        "wide": write_store(tmp_path / "wide", ids=["z"], dim=24),
        "foreign": write_store(tmp_path / "foreign", ids=["z"], encoder="other"),
    }
    before = files(tmp_path)
    code, out, err = run("index", *(argument.format(**paths) for argument in arguments))
    assert code == 2
    assert out == ""
    assert message in " ".join(err.split())
    assert "rror" in err
    assert "Traceback" not in err
    assert files(tmp_path) == before


def files(folder: Path) -> dict[str, bytes]:
    """What there is, beside locks and what an unfinished build leaves for the next."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock" and ".building" not in str(path)
    }


@pytest.mark.parametrize("debug", [("--debug", "index", "info"), ("index", "info", "--debug")])
def test_debug_stands_anywhere(debug: tuple[str, ...], tmp_path: Path) -> None:
    from colmodern.cli.main import main
    from colmodern.errors import StorageError

    with pytest.raises(StorageError):
        main([*debug, str(tmp_path)])


def test_a_flipped_byte_is_found(run: Run, index: Path) -> None:
    path = index / "segment-00000" / "residuals.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    code, out, err = run("index", "check", index)
    assert (code, out) == (2, "")
    assert f"{path} differs from its checksum" in err


def test_an_interrupted_build_says_so_and_goes_on(
    run: Run, embeddings: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = TerminalProgress.start

    def interrupt(self: TerminalProgress, task: str, total: int, **options: object) -> None:
        if task == "compress":
            raise KeyboardInterrupt
        start(self, task, total, **options)

    with monkeypatch.context() as patch:
        patch.setattr(TerminalProgress, "start", interrupt)
        code, _, err = run("index", "build", embeddings, tmp_path / "i")
    assert code == 130
    assert "learning the codec" in err
    assert "run the same command again to resume" in err
    code, _, err = run("index", "info", tmp_path / "i")
    assert code == 2
    assert "is unfinished; run the same build again" in err
    code, _, err = run("index", "build", embeddings, tmp_path / "i")
    assert code == 0
    assert "learning the codec" not in err
    mine = (tmp_path / "i" / "manifest.json").read_bytes()
    assert mine == (built / "manifest.json").read_bytes()


def test_a_segment_that_was_built_with_the_codec_is_attached(
    run: Run, index: Path, tmp_path: Path
) -> None:
    more = write_store(tmp_path / "more", ids=["x", "y", "z"], seed=3)
    built = run("index", "build", more, tmp_path / "other", "--codec-from", index)
    assert built[0] == 0, built
    code, out, _ = run("index", "attach", index, tmp_path / "other" / "segment-00000")
    assert (code, out.splitlines()[0], out.splitlines()[-1]) == (0, "3 attached", str(index))
    assert info(run, index)["documents"] == 11
    code, _, err = run("index", "attach", index, tmp_path / "other")
    assert code == 2
    assert "document 'x' is in the index already" in err
    assert run("index", "check", index)[0] == 0


def test_shards_are_used_as_an_index_is(
    run: Run, embeddings: Path, index: Path, tmp_path: Path
) -> None:
    code, out, _ = run("index", "shard", index, "-o", tmp_path / "s", "--shards", 3)
    assert (code, out.splitlines()[-1]) == (0, str(tmp_path / "s"))
    assert "8 documents in 3 shards, 67 tokens" in out
    code, out, _ = run("index", "check", tmp_path / "s")
    assert (code, out.splitlines()[0]) == (0, "nothing is wrong")
    assert info(run, tmp_path / "s")["shards"] == 3
    assert "shards" in run("index", "info", tmp_path / "s")[1]
    code, out, _ = run("info", tmp_path / "s", "--verify", "--json")
    assert json.loads(out)["documents"] == 8
    queries = write_store(tmp_path / "q", ids=["q1", "q2"], seed=4)
    for name, folder in (("one", index), ("several", tmp_path / "s")):
        arguments = ("search", embeddings, "--index", folder, "--queries", queries)
        assert run(*arguments, "--output", tmp_path / f"{name}.trec")[0] == 0
    one, several = ((tmp_path / f"{name}.trec").read_text() for name in ("one", "several"))
    assert several == one
    assert run("search", tmp_path / "s", "a query")[0] == 2
    more = write_store(tmp_path / "more", ids=["x", "y", "z"], seed=3)
    assert run("index", "add", tmp_path / "s", more)[0] == 0
    assert run("index", "update", tmp_path / "s", more)[0] == 0
    code, out, _ = run("index", "delete", tmp_path / "s", "x", "a")
    assert (code, out.splitlines()[0]) == (0, "2 deleted")
    assert run("index", "compact", tmp_path / "s")[0] == 0
    assert info(run, tmp_path / "s")["documents"] == 9


def test_shards_are_made_of_embeddings_too(run: Run, embeddings: Path, tmp_path: Path) -> None:
    arguments = ("index", "shard", embeddings, "-o", tmp_path / "s", "--shards", 2, "--nbits", 2)
    assert run(*arguments)[0] == 0
    assert info(run, tmp_path / "s")["settings"]["nbits"] == 2
    code, _, err = run(*arguments)
    assert code == 2
    assert "s holds shards already" in err
    shard = tmp_path / "s" / "shard-00000"
    code, _, err = run("index", "shard", shard, "-o", tmp_path / "t", "--shards", 2, "--nbits", 2)
    assert code == 2
    assert "--nbits is for embeddings" in err
