"""Mutations of valid files for fuzz_files.py: of JSON values, lines, YAML, gzip and bytes."""

from __future__ import annotations

import copy
import gzip
import json
import random
import string
from collections.abc import Callable
from typing import Any

import yaml

from colmodern.files import sha256_of_json

_SPECIAL: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        1.0,
        0.5,
        -0.0,
        1e308,
        10**12,
        2**31,
        2**63,
        2**64,
        10**30,
        -(10**400),
    ),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        " ",
        "x",
        "1",
        "nan",
        "true",
        "\ud800",
        "\udfff",
    ),
    *(
        "\0",
        "a\0b",
        "\u2028",
        "\x85",
        "\x1b[31m",
        "\u202e",
        "x" * 300,
        "x" * 70_000,
        "../..",
        "/",
        ".",
    ),
    *("~nosuchuser/x", "/dev/zero", "/dev/stdin", "/proc/self/mem", [], {}, [[]], [None], {"": 0}),
    *(
        {"x": {"x": {}}},
        ["a", 1, None],
        "2020-01-01",
        "1e5",
        "1_000",
        "0x10",
        "99999999999G",
        "-1G",
    ),
)


_KEYS = (
    *[
        "name",
        "dataset",
        "dataset.name",
        "dataset.split",
        "dataset.files",
        "dataset.files.0",
        "encoder",
    ],
    *["encoder.model", "encoder.model.x", "encoder.query_length", "encoder.document_length"],
    *[
        "encoder.query_prompt",
        "encoder.skiplist",
        "index",
        "index.kind",
        "index.nbits",
        "search",
        "search.k",
    ],
    *[
        "measures",
        "measures.0",
        "measures.99",
        "measures.-1",
        "output",
        "storage",
        "storage.dtype",
        "sets",
        "sweep",
    ],
    *[
        "sweep.nbits",
        "data",
        "data.0",
        "data.0.path",
        "loss",
        "optimisation",
        "optimisation.steps",
        "pairs",
    ],
    *["negatives.number", "teacher", "seed", "device", "extends", "name.x", "a.b.c", ".", ".."],
)


def random_override(rng: random.Random) -> str:
    """A key and a value, both of any kind."""
    key = rng.choice(_KEYS) if rng.random() < 0.8 else random_text(rng)
    value = rng.choice(_SPECIAL)
    if rng.random() < 0.6:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    else:
        text = random_text(rng)
    override = f"{key}={text}" if rng.random() < 0.95 else text
    if rng.random() < 0.1:
        override = f"{key}={'[' * rng.randrange(1, 3000)}"
    return override


def random_text(rng: random.Random) -> str:
    """Letters, marks that mean something to parsers, and characters that few expect."""
    pool = string.printable + "\0\x1b\x85\u2028\u202e\ud800é👩‍👩‍👧" + "&*!|>%@`{}[]:,#'\"\\=~" * 3
    return "".join(rng.choices(pool, k=rng.choice((1, 3, 10, 40, 400))))


