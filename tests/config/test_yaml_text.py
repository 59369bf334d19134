from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.config.expected import load_expected
from colmodern.config.load import load_eval_config, parse_overrides
from colmodern.config.read import read_values
from colmodern.config.suite import load_suite
from colmodern.config.sweep import load_sweeps
from colmodern.config.yaml_text import MAX_NODES, parse_yaml
from colmodern.errors import ConfigError

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
KEYS = "".join(f"? *a9\n: {i}\n" for i in range(2))


def parse(text: str) -> object:
    return parse_yaml(text, "text", ConfigError)


def test_aliases_within_bounds_are_read() -> None:
    assert parse("a: &a {k: 1}\nb: *a\nc: {<<: *a, d: 2}\n") == {
        "a": {"k": 1},
        "b": {"k": 1},
        "c": {"k": 1, "d": 2},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{BOMB}measures: *a9\n", "more than 10,000 keys and values, aliases spelt out"),
        (f"{BOMB}{KEYS}", "more than 10,000 keys and values"),
        ("".join(f"k{i}: 1\n" for i in range(20_000)), "more than 10,000 keys and values"),
        ("a: &a [*a]\n", "an alias stands inside of what it stands for"),
        ("&a {b: *a}\n", "an alias stands inside of what it stands for"),
        ("[" * 5000, "nested more than 50 levels deep"),
        ("- " * 5000, "nested more than 50 levels deep"),
        ("a: 1\na: 2\n", "the key 'a' is given twice"),
        ("{1: a, 1: b}", "the key 1 is given twice"),
        ('a: "\\ud800"\n', "half a surrogate pair"),
        ('"a\\0": 1\n', "NUL"),
        ("a: !!int x\n", "a value cannot be read"),
        ("a: 2024-13-01\n", "a value cannot be read"),
        (f"a: {'9' * 5000}\n", "a value cannot be read"),
        ("a: !!python/object:os.system x\n", "is not valid YAML"),
        ("? [a]\n: 1\n", "unhashable"),
        ("a: *nowhere\n", "undefined alias"),
        ("a: " + "x" * (1 << 20), "characters, above"),
    ],
)
def test_what_is_beyond_bounds_or_no_yaml_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("host: [\nport: 1\n", "line 3, column 1: .*line 1, column 7; a bracket, quote or indent"),
        ("a: b: c\n", "line 1, column 5: mapping values are not allowed here; change it there"),
        ("a: \x07\n", "at position 3; take the character out"),
    ],
)
def test_a_fault_of_syntax_is_one_line_with_file_place_and_cure(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"is not valid YAML: .*{words}") as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_as_many_values_as_the_bound_are_read() -> None:
    parsed = parse("[" + "x," * (MAX_NODES - 1) + "]")
    assert isinstance(parsed, list)
    assert len(parsed) == MAX_NODES - 1


@pytest.mark.parametrize("load", [read_values, load_eval_config, load_expected])
def test_every_config_is_bounded(tmp_path: Path, load) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"{BOMB}measures: *a9\n")
    for read in (load, lambda path: load_suite([path]), lambda path: load_sweeps([path])):
        with pytest.raises(ConfigError, match=r"a\.yaml is not valid YAML: .*more than"):
            read(path)
    with pytest.raises(ConfigError, match="cannot read /dev/zero: it is a device"):
        load(Path("/dev/zero"))


def test_files_that_extend_each_other_twice_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "0.yaml").write_text("a: 1\n")
    for i in range(1, 40):
        (tmp_path / f"{i}.yaml").write_text(f"extends: [{i - 1}.yaml, {i - 1}.yaml]\n")
    with pytest.raises(ConfigError, match=r"39\.yaml: extends leads to more than 200 files"):
        read_values(tmp_path / "39.yaml")
    assert read_values(tmp_path / "3.yaml") == {"a": 1}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("a=" + "[" * 100, "nested more than 50"),
        (".".join("a" * 100) + "=1", "levels deep"),
        ("a=" + "x" * 2_000_000, "characters, above"),
        ("a\udc80", "is not of the form"),
        ("a=\0", "is not valid YAML"),
    ],
)
def test_overrides_are_bounded_and_their_faults_short(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_overrides([override])
    assert len(str(caught.value)) < 1000
    str(caught.value).encode()


def test_a_message_lists_the_first_faults_and_counts_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "".join(f"key{i}: 1\n" for i in range(4000)) + 'measures: "' + "x" * 9999 + '"\n'
    )
    with pytest.raises(ConfigError, match="more faults") as caught:
        load_eval_config(path)
    assert len(str(caught.value)) < 20_000


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("output: ~nosuchuser/x", "output: .*there is no such user"),
        (f"max_memory: {'9' * 400}G", "max_memory=.* is not a size"),
        ("sweep: {nprobe: [%s], n_candidates: [%s]}", "sweep: 1,000,000 combinations, above"),
    ],
)
def test_values_without_end_are_refused(tmp_path: Path, setting: str, words: str) -> None:
    many = ",".join(map(str, range(1000, 2000)))
    text = setting.replace("%s", many)
    path = tmp_path / "a.yaml"
    kind = "index: {kind: plaid}\nsearch: {k: 100}" if "sweep" in setting else "sweep: {nbits: [4]}"
    path.write_text(f"encoder: {{model: m}}\n{kind}\n{text}\n")
    with pytest.raises(ConfigError, match=words):
        load_sweeps([path])
