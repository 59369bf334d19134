"""Checks the built site: `make docs` runs it after the build, and fails with it.

    .venv-docs/bin/python docs/check_site.py

It reads site/ and names every link or anchor that leads nowhere, everything that a page would fetch
from the network, and every public name that is without a rendered docstring.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import griffe

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "site"
FETCHED = ("link", "script", "img", "iframe", "source", "video", "audio", "object")
# what the theme's script fetches from the network when a page has it
NEEDS_NETWORK = ("mermaid", "pyodide", "glightbox")
OUTSIDE = re.compile(r"(?:@import\s+|url\()[\"']?(?:https?:)?//[^\"')\s]+")


class Page(HTMLParser):
    """The anchors of a page, what it links to, what it fetches, and the text of each section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.classes: set[str] = set()
        self.texts: dict[str, str] = {}  # anchor of a heading -> text up to the next one
        self._heading = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take down what an element says."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        self.classes |= set(values.get("class", "").split())
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in FETCHED and values.get("rel") not in ("canonical", "next", "prev"):
            self.fetched += [values[name] for name in ("src", "href", "data") if name in values]
        if re.fullmatch("h[1-6]", tag):
            self._heading = values.get("id", "")

    def handle_data(self, data: str) -> None:
        """Take down text."""
        self.texts[self._heading] = self.texts.get(self._heading, "") + data


def main() -> int:
    """Print every fault and a count; the exit status is 1 where there is a fault."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(SITE.rglob("*.html"))}
    faults = [*dead_links(pages), *outside_requests(pages)]
    names = dict(public_names())
    missing = [name for name, text in names.items() if not is_rendered(name, text, pages)]
    faults += [f"{name} has no rendered docstring" for name in missing]
    for fault in faults:
        sys.stdout.write(f"error: {fault}\n")
    n_links = sum(len(page.links) for page in pages.values())
    sys.stdout.write(
        f"{len(pages)} pages, {n_links} links, {len(names)} public names, "
        f"{len(missing)} without a rendered docstring, {len(faults)} faults\n"
    )
    return 1 if faults else 0


def dead_links(pages: dict[Path, Page]) -> Iterator[str]:
    """Links to files or anchors that are not there."""
    for path, page in pages.items():
        if path.name == "404.html":  # a server's page, with links from its root
            continue
        for link in {*page.links, *page.fetched}:
            target, anchor = urldefrag(link)
            if urlparse(target).scheme or target.startswith("//"):
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                yield f"{path.relative_to(SITE)}: {link} leads to no file"
            elif anchor and file in pages and unquote(anchor) not in pages[file].anchors:
                yield f"{path.relative_to(SITE)}: {link} leads to no anchor"


def outside_requests(pages: dict[Path, Page]) -> Iterator[str]:
    """What opening a page would fetch from the network."""
    for path, page in pages.items():
        name = path.relative_to(SITE)
        for link in page.fetched:
            if link.startswith(("http:", "https:", "//")):
                yield f"{name}: fetches {link}"
        for word in page.classes.intersection(NEEDS_NETWORK):
            yield f"{name}: class {word} makes the theme fetch a script"
        for found in OUTSIDE.findall(path.read_text(encoding="utf-8")):
            yield f"{name}: {found}"
    for path in SITE.rglob("*.css"):
        for found in OUTSIDE.findall(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(SITE)}: {found}"


def public_names() -> Iterator[tuple[str, str]]:
    """Each public name, member and field, with the first words of its docstring."""
    package = griffe.load("colmodern", search_paths=[ROOT], resolve_aliases=True)
    listed = re.findall(
        r"^::: (\S+)",
        "".join(path.read_text() for path in sorted((ROOT / "docs/reference/api").glob("*.md"))),
        flags=re.MULTILINE,
    )
    exported = [f"colmodern.{name}" for name in package.exports or ()]
    for path in dict.fromkeys([*exported, *listed]):
        thing = package[path.removeprefix("colmodern.")]
        yield path, _first_words(thing)
        if not thing.is_class:
            continue
        described = _described(thing)
        for name, member in thing.all_members.items():
            if name.startswith("_") or member.is_module or member.is_imported:
                continue
            if name in described:
                yield f"{path}:{name}", described[name]
            else:
                yield f"{path}.{name}", _first_words(member)


def _described(thing: griffe.Object | griffe.Alias) -> dict[str, str]:
    """The fields that a class's own docstring describes, with the first words on each."""
    sections = thing.docstring.parse("google") if thing.docstring else []
    kinds = (griffe.DocstringSectionAttributes, griffe.DocstringSectionParameters)
    found = [item for section in sections if isinstance(section, kinds) for item in section.value]
    return {item.name: _words(item.description) for item in found}


def _first_words(thing: griffe.Object | griffe.Alias) -> str:
    return _words(thing.docstring.value.partition("\n")[0]) if thing.docstring else ""


def _words(text: str) -> str:
    """The first three words, as a page shows them."""
    return " ".join(re.sub(r"[`*\[\]]", "", text).split()[:3])


def is_rendered(name: str, words: str, pages: dict[Path, Page]) -> bool:
    """Whether the section of a name has the first words of its docstring.

    A field is "class:field": its words are in the section of its class.
    """
    owner, _, field = name.partition(":")
    texts = [" ".join(page.texts.get(owner, "").split()) for page in pages.values()]
    return bool(words) and any(words in text and field in text for text in texts)


if __name__ == "__main__":
    sys.exit(main())
