from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index.plaid.corpora import corpus, lengths_like_passages, names

from colmodern import PlaidIndex
from colmodern.errors import InputError, ResourceError, StorageError
from colmodern.files import sha256_of_json, write_json
from colmodern.index.plaid.disk import verify
from colmodern.index.plaid.disk.manifest import commit, read_manifest
from colmodern.index.plaid.disk.segment import ADDRESSES, SEGMENT_FILES, VALUES, record_segment
from colmodern.index.plaid.disk.storage import open_index
from colmodern.ragged.arrays import map_array, write_array

VALUE_FILES = [f"{name}.npy" for name in VALUES]
QUERY = np.asarray(corpus([4], seed=9).values, np.float32)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify") / "index"
    index = PlaidIndex.build(corpus(lengths_like_passages(60)), folder, names(60))
    index.add(corpus(lengths_like_passages(20, 1), seed=1), names(20, "n"), merge=False)
    index.delete(["d3", "n4"])
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "index")
    return tmp_path / "index"


def flip(path: Path, *, bit: int = 3, at: int = -1) -> None:
    """One bit of the last byte, which is one of the values."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def search(index: PlaidIndex) -> list[Any]:
    return [*index.search(QUERY, 5, nprobe=2, n_candidates=10), *index.search(QUERY, 80)]


@pytest.mark.parametrize("file", [f for f in SEGMENT_FILES if f in ADDRESSES])
def test_a_flipped_bit_in_offsets_or_ids_is_refused_by_load(folder: Path, file: str) -> None:
    flip(folder / "segment-00001" / file, bit=0)
    with pytest.raises(StorageError, match=rf"segment-00001/{file}"):
        PlaidIndex.load(folder)


def test_a_flipped_bit_in_codec_or_deletions_is_refused_by_load(folder: Path) -> None:
    for path in [*sorted((folder / "codec").iterdir()), folder / "deleted-00000.npy"]:
        whole = path.read_bytes()
        flip(path)
        with pytest.raises(StorageError, match=rf"{path.name} differs from its checksum"):
            PlaidIndex.load(folder)
        path.write_bytes(whole)
    PlaidIndex.load(folder)


USES: dict[str, Callable[[PlaidIndex], object]] = {
    "search": lambda index: index.search(QUERY, 5),
    "search of little": lambda index: index.search(QUERY, 1, nprobe=1, n_candidates=1),
    "filter": lambda index: index.search(QUERY, 5, filter=["d1"]),
    "batch": lambda index: index.search_batch(corpus([3, 4]), 5),
    "explain": lambda index: index.explain(QUERY, "d1"),
    "compact": lambda index: index.compact(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("file", VALUE_FILES)
def test_a_flipped_bit_in_tokens_or_lists_is_refused_before_it_is_used(
    folder: Path, file: str, use: str
) -> None:
    flip(folder / "segment-00000" / file)
    before = sorted(path.name for path in folder.iterdir())
    index = PlaidIndex.load(folder)
    for _ in range(2):  # a second call is not told otherwise
        with pytest.raises(StorageError, match=rf"segment-00000/{file} differs from its checksum"):
            USES[use](index)
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == [
        name for name in before if name != ".lock"
    ]
    with pytest.raises(StorageError, match=file):
        PlaidIndex.load(folder, verify="full")
    with pytest.raises(StorageError, match=file):
        PlaidIndex.check(folder)


def test_addresses_are_enough_when_asked_for_but_codes_and_lists_stay_in_range(
    folder: Path,
) -> None:
    truth = search(PlaidIndex.load(folder))
    residuals = folder / "segment-00000" / "residuals.npy"
    whole = residuals.read_bytes()
    residuals.write_bytes(whole[:128] + bytes(len(whole) - 128))
    assert search(PlaidIndex.load(folder, verify="addresses")) != truth
    for file, message in (
        ("codes.npy", "names centroid"),
        ("list_docs.npy", "names documents outside"),
    ):
        path = folder / "segment-00000" / file
        data = path.read_bytes()
        path.write_bytes(data[:-2] + b"\xff\xff")
        index = PlaidIndex.load(folder, verify="addresses")
        with pytest.raises(StorageError, match=rf"{file} {message}"):
            search(index)
        path.write_bytes(data)


def test_arrays_with_right_checksums_that_lead_out_are_refused(folder: Path) -> None:
    again = sealing(folder)
    for file, message in (
        ("codes.npy", "names centroid"),
        ("list_docs.npy", "names documents outside"),
    ):
        path = folder / "segment-00000" / file
        whole = path.read_bytes()
        array = np.array(map_array(path))
        array[-1] = 65535
        write_array(path, array)
        again()
        with pytest.raises(StorageError, match=rf"{file} {message}"):
            search(PlaidIndex.load(folder))
        path.write_bytes(whole)
        again()


def sealing(folder: Path) -> Callable[[], None]:
    """Gives the first segment the checksums that its files have now."""

    def again() -> None:
        manifest = read_manifest(folder)
        first, *others = manifest.segments
        first = record_segment(
            folder / first.name, first.name, n_docs=first.n_docs, n_tokens=first.n_tokens
        )
        commit(folder, manifest.model_copy(update={"segments": (first, *others)}))

    return again


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Segments whose tokens and lists were read, in order."""
    names: list[str] = []
    whole = verify.expect_values

    def counted(folder: Path, segment: Any, *others: Any) -> None:
        names.append(segment.name)
        whole(folder, segment, *others)

    monkeypatch.setattr(verify, "expect_values", counted)
    return names


