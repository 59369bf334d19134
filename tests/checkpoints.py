"""Tiny checkpoints in every format, the same bytes whatever library version writes them.

Used by the tests and, in the peers' own environments, by tests/golden/make_golden.py; so this
file imports nothing of colmodern.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

HIDDEN, DIM, QUERY_LENGTH, DOCUMENT_LENGTH = 32, 8, 16, 24

WORDS = """a an the of to in is for on and or not how what why where who which find list file parse
sort number string name value date time token vector query document search index train un ##able
##ing ##s ##ed ##er ##ly read write open close error wing lift speed heat flow""".split()  # noqa: SIM905

QUERIES = [
    "how to parse a date string",
    "what is the lift of a wing, and why?",
    "sort",
    "find the index of a document in the list of all documents and read the name of the file",
]
DOCUMENTS = [
    "Parsing a date: read the string, find the number.",
    "The wing (of lift) is not a token; the speed is.",
    "  spaces around  ",
    "open the file and write the value of the vector to the index, then close the file. " * 2,
    "...",
    "",
]

BERT = {
    "model_type": "bert",
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
MODERNBERT = {
    "model_type": "modernbert",
    "hidden_size": HIDDEN,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 8192,
    "global_attn_every_n_layers": 3,
    "local_attention": 32,  # 16 tokens either way: shorter than the documents, so that it matters
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
}
BACKBONES = {"bert": BERT, "modernbert": MODERNBERT}


def plain(folder: Path, backbone: str) -> Path:
    """A backbone as transformers saves it."""
    _write_backbone(folder, backbone, prefix="", extra={}, architectures=None)
    return folder


def stanford(folder: Path, backbone: str, **metadata: object) -> Path:
    """A checkpoint as colbert-ai saves it."""
    prefix = {"bert": "bert.", "modernbert": "model."}[backbone]
    linear = _draw("linear.weight", (DIM, HIDDEN))
    _write_backbone(folder, backbone, prefix, {"linear.weight": linear}, ["HF_ColBERT"])
    fields = {
        "query_maxlen": QUERY_LENGTH,
        "doc_maxlen": DOCUMENT_LENGTH,
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_token": "[Q]",
        "doc_token": "[D]",
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
        "dim": DIM,
        "similarity": "cosine",
        **metadata,
    }
    _write_json(folder / "artifact.metadata", fields)
    return folder


def pylate(folder: Path, backbone: str, *, n_dense: int = 1, **fields: object) -> Path:
    """A checkpoint as PyLate saves it; two Dense layers make an activated, residual projection."""
    _write_backbone(folder, backbone, "", {}, None)
    modules = [_module(0, "", "sentence_transformers.models.Transformer")]
    if n_dense == 1:
        layers = [{"out_features": DIM, "activation_function": "torch.nn.modules.linear.Identity"}]
    else:
        layers = [
            {
                "out_features": HIDDEN // 2,
                "bias": True,
                "activation_function": "torch.nn.modules.activation.GELU",
                "use_residual": True,
            },
            {"out_features": DIM, "activation_function": "torch.nn.modules.linear.Identity"},
        ]
    width = HIDDEN
    for number, layer in enumerate(layers, start=1):
        name = f"{number}_Dense"
        _write_dense(folder / name, {"in_features": width, "bias": False, **layer})
        width = layer["out_features"]
        modules.append(_module(number, name, "pylate.models.Dense.Dense"))
    _write_json(folder / "modules.json", modules)
    _write_json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "ColBERT",
            "__version__": {"sentence_transformers": "5.3.0"},
            "prompts": {"query": "", "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "MaxSim",
            "query_prefix": "[Q] ",
            "document_prefix": "[D] ",
            "query_length": QUERY_LENGTH,
            "document_length": DOCUMENT_LENGTH,
            "attend_to_expansion_tokens": False,
            "skiplist_words": list(string.punctuation),
            "do_query_expansion": True,
            **fields,
        },
    )
    _write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": 23, "do_lower_case": False}
    )
    return folder


def sentence_transformers(folder: Path, backbone: str, *, expansion: dict | None) -> Path:
    """A checkpoint as sentence-transformers 6 saves a MultiVectorEncoder."""
    _write_backbone(folder, backbone, "", {}, None)
    base = "sentence_transformers.base.modules"
    identity = "torch.nn.modules.linear.Identity"
    _write_dense(
        folder / "1_Dense",
        {
            "in_features": HIDDEN,
            "out_features": DIM,
            "bias": False,
            "activation_function": identity,
            "module_input_name": "token_embeddings",
            "module_output_name": "token_embeddings",
        },
    )
    mask = "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"
    _write_json(
        folder / "modules.json",
        [
            _module(0, "", f"{base}.transformer.Transformer"),
            _module(1, "1_Dense", f"{base}.dense.Dense"),
            _module(2, "2_MultiVectorMask", mask),
            _module(3, "3_Normalize", f"{base}.normalize.Normalize"),
        ],
    )
    _write_json(
        folder / "2_MultiVectorMask" / "config.json",
        {"skiplist_words": [",", "."], "skiplist_tasks": ["document"], "keep_only_token_ids": None},
    )
    _write_json(
        folder / "3_Normalize" / "config.json",
        {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"},
    )
    _write_json(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": {
                "text": {"method": "forward", "method_output_name": "last_hidden_state"}
            },
            "module_output_name": "token_embeddings",
            "query_length": None if expansion and expansion["strategy"] == "fixed" else 20,
            "document_length": DOCUMENT_LENGTH,
            "query_expansion": expansion,
        },
    )
    _write_json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "MultiVectorEncoder",
            "__version__": {"sentence_transformers": "6.2.0"},
            "prompts": {"query": "[Q] ", "document": "[D] "},
            "default_prompt_name": None,
            "similarity_fn_name": "maxsim",
        },
    )
    return folder


