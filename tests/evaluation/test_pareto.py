from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from colmodern.evaluation.pareto import pareto_front

# few different values, so that many are equal
POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


def beats(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether the first is nowhere worse and somewhere better; points are (cost, quality)."""
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(POINTS)
def test_the_front_is_what_nobody_beats(points: list[tuple[int, int]]) -> None:
    front = pareto_front([cost for cost, _ in points], [quality for _, quality in points])
    assert front == [not any(beats(other, point) for other in points) for point in points]