def mutated(content: bytes, form: str, rng: random.Random, *, is_sealed: bool = False) -> bytes:
    """Another content of a file, by one to three changes of its form or its bytes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        selected = form if rng.random() < 0.75 else "bytes"
        try:
            content = _FORMS[selected](content, rng, is_sealed)
        except Exception:  # an earlier change left nothing of that form
            content = _bytes(content, rng, is_sealed)
    return content


def _value(value: Any, rng: random.Random) -> Any:
    """A JSON value with one thing in it changed."""
    paths: list[tuple[Any, ...]] = []

    def walk(inner: Any, at: tuple[Any, ...]) -> None:
        if isinstance(inner, dict | list) and len(paths) < 5000:
            for key, item in inner.items() if isinstance(inner, dict) else enumerate(inner):
                paths.append((*at, key))
                walk(item, (*at, key))

    walk(value, ())
    if not paths or rng.random() < 0.03:
        return rng.choice(_SPECIAL)
    value = copy.deepcopy(value)
    path, inner = rng.choice(paths), value
    for key in path[:-1]:
        inner = inner[key]
    last, change = path[-1], rng.randrange(8)
    if change == 0:
        del inner[last]
    elif change == 1:
        if isinstance(inner, dict):
            inner[random_text(rng)] = inner[last]
        else:
            inner.append(copy.deepcopy(inner[last]))
    elif change == 2:
        nested: Any = inner[last]
        for _ in range(rng.choice((1, 3, 500))):
            nested = [nested] if rng.random() < 0.5 else {"x": nested}
        inner[last] = nested
    elif change == 3 and isinstance(inner[last], int | float):
        inner[last] = inner[last] * rng.choice((-1, 2, 0.5, 10**9)) + rng.choice((-1, 0, 1))
    elif change == 4 and isinstance(inner[last], str):
        text = inner[last]
        at = rng.randrange(len(text) + 1)
        inner[last] = text[:at] + random_text(rng) + text[at:]
    elif change == 5:
        inner[last] = copy.deepcopy(_at(value, rng.choice(paths)))
    else:
        inner[last] = copy.deepcopy(rng.choice(_SPECIAL))
    return value


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _dumped(value: Any, rng: random.Random) -> bytes:
    text = json.dumps(value, ensure_ascii=rng.random() < 0.7)
    return text.encode(errors="surrogatepass")


def _json(content: bytes, rng: random.Random, is_sealed: bool) -> bytes:
    value = _value(json.loads(content), rng)
    if is_sealed and isinstance(value, dict) and rng.random() < 0.7:
        seal, unsealed = (
            ("sha256", {"format", "version"}) if "sha256" in value else ("checksum", set())
        )
        body = {key: value[key] for key in value.keys() - {*unsealed, seal}}
        value[seal] = sha256_of_json(body)
    return _dumped(value, rng)


def _jsonl(content: bytes, rng: random.Random, is_sealed: bool) -> bytes:
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    if rng.random() < 0.3:
        return _lines(content, rng, is_sealed)
    lines[at] = _dumped(_value(json.loads(lines[at]), rng), rng)
    return b"\n".join(lines)


def _lines(content: bytes, rng: random.Random, is_sealed: bool) -> bytes:
    lines = content.split(b"\n")
    at, change = rng.randrange(len(lines)), rng.randrange(7)
    words = lines[at].replace(b"\t", b" ").split(b" ")
    separator = b"\t" if b"\t" in lines[at] else b" "
    strange = str(rng.choice(_SPECIAL)).encode(errors="surrogatepass")
    if change == 0:
        words[rng.randrange(len(words))] = strange
    elif change == 1:
        del words[rng.randrange(len(words))]
    elif change == 2:
        words.insert(rng.randrange(len(words) + 1), random_text(rng).encode(errors="surrogatepass"))
    elif change == 3:
        return b"\n".join([*lines[:at], lines[at], *lines[at:]])
    elif change == 4:
        return content.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\xe2\x80\xa8", b"\n\n")))
    elif change == 5:
        return b"\n".join(lines[at:] + lines[:at])
    else:
        separator = rng.choice((b"\t", b"  ", b",", b"\xc2\xa0", b"\0"))
    lines[at] = separator.join(words)
    return b"\n".join(lines)


def _yaml(content: bytes, rng: random.Random, is_sealed: bool) -> bytes:
    if rng.random() < 0.2:
        marks = (
            b"&a ",
            b"*a",
            b"!!python/object:os.system ",
            b"<<: ",
            b"? ",
            b"- ",
            b"%",
            b"---\n",
            b"\t",
        )
        at = rng.randrange(len(content) + 1)
        return content[:at] + rng.choice(marks) + content[at:]
    value = _value(yaml.safe_load(content), rng)
    if rng.random() < 0.5:
        return _dumped(value, rng)
    return yaml.safe_dump(value, allow_unicode=True).encode(errors="surrogatepass")


def _gz(content: bytes, rng: random.Random, is_sealed: bool) -> bytes:
    if rng.random() < 0.5:
        return _bytes(content, rng, is_sealed)
    inner = gzip.decompress(content)
    return gzip.compress(
        (_jsonl if inner.startswith(b"{") else _lines)(inner, rng, is_sealed), mtime=0
    )


def _bytes(content: bytes, rng: random.Random, is_sealed: bool) -> bytes:
    at, change = rng.randrange(len(content) + 1), rng.randrange(7)
    if change == 0:
        return content[:at]
    if change == 1 and at < len(content):
        return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    if change == 2:
        return content[:at] + rng.randbytes(rng.choice((1, 4, 100))) + content[at:]
    if change == 3:
        return content[:at] + content[at + rng.choice((1, 5, 50)) :]
    if change == 4:
        return content[:at] + content[rng.randrange(len(content) + 1) :]
    if change == 5:
        return rng.choice((b"", b"\0", b"\xef\xbb\xbf", b"\xff\xfe")) + content * rng.randrange(3)
    mark = rng.choice(
        (b"{", b"[", b'"', b"}", b"]", b",", b":", b"\n", b"\\ud800", b"1e999", b"NaN")
    )
    return content[:at] + mark * rng.choice((1, 1, 2, 5000)) + content[at:]


_FORMS: dict[str, Callable[[bytes, random.Random, bool], bytes]] = {
    "json": _json, "jsonl": _jsonl, "lines": _lines, "yaml": _yaml, "gz": _gz, "bytes": _bytes,
}  # fmt: skip
