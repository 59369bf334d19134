"""Transformers backbones with batches padded to their longest text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from colmodern.encoder.model.packing import Indices
from colmodern.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PaddedBackbone:
    """The backbone of an encoder: token ids in, hidden states out, real tokens only."""

    def __init__(self, model: PreTrainedModel, *, pad_id: int) -> None:
        """Wrap a model of transformers, without its head, on its device."""
        self.model = model
        self._pad_id = pad_id
        config = model.config
        is_windowed = config.model_type == "modernbert"
        self._reach = config.local_attention // 2 if is_windowed else None

    def __call__(self, ids: Sequence[npt.NDArray[np.int32]], attended: Indices) -> torch.Tensor:
        """Compute the last hidden states.

        Args:
            ids: One (n_tokens,) array of token ids per text.
            attended: (n_texts,) how many of each text's first tokens are attended to.

        Returns:
            (n_tokens, hidden_size) hidden states, texts one after another.

        Raises:
            ConfigError: An expansion token has nothing to attend to inside a local window;
                transformers then attends to padding or to nothing, depending on its version.
        """
        lengths = np.array([len(text) for text in ids], np.int64)
        if self._reach is not None and (lengths - attended).max(initial=0) > self._reach:
            raise ConfigError(
                f"a query has {(lengths - attended).max()} expansion tokens that are not attended "
                f"to; beyond {self._reach}, half this model's window, transformers leaves their "
                "embeddings undefined: use attention=packed, or lower expansion_length"
            )
        longest = int(lengths.max(initial=0))
        device = self.model.device
        if longest == 0:  # a tokenizer without special tokens, and only empty texts
            return torch.zeros((0, int(self.model.config.hidden_size)), device=device)
        padded = np.full((len(ids), longest), self._pad_id, np.int64)
        for row, text in enumerate(ids):
            padded[row, : len(text)] = text
        positions = np.arange(longest)
        mask = (positions < attended[:, None]).astype(np.int64)
        output = self.model(
            input_ids=torch.from_numpy(padded).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
        )
        is_real = torch.from_numpy(positions < lengths[:, None]).to(device)
        states: torch.Tensor = output.last_hidden_state[is_real]
        return states
