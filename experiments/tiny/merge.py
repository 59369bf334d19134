"""Make a checkpoint whose weights are the mean of two others of the same shape.

python merge.py OUT FIRST SECOND --tokenizer FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from model import load, save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name in ("out", "first", "second"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    given = parser.parse_args()
    encoder, other = load(given.first), load(given.second)
    with torch.no_grad():
        for weight, second in zip(encoder.parameters(), other.parameters(), strict=True):
            weight.add_(second).div_(2)
    save(encoder, given.tokenizer, given.out)


if __name__ == "__main__":
    main()
