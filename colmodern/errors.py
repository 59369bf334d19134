"""The exceptions of colmodern: one class for each way a caller may react.

ColmodernError
├── InputError (ValueError)          an argument is unusable: pass another
│   ├── ConfigError                  a configuration key or value is wrong: edit the config
│   └── DataError                    a collection, run or qrels file is wrong: fix the file
├── CheckpointError                  a model cannot be read: choose another, or fetch it
├── StorageError (OSError)           files of ours are damaged, unfinished, foreign or unwritable
├── ResourceError (MemoryError)      memory or open files do not suffice: free some, or raise the limit
├── WorkerError (RuntimeError)       another process of the work ended: run the command again
├── UnavailableError (RuntimeError)  another machine or shard did not answer: ask again, or take a part
└── MissingExtraError (ImportError)  an optional package is needed: install the extra
"""

from __future__ import annotations

from colmodern.checks import visible


class ColmodernError(Exception):
    """Base of all errors that a caller can fix; the command line exits with status 2."""

    def __str__(self) -> str:
        """The message without control characters, which names and values in it may hold."""
        return visible(super().__str__(), lines=True)


class InputError(ColmodernError, ValueError):
    """An argument is unusable; the message names it, its value and what to pass instead."""


class ConfigError(InputError):
    """A configuration file or override is wrong; all its faults are in one message."""


class DataError(InputError):
    """A collection, run or qrels file breaks its format; the message names file and line."""


class CheckpointError(ColmodernError):
    """A model folder or hub name cannot be read as any of the known kinds."""


class StorageError(ColmodernError, OSError):
    """Files written by colmodern are damaged, unfinished or foreign, or cannot be written."""


class ResourceError(ColmodernError, MemoryError):
    """The machine has too little for the work: memory for its smallest piece, or open files."""


class WorkerError(ColmodernError, RuntimeError):
    """A worker process ended before its work was done; finished work is kept."""


class UnavailableError(ColmodernError, RuntimeError):
    """A server or a shard of an index did not answer, or not in time; the message names it."""


class MissingExtraError(ColmodernError, ImportError):
    """An optional package is not installed; the message has the command that installs it."""
