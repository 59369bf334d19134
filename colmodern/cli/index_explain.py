"""colmodern index explain INDEX [EMBEDDINGS] DOC_ID QUERY."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from colmodern.cli import terminal
from colmodern.cli.options import PATH, json_option

if TYPE_CHECKING:
    from colmodern.encoder.encoder import Encoder
    from colmodern.ragged.store import EmbeddingStore
    from colmodern.report.tables import Table
    from colmodern.types import Explanation


class _Words(NamedTuple):
    """The tokens of a query and of a document as text; None where they are not known."""

    query: list[str]
    document: list[str] | None


@click.command("explain")
@click.argument("folders", type=PATH, nargs=-1, required=True, metavar="INDEX [EMBEDDINGS]")
@click.argument("doc_id")
@click.argument("query")
@click.option("-k", default=10, show_default=True, help="Documents that the search returns.")
@click.option("--nprobe", type=int, help="Centroids probed for each query token.")
@click.option("--n-candidates", type=int, help="Documents scored with their compressed tokens.")
@click.option(
    "--exact/--no-exact",
    default=True,
    show_default=True,
    help="Search EMBEDDINGS exactly too, which says whether a setting of the index can help.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that the checkpoint has.")
@json_option
def explain(
    folders: tuple[Path, ...],
    doc_id: str,
    query: str,
    k: int,
    nprobe: int | None,
    n_candidates: int | None,
    exact: bool,
    device: str,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Say where a search of INDEX for QUERY keeps or loses the document DOC_ID.

    EMBEDDINGS, a run folder or embeddings, says which encoder to use. INDEX may be a run folder that
    was searched with an index, and EMBEDDINGS is then left out. --nprobe and --n-candidates try a cure;
    without them they follow from the index and -k, as in a search.
    """
    from colmodern.cli.tables import show
    from colmodern.pipeline.open.artifacts import open_index, store_of, text_of_document
    from colmodern.pipeline.open.encoder import encoder_of_store
    from colmodern.pipeline.open.exact_rank import exact_rank

    index, embeddings = _index_and_embeddings(folders)
    store = store_of(embeddings)
    plaid = open_index(index, store)
    encoder = encoder_of_store(store, device=device, trust_remote_code=trust_remote_code)
    query_rows = encoder.encode_queries([query])[0]
    text = text_of_document(embeddings, doc_id)
    explanation = plaid.explain(
        query_rows, doc_id, k, nprobe=nprobe, n_candidates=n_candidates,
        text=text if plaid.has_spans else None,
    )  # fmt: skip
    standing = exact_rank(query_rows, doc_id, k, store) if exact else None
    n_cut = None if text is None else int(encoder.tokenize([text], "document").cut[0])
    words = _words(encoder, query, store, doc_id)
    if as_json:
        exact_fields = (
            None if standing is None else {"rank": standing.rank, "score": standing.score}
        )
        fields = _as_json(explanation, words, text)
        terminal.put_json({**fields, "exact": exact_fields, "tokens_cut": n_cut})
        return
    tables = [_stages(explanation), _alignment(explanation, words)]
    show(*tables, *([_passages(explanation, text)] if explanation.spans else []))
    if n_cut is not None and encoder.settings.overflow == "truncate":
        length = encoder.settings.document_length
        what = f"{n_cut:,} tokens cut at document_length={length}" if n_cut else "not cut"
        terminal.put(f"{doc_id}: {what}")
    terminal.put(f"{doc_id}: {explanation.reason}")
    if standing is not None:
        terminal.put(f"{doc_id}: {standing.verdict(k, is_result=explanation.is_result)}")


def _index_and_embeddings(folders: tuple[Path, ...]) -> tuple[Path, Path]:
    """The index and the embeddings that the command names.

    Raises:
        click.UsageError: There are more folders, or one that is not a run with an index.
    """
    from colmodern.pipeline.open.artifacts import index_of

    if len(folders) > 2:
        raise click.UsageError(
            f"{len(folders) + 2} arguments; give INDEX, EMBEDDINGS, DOC_ID and QUERY, the query in quotes"
        )
    index = index_of(folders[0])
    if index is None and len(folders) == 1:
        raise click.UsageError(
            f"{folders[0]} is not a run that was searched with an index; evaluate with "
            "index.kind=plaid, or give INDEX and EMBEDDINGS"
        )
    return index or folders[0], folders[-1]


def _words(encoder: Encoder, query: str, store: EmbeddingStore, doc_id: str) -> _Words:
    tokenized = encoder.tokenize([query], "query")
    ids, scored = tokenized.ids[0], tokenized.scored[0]
    query_words = encoder.tokenizer.words(ids[scored])
    if doc_id not in store:  # added to the index from other embeddings
        return _Words(query_words, None)
    token_ids = store.select([store.doc_ids.index(doc_id)]).token_ids
    return _Words(query_words, None if token_ids is None else encoder.tokenizer.words(token_ids))


def _stages(explanation: Explanation) -> Table:
    from colmodern.report.tables import text_table

    rows = []
    for name, n_seen, rank, score in explanation.stages:
        standing = ("-", "-") if rank is None or score is None else (f"{rank:,}", f"{score:,.2f}")
        rows.append([name, f"{n_seen:,}", *standing])
    return text_table("", ["stage", "documents", "rank", "score"], rows)


def _alignment(explanation: Explanation, words: _Words) -> Table:
    from colmodern.report.tables import text_table

    rows = [
        [
            words.query[match.query_token],
            "" if words.document is None else words.document[match.doc_token],
            str(match.doc_token),
            f"{match.similarity:.4f}",
        ]
        for match in explanation.alignment
    ]
    header = ["query token", "document token", "position", "similarity"]
    return text_table("", header, rows, words=(0, 1))


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


def _as_json(explanation: Explanation, words: _Words, text: str | None) -> dict[str, Any]:
    stages = [
        {"stage": name, "documents": n_seen, "rank": rank, "score": score}
        for name, n_seen, rank, score in explanation.stages
    ]
    alignment = [
        {
            "query_token": match.query_token,
            "document_token": match.doc_token,
            "similarity": match.similarity,
            "query_word": words.query[match.query_token],
            "document_word": None if words.document is None else words.document[match.doc_token],
        }
        for match in explanation.alignment
    ]
    summary = {"doc_id": explanation.doc_id, "reason": explanation.reason}
    spans = [
        {"start": start, "end": end, "score": score}
        | ({} if text is None else {"text": text[start:end]})
        for start, end, score in explanation.spans
    ]
    return {**summary, "stages": stages, "alignment": alignment, "spans": spans}
