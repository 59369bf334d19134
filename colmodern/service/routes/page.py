"""The page for people: a search box, results, and why a document is found or not."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response

from colmodern.service.errors import ServiceError

router = APIRouter(include_in_schema=False)

# file of colmodern/service/page/ -> its media type
_FILES = {
    "ask.js": "text/javascript",
    "draw.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "page.css": "text/css",
    "page.js": "text/javascript",
}
# the page asks its own server alone, and nothing in it runs but its own files
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.head("/")
@router.get("/")
async def page() -> Response:
    """The page."""
    return _file("index.html", "text/html")


@router.get("/page/{name}")
async def page_file(name: str) -> Response:
    """A file of the page."""
    if name not in _FILES:
        raise ServiceError(
            404, "not_found", "the page has no such file", "open the page itself, at /"
        )
    return _file(name, _FILES[name])


def _file(name: str, media_type: str) -> Response:
    content = (files("colmodern.service") / "page" / name).read_bytes()
    return Response(content, media_type=f"{media_type}; charset=utf-8", headers=_HEADERS)
