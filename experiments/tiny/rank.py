"""Second stage: the tiny model learns to rank texts for their queries as the teacher does.

python rank.py OUT --from FOLDER --sets FOLDER --targets FOLDER --tokenizer FOLDER COLLECTION ...

COLLECTION: name of a folder in --sets with asks.json and in --targets, where "short" has the queries
A step takes runs of neighbouring texts, which are hard to tell apart, and the query of each. What
is learned is the divergence of the model's softmax over the step's texts from the teacher's, whose
score is a sum of MaxSim, cosine of mean vectors and BM25, each a share of the most it can be; the
loss of train.py stays beside it.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from batches import Texts
from model import CLS, DOCUMENT, QUERY, SEP, TinyEncoder, load, save
from scipy.sparse import csr_array
from train import make_optimizers, rate_at

Rows = npt.NDArray[np.float32]
_RUN = 4  # neighbouring texts
_LONGEST = 160  # tokens of a text
_TEMPERATURE = 0.04
_RANK_WEIGHT = 2.0  # of the divergence beside 1 - cosine
_WEIGHTS = {"maxsim": 1.0, "mean": 0.5, "bm25": 0.3, "own": 0.1}
_SAVE_EVERY = 300  # seconds
_LOG_EVERY = 25  # steps
_K1, _B = 1.5, 0.75


@dataclass(frozen=True)
class Pairs:
    """A collection whose texts have queries.

    query_of: (n_texts,) which text of "short" asks for each text, -1 for none
    bm25: (n_texts, vocab) what a token of a query adds to a text's score
    """

    texts: Texts
    query_of: npt.NDArray[np.int64]
    bm25: csr_array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("collections", nargs="+")
    parser.add_argument("--from", type=Path, dest="start", required=True)
    for name in ("sets", "targets", "tokenizer"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    encoder = load(options.start)
    queries = Texts.open(options.targets / "short")
    texts = [Texts.open(options.targets / name) for name in options.collections]
    idf = find_idf(texts, encoder.config["vocab_size"])
    number_of = {text: i for i, text in enumerate(texts_of(options.sets / "short").values())}
    pairs = [
        Pairs(
            own,
            find_queries(options.sets / name, options.targets / name, number_of),
            weigh(own, idf),
        )
        for name, own in zip(options.collections, texts, strict=True)
    ]
    print([int((p.query_of >= 0).sum()) for p in pairs], "texts with a query", flush=True)
    train(encoder, queries, pairs, idf, options)


def texts_of(folder: Path) -> dict[str, str]:
    """Texts of a collection by id, in order."""
    with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
        return {row["_id"]: row["text"] for row in map(json.loads, lines)}


def find_queries(
    collection: Path, targets: Path, number_of: dict[str, int]
) -> npt.NDArray[np.int64]:
    """query_of of Pairs; number_of: which text of "short" a query is."""
    asks = json.loads((collection / "asks.json").read_text("utf-8"))
    doc_ids = json.loads((targets / "doc_ids.json").read_text("utf-8"))
    return np.array([number_of.get(asks.get(doc_id, ""), -1) for doc_id in doc_ids])


def find_idf(collections: list[Texts], vocab: int) -> Rows:
    """(vocab,) weight of a token by how few texts have it; 0 for [CLS] and [SEP]."""
    n_with, n_texts = np.zeros(vocab), 0
    for texts in collections:
        for start, stop in zip(texts.offsets, texts.offsets[1:], strict=False):
            n_with[np.unique(texts.ids[start:stop])] += 1
        n_texts += len(texts.offsets) - 1
    idf = np.log1p((n_texts - n_with + 0.5) / (n_with + 0.5))
    idf[[CLS, SEP]] = 0
    return idf.astype(np.float32)


def weigh(texts: Texts, idf: Rows) -> csr_array:
    """bm25 of Pairs."""
    lengths = np.diff(texts.offsets)
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    shape = (len(lengths), len(idf))
    counts = csr_array((np.ones(len(row_of), np.float32), (row_of, np.array(texts.ids))), shape)
    counts.sum_duplicates()
    norm = _K1 * (1 - _B + _B * lengths / lengths.mean())
    at = np.repeat(norm, np.diff(counts.indptr))
    counts.data = (idf[counts.indices] * counts.data * (_K1 + 1) / (counts.data + at)).astype("f4")
    return counts


def train(
    encoder: TinyEncoder, queries: Texts, pairs: list[Pairs], idf: Rows, options: argparse.Namespace
) -> None:
    """--steps updates, written to --out every five minutes and at the end."""
    optimizers = make_optimizers(encoder, options.rate)
    scale = torch.nn.Parameter(torch.tensor(math.log(1 / _TEMPERATURE)))
    optimizers[1].add_param_group({"params": [scale], "lr": options.rate})
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(opt, lambda step: rate_at(step, options.steps))
        for opt in optimizers
    ]
    rng, saved = np.random.default_rng(options.seed), time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "log.csv").open("w", newline="") as file:
        log, sums = csv.writer(file), []
        log.writerow(["step", "seconds", "divergence", "loss"])
        for step in range(options.steps):
            picked = choose(pairs, options.texts, rng)
            wanted = teacher_scores(queries, picked, idf)
            sums.append(take_step(encoder, scale, queries, picked, wanted, optimizers))
            for schedule in schedules:
                schedule.step()
            if (step + 1) % _LOG_EVERY == 0:
                row = [step + 1, round(time.process_time()), *np.mean(sums, axis=0).round(4)]
                log.writerow(row)
                file.flush()
                print(*row, f"scale {scale.exp().item():.1f} of {options.steps} steps", flush=True)
                sums = []
            if time.monotonic() - saved > _SAVE_EVERY:
                save(encoder, options.tokenizer, options.out)
                saved = time.monotonic()
    save(encoder, options.tokenizer, options.out)


Chosen = list[tuple[Pairs, int]]


def choose(pairs: list[Pairs], n_texts: int, rng: np.random.Generator) -> Chosen:
    """Runs of neighbouring texts that have different queries, each run from any collection."""
    weights = np.array([(p.query_of >= 0).sum() ** 0.5 for p in pairs])
    pairs_of: dict[tuple[int, int], tuple[Pairs, int]] = {}
    while len(pairs_of) < n_texts:
        number = int(rng.choice(len(pairs), p=weights / weights.sum()))
        own = pairs[number]
        start = int(rng.integers(0, len(own.query_of)))
        for i in range(start, min(start + _RUN, len(own.query_of))):
            if own.query_of[i] >= 0:
                pairs_of.setdefault((number, int(own.query_of[i])), (own, i))
    return list(pairs_of.values())[:n_texts]


def rows_of(texts: Texts, i: int) -> tuple[npt.NDArray[np.int64], Rows]:
    """Ids and the teacher's unit rows of a text, cut."""
    start, stop = int(texts.offsets[i]), int(texts.offsets[i + 1])
    stop = min(stop, start + _LONGEST)
    return texts.ids[start:stop].astype(np.int64), np.asarray(texts.targets[start:stop], np.float32)


