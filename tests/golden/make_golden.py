"""Compute the golden embeddings with a checkpoint's own library, in that library's environment.

    python tests/golden/make_golden.py pylate                  # pylate 1.6.0
    python tests/golden/make_golden.py stanford                # colbert-ai 0.2.22
    python tests/golden/make_golden.py sentence_transformers   # sentence-transformers 6.2.0

Writes tests/golden/LIBRARY.json: checkpoint -> "queries" and "documents" -> one list of rows a
text. It imports nothing of colmodern.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import checkpoints  # noqa: E402  (found through the line above)


def encode_pylate(folder: Path, queries: list[str], documents: list[str]) -> tuple[list, list]:
    """As PyLate's retrieval examples call it; the prompts by name where the model has some."""
    from pylate import models

    model = models.ColBERT(str(folder), device="cpu")

    def named(role: str) -> str | None:
        return role if model.prompts.get(role) else None

    return (
        [model.encode([q], is_query=True, prompt_name=named("query"))[0] for q in queries],
        [model.encode([d], is_query=False, prompt_name=named("document"))[0] for d in documents],
    )


def encode_stanford(folder: Path, queries: list[str], documents: list[str]) -> tuple[list, list]:
    """As colbert's Checkpoint encodes, without its index."""
    import torch
    from colbert.infra import ColBERTConfig
    from colbert.modeling.colbert import ColBERT
    from colbert.modeling.tokenization import DocTokenizer, QueryTokenizer

    ColBERT.loaded_extensions = True  # its C++ scorer is not needed to encode
    config = ColBERTConfig.load_from_checkpoint(str(folder))
    config.configure(checkpoint=str(folder))
    model = ColBERT(str(folder), colbert_config=config)
    query_tokenizer, doc_tokenizer = QueryTokenizer(config, verbose=0), DocTokenizer(config)
    with torch.no_grad():
        return (
            [model.query(*query_tokenizer.tensorize([q]))[0].numpy() for q in queries],
            [
                model.doc(*doc_tokenizer.tensorize([d]), keep_dims=False)[0].numpy()
                for d in documents
            ],
        )


def encode_sentence_transformers(
    folder: Path, queries: list[str], documents: list[str]
) -> tuple[list, list]:
    """Through encode_query and encode_document."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu")
    return (
        [model.encode_query([q], convert_to_numpy=True)[0] for q in queries],
        [model.encode_document([d], convert_to_numpy=True)[0] for d in documents],
    )


def main(library: str) -> None:
    """Encode with every checkpoint of this library and write the file."""
    encode = globals()[f"encode_{library}"]
    golden = {}
    for name in checkpoints.catalogue()[library]:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = checkpoints.write(library, name, Path(folder))
            queries, documents = encode(checkpoint, checkpoints.QUERIES, checkpoints.DOCUMENTS)
        golden[name] = {
            "queries": [text.round(6).tolist() for text in queries],
            "documents": [text.round(6).tolist() for text in documents],
        }
    lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in golden.items()]
    path = HERE / f"{library}.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(path, f"{path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
