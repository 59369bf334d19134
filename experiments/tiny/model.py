"""The tiny model: its shape, its first weights, and the folder that PyLate and colmodern read."""

from __future__ import annotations

import json
import shutil
import string
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import ModernBertConfig, ModernBertModel

CLS, SEP, QUERY, DOCUMENT = 2, 3, 5, 6  # ids that tokenizer.py gives
LONGEST = 2048
_INIT = 0.25  # root mean square of embeddings
_RIDGE = 0.01
_TABLE = "embeddings.tok_embeddings.weight"
_TABLE_DTYPE = torch.float8_e5m2  # of e4m3 transformers 4.49 to 4.57 makes no floats
_CONFIG = {
    "model_type": "modernbert",
    "architectures": ["ModernBertModel"],
    "num_attention_heads": 4,
    "max_position_embeddings": LONGEST,
    "global_attn_every_n_layers": 3,
    "local_attention": 128,
    "global_rope_theta": 160000.0,
    "local_rope_theta": 10000.0,
    "hidden_activation": "gelu",
    "norm_eps": 1e-5,
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "attention_dropout": 0.0,
    "embedding_dropout": 0.0,
    "mlp_dropout": 0.0,
    "reference_compile": False,
    "pad_token_id": 0,
    "cls_token_id": CLS,
    "bos_token_id": CLS,
    "sep_token_id": SEP,
    "eos_token_id": SEP,
}


