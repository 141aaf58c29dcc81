"""Curves: their places on the axes, their lines in a terminal, and the drawing on the page about a run."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from browser import Browser
from made_up import demo

from ibench.api import report
from ibench.report.curves import HEIGHT, WIDTH, curve_lines, drawings
from ibench.report.tables import run_table
from ibench.results import samples_of, save
from ibench.scoring.intervals import Curve, Metric

DEMO = next((Path(__file__).parents[2] / "results").glob("digits-bind-*"))


def metric(value: float, half: float = 0.05) -> Metric:
    return Metric(value=value, low=value - half, high=value + half, n=9, method="made")


def curve(values: list[float], scores: list[float], name: str = "top1", over: str = "shots") -> Curve:
    return Curve(metric=name, over=over, points=tuple(zip(values, map(metric, scores), strict=True)))


def test_places_are_linear_on_both_axes() -> None:
    (drawn,) = drawings([curve([0, 1, 2, 4, 8], [0.2, 0.3, 0.4, 0.5, 0.65])])
    assert not drawn.even
    (series,) = drawn.series
    assert [point.x for point in series.points] == [WIDTH * k / 8 for k in (0, 1, 2, 4, 8)]
    assert [tick.text for tick in drawn.across] == ["0", "1", "2", "4", "8"]
    low, high = (float(drawn.up[end].text) for end in (0, -1))
    assert low <= 15
    assert high >= 70
    for point, value in zip(series.points, (20, 30, 40, 50, 65), strict=True):
        assert point.y == pytest.approx(HEIGHT * (high - value) / (high - low), abs=0.1)
    for tick in drawn.up:
        assert tick.at == pytest.approx(HEIGHT * (high - float(tick.text)) / (high - low), abs=0.1)
    assert series.points[3].title == "shots 4: 50.0 [45.0, 55.0]"


def test_the_band_goes_along_the_upper_ends_and_back_along_the_lower() -> None:
    (drawn,) = drawings([curve([0, 1], [0.5, 0.5])])
    (series,) = drawn.series
    places = [tuple(map(float, place.split())) for place in series.band.strip("MZ").split("L")]
    assert [x for x, _ in places] == [0, WIDTH, WIDTH, 0]
    assert places[0][1] < series.points[0].y < places[3][1]
    assert series.band.endswith("Z")
    assert series.line.count("L") == 1


def test_values_too_close_stand_at_equal_distances() -> None:
    (drawn,) = drawings([curve([1, 2, 4, 8, 16, 32, 64], [0.5] * 7)])
    assert drawn.even
    assert [point.x for point in drawn.series[0].points] == [50.0 * place for place in range(7)]
    sweep = [place / 20 for place in range(21)]
    (drawn,) = drawings([curve(sweep, sweep, over="weight of the image")])
    assert not drawn.even  # close, but at equal distances as they are
    assert len(drawn.across) <= 9
    assert drawn.across[0].text == "0"


def test_curves_over_the_same_values_share_a_drawing_and_others_have_their_own() -> None:
    shares = [curve([0, 1], [0.1, 0.2], "recall@1"), curve([0, 1], [0.3, 0.4], "recall@5")]
    ranks = curve([0, 1], [3, 4], "median_rank")
    other = curve([0, 2], [0.1, 0.2], "recall@1")
    drawn = drawings([*shares, ranks, other])
    assert [[series.metric for series in one.series] for one in drawn] == [
        ["recall@1", "recall@5"],
        ["median_rank"],
        ["recall@1"],
    ]


def test_what_is_no_number_is_left_out_and_one_point_is_no_fault() -> None:
    points = ((0.0, metric(0.5)), (1.0, Metric(value=math.nan, low=-math.inf, high=math.inf, n=0, method="none")))
    (drawn,) = drawings([Curve(metric="top1", over="shots", points=points)])
    assert len(drawn.series[0].points) == 1
    (alone,) = drawings([curve([3], [0.5])])
    assert alone.series[0].points[0].x == WIDTH / 2
    assert drawings([Curve(metric="top1", over="shots", points=())]) == []
    (flat,) = drawings([Curve(metric="top1", over="shots", points=((0.0, metric(1.0, 0)), (1.0, metric(1.0, 0))))])
    assert {point.y for point in flat.series[0].points} <= {0.0, float(HEIGHT)}


def test_the_terminal_shows_every_point_below_the_table() -> None:
    record = demo(curves=(curve([0, 1], [0.1, 0.2], "recall@1"), curve([0, 1], [0.3, 0.4], "recall@5")))
    lines = "\n".join(curve_lines([demo(), record])).splitlines()
    assert [line.split() for line in lines if re.match(r" *[01] ", line)] == [
        ["0", "10.0", "[5.0,", "15.0]", "30.0", "[25.0,", "35.0]"],
        ["1", "20.0", "[15.0,", "25.0]", "40.0", "[35.0,", "45.0]"],
    ]
    assert lines[:2] == ["", "digits:"]
    assert curve_lines([demo()]) == []
    assert "recall@5" not in run_table([record])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_them(browser: Browser, tmp_path: Path, scheme: str) -> None:
    evil = "<b>shots</b>"
    record = demo(curves=(curve([0, 1, 2, 4, 8], [0.2, 0.3, 0.4, 0.5, 0.65], over=evil),))
    save(record, samples_of(DEMO / "digits.ibench.json"), tmp_path / "runs")
    page_file = report(tmp_path / "runs", tmp_path / "page.html")
    for width in (360, 1440):
        with browser.open(page_file, width=width, scheme=scheme) as page:
            drawn = page.locator(f'svg[aria-label^="top1 over {evil}"]')
            assert drawn.count() == 1
            assert drawn.locator("circle").count() == 5
            assert drawn.locator("circle title").nth(4).text_content() == f"{evil} 8: 65.0 [60.0, 70.0]"
            line = drawn.locator("path.line")
            assert line.evaluate("(one) => getComputedStyle(one).stroke") not in ("none", "rgb(0, 0, 0)")
            assert page.evaluate("document.documentElement.scrollWidth") == width
