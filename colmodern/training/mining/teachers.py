"""Teachers that score a query's documents: an encoder over stored tokens, or a cross-encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from colmodern.config.mine import CrossEncoderConfig
from colmodern.encoder.checkpoint.files import DAMAGED, CheckpointFiles
from colmodern.encoder.checkpoint.locate import locate
from colmodern.encoder.encoder import Encoder
from colmodern.encoder.model.backbone import pick_dtype
from colmodern.encoder.text.settings import ROLES
from colmodern.errors import CheckpointError
from colmodern.files import sha256_of_json
from colmodern.kernels.device import resolve_device
from colmodern.kernels.torch_exact import maxsim_scores
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Scores = npt.NDArray[np.float32]


class Teacher(Protocol):
    """Scores documents for queries; higher is better."""

    def scores(self, queries: Sequence[str], doc_ids: Sequence[Sequence[str]]) -> list[Scores]:
        """Score documents of the collection that the teacher was made with.

        Args:
            queries: (n_queries,) texts.
            doc_ids: Ids of the documents to score, a sequence for each query.

        Returns:
            One (n_docs,) array of scores for each query.
        """

    def describe(self) -> dict[str, Any]:
        """The teacher's recipe as plain values."""

    @property
    def fingerprint(self) -> str:
        """Digest of all that the teacher's scores depend on, except texts and hardware."""


class EncoderTeacher:
    """Exact MaxSim with the token embeddings of a store."""

    def __init__(self, encoder: Encoder, store: EmbeddingStore) -> None:
        self._encoder = encoder
        self._store = store
        self._dtype = str(store.manifest["dtype"])
        self._indices = {doc_id: index for index, doc_id in enumerate(store.doc_ids)}

    def scores(self, queries: Sequence[str], doc_ids: Sequence[Sequence[str]]) -> list[Scores]:
        """One (n_docs,) array of MaxSim scores for each query."""
        embeddings = self._encoder.encode_queries(queries)
        return [self._maxsim(embeddings[i : i + 1], ids) for i, ids in enumerate(doc_ids)]

    def describe(self) -> dict[str, Any]:
        """The encoder's recipe as plain values."""
        return {"kind": "encoder", "encoder": self._encoder.describe()}

    @property
    def fingerprint(self) -> str:
        """Digest of the encoder and of the dtype of the stored tokens."""
        prints = [self._encoder.fingerprint(role) for role in ROLES]
        return sha256_of_json(["encoder", *prints, self._dtype])

    def _maxsim(self, query: TokenEmbeddings, doc_ids: Sequence[str]) -> Scores:
        documents = self._store.select([self._indices[doc_id] for doc_id in doc_ids])
        pair = (query.values, query.offsets, documents.values, documents.offsets)
        scores: Scores = maxsim_scores(*pair)[0]
        return scores


class CrossEncoder:
    """A transformers sequence classifier with one label."""

    def __init__(self, config: CrossEncoderConfig, texts: Mapping[str, str]) -> None:
        """Load the model and its tokenizer.

        Args:
            config: Name and settings of the model.
            texts: doc_id -> text, for every document that it will score.

        Raises:
            CheckpointError: The model does not exist or has several labels.
        """
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self._config, self._texts = config, texts
        folder, self._revision = locate(
            config.model, config.revision, with_code=config.trust_remote_code
        )
        files = CheckpointFiles(folder, ())
        self._device = resolve_device(config.device, kernels="torch").setting
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
        """One (n_docs,) array of the model's scores for each query."""
        return [self._scores(query, ids) for query, ids in zip(queries, doc_ids, strict=True)]

    @torch.inference_mode()
    def _scores(self, query: str, doc_ids: Sequence[str]) -> Scores:
        texts = [self._texts[doc_id] for doc_id in doc_ids]
        order = np.argsort([-len(text) for text in texts], kind="stable")  # to save padding
        scores = np.empty(len(texts), np.float32)
        for start in range(0, len(texts), self._config.batch_size):
            batch = order[start : start + self._config.batch_size]
            inputs = self._tokenizer(
                [query] * len(batch),
                [texts[i] for i in batch],
                padding=True,
                truncation="only_second",
                max_length=self._length,
                return_tensors="pt",
            ).to(self._device)
            logits = self._model(**inputs).logits[:, 0].float()
            if self._config.activation == "sigmoid":
                logits = logits.sigmoid()
            scores[batch] = logits.cpu().numpy()
        return scores

    def describe(self) -> dict[str, Any]:
        """The model's settings as plain values, with its revision."""
        settings = self._config.model_dump(exclude={"revision"})
        return {**settings, "revision": self._revision, "max_length": self._length}

    @property
    def fingerprint(self) -> str:
        """Digest of the model's files, dtype, activation and length limit."""
        settings = [self._config.dtype, self._config.activation, self._length]
        return sha256_of_json(["cross_encoder", self._digests, *settings])


def _load(
    folder: Path,
    config: CrossEncoderConfig,
    load_model: Callable[..., PreTrainedModel],
    load_tokenizer: Callable[..., PreTrainedTokenizerBase],
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from colmodern.training.trainer import quiet_libraries

    try:
        with quiet_libraries():
            code = {"trust_remote_code": config.trust_remote_code}
            model = load_model(folder, dtype=pick_dtype(config.dtype), **code)
            return model, load_tokenizer(folder, **code)
    except DAMAGED as error:
        raise CheckpointError(
            f"transformers does not read {config.model} as a cross-encoder: {error}; give a "
            "sequence classifier with one label"
        ) from error
