"""One query and one document of a collection, a run, embeddings or an index: why it is found or not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from colmodern.arguments import expect_counts
from colmodern.checks import shown
from colmodern.collection.documents import encoded_text
from colmodern.collection.manifest import is_collection_folder
from colmodern.encoder.encoder import Encoder
from colmodern.errors import InputError
from colmodern.index.alignment import Characters, align, characters_of_tokens
from colmodern.index.bm25.files import is_bm25_index
from colmodern.index.spans import SpanSettings, spans_of_similarities
from colmodern.pipeline.compressed import is_index, is_sharded
from colmodern.pipeline.open.artifacts import (
    expect_searchable,
    open_index,
    searched_index_of,
    store_of,
    text_of_document,
)
from colmodern.pipeline.open.encoder import encoder_of_store
from colmodern.pipeline.open.exact_rank import ExactRank, exact_rank
from colmodern.pipeline.passages import stored_id
from colmodern.pipeline.run_folder import is_run
from colmodern.pipeline.stored_files import read_run_config
from colmodern.ragged.store import EmbeddingStore
from colmodern.report.explanation_page import ExplanationReport
from colmodern.token_words import with_words
from colmodern.types import Explanation, Span, Stage, StageReport

if TYPE_CHECKING:
    from colmodern.index.plaid.index import PlaidIndex
    from colmodern.index.sharded.index import ShardedIndex

Floats = npt.NDArray[np.float32]
KINDS = ("exact", "plaid", "sharded", "rerank")  # kinds of index whose scores are MaxSim
_RERANKED = "the run ranked candidates alone, and this is exact search among all documents"

_PASSAGE = "this is the document's best passage among the passages of all documents"


@dataclass(frozen=True)
class ExplainSettings:
    """How the search that is explained looks for documents.

    Attributes:
        k: Number of results.
        nprobe: Centroids probed for each query token; None: as a search chooses.
        n_candidates: Documents scored with their compressed tokens; None likewise.
        exact: Whether to search exactly too; None: where embeddings are at hand.
        device: Where the encoder is.
        trust_remote_code: Whether to run Python code of the checkpoint.
    """

    k: int = 10
    nprobe: int | None = None
    n_candidates: int | None = None
    exact: bool | None = None
    device: str = "auto"
    trust_remote_code: bool = False


@dataclass(frozen=True)
class DocumentExplanation:
    """An explanation, and what is known beside the index.

    Attributes:
        report: The explanation, with query and text.
        exact: The document in exact search; None where it was not asked or cannot be.
        n_cut: Tokens of the document that ``document_length`` cut; None where its text is not at
            hand, or the encoder splits texts instead.
        document_length: Most tokens that the encoder reads of a document.
    """

    report: ExplanationReport
    exact: ExactRank | None
    n_cut: int | None
    document_length: int


def explain_document(
    folder: Path,
    query: str,
    doc_id: str,
    settings: ExplainSettings,
    *,
    embeddings: Path | None = None,
) -> DocumentExplanation:
    """Say where a search keeps or loses a document, and which words match.

    Args:
        folder: A collection, a run, embeddings, or an index.
        query: The query's text.
        doc_id: The document.
        settings: The search.
        embeddings: For an index: the run or the embeddings of the encoder that it was built with.

    Raises:
        InputError: There is no such document, or the folder is an index and ``embeddings`` is None.
        StorageError: The folder is none of these, or damaged.
    """
    expect_counts(k=settings.k)
    if is_collection_folder(folder):
        return _of_collection(folder, query, doc_id, settings, embeddings)
    if embeddings is None and (is_index(folder) or is_sharded(folder)):
        raise InputError(
            f"{folder} is an index, which does not know the model of its queries; give the run or the "
            "embeddings that it was built from with --embeddings"
        )
    if embeddings is None:
        expect_searchable(folder)
    kind = _kind_of_run(folder)
    index = searched_index_of(folder) if embeddings is None else folder
    source = embeddings or folder
    store = store_of(source)
    if index is None and (settings.nprobe or settings.n_candidates):
        raise InputError(
            f"{folder} is searched exactly, without probing or candidates; leave --nprobe and "
            "--n-candidates out"
        )
    plaid = None if index is None else open_index(index, store)
    encoder = encoder_of_store(
        store, device=settings.device, trust_remote_code=settings.trust_remote_code
    )
    query_rows = encoder.encode_queries([query])[0]
    text = text_of_document(source, doc_id)
    token_ids, exact, doc_id = None, None, stored_id(store, doc_id, query_rows)
    if plaid is None:
        standing = exact_rank(query_rows, doc_id, settings.k, store, depth=store.n_docs)
        if standing is None:
            raise InputError(f"doc_id={shown(doc_id)} is not in {store.folder}; check the id")
        explanation = explain_exactly(
            query_rows, doc_id, settings.k, store, rank=standing.rank, text=text
        )
    else:
        explanation = explain_search(plaid, query_rows, doc_id, settings, text)
        is_wanted = settings.exact is not False
        exact = exact_rank(query_rows, doc_id, settings.k, store) if is_wanted else None
    if doc_id in store:
        token_ids = store.select([store.doc_ids.index(doc_id)]).token_ids
    explanation = with_words(explanation, encoder, query, text=text, token_ids=token_ids)
    if kind == "rerank":
        explanation = replace(explanation, reason=f"{explanation.reason}; {_RERANKED}")
    if store.has_passages:
        explanation = replace(explanation, reason=f"{explanation.reason}; {_PASSAGE}")
    way = "exact search" if index is None else "compressed index"
    source_line = (
        f"{folder}, {way} of {store.n_docs if plaid is None else plaid.n_docs:,} documents"
    )
    return _joined(explanation, query, source_line, settings, encoder, text, exact)


def _kind_of_run(folder: Path) -> str | None:
    """The kind of index that a run was searched with; None for what is no run.

    Raises InputError for results that similarities of tokens did not rank.
    """
    if is_bm25_index(folder):
        raise InputError(
            f"{folder} is a BM25 index, which has scores of words and no token embeddings; give a "
            "collection, embeddings, a run of kind plaid or exact, or a PLAID index"
        )
    if not is_run(folder):
        return None
    kind = read_run_config(folder).get("index", {}).get("kind", "exact")
    if kind in KINDS:
        return str(kind)
    raise InputError(
        f"{folder} was searched with index.kind={kind}, whose scores are not those of token embeddings; "
        "give a run of kind plaid or exact, or its index with --embeddings"
    )


def explain_search(
    index: PlaidIndex | ShardedIndex,
    query_rows: Floats,
    doc_id: str,
    settings: ExplainSettings,
    text: str | None,
) -> Explanation:
    """The explanation of an index, with passages of whole words where it keeps characters."""
    return index.explain(
        query_rows, doc_id, settings.k, nprobe=settings.nprobe, n_candidates=settings.n_candidates,
        text=text if index.has_spans else None,
    )  # fmt: skip


def explain_exactly(
    query_rows: Floats,
    doc_id: str,
    k: int,
    store: EmbeddingStore,
    *,
    rank: int | None,
    text: str | None = None,
) -> Explanation:
    """A document in exact search, whose only stage scores all documents.

    query_rows: (n_query_tokens, dim) float32
    rank: the document's rank, from 1; None where it is only known not to be a result
    text: the document's text, for passages of whole words
    """
    document = store.select([store.doc_ids.index(doc_id)])
    similarities = query_rows @ np.asarray(document.values, np.float32).T
    alignment = align(similarities)
    characters: Characters = ()
    passages: list[Span] = []
    if document.spans is not None:
        bounds, rows = document.spans[0], document.spans.rows_of(0)
        characters = characters_of_tokens(bounds, rows, similarities.shape[1])
        passages = spans_of_similarities(
            similarities, bounds, rows, text=text, settings=SpanSettings()
        )
    score = float(sum(match.similarity for match in alignment))
    is_result = rank is not None and rank <= k
    cause = "the cause is the model, the text or its length"
    if rank is None:
        reason = f"not among the first {k:,} of {store.n_docs:,} documents: {cause}"
    elif is_result:
        reason = f"result {rank} of {min(k, store.n_docs)}"
    else:
        reason = f"ranked {rank:,} by exact search, below the {k:,} results: raise k; {cause}"
    return Explanation(
        doc_id=doc_id,
        is_result=is_result,
        lost_at=None,
        lost_by=None if is_result else Stage.SCORE,
        reason=reason,
        score=score,
        stages=(StageReport(Stage.SCORE, store.n_docs, rank, score),),
        alignment=alignment,
        characters=tuple(characters[match.doc_token] for match in alignment if characters),
        spans=tuple(passages),
        similarities=similarities,
        token_characters=characters,
    )


def _of_collection(
    folder: Path, query: str, doc_id: str, settings: ExplainSettings, embeddings: Path | None
) -> DocumentExplanation:
    from colmodern.collection.reader import CollectionReader  # loads numba

    if embeddings is not None or settings.exact:
        option = "--exact" if embeddings is None else "--embeddings"
        raise InputError(
            f"{folder} is a collection, which has its own model and keeps no embeddings; leave "
            f"{option} out"
        )
    collection = CollectionReader.open(
        folder,
        read_only=True,
        device=settings.device,
        trust_remote_code=settings.trust_remote_code,
    )
    explanation = collection.explain(
        query, doc_id, settings.k, nprobe=settings.nprobe, n_candidates=settings.n_candidates
    )
    text = encoded_text(collection[doc_id], collection.info()["title_separator"]).content
    source = f"{folder}, collection of {len(collection):,} documents"
    return _joined(explanation, query, source, settings, collection.encoder, text, None)


def _joined(
    explanation: Explanation,
    query: str,
    source: str,
    settings: ExplainSettings,
    encoder: Encoder,
    text: str | None,
    exact: ExactRank | None,
) -> DocumentExplanation:
    """The explanation with sentences on exact search and on what was cut."""
    notes = []
    if exact is not None:
        notes.append(exact.verdict(settings.k, is_result=explanation.is_result))
    length, n_cut = encoder.settings.document_length, None
    if text is not None and encoder.settings.overflow == "truncate":
        n_cut = int(encoder.tokenize([text], "document").cut[0])
    if n_cut:
        notes.append(
            f"{n_cut:,} tokens of its end were cut at document_length={length}: no search sees them"
        )
    report = ExplanationReport(explanation, query, settings.k, source, text, notes)
    return DocumentExplanation(report, exact, n_cut, length)
