"""Encoders side by side on the same texts and weights, each in a process of its own.

    python experiments/benchmarks/encode.py --tokenizer TOKENIZER --mixed FOLDER --mixed FOLDER \
        --long FOLDER --engine-python pylate=PYLATE/bin/python \
        --engine-python sentence-transformers=ST/bin/python \
        [--shape base --dtype bfloat16 --texts long --engines colmodern,pylate]

Weights are random, of ModernBERT-base's shape or a small one; TOKENIZER is a folder with a
ModernBERT's tokenizer.json. FOLDERs are collections in the BEIR layout. "mixed" are whole batches
of 32 texts of like length, taken evenly from a sorted sample of 4,096 passages, so that a peer
that sorts its texts pads no more than on a large collection; texts are cut at 8,192 tokens, which
for "long" all are. Rows are appended to experiments/results/encode.csv: tokens are the texts' own,
overhead is the share of the time outside the model, memory is resident: with the model loaded, and
the peak while it encodes. cpu_tokens_per_s divides by the process's own time: on one thread that
compares engines on a machine which does other work too.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import click
from launch import thread_environment
from results import append_rows, machine_and_commit

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = (
    "date",
    "commit",
    "machine",
    "engine",
    "version",
    "options",
    "shape",
    "dtype",
    "texts",
    "n_docs",
    "n_tokens",
    "longest",
    "threads",
    "seconds",
    "tokens_per_s",
    "overhead",
    "loaded_mb",
    "peak_mb",
    "cpu_tokens_per_s",
)
SHAPES: dict[str, dict[str, int]] = {
    "base": {
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
    },
    "small": {
        "hidden_size": 384,
        "intermediate_size": 576,
        "num_hidden_layers": 10,
        "num_attention_heads": 6,
    },
}
LENGTH, BATCH, POOL = 8192, 32, 4096
_WORKER = Path(__file__).with_name("encode_worker.py")


def write_model(folder: Path, tokenizer: Path, shape: str) -> None:
    """A ModernBERT with random weights, as transformers saves it."""
    import torch
    from transformers import AutoTokenizer, ModernBertConfig, ModernBertModel

    torch.manual_seed(0)
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    ModernBertModel(ModernBertConfig(**SHAPES[shape])).save_pretrained(folder)
    loaded.save_pretrained(folder)


def read_texts(folder: Path) -> list[str]:
    """The documents of a collection, titles joined."""
    with (folder / "corpus.jsonl").open() as file:
        records = [json.loads(line) for line in file]
    return [f"{record.get('title', '')} {record['text']}".strip() for record in records]


def draw_mixed(folders: tuple[Path, ...], n_docs: int) -> list[str]:
    """As many from each collection, in batches of like length; see above."""
    rng = random.Random(0)
    pool: list[str] = []
    for folder in folders:
        pool += rng.sample(read_texts(folder), POOL // len(folders))
    pool.sort(key=len)
    batches = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
    n_batches = n_docs // BATCH
    selected = [batches[(2 * i + 1) * len(batches) // (2 * n_batches)] for i in range(n_batches)]
    texts = [text for batch in selected for text in batch]
    rng.shuffle(texts)
    return texts


def count_tokens(tokenizer: Path, texts: list[str]) -> list[int]:
    """Tokens of each text, cut at LENGTH."""
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(tokenizer)(texts, verbose=False)["input_ids"]
    return [min(LENGTH, len(text)) for text in ids]


def run_worker(python: str, request: dict[str, Any], timeout: float) -> dict[str, Any]:
    """The worker's answer."""
    with tempfile.TemporaryDirectory() as folder:
        path, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        path.write_text(json.dumps({**request, "answer": str(answer)}))
        subprocess.run(
            [python, str(_WORKER), str(path)],
            env={**thread_environment(request["threads"]), "HF_HUB_OFFLINE": "1"},
            check=True,
            timeout=timeout,
        )
        return json.loads(answer.read_text())


def version(python: str, engine: str) -> str:
    """Of the engine's package, in its environment."""
    code = f"from importlib.metadata import version; print(version({engine!r}))"
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


@click.command()
@click.option("--tokenizer", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--mixed", multiple=True, type=click.Path(path_type=Path, exists=True))
@click.option("--long", "long_", type=click.Path(path_type=Path, exists=True))
@click.option("--engine-python", multiple=True, metavar="ENGINE=PYTHON")
@click.option("--engines", default="colmodern,pylate,sentence-transformers", show_default=True)
@click.option("--shape", "shapes", multiple=True, default=tuple(SHAPES), show_default=True)
@click.option(
    "--dtype", "dtypes", multiple=True, default=("float32", "bfloat16"), show_default=True
)
@click.option("--texts", "kinds", multiple=True, default=("mixed", "long"), show_default=True)
@click.option("--mixed-docs", default=128, show_default=True)
@click.option("--long-docs", default=2, show_default=True)
@click.option("--options", default="{}", help="JSON, for the engines' own calls.")
@click.option("--threads", default=2, show_default=True)
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds a process.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(tokenizer: Path, **options: Any) -> None:
    """Measure encoders on random weights and real texts."""
    pythons = dict(item.split("=", 1) for item in options["engine_python"])
    texts = {}
    if "mixed" in options["kinds"]:
        texts["mixed"] = draw_mixed(options["mixed"], options["mixed_docs"])
    if "long" in options["kinds"]:
        texts["long"] = sorted(read_texts(options["long_"]), key=len)[-options["long_docs"] :]
    lengths = {kind: count_tokens(tokenizer, group) for kind, group in texts.items()}
    common = {"date": date.today().isoformat(), **machine_and_commit()}
    for shape in options["shapes"]:
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(folder), tokenizer, shape)
            grid = itertools.product(texts, options["dtypes"], options["engines"].split(","))
            for kind, dtype, engine in grid:
                python = pythons.get(engine, sys.executable)
                same = {"engine": engine, "dtype": dtype, "threads": options["threads"]}
                request = {**same, "model": folder, "texts": texts[kind], "document_length": LENGTH}
                request["options"] = json.loads(options["options"])
                answer = run_worker(python, request, options["timeout"])
                row = {**common, **same, "shape": shape, "texts": kind}
                row |= {"version": version(python, engine), "options": options["options"]}
                row |= figures(answer, lengths[kind])
                append_rows(options["results"] / "encode.csv", [row], COLUMNS)
                click.echo(" ".join(f"{name}={row[name]}" for name in COLUMNS[3:]))


def figures(answer: dict[str, Any], lengths: list[int]) -> dict[str, Any]:
    """The measured columns of a row."""
    seconds, forward_s = answer["seconds"], answer["forward_s"]
    return {
        "n_docs": len(lengths),
        "n_tokens": sum(lengths),
        "longest": max(lengths),
        "seconds": round(seconds, 2),
        "tokens_per_s": round(sum(lengths) / seconds, 1),
        "overhead": round(1 - forward_s / seconds, 4) if forward_s else "",
        "loaded_mb": round(answer["loaded_mb"]),
        "peak_mb": round(answer["peak_mb"]),
        "cpu_tokens_per_s": round(sum(lengths) / answer["cpu_s"], 1),
    }


if __name__ == "__main__":
    main()