def test_a_segment_is_compared_once_whatever_changes_beside_it(
    folder: Path, compared: list[str]
) -> None:
    index = PlaidIndex.load(folder)
    assert compared == []
    search(index)
    search(index)
    assert compared == ["segment-00000", "segment-00001"]
    index.delete(["d9"])
    index.add(corpus([4, 5], seed=3), ["x", "y"], merge=False)
    search(index)
    assert compared == ["segment-00000", "segment-00001", "segment-00002"]
    index.compact()
    search(index)
    assert compared[3:] == ["segment-00003"]


def test_a_fresh_load_compares_anew(folder: Path, compared: list[str]) -> None:
    for _ in range(2):
        PlaidIndex.load(folder, verify="full")
    assert len(compared) == 4


def test_an_open_index_is_verified_though_a_writer_removed_its_files(folder: Path) -> None:
    index, truth = PlaidIndex.load(folder), search(PlaidIndex.load(folder))
    PlaidIndex.load(folder).compact()
    assert not (folder / "segment-00000").exists()
    assert search(index) == truth


def test_indexes_without_fast_checksums_are_verified_by_sha256_and_can_be_changed(
    folder: Path,
) -> None:
    truth = search(PlaidIndex.load(folder))
    fields = json.loads((folder / "manifest.json").read_text())
    for record in (fields["codec"], *fields["segments"]):
        del record["fast"]
    del fields["sha256"], fields["format"], fields["version"]
    write_json(
        folder / "manifest.json",
        {"format": "colmodern-plaid", "version": 2, "sha256": sha256_of_json(fields), **fields},
    )
    index = PlaidIndex.load(folder)
    assert search(index) == truth
    PlaidIndex.check(folder)
    path = folder / "segment-00000" / "gains.npy"
    flip(path)
    with pytest.raises(StorageError, match=r"gains\.npy differs from its checksum"):
        search(PlaidIndex.load(folder))
    flip(path)
    index.add(corpus([4], seed=3), ["x"])
    index.compact()
    assert json.loads((folder / "manifest.json").read_text())["version"] == 3
    PlaidIndex.check(folder)


def test_compact_names_a_damaged_source_and_leaves_the_index_as_it_was(folder: Path) -> None:
    for file in SEGMENT_FILES:
        path = folder / "segment-00001" / file
        whole = path.read_bytes()
        flip(path, bit=4)
        before = (folder / "manifest.json").read_bytes()
        with pytest.raises(StorageError, match=rf"segment-00001/{file} "):
            PlaidIndex.load(folder).compact()
        assert (folder / "manifest.json").read_bytes() == before
        path.write_bytes(whole)
    PlaidIndex.load(folder).compact()
    PlaidIndex.check(folder)


def test_merged_deletions_are_those_that_were_verified(folder: Path) -> None:
    index = PlaidIndex.load(folder)
    for i in range(20, 60):
        index.delete([f"d{i}"])
    for i in range(0, 19):
        index.delete([f"n{i}" if i != 4 else "d1"])
    for i in (5, 6, 7, 8):
        index.delete([f"d{i}"])
    records = read_manifest(folder).deletions
    assert len(records) == 64
    path = folder / records[5].name
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + (2).to_bytes(8, "little"))
    with pytest.raises(StorageError, match=rf"{path.name} differs from its checksum"):
        PlaidIndex.load(folder)
    index.delete(["d10"])  # what it read before was right, and is written anew
    assert len(read_manifest(folder).deletions) == 1
    PlaidIndex.check(folder)
    assert PlaidIndex.load(folder).n_docs == index.n_docs


