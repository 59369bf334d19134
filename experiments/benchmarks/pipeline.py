"""How long the model waits for tokenization and disk: a plain loop against the pipelined one.

    python experiments/benchmarks/pipeline.py MODEL CORPUS --work FOLDER [--max-docs 2000]

Both write the same shards into FOLDER, by turns. Rows go to experiments/results/pipeline.csv.
"""

from __future__ import annotations

import itertools
import shutil
import time
from datetime import date
from pathlib import Path

import click
from results import Row, append_rows, machine_and_commit

from colmodern import Encoder
from colmodern.datasets.load import load_corpus
from colmodern.encoding.shards import Text, cut_shards
from colmodern.encoding.store import document_texts, encode_to_store
from colmodern.progress import Silent
from colmodern.ragged.store import ShardWriter

RESULTS = Path(__file__).resolve().parents[1] / "results" / "pipeline.csv"
COLUMNS = ("date", "commit", "machine", "model", "corpus", "n_docs", "shard_tokens", "loop")
FIGURES = ("seconds", "outside_s", "outside_share", "tokenize_s", "write_s")


@click.command()
@click.argument("model")
@click.argument("corpus")  # a BEIR folder
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option("--max-docs", default=2000)
@click.option("--shard-tokens", default=16_384)
@click.option("--repeats", default=2)
def main(
    model: str, corpus: str, work: Path, max_docs: int, shard_tokens: int, repeats: int
) -> None:
    """Measure both loops by turns and keep the quicker run of each."""
    encoder = Encoder.from_pretrained(model, document_length=256)
    pairs = document_texts(load_corpus(corpus), join_titles=True)
    texts = list(itertools.islice(pairs, max_docs))
    encoder.encode_documents([text for _, text in texts[:64]])
    common = {
        "date": date.today().isoformat(),
        **machine_and_commit(),
        "model": f"{model}, document_length 256",
        "corpus": Path(corpus).name,
        "n_docs": len(texts),
        "shard_tokens": shard_tokens,
    }
    for name, loop in (("plain", plain_loop), ("pipelined", pipelined_loop)):
        runs = []
        for _ in range(repeats):
            shutil.rmtree(work, ignore_errors=True)
            runs.append(loop(encoder, texts, work, shard_tokens))
        row = {**common, "loop": name, **min(runs, key=lambda run: run["seconds"])}
        row["outside_share"] = row["outside_s"] / row["seconds"]
        row |= {name: f"{row[name]:.3f}" for name in FIGURES if name in row}
        append_rows(RESULTS, [row], (*COLUMNS, *FIGURES))
        print({name: row.get(name) for name in ("loop", *FIGURES)}, flush=True)


def plain_loop(encoder: Encoder, texts: list[Text], work: Path, shard_tokens: int) -> Row:
    """Tokenize, encode, write, one after another."""
    writer = ShardWriter(work, fingerprint="benchmark")
    spent = {"tokenize_s": 0.0, "write_s": 0.0}
    start = time.perf_counter()
    for shard in cut_shards(texts, first=0, limit=256, shard_tokens=shard_tokens):
        before = time.perf_counter()
        tokenized = encoder.tokenize([text for _, text in shard.texts], "document")
        spent["tokenize_s"] += time.perf_counter() - before
        embeddings = encoder.encode_tokens(tokenized)
        before = time.perf_counter()
        writer.add(embeddings, shard.doc_ids)
        spent["write_s"] += time.perf_counter() - before
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "outside_s": sum(spent.values()), **spent}


def pipelined_loop(encoder: Encoder, texts: list[Text], work: Path, shard_tokens: int) -> Row:
    """What ``colmodern encode`` does."""
    start = time.perf_counter()
    store, _ = encode_to_store(
        texts,
        len(texts),
        encoder,
        work,
        role="document",
        fingerprint="benchmark",
        dtype="float16",
        shard_tokens=shard_tokens,
        progress=Silent(),
    )
    seconds = time.perf_counter() - start
    facts = store.manifest["facts"]
    # the rest of the time is writing the last shard and the manifest
    return {"seconds": seconds, "outside_s": seconds - facts["seconds"] + facts["waited_seconds"]}


if __name__ == "__main__":
    main()
