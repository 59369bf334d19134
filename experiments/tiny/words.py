"""Texts for the words of a tokenizer: each alone, and in company of others drawn by chance.

python words.py OUT --tokenizer FOLDER [--mixed 60000] [--seed 0]

The teacher's vectors for them teach what words mean that no other text of the training has. OUT
gets corpus.jsonl. Every word is drawn as often as any other, one in seven with an ending.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gather import numbered, write_collection
from tokenizers import Tokenizer

_FEWEST, _MOST = 4, 12  # words of a mixed text
_ENDING = 0.15  # probability
_SHORTEST = 3  # letters of an ending


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--mixed", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.tokenizer / "tokenizer.json"))
    vocab = tokenizer.get_vocab()
    special = set(tokenizer.get_added_tokens_decoder())
    pieces = sorted((p for p in vocab if vocab[p] not in special), key=vocab.__getitem__)
    texts = make_texts(pieces, options.mixed, random.Random(options.seed))
    write_collection(options.out, numbered("words", texts))


def make_texts(pieces: list[str], n_mixed: int, rng: random.Random) -> list[str]:
    """All texts, in an order by chance."""
    plain = [piece for piece in pieces if piece.isascii()]
    words = [piece for piece in plain if not piece.startswith("##")]
    endings = [piece.removeprefix("##") for piece in plain if piece.startswith("##")]
    endings = [ending for ending in endings if len(ending) >= _SHORTEST]
    drawn = _draw(words, rng)
    texts = list(words)
    for _ in range(n_mixed):
        drawn_words = islice(drawn, rng.randint(_FEWEST, _MOST))
        ended = (w + rng.choice(endings) if rng.random() < _ENDING else w for w in drawn_words)
        texts.append(" ".join(ended))
    rng.shuffle(texts)
    return texts


def _draw(words: list[str], rng: random.Random) -> Iterator[str]:
    while True:
        yield from rng.sample(words, len(words))


if __name__ == "__main__":
    main()
