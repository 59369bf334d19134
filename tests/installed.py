"""What a user does with an installed colmodern, in an empty folder away from the sources.

    python tests/installed.py ENVIRONMENT/bin/python

runs the README's Python sample, a search of a collection, and the commands below one after another,
all with the colmodern of that environment. Only the standard library is needed here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# what the placeholders stand for here
NAMES = {"FOLDER": "collection", "MODEL": "colmodern/tiny"}
SMALL = ["dataset.max_queries=20", "encoder.document_length=48"]
# the same commands with less to do
LESS = {
    "eval demo": SMALL,
    "eval models/colbertv2": ["encoder.model=colmodern/tiny"],
    "plan demo": [*SMALL, "--sample", "100"],
    "sweep plaid": ["dataset={name: collection}", "sweep.nbits=[2]"],
}
# after the README's sample
MORE_PYTHON = """
from colmodern import *
encoder = Encoder.from_pretrained("colmodern/tiny", document_length=256)
documents = encoder.encode_documents(["parse a date", "sort a list"])
index = PlaidIndex.build(documents, "my-index", ["dates", "lists"])
query = encoder.encode_queries(["order the items"])[0]
assert index.search(query, k=1)[0].doc_id == "lists"
assert issubclass(ConfigError, InputError)
"""
# what a user does first; FOLDER and MODEL are placeholders
COMMANDS = """
colmodern --version
colmodern recipes
colmodern recipes show sweep/plaid
colmodern eval demo
colmodern search runs/demo "run a command and capture its output"
colmodern index build runs/demo demo-index --nbits 2
colmodern search runs/demo "run a command and capture its output" --index demo-index
colmodern info runs/demo
colmodern eval demo name=exact index='{kind: exact}'
colmodern compare runs/demo runs/exact
colmodern plan demo max_memory=8G
colmodern sweep plaid
colmodern cache
colmodern eval models/colbertv2 dataset.name=FOLDER
colmodern encode FOLDER -o embeddings --model MODEL --set document_length=48
colmodern rerank FOLDER --run bm25.trec -o reranked.trec --model MODEL
colmodern index add demo-index embeddings
colmodern index check demo-index
colmodern search embeddings "sort the list of names" --index demo-index -k 3
colmodern index delete demo-index d1
colmodern index compact demo-index
colmodern index check demo-index
"""


def blocks(readme: str, language: str) -> list[str]:
    """The README's blocks of code in a language."""
    return re.findall(rf"```{language}\n(.*?)```", readme, flags=re.DOTALL)


def shell_commands(readme: str) -> list[list[str]]:
    """The words of each command in the README's blocks for the shell, in order."""
    lines = [command for block in blocks(readme, "sh") for command in re.split(r"\n| && ", block)]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def commands() -> list[list[str]]:
    """The commands above, with what their placeholders stand for and less to do."""
    lines = [shlex.split(line) for line in COMMANDS.strip().splitlines()]
    return [less([_filled(word) for word in words]) for words in lines]


def _filled(word: str) -> str:
    """A word with what its placeholder stands for: FOLDER, or dataset.name=FOLDER."""
    key, equals, value = word.rpartition("=")
    return f"{key}{equals}{NAMES.get(value, value)}"


def less(words: list[str]) -> list[str]:
    """A command with less to do."""
    return [*words, *LESS.get(" ".join(words[1:3]), [])]


def write_collection(folder: Path) -> None:
    """A collection in the BEIR layout, and a TREC run."""
    texts = {"d1": "parse a date string", "d2": "sort the list of names", "d3": "open a file"}
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": doc_id, "title": "", "text": text} for doc_id, text in texts.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    queries = [{"_id": "q1", "text": "order the items"}, {"_id": "q2", "text": "read a file"}]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\nq2\td3\t1\n")
    run = [f"{query} Q0 {doc} 1 1.0 bm25\n" for query in ("q1", "q2") for doc in texts]
    (folder.parent / "bm25.trec").write_text("".join(run))


def environment() -> dict[str, str]:
    """Variables of a user who has none of ours, and no network."""
    dropped = ("PYTHON", "COLMODERN", "VIRTUAL_ENV", "CONDA")
    variables = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    if "COLMODERN_CACHE" in os.environ:  # where compiled kernels are kept
        variables["COLMODERN_CACHE"] = os.environ["COLMODERN_CACHE"]
    return {**variables, "HF_HUB_OFFLINE": "1"}


def call(command: list[str], folder: Path) -> str:
    """Run a command; its output. Raises RuntimeError with everything it printed where it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    shown = shlex.join(command)[:150].replace("\n", " ")
    sys.stdout.write(f"{seconds:6.1f} s  status {done.returncode}  {shown}\n")
    sys.stdout.flush()
    if done.returncode:
        raise RuntimeError(f"{shown}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def installed_at(python: Path, folder: Path) -> Path:
    """Where an environment's colmodern is; it must be a copy that leads to no checkout."""
    code = (
        "import colmodern, sys, sysconfig; print(colmodern.__file__); "
        "print(sysconfig.get_path('purelib')); print(*sys.path, sep='\\n')"
    )
    package, purelib, *path = call([str(python), "-I", "-c", code], folder).split("\n")
    assert Path(package).is_relative_to(purelib), f"{package} is not in {purelib}"
    assert str(ROOT) not in path
    return Path(package).parent


def use(python: Path, folder: Path) -> None:
    """Do all of it with the Python of an environment, in an empty folder.

    Raises RuntimeError where a command fails, AssertionError where its result is wrong.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    package = installed_at(python, folder)
    samples = "\n".join(blocks(readme, "python"))
    shown = "".join(blocks(readme, "text"))
    assert call([str(python), "-I", "-c", samples + MORE_PYTHON], folder) == shown
    write_collection(folder / NAMES["FOLDER"])
    program = [str(python.parent / "colmodern")]
    printed = {}
    for words in commands():
        printed[" ".join(words[1:3])] = call(program + words[1:], folder)
    assert "nanobeir" in printed["recipes"]
    assert "subprocess." in printed["search runs/demo"]
    assert "d2" in printed["search embeddings"]
    assert (folder / "reranked.trec").read_text().startswith("q1 Q0 d2 1 ")
    metrics = json.loads((folder / "runs" / "demo" / "metrics.json").read_text())
    assert metrics["measures"]["nDCG@10"] > 0.15, metrics
    assert metrics["overlap"]["overlap@10"] > 0.9, metrics
    # away from the sources a recipe can only be the package's own
    assert str(package / "configs") in call([*program, "recipes", "--json"], folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="colmodern-installed-") as temporary:
        use(Path(sys.argv[1]).absolute(), Path(temporary).resolve())
