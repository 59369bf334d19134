"""A codec that encodes documents on a GPU, with the same bytes as the CPU's."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from threading import BoundedSemaphore, Lock
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from colmodern.codecs.centroids import Centroids
from colmodern.codecs.codec import Codec, CompressedDocuments, TokenIds, subject_shares
from colmodern.codecs.residuals import Quantizer, half_norms
from colmodern.kernels.cuda.assign import DeviceCentroids, assign_centroids
from colmodern.kernels.cuda.encoding import encode_by_weights, encode_residuals, mean_by_document
from colmodern.kernels.cuda.memory import HostCopy, in_tiles, naming_memory, on, to_device
from colmodern.kernels.cuda.runtime import is_interpreted
from colmodern.kernels.types import TokenGroups
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of

_interpreter = Lock()  # Triton's interpreter changes its own module while a kernel runs


def codec_on_device(codec: Codec, device: torch.device) -> Codec:
    """The codec with its tables on a GPU; safe for any number of threads."""
    values = {field_.name: getattr(codec, field_.name) for field_ in fields(Codec)}
    return CudaCodec(**values, device=device)


class DeviceQuantizer(NamedTuple):
    """A quantiser on a GPU.

    Attributes:
        codebook: (n_bytes, 256, width) float32.
        half_norms: (n_bytes, 256) float32.
        gain_step: Length for each step of a gain, as a number that float32 holds.
        weights: Cutoffs, levels, scales and tries of encode_by_weights, or None.
    """

    codebook: torch.Tensor
    half_norms: torch.Tensor
    gain_step: float
    weights: tuple[torch.Tensor, ...] | None

    @classmethod
    def of(cls, quantizer: Quantizer, device: torch.device) -> DeviceQuantizer:
        """A copy of a quantiser on a GPU."""
        given = quantizer.weights
        weights = None if given is None else tuple(_upload(one, device) for one in given)
        norms = half_norms(quantizer.codebook)
        step = float(np.float32(quantizer.gain_step))
        return cls(_upload(quantizer.codebook, device), _upload(norms, device), step, weights)

    def encode(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n,) uint8 gains and (n, n_bytes) uint8 entries of (n, dim) float32 vectors."""
        gains = torch.empty(len(vectors), dtype=torch.uint8, device=vectors.device)
        entries = gains.new_empty((len(vectors), len(self.codebook)))
        if self.weights is None:
            encode_residuals(
                vectors, self.codebook, self.half_norms, self.gain_step, gains, entries
            )
        else:
            cutoffs, levels, scales, tries = self.weights
            encode_by_weights(
                vectors, cutoffs, levels, scales, tries, self.gain_step, gains, entries
            )
        return gains, entries

    def decode(self, gains: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        """(n, dim) float32 vectors of gains and entries."""
        n_bytes, _, width = self.codebook.shape
        numbers = torch.arange(n_bytes, device=entries.device)
        directions = self.codebook[numbers, entries.long()].reshape(-1, n_bytes * width)
        return (gains.float() * self.gain_step)[:, None] * directions


@dataclass
class _Tile:
    """The number of documents at a time; lower once the GPU had no memory for more."""

    n_docs: int = 1 << 62


@dataclass(frozen=True, eq=False)
class CudaCodec(Codec):
    """A codec whose documents are encoded on a GPU."""

    device: torch.device
    tile: _Tile = field(default_factory=_Tile)
    # one batch is encoded while another is on its way
    turns: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(2))

    batch_tokens: ClassVar[int] = 1 << 17

    def encode(self, documents: TokenEmbeddings) -> CompressedDocuments:
        """Compress documents, fewer at a time where the GPU's memory runs out.

        Raises ResourceError when even a single document is too much.
        """
        if documents.n_tokens == 0:
            return super().encode(documents)
        parts: list[CompressedDocuments] = []

        def encode(start: int, stop: int) -> None:
            parts.append(self._encode(documents[start:stop]))

        with (
            naming_memory("the codec and a document", "free some, lower n_centroids"),
            on(self.device),
            _interpreter if is_interpreted() else self.turns,
        ):
            wanted = min(self.tile.n_docs, documents.n_docs)
            held = in_tiles(documents.n_docs, wanted, encode, what="documents")
            if held < wanted:
                self.tile.n_docs = held
        return CompressedDocuments(*map(np.concatenate, zip(*parts, strict=True)))

    def _encode(self, documents: TokenEmbeddings) -> CompressedDocuments:
        """``Codec.encode`` step by step: each is rounded as NumPy and the CPU's kernels round."""
        device, lengths = self.device, documents.lengths
        rest = to_device(documents.values, device).float() - self._mean
        offsets, n_tokens = to_device(offsets_of(lengths), device), len(rest)
        docs = torch.arange(len(lengths), device=device)
        doc_of = docs.repeat_interleave(offsets.diff(), output_size=n_tokens)
        shares = to_device(subject_shares(lengths), device)
        subjects = (_doc_means(rest, offsets).double() * shares[:, None]).float()
        codes = self._assign_on_device(rest - subjects[doc_of], documents.token_ids)
        centroids = self._tables
        rest -= centroids.values[codes].float() * centroids.scales[codes, None]
        doc_gains, doc_vectors = self._documents.encode(_doc_means(rest, offsets))
        rest -= self._documents.decode(doc_gains, doc_vectors)[doc_of]
        gains, residuals = self._residuals.encode(rest)
        copies = [HostCopy(one) for one in (codes, gains, residuals, doc_gains, doc_vectors)]
        codes_, *others = (np.array(copy.wait()) for copy in copies)
        return CompressedDocuments(codes_.astype(self.code_dtype), *others)

    def _assign_on_device(self, centred: torch.Tensor, ids: TokenIds | None) -> torch.Tensor:
        cells = self.centroids.cells_of_ids(ids, len(centred))
        if cells is None:
            means = self.centroids.cell_means
            alone = means.groups_of(np.zeros(len(centred), np.int64))
            cells = _nearest(centred, alone, self._cells).cpu().numpy()
        return _nearest(centred, self.centroids.groups_of(cells), self._tables)

    @cached_property
    def _mean(self) -> torch.Tensor:
        return _upload(self.mean, self.device)

    @cached_property
    def _tables(self) -> DeviceCentroids:
        return _tables_of(self.centroids, self.device)

    @cached_property
    def _cells(self) -> DeviceCentroids:
        return _tables_of(self.centroids.cell_means, self.device)

    @cached_property
    def _documents(self) -> DeviceQuantizer:
        return DeviceQuantizer.of(self.documents, self.device)

    @cached_property
    def _residuals(self) -> DeviceQuantizer:
        return DeviceQuantizer.of(self.residuals, self.device)


def _tables_of(centroids: Centroids, device: torch.device) -> DeviceCentroids:
    arrays = (centroids.values, centroids.scales, centroids.half_norms)
    return DeviceCentroids(*(_upload(array, device) for array in arrays))


def _nearest(
    centred: torch.Tensor, groups: TokenGroups, centroids: DeviceCentroids
) -> torch.Tensor:
    """(n_tokens,) int64 nearest centroids."""
    codes = torch.empty(len(centred), dtype=torch.int64, device=centred.device)
    assign_centroids(centred, groups, centroids, codes)
    return codes


def _doc_means(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """(n_docs, dim) float32 means of documents' tokens; zero for a document without tokens."""
    means = values.new_empty((len(offsets) - 1, values.shape[1]))
    mean_by_document(values, offsets, means)
    return means


def _upload(array: npt.NDArray[np.generic], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(array)).to(device)
