from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from sluice.release import report_charts

STEPS = [("20 %", {"total_p50_ms": 800.0, "total_p95_ms": 1100.0}, {"total_p50_ms": 700.0}), ("50 %", {}, {})]
WEIGHTS = [[0, 0], [1, 20], [9, 50]]
MARKS = [(2.0, 6.0, "passed", True), (10.0, 5.0, "failed", False)]

DRAWN = {
    "distribution": lambda: report_charts.distribution("shift", [("short", 0.4, 0.6), ("long", 0.6, 0.4)]),
    "loss": lambda: report_charts.loss([[n, 3 - n / 10] for n in range(20)]),
    "latency": lambda: report_charts.latency(STEPS),
    "weights": lambda: report_charts.weights(WEIGHTS, MARKS),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_one_well_formed_svg_that_repeats_byte_for_byte(name: str) -> None:
    svg = DRAWN[name]()
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert DRAWN[name]() == svg


@pytest.mark.parametrize("name", DRAWN)
def test_every_colour_comes_from_the_page(name: str) -> None:
    svg = DRAWN[name]()
    assert "var(--" in svg
    # Matplotlib hides elements of no colour; a fixed one would vanish on one of the pages.
    assert not re.findall(r"(?:fill|stroke): ?#[0-9a-f]{6}", svg)
    assert "<metadata>" not in svg


def test_ids_of_two_pictures_do_not_meet() -> None:
    ids = [set(re.findall(r' id="([^"]+)"', draw())) for draw in DRAWN.values()]
    assert sum(map(len, ids)) == len(set().union(*ids))


def test_texts_are_text_and_escaped() -> None:
    svg = report_charts.distribution("shift", [("a<b", 0.5, 0.5)])
    assert ">a&lt;b</text>" in svg


def test_a_single_zero_value_can_be_drawn() -> None:
    assert report_charts.distribution("shift", [("all", 0.0, 0.0)])
    assert report_charts.loss([[1, 2.0]])
    assert report_charts.weights([[0, 20]], [])
