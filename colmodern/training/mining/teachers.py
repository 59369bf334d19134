"""Who scores a query's documents: an encoder over stored tokens, or a cross-encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from colmodern.config.mine import CrossEncoderConfig
from colmodern.encoder.backbone import pick_dtype
from colmodern.encoder.checkpoint_files import DAMAGED, CheckpointFiles
from colmodern.encoder.encoder import Encoder
from colmodern.encoder.locate import locate
from colmodern.encoder.settings import ROLES
from colmodern.errors import CheckpointError
from colmodern.files import sha256_of_json
from colmodern.kernels.device import pick_device
from colmodern.kernels.exact import maxsim_scores
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore

Scores = npt.NDArray[np.float32]


class Teacher(Protocol):
    """Scores documents for queries; higher is better."""

    def scores(self, queries: Sequence[str], doc_ids: Sequence[Sequence[str]]) -> list[Scores]:
        """(n_docs,) for each query, of documents that it was made with."""

    def describe(self) -> dict[str, Any]:
        """Its recipe as plain values."""

    @property
    def fingerprint(self) -> str:
        """Digest of all that its scores depend on, texts and hardware aside."""


class EncoderTeacher:
    """Exact MaxSim with the token embeddings of a store."""

    def __init__(self, encoder: Encoder, store: EmbeddingStore) -> None:
        self._encoder = encoder
        self._store = store
        self._dtype = str(store.manifest["dtype"])
        self._places = {doc_id: place for place, doc_id in enumerate(store.doc_ids)}

    def scores(self, queries: Sequence[str], doc_ids: Sequence[Sequence[str]]) -> list[Scores]:
        """As of Teacher."""
        asked = self._encoder.encode_queries(queries)
        return [self._maxsim(asked[i : i + 1], ids) for i, ids in enumerate(doc_ids)]

    def describe(self) -> dict[str, Any]:
        """As of Teacher."""
        return {"kind": "encoder", "encoder": self._encoder.describe()}

    @property
    def fingerprint(self) -> str:
        """As of Teacher."""
        prints = [self._encoder.fingerprint(role) for role in ROLES]
        return sha256_of_json(["encoder", *prints, self._dtype])

    def _maxsim(self, query: TokenEmbeddings, doc_ids: Sequence[str]) -> Scores:
        documents = self._store.select([self._places[doc_id] for doc_id in doc_ids])
        pair = (query.values, query.offsets, documents.values, documents.offsets)
        scores: Scores = maxsim_scores(*pair)[0]
        return scores


class CrossEncoder:
    """A transformers sequence classifier with one label.

    texts: doc_id -> text, of all documents that it will be asked for

    Raises CheckpointError when the model is not there or has several labels.
    """

    def __init__(self, config: CrossEncoderConfig, texts: Mapping[str, str]) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self._config, self._texts = config, texts
        folder, self._revision = locate(
            config.model, config.revision, with_code=config.trust_remote_code
        )
        files = CheckpointFiles(folder, ())
        self._device = pick_device(config.device)
        model, tokenizer = _load(
            folder,
            config,
            AutoModelForSequenceClassification.from_pretrained,
            AutoTokenizer.from_pretrained,
        )
        self._digests = files.digests()
        files.check_unchanged()
        if model.config.num_labels != 1:
            raise CheckpointError(
                f"{config.model} has {model.config.num_labels} labels; a cross-encoder that ranks has 1"
            )
        longest = getattr(model.config, "max_position_embeddings", None) or 512
        self._length = config.max_length or min(int(longest), tokenizer.model_max_length)
        self._tokenizer, self._model = tokenizer, model.to(self._device).eval()

    def scores(self, queries: Sequence[str], doc_ids: Sequence[Sequence[str]]) -> list[Scores]:
        """As of Teacher."""
        return [self._scores(query, ids) for query, ids in zip(queries, doc_ids, strict=True)]

    @torch.inference_mode()
    def _scores(self, query: str, doc_ids: Sequence[str]) -> Scores:
        texts = [self._texts[doc_id] for doc_id in doc_ids]
        order = np.argsort([-len(text) for text in texts], kind="stable")  # little padding
        found = np.empty(len(texts), np.float32)
        for start in range(0, len(texts), self._config.batch_size):
            chosen = order[start : start + self._config.batch_size]
            inputs = self._tokenizer(
                [query] * len(chosen),
                [texts[place] for place in chosen],
                padding=True,
                truncation="only_second",
                max_length=self._length,
                return_tensors="pt",
            ).to(self._device)
            logits = self._model(**inputs).logits[:, 0].float()
            if self._config.activation == "sigmoid":
                logits = logits.sigmoid()
            found[chosen] = logits.cpu().numpy()
        return found

    def describe(self) -> dict[str, Any]:
        """As of Teacher."""
        settings = self._config.model_dump(exclude={"revision"})
        return {**settings, "revision": self._revision, "max_length": self._length}

    @property
    def fingerprint(self) -> str:
        """As of Teacher."""
        settings = [self._config.dtype, self._config.activation, self._length]
        return sha256_of_json(["cross_encoder", self._digests, *settings])


def _load(folder: Path, config: CrossEncoderConfig, *loaders: Any) -> tuple[Any, Any]:
    from colmodern.training.trainer import quiet_libraries

    load_model, load_tokenizer = loaders
    try:
        with quiet_libraries():
            code = {"trust_remote_code": config.trust_remote_code}
            model = load_model(folder, dtype=pick_dtype(config.dtype), **code)
            return model, load_tokenizer(folder, **code)
    except DAMAGED as error:
        raise CheckpointError(
            f"{config.model} is no cross-encoder that transformers reads: {error}; give a sequence "
            "classifier with one label"
        ) from error
