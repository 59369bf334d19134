"""Passages for collections of any size, and queries that are words of them."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from colmodern import Collection, load_dataset

_MOST_CHARACTERS = 600  # a passage is cut there, at about 130 tokens of colmodern/tiny
_QUERY_WORDS = (4, 12)
_TEXT_KEYS = ("text", "positive")


def passages(n_docs: int, corpora: Iterable[Path] = ()) -> Iterator[str]:
    """``n_docs`` texts, the same in every call, one after another.

    Args:
        n_docs: Number of passages.
        corpora: Files of JSON lines with "text" or "positive", plain or gzipped. Without any, the
            documents of the built-in set, each followed by sentences of others that a seeded
            generator draws.
    """
    files = list(corpora)
    texts = _texts_of_files(files) if files else _varied_documents()
    made = 0
    for text in itertools.islice(texts, n_docs):
        made += 1
        yield text
    if made < n_docs:
        raise click.ClickException(f"the files have {made} passages; name more files, or lower n")


def queries_of(collection: Collection, n: int, *, seed: int = 0) -> list[str]:
    """``n`` queries: a few words in a row of random documents."""
    rng = random.Random(seed)
    ids = list(collection)
    queries: list[str] = []
    while len(queries) < n:
        words = collection[rng.choice(ids)].text.split()
        wanted = rng.randint(*_QUERY_WORDS)
        if len(words) >= wanted:
            first = rng.randrange(len(words) - wanted + 1)
            queries.append(" ".join(words[first : first + wanted]))
    return queries


def opened_collection(folder: Path, n_docs: int, corpora: Iterable[Path] = ()) -> Collection:
    """The collection of ``n_docs`` passages in a folder, made where it is not there yet."""
    if not folder.exists():
        click.echo(f"adding {n_docs:,} passages to {folder}; this takes minutes, once", err=True)
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        with Collection.create(unfinished, "colmodern/tiny", device="cpu") as collection:
            collection.add(passages(n_docs, corpora), progress=True)
        unfinished.rename(folder)
    collection = Collection.open(folder, read_only=True, device="cpu")
    if len(collection) != n_docs:
        raise click.ClickException(
            f"{folder} has {len(collection):,} documents, not {n_docs:,}; delete it, or pass "
            f"--n-docs {len(collection)}"
        )
    return collection


def _texts_of_files(files: list[Path]) -> Iterator[str]:
    for file in files:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            for line in lines:
                record = json.loads(line)
                text = next(str(record[key]) for key in _TEXT_KEYS if key in record)
                if text.strip():
                    yield text[:_MOST_CHARACTERS]


def _varied_documents() -> Iterator[str]:
    texts = [document.text for document in load_dataset("stdlib").corpus]
    sentences = [part for text in texts for part in re.split(r"(?<=[.!?])\s+", text)]
    rng = random.Random(0)
    yield from (text[:_MOST_CHARACTERS] for text in texts)
    while True:
        for text in texts:
            others = rng.sample(sentences, rng.randint(1, 3))
            yield " ".join([text[: _MOST_CHARACTERS // 2], *others])[:_MOST_CHARACTERS]
