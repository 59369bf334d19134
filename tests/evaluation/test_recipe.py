from __future__ import annotations

from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from colmodern.config.models import EvalConfig
from colmodern.evaluation.recipe import ABSENT, EFFECTS, Effect, diff, effect_of, shown


def fields_of(
    model: type[BaseModel], prefix: str, outer: tuple[type[BaseModel], ...] = ()
) -> set[str]:
    """Every key that a person can write, of every kind of a union; * for kinds inside themselves."""
    names = set()
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        if model in outer and model in inner:
            names.add(f"{prefix}{name}.*")
            continue
        for inner_type in inner:
            names |= fields_of(inner_type, f"{prefix}{name}.", (*outer, model))
        if not inner:
            names.add(prefix + name)
    return names


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The members of a type that have keys; a list of them is one value."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, BaseModel) else []
    if get_origin(annotation) is tuple:
        return []
    return [model for inner in get_args(annotation) for model in models_in(inner)]


def test_every_field_of_the_config_is_classified_and_no_other() -> None:
    assert fields_of(EvalConfig, "config.") == {f for f in EFFECTS if f.startswith("config.")}


def recipe(config: dict[str, Any] | None = None, **environment: Any) -> tuple[dict, dict]:
    return {"search": {"k": 100}, **(config or {})}, environment


def test_equal_recipes_have_no_difference() -> None:
    assert diff([recipe(python="3.11"), recipe(python="3.11")]) == []


def test_every_difference_is_listed_those_that_move_scores_first() -> None:
    first = recipe({"name": "a"}, python="3.11", hardware={"memory_gb": 8, "cores": 2})
    second = recipe(
        {"name": "b", "search": {"k": 10}}, python="3.12", hardware={"memory_gb": 4, "cores": 1}
    )
    assert [(change.field, change.values, change.effect) for change in diff([first, second])] == [
        ("config.search.k", ("100", "10"), Effect.SCORE),
        ("python", ("3.11", "3.12"), Effect.PERHAPS),
        ("hardware.cores", ("2", "1"), Effect.PERHAPS),
        ("config.name", ("a", "b"), Effect.NONE),
        ("hardware.memory_gb", ("8", "4"), Effect.NONE),
    ]


def test_of_three_runs_every_value_stands() -> None:
    [names] = diff([recipe(python="1"), recipe(python="2"), recipe()])
    assert names.values == ("1", "2", ABSENT)


def test_an_unknown_field_counts_as_one_that_decides_scores() -> None:
    assert effect_of("config.index.invented") is Effect.SCORE
    assert effect_of("packages.torch") is Effect.PERHAPS


@pytest.mark.parametrize("key", ["command", "started", "index"])
def test_places_and_times_are_no_difference(key: str) -> None:
    assert diff([recipe(**{key: "1"}), recipe(**{key: "2"})]) == []


def test_a_stage_made_elsewhere_is_told_once_with_the_stages() -> None:
    now, then = {"packages": {"torch": "2"}}, {"packages": {"torch": "1"}}
    stages = {"encode documents": then, "encode queries": then, "search": now}
    first = recipe(packages=now["packages"], stages=stages)
    second = recipe(packages=now["packages"], stages=dict.fromkeys(stages, now))
    [names] = diff([first, second])
    assert names.field == "packages.torch (encode documents, encode queries)"
    assert names.values == ("1", "2")
    # the run's own row says it for its stages
    third = recipe(packages=then["packages"], stages=dict.fromkeys(stages, then))
    assert [change.field for change in diff([third, second])] == ["packages.torch"]


def test_a_stage_that_only_one_run_has_is_no_difference_of_its_environment() -> None:
    here = {"python": "3.11"}
    first = recipe(**here, stages={"search": here})
    second = recipe(**here, stages={"search": here, "build index": {"python": "3.10"}})
    assert diff([first, second]) == []


def test_a_digest_is_shown_by_its_beginning() -> None:
    assert shown("0123456789abcdef" * 4) == "0123456789ab…"
    assert shown("sdpa") == "sdpa"
