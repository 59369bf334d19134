"""``colmodern eval`` of made-up passages, from texts to measures, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
_N_QUERIES, _DIM, _TOKENS = 64, 128, 120
# the tokenizer of the built-in model, whose special tokens have these ids
_IDS = {
    "pad_token_id": 0,
    "bos_token_id": 2,
    "cls_token_id": 2,
    "eos_token_id": 3,
    "sep_token_id": 3,
}
_TINY = {
    "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_hidden_layers": 2,
}  # fmt: skip


def measure_eval(device: str, folder: Path, n_docs: int, timeout: float) -> Iterator[Row]:
    """One row: seconds of the command, and of its stages; the first run compiles and is not kept.

    Args:
        device: "cuda", or "cpu" for a dry run of few texts and a small model.
        folder: Takes the model, the texts and the runs.
        n_docs: Number of passages.
        timeout: Seconds of a run.
    """
    is_cuda = device == "cuda"
    n_docs = n_docs if is_cuda else 40
    model = _write_model(folder / "model", {} if is_cuda else _TINY)
    row: Row = {"work": "eval", "engine": "colmodern"}
    for n in (n_docs // 100, n_docs) if is_cuda else (n_docs,):
        collection = _write_texts(folder / f"texts-{n}", n)
        row["shape"] = f"{n} passages of about {_TOKENS} tokens, bfloat16, 4 bits"
        config = folder / "config.json"
        settings = {
            "name": f"eval-{n}",
            "dataset": {"name": str(collection)},
            "encoder": {
                "model": str(model), "device": device, "dtype": "bfloat16" if is_cuda else "float32",
                "projection_dim": _DIM, "document_length": 512,
            },
            "index": {"kind": "plaid", "nbits": 4, "compare_with_exact": False, "device": device},
            "output": str(folder / "runs"),
        }  # fmt: skip
        config.write_text(json.dumps(settings))  # JSON is YAML too
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "colmodern", "eval", str(config)],
            env={**os.environ, "TRITON_INTERPRET": "0"},  # a dry run takes the CPU's own path
            timeout=timeout, capture_output=True, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            yield {**row, "note": f"not run: {last}", "failed": True}
            return
    timings = json.loads((folder / "runs" / f"eval-{n_docs}" / "timings.json").read_text())
    yield {**row, "wall_ms": 1000 * seconds, "note": _of_stages(timings)}


def _of_stages(timings: dict[str, Any]) -> str:
    """Seconds of each stage that took a tenth of a second or more."""
    stages = timings.get("stages", timings)
    seconds = {name: stage["seconds"] for name, stage in stages.items() if "seconds" in stage}
    return ", ".join(f"{name} {took:.1f} s" for name, took in seconds.items() if took >= 0.1)


def _write_model(folder: Path, sizes: dict[str, int]) -> Path:
    """ModernBERT with random weights, of the base shape unless ``sizes`` say otherwise."""
    import torch
    from transformers import AutoTokenizer, ModernBertConfig, ModernBertModel

    import colmodern

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(Path(colmodern.__file__).parent / "tiny")
    config = ModernBertConfig(vocab_size=len(tokenizer), **_IDS, **sizes)
    ModernBertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _write_texts(folder: Path, n_docs: int) -> Path:
    """A collection in the BEIR layout; each query is made of words of the document it is judged by."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, n)) for n in rng.integers(2, 6, 5000)]
    lengths = rng.integers(_TOKENS // 3, _TOKENS * 2 // 3, n_docs)
    texts = [" ".join(words[i] for i in rng.integers(0, len(words), n)) for n in lengths]
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": str(i), "title": "", "text": text} for i, text in enumerate(texts)]
    owners = rng.choice(n_docs, min(_N_QUERIES, n_docs), replace=False)
    queries = [{"_id": str(i), "text": " ".join(texts[i].split()[:8])} for i in owners]
    for name, records in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(lines)
    judged = "".join(f"{i}\t{i}\t1\n" for i in owners)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder
