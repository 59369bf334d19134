"""Errors as clients see them: a code for programs, a message and a cure for people."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from colmodern.checks import shown, visible
from colmodern.errors import (
    CheckpointError,
    ColmodernError,
    InputError,
    ResourceError,
    UnavailableError,
)
from colmodern.files import UnwritableError, is_full
from colmodern.writer_lock import LockedError

_MOST_FAULTS = 10  # faults of a body that one message lists
_log = logging.getLogger(__name__)


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str = Field(description="a name of the kind of error, for programs")
    message: str = Field(description="what is wrong: the field and its value, where it is one")
    cure: str = Field(description="what to do about it")


class ErrorAnswer(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: ErrorBody


class ServiceError(HTTPException):
    """An answer with an error: raise it anywhere in a request.

    Attributes:
        code: A name of the kind of error.
        message: What is wrong.
        cure: What to do about it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        cure: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.code = code
        self.message = message
        self.cure = cure


def overloaded(what: str, retry_after_s: int = 1) -> ServiceError:
    """The error of a full queue."""
    return ServiceError(
        429,
        "overloaded",
        f"{what} is full",
        f"try again in {retry_after_s} s",
        headers={"Retry-After": str(retry_after_s)},
    )


def not_ready(message: str, cure: str = "wait until GET /ready answers 200") -> ServiceError:
    """The error of a service that cannot answer yet, or any more."""
    return ServiceError(503, "not_ready", message, cure, headers={"Retry-After": "1"})


def out_of_time(timeout_ms: float) -> ServiceError:
    """The error of a request that could not be answered in its time."""
    return ServiceError(
        503,
        "timeout",
        f"the request could not be answered in {timeout_ms:g} ms",
        "ask for less, try again later, or raise timeout_ms",
        headers={"Retry-After": "1"},
    )


def read_only() -> ServiceError:
    """The error of a change that the server's settings forbid."""
    return ServiceError(
        403,
        "read_only",
        "this server does not change indexes",
        "change the index where it is not served with read_only",
    )


def unfit(message: str, cure: str) -> ServiceError:
    """The error of a value that the server or the index does not take."""
    return ServiceError(422, "invalid_value", message, cure)


def unknown_index(name: str, known: list[str]) -> ServiceError:
    """The error of a path with the name of no index."""
    names = ", ".join(known) if known else "none"
    return ServiceError(
        404,
        "unknown_index",
        f"there is no index {shown(name)}",
        f"use one of those served: {names}",
    )


def unknown_document(doc_id: str, name: str) -> ServiceError:
    """The error of an id that no document of an index has."""
    return ServiceError(
        404,
        "unknown_document",
        f"index {name!r} has no document {shown(doc_id)}",
        "check the id; the document may have been deleted",
    )


def answer_of(error: Exception, hide: Callable[[str], str], request_id: str) -> JSONResponse:
    """The answer to a request that raised an error; the log has what the answer leaves out.

    Args:
        error: The error.
        hide: Replaces what a message must not show: folders of the server's disk.
        request_id: Id of the request, for the log.
    """
    raised = as_service_error(error, hide)
    if raised.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR and raised is not error:
        is_foreseen = isinstance(error, ColmodernError)
        _log.error(
            "%s: %s",
            raised.code,
            error,
            exc_info=None if is_foreseen else error,
            extra={"fields": {"request_id": request_id}},
        )
    body = {"code": raised.code, "message": raised.message, "cure": raised.cure}
    return JSONResponse({"error": body}, raised.status_code, raised.headers)


