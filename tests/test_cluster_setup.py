"""What can be said of a cluster without Ray."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import unit_rows

from colmodern import PlaidIndex, RemoteIndex
from colmodern.cli.main import main
from colmodern.cluster.build import BuildTask, CodecLearner, ShardBuilder
from colmodern.cluster.copies import copy_index
from colmodern.cluster.faults import error_here
from colmodern.cluster.replicas import VersionIndex
from colmodern.cluster.shared import await_file, expect_shared, share
from colmodern.config.cluster import ClusterConfig, shared_folder
from colmodern.config.load import build
from colmodern.config.models import EvalConfig
from colmodern.errors import (
    ConfigError,
    InputError,
    ResourceError,
    StorageError,
    UnavailableError,
    WorkerError,
)


@pytest.fixture
def encode(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str]]:
    """Calls `colmodern encode`; gives exit status and stderr."""

    def call(*options: str) -> tuple[object, str]:
        output = str(tmp_path / "output")
        with pytest.raises(SystemExit) as ended:
            main(["encode", "stdlib", "-m", "colmodern/tiny", "-o", output, *options])
        return ended.value.code, capfd.readouterr().err

    return call


@pytest.mark.parametrize("output", ["s3://bucket/folder", Path("gs://bucket/folder")])
def test_a_url_is_refused_because_files_are_mapped(output: Path | str) -> None:
    with pytest.raises(InputError, match="mount at the same path"):
        shared_folder("output", output)


@pytest.mark.parametrize("folder", ["runs", "/shared/a:b/c", "C:/runs"])
def test_a_folder_is_no_url(folder: str) -> None:
    assert shared_folder("output", folder) == Path(folder)


def test_a_config_of_a_cluster_with_a_url_as_output_is_refused() -> None:
    values = {"name": "x", "encoder": {"model": "colmodern/tiny"}, "output": "s3://bucket/runs"}
    with pytest.raises(ConfigError, match=r"output='s3://bucket/runs' is a URL"):
        build(EvalConfig, {**values, "cluster": {}}, source="x")


@pytest.mark.parametrize(
    ("cause", "error", "message"),
    [
        (MemoryError("9 GB"), ResourceError, "the builder ran out of memory at shard 1; lower x"),
        (ResourceError("too little"), ResourceError, "the builder at shard 1: too little"),
        (InputError("seed=a"), InputError, "the builder at shard 1: seed=a"),
        (KeyError("x"), WorkerError, "the builder failed at shard 1 with KeyError: 'x'"),
    ],
)
def test_an_error_of_another_process_says_whose_it_is(
    cause: BaseException, error: type[Exception], message: str
) -> None:
    made = error_here(
        cause,
        "the builder",
        job="shard 1",
        cure="lower x",
        out_of_memory=ResourceError,
        failed=WorkerError,
    )
    assert (type(made), str(made)) == (error, message)


def test_each_class_of_builders_says_what_its_jobs_are_called_and_where_they_end(
    tmp_path: Path,
) -> None:
    task = BuildTask(tmp_path / "store", tmp_path / "work", 2, ClusterConfig(), {})
    jobs = [(worker.job_name(1), worker.output(task, 1)) for worker in (CodecLearner, ShardBuilder)]
    assert jobs == [
        ("the codec", tmp_path / "work" / "codec"),
        ("shard-00001", tmp_path / "work" / "shards" / "shard-00001"),
    ]


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="names of machines come from Ray")
    with pytest.raises(StorageError, match="does not see"):
        expect_shared(tmp_path)
    share(tmp_path)
    expect_shared(tmp_path)


def test_a_file_of_another_machine_is_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colmodern.cluster.shared._PATIENCE", 0.1)
    with pytest.raises(StorageError, match="not seen here"):
        await_file(tmp_path / "shard-00000")
    (tmp_path / "shard-00000").mkdir()
    await_file(tmp_path / "shard-00000")


@pytest.mark.parametrize(
    ("cluster", "fault"),
    [
        ({"encoders": 0}, "encoders"),
        ({"gpus_per_encoder": 2}, "gpus_per_encoder"),
        ({"machines": 3}, "machines"),
    ],
)
def test_wrong_settings_of_a_cluster_are_named(cluster: dict[str, int], fault: str) -> None:
    values = {"name": "x", "encoder": {"model": "colmodern/tiny"}, "cluster": cluster}
    with pytest.raises(ConfigError, match=rf"cluster\.{fault}"):
        build(EvalConfig, values, source="x")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--encoders", "2"], "belong to --ray"),
        (["--ray", "auto", "--devices", "cpu,cpu"], "either --devices"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(
    options: list[str], fault: str, encode: Callable[..., tuple[object, str]]
) -> None:
    code, said = encode(*options)
    assert code == 2
    assert fault in said


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_the_extra_is_named(encode: Callable[..., tuple[object, str]]) -> None:
    code, said = encode("--ray", "auto")
    assert code == 2
    assert "pip install 'colmodern[ray]'" in said


def test_a_version_describes_the_shards_that_answer(tmp_path: Path) -> None:
    documents = unit_rows([5, 6, 7, 8], 16, 0)
    PlaidIndex.build(documents, tmp_path / "index").close()
    here = PlaidIndex.load(tmp_path / "index")
    lost = RemoteIndex("http://127.0.0.1:9", "x", timeout_s=5)
    index = VersionIndex({"here": here, "lost": lost}, allow_partial=True)
    assert (index.n_docs, index.dim, index.has_spans) == (4, 16, False)
    results = index.search(documents[0], 2)
    assert results[0].doc_id == "0"
    assert list(results.shards.missing) == ["lost"]
    whole = VersionIndex({"here": here}).version
    assert index.version == whole
    here.close()
    with pytest.raises(UnavailableError, match="shard here: it failed; see the server's log"):
        index.version  # noqa: B018


def test_a_copy_of_an_index_with_a_flipped_byte_is_refused_and_named(tmp_path: Path) -> None:
    PlaidIndex.build(unit_rows([5, 6, 7], 16, 0), tmp_path / "index").close()
    copy_index(tmp_path / "index", tmp_path / "copy")
    PlaidIndex.check(tmp_path / "copy")
    [codes] = (tmp_path / "index").rglob("codes.npy")
    damaged = bytearray(codes.read_bytes())
    damaged[-1] ^= 1
    codes.write_bytes(damaged)
    with pytest.raises(StorageError, match=r"codes\.npy differs from its checksum"):
        copy_index(tmp_path / "index", tmp_path / "second")
    assert {path.name for path in tmp_path.iterdir()} == {"index", "copy"}
