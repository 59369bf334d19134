"""A codec on disk: a folder of plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from colmodern.codecs.centroids import Centroids
from colmodern.codecs.codec import Codec
from colmodern.codecs.residuals import Quantizer
from colmodern.errors import StorageError
from colmodern.files import naming_write_errors, read_error
from colmodern.ragged.arrays import write_array
from colmodern.ragged.mapped import map_file

Array: TypeAlias = npt.NDArray[Any]

_CURE = "build the index again, or bring a copy of it back"
_DTYPES: dict[str, npt.DTypeLike] = {
    "mean": np.float32,
    "centroid_rows": np.int8,
    "centroid_scales": np.float32,
    "cells": np.int64,
    "codebook": np.float32,
    "doc_codebook": np.float32,
    "numbers": np.float64,  # gain steps of the two codebooks, error, reach
    "token_cells": np.int32,
    "coarse": np.float32,
    "clusters": np.int32,
}
# a codec has one of the first two, and the last where it has many centroids
_OPTIONAL = ("token_cells", "coarse", "clusters")


def save_codec(folder: Path, codec: Codec) -> None:
    """Write every array as NAME.npy into an existing folder; raises StorageError for a full disk."""
    centroids = codec.centroids
    arrays: dict[str, Array | None] = {
        "mean": codec.mean,
        "centroid_rows": centroids.values,
        "centroid_scales": centroids.scales,
        "cells": centroids.cells,
        "token_cells": centroids.token_cells,
        "coarse": centroids.coarse,
        "clusters": centroids.clusters,
        "codebook": codec.residuals.codebook,
        "doc_codebook": codec.documents.codebook,
        "numbers": np.array(
            [codec.residuals.gain_step, codec.documents.gain_step, codec.error, codec.reach]
        ),
    }
    with naming_write_errors(folder):
        for name, array in arrays.items():
            if array is not None:
                write_array(folder / f"{name}.npy", array.astype(_DTYPES[name], copy=False))


def load_codec(folder: Path, expect_file: Callable[[Path, Array], None] | None = None) -> Codec:
    """Map a codec that save_codec wrote.

    Args:
        folder: The folder that it was written to.
        expect_file: Called with the path and the values of each file, to compare them with a
            checksum; None when the files have just been written.

    Raises:
        StorageError: Files are missing, are no files of arrays or do not fit each other.
    """
    arrays: dict[str, Array] = {}
    for name, dtype in _DTYPES.items():
        path = folder / f"{name}.npy"
        try:
            if name in _OPTIONAL and not path.exists():
                continue
            arrays[name] = map_file(path)
        except (OSError, ValueError, MemoryError) as error:
            raise read_error(path, error, cure=_CURE) from error
        if arrays[name].dtype != dtype:
            raise StorageError(
                f"{path} has dtype {arrays[name].dtype}, not {np.dtype(dtype)}; {_CURE}"
            )
        if expect_file is not None:
            expect_file(path, arrays[name])
    if not _fit(**arrays):
        raise StorageError(f"{folder} has files that do not fit each other; {_CURE}")
    gain_step, doc_gain_step, error_, reach = (float(number) for number in arrays["numbers"])
    centroids = Centroids(
        arrays["centroid_rows"],
        arrays["centroid_scales"],
        arrays["cells"],
        arrays.get("token_cells"),
        arrays.get("coarse"),
        arrays.get("clusters"),
    )
    return Codec(
        arrays["mean"],
        centroids,
        Quantizer(arrays["codebook"], gain_step),
        Quantizer(arrays["doc_codebook"], doc_gain_step),
        error_,
        reach,
    )


def _fit(
    mean: Array,
    centroid_rows: Array,
    centroid_scales: Array,
    cells: Array,
    codebook: Array,
    doc_codebook: Array,
    numbers: Array,
    token_cells: Array | None = None,
    coarse: Array | None = None,
    clusters: Array | None = None,
) -> bool:
    """Whether shapes agree and no number leads out of an array."""
    dim, n_centroids, n_cells = mean.size, centroid_scales.size, cells.size - 1
    by_ids, by_means = token_cells is not None, coarse is not None
    return bool(
        mean.shape == (dim,)
        and dim % 8 == 0 < dim
        and centroid_scales.shape == (n_centroids,)
        and centroid_rows.shape == (n_centroids, dim)
        and _spans(codebook, dim)
        and _spans(doc_codebook, dim)
        and numbers.shape == (4,)
        and np.isfinite(numbers).all()
        and cells.shape == (n_cells + 1,)
        and n_cells > 0
        and (cells[0], cells[-1]) == (0, n_centroids)
        and np.all(np.diff(cells) > 0)
        and by_ids != by_means
        and (token_cells is None or _within(token_cells, -1, n_cells))
        and (coarse is None or coarse.shape == (n_cells, dim))
        and (
            clusters is None or (clusters.size == n_centroids and _within(clusters, 0, n_centroids))
        )
    )


def _spans(codebook: Array, dim: int) -> bool:
    return codebook.ndim == 3 and codebook.shape[1] == 256 and codebook[:, 0].size == dim


def _within(array: Array, least: int, end: int) -> bool:
    fits = array.ndim == 1 and array.size > 0
    return fits and bool(array.min() >= least and array.max() < end)
