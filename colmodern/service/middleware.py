"""What happens around every request: its id, its key, its limits, its log and its metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from colmodern.service.admission import expect_host, expect_key
from colmodern.service.body import expect_json, expect_length, limited
from colmodern.service.context import KEY, RequestContext
from colmodern.service.direct_route import DirectRoutes
from colmodern.service.errors import answer_of
from colmodern.service.logs import log_request

if TYPE_CHECKING:
    from colmodern.service.service import Service

_PROBES = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds
_CLIENT_GONE = 499  # in the log alone: the client did not wait for an answer


class RequestMiddleware:
    """Admits a request, answers it by the application, and records it."""

    def __init__(self, app: ASGIApp, service: Service, direct: DirectRoutes) -> None:
        """Surround an application.

        Args:
            app: Answers what is not a request of a direct route.
            service: Its service.
            direct: Its direct routes.
        """
        self._app = app
        self._service = service
        self._direct = direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of scopes are passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        settings, limit = self._service.settings, self._service.body_limit
        receive = limited(receive, limit=limit, seconds=settings.timeouts.body_s)
        context = RequestContext(scope, receive, timeout_ms=settings.timeouts.request_ms)
        scope[KEY] = context
        status = _CLIENT_GONE

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = context.request_id
                headers.setdefault("X-Content-Type-Options", "nosniff")
                if self._service.is_draining:
                    headers["Connection"] = "close"
            await send(message)

        try:
            expect_host(scope, settings.allowed_hosts)
            expect_key(scope, self._service.keys)
            expect_json(scope)
            expect_length(scope, limit)
            if not await self._direct.answer(scope, receive, send_with_id):
                await self._app(scope, receive, send_with_id)
        except Exception as error:
            if status != _CLIENT_GONE:  # the answer has begun: only its end can tell
                raise
            answer = answer_of(error, self._service.hide, context.request_id)
            await answer(scope, receive, send_with_id)
        finally:
            if context.is_disconnected:
                status = _CLIENT_GONE
            seconds = time.perf_counter() - context.started
            # uvloop sends the answer when this turn of the loop ends, so that the record comes after it
            loop = asyncio.get_running_loop()
            loop.call_soon(self._record, scope, context, status, seconds)

    def _record(self, scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None)
        stages: dict[str, float] = {str(stage): taken for stage, taken in context.stages.items()}
        self._service.metrics.count_request(route, status, seconds, stages)
        level = logging.DEBUG if route in _PROBES else logging.INFO
        log, milliseconds = self._service.settings.log, round(1000 * seconds, 3)
        log_request(
            request={
                "request_id": context.request_id,
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "ms": milliseconds,
                "stages_ms": {stage: round(1000 * taken, 3) for stage, taken in stages.items()},
            },
            facts=context.facts,
            level=level if log.access else None,
            is_slow=milliseconds > log.slow_ms,
        )
