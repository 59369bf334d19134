from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern.config.load import load_eval_config
from colmodern.config.read import merge, read_values
from colmodern.errors import ConfigError


def write(tmp_path: Path, **files: str) -> None:
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".yaml").write_text(text)


def test_a_file_wins_over_what_it_extends_key_by_key(tmp_path: Path) -> None:
    write(
        tmp_path,
        models__m="encoder: {model: m, query_length: 32, skiplist: [a, b]}\n",
        shared="search: {k: 200}\nencoder: {query_length: 48}\n",
        mine="extends: [models/m.yaml, shared.yaml]\nencoder: {document_length: 300, skiplist: [c]}\n",
    )
    config = load_eval_config(tmp_path / "mine.yaml", ["search.k=150"])
    assert (config.name, config.encoder.model, config.search.k) == ("mine", "m", 150)
    assert config.encoder.settings() == {
        "query_length": 48,
        "document_length": 300,
        "skiplist": ("c",),
    }


def test_paths_are_relative_to_the_file_they_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a__base="search: {k: 7}\n", a__middle="extends: base.yaml\n")
    write(tmp_path, b__mine="extends: ../a/middle.yaml\n")
    monkeypatch.chdir("/")
    assert read_values(tmp_path / "b" / "mine.yaml") == {"search": {"k": 7}}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"mine": "extends: mine.yaml\n"}, r"mine\.yaml extends .*mine\.yaml: a circle"),
        (
            {"mine": "extends: other.yaml\n", "other": "extends: [mine.yaml]\n"},
            r"mine\.yaml extends .*other\.yaml extends .*mine\.yaml: a circle",
        ),
        ({"mine": "extends: gone.yaml\n"}, r"mine\.yaml: extends: there is no file .*gone\.yaml"),
        ({"mine": "extends: {a: 1}\n"}, "is neither a path nor a list of paths"),
        ({"mine": "extends: other.yaml\n", "other": "- 1\n"}, r"other\.yaml holds list"),
    ],
)
def test_what_cannot_be_extended_is_named(tmp_path: Path, files: dict, message: str) -> None:
    write(tmp_path, **files)
    with pytest.raises(ConfigError, match=message):
        read_values(tmp_path / "mine.yaml")


def test_the_same_file_can_be_extended_on_two_ways(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="search: {k: 7}\n",
        a="extends: base.yaml\n",
        b="extends: base.yaml\nname: b\n",
        mine="extends: [a.yaml, b.yaml]\n",
    )
    assert read_values(tmp_path / "mine.yaml") == {"search": {"k": 7}, "name": "b"}


def test_settings_of_another_kind_replace_and_an_empty_value_keeps() -> None:
    plaid = {"index": {"kind": "plaid", "nbits": 2}, "sets": {"a": {"x": 1}}}
    assert merge(plaid, {"index": {"kind": "exact"}})["index"] == {"kind": "exact"}
    assert merge(plaid, {"index": {"nbits": 4}})["index"] == {"kind": "plaid", "nbits": 4}
    assert merge(plaid, {"sets": {"a": None, "b": None}})["sets"] == {"a": {"x": 1}, "b": None}


nested = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
settings = st.dictionaries(st.sampled_from("abc"), nested, max_size=3)


@given(settings, settings)
def test_merging_changes_neither_and_again_changes_nothing(one: dict, two: dict) -> None:
    before = repr((one, two))
    merged = merge(one, two)
    assert merge(merged, two) == merged
    assert merge({}, one) == one == merge(one, {})
    assert repr((one, two)) == before
