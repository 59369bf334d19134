"""colmodern explain FOLDER QUERY DOC_ID."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colmodern.cli import terminal
from colmodern.cli.options import OUTPUT_FILE, PATH, json_option

if TYPE_CHECKING:
    from colmodern.pipeline.explain import DocumentExplanation, ExplainSettings
    from colmodern.report.tables import Table
    from colmodern.types import Explanation


def search_options(function: Any) -> Any:
    """Add the options of the search that is explained, passed on by the names of ExplainSettings."""
    options = [
        click.option(
            "-k", default=10, show_default=True, help="Documents that the search returns."
        ),
        click.option("--nprobe", type=int, help="Centroids probed for each query token."),
        click.option(
            "--n-candidates", type=int, help="Documents scored with their compressed tokens."
        ),
        click.option(
            "--exact/--no-exact",
            default=None,
            help="Search exactly too, which says whether a setting of the index can help; default: "
            "where embeddings are at hand.",
        ),
        click.option(
            "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N."
        ),
        click.option(
            "--trust-remote-code", is_flag=True, help="Run Python code that the checkpoint has."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command("explain")
@click.argument("folder", type=PATH)
@click.argument("query")
@click.argument("doc_id")
@click.option("--output", "-o", type=OUTPUT_FILE, help="HTML page to write.")
@click.option(
    "--embeddings",
    type=PATH,
    help="For an index: the run or the embeddings that it was built from, which name the encoder.",
)
@search_options
@json_option
def command(
    folder: Path,
    query: str,
    doc_id: str,
    output: Path | None,
    embeddings: Path | None,
    as_json: bool,
    **search: Any,
) -> None:
    """Say why a search of FOLDER for QUERY finds the document DOC_ID, or does not.

    FOLDER is a collection, a run, embeddings, or an index. Prints the stages of the search with the
    document, the document token that each query token matches, and the passages; --output writes a
    page with the text and all similarities. --nprobe and --n-candidates try a cure; without them they
    follow from the index and -k, as in a search.
    """
    from colmodern.files import write_text
    from colmodern.pipeline.explain import ExplainSettings, explain_document
    from colmodern.report.explanation_page import render_explanation

    settings = ExplainSettings(**search)
    shown = explain_document(folder, query, doc_id, settings, embeddings=embeddings)
    if output is None:
        print_explanation(shown, settings, as_json=as_json)
        return
    write_text(output, render_explanation(shown.report))
    terminal.put_json({"page": str(output)}) if as_json else terminal.put(output)


def print_explanation(
    shown: DocumentExplanation, settings: ExplainSettings, *, as_json: bool
) -> None:
    """Print an explanation as tables and sentences, or as JSON."""
    from colmodern.cli.tables import show

    explanation, text = shown.report.explanation, shown.report.text
    if as_json:
        terminal.put_json(_as_json(shown))
        return
    tables = [_stages(explanation), _alignment(explanation)]
    show(*tables, *([_passages(explanation, text)] if explanation.spans else []))
    doc_id = explanation.doc_id
    if shown.n_cut is not None:
        length = shown.document_length
        what = (
            f"{shown.n_cut:,} tokens cut at document_length={length}" if shown.n_cut else "not cut"
        )
        terminal.put(f"{doc_id}: {what}")
    terminal.put(f"{doc_id}: {explanation.reason}")
    if shown.exact is not None:
        verdict = shown.exact.verdict(settings.k, is_result=explanation.is_result)
        terminal.put(f"{doc_id}: {verdict}")


def _stages(explanation: Explanation) -> Table:
    from colmodern.report.tables import text_table

    rows = []
    for name, n_seen, rank, score in explanation.stages:
        standing = ("-", "-") if rank is None or score is None else (f"{rank:,}", f"{score:,.2f}")
        rows.append([name, f"{n_seen:,}", *standing])
    return text_table("", ["stage", "documents", "rank", "score"], rows)


def _alignment(explanation: Explanation) -> Table:
    from colmodern.report.tables import text_table

    rows = [
        [
            _word(explanation.query_words, match.query_token, str(match.query_token)),
            _word(explanation.document_words, match.doc_token, ""),
            str(match.doc_token),
            f"{match.similarity:.4f}",
        ]
        for match in explanation.alignment
    ]
    header = ["query token", "document token", "position", "similarity"]
    return text_table("", header, rows, words=(0, 1))


def _word(words: tuple[str, ...], position: int, otherwise: str) -> str:
    return words[position] if words else otherwise


def _passages(explanation: Explanation, text: str | None) -> Table:
    from colmodern.report.tables import text_table

    rows = [
        [
            f"{start}-{end}",
            f"{score:.4f}",
            "" if text is None else " ".join(text[start:end].split()),
        ]
        for start, end, score in explanation.spans
    ]
    return text_table("", ["characters", "score", "passage"], rows, words=(0, 2))


def _as_json(shown: DocumentExplanation) -> dict[str, object]:
    explanation, text, exact = shown.report.explanation, shown.report.text, shown.exact
    stages = [
        {"stage": name, "documents": n_seen, "rank": rank, "score": score}
        for name, n_seen, rank, score in explanation.stages
    ]
    alignment = [
        {
            "query_token": match.query_token,
            "document_token": match.doc_token,
            "similarity": match.similarity,
            "query_word": _word(explanation.query_words, match.query_token, "") or None,
            "document_word": _word(explanation.document_words, match.doc_token, "") or None,
        }
        for match in explanation.alignment
    ]
    spans = [
        {"start": start, "end": end, "score": score}
        | ({} if text is None else {"text": text[start:end]})
        for start, end, score in explanation.spans
    ]
    return {
        "doc_id": explanation.doc_id,
        "reason": explanation.reason,
        "stages": stages,
        "alignment": alignment,
        "spans": spans,
        "exact": None if exact is None else {"rank": exact.rank, "score": exact.score},
        "tokens_cut": shown.n_cut,
    }
