"""Tables, pictures and the page of a sweep whose numbers are made by hand."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from colmodern.evaluation.significance import Estimate
from colmodern.evaluation.sweep import LengthPoint, Sweep, SweepPoint
from colmodern.report import sweep_pictures
from colmodern.report.sweep_page import SweepPage, render_sweep
from colmodern.report.sweep_tables import (
    best_table,
    essentials,
    fixed_settings,
    lengths_table,
    points_table,
)

# bits, probes -> quality, ms, bytes a token
FOUND = {
    (1, 4): (0.30, 1.0, 20.0),
    (1, None): (0.32, 2.0, 20.0),
    (4, 4): (0.31, 2.5, 70.0),
    (4, None): (0.40, 3.0, 70.0),
}


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.05, value + 0.05)


def sweep_of(n_lengths: int = 2) -> Sweep:
    points = [
        SweepPoint(
            settings={"nbits": nbits, "nprobe": nprobe, "pool_factor": 1, "document_length": 64},
            is_exact=False,
            cut_share=0.0,
            measures={"nDCG@10": estimate(quality)},
            exact={"nDCG@10": 0.41},
            overlap={"overlap@10": 0.9},
            difference=estimate(quality - 0.41),
            latency_ms=(ms, 2 * ms),
            n_tokens=1000,
            n_bytes=int(1000 * size),
            bytes_per_token=size,
            build_seconds=1.0,
        )
        for (nbits, nprobe), (quality, ms, size) in FOUND.items()
    ]
    lengths = [
        LengthPoint(length, "stored", 1, 0.25, estimate(0.2 + length / 1000), estimate(-0.1))
        for length in (32, 64)
    ]
    return Sweep(
        "mine",
        "<b>a set</b>",
        "nDCG@10",
        points,
        lengths[:n_lengths],
        "exact search",
        estimate(0.41),
    )


def test_fronts_are_marked_and_numbers_are_those_of_all_points() -> None:
    sweep = sweep_of()
    assert sweep.fronts == [(True, False), (True, True), (False, False), (True, True)]
    every, best = points_table(sweep), best_table(sweep)
    column = every.header.index("best for")
    assert [row[column].text for row in every.rows] == ["ms", "both", "", "both"]
    assert [row[0].text for row in best.rows] == ["4", "2", "1"]  # the best first
    assert best.rows[0] == every.rows[3]
    assert not any(cell.is_better for row in every.rows for cell in row)  # no bold without a test


def test_what_is_the_same_everywhere_is_said_once() -> None:
    sweep = sweep_of()
    assert fixed_settings(sweep) == "All points: length 64, pool 1."
    header = points_table(sweep).header
    assert list(header[:4]) == ["#", "bits", "nprobe", "nDCG@10"]
    assert "length" not in header
    short = essentials(sweep, points_table(sweep))
    assert short.header[-1] == "best for"
    assert {len(row) for row in short.rows} == {len(short.header)}


def test_the_table_of_lengths_says_what_is_approximate() -> None:
    texts = [[cell.text for cell in row] for row in lengths_table(sweep_of()).rows]
    assert texts[0] == [
        "32",
        "stored",
        "1",
        "0.2320",
        "0.1820 to 0.2820",
        "-0.1000",
        "-0.1500 to -0.0500",
        "25.0%",
    ]
    assert lengths_table(sweep_of(0)).rows == []


def test_a_picture_on_white_has_pale_lines_and_leaves_the_page_s_colours() -> None:
    from matplotlib.image import imread

    figure = sweep_pictures.pareto_picture(sweep_of(), "latency")
    before = sweep_pictures.as_svg(figure)
    pixels = imread(io.BytesIO(sweep_pictures.as_png(figure)))[..., :3]
    assert np.mean(pixels.max(axis=2) < 0.2) < 0.02  # letters, the frame; a dark grid adds to them
    assert np.mean(np.abs(pixels - np.array([0xDD, 0xE2, 0xEA]) / 255).max(axis=2) < 0.03) > 0.01
    assert sweep_pictures.as_svg(figure) == before


@pytest.mark.parametrize("cost", ["latency", "bytes"])
def test_pictures_are_svg_in_the_colours_of_the_page(cost: sweep_pictures.Cost) -> None:
    text = sweep_pictures.as_svg(sweep_pictures.pareto_picture(sweep_of(), cost))
    assert ET.fromstring(text).tag.endswith("svg")
    assert "currentColor" in text
    assert "#010203" not in text
    assert "width=" not in text.split(">")[0]
    front = {"latency": ["1", "2", "4"], "bytes": ["2", "4"]}[cost]
    words = [element.text for element in ET.fromstring(text).iter() if element.text]
    assert all(words.count(number) for number in front)
    assert {"1 bit", "4 bits", "exact search", "nDCG@10"} <= set(words)
    assert text == sweep_pictures.as_svg(sweep_pictures.pareto_picture(sweep_of(), cost))  # no date


def test_a_line_of_cuts_ends_in_the_encoding_that_they_are_cut_from() -> None:
    sweep = sweep_of()
    whole = LengthPoint(None, "encode", 1, 0.0, estimate(0.4), estimate(0.0))
    studied = replace(sweep, lengths=[*sweep.lengths, whole])
    words = ET.fromstring(sweep_pictures.as_svg(sweep_pictures.length_picture(studied)))
    texts = [element.text for element in words.iter() if element.text]
    assert {"32", "64", "all", "cut from stored embeddings"} <= set(texts)
    assert "encoded at each length" not in texts


def test_the_page_is_whole_in_itself_and_escapes_what_it_is_given() -> None:
    sweep = sweep_of()
    svg = sweep_pictures.as_svg(sweep_pictures.length_picture(sweep))
    page = render_sweep(SweepPage(sweep, {"config": {"name": "mine"}}, {"cost": svg}, svg))
    assert "&lt;b&gt;a set" in page
    assert "<b>a set" not in page
    assert "<script" not in page
    assert "4 points" in page
    without = render_sweep(SweepPage(sweep_of(0), {"config": {"name": "mine"}}))
    assert "<svg" not in without
    assert "Document length" not in without
