"""Data sets of one's own, by name: a YAML file names folders, files, hub repositories and ids.

The file is ~/.config/colmodern/datasets.yaml, or datasets.yaml beside a config:

    mine/faq: {folder: faq}
    mine/notes: {corpus: notes.jsonl, queries: topics.tsv, qrels: notes.qrels.gz}
    mine/shared: {repo: me/shared, revision: 3f2a…, splits: [test, dev]}
    mine/dl19: {ir_datasets: msmarco-passage/trec-dl-2019/judged}
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from colmodern.checks import shown
from colmodern.config.fields import SettingsModel
from colmodern.config.load import build
from colmodern.config.yaml_text import parse_yaml
from colmodern.datasets.registry import BUILT_IN, IR_DATASETS, NamedSet, named_sets
from colmodern.errors import ConfigError
from colmodern.reading import read_text, user_path

FILES = ("corpus", "queries", "qrels")
_VARIABLE = "COLMODERN_DATASETS"
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")


class OwnSet(SettingsModel):
    """A data set: a local folder, three local files, a repository of the hub, or an ir_datasets id."""

    folder: str | None = Field(None, description="folder in the BEIR layout")
    corpus: str | None = Field(None, description="file of documents")
    queries: str | None = Field(None, description="file of queries")
    qrels: str | None = Field(None, description="file of judgments, TREC or BEIR")
    repo: str | None = Field(None, description="hub repository, as OWNER/NAME")
    revision: str | None = Field(
        None, description="commit of the repository, 40 letters and digits"
    )
    prefix: str | None = Field(None, description="what the repository's configs begin with")
    ir_datasets: str | None = Field(None, description="id of the package ir_datasets")
    license: str | None = Field(None, description="its licence, for lists")
    splits: tuple[str, ...] | None = Field(
        None, min_length=1, description="splits with judgments; results are reported on the first"
    )
    drop_self_matches: bool = Field(False, description="default of dataset.drop_self_matches")
    drop_empty_documents: bool = Field(False, description="default of dataset.drop_empty_documents")

    @field_validator("revision")
    @classmethod
    def _is_a_commit(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch("[0-9a-f]{40}", value):
            raise ValueError("is not a commit; give its 40 letters and digits, which never move")
        return value

    @model_validator(mode="after")
    def _has_one_source(self) -> OwnSet:
        sources = [name for name in ("folder", "repo", "ir_datasets") if getattr(self, name)]
        files = [name for name in FILES if getattr(self, name)]
        if len(sources) + bool(files) != 1:
            raise ValueError("give one of folder, repo and ir_datasets, or the three files")
        if files and len(files) < len(FILES):
            raise ValueError(f"give {', '.join(FILES)} together")
        if (self.repo is None) != (self.revision is None):
            raise ValueError("give repo and revision together")
        if self.prefix is not None and self.repo is None:
            raise ValueError("prefix is of a repo; give one, or leave it out")
        if self.splits is not None and len(self.splits) > 1 and (files or self.ir_datasets):
            raise ValueError("files and an id have judgments of one split; leave splits out")
        return self


@dataclass(frozen=True)
class LocalSet:
    """A data set of one's own on this machine.

    Attributes:
        folder: In the BEIR layout; None for files.
        files: Corpus, queries and judgments; None for a folder.
    """

    name: str
    splits: tuple[str, ...]
    folder: Path | None
    files: tuple[Path, Path, Path] | None
    drop_self_matches: bool
    drop_empty_documents: bool

    @property
    def documents(self) -> Path:
        """The folder, or the file of documents."""
        if self.folder is not None:
            return self.folder
        assert self.files is not None, "a local set has a folder or files"
        return self.files[0]


def user_registry() -> Path:
    """The user's file of data sets, which need not exist; COLMODERN_DATASETS names another."""
    if path := os.environ.get(_VARIABLE):
        return user_path(path, ConfigError)
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return user_path(config, ConfigError) / "colmodern" / "datasets.yaml"


def own_sets(registry: str | Path | None = None) -> dict[str, NamedSet | LocalSet]:
    """The data sets of a file and of the user's file, by name; the former win.

    Raises:
        ConfigError: There is no such file, or it is malformed.
    """
    mine = user_registry()
    is_named = bool(os.environ.get(_VARIABLE))  # then a missing file is a mistake
    sets = read_sets(mine) if is_named or os.path.isfile(mine) else {}
    return sets if registry is None else {**sets, **read_sets(user_path(registry, ConfigError))}


def read_sets(path: Path) -> dict[str, NamedSet | LocalSet]:
    """The data sets of one file, by name.

    Raises:
        ConfigError: It cannot be read, or is malformed.
    """
    values = parse_yaml(read_text(path, ConfigError), str(path), ConfigError)
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} holds {shown(values)}, not data sets; write NAME: {{folder: FOLDER}}"
        )
    sets: dict[str, NamedSet | LocalSet] = {}
    for name, entry in values.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"{path}: {shown(name)} is not a name; use letters, digits, '.', '_', '-' and '/'"
            )
        if name == BUILT_IN or name in named_sets():
            raise ConfigError(
                f"{path}: {name} is the name of a set that comes along; choose another"
            )
        if not isinstance(entry, dict):
            raise ConfigError(f"{path}: {name}: {shown(entry)}; write {{folder: FOLDER}}")
        own = build(OwnSet, entry, source=f"{path}: {name}")
        sets[name] = (
            _named(name, own, path)
            if own.repo or own.ir_datasets
            else _local(name, own, path.parent)
        )
    return sets


def _named(name: str, own: OwnSet, path: Path) -> NamedSet:
    """A set that is fetched."""
    return NamedSet(
        name,
        repo=own.repo or own.ir_datasets or "",
        revision=own.revision or IR_DATASETS,
        splits=own.splits or ("test",),
        license=own.license,
        layout="beir" if own.repo else "ir_datasets",
        prefix=own.prefix,
        drop_self_matches=own.drop_self_matches,
        drop_empty_documents=own.drop_empty_documents,
        registry=None if path == user_registry() else str(path),
    )


def _local(name: str, own: OwnSet, beside: Path) -> LocalSet:
    """A set of folders or files; relative paths begin at the file that names it."""
    paths = [
        Path(os.path.abspath(beside / user_path(path, ConfigError)))
        for path in (own.folder, own.corpus, own.queries, own.qrels)
        if path is not None
    ]
    return LocalSet(
        name,
        own.splits or ("test",),
        folder=None if own.folder is None else paths[0],
        files=None if own.folder is not None else (paths[0], paths[1], paths[2]),
        drop_self_matches=own.drop_self_matches,
        drop_empty_documents=own.drop_empty_documents,
    )
