from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from index.plaid.corpora import corpus, sample_of

from colmodern import TokenEmbeddings
from colmodern.codecs import centroids
from colmodern.codecs.codec import Codec, train_codec
from colmodern.codecs.files import load_codec, save_codec
from colmodern.errors import StorageError
from colmodern.progress import Silent
from colmodern.ragged.arrays import map_array, write_array

TEXTS = corpus([40] * 10, 16)


def learn(with_ids: bool) -> Codec:
    return train_codec(
        sample_of(TEXTS, with_ids=with_ids),
        n_centroids=20,
        nbits=2,
        kind="pq",
        seed=0,
        progress=Silent(),
    )


@pytest.fixture(params=[False, True], ids=["without ids", "with ids"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    save_codec(tmp_path, learn(request.param))
    return tmp_path


@pytest.mark.parametrize("few", [1, 1 << 16])
@pytest.mark.parametrize("with_ids", [False, True])
def test_a_codec_comes_back_as_it_was(
    tmp_path: Path, with_ids: bool, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centroids, "FEW_CENTROIDS", few)
    codec = learn(with_ids)
    save_codec(tmp_path, codec)
    loaded = load_codec(tmp_path)
    texts = TEXTS if with_ids else TokenEmbeddings(TEXTS.values, TEXTS.offsets)
    encoded = codec.encode(texts)
    for mine, other in zip(encoded, loaded.encode(texts), strict=True):
        assert np.array_equal(mine, other)
    decoded = (each.decode(encoded, texts.lengths) for each in (codec, loaded))
    assert np.array_equal(*decoded)
    assert (loaded.error, loaded.reach) == (codec.error, codec.reach)
    clusters = codec.centroids.clusters
    assert (clusters is None) == (few > 1)
    assert np.array_equal(loaded.centroids.clusters, clusters) or clusters is None


def test_a_missing_or_cut_file_is_named(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(StorageError, match=path.name):
            load_codec(folder)
        path.unlink()
        with pytest.raises(StorageError, match=rf"{path.name}|do not fit each other"):
            load_codec(folder)
        path.write_bytes(whole)
    load_codec(folder)


def test_files_of_another_dtype_or_shape_are_refused(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        array = np.array(map_array(path))
        write_array(path, array.astype(np.float16))
        with pytest.raises(StorageError, match=rf"{path.name} has dtype float16"):
            load_codec(folder)
        if path.stem != "token_cells":  # as long as the vocabulary that was seen
            write_array(path, array[:-1])
            with pytest.raises(StorageError, match="do not fit each other"):
                load_codec(folder)
        write_array(path, array.reshape(1, *array.shape))
        with pytest.raises(StorageError, match="do not fit each other"):
            load_codec(folder)
        write_array(path, array)
    load_codec(folder)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("cells", 1, 10**6),
        ("cells", 0, 1),
        ("token_cells", 0, 10**6),
        ("numbers", 0, np.nan),
        ("clusters", 0, 10**6),
        ("clusters", 0, -1),
    ],
)
def test_numbers_that_lead_out_of_an_array_are_refused(
    tmp_path: Path, name: str, place: int, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centroids, "FEW_CENTROIDS", 1)
    save_codec(tmp_path, learn(True))
    array = np.array(map_array(tmp_path / f"{name}.npy"))
    array[place] = value
    write_array(tmp_path / f"{name}.npy", array)
    with pytest.raises(StorageError, match="do not fit each other"):
        load_codec(tmp_path)
