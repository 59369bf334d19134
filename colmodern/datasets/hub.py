"""The common layout of retrieval sets on the hub, read row by row with the `datasets` library.

A repository has the configs "corpus", "queries" and "default" or "qrels", in multilingual sets
each with a language before it ("en-corpus", "en-qrels"). The requested split of a config is read,
or its only one. LongEmbed's own repository has a config for each set, with the splits "corpus",
"queries" and "qrels". BRIGHT has a split for each domain, and its judgments beside its queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from colmodern.checks import as_grade, id_fault, shown, text_fault
from colmodern.datasets import irds
from colmodern.datasets.registry import NamedSet
from colmodern.errors import DataError

Subset = Literal["corpus", "queries", "qrels"]
Row = dict[str, Any]

_ID = ("_id", "id", "doc_id", "qid")
_LONG = "long"  # split of BRIGHT with whole web pages for documents


def read_rows(
    named_set: NamedSet, subset: Subset, split: str, source: str | None = None
) -> Iterator[Row]:
    """Iterate over the rows of a subset, in the fields of the BEIR layout.

    Rows are streamed; memory holds what the library reads ahead, up to about twice one file of the
    repository.

    Args:
        named_set: the set.
        subset: the corpus, the queries or the judgments.
        split: split of judgments, which the other subsets of some sets have too.
        source: a folder with the repository's files; None: the hub, at the pinned revision.

    Raises:
        DataError: the repository cannot be reached or has another layout.
    """
    if named_set.layout == "ir_datasets":
        for record in irds.read_records(named_set.repo, subset):
            yield _checked(record, subset, f"{named_set.repo}, {subset}")
        return
    records = iter(_open(named_set, subset, split, source))
    location = f"{source or named_set.repo}, {subset}"
    while True:
        try:
            row = next(records)
        except StopIteration:
            return
        except Exception as error:  # whatever the network, the hub and the file formats raise
            raise _failure(named_set, subset, error) from error
        length = named_set.context_length
        if length is not None and row.get("context_length") != length:
            continue
        for record in _bright(row, subset, split) if named_set.layout == "bright" else [row]:
            yield _checked(record, subset, location)


def _checked(record: Row, subset: Subset, location: str) -> Row:
    return _judgment(record, location) if subset == "qrels" else _text(record, location)


def _open(named_set: NamedSet, subset: Subset, split: str, source: str | None) -> Any:
    import datasets

    repo, revision = (named_set.repo, named_set.revision) if source is None else (source, None)
    try:
        if named_set.layout == "bright":
            config = "examples"
            if subset == "corpus":
                config = "long_documents" if split == _LONG else "documents"
            return datasets.load_dataset(
                repo, config, split=named_set.config, revision=revision, streaming=True
            )
        if named_set.config is not None:
            # the subsets differ in their columns, which the library allows in no config
            builder = datasets.load_dataset_builder(repo, named_set.config, revision=revision)
            files = {subset: builder.config.data_files[subset]}
            return datasets.load_dataset("json", data_files=files, split=subset, streaming=True)
        configs = datasets.get_dataset_config_names(repo, revision=revision)
        config = _config(named_set, subset, configs)
        splits = datasets.get_dataset_split_names(repo, config, revision=revision)
        config_split = _split(split, splits, f"{repo}, config {config}")
        return datasets.load_dataset(
            repo, config, split=config_split, revision=revision, streaming=True
        )
    except DataError:
        raise
    except Exception as error:  # as above
        raise _failure(named_set, subset, error) from error


def _config(named_set: NamedSet, subset: Subset, configs: list[str]) -> str:
    prefix = f"{named_set.prefix}-" if named_set.prefix else ""
    names = [f"{prefix}{subset}"]
    if subset == "qrels" and not prefix:
        names.insert(0, "default")
    if subset == "queries" and not prefix:
        names.append("query")
    for name in names:
        if name in configs:
            return name
    raise DataError(
        f"{named_set.repo} has no config {' or '.join(names)}, only {', '.join(configs)}; "
        "it is not in the layout that retrieval sets have"
    )


def _split(wanted: str, splits: list[str], location: str) -> str:
    if wanted in splits:
        return wanted
    if len(splits) == 1:
        return splits[0]
    raise DataError(f"{location} has the splits {', '.join(splits)}, and not {wanted}")


def _bright(row: Row, subset: Subset, split: str) -> list[Row]:
    """The row of a document or of a query, or the judgments beside a query."""
    if subset == "corpus":
        return [{"_id": row.get("id"), "text": row.get("content")}]
    if subset == "queries":
        return [
            {"_id": row.get("id"), "text": row.get("query"), "excluded": _ids(row, "excluded_ids")}
        ]
    gold = _ids(row, "gold_ids_long" if split == _LONG else "gold_ids")
    return [{"query-id": row.get("id"), "corpus-id": doc_id} for doc_id in gold]


def _ids(row: Row, name: str) -> list[str]:
    return [doc_id for doc_id in row.get(name) or [] if doc_id != "N/A"]


def _text(row: Row, location: str) -> Row:
    text_id = next((row[name] for name in _ID if row.get(name) is not None), None)
    if text_id is None:
        raise DataError(f"{location}: a row has no id; its fields are {', '.join(row)}")
    record: Row = {"_id": _id(text_id, location)}
    for name in ("text", "title"):
        value = row.get(name) or ""
        if not isinstance(value, str):
            raise DataError(f"{location}: row {shown(text_id)}: {name} is {shown(value)}, no text")
        if fault := text_fault(value):
            raise DataError(f"{location}: row {shown(text_id)}: {name} {fault}")
        if value or name == "text":
            record[name] = value
    if row.get("excluded"):
        record["excluded"] = row["excluded"]
    return record


def _judgment(row: Row, location: str) -> Row:
    query_id, doc_id = row.get("query-id", row.get("qid")), row.get("corpus-id", row.get("doc_id"))
    try:
        grade = as_grade(row.get("score", 1))  # sets with one grade may leave it out
    except ValueError as error:
        raise DataError(
            f"{location}: the score of {shown(row)} {error}; give whole grades"
        ) from error
    if query_id is None or doc_id is None:
        raise DataError(f"{location}: {shown(row)} is not a query, document and whole score")
    return {"query-id": _id(query_id, location), "corpus-id": _id(doc_id, location), "score": grade}


def _id(value: object, location: str) -> str:
    text = str(value)
    if fault := id_fault(text):
        raise DataError(f"{location}: id {shown(text)} {fault}")
    return text


def _failure(named_set: NamedSet, subset: Subset, error: Exception) -> DataError:
    reason = str(error).strip().splitlines()
    name, repo, revision = named_set.name, named_set.repo, named_set.revision
    command = named_set.fetch_command()
    return DataError(
        f"cannot read the {subset} of {name} from {repo} at revision {revision[:12]}: "
        f"{reason[0] if reason else type(error).__name__}. Check the connection and run "
        f"`{command}` again; or copy the repository here from a machine that "
        f"has it (hf download {repo} --repo-type dataset --revision {revision} "
        f"--local-dir FOLDER) and run `{command} --from FOLDER`"
    )
