from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from colmodern.evaluation.pareto import pareto_front

# few different values, so that many are equal: cost, quality, tie
POINTS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=12)


def beats(point: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    """Whether the first is nowhere worse and somewhere better; equal in both, by its tie."""
    if point[:2] == other[:2]:
        return point[2] < other[2]
    return point[0] <= other[0] and point[1] >= other[1]


@given(POINTS)
def test_the_front_is_what_nobody_beats(points: list[tuple[int, int, int]]) -> None:
    front = pareto_front(*([point[i] for point in points] for i in range(3)))
    assert front == [not any(beats(other, point) for other in points) for point in points]
