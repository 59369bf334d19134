from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import unit_rows
from hypothesis import given
from hypothesis import strategies as st

from colmodern.kernels.cuda import launches
from colmodern.kernels.cuda.lanes import blocks_of, lanes_for, pad_queries

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLMODERN_CACHE", str(tmp_path))
    monkeypatch.setattr(launches, "version", lambda package: "1")
    launches._tuned.cache_clear()
    yield tmp_path
    launches._tuned.cache_clear()


def test_the_fastest_launch_is_kept_for_later_processes(cache: Path) -> None:
    assert launches.launch_of("scan_codes", CPU) == launches.LAUNCHES["scan_codes"][0]
    times = iter([3.0, 2.0, 0.5, 4.0, 1.0])
    tried = []

    def timed(work: object) -> float:
        tried.append(launches.launch_of("scan_codes", CPU))
        return next(times)

    assert (
        launches.tune("scan_codes", CPU, lambda: None, timed) == launches.LAUNCHES["scan_codes"][2]
    )
    assert tuple(tried) == launches.LAUNCHES["scan_codes"]
    launches._tuned.cache_clear()  # as in another process
    assert launches.launch_of("scan_codes", CPU) == launches.LAUNCHES["scan_codes"][2]
    assert launches.launch_of("maxsim_few", CPU) == launches.LAUNCHES["maxsim_few"][0]


def test_launches_too_large_for_the_gpu_are_passed_over(cache: Path) -> None:
    def timed(work: object) -> float:
        if launches.launch_of("score_decoded", CPU) == launches.LAUNCHES["score_decoded"][0]:
            raise RuntimeError("out of resource: shared memory")
        return 1.0

    assert (
        launches.tune("score_decoded", CPU, lambda: None, timed)
        == (launches.LAUNCHES["score_decoded"][1])
    )


def test_another_error_while_tuning_changes_nothing(cache: Path) -> None:
    def timed(work: object) -> float:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        launches.tune("scan_codes", CPU, lambda: None, timed)
    assert launches.launch_of("scan_codes", CPU) == launches.LAUNCHES["scan_codes"][0]
    assert not list(cache.rglob("*.json"))


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"scan_codes": 99}', '{"scan_codes": "1"}', '{"x": 0}']
)
def test_a_damaged_file_of_launches_counts_as_none(cache: Path, content: str) -> None:
    path = launches._file(CPU)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert launches.launch_of("scan_codes", CPU) == launches.LAUNCHES["scan_codes"][0]


@given(
    n_docs=st.integers(1, 10**7),
    mean=st.floats(0, 9000),
    n_tiles=st.integers(1, 64),
    tokens=st.integers(1, 4096),
)
def test_programs_take_documents_but_not_all_of_them(
    n_docs: int, mean: float, n_tiles: int, tokens: int
) -> None:
    each = launches.per_program(n_docs, mean, n_tiles, tokens, CPU)
    assert each >= 1
    assert each == 1 or each * max(mean, 1) <= tokens
    n_programs = -(-n_docs // each) * n_tiles
    assert each == 1 or n_programs >= launches._PROGRAMS


@given(lengths=st.lists(st.integers(0, 150), max_size=5), dim=st.sampled_from([8, 48]))
def test_padded_queries_hold_their_tokens_and_zeros(lengths: list[int], dim: int) -> None:
    queries = unit_rows(lengths, dim, 0)
    padded = pad_queries(queries.values, queries.offsets)
    assert padded.shape == (len(lengths), lanes_for(max(lengths, default=0)), dim)
    for query, one in zip(queries, padded, strict=True):
        np.testing.assert_array_equal(one[: len(query)], query)
        assert not one[len(query) :].any()


@given(n_queries=st.integers(1, 9), lanes=st.sampled_from([16, 32, 64, 128, 192]))
def test_scores_of_blocks_are_those_of_queries(n_queries: int, lanes: int) -> None:
    for most in (32, 64):
        blocks = blocks_of(n_queries, lanes, most)
        assert blocks.n * blocks.lanes == n_queries * lanes
        scores = torch.arange(blocks.n * 3.0).reshape(blocks.n, 3)
        joined = blocks.join(scores)
        assert joined.shape == (n_queries, 3)
        assert float(joined.sum()) == float(scores.sum())
        constants = torch.arange(1.0, n_queries + 1)
        assert torch.equal(blocks.join(blocks.spread(constants)[:, None])[:, 0], constants)