class TinyEncoder(torch.nn.Module):
    """A backbone of transformers and a linear projection."""

    def __init__(self, config: dict[str, object], dim: int) -> None:
        super().__init__()
        known = ModernBertConfig(**config, attn_implementation="sdpa")
        self.config, self.backbone = config, ModernBertModel(known)
        self.projection = torch.nn.Linear(known.hidden_size, dim, bias=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(n_texts, length) ids to (n_texts, length, dim) unit rows, by the table as it is stored."""
        rows = self.backbone.embeddings.tok_embeddings(ids)
        rows = rows + (rows.to(_TABLE_DTYPE).to(rows.dtype) - rows).detach()
        hidden = self.backbone(inputs_embeds=rows, attention_mask=mask).last_hidden_state
        return F.normalize(self.projection(hidden), dim=-1)


def new_encoder(
    tokenizer: Path, means: npt.NDArray[np.float32], teacher: Path, *, n_layers: int, inner: int
) -> TinyEncoder:
    """An encoder that gives each token the mean of its targets until its layers have learned.

    means: (vocab, dim) mean target of each token, zeros where there is none; the other half of the
    embedding is the teacher's static vectors on their principal axes
    """
    vocab, dim = means.shape
    hidden = 2 * dim
    config = {**_CONFIG, "vocab_size": vocab, "hidden_size": hidden}
    config |= {"num_hidden_layers": n_layers, "intermediate_size": inner}
    encoder = TinyEncoder(config, dim)
    static = static_vectors(tokenizer, teacher, dim)
    vectors = np.concatenate([_scaled(means), _scaled(static)], axis=1)
    with torch.no_grad():
        encoder.backbone.embeddings.tok_embeddings.weight.copy_(torch.from_numpy(vectors))
        encoder.projection.weight.copy_(torch.eye(dim, hidden))
        for layer in encoder.backbone.layers:  # a residual stream that nothing is added to yet
            layer.attn.Wo.weight.mul_(0.1)
            layer.mlp.Wo.weight.mul_(0.1)
    return encoder


def static_vectors(tokenizer: Path, teacher: Path, dim: int | None) -> npt.NDArray[np.float32]:
    """(vocab, dim) the teacher's word embeddings, mean over its pieces of each of our tokens.

    dim: how many of their principal axes; None for all
    """
    weights = load_file(teacher / "model.safetensors")
    table = next(w for name, w in weights.items() if name.endswith("word_embeddings.weight"))
    table = table.float().numpy() - table.float().numpy().mean(0)
    theirs = Tokenizer.from_file(str(teacher / "tokenizer.json"))
    theirs.no_padding()
    ours = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    rows = []
    for i in range(ours.get_vocab_size()):
        token = ours.id_to_token(i)
        own = theirs.token_to_id(token)
        pieces = theirs.encode(token.removeprefix("##"), add_special_tokens=False).ids
        rows.append(table[[own] if own is not None else pieces or [100]].mean(0))
    vectors = np.stack(rows)
    _, _, axes = np.linalg.svd(vectors[::3], full_matrices=False)
    return np.asarray(vectors @ axes[:dim].T, np.float32)


def retokenized(
    old: Path, tokenizer: Path, means: npt.NDArray[np.float32], teacher: Path
) -> TinyEncoder:
    """The encoder of ``old`` with another tokenizer; pieces that both have keep their embeddings.

    The others get what ridge regression finds from the teacher's static vectors and mean targets.

    means: (vocab, dim) as for new_encoder
    """
    encoder = load(old)
    ours, theirs = (Tokenizer.from_file(str(f / "tokenizer.json")) for f in (tokenizer, old))
    known = [theirs.token_to_id(ours.id_to_token(i)) for i in range(ours.get_vocab_size())]
    is_known = np.array([i is not None for i in known])
    table = encoder.backbone.embeddings.tok_embeddings.weight.detach().numpy()
    kept = table[[i for i in known if i is not None]]
    static = static_vectors(tokenizer, teacher, None)
    ones = np.ones((len(means), 1), np.float32)
    features = np.concatenate([static / static.std(), means / means.std(), ones], axis=1)
    own = features[is_known]
    gram = own.T @ own + _RIDGE * len(own) * np.eye(own.shape[1], dtype=np.float32)
    rows = features @ np.linalg.solve(gram, own.T @ kept)
    rows[is_known] = kept
    vectors = TinyEncoder({**encoder.config, "vocab_size": len(rows)}, means.shape[1])
    vectors.load_state_dict({**encoder.state_dict(), f"backbone.{_TABLE}": torch.from_numpy(rows)})
    return vectors


def save(encoder: TinyEncoder, tokenizer: Path, folder: Path) -> None:
    """Write a checkpoint in PyLate's layout, in float16, the table of tokens in float8."""
    dense = folder / "1_Dense"
    dense.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().half().contiguous() for k, v in encoder.backbone.state_dict().items()}
    table = encoder.backbone.embeddings.tok_embeddings.weight.detach()
    weights[_TABLE] = table.to(_TABLE_DTYPE)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    projection = encoder.projection.weight.detach().half().contiguous()
    save_file({"linear.weight": projection}, dense / "model.safetensors")
    write_json(folder / "config.json", {**encoder.config, "dtype": "float16"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder / name)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": LONGEST})
    dim, hidden = projection.shape
    features = {"in_features": hidden, "out_features": dim, "bias": False, "use_residual": False}
    identity = {"activation_function": "torch.nn.modules.linear.Identity"}
    write_json(dense / "config.json", {**features, **identity})
    entries = [("", "sentence_transformers.models.Transformer")]
    entries.append(("1_Dense", "pylate.models.Dense.Dense"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(entries)
    ]
    write_json(folder / "modules.json", modules)
    settings = {
        "model_type": "ColBERT",
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": "[Q]",
        "document_prefix": "[D]",
        "query_length": 64,
        "document_length": LONGEST,
        "do_query_expansion": False,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
    }
    write_json(folder / "config_sentence_transformers.json", settings)


def load(folder: Path) -> TinyEncoder:
    """The encoder of a folder that ``save`` wrote, in float32."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    del config["dtype"]
    projection = load_file(folder / "1_Dense/model.safetensors")["linear.weight"]
    encoder = TinyEncoder(config, len(projection))
    encoder.backbone.load_state_dict(load_file(folder / "model.safetensors"))
    with torch.no_grad():
        encoder.projection.weight.copy_(projection)
    return encoder.float()


def write_json(path: Path, value: object) -> None:
    """Indented, with a line break at the end."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _scaled(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return rows * (_INIT / np.sqrt(np.mean(rows**2)))
