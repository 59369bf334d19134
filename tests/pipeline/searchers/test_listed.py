"""An evaluation over shards that a config lists: folders, and indexes of servers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline.evaluate.test_run import run
from service.conftest import MakeServer, ending_servers

from colmodern import Encoder, PlaidIndex, RemoteIndex
from colmodern.config.load import load_eval_config
from colmodern.errors import ConfigError, InputError, StorageError, UnavailableError
from colmodern.pipeline.compressed import ListedShards
from colmodern.pipeline.open.artifacts import index_of, searched_index_of, store_of

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

Config = Callable[..., Path]


@pytest.fixture
def shards(eval_config: Config) -> list[str]:
    """The folders of two shards that an evaluation built, outside of its cache."""
    built, _ = run(eval_config(extra="index: {kind: sharded, shards: 2}\n"), "name=built")
    folder = index_of(built.folder)
    assert folder is not None
    copy = shutil.copytree(folder, built.folder.parents[1] / "copy")
    return [str(copy / "shard-00000"), str(copy / "shard-00001")]


@pytest.fixture
def serve() -> Iterator[MakeServer]:
    with ending_servers() as start:
        encoder = Encoder.from_pretrained("colmodern/tiny", device="cpu")
        yield lambda model=encoder, **settings: start(model, **settings)


def listed(*locations: str, **settings: Any) -> str:
    return f"index={json.dumps({'kind': 'sharded', 'shards': list(locations), **settings})}"


def test_folders_and_servers_give_the_run_of_shards_that_are_built(
    shards: list[str], eval_config: Config, serve: MakeServer, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("a-long-secret-key-of-this-test\n")
    server = serve(indexes={"second": shards[1]}, api_key_file=str(tmp_path / "key"))
    address = f"{server.url}/v1/indexes/second"
    config, runs = eval_config(), tmp_path / "runs"
    expected = (runs / "built" / "run.trec").read_text()
    for name, second in (("folders", shards[1]), ("mixed", address)):
        settings = {"api_key_file": str(tmp_path / "key")} if name == "mixed" else {}
        result, _ = run(config, f"name={name}", listed(shards[0], second, **settings))
        assert (result.folder / "run.trec").read_text() == expected
        metrics = json.loads((result.folder / "metrics.json").read_text())
        assert (metrics["index"]["kind"], metrics["index"]["shards"]) == ("sharded", 2)
        assert metrics["overlap"]["overlap@10"] == 1.0
        assert (result.loss_stages == ()) == (name == "mixed")
        again = searched_index_of(result.folder)
        assert isinstance(again, ListedShards)
        assert again.locations == (shards[0], second)
        index = again.open()
        assert index.n_docs == metrics["documents"]
        index.close()


def test_documents_are_encoded_only_where_they_are_needed(
    shards: list[str], eval_config: Config, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "runs" / ".cache")
    options = (listed(*shards, compare_with_exact=False), "name=alone")
    result, _ = run(eval_config(), *options)
    assert store_of(result.folder).n_docs == 0
    expected = (tmp_path / "runs" / "built" / "run.trec").read_text()
    assert (result.folder / "run.trec").read_text() == expected
    rescored, _ = run(eval_config(), listed(*shards, rescore=True), "name=rescored")
    assert rescored.facts["documents"] == store_of(rescored.folder).n_docs > 0


def test_a_changed_shard_is_searched_anew_and_other_documents_are_refused(
    shards: list[str], eval_config: Config
) -> None:
    run(eval_config(), listed(*shards), "name=first")
    _, notes = run(eval_config(), listed(*shards), "name=again")
    assert any("search: reused" in note for note in notes)
    index = PlaidIndex.load(shards[0])
    doc_id = index.doc_ids[0]
    index.delete([doc_id])
    with pytest.raises(
        ConfigError, match=r"index\.shards have \d+ documents together, and the coll"
    ):
        run(eval_config(), listed(*shards), "name=third")


def test_stages_begin_with_listed_shards(
    shards: list[str], eval_config: Config, tmp_path: Path
) -> None:
    first = json.dumps({"kind": "sharded", "shards": shards})
    index = f"index={{kind: rerank, candidates: {first}, depth: 5}}"
    result, _ = run(eval_config(extra="measures: [nDCG@3]\nsearch: {k: 3}\n"), index)
    assert result.evaluation.mean["nDCG@3"] > 0


def own_codec(shards: list[str], name: str) -> str:
    """A shard of the same documents whose codec was learnt from others."""
    shard = PlaidIndex.load(shards[1])
    folder = Path(shards[1]).parent / name
    store = store_of(Path(shards[1]).parents[1] / "runs" / "built")
    rows = [store.doc_ids.index(doc_id) for doc_id in shard.doc_ids]
    PlaidIndex.build(store.select(rows), folder, shard.doc_ids, nbits=2).close()
    return str(folder)


def test_each_fault_of_a_list_is_one_clear_error(
    shards: list[str], eval_config: Config, serve: MakeServer, tmp_path: Path
) -> None:
    server = serve(indexes={"second": shards[1]})
    address = f"{server.url}/v1/indexes"
    (tmp_path / "empty").mkdir()
    other = own_codec(shards, "other")
    cases: list[tuple[list[str], type[Exception], str]] = [
        ([shards[0], str(tmp_path / "none")], ConfigError, r"there is no folder .*none; correct"),
        ([shards[0], str(tmp_path / "empty")], ConfigError, "empty holds no compressed index"),
        ([shards[0], other], ConfigError, "have different codecs"),
        ([shards[0], f"{address}/none"], InputError, "there is no index 'none'"),
        ([shards[0], "http://127.0.0.1:9/v1/indexes/x"], UnavailableError, "cannot be reached"),
        ([shards[0], shards[1], f"{shards[0]}/../shard-00001"], ConfigError, "each shard once"),
        (
            [*shards, str(shutil.copytree(shards[0], tmp_path / "twin"))],
            StorageError,
            "is in the sh",
        ),
        ([shards[0]], ConfigError, "documents together"),
    ]
    for locations, error, message in cases:
        with pytest.raises(error, match=message):
            run(eval_config(), listed(*locations), "name=refused")
    assert not (tmp_path / "runs" / "refused").exists()
    twice = [*shards, f"{address}/second"]  # a document of a server and of a folder
    with pytest.raises((ConfigError, StorageError), match=r"documents together|is in the shards"):
        run(eval_config(), listed(*twice), "name=refused")
    result, _ = run(eval_config(), listed(shards[0], other, own_codecs=True), "name=own")
    assert result.facts["index"]["shards"] == 2


def test_a_server_that_goes_away_fails_the_evaluation(
    shards: list[str], eval_config: Config, serve: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(indexes={"second": shards[1]})
    search = RemoteIndex.search_batch

    def gone(self: RemoteIndex, *arguments: Any, **options: Any) -> Any:
        server.end()
        server._thread.join(60)
        return search(self, *arguments, **options)

    monkeypatch.setattr(RemoteIndex, "search_batch", gone)
    address = f"{server.url}/v1/indexes/second"
    with pytest.raises(UnavailableError, match=r"1 of 2 shards did not answer .*cannot be reached"):
        run(eval_config(), listed(shards[0], address))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([listed()], r"index\.shards: there is no shard in the list"),
        (["index={kind: sharded, shards: [3]}"], r"index\.shards: 3 is no shard"),
        ([listed("ftp://host/x")], r"is the address of no served index.*/v1/indexes/NAME"),
        ([listed("http://host:80/docs")], r"is the address of no served index"),
        ([listed("a", "a")], r"'a' is there twice"),
        ([listed("a", nbits=2)], r"nbits=2: the shards are listed, and built already"),
        (
            ["index={kind: sharded, shards: 2, own_codecs: true}"],
            "own_codecs=True: the shards are to",
        ),
        ([listed("a", timeout_s=0)], r"index\.timeout_s"),
        (
            [listed("http://h/v1/indexes/x", rescore=True)],
            "rescore=true: http://h.* is on a server",
        ),
        ([listed("a"), "cluster={address: local}"], "lists shards.*leave cluster out"),
        (["index={kind: sharded, shards: true}"], r"index\.shards: give a number from 1 to 10,000"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    overrides: list[str], message: str, eval_config: Config
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_eval_config(eval_config(), overrides)
