"""Gather the texts that the tiny model learns from, as collections that colmodern encodes.

python gather.py OUT [--pairs FILE.jsonl.gz ...] [--wordnet FOLDER] [--medquad FOLDER]
    [--packages FOLDER] [--dictionary FILE.dict.dz]

--pairs: lines of {"query", "positive"}; makes OUT/NAME of the positives (texts that repeat once),
and the queries join OUT/short; OUT/NAME/asks.json says which query asks for which text
--wordnet: dictionary files of WordNet 3.0 (Debian: apt-get download wordnet-base); makes OUT/wordnet,
a text for every second meaning: its words, its gloss and the examples
--medquad: the collection in BEIR layout; makes OUT/medquad of answers and puts questions into
OUT/short, without the ones that the model is measured on (see kept_apart)
--packages: unpacked packages of Debian, a folder each; makes OUT/packages of the prose in their
documentation (see documents.py), and what asks for it joins OUT/short
--dictionary: of dictd (Debian: apt-get download dict-gcide); makes OUT/dictionary of its entries on
sciences and trades
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from documents import read_dictionary, read_packages

N_MEASURED = 1000  # first questions of MedQuAD, which the model is measured on
_FOCUS = re.compile(
    r"\(are\)|\(or clinical trials\)|^(?:what|who|how|is|do|where)\b"
    r"|\b(?:is|are|being|done|causes|at risk|many people|affected|diagnose|prevent|inherited)\b"
    r"|\b(?:the|symptoms|treatments|complications|outlook|stages|genetic changes|research|have)\b"
    r"|\b(?:to|i|you|of|for|by|with|related|information|about)\b"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=Path, nargs="*", default=[])
    parser.add_argument("--wordnet", type=Path)
    parser.add_argument("--medquad", type=Path)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--dictionary", type=Path)
    options = parser.parse_args()
    short: list[str] = []
    for path in options.pairs:
        asks, name = dict(read_pairs(path)), path.name.split(".")[0]
        texts = numbered(name, asks)
        write_collection(options.out / name, texts, {i: asks[text] for i, text in texts.items()})
        short += asks.values()
    if options.wordnet:
        write_collection(
            options.out / "wordnet",
            numbered("wordnet", islice(read_wordnet(options.wordnet), None, None, 2)),
        )
    if options.medquad:
        answers, asks = read_medquad(options.medquad)
        write_collection(options.out / "medquad", answers, asks)
        short += asks.values()
    if options.packages:
        packages = list(read_packages(options.packages))
        texts = numbered("packages", (text for text, _ in packages))
        subjects = {i: ask for i, (_, ask) in zip(texts, packages, strict=True) if ask}
        write_collection(options.out / "packages", texts, subjects)
        short += subjects.values()
    if options.dictionary:
        entries = numbered("dictionary", read_dictionary(options.dictionary))
        write_collection(options.out / "dictionary", entries)
    if short:
        write_collection(options.out / "short", numbered("short", dict.fromkeys(short)))


def write_collection(
    folder: Path, texts: dict[str, str], asks: dict[str, str] | None = None
) -> None:
    """BEIR layout without queries, all that ``colmodern encode`` reads.

    texts: by their ids; asks: for ids of texts, a query that each answers
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for doc_id, text in texts.items():
            file.write(json.dumps({"_id": doc_id, "title": "", "text": text}) + "\n")
    if asks is not None:
        (folder / "asks.json").write_text(json.dumps(asks), encoding="utf-8")


def numbered(name: str, texts: Iterable[str]) -> dict[str, str]:
    """Texts by new ids."""
    return {f"{name}{i}": text for i, text in enumerate(texts)}


def read_pairs(path: Path) -> Iterator[tuple[str, str]]:
    """(text, what asks for it), each text with the first of its queries."""
    seen: set[str] = set()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["positive"] not in seen:
                seen.add(row["positive"])
                yield row["positive"], row["query"]


def read_wordnet(folder: Path) -> Iterator[str]:
    """One text for each synset, such as "dog, domestic dog: a member of the genus Canis"."""
    for kind in ("noun", "verb", "adj", "adv"):
        with (folder / f"data.{kind}").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("  "):  # the licence
                    continue
                fields, gloss = line.split(" | ", 1)
                columns = fields.split(" ")
                words = [columns[4 + 2 * i] for i in range(int(columns[3], 16))]
                names = [re.sub(r"\([a-z]+\)$", "", w).replace("_", " ") for w in words]
                yield f"{', '.join(names)}: {gloss.strip()}"


def read_medquad(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Answers, and the first question of each, that have nothing to do with the measured ones."""
    queries = read_rows(folder / "queries.jsonl")
    answers = read_rows(folder / "corpus.jsonl")
    apart_questions, apart_answers = kept_apart(folder, queries)
    apart_texts = {answers[doc_id] for doc_id in apart_answers}
    kept = {doc_id: text for doc_id, text in answers.items() if text not in apart_texts}
    asks: dict[str, str] = {}
    for query_id, doc_id in read_judged(folder):
        if doc_id in kept and query_id not in apart_questions:
            asks.setdefault(doc_id, queries[query_id])
    return kept, asks


def kept_apart(folder: Path, queries: dict[str, str]) -> tuple[set[str], set[str]]:
    """Ids of questions and answers never trained on.

    These are the measured questions, their answers, all questions with one of these answers,
    and all questions about a focus (disease, drug, gene) of the measured ones with their answers.
    """
    judged = read_judged(folder)
    measured = set(list(queries)[:N_MEASURED])
    focuses = {focus_of(queries[query_id]) for query_id in measured}
    apart = {q for q, text in queries.items() if focus_of(text) in focuses} | measured
    answers = {doc_id for query_id, doc_id in judged if query_id in apart}
    return apart | {q for q, doc_id in judged if doc_id in answers}, answers


def read_judged(folder: Path) -> list[tuple[str, str]]:
    """(query id, document id) of each judgment."""
    with (folder / "qrels/test.tsv").open(encoding="utf-8") as lines:
        rows = [line.split("\t") for line in lines][1:]
    return [(row[0], row[1]) for row in rows]


def focus_of(question: str) -> str:
    """What a question of MedQuAD, written by a template, is about."""
    words = _FOCUS.sub(" ", question.lower().rstrip(" ?"))
    return " ".join(words.split())


def read_rows(path: Path) -> dict[str, str]:
    """Texts of a JSONL file by _id."""
    with path.open(encoding="utf-8") as lines:
        return {row["_id"]: row["text"] for row in map(json.loads, lines)}


if __name__ == "__main__":
    main()
