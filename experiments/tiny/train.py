"""Train the tiny model to give each token the teacher's vector.

python train.py OUT --targets FOLDER --tokenizer FOLDER --teacher FOLDER COLLECTION ...
    [--from FOLDER] [--tokens 12e6] [--layers 5] [--inner 384]

COLLECTION: names of folders in --targets; --from: a checkpoint to go on from, with its tokenizer or another
OUT becomes a checkpoint in PyLate's layout, written again every five minutes; OUT/log.csv has the
loss, 1 - cosine, of training and of texts held out.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import time
from pathlib import Path

import numpy as np
import torch
from batches import Batch, Texts, make_batches
from model import TinyEncoder, load, new_encoder, retokenized, save

HELD_OUT = 100  # texts of each collection
_SAVE_EVERY = 300  # seconds
_LOG_EVERY = 50  # steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("collections", nargs="+")
    parser.add_argument("--targets", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--from", type=Path, dest="start")
    parser.add_argument("--tokens", type=float, default=12e6)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--inner", type=int, default=384)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    collections = [Texts.open(options.targets / name) for name in options.collections]
    if options.start and is_same_tokenizer(options.start, options.tokenizer):
        encoder = load(options.start)
    elif options.start:
        means = mean_targets(collections, options.tokenizer)
        encoder = retokenized(options.start, options.tokenizer, means, options.teacher)
    else:
        means = mean_targets(collections, options.tokenizer)
        encoder = new_encoder(
            options.tokenizer, means, options.teacher, n_layers=options.layers, inner=options.inner
        )
    n_weights = sum(p.numel() for p in encoder.parameters())
    print(f"{n_weights:,} weights, {sum(len(t.ids) for t in collections):,} tokens", flush=True)
    train(encoder, collections, options)


def is_same_tokenizer(first: Path, second: Path) -> bool:
    """Whether two folders have the same tokenizer.json."""
    texts = ((folder / "tokenizer.json").read_bytes() for folder in (first, second))
    return len(set(texts)) == 1


def mean_targets(collections: list[Texts], tokenizer: Path) -> np.ndarray:
    """(vocab, dim) float32 mean target of each token; zeros for tokens that do not occur."""
    from scipy.sparse import csr_array
    from tokenizers import Tokenizer

    vocab = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).get_vocab_size()
    dim = collections[0].axes.shape[1]
    total, count = np.zeros((vocab, dim), np.float32), np.zeros(vocab, np.float32)
    for texts in collections:
        for first in range(0, len(texts.ids), 1 << 18):
            ids = texts.ids[first : first + (1 << 18)]
            rows = texts.project(first, first + len(ids))
            ones = np.ones(len(ids), np.float32)
            total += csr_array((ones, (ids, np.arange(len(ids)))), (vocab, len(ids))) @ rows
            count += np.bincount(ids, minlength=vocab)
    return total / np.maximum(count, 1)[:, None]


def train(encoder: TinyEncoder, collections: list[Texts], options: argparse.Namespace) -> None:
    """Run over the collections until --tokens are seen, with a warm-up and a cosine decay."""
    optimizers = make_optimizers(encoder, options.rate)
    n_steps = math.ceil(options.tokens / options.batch)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(opt, lambda step: rate_at(step, n_steps))
        for opt in optimizers
    ]
    held_out = list(
        make_batches(collections, size=8192, seed=0, held_out=HELD_OUT, is_held_out=True)
    )
    epochs = (
        make_batches(collections, size=options.batch, seed=options.seed + epoch, held_out=HELD_OUT)
        for epoch in itertools.count()
    )
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "log.csv").open("w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["step", "tokens", "seconds", "loss", "held_out"])
        begun, saved, seen, losses = time.process_time(), time.monotonic(), 0, []
        for step, batch in enumerate(itertools.chain.from_iterable(epochs)):
            if step >= n_steps:
                break
            losses.append(take_step(encoder, batch, optimizers))
            seen += batch.ids.numel()
            for schedule in schedules:
                schedule.step()
            if (step + 1) % _LOG_EVERY == 0 or step == n_steps - 1:
                held = ""
                if (step + 1) % (5 * _LOG_EVERY) == 0 or step == n_steps - 1:
                    held = f"{measure(encoder, held_out):.4f}"
                row = [step + 1, seen, round(time.process_time() - begun), f"{np.mean(losses):.4f}"]
                log.writerow([*row, held])
                file.flush()
                print(*row, held, f"of {n_steps} steps", flush=True)
                losses = []
            if time.monotonic() - saved > _SAVE_EVERY:
                save(encoder, options.tokenizer, options.out)
                saved = time.monotonic()
    save(encoder, options.tokenizer, options.out)


def make_optimizers(encoder: TinyEncoder, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of layers, AdamW for the rest."""
    matrices = [p for p in encoder.backbone.layers.parameters() if p.ndim == 2]
    matrix_ids = {id(p) for p in matrices}
    rest = [p for p in encoder.parameters() if id(p) not in matrix_ids]
    muon = torch.optim.Muon(
        matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw", ns_steps=4
    )
    return [
        muon,
        torch.optim.AdamW(rest, lr=rate / 2, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def rate_at(step: int, n_steps: int) -> float:
    """Share of the learning rate: up over 3 % of the steps, then down along a cosine."""
    warm_up = max(1, n_steps // 33)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, step / n_steps))) / 2


def take_step(encoder: TinyEncoder, batch: Batch, optimizers: list[torch.optim.Optimizer]) -> float:
    """One update; returns the loss before it."""
    loss = loss_of(encoder, batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return float(loss.detach())


def loss_of(encoder: TinyEncoder, batch: Batch) -> torch.Tensor:
    """Mean of 1 - cosine over the tokens that have a target."""
    is_learned = batch.targets.any(-1)
    cosine = (encoder(batch.ids, batch.mask) * batch.targets).sum(-1)
    return 1 - cosine[is_learned].mean()


@torch.no_grad()
def measure(encoder: TinyEncoder, batches: list[Batch]) -> float:
    """Mean loss of batches."""
    return float(np.mean([float(loss_of(encoder, batch)) for batch in batches]))


if __name__ == "__main__":
    main()
