"""Index the sections of a folder of Markdown files, and search them.

    python examples/index_markdown_folder.py                      # this repository's docs/
    python examples/index_markdown_folder.py NOTES "my question" --index notes-index

With --index the index stays on disk, and the next call searches it without encoding anything again.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from colmodern import Encoder, PlaidIndex

DOCS = Path(__file__).resolve().parents[1] / "docs"
QUERY = "what is a tombstone"


def sections(folder: Path) -> Iterator[tuple[str, str]]:
    """An id, as "folder/file.md#3: Heading", and the text of each section of each file."""
    for path in sorted(folder.rglob("*.md")):
        parts = re.split(r"^(?=#{1,6} )", path.read_text("utf-8"), flags=re.MULTILINE)
        for number, part in enumerate(part for part in parts if part.strip()):
            heading = part.strip().splitlines()[0].lstrip("# ").strip()
            yield f"{path.relative_to(folder)}#{number}: {heading[:60]}", part


def build(folder: Path, index_folder: Path, encoder: Encoder) -> PlaidIndex:
    texts = dict(sections(folder))
    if not texts:
        raise SystemExit(f"{folder} has no Markdown files; give another folder")
    print(f"encoding {len(texts)} sections of {folder}")
    embeddings = encoder.encode_documents(list(texts.values()), progress=True)
    return PlaidIndex.build(embeddings, index_folder, list(texts))


def main() -> None:
    parser = argparse.ArgumentParser(description="Search a folder of Markdown files.")
    parser.add_argument("folder", nargs="?", type=Path, default=DOCS)
    parser.add_argument("query", nargs="?", default=QUERY)
    parser.add_argument("--index", type=Path, help="where the index is kept; default: nowhere")
    parser.add_argument("--model", default="colmodern/tiny", help="a checkpoint's name or folder")
    options = parser.parse_args()

    # a section longer than a window is encoded in several, and scored as one document
    encoder = Encoder.from_pretrained(options.model, document_length=256, overflow="split")
    with tempfile.TemporaryDirectory() as scratch:
        path = options.index or Path(scratch) / "index"
        # a model may not search the index of another: their fingerprints differ
        index = PlaidIndex.load(path) if path.exists() else build(options.folder, path, encoder)
        query = encoder.encode_queries([options.query])[0]
        print(f"query: {options.query} ({len(index)} sections)")
        results = index.search(query, k=5, fingerprint=encoder.fingerprint("document"))
        for rank, (section, score) in enumerate(results, start=1):
            print(f"{rank}. {score:6.2f}  {section}")


if __name__ == "__main__":
    main()
