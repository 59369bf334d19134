"""Exact MaxSim over given candidates: a late-interaction reranker in three lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from colmodern.arguments import expect_choice, expect_counts, listed
from colmodern.checks import shown, text_fault
from colmodern.encoder.encoder import Encoder
from colmodern.errors import InputError
from colmodern.index.exact.index import ExactIndex
from colmodern.index.spans import SpanSettings, span_settings
from colmodern.kernels.device import Devices, resolve_device
from colmodern.progress import Progress, as_progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.types import (
    BatchResults,
    Hit,
    Precision,
    RankedDoc,
    RankedHit,
    Results,
    Score,
    ScoredDoc,
)

if TYPE_CHECKING:
    from colmodern.index.exact.candidates import CandidateScorer

Candidate = str | tuple[str, str]
# texts or (id, text) pairs in an order, or texts by id
Candidates = Iterable[Candidate] | Mapping[str, str]

_CURE = 'pass a list of texts or (id, text) pairs, or a mapping {"id": "text"}'


class Reranker:
    """Orders documents by MaxSim with a query.

    A reranker pickles as its encoder does.

    Args:
        model: An Encoder, or what Encoder.from_pretrained takes.
        precision: Precision of the documents that are scored, as in ExactIndex.
        score: "sum" for MaxSim, or "mean" for MaxSim divided by the number of query tokens, so that
            scores of different queries can be compared; spans of passages are divided, too.
        **options: Further arguments of Encoder.from_pretrained, as ``document_length=8192`` or
            ``device="cuda"``, where documents are then also scored.

    Attributes:
        encoder: The encoder of queries and documents.
        precision: Precision of the documents that are scored.
        score: How scores are given.
        facts: Counts over the documents encoded so far, of texts that were cut, for example.
        query_facts: The same of the queries.

    Raises:
        InputError: The precision or score is unknown, or there are options besides an Encoder.
    """

    def __init__(
        self,
        model: Encoder | str | Path,
        *,
        precision: Precision = "float32",
        score: Score = "sum",
        **options: Any,
    ) -> None:
        if isinstance(model, Encoder) and options:
            raise InputError(
                f"options {sorted(options)} come too late: model is an Encoder already"
            )
        expect_choice("precision", precision, get_args(Precision))
        expect_choice("score", score, get_args(Score))
        if not isinstance(model, Encoder | str | Path):
            raise InputError(
                f"model={shown(model)}; pass an Encoder, or the name or folder of a checkpoint"
            )
        self.encoder = (
            model if isinstance(model, Encoder) else Encoder.from_pretrained(model, **options)
        )
        self.precision: Precision = precision
        self.score: Score = score
        self.facts: Counter[str] = Counter()  # TokenizedTexts.facts
        self.query_facts: Counter[str] = Counter()
        self._scorer: CandidateScorer | None = None  # the scorer on the GPU used last

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_scorer": None}

    def __repr__(self) -> str:
        checkpoint = self.encoder.checkpoint.name
        return (
            f"Reranker({checkpoint!r}, dim={self.encoder.dim}, precision={self.precision!r}, "
            f"device={self.encoder.device!r})"
        )

    def rank(
        self,
        query: str,
        documents: Candidates,
        k: int | None = None,
        *,
        spans: bool | SpanSettings = False,
    ) -> Results[RankedDoc]:
        """The best ``k`` documents, best first, ties by the smaller id.

        Args:
            query: One text.
            documents: Texts, whose ids are then "0", "1", ...; or (id, text) pairs; or a mapping
                from ids to texts.
            k: Number of documents to return; default all.
            spans: True or SpanSettings for the passages that matched, as whole words.

        Returns:
            At most ``k`` documents with their scores and ranks, from 1; as RankedHit, which has
            ``spans``, where passages were asked for.

        Raises:
            InputError: The query has no text, k is below 1, an id repeats, or the documents have no
                order, as a set, one string or None.
        """
        if not isinstance(query, str):
            raise InputError(f"query={shown(query)}; pass one text")
        return Results(self.rank_batch([query], [documents], k, spans=spans)[0])

    def rank_batch(
        self,
        queries: Iterable[str],
        documents: Iterable[Candidates],
        k: int | None = None,
        *,
        spans: bool | SpanSettings = False,
        progress: Progress | bool | None = None,
    ) -> BatchResults[RankedDoc]:
        """The best ``k`` documents of each of many queries, which have candidates of their own.

        A text that several queries share is encoded once. All embeddings are in memory.

        Args:
            queries: Texts.
            documents: For each query its documents, as in ``rank``.
            k: Number of documents to return for each query; default all.
            spans: As in ``rank``.
            progress: True for a bar on stderr, or an object that receives the steps.

        Returns:
            One list a query, in the order of the queries.

        Raises:
            InputError: As from ``rank``; or there are not as many lists of documents as queries.
        """
        expect_counts(k=k)
        settings = span_settings(spans)
        queries = _queries(queries)
        documents = listed("documents", documents, "pass a list with the candidates of each query")
        if len(queries) != len(documents):
            raise InputError(
                f"{len(queries)} queries, but candidates for {len(documents)}; give one list a query"
            )
        candidates = [_pairs(texts) for texts in documents]
        texts = list(dict.fromkeys(text for pairs in candidates for _, text in pairs))
        positions = {text: position for position, text in enumerate(texts)}
        query_embeddings = self.encoder.encode_queries(queries)
        self.query_facts.update(self.encoder.tokenize(queries, "query").facts())
        tokenized = self.encoder.tokenize(texts, "document", spans=settings is not None)
        self.facts.update(tokenized.facts())
        progress = as_progress(progress)
        progress.start("encode documents", len(texts), unit="texts")
        embeddings = self.encoder.pool(self.encoder.encode_tokens(tokenized, progress=progress))
        progress.finish()
        devices = resolve_device(self.encoder.device, kernels="triton or torch")
        ranked: BatchResults[RankedDoc] = BatchResults()
        for query, pairs in enumerate(candidates):
            candidate_embeddings = embeddings.select([positions[text] for _, text in pairs])
            index = self._index(candidate_embeddings, [doc_id for doc_id, _ in pairs], devices)
            n_wanted = len(pairs) or 1 if k is None else k
            own = False if settings is None else replace(settings, texts=dict(pairs))
            results = index.search(query_embeddings[query], n_wanted, spans=own)
            divisor = max(1, len(query_embeddings[query])) if self.score == "mean" else 1
            ranked.append(
                Results(_ranked(result, rank, divisor) for rank, result in enumerate(results, 1))
            )
        return ranked

    def _index(
        self, embeddings: TokenEmbeddings, doc_ids: Sequence[str], devices: Devices
    ) -> ExactIndex:
        """An index of one query's candidates; on a GPU, launches over their shape are replayed."""
        if len(devices.gpus) != 1 or self.precision != "float32":
            return ExactIndex(embeddings, doc_ids, device=devices, precision=self.precision)
        from colmodern.index.exact.candidates import CandidateIndex, CandidateScorer

        if self._scorer is None or self._scorer.device != devices.gpus[0]:
            self._scorer = CandidateScorer(devices.gpus[0])
        index: ExactIndex = CandidateIndex(embeddings, doc_ids, devices, self._scorer)
        return index


