"""BM25 over stored postings, computed by bm25s and mapped from disk."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from colmodern.arguments import checked_count, checked_path, listed
from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.base import closed_error
from colmodern.index.bm25.build import checked_text, count_words, score, write
from colmodern.index.bm25.files import (
    FILES,
    NAME,
    POSTINGS,
    VOCABULARY,
    Bm25Files,
    check_files,
    expect_free,
    write_index,
)
from colmodern.index.bm25.filters import filter_mask
from colmodern.index.bm25.unchangeable import Unchangeable
from colmodern.index.bm25.words import (
    STEMMER,
    STOP_WORDS,
    TOKEN_PATTERN,
    Analyzer,
    WordSettings,
    load_bm25s,
)
from colmodern.index.filters import DocFilter, Mask
from colmodern.index.plaid.disk.doc_ids import expect_ids
from colmodern.index.ranking import TopK
from colmodern.progress import Progress, as_progress
from colmodern.types import BatchResults, Results, ScoredDoc

K1, B = 0.9, 0.4  # Anserini's BM25 baselines for BEIR have these
_METHOD = "lucene"


class BM25Index(Unchangeable):
    """A BM25 index of texts, for first stages, hybrid ranking and baselines.

    Scores are those of Lucene's BM25 in float32, which bm25s computes when the index is built. A
    query's word counts as often as it stands there. Documents without any word of the query are no
    results. Ties go to the smaller doc_id. Needs the extra bm25.

    An index is made by ``build`` and opened by ``load``. It does not change afterwards, because every
    score depends on all documents. A pickle holds its path.

    Args:
        files: The mapped files of an index, as ``load`` opens them.
    """

    def __init__(self, files: Bm25Files) -> None:
        settings = dict(files.manifest.settings)
        k1, b = settings.pop("k1"), settings.pop("b")
        words = settings["stop_words"]
        settings["stop_words"] = tuple(words) if isinstance(words, list) else words
        self._analyzer = Analyzer(WordSettings(**settings))
        self._scorer = load_bm25s().BM25(k1=k1, b=b, method=_METHOD)
        self._scorer.vocab_dict = files.vocabulary
        self._scorer.nonoccurrence_array = None
        self._scorer.scores = {
            "data": files.scores,
            "indices": files.docs,
            "indptr": files.starts,
            "num_docs": files.manifest.n_docs,
        }
        self._files: Bm25Files | None = files

    @classmethod
    def build(
        cls,
        documents: Mapping[str, str] | Iterable[tuple[str, str]],
        path: Path | str,
        *,
        k1: float = K1,
        b: float = B,
        stemmer: str | None = STEMMER,
        stop_words: str | Sequence[str] | None = STOP_WORDS,
        token_pattern: str = TOKEN_PATTERN,
        overwrite: bool = False,
        progress: Progress | bool | None = None,
    ) -> BM25Index:
        """Count the words of all documents and write an index folder.

        The defaults are those of Anserini's BM25 baselines for BEIR: k1 0.9, b 0.4, Porter's stemmer
        and Lucene's stop words. Words of one letter are left out.

        Args:
            documents: (id, text) pairs, also from a generator, or texts by id.
            path: Folder to write.
            k1: How much further occurrences of a word add; at least 0.
            b: How much long documents are held back, from 0 to 1.
            stemmer: A Snowball stemmer, as "porter", "english" or "german"; None for none.
            stop_words: A language, as "english" or "german"; words; or None to keep all.
            token_pattern: Regular expression of a word, in lowercased text.
            overwrite: Whether to replace an older BM25 index at ``path``.
            progress: True for a bar on stderr, or an object that receives the steps.

        Returns:
            The open index.

        Raises:
            InputError: A parameter, an id or a text is unusable; names it.
            MissingExtraError: bm25s, or PyStemmer for a stemmer, is not installed.
            StorageError: Something else is at ``path``, or it cannot be written.
        """
        folder = Path(os.path.abspath(checked_path("path", path)))
        k1, b = _parameter("k1", k1, math.inf), _parameter("b", b, 1.0)
        words = stop_words if isinstance(stop_words, str | None) else tuple(stop_words)
        settings = WordSettings(token_pattern, words, stemmer)
        analyzer, library = Analyzer(settings), load_bm25s()
        expect_free(folder, overwrite=overwrite)
        progress = as_progress(progress)
        ids, word_numbers, vocabulary = count_words(documents, analyzer, progress)
        expect_ids(ids)
        scorer = library.BM25(k1=k1, b=b, method=_METHOD)
        score(scorer, word_numbers, vocabulary)
        n_words = sum(map(len, word_numbers))
        facts = {
            "settings": {"k1": k1, "b": b, **settings.as_json()},
            "library": str(library.__version__),
            "n_docs": len(ids),
            "n_words": n_words,
        }
        write_index(
            folder,
            lambda staged: write(staged, scorer, ids, str(library.__version__)),
            facts,
            overwrite=overwrite,
        )
        return cls.load(folder)

    @classmethod
    def load(cls, path: Path | str) -> BM25Index:
        """Map an index folder; its files are compared with their checksums before the first search.

        Args:
            path: The index folder.

        Returns:
            The open index.

        Raises:
            StorageError: It is missing, damaged or of another format.
            MissingExtraError: bm25s, or PyStemmer for its stemmer, is not installed.
        """
        return cls(Bm25Files(Path(os.path.abspath(checked_path("path", path)))))

    @staticmethod
    def check(path: Path | str, *, progress: Progress | bool | None = None) -> None:
        """Read all of an index and compare it with its checksums.

        Args:
            path: The index folder.
            progress: True for a bar on stderr, or an object that receives the steps.

        Raises:
            StorageError: Something is wrong; the first fault is named.
        """
        folder, steps = checked_path("path", path), as_progress(progress)
        steps.start("check files", len(FILES), unit="files")
        check_files(folder, lambda: steps.advance(1))
        steps.finish()

    def __repr__(self) -> str:
        if self._files is None:
            return "BM25Index(closed)"
        settings = self._files.manifest.settings
        shown_settings = ", ".join(f"{name}={settings[name]!r}" for name in ("k1", "b", "stemmer"))
        return f"BM25Index({str(self._files.folder)!r}, n_docs={self.n_docs}, {shown_settings})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self).load, (self._open.folder,)

    @property
    def n_docs(self) -> int:
        """Number of documents."""
        return self._open.manifest.n_docs

    def __len__(self) -> int:
        return self.n_docs

    def __contains__(self, doc_id: object) -> bool:
        ids = self._open.ids
        return isinstance(doc_id, str) and bool(ids.docs_of([doc_id])[0] >= 0)

    def filter(self, allowed: Iterable[str] | Callable[[str], bool]) -> DocFilter:
        """A filter to be used in many searches of this index.

        Args:
            allowed: Ids of allowed documents, or a function from an id to True or False.

        Returns:
            What ``search`` takes as ``filter``.

        Raises:
            InputError: It is neither, or the index has none of the ids.
        """
        files = self._open
        return DocFilter([filter_mask(files.ids, self.n_docs, allowed)], str(files.folder))

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        filter: DocFilter | Iterable[str] | Callable[[str], bool] | None = None,
    ) -> Results[ScoredDoc]:
        """The best ``k`` documents for one query, best first.

        Args:
            query: A text.
            k: Number of documents, at most. Ties go to the smaller doc_id.
            filter: Ids of allowed documents, a function from an id to True or False, or what
                ``filter`` made of one; None for all. Scores stay those among all documents.

        Returns:
            The best documents that share a word with the query, with their scores.

        Raises:
            InputError: The query is not a text, k is below 1, or as from ``filter``.
            StorageError: The index is damaged.
        """
        files, k = self._open, checked_count("k", k)
        return self._search(files, checked_text("query", query), k, self._mask(filter))

    def search_batch(
        self,
        queries: Iterable[str],
        k: int = 10,
        *,
        filter: DocFilter | Iterable[str] | Callable[[str], bool] | None = None,
        progress: Progress | bool | None = None,
    ) -> BatchResults[ScoredDoc]:
        """The best ``k`` documents of each query, in the order of the queries.

        Args:
            queries: Texts.
            k: Number of documents of each query, at most.
            filter: As in ``search``, the same for all queries.
            progress: True for a bar on stderr, or an object that receives the steps.

        Returns:
            One list a query, best first.

        Raises:
            InputError: As from ``search``; names the position of a query that is not a text.
            StorageError: The index is damaged.
        """
        files, k = self._open, checked_count("k", k)
        texts = listed("queries", queries, "pass a list of texts")
        for position, text in enumerate(texts):
            checked_text(f"queries[{position}]", text)
        steps, mask = as_progress(progress), self._mask(filter)
        steps.start("search", len(texts), unit="queries")
        results: BatchResults[ScoredDoc] = BatchResults()
        for text in texts:
            results.append(self._search(files, text, k, mask))
            steps.advance(1)
        steps.finish()
        return results

    def info(self) -> dict[str, Any]:
        """Describe the index.

        Returns:
            Path, kind, counts, settings, and bytes of its files.
        """
        files = self._open
        manifest = files.manifest
        sizes = {name: (files.folder / name).stat().st_size for name in (*FILES, NAME)}
        postings = sum(sizes[name] for name in POSTINGS)
        return {
            "path": str(files.folder),
            "kind": "bm25",
            "documents": manifest.n_docs,
            "words": manifest.n_words,
            "vocabulary": len(files.vocabulary),
            "settings": manifest.settings,
            "library": f"bm25s {manifest.library}",
            "bytes": {
                "postings": postings,
                "vocabulary": sizes[VOCABULARY],
                "ids": sum(sizes.values()) - postings - sizes[VOCABULARY],
                "total": sum(sizes.values()),
            },
        }

    def close(self) -> None:
        """Let go of the mapped files; the index cannot be used afterwards."""
        self._files = None
        self._scorer = None

    @property
    def _open(self) -> Bm25Files:
        if self._files is None:
            raise closed_error()
        return self._files

    def _mask(self, allowed: object) -> Mask | None:
        """(n_docs,) the documents that a filter allows; None for all."""
        if allowed is None:
            return None
        made = allowed if isinstance(allowed, DocFilter) else self.filter(allowed)  # type: ignore[arg-type]
        if made.state != str(self._open.folder):
            raise InputError("filter was made by another index; make it with filter of this one")
        return made.allowed[0]

    def _search(
        self, files: Bm25Files, query: str, k: int, mask: Mask | None
    ) -> Results[ScoredDoc]:
        files.verify()
        numbers = self._scorer.get_tokens_ids(self._analyzer.words(query))
        if not numbers:
            return Results()
        scores = self._scorer.get_scores_from_ids(numbers)
        docs = np.flatnonzero(scores > 0 if mask is None else mask & (scores > 0))
        ranking = TopK(1, k, files.ids, files.id_ranks)  # type: ignore[arg-type]
        ranking.add([(docs, scores[docs])])
        return ranking.results()[0]


def _parameter(name: str, value: object, most: float) -> float:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    if not (0 <= number <= most and math.isfinite(number)):
        limits = "at least 0" if most == math.inf else f"from 0 to {most:g}"
        raise InputError(f"{name}={shown(value)}; pass a number, {limits}")
    return number