@pytest.mark.parametrize("kind", ["pipe", "folder", "endless device"])
def test_what_is_no_file_is_refused_at_once(folder: Path, kind: str) -> None:
    files = ["manifest.json", "codec/mean.npy", "deleted-00000.npy", *SEGMENT_FILES]
    for name in files:
        path = folder / ("segment-00000" if name in SEGMENT_FILES else ".") / name
        content = path.read_bytes()
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero")
        with pytest.raises(StorageError, match=r"is not a regular file"):
            PlaidIndex.load(folder)
        path.rmdir() if kind == "folder" else path.unlink()
        path.write_bytes(content)


def test_a_pipe_beside_the_codec_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "codec" / "coarse.npy")
    with pytest.raises(StorageError, match=r"coarse\.npy cannot be read .*not a regular file"):
        PlaidIndex.load(folder)


def test_limits_of_the_machine_are_not_called_damage(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, kind in ((errno.EMFILE, ResourceError), (errno.ENOMEM, ResourceError)):

        def fail(path: Path, code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        for module in ("segment", "doc_ids", "tombstones", "storage", "manifest"):
            name = "expect_regular" if module == "manifest" else "map_file"
            with monkeypatch.context() as patch:
                patch.setattr(f"colmodern.index.plaid.disk.{module}.{name}", fail)
                with pytest.raises(kind, match="nothing is damaged"):
                    PlaidIndex.load(folder)
        with monkeypatch.context() as patch:
            patch.setattr("colmodern.codecs.files.map_file", fail)
            with pytest.raises(kind, match="nothing is damaged"):
                PlaidIndex.load(folder)


ABSURD = [10**12, 2**63, 10**30, -1]


@pytest.mark.parametrize("value", ABSURD)
def test_absurd_counts_are_refused_without_allocating(folder: Path, value: int) -> None:
    whole = json.loads((folder / "manifest.json").read_text())
    body = {key: whole[key] for key in whole.keys() - {"format", "version", "sha256"}}
    for place in ("n_docs", "n_tokens", "n", "dim", "n_centroids"):
        fields = json.loads(json.dumps(body))
        if place in ("n_docs", "n_tokens"):
            fields["segments"][0][place] = value
        elif place == "n":
            fields["deletions"][0]["n"] = value
        else:
            fields[place] = value
        write_json(folder / "manifest.json", whole | {"sha256": sha256_of_json(fields)} | fields)
        with pytest.raises(StorageError):
            PlaidIndex.load(folder)


@pytest.mark.parametrize("shape", ["999999999999999999,", "0, 999999999999999999,", "1, 1, 1,", ""])
def test_headers_of_absurd_shapes_are_refused_without_allocating(folder: Path, shape: str) -> None:
    paths = [folder / "segment-00000" / name for name in SEGMENT_FILES if name != "ids.bin"]
    for path in [*paths, *sorted((folder / "codec").iterdir()), folder / "deleted-00000.npy"]:
        whole = path.read_bytes()
        head, tail = whole[:128], whole[128:]
        start, stop = head.index(b"(") + 1, head.index(b")")
        changed = head[:start] + shape.encode() + head[stop:].rstrip()
        path.write_bytes(changed.ljust(127)[:127] + b"\n" + tail)
        with pytest.raises(StorageError):
            PlaidIndex.load(folder)
        path.write_bytes(whole)


def test_half_a_surrogate_in_a_manifest_is_refused_and_never_written(folder: Path) -> None:
    manifest = read_manifest(folder)
    for changes in ({"settings": {"\ud800": 1}}, {"fingerprint": "a\udfff"}):
        with pytest.raises(InputError, match="half a surrogate pair"):
            commit(folder, manifest.model_copy(update=changes))
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"seed"', '"\\ud800"'))
    with pytest.raises(StorageError, match=r"manifest\.json differs from its checksum"):
        PlaidIndex.load(folder)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"1" * 5000, b"null", b"{}", b""])
def test_a_manifest_of_something_else_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"manifest\.json"):
        open_index(folder)


def test_another_way_to_verify_is_refused(folder: Path) -> None:
    with pytest.raises(
        InputError, match="verify='some'; choose one of 'lazy', 'full', 'addresses'"
    ):
        PlaidIndex.load(folder, verify="some")  # type: ignore[arg-type]


def test_large_segments_are_compared_by_threads_with_the_same_result(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = search(PlaidIndex.load(folder))
    monkeypatch.setattr(verify, "_ALONE_BYTES", 0)
    assert search(PlaidIndex.load(folder)) == truth
    flip(folder / "segment-00001" / "gains.npy")
    with pytest.raises(StorageError, match=r"gains\.npy differs from its checksum"):
        search(PlaidIndex.load(folder))