def as_service_error(error: Exception, hide: Callable[[str], str]) -> ServiceError:
    """The error as clients see it."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        return _of_http(error)
    message, cure = _split(hide(visible(str(error))))
    if isinstance(error, LockedError):
        return ServiceError(
            409,
            "busy",
            "another writer changes this index",
            "try again when it has finished",
            headers={"Retry-After": "1"},
        )
    if isinstance(error, UnwritableError):
        _log.error("%s", error)
        return ServiceError(
            403,
            "not_writable",
            "the server cannot write the folder of this index",
            "allow the server's user to write it, or serve it with read_only; trying again is no use",
        )
    if is_full(error):
        return ServiceError(
            507,
            "disk_full",
            "the server's disk is full, and the change was not made",
            "free space on the server's disk, or raise its limits of file sizes, then send it again",
        )
    if isinstance(error, InputError):
        return ServiceError(422, "invalid_value", message, cure)
    if isinstance(error, UnavailableError):  # a shard elsewhere: the message is made for clients
        return ServiceError(503, "index_unavailable", message, cure, headers={"Retry-After": "1"})
    if isinstance(error, ResourceError | MemoryError):
        return ServiceError(
            503,
            "out_of_memory",
            "the server has too little memory for this request",
            "ask for less at a time",
            headers={"Retry-After": "5"},
        )
    if isinstance(error, ColmodernError):
        what = "model" if isinstance(error, CheckpointError) else "index"
        return ServiceError(
            503,
            f"{what}_unavailable",
            f"the server cannot use the {what}",
            "look for this request's id in the server's log",
        )
    return ServiceError(
        500,
        "internal_error",
        "the server failed to answer",
        "report it, with what the server's log has for this request's id",
    )


def _of_http(error: HTTPException) -> ServiceError:
    known = {
        400: ("invalid_request", "the request cannot be read", "send JSON as /docs describes it"),
        404: ("not_found", "there is no such path", "GET /docs lists the paths"),
        405: ("method_not_allowed", "the path does not take this method", "GET /docs lists them"),
    }
    status = HTTPStatus(error.status_code)
    usual = (status.name.lower(), status.phrase.lower(), "GET /docs describes the requests")
    code, message, cure = known.get(error.status_code, usual)
    return ServiceError(error.status_code, code, message, cure, headers=error.headers)


def _of_validation(error: RequestValidationError) -> ServiceError:
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return ServiceError(
            400,
            "invalid_json",
            f"the body is not JSON ({faults[0].get('ctx', {}).get('error', 'it ends too early')})",
            "send one JSON object",
        )
    messages = [_fault(fault) for fault in faults[:_MOST_FAULTS]]
    if len(faults) > _MOST_FAULTS:
        messages.append(f"{len(faults) - _MOST_FAULTS} more faults")
    return ServiceError(
        422, "invalid_value", "; ".join(messages), "correct the request as /docs describes it"
    )


def _fault(fault: Mapping[str, Any]) -> str:
    location, *keys = fault["loc"]
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    path = visible(path)[:200] or str(location)
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown field"
    if fault["type"] in ("missing", "model_attributes_type", "dict_type"):
        is_whole = not keys
        return "the body must be a JSON object" if is_whole else f"{path}: {message}"
    return f"{path}: {message} (given: {shown(fault['input'])})"


def _split(message: str) -> tuple[str, str]:
    """What is wrong, and the cure: messages of colmodern have it after their last semicolon."""
    fault, semicolon, cure = message.rpartition("; ")
    return (fault, cure) if semicolon else (message, "correct the request as /docs describes it")


def hiding(replacements: Mapping[str, str]) -> Callable[[str], str]:
    """A function that replaces folders in messages, the longest first.

    Args:
        replacements: From a folder's path to what is shown instead.
    """
    paths = sorted((path for path in replacements if len(path) > 1), key=len, reverse=True)
    if not paths:
        return str
    pattern = re.compile("|".join(map(re.escape, paths)))
    return lambda message: pattern.sub(lambda match: replacements[match[0]], message)


ERROR_ANSWERS: dict[int | str, dict[str, object]] = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in (
        (400, "The body is not JSON."),
        (401, "The key is missing or wrong."),
        (404, "There is no such path, index or document."),
        (409, "Another writer changes the index."),
        (413, "The body is larger than the limit."),
        (415, "The body is compressed, or not said to be JSON."),
        (422, "A field has a wrong value, or is unknown."),
        (429, "A queue is full; Retry-After says when to try again."),
        (503, "The server is not ready, or has no time or memory for this request."),
        (507, "The server's disk is full; the change was not made."),
    )
}
