"""Exact MaxSim over given candidates: a late-interaction reranker in three lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colmodern.encoder.encoder import Encoder
from colmodern.errors import InputError
from colmodern.index.exact import ExactIndex
from colmodern.progress import Progress, as_progress
from colmodern.types import Precision, RankedDoc

Candidate = str | tuple[str, str]


class Reranker:
    """Orders documents by MaxSim with a query.

    model: an Encoder, or what Encoder.from_pretrained takes
    precision: of the documents that are scored, as ExactIndex takes it
    options: further arguments of Encoder.from_pretrained, as ``document_length=8192`` or
    ``device="cuda"``, where documents are then also scored
    """

    def __init__(
        self, model: Encoder | str | Path, *, precision: Precision = "float32", **options: Any
    ) -> None:
        if isinstance(model, Encoder) and options:
            raise InputError(
                f"options {sorted(options)} come too late: model is an Encoder already"
            )
        self.encoder = (
            model if isinstance(model, Encoder) else Encoder.from_pretrained(model, **options)
        )
        self.precision: Precision = precision
        self.facts: Counter[str] = Counter()  # of all documents so far, as TokenizedTexts.facts

    def rank(
        self, query: str, documents: Sequence[Candidate], k: int | None = None
    ) -> list[RankedDoc]:
        """The best ``k`` documents (default: all), best first, ranks from 1.

        documents: texts, whose ids are then "0", "1", ...; or (id, text) pairs

        Ties go to the smaller id. Raises InputError for a query without text, k below 1 or an
        id that repeats.
        """
        return self.rank_batch([query], [documents], k)[0]

    def rank_batch(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[Candidate]],
        k: int | None = None,
        *,
        progress: Progress | bool | None = None,
    ) -> list[list[RankedDoc]]:
        """As ``rank`` for many queries, each with candidates of its own.

        A text that several queries share is encoded once. All embeddings are in memory.
        """
        if len(queries) != len(documents):
            raise InputError(
                f"{len(queries)} queries, but candidates for {len(documents)}; give one list a query"
            )
        if k is not None and k < 1:
            raise InputError(f"k={k}; ask for at least 1 document")
        candidates = [_pairs(texts) for texts in documents]
        texts = list(dict.fromkeys(text for pairs in candidates for _, text in pairs))
        places = {text: place for place, text in enumerate(texts)}
        query_embeddings = self.encoder.encode_queries(queries)
        tokenized = self.encoder.tokenize(texts, "document")
        self.facts.update(tokenized.facts())
        progress = as_progress(progress)
        progress.start("encode documents", len(texts), unit="texts")
        embeddings = self.encoder.pool(self.encoder.encode_tokens(tokenized, progress=progress))
        progress.finish()
        ranked = []
        for query, pairs in enumerate(candidates):
            chosen = embeddings.select([places[text] for _, text in pairs])
            index = ExactIndex(
                chosen,
                [doc_id for doc_id, _ in pairs],
                device=self.encoder.device,
                precision=self.precision,
            )
            found = index.search(query_embeddings[query], k or max(1, len(pairs)))
            ranked.append(
                [RankedDoc(doc_id, score, rank) for rank, (doc_id, score) in enumerate(found, 1)]
            )
        return ranked


def _pairs(documents: Sequence[Candidate]) -> list[tuple[str, str]]:
    if isinstance(documents, str):
        raise InputError("documents is one string; pass a list of texts or (id, text) pairs")
    pairs = []
    for position, document in enumerate(documents):
        pair = (str(position), document) if isinstance(document, str) else document
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2
        if not is_pair or not all(isinstance(part, str) for part in pair):
            raise InputError(
                f"documents[{position}] is {document!r}; pass a text or an (id, text) pair of strings"
            )
        pairs.append((pair[0], pair[1]))
    return pairs