def _ranked(result: ScoredDoc, rank: int, divisor: int) -> RankedDoc:
    """A result with its rank, and its scores divided by ``divisor``."""
    doc_id, score = result
    if isinstance(result, Hit):
        spans = [span._replace(score=span.score / divisor) for span in result.spans]
        return RankedHit(doc_id, score / divisor, rank, spans)
    return RankedDoc(doc_id, score / divisor, rank)


def _queries(queries: object) -> list[str]:
    """Texts in a list; raises InputError that names the position of what is not text."""
    texts = listed("queries", queries, "pass a list of texts")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"queries[{position}] is {shown(text)}; pass a text")
        if fault := text_fault(text):
            raise InputError(f"queries[{position}] is {shown(text)}, which {fault}; correct it")
    return texts


def _pairs(documents: Candidates) -> list[tuple[str, str]]:
    """(id, text) of each document; raises InputError that names the position of anything else."""
    if isinstance(documents, Mapping):
        items: list[Any] = list(documents.items())
    else:
        items = [
            (str(position), document) if isinstance(document, str) else document
            for position, document in enumerate(listed("documents", documents, _CURE))
        ]
    pairs = []
    for position, pair in enumerate(items):
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2
        if not is_pair or not all(isinstance(text, str) for text in pair):
            raise InputError(
                f"documents[{position}] is {shown(pair)}; pass a text or an (id, text) pair of strings"
            )
        if fault := text_fault(pair[1]):
            raise InputError(
                f"documents[{position}] has the text {shown(pair[1])}, which {fault}; correct it"
            )
        pairs.append((str(pair[0]), str(pair[1])))
    return pairs
