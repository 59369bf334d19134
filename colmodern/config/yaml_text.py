"""YAML that may come from anywhere: bounded in size, depth and what its aliases stand for."""

from __future__ import annotations

from typing import Any, NoReturn

import yaml

from colmodern.checks import shown, text_fault
from colmodern.errors import ColmodernError

MAX_BYTES = 1 << 20  # limit for a config; the longest suite has some 10 KB
MAX_NODES = 10_000  # keys and values, those that aliases repeat counted each time
MAX_DEPTH = 50  # settings inside settings


def parse_yaml(text: str, source: str, error: type[ColmodernError]) -> object:
    """The value that a YAML text holds.

    Args:
        text: at most MAX_BYTES characters are taken.
        source: what the text is of, as messages call it.
        error: the class to raise.

    Raises:
        ColmodernError: an ``error``, for text that is not YAML or beyond the limits, a key that
            is given twice, and a NUL or half of a surrogate pair in a value.
    """
    if len(text) > MAX_BYTES:
        raise error(f"{source} has {len(text):,} characters, above {MAX_BYTES:,}; shorten it")
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as fault:
        raise error(f"{source} is not valid YAML: {_reason(fault)}") from fault
    # the parser of a value that says what it is ("!!int x", "2024-13-01") raises whatever comes
    except Exception as fault:
        reason = str(fault)[:200] or type(fault).__name__
        raise error(f"{source} is not valid YAML: a value cannot be read ({reason})") from fault


def _reason(fault: yaml.YAMLError) -> str:
    """The parser's reason on one line, with the place in the text and a cure."""
    if not isinstance(fault, yaml.MarkedYAMLError) or fault.problem_mark is None:
        # a character that YAML does not allow
        reason = " ".join(str(fault).replace('in "<unicode string>", ', "at ").split())
        return f"{reason}; take the character out"
    mark, start = fault.problem_mark, fault.context_mark
    context = f" {fault.context}" if fault.context else ""
    if context and start is not None:
        context += f" that begins in line {start.line + 1}, column {start.column + 1}"
    where = f"line {mark.line + 1}, column {mark.column + 1}"
    cure = "a bracket, quote or indent may be missing above" if context else "change it there"
    return f"{where}: {fault.problem}{context}; {cure}"


_MERGE = (
    "tag:yaml.org,2002:merge"  # tag of the key "<<", which may stand with the keys that it merges
)


class _Loader(yaml.SafeLoader):
    """Counts nodes while they are composed, and refuses a key that is given twice."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._n_nodes = 0
        self._depth = 0
        self._sizes: dict[int, int] = {}  # id of a finished node -> number of nodes in it

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node; an alias counts as much as what it stands for."""
        event: object = self.peek_event()  # type: ignore[no-untyped-call]
        before = self._n_nodes
        is_alias = isinstance(event, yaml.AliasEvent)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse(f"it is nested more than {MAX_DEPTH} levels deep", event)
        self._n_nodes += 0 if is_alias else 1
        self._check_size(event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias:
            if id(node) not in self._sizes:
                self._refuse("an alias stands inside of what it stands for", event)
            self._n_nodes += self._sizes[id(node)]
            self._check_size(event)
        else:
            self._sizes[id(node)] = self._n_nodes - before
        if isinstance(node, yaml.ScalarNode):
            self._check_text(node.value, event)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """The mapping; YAML would keep the last of two equal keys."""
        seen: set[object] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                value = self.construct_object(key, deep=True)
                if value in seen:
                    self._refuse(f"the key {shown(value)} is given twice", key)
                seen.add(value)
        return super().construct_mapping(node, deep)

    def _check_size(self, at: object) -> None:
        if self._n_nodes > MAX_NODES:
            self._refuse(f"it has more than {MAX_NODES:,} keys and values, aliases spelt out", at)

    def _check_text(self, text: str, at: object) -> None:
        if fault := "has a NUL character" if "\0" in text else text_fault(text):
            self._refuse(f"a value {fault}", at)

    def _refuse(self, reason: str, at: Any) -> NoReturn:
        raise yaml.constructor.ConstructorError(None, None, reason, at.start_mark)
