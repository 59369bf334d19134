"""The neural half of an encoder: token ids in, one unit vector per token out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from colmodern.encoder.checkpoint.checkpoint import Checkpoint
from colmodern.encoder.checkpoint.projection import Projection, seeded_layer
from colmodern.encoder.model.backbone import open_backbone, pick_dtype
from colmodern.encoder.model.memory import bytes_of, tokens_within
from colmodern.encoder.model.packing import Indices
from colmodern.encoder.text.settings import EncoderSettings
from colmodern.errors import ConfigError
from colmodern.kernels.cuda.memory import HostCopy


class TokenRows:
    """Unit rows of a batch, perhaps on their way from a GPU.

    Attributes:
        is_here: Whether there is nothing to wait for.
    """

    def __init__(self, unit: torch.Tensor, dtype: str) -> None:
        """Check the rows where they are, and send them to the host.

        Args:
            unit: (n_tokens, dim) float32.
            dtype: Name of the dtype of weights and activations, for errors.
        """
        self._dtype = dtype
        self._is_finite = HostCopy(torch.isfinite(unit).all())
        self._rows = HostCopy(unit)
        self.is_here = self._rows.is_here

    def wait(self) -> npt.NDArray[np.float32]:
        """The (n_tokens, dim) rows.

        Raises:
            ConfigError: A row is not finite in this dtype.
        """
        rows = self._rows.wait()
        if not self._is_finite.wait().all():
            raise ConfigError(
                f"dtype={self._dtype!r}: the model gives embeddings that are not finite; "
                "use float32 or bfloat16, or check its weights"
            )
        return rows.astype(np.float32, copy=False)


class TokenModel:
    """A backbone and its projection on a device.

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        dtype: Name of the dtype of weights and activations.
        attention: "packed", "sdpa" or "eager".
        tokenizer: The checkpoint's tokenizer of transformers.
        dim: Width of a token embedding.
        n_vocabulary: Number of tokens that the backbone knows.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str,
        dtype: str,
        attention: str,
        trust_remote_code: bool,
        projection: tuple[int, int] | None,
    ) -> None:
        """Load the weights of a checkpoint.

        Args:
            checkpoint: The checkpoint.
            device: "cpu", "cuda" or "cuda:N".
            dtype: "float32", "bfloat16" or "float16".
            attention: "packed", "sdpa" or "eager".
            trust_remote_code: Whether to run the checkpoint's own code.
            projection: (dim, seed) of a new, untrained layer, or None.

        Raises:
            CheckpointError: The files do not make a model, or changed while they were loaded.
        """
        self.device, self.dtype, self.attention = device, dtype, attention
        with ThreadPoolExecutor(1) as thread:  # digests cost next to nothing beside the loading
            digests = thread.submit(lambda: checkpoint.digests)
            self._backbone, self.tokenizer, self._config = open_backbone(
                checkpoint.backbone,
                device=torch.device(device),
                dtype=dtype,
                attention=attention,
                trust_remote_code=trust_remote_code,
            )
            digests.result()
        checkpoint.files.check_unchanged()
        hidden_size = int(self._config.hidden_size)
        layers = checkpoint.layers
        if projection is not None:
            layers = (*layers, seeded_layer(hidden_size, projection[0], seed=projection[1]))
        self.dim = len(layers[-1].weight) if layers else hidden_size
        self._torch_dtype = pick_dtype(dtype)
        self._projection = Projection(layers, hidden_size).to(device, self._torch_dtype)

    @property
    def n_vocabulary(self) -> int:
        """Number of tokens that the backbone knows."""
        return int(self._config.vocab_size)

    @torch.inference_mode()
    def __call__(self, ids: Sequence[npt.NDArray[np.int32]], attended: Indices) -> TokenRows:
        """Embed the tokens of a batch; a GPU does it while the caller goes on.

        Args:
            ids: One (n_tokens,) array of token ids per text.
            attended: (n_texts,) how many of each text's first tokens are attended to.

        Returns:
            (n_tokens, dim) unit rows, texts one after another.
        """
        # the dtype is fixed here, also inside a caller's autocast
        with torch.autocast(torch.device(self.device).type, enabled=False):
            hidden = self._backbone(ids, attended)
            projected = self._projection(hidden.to(self._torch_dtype)).float()
        return TokenRows(torch.nn.functional.normalize(projected, dim=-1), self.dtype)

    def tokens_per_batch(self, max_memory: int | None, settings: EncoderSettings) -> int:
        """Number of tokens in a batch.

        Args:
            max_memory: Most bytes of a batch's activations, None for no limit.
            settings: Settings with the lengths of texts.

        Raises:
            ConfigError: ``max_memory`` does not hold the longest text.
        """
        most = 65_536 if self.device.startswith("cuda") else 4_096
        if max_memory is None:
            return most
        longest = max(settings.document_length, settings.query_length)
        limit = tokens_within(
            max_memory,
            self._config,
            device=self.device,
            dtype=self._torch_dtype,
            attention=self.attention,
            longest=longest,
        )
        if limit < longest:
            raise ConfigError(
                f"max_memory={max_memory} holds {limit} tokens, but a text may have {longest}; raise "
                "it, or lower document_length and query_length"
            )
        return min(most, limit)

    def batch_bytes(self, n_tokens: int, *, longest: int) -> int:
        """Bytes of the activations of a batch of ``n_tokens``.

        Args:
            n_tokens: Tokens of the batch.
            longest: Tokens of the longest text, to which batches are padded.
        """
        return bytes_of(
            n_tokens,
            self._config,
            device=self.device,
            dtype=self._torch_dtype,
            attention=self.attention,
            longest=longest,
        )
