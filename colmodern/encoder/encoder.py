"""Texts in, one unit vector per token out."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from colmodern.arguments import (
    checked_count,
    checked_path,
    expect_choice,
    expect_counts,
    expect_flags,
)
from colmodern.checks import shown
from colmodern.encoder.backbone import open_backbone, pick_dtype, resolve_attention
from colmodern.encoder.batching import Indices, run_in_budget
from colmodern.encoder.checkpoint import Checkpoint, read_checkpoint
from colmodern.encoder.formats import longest_input
from colmodern.encoder.memory import bytes_of, release_free_memory, tokens_within
from colmodern.encoder.pickling import reduce_encoder
from colmodern.encoder.precision import resolve_dtype
from colmodern.encoder.projection import Projection, seeded_layer
from colmodern.encoder.settings import ROLES, EncoderSettings, Role
from colmodern.encoder.texts import check_texts
from colmodern.encoder.tokenizer import TextTokenizer, TokenizedTexts
from colmodern.errors import ConfigError, InputError
from colmodern.files import sha256_of_json
from colmodern.kernels.device import resolve_device
from colmodern.progress import Progress, as_progress
from colmodern.ragged.embeddings import TokenEmbeddings, offsets_of
from colmodern.units import parse_bytes

logger = logging.getLogger(__name__)

_FORMAT = 1  # bump when the same checkpoint and settings give other embeddings


class Encoder:
    """A backbone, its projection and the rules that turn text into tokens."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: EncoderSettings,
        *,
        device: str | torch.device,
        dtype: str,
        attention: str,
        trust_remote_code: bool,
        projection: tuple[int, int] | None,
        max_memory: int | None,
    ) -> None:
        """Use ``from_pretrained``; projection is (dim, seed) of a new layer, or None."""
        self.checkpoint = checkpoint
        self.settings = settings
        self._device_setting = device  # "auto" is resolved again where an encoder is unpickled
        self.device = resolve_device(device, kernels="torch").setting
        self.dtype = resolve_dtype(dtype, self.device)
        self.attention = resolve_attention(attention, checkpoint.config)
        self.trust_remote_code = trust_remote_code
        self.new_projection = projection
        with ThreadPoolExecutor(1) as thread:  # digests cost next to nothing beside the loading
            digests = thread.submit(lambda: checkpoint.digests)
            self._backbone, tokenizer, config = open_backbone(
                checkpoint.backbone,
                device=torch.device(self.device),
                dtype=self.dtype,
                attention=self.attention,
                trust_remote_code=trust_remote_code,
            )
            digests.result()
        checkpoint.files.check_unchanged()
        self.tokenizer = TextTokenizer(
            tokenizer, settings, masks_first_piece=checkpoint.kind == "stanford"
        )
        hidden_size = int(config.hidden_size)
        layers = checkpoint.layers
        if projection is not None:
            layers = (*layers, seeded_layer(hidden_size, projection[0], seed=projection[1]))
        self.dim = len(layers[-1].weight) if layers else hidden_size
        self._projection = Projection(layers, hidden_size).to(self.device, pick_dtype(self.dtype))
        self.max_memory = max_memory
        self._has_warned = False
        self._model_config = config
        self._max_tokens = self._tokens_at_once()
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

        name_or_path: a folder, a hub name, or "package:NAME/FOLDER" in an installed package
        dtype: "float32", "bfloat16" or "float16", of weights and activations; "auto" takes
            bfloat16 where it is the faster one, else float32; packed attention on a CPU that is
            slow at bfloat16 keeps weights in it and computes in float32
        attention: "packed" (ModernBERT without padding), transformers' "sdpa" or "eager"; "auto"
            takes packed where it fits, else sdpa
        projection_dim: for a plain backbone, the width of a new, untrained projection
        seed: of that projection
        max_memory: bytes that a batch may take beside the model and the result, as "2G"
        settings: fields of EncoderSettings that replace the checkpoint's

        Raises CheckpointError when the checkpoint cannot be read, ConfigError when a setting
        does not fit it.
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
        longest = longest_input(checkpoint.config)
        merged = checkpoint.settings.clipped(longest=longest).override(settings)
        merged.check(longest=longest)
        if not isinstance(dtype, str) or dtype != "auto":
            pick_dtype(dtype)
        return cls(
            checkpoint,
            merged,
            device=device,
            dtype=dtype,
            attention=attention,
            trust_remote_code=trust_remote_code,
            projection=None if projection_dim is None else (projection_dim, seed),
            max_memory=None if max_memory is None else parse_bytes(max_memory, name="max_memory"),
        )

    def with_settings(self, **settings: Any) -> Encoder:
        """The checkpoint's settings with these in their place, on the model that is loaded already.

        settings: as of ``from_pretrained``; those of this encoder are not kept

        Raises ConfigError as ``from_pretrained`` does.
        """
        longest = longest_input(self.checkpoint.config)
        merged = self.checkpoint.settings.clipped(longest=longest).override(settings)
        merged.check(longest=longest)
        other = copy.copy(self)
        other._has_warned = False
        other.settings = merged
        other.tokenizer = self.tokenizer.with_settings(merged)
        other._max_tokens = other._tokens_at_once()
        return other

    def __copy__(self) -> Encoder:
        """Another encoder on the same model."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name and settings: the model is loaded again where it is unpickled.

        Unpickling raises CheckpointError when the checkpoint is not there or was saved anew.
        """
        return reduce_encoder(self, device=self._device_setting)

    def encode_queries(
        self, texts: Iterable[str], *, progress: Progress | bool | None = None
    ) -> TokenEmbeddings:
        """Embed queries: with expansion tokens where the checkpoint uses them.

        A warning says, once, that queries were cut at query_length.

        Raises InputError when a query has no text, and for texts as ``encode_documents`` does.
        """
        tokenized = self.tokenize(texts, "query")
        if not self._has_warned and (cut := tokenized.describe_cut(self.settings.query_length)):
            self._has_warned = True  # searches come one by one
            logger.warning("%s", cut)
        return self._encode(tokenized, "encode queries", progress)

    def encode_documents(
        self, texts: Iterable[str], *, progress: Progress | bool | None = None
    ) -> TokenEmbeddings:
        """Embed documents: without the tokens of the skiplist.

        An empty text is allowed: it has the rows of its special tokens and marker, and none where
        the checkpoint has neither.

        Raises InputError for a mapping, a set, one string or an item that is no string.
        """
        return self.pool(
            self._encode(self.tokenize(texts, "document"), "encode documents", progress)
        )

    def _encode(
        self, tokenized: TokenizedTexts, task: str, progress: Progress | bool | None
    ) -> TokenEmbeddings:
        progress = as_progress(progress)
        progress.start(task, len(tokenized.offsets) - 1, unit="texts")
        embeddings = self.encode_tokens(tokenized, progress=progress)
        progress.finish()
        return embeddings

    def tokenize(self, texts: Iterable[str], role: Role) -> TokenizedTexts:
        """The first half of encoding; tells what was cut before anything is computed.

        Args:
            texts: An ordered iterable of strings.
            role: What the texts are.

        Raises:
            InputError: An item is no string or no text, or a query is empty.
        """
        expect_choice("role", role, ROLES)
        tokenized = self.tokenizer.tokenize(check_texts(texts, role), role)
        if role == "query" and (empty := np.flatnonzero(tokenized.lengths == 0)).size:
            raise InputError(
                f"query {empty[0]} has no token of this vocabulary; remove it or give it other text"
            )
        return tokenized

    def encode_tokens(
        self, tokenized: TokenizedTexts, *, progress: Progress | bool | None = None
    ) -> TokenEmbeddings:
        """The second half of encoding; documents are then left to ``pool``.

        Returns (n_tokens, dim) float32 unit rows with their token ids, in the order of the
        texts. A text whose rows are all on the skiplist has none.

        Raises:
            CheckpointError: The weights' file was written over in place after it was loaded.
        """
        if not isinstance(tokenized, TokenizedTexts):
            raise InputError(
                f"tokenized is a {type(tokenized).__name__}; pass what tokenize returns"
            )
        if self.device == "cpu":  # elsewhere the weights are copies
            self.checkpoint.files.check_not_overwritten()
        progress = as_progress(progress)
        counts = np.array([int(scored.sum()) for scored in tokenized.scored], dtype=np.int64)
        offsets = offsets_of(counts)
        values = np.empty((offsets[-1], self.dim), np.float32)
        begins_text = tokenized.begins_text

        def run(batch: Indices) -> None:
            unit = self._forward(tokenized, batch)
            if not np.isfinite(unit).all():
                raise ConfigError(
                    f"dtype={self.dtype!r}: the model gives embeddings that are not finite; "
                    "use float32 or bfloat16, or check its weights"
                )
            ends = np.cumsum(tokenized.lengths[batch])
            for text, embedded in zip(batch, np.split(unit, ends[:-1]), strict=True):
                values[offsets[text] : offsets[text + 1]] = embedded[tokenized.scored[text]]
            progress.advance(int(begins_text[batch].sum()))

        self._max_tokens = run_in_budget(
            tokenized.lengths, self._max_tokens, run, is_packed=self.attention == "packed"
        )
        pairs = zip(tokenized.ids, tokenized.scored, strict=True)
        ids = [ids[scored] for ids, scored in pairs]
        # windows of a text follow each other, and each of its tokens is scored in one of them
        return TokenEmbeddings.unchecked(
            values,
            offsets[tokenized.offsets],
            np.concatenate(ids) if ids else np.empty(0, np.int32),
            self.fingerprint("document"),
        )

    def pool(self, documents: TokenEmbeddings) -> TokenEmbeddings:
        """Fewer rows a document, as ``pool_factor`` says; the same where that is 1."""
        if not isinstance(documents, TokenEmbeddings):
            raise InputError(f"documents is a {type(documents).__name__}; pass TokenEmbeddings")
        if self.settings.pool_factor == 1:
            return documents
        from colmodern.encoder.pooling import pool_tokens  # loads numba

        settings = self.settings
        return pool_tokens(documents, settings.pool_factor, protected=settings.protected_tokens)

    @torch.inference_mode()
    def _forward(self, tokenized: TokenizedTexts, batch: Indices) -> npt.NDArray[np.float32]:
        """(n_tokens, dim) unit rows, texts of the batch one after another."""
        ids = tokenized.ids_of(batch, self.n_vocabulary)
        # the dtype is ours to say, also inside a caller's autocast
        with torch.autocast(torch.device(self.device).type, enabled=False):
            hidden = self._backbone(ids, tokenized.attended[batch])
            projected = self._projection(hidden.to(pick_dtype(self.dtype))).float()
        unit: npt.NDArray[np.float32] = (
            torch.nn.functional.normalize(projected, dim=-1).cpu().numpy()
        )
        return unit

    def _tokens_at_once(self) -> int:
        """Tokens of a batch; raises ConfigError when max_memory does not hold the longest text."""
        most = 65_536 if self.device.startswith("cuda") else 4_096
        if self.max_memory is None:
            return most
        longest = max(self.settings.document_length, self.settings.query_length)
        limit = tokens_within(
            self.max_memory,
            self._model_config,
            device=self.device,
            dtype=pick_dtype(self.dtype),
            attention=self.attention,
            longest=longest,
        )
        if limit < longest:
            raise ConfigError(
                f"max_memory={self.max_memory} holds {limit} tokens, but a text may have {longest}; raise "
                "it, or lower document_length and query_length"
            )
        return min(most, limit)

    def batch_bytes(self) -> int:
        """Memory that the activations of a full batch of the longest documents take."""
        longest = self.settings.document_length
        return bytes_of(
            max(self._max_tokens, longest),
            self._model_config,
            device=self.device,
            dtype=pick_dtype(self.dtype),
            attention=self.attention,
            longest=longest,
        )

    @property
    def n_vocabulary(self) -> int:
        """Tokens that the backbone knows."""
        return int(self._model_config.vocab_size)

    @property
    def weights_sha256(self) -> str:
        """Digest of the weight files that were loaded."""
        return self.checkpoint.weights_sha256

    def fingerprint(self, role: Role) -> str:
        """Digest of all that the embeddings of this role depend on, hardware aside."""
        expect_choice("role", role, ROLES)
        is_masked = role == "document" or self.settings.skip_in_queries
        masked = (
            {"skiplist_ids": self.tokenizer.skiplist_ids.tolist()}
            if is_masked and self.tokenizer.masks_other_ids
            else {}
        )
        return sha256_of_json(
            {
                **masked,
                "format": _FORMAT,
                "weights": self.weights_sha256,
                "rules": self.checkpoint.rules_sha256,
                "projection": self.new_projection,
                "settings": self.settings.of(role),
                "dtype": self.dtype,
                "attention": self.attention,
            }
        )

    def describe(self) -> dict[str, Any]:
        """The recipe as plain values: kind, sizes, every setting, checksums."""
        dim, seed = self.new_projection or (None, 0)
        return {
            "model": self.checkpoint.name,
            "revision": self.checkpoint.revision,
            "path": str(self.checkpoint.folder),
            "kind": self.checkpoint.kind,
            "backbone": self.checkpoint.config.get("model_type"),
            "dim": self.dim,
            "projection_dim": dim,
            "seed": seed,
            "device": self.device,
            "dtype": self.dtype,
            "attention": self.attention,
            "weights_sha256": self.weights_sha256,
            "fingerprint": self.fingerprint("document"),
            "settings": self.settings.as_overrides(),
        }
