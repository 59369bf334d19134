"""Mine hard negatives for pairs of your own, then train on them.

    python examples/mine_and_train.py                       # mines for pairs of the built-in set
    python examples/mine_and_train.py pairs.jsonl --model MODEL --train

The file has {"query": ..., "positive": ...} on every line. Mining runs anywhere. Training needs the
extra train in an environment of its own (`make train-env`), and a GPU for more than a trial.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from colmodern import MissingExtraError, load_dataset
from colmodern.config.mine import MineConfig
from colmodern.config.shipped import find_config
from colmodern.config.train import load_train_config
from colmodern.training.mining.mine import run_mine

N_EXAMPLES = 300


def write_example(path: Path) -> Path:
    """Pairs of a sentence about Python's standard library and the documentation it is from."""
    dataset = load_dataset("stdlib", max_queries=N_EXAMPLES, sample_seed=0)
    texts = {document.doc_id: document.text for document in dataset.corpus}
    pairs = [
        {"query": text, "positive": texts[next(iter(dataset.qrels[query_id]))]}
        for query_id, text in dataset.queries.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), "utf-8")
    return path


def train(mined: Path, model: str, output: Path) -> None:
    from colmodern.training.run import run_train

    overrides = [f"encoder.model={model}", f"data.0.path={mined}", f"output={output}"]
    overrides.append("encoder.projection_dim=null")  # that of the checkpoint
    # a built-in recipe: distillation, from the scores that mining wrote
    config = load_train_config(find_config("train/mined", "train"), overrides)
    try:
        print(f"trained: {run_train(config, progress=True)}")
    except MissingExtraError as error:
        print(f"not trained: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Mine hard negatives, and train on them.")
    parser.add_argument("pairs", nargs="?", type=Path, help='lines of {"query":, "positive":}')
    parser.add_argument("--model", default="colmodern/tiny", help="finds and scores negatives")
    parser.add_argument("--output", type=Path, default=Path("mining"), help="folder of the results")
    parser.add_argument("--train", action="store_true", help="train on what was mined")
    options = parser.parse_args()

    pairs = options.pairs or write_example(options.output / "pairs.jsonl")
    mined = options.output / "mined.jsonl.gz"
    if not mined.exists():
        settings = {
            "pairs": str(pairs),
            "encoder": {"model": options.model, "document_length": 128},
            # max_share: what scores nearly as high as the positive may be one that nobody judged
            "negatives": {"number": 5, "last_rank": 50, "max_share": 0.95},
            "output": str(mined),
        }
        facts = run_mine(MineConfig.model_validate(settings), progress=True)
        print(f"{facts['rows']} rows of a query, its positive and 5 negatives: {mined}")
    if options.train:
        train(mined, options.model, options.output / "train")
    else:
        print("to train on them: the same command with --train, in the environment of the extra")


if __name__ == "__main__":
    main()