# golden file -> checkpoint name -> what writes it
def catalogue() -> dict[str, dict]:
    """Every checkpoint whose embeddings are compared with its own library's."""
    made: dict[str, dict] = {"stanford": {}, "pylate": {}, "sentence_transformers": {}}
    fixed = {"strategy": "fixed", "attend": False, "token": None, "length": QUERY_LENGTH}
    least = {"strategy": "min", "attend": True, "token": None, "length": 12}
    for backbone in BACKBONES:
        made["stanford"][backbone] = (stanford, backbone, {})
        made["stanford"][f"{backbone}-attends"] = (
            stanford,
            backbone,
            {"attend_to_mask_tokens": True},
        )
        made["pylate"][backbone] = (pylate, backbone, {})
        made["pylate"][f"{backbone}-two-dense"] = (
            pylate,
            backbone,
            {"n_dense": 2, "attend_to_expansion_tokens": True},
        )
        made["pylate"][f"{backbone}-prompts"] = (
            pylate,
            backbone,
            {
                "prompts": {"query": "search: ", "document": "read: "},
                "query_prefix": "",
                "document_prefix": "",
                "do_query_expansion": False,
            },
        )
        made["sentence_transformers"][f"{backbone}-fixed"] = (
            sentence_transformers,
            backbone,
            {"expansion": fixed},
        )
        made["sentence_transformers"][f"{backbone}-min"] = (
            sentence_transformers,
            backbone,
            {"expansion": least},
        )
        made["sentence_transformers"][f"{backbone}-none"] = (
            sentence_transformers,
            backbone,
            {"expansion": None},
        )
    return made


def write(library: str, name: str, folder: Path) -> Path:
    """Write one checkpoint of the catalogue."""
    maker, backbone, options = catalogue()[library][name]
    return maker(folder, backbone, **options)


def _draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Weights that depend on the tensor's name alone."""
    generator = np.random.default_rng([ord(letter) for letter in name])
    scale = 0.02 if "bias" in name else 0.3
    values = generator.normal(scale=scale, size=shape)
    if "norm" in name.lower() and name.endswith("weight"):
        values = 1 + 0.1 * values
    return torch.from_numpy(values.astype(np.float32))


def _write_backbone(
    folder: Path, backbone: str, prefix: str, extra: dict, architectures: list[str] | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _wordpiece() if backbone == "bert" else _byte_bpe()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_max_length=BACKBONES[backbone]["max_position_embeddings"],
        model_input_names=["input_ids", "attention_mask"],
    )
    fast.save_pretrained(folder)
    config = dict(BACKBONES[backbone], vocab_size=len(fast))
    special = {
        "cls_token_id": "[CLS]",
        "sep_token_id": "[SEP]",
        "pad_token_id": "[PAD]",
        "bos_token_id": "[CLS]",
        "eos_token_id": "[SEP]",
    }
    config.update({key: fast.convert_tokens_to_ids(token) for key, token in special.items()})
    architecture = {"bert": "BertModel", "modernbert": "ModernBertModel"}[backbone]
    config["architectures"] = architectures or [architecture]
    _write_json(folder / "config.json", config)
    model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    tensors = {
        prefix + name: _draw(name, tuple(tensor.shape))
        for name, tensor in sorted(model.named_parameters())
        if not name.startswith("pooler.")
    }
    save_file(tensors | extra, folder / "model.safetensors", metadata={"format": "pt"})


def _write_dense(folder: Path, config: dict) -> None:
    shape = (config["out_features"], config["in_features"])
    tensors = {"linear.weight": _draw(f"{folder.name}.weight", shape)}
    if config["bias"]:
        tensors["linear.bias"] = _draw(f"{folder.name}.bias", shape[:1])
    if config.get("use_residual"):
        tensors["residual.weight"] = _draw(f"{folder.name}.residual", shape)
    _write_json(folder / "config.json", config)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _module(idx: int, path: str, kind: str) -> dict:
    return {"idx": idx, "name": str(idx), "path": path, "type": kind}


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1))


SPECIALS = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MARKERS = ["[Q] ", "[D] "]


def _wordpiece() -> Tokenizer:
    pieces = [*SPECIALS, *string.punctuation, *string.ascii_lowercase, *WORDS]
    pieces += [f"##{letter}" for letter in string.ascii_lowercase]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return _finish(tokenizer)


def _byte_bpe() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("Ġ", "the"), ("o", "f"), ("Ġ", "of")]
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(BPE(vocabulary, merges))
    assert isinstance(tokenizer.model, models.BPE)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _finish(tokenizer)


def _finish(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.add_tokens(MARKERS)
    cls_id, sep_id = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", cls_id), ("[SEP]", sep_id)]
    )
    return tokenizer
