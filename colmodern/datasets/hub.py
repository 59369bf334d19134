"""The common layout of retrieval sets on the hub, read row by row with the `datasets` library.

A repository has the configs "corpus", "queries" and "default" or "qrels", in multilingual sets
each with a language before it ("en-corpus", "en-qrels"). Of a config's splits the one that is
asked for is read, or the only one. LongEmbed's own repository has a config for each set, with the
splits "corpus", "queries" and "qrels".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from colmodern.checks import as_grade, id_fault, shown, text_fault
from colmodern.datasets.registry import NamedSet
from colmodern.errors import DataError

Part = Literal["corpus", "queries", "qrels"]
Row = dict[str, Any]

_ID = ("_id", "id", "doc_id", "qid")


def read_rows(found: NamedSet, part: Part, split: str, source: str | None = None) -> Iterator[Row]:
    """The rows of one part, in the fields of the BEIR layout.

    source: a folder with the repository's files; None: the hub, at the pinned revision

    Rows come as they are read: in memory is what the library reads ahead, up to about twice one
    file of the repository. Raises DataError when that cannot be reached or is not of the layout.
    """
    rows = iter(_open(found, part, split, source))
    place = f"{source or found.repo}, {part}"
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:  # whatever the network, the hub and the file formats raise
            raise _failure(found, part, error) from error
        length = found.context_length
        if length is None or row.get("context_length") == length:
            yield _judgment(row, place) if part == "qrels" else _text(row, place)


def _open(found: NamedSet, part: Part, split: str, source: str | None) -> Any:
    import datasets

    place, revision = (found.repo, found.revision) if source is None else (source, None)
    try:
        if found.config is not None:
            # the parts differ in their columns, which the library allows within no config
            builder = datasets.load_dataset_builder(place, found.config, revision=revision)
            files = {part: builder.config.data_files[part]}
            return datasets.load_dataset("json", data_files=files, split=part, streaming=True)
        configs = datasets.get_dataset_config_names(place, revision=revision)
        config = _config(found, part, configs)
        splits = datasets.get_dataset_split_names(place, config, revision=revision)
        chosen = _split(split, splits, f"{place}, config {config}")
        return datasets.load_dataset(place, config, split=chosen, revision=revision, streaming=True)
    except DataError:
        raise
    except Exception as error:  # as above
        raise _failure(found, part, error) from error


def _config(found: NamedSet, part: Part, configs: list[str]) -> str:
    prefix = f"{found.prefix}-" if found.prefix else ""
    names = [f"{prefix}{part}"]
    if part == "qrels" and not prefix:
        names.insert(0, "default")
    for name in names:
        if name in configs:
            return name
    raise DataError(
        f"{found.repo} has no config {' or '.join(names)}, only {', '.join(configs)}; "
        "it is not in the layout that retrieval sets have"
    )


def _split(wanted: str, splits: list[str], place: str) -> str:
    if wanted in splits:
        return wanted
    if len(splits) == 1:
        return splits[0]
    raise DataError(f"{place} has the splits {', '.join(splits)}, and not {wanted}")


def _text(row: Row, place: str) -> Row:
    text_id = next((row[name] for name in _ID if row.get(name) is not None), None)
    if text_id is None:
        raise DataError(f"{place}: a row has no id; its fields are {', '.join(row)}")
    record = {"_id": _id(text_id, place)}
    for name in ("text", "title"):
        value = row.get(name) or ""
        if not isinstance(value, str):
            raise DataError(f"{place}: row {shown(text_id)}: {name} is {shown(value)}, no text")
        if fault := text_fault(value):
            raise DataError(f"{place}: row {shown(text_id)}: {name} {fault}")
        if value or name == "text":
            record[name] = value
    return record


def _judgment(row: Row, place: str) -> Row:
    query_id, doc_id = row.get("query-id", row.get("qid")), row.get("corpus-id", row.get("doc_id"))
    try:
        grade = as_grade(row.get("score", 1))  # sets with one grade may leave it out
    except ValueError as error:
        raise DataError(
            f"{place}: the score of {shown(row)} {error}; a whole score is wanted"
        ) from error
    if query_id is None or doc_id is None:
        raise DataError(f"{place}: {shown(row)} is no query, document and whole score")
    return {"query-id": _id(query_id, place), "corpus-id": _id(doc_id, place), "score": grade}


def _id(value: Any, place: str) -> str:
    text = str(value)
    if fault := id_fault(text):
        raise DataError(f"{place}: id {shown(text)} {fault}")
    return text


def _failure(found: NamedSet, part: Part, error: Exception) -> DataError:
    reason = str(error).strip().splitlines()
    return DataError(
        f"cannot read the {part} of {found.name} from {found.repo} at revision {found.revision[:12]}: "
        f"{reason[0] if reason else type(error).__name__}. Check the connection and run "
        f"`colmodern fetch {found.name}` again; or copy the repository here from a machine that "
        f"has it (hf download {found.repo} --repo-type dataset --revision {found.revision} "
        f"--local-dir FOLDER) and run `colmodern fetch {found.name} --from FOLDER`"
    )
