"""Valid files of every kind that colmodern reads, for fuzz_files.py to change."""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path

import yaml

from colmodern import EmbeddingStore, Encoder, PlaidIndex, run_eval

_ROOT = Path(__file__).resolve().parents[2]
_WORDS = ["wing", "lift", "heat", "flow", "speed", "sound", "plane", "shock", "wave", "drag", "jet"]


def make_everything(folder: Path) -> None:
    """Valid files of every kind below a new folder."""
    rng = random.Random(0)
    _make_collection(folder / "beir", rng)
    _make_collection(folder / "zipped", rng, is_zipped=True)
    (folder / "loose").mkdir()
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / "loose" / name).write_text((folder / "beir" / name).read_text())
    (folder / "loose/qrels.trec").write_text("".join(f"q{i} 0 d{i} {i % 3}\n" for i in range(6)))
    run = "".join(f"q{i} Q0 d{j} {j + 1} {9.5 - j} tag\n" for i in range(6) for j in range(5))
    (folder / "loose/run.trec").write_text(run)
    (folder / "zipped/run.trec.gz").write_bytes(gzip.compress(run.encode()))
    config = {"name": "one", "dataset": {"name": str(folder / "beir")}, "search": {"k": 10}}
    config |= {"encoder": {"model": "colmodern/tiny", "document_length": 32}}
    config |= {"measures": ["nDCG@10", "R@10"], "output": str(folder / "runs")}
    for name in ("one", "two"):
        run_eval({**config, "name": name, "search": {"k": 10 + (name == "two")}})
    run_eval({**config, "name": "plaid", "index": {"kind": "plaid", "nbits": 2}})
    (folder / "configs").mkdir()
    (folder / "configs/eval.yaml").write_text(yaml.safe_dump(config))
    for kind, name in (("mine", "tiny"), ("train", "tiny"), ("sweep", "plaid")):
        shipped = _ROOT / "configs" / kind / f"{name}.yaml"
        (folder / f"configs/{kind}.yaml").write_text(shipped.read_text())
    suite = {**config, "sets": {str(folder / "beir"): None, str(folder / "loose"): {"split": "x"}}}
    del suite["dataset"], suite["name"]
    (folder / "configs/suite.yaml").write_text(yaml.safe_dump(suite))
    expected = sorted((_ROOT / "configs").rglob("*expected.yaml"))
    (folder / "configs/expected.yaml").write_text(expected[0].read_text())
    outcome = {"row": "beir", "column": "one", "measures": {"nDCG@10": 0.5}, "error": None}
    failed = {
        "row": "b",
        "column": "two",
        "measures": None,
        "error": "error: no",
        "run": "runs/one",
    }
    (folder / "suite.json").write_text(json.dumps([outcome, failed]))
    _make_stores(folder)
    rows = [{"query": "wing", "positive": "lift", "negative": "heat"} for _ in range(4)]
    scored = [{"query": "wing", "documents": ["a", "b"], "scores": [1.5, 0.25]} for _ in range(4)]
    for name, records in (("triples", rows), ("scored", scored)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    _make_trainings(folder)
    sys.path.insert(0, str(_ROOT / "tests"))
    import checkpoints

    for library in ("pylate", "stanford", "sentence_transformers"):
        for name in list(checkpoints.catalogue()[library])[:1]:
            checkpoints.write(library, name, folder / f"checkpoint-{library}")
            (folder / f"checkpoint-{library}/README.md").write_text(
                "---\ntags: [x]\nbase_model: y\n---\n# A card\n"
            )


def _make_collection(folder: Path, rng: random.Random, *, is_zipped: bool = False) -> None:
    (folder / "qrels").mkdir(parents=True)

    def text(n: int) -> str:
        return " ".join(rng.choices(_WORDS, k=n))

    corpus = [{"_id": f"d{i}", "title": text(2), "text": text(9)} for i in range(30)]
    queries = [{"_id": f"q{i}", "text": text(3), "metadata": {}} for i in range(6)]
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i % 6}\td{i}\t{i % 3}" for i in range(18))]
    contents = {
        "corpus.jsonl": "".join(json.dumps(row) + "\n" for row in corpus),
        "queries.jsonl": "".join(json.dumps(row) + "\n" for row in queries),
        "qrels/test.tsv": "\n".join(lines) + "\n",
    }
    for name, content in contents.items():
        if is_zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content.encode(), mtime=0))
        else:
            (folder / name).write_text(content)


def _make_stores(folder: Path) -> None:
    encoder = Encoder.from_pretrained("colmodern/tiny", device="cpu", document_length=32)
    texts = [" ".join(_WORDS[i % 9 : i % 9 + 5]) for i in range(30)]
    documents, ids = encoder.encode_documents(texts), [f"d{i}" for i in range(30)]
    EmbeddingStore.write(folder / "store", documents, ids, encoder=encoder, shard_tokens=100)
    index = PlaidIndex.build(documents[:20], folder / "index", ids[:20], nbits=2)
    index.add(documents[20:], ids[20:], merge=False)
    index.delete(["d3", "d25"])


def _make_trainings(folder: Path) -> None:
    """A finished training and a sweep, as info reads them."""
    (folder / "training/model").mkdir(parents=True)
    (folder / "training/train.yaml").write_text("name: t\n")
    facts = {"steps": 5, "kept_step": 5, "measures": {"0": 0.1, "5": 0.2}, "seconds": 3.5}
    (folder / "training/training.json").write_text(json.dumps(facts))
    (folder / "sweep").mkdir()
    (folder / "sweep/sweep.yaml").write_text("name: s\n")
    (folder / "sweep/sweep.json").write_text(json.dumps({"points": [{}, {}], "best": 1}))
    (folder / "sweep/environment.json").write_text("{}")
