"""The page /docs: the paths of the service, written from its OpenAPI description."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_METHODS = ("get", "post", "put", "delete")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; }}
th {{ border-bottom: 1px solid; }}
code {{ font-family: ui-monospace, monospace; }}
td:first-child {{ white-space: nowrap; }}
h2 {{ overflow-wrap: anywhere; }}
section {{ border-top: 1px solid #8886; margin-top: 2rem; }}
</style></head><body>
<h1>{title}</h1>
<p>{about} <a href="openapi.json">The same for programs.</a></p>
{sections}
</body></html>
"""


def reference_page(description: Mapping[str, Any]) -> str:
    """The page of an OpenAPI description: every path with its fields and answers."""
    info, schemas = description["info"], description.get("components", {}).get("schemas", {})
    operations = [
        (path, method, methods[method])
        for path, methods in description["paths"].items()
        for method in _METHODS
        if method in methods
    ]
    sections = "\n".join(
        "\n".join(_operation(path, method, operation, schemas))
        for path, method, operation in operations
    )
    title = escape(f"{info['title']} {info['version']}")
    return _PAGE.format(title=title, about=escape(info.get("description", "")), sections=sections)


def _operation(
    path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, object]
) -> Iterator[str]:
    yield f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>"
    yield f"<p>{escape(operation.get('description', operation.get('summary', '')))}</p>"
    for parameter in operation.get("parameters", ()):
        about = escape(parameter.get("description", ""))
        yield f"<p>In the {parameter['in']}: <code>{escape(parameter['name'])}</code>. {about}</p>"
    body = _schema_of(operation.get("requestBody", {}))
    if body:
        yield "<h3>Body</h3>"
        yield from _fields(body, schemas, has_defaults=True)
    answer = _schema_of(operation.get("responses", {}).get("200", {}))
    if answer:
        yield "<h3>Answer</h3>"
        yield from _fields(answer, schemas, has_defaults=False)
    yield "</section>"


def _schema_of(content: Mapping[str, Any]) -> Mapping[str, object]:
    schema: Mapping[str, object] = (
        content.get("content", {}).get("application/json", {}).get("schema", {})
    )
    return schema


def _fields(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], *, has_defaults: bool
) -> Iterator[str]:
    """Tables of a schema's fields, and of those of the schemas that it names."""
    waiting, names = [schema], set[str]()
    while waiting:
        current = waiting.pop(0)
        name = _name(current)
        if name in names:
            continue
        names.add(name)
        resolved = schemas.get(name, current)
        waiting += _inner(resolved)
        properties = resolved.get("properties")
        if not properties:
            continue
        yield f"<h4>{escape(name)}</h4>" if len(names) > 1 and name else ""
        columns = ["field", "value", *(["default"] if has_defaults else []), "meaning"]
        yield "<table><tr>" + "".join(f"<th>{column}</th>" for column in columns) + "</tr>"
        for key, value in properties.items():
            default = json.dumps(value.get("default"))
            cells = [f"<code>{escape(key)}</code>", escape(_type(value))]
            if has_defaults:
                is_required = key in resolved.get("required", ())
                cells.append("required" if is_required else f"<code>{escape(default)}</code>")
            cells.append(escape(value.get("description", "")))
            yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        yield "</table>"


def _inner(schema: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Schemas that a schema names, at any depth of its own text."""
    references = [schema] if "$ref" in schema else []
    for value in schema.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Mapping):
                references += [{"$ref": item["$ref"]}] if "$ref" in item else _inner(item)
    return references


def _name(schema: Mapping[str, object]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _name(schema)
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " | ".join(dict.fromkeys(map(_type, options)))
    kind = str(schema.get("type", "any"))
    return f"list of {_type(schema['items'])}" if kind == "array" and "items" in schema else kind
