"""Keep texts with their model and index in one folder, and see the passages that match a query.

    python examples/search_a_collection.py                            # a few notes, kept nowhere
    python examples/search_a_collection.py notes.jsonl "my question" --folder notes

The file has a record on each line: {"text": "..."}, and maybe "id", "title" and keys of your own. With
--folder the collection stays on disk: the next call adds what the file has new, and replaces the rest.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colmodern import Collection, CollectionHit

NOTES = [
    {
        "id": "backup",
        "title": "Backups",
        "text": "Every night the tool copies all folders to another disk. "
        "To restore a single file, name the file and the day, and it comes back in its place.",
        "owner": "ada",
    },
    {
        "id": "rename",
        "title": "Names",
        "text": "To rename a single file, choose it, type another name and press enter.",
        "owner": "bob",
    },
    {
        "id": "pasta",
        "title": "Cooking",
        "text": "Boil the pasta in salted water for ten minutes.",
        "owner": "bob",
    },
]
QUERY = "restore one file"


def records(file: Path | None) -> Iterator[dict[str, Any]]:
    """The records of the file, one after another, so that it may be larger than memory."""
    if file is None:
        yield from NOTES
        return
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if line.strip():
                record = json.loads(line)
                yield {"id": f"line {number + 1}", **record}


def marked(hit: CollectionHit) -> str:
    """The text of a hit, with its passages between asterisks."""
    text = hit.text
    for span in reversed(hit.spans):  # from the end, so that what comes before keeps its place
        text = f"{text[: span.start]}*{text[span.start : span.end]}*{text[span.end :]}"
    return text


def opened(folder: Path, model: str) -> Collection:
    """The collection in a folder, or a new one."""
    if folder.exists():
        return Collection.open(folder)
    return Collection.create(folder, model=model)


def main() -> None:
    parser = argparse.ArgumentParser(description="Search a collection of texts.")
    parser.add_argument("file", nargs="?", type=Path, help="JSON lines; default: a few notes")
    parser.add_argument("query", nargs="?", default=QUERY)
    parser.add_argument(
        "--folder", type=Path, help="where the collection is kept; default: nowhere"
    )
    parser.add_argument("--model", default="colmodern/tiny", help="a checkpoint's name or folder")
    parser.add_argument("-k", type=int, default=2, help="number of results")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "notes"
        with opened(folder, options.model) as collection:
            collection.update(records(options.file))
            print(f"{len(collection)} documents; query: {options.query}")
            for hit in collection.search(options.query, k=options.k):
                title = f"{hit.title}: " if hit.title else ""
                print(f"{hit.rank}. {hit.score:.2f} [{hit.doc_id}] {title}{marked(hit)}")


if __name__ == "__main__":
    main()