def teacher_scores(queries: Texts, picked: Chosen, idf: Rows) -> torch.Tensor:
    """(n_queries, n_texts) what is learned, before the temperature."""
    asks = [rows_of(queries, int(own.query_of[i])) for own, i in picked]
    texts = [rows_of(own.texts, i) for own, i in picked]
    best = maxsim(*_padded([rows for _, rows in asks]), *_padded([rows for _, rows in texts]))
    means = [
        F.normalize(torch.from_numpy(np.stack([rows.mean(0) for _, rows in side])), dim=-1)
        for side in (asks, texts)
    ]
    tokens = [np.unique(ids) for ids, _ in asks]
    bm25 = np.stack([own.bm25[[i]].toarray()[0] for own, i in picked])
    shares = [bm25[:, ids].sum(1) / max(idf[ids].sum() * (_K1 + 1), 1e-6) for ids in tokens]
    return (
        _WEIGHTS["maxsim"] * best
        + _WEIGHTS["mean"] * (means[0] @ means[1].T)
        + _WEIGHTS["bm25"] * torch.from_numpy(np.stack(shares)).float()
        + _WEIGHTS["own"] * torch.eye(len(picked))
    )


def maxsim(
    queries: torch.Tensor, is_query: torch.Tensor, texts: torch.Tensor, is_text: torch.Tensor
) -> torch.Tensor:
    """(n_queries, n_texts) mean over a query's tokens of the best similarity in a text.

    queries, texts: (n, length, dim) unit rows; is_query, is_text: (n, length) bool
    """
    flat = queries.flatten(0, 1) @ texts.flatten(0, 1).T
    scores = flat.view(*queries.shape[:2], *texts.shape[:2])
    best = scores.masked_fill(~is_text, -1.0).amax(-1) * is_query[..., None]
    return best.sum(1) / is_query.sum(1)[:, None]


def take_step(
    encoder: TinyEncoder,
    scale: torch.nn.Parameter,
    queries: Texts,
    picked: Chosen,
    wanted: torch.Tensor,
    optimizers: list[torch.optim.Optimizer],
) -> tuple[float, float]:
    """One update; returns divergence and 1 - cosine before it."""
    asks = [(queries, int(own.query_of[i])) for own, i in picked]
    q, is_q, loss_q = encode(encoder, asks, QUERY)
    d, is_d, loss_d = encode(encoder, [(own.texts, i) for own, i in picked], DOCUMENT)
    student = F.log_softmax(maxsim(q, is_q, d, is_d) * scale.exp(), dim=-1)
    teacher = F.log_softmax(wanted / _TEMPERATURE, dim=-1)
    divergence = F.kl_div(student, teacher, log_target=True, reduction="batchmean")
    kept = (loss_q + loss_d) / 2
    (_RANK_WEIGHT * divergence + kept).backward()
    torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return divergence.item(), kept.item()


def encode(
    encoder: TinyEncoder, rows: list[tuple[Texts, int]], marker: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(n, length, dim) unit rows, (n, length) which are tokens, and their mean 1 - cosine."""
    ids, targets = [], []
    for texts, i in rows:
        own, _ = rows_of(texts, i)
        start = int(texts.offsets[i])
        target = texts.project(start, start + len(own))
        own[-1] = SEP  # also where the text is cut
        ids.append(np.insert(own, 1, marker))
        targets.append(np.concatenate([target[:1], target]))
    length = max(map(len, ids))
    padded = torch.from_numpy(np.stack([np.pad(x, (0, length - len(x))) for x in ids]))
    goal, is_token = _padded(targets)
    pairs_of = encoder(padded, is_token.long())
    return pairs_of, is_token, 1 - (pairs_of * goal).sum(-1)[is_token].mean()


def _padded(rows: list[Rows]) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(map(len, rows))
    values = np.zeros((len(rows), length, rows[0].shape[1]), np.float32)
    is_there = np.zeros(values.shape[:2], bool)
    for i, own in enumerate(rows):
        values[i, : len(own)], is_there[i, : len(own)] = own, True
    return torch.from_numpy(values), torch.from_numpy(is_there)


if __name__ == "__main__":
    main()
