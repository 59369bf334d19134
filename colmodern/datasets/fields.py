"""Fields of documents and queries: the other keys of their records, or a file beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colmodern.checks import shown
from colmodern.datasets.records import ID_NAMES, find_file, id_field, read_records
from colmodern.errors import DataError

_PARQUET = (".parquet", ".pq")
_BATCH = 4096  # records that are read from a parquet file at a time


def read_fields(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ids and fields of documents, in the order of a file.

    Args:
        path: A corpus.jsonl or other file of JSON lines or tab-separated lines, maybe gzipped, or a
            parquet file. "_id" or "id" is the id; "title" and "text" are no fields.

    Raises:
        DataError: It is missing or malformed, or a record has no id.
    """
    path = find_file(path)
    records = _read_parquet(path) if path.suffix in _PARQUET else read_records(path)
    for number, record in records:
        doc_id = id_field(record, path, number)
        left_out = {
            "title",
            "text",
            *(name for name in ID_NAMES if str(record.get(name)) == doc_id),
        }
        yield doc_id, {name: value for name, value in record.items() if name not in left_out}


def read_query_filters(path: Path, key: str) -> dict[str, dict[str, object]]:
    """The filter of each query of a file that has one.

    Args:
        path: A queries.jsonl, maybe gzipped.
        key: The key of its records that holds the filter.

    Raises:
        DataError: It is missing or malformed, no query has the key, or a value is no mapping.
    """
    path, filters, n_queries = find_file(path), dict[str, dict[str, object]](), 0
    for number, record in read_records(path):
        n_queries += 1
        if (value := record.get(key)) is None:
            continue
        if not isinstance(value, dict):
            raise DataError(
                f"{path}:{number}: {key!r} is {shown(value)}; a filter is a mapping such as "
                '{"year": {"gte": 2020}}'
            )
        filters[id_field(record, path, number)] = value
    if not filters:
        raise DataError(
            f"{path}: none of {n_queries:,} queries has {key!r}; name the key of filters"
        )
    return filters


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Numbers from 1 and records of a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            if not {*ID_NAMES} & {*file.schema_arrow.names}:
                raise DataError(f"{path} has no column '_id' or 'id'; name the column of ids so")
            for batch in file.iter_batches(batch_size=_BATCH):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; name the file of fields") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as parquet ({error}); write it again") from error
