"""Encodes texts: texts in, one unit vector per token out."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from colmodern.arguments import (
    checked_count,
    checked_path,
    expect_choice,
    expect_counts,
    expect_flags,
)
from colmodern.checks import shown
from colmodern.encoder.checkpoint.checkpoint import Checkpoint, read_checkpoint
from colmodern.encoder.embedding import embed_texts
from colmodern.encoder.model.backbone import pick_dtype, resolve_attention
from colmodern.encoder.model.memory import release_free_memory
from colmodern.encoder.model.packing import Indices
from colmodern.encoder.model.precision import resolve_dtype
from colmodern.encoder.model.token_model import TokenModel, TokenRows
from colmodern.encoder.pickling import reduce_encoder
from colmodern.encoder.recipe import describe, fingerprint_of
from colmodern.encoder.text.check import check_texts
from colmodern.encoder.text.settings import ROLES, EncoderSettings, Role
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.encoder.text.tokenizer import TextTokenizer
from colmodern.errors import ConfigError, InputError
from colmodern.kernels.device import resolve_device
from colmodern.progress import Progress, as_progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.units import parse_bytes

logger = logging.getLogger(__name__)


class Encoder:
    """A late-interaction encoder: a backbone, its projection and the rules that tokenize texts.

    Load one with ``from_pretrained``. Source: Khattab and Zaharia 2020, "ColBERT: Efficient and
    Effective Passage Search via Contextualized Late Interaction over BERT".

    Attributes:
        checkpoint: The checkpoint that it was loaded from.
        settings: The settings of its texts: lengths, markers, prompts, expansion, skiplist.
        tokenizer: The tokenizer with these settings.
        device: "cpu", "cuda" or "cuda:N".
        dtype: Name of the dtype of weights and activations.
        attention: "packed", "sdpa" or "eager".
        dim: Width of a token embedding.
        max_memory: Most bytes of a batch's activations, None for no limit.
        trust_remote_code: Whether the checkpoint's own code may run.
        new_projection: (dim, seed) of a new, untrained projection, or None.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: EncoderSettings,
        *,
        device: str | torch.device,
        dtype: str,
        attention: str,
        trust_remote_code: bool,
        new_projection: tuple[int, int] | None,
        max_memory: int | None,
    ) -> None:
        """Load the model of a checkpoint; callers use ``from_pretrained``, which checks settings."""
        self.checkpoint = checkpoint
        self.settings = settings
        self._device_setting = device  # "auto" is resolved again where an encoder is unpickled
        self.device = resolve_device(device, kernels="torch").setting
        self.dtype = resolve_dtype(dtype, self.device)
        self.attention = resolve_attention(attention, checkpoint.config)
        self.trust_remote_code = trust_remote_code
        self.new_projection = new_projection
        self._model = TokenModel(
            checkpoint,
            device=self.device,
            dtype=self.dtype,
            attention=self.attention,
            trust_remote_code=trust_remote_code,
            projection=new_projection,
        )
        self.dim = self._model.dim
        self.tokenizer = TextTokenizer(
            self._model.tokenizer, settings, masks_first_piece=checkpoint.kind == "stanford"
        )
        self.max_memory = max_memory
        self._fingerprints, self._has_warned = dict[Role, str](), False
        self._max_tokens = self._model.tokens_per_batch(max_memory, settings)
        release_free_memory()

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        device: str | torch.device = "auto",
        dtype: str = "float32",
        attention: str = "auto",
        trust_remote_code: bool = False,
        projection_dim: int | None = None,
        seed: int = 0,
        max_memory: int | str | None = None,
        **settings: Any,
    ) -> Encoder:
        """Load a PyLate, Stanford, sentence-transformers multi-vector or plain checkpoint.

        Args:
            name_or_path: A folder, a hub name, "package:NAME/FOLDER" in an installed package, or
                "colmodern/tiny", the model inside colmodern.
            revision: Branch, tag or commit on the hub; None for the main branch.
            device: "cpu", "cuda" or "cuda:N"; "auto" takes the GPU where there is one.
            dtype: Dtype of weights and activations: "float32", "bfloat16" or "float16"; "auto"
                takes bfloat16 where it is faster than float32. Packed attention on a CPU that is
                slow at bfloat16 keeps its weights in bfloat16 and computes in float32.
            attention: "packed" (ModernBERT without padding), or transformers' "sdpa" or "eager";
                "auto" takes packed where it fits the backbone, else sdpa.
            trust_remote_code: Whether to run the Python code of the checkpoint.
            projection_dim: Width of a new, untrained projection for a plain backbone.
            seed: Seed of that projection.
            max_memory: Most bytes of a batch's activations, beside the model and the result: a
                number, or text such as "2G".
            **settings: Fields of EncoderSettings that replace the checkpoint's.

        Returns:
            The encoder.

        Raises:
            CheckpointError: The checkpoint cannot be read.
            ConfigError: A setting does not fit the checkpoint or the machine.
        """
        checked_path("name_or_path", name_or_path, "a folder, or a name on the hub")
        if not isinstance(revision, str | None):
            raise ConfigError(f"revision={shown(revision)}; pass a branch, tag or commit, or None")
        try:
            expect_flags(trust_remote_code=trust_remote_code)
            expect_counts(projection_dim=projection_dim)
            seed = checked_count("seed", seed, least=0, most=(1 << 63) - 1)
        except InputError as error:
            raise ConfigError(str(error)) from None
        checkpoint = read_checkpoint(name_or_path, revision=revision, with_code=trust_remote_code)
        if projection_dim is not None and checkpoint.kind != "plain":
            raise ConfigError(
                f"projection_dim={projection_dim}, but {name_or_path} is a {checkpoint.kind} "
                "checkpoint with its own projection; leave it out"
            )
        merged = checkpoint.settings_with(settings)
        if not isinstance(dtype, str) or dtype != "auto":
            pick_dtype(dtype)
        return cls(
            checkpoint,
            merged,
            device=device,
            dtype=dtype,
            attention=attention,
            trust_remote_code=trust_remote_code,
            new_projection=None if projection_dim is None else (projection_dim, seed),
            max_memory=None if max_memory is None else parse_bytes(max_memory, name="max_memory"),
        )

    def with_settings(self, **settings: Any) -> Encoder:
        """Make an encoder with other settings that shares this one's model.

        Args:
            **settings: Fields of EncoderSettings that replace the checkpoint's. Settings that this
                encoder was loaded with are not kept.

        Returns:
            The other encoder.

        Raises:
            ConfigError: A setting does not fit the checkpoint.
        """
        merged = self.checkpoint.settings_with(settings)
        other = copy.copy(self)
        other._fingerprints, other._has_warned = {}, False
        other.settings, other.tokenizer = merged, self.tokenizer.with_settings(merged)
        other._max_tokens = self._model.tokens_per_batch(self.max_memory, merged)
        return other

    def __repr__(self) -> str:
        own, size = self.settings, f"dim={self.dim}, device={self.device!r}, dtype={self.dtype}"
        lengths = f"query_length={own.query_length}, document_length={own.document_length}"
        return f"Encoder({self.checkpoint.name!r}, {size}, {lengths})"

    def __copy__(self) -> Encoder:
        """Copy the encoder; both share the model."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name and settings: the model is loaded again where it is unpickled.

        Unpickling raises CheckpointError when the checkpoint is missing or has changed.
        """
        return reduce_encoder(self, device=self._device_setting)

    def encode_queries(
        self, texts: Iterable[str], *, spans: bool = False, progress: Progress | bool | None = None
    ) -> TokenEmbeddings:
        """Embed queries, with expansion tokens where the checkpoint uses them.

        The first time that queries are cut at query_length, a warning is logged.

        Args:
            texts: An ordered iterable of n_docs strings.
            spans: Whether to keep the characters that each token covers.
            progress: True for a bar on stderr.

        Returns:
            Embeddings of the queries: (n_tokens, dim) float32 unit rows.

        Raises:
            InputError: A query has no text, ``texts`` is a mapping, a set or one string, or an item
                is not a string.
        """
        tokenized = self.tokenize(texts, "query", spans=spans)
        if not self._has_warned and (cut := tokenized.describe_cut(self.settings.query_length)):
            self._has_warned = True  # once: searches encode queries one by one
            logger.warning("%s", cut)
        return self._encode(tokenized, "encode queries", progress)

    def encode_documents(
        self, texts: Iterable[str], *, spans: bool = False, progress: Progress | bool | None = None
    ) -> TokenEmbeddings:
        """Embed documents, without the tokens of the skiplist.

        An empty text is allowed: it has the rows of its special tokens and marker, and none where
        the checkpoint has neither.

        Args:
            texts: An ordered iterable of n_docs strings.
            spans: Whether to keep the characters that each token covers.
            progress: True for a bar on stderr.

        Returns:
            Embeddings of the documents: (n_tokens, dim) float32 unit rows, pooled where the
            settings say so.

        Raises:
            InputError: ``texts`` is a mapping, a set or one string, or an item is not a string.
        """
        tokenized = self.tokenize(texts, "document", spans=spans)
        return self.pool(self._encode(tokenized, "encode documents", progress))

    def _encode(
        self, tokenized: TokenizedTexts, task: str, progress: Progress | bool | None
    ) -> TokenEmbeddings:
        progress = as_progress(progress)
        progress.start(task, len(tokenized.offsets) - 1, unit="texts")
        embeddings = self.encode_tokens(tokenized, progress=progress)
        progress.finish()
        return embeddings

    def tokenize(
        self, texts: Iterable[str], role: Role, *, spans: bool = False,
        max_tokens: int | None = None,
    ) -> TokenizedTexts:  # fmt: skip
        """Tokenize texts, the first half of encoding; the result tells which texts were cut.

        Args:
            texts: An ordered iterable of strings.
            role: "query" or "document".
            spans: Whether to tell which characters each token covers.
            max_tokens: Tokens of a text that are read at most, also where it is split.

        Returns:
            Token ids, ready for ``encode_tokens``.

        Raises:
            InputError: An item is not a string or not valid text, or a query is empty.
        """
        expect_choice("role", role, ROLES)
        expect_flags(spans=spans)
        expect_counts(max_tokens=max_tokens)
        checked = check_texts(texts, role)
        tokenized = self.tokenizer.tokenize(checked, role, spans=spans, max_tokens=max_tokens)
        if role == "query" and (empty := np.flatnonzero(tokenized.lengths == 0)).size:
            raise InputError(
                f"query {empty[0]} has no token of this vocabulary; remove it or give it other text"
            )
        return tokenized

    def encode_tokens(
        self, tokenized: TokenizedTexts, *, progress: Progress | bool | None = None
    ) -> TokenEmbeddings:
        """Embed tokenized texts, the second half of encoding; ``pool`` may follow for documents.

        Args:
            tokenized: Result of ``tokenize``.
            progress: True for a bar on stderr.

        Returns:
            (n_tokens, dim) float32 unit rows with their token ids, in the order of the texts. A
            text whose tokens are all on the skiplist has no rows.

        Raises:
            CheckpointError: A file of weights was overwritten in place after it was loaded.
            ConfigError: The model's output is not finite in this dtype.
            InputError: ``tokenized`` is not a result of ``tokenize``.
            ResourceError: A single text does not fit into memory.
        """
        if not isinstance(tokenized, TokenizedTexts):
            raise InputError(
                f"tokenized is a {type(tokenized).__name__}; pass the result of tokenize"
            )
        if self.device == "cpu":  # on a GPU the weights are copies
            self.checkpoint.files.check_not_overwritten()
        embeddings, self._max_tokens = embed_texts(
            tokenized,
            self._forward,
            dim=self.dim,
            max_tokens=self._max_tokens,
            is_packed=self.attention == "packed",
            fingerprint=self.fingerprint("document"),
            progress=as_progress(progress),
        )
        return embeddings

    def pool(self, documents: TokenEmbeddings) -> TokenEmbeddings:
        """Pool the tokens of documents by the setting ``pool_factor``.

        Source: Clavié, Chaffin and Adams 2024, "Reducing the Footprint of Multi-Vector Retrieval
        with Minimal Performance Impact via Token Pooling".

        Args:
            documents: Embeddings of documents.

        Returns:
            Embeddings with fewer rows for each document, or the same object where ``pool_factor``
            is 1.

        Raises:
            InputError: ``documents`` are not TokenEmbeddings.
        """
        if not isinstance(documents, TokenEmbeddings):
            raise InputError(f"documents is a {type(documents).__name__}; pass TokenEmbeddings")
        if self.settings.pool_factor == 1:
            return documents
        from colmodern.encoder.pooling import pool_tokens  # loads numba

        settings = self.settings
        return pool_tokens(documents, settings.pool_factor, protected=settings.protected_tokens)

    def _forward(self, tokenized: TokenizedTexts, batch: Indices) -> TokenRows:
        """(n_tokens, dim) unit rows, windows of the batch one after another."""
        ids = tokenized.ids_of(batch, self.n_vocabulary)
        return self._model(ids, tokenized.attended[batch])

    def batch_bytes(self) -> int:
        """Memory of the activations of a full batch of the longest documents.

        Returns:
            Bytes, estimated from the model's sizes.
        """
        longest = self.settings.document_length
        return self._model.batch_bytes(max(self._max_tokens, longest), longest=longest)

    @property
    def n_vocabulary(self) -> int:
        """Number of tokens that the backbone knows."""
        return self._model.n_vocabulary

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the bytes of the weight files, in hexadecimal."""
        return self.checkpoint.weights_sha256

    def fingerprint(self, role: Role) -> str:
        """Digest of all that the embeddings of this role depend on, except hardware.

        Args:
            role: "query" or "document".

        Returns:
            SHA-256 in hexadecimal. Embeddings of equal fingerprints may be compared.
        """
        expect_choice("role", role, ROLES)
        if role not in self._fingerprints:
            self._fingerprints[role] = fingerprint_of(self, role)
        return self._fingerprints[role]

    def describe(self) -> dict[str, Any]:
        """Describe the encoder's recipe.

        Returns:
            Plain values for JSON: model, revision, kind, sizes, device, every setting, checksums.
        """
        return describe(self)
