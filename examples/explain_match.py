"""Show which words of a document match a query, in the terminal and as a page.

python examples/explain_match.py
python examples/explain_match.py "my question" document.txt --html match.html
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from colmodern import Encoder, PlaidIndex
from colmodern.report.notebook import explanation_html

QUERY = "how do I choose a new password"
TEXT = (
    "Invoices are sent by e-mail on the first day of each month. Forgotten your password? Use the "
    "link on the sign-in page to choose a new one. Codes are asked for on a new device."
)
MARK, PLAIN = "\x1b[1;7m", "\x1b[0m"  # bold and reversed, as terminals understand it


def main() -> None:
    parser = argparse.ArgumentParser(description="Show which words of a document match a query.")
    parser.add_argument("query", nargs="?", default=QUERY)
    parser.add_argument("document", nargs="?", type=Path, help="a text file")
    parser.add_argument("--model", default="colmodern/tiny", help="a checkpoint's name or folder")
    parser.add_argument("--html", type=Path, help="page to write")
    options = parser.parse_args()

    text = TEXT if options.document is None else options.document.read_text("utf-8")
    encoder = Encoder.from_pretrained(options.model)
    document, query = encoder.encode_documents([text]), encoder.encode_queries([options.query])
    with tempfile.TemporaryDirectory() as scratch:
        index = PlaidIndex.build(document, Path(scratch) / "index", ["document"])
        explanation = index.explain(query[0], "document")
    query_words = encoder.tokenizer.words(query.token_ids)
    document_words = encoder.tokenizer.words(document.token_ids)

    similarities: defaultdict[int, float] = defaultdict(float)
    for query_token, doc_token, similarity in explanation.alignment:
        similarities[doc_token] = max(similarity, similarities[doc_token])
        match = f"{query_words[query_token]:>12}  {document_words[doc_token]:<12}"
        print(f"{match} {similarity:5.2f} {'▆' * round(20 * max(0.0, similarity))}")
    print(f"score {explanation.score:.2f}, the sum over the query's tokens\n")

    opening, closing = (MARK, PLAIN) if sys.stdout.isatty() else ("*", "*")
    # the document as the model reads it: lower case, cut into pieces, without punctuation marks
    words = [
        f"{opening}{word}{closing}" if similarities.get(position, 0.0) > 0.5 else word
        for position, word in enumerate(document_words)
    ]
    print(" ".join(words).replace(" ##", "").replace(f" {opening}##", opening))
    if options.html is not None:
        view = explanation_html(explanation, query_words, document_words)
        options.html.write_text(f'<!DOCTYPE html>\n<meta charset="utf-8">\n{view}\n', "utf-8")
        print(f"\n{options.html}")


if __name__ == "__main__":
    main()
