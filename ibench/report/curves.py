"""A record's curves, metrics over something varied: as lines for a terminal, and as drawings for a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from ibench.report.tables import with_interval
from ibench.results import Record
from ibench.scoring.intervals import Curve, Metric
from ibench.tasks import points

WIDTH, HEIGHT = 300, 150
_NAMED = 9  # values that have their names along the axis, at most
_CLOSEST = 20  # where two would stand nearer than this, all stand at equal distances


@dataclass(frozen=True)
class Tick:
    """A place along an axis, and what stands at it."""

    at: float
    text: str


@dataclass(frozen=True)
class Point:
    """A value of a curve, and what it says in words."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Series:
    """One curve: ``line`` and ``band``, its 95% intervals, are SVG paths."""

    metric: str
    line: str
    band: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Drawing:
    """Curves over the same values in a box of `WIDTH` by `HEIGHT`; ``even`` where distances along it mean nothing."""

    over: str
    series: tuple[Series, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    even: bool


def curve_lines(records: Sequence[Record]) -> list[str]:
    """A table for each record and for what its curves are over: values down, the metrics with intervals across."""
    lines: list[str] = []
    for record in records:
        for curves in _alike(record.curves):
            headers = [curves[0].over, *(f"{curve.metric} [95%]" for curve in curves)]
            rows = [
                [_plain(value), *(with_interval(curve.metric, curve.points[row][1]) for curve in curves)]
                for row, (value, _) in enumerate(curves[0].points)
            ]
            aligned = ["right"] * len(headers)
            table = tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=aligned)
            lines += ["", f"{record.task}:", table]
    return lines


def drawings(curves: Sequence[Curve]) -> list[Drawing]:
    """The curves as a page draws them, those over the same values together."""
    return [_drawing(several) for several in _alike(curves)]


def _alike(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Curves that share both axes."""
    groups: dict[tuple[object, ...], list[Curve]] = {}
    for curve in curves:
        if curve.points:
            values = tuple(value for value, _ in curve.points)
            groups.setdefault((curve.over, values, points(curve.metric)), []).append(curve)
    return list(groups.values())


def _drawing(curves: Sequence[Curve]) -> Drawing:
    """The axis of the metrics begins and ends at round numbers about their intervals."""
    scale, values = points(curves[0].metric), [value for value, _ in curves[0].points]
    across, even = _places(values)
    told = [scale * end for curve in curves for _, metric in curve.points for end in _ends(metric)]
    steps = _round_steps(min(told, default=0.0), max(told, default=1.0))

    def height(value: float) -> float:
        return round(HEIGHT * (1 - (scale * value - steps[0]) / (steps[-1] - steps[0])), 1)

    def series(curve: Curve) -> Series:
        finite = [(x, value, one) for x, (value, one) in zip(across, curve.points, strict=True) if _ends(one)]
        upper = [f"{x} {height(one.high)}" for x, _, one in finite]
        lower = [f"{x} {height(one.low)}" for x, _, one in reversed(finite)]
        said = [f"{curve.over} {_plain(value)}: {with_interval(curve.metric, one)}" for _, value, one in finite]
        return Series(
            curve.metric,
            _path(f"{x} {height(one.value)}" for x, _, one in finite),
            f"{_path(upper + lower)}Z" if finite else "",
            tuple(Point(x, height(one.value), title) for (x, _, one), title in zip(finite, said, strict=True)),
        )

    named = list(zip(across, values, strict=True))[:: math.ceil(len(values) / _NAMED)]
    return Drawing(
        curves[0].over,
        tuple(series(curve) for curve in curves),
        tuple(Tick(x, _plain(value)) for x, value in named),
        tuple(Tick(height(step / scale), f"{step:g}") for step in steps),
        even,
    )


def _places(values: Sequence[float]) -> tuple[list[float], bool]:
    """Where ascending values stand along the axis, and whether that is at equal distances instead of their own."""
    if len(values) == 1:
        return [WIDTH / 2], False
    own = WIDTH * (np.array(values) - values[0]) / (values[-1] - values[0])
    steps = np.diff(own)
    even = bool(steps.min() < min(_CLOSEST, 0.99 * steps.max()))
    return np.round(np.linspace(0, WIDTH, len(values)) if even else own, 1).tolist(), even


def _round_steps(low: float, high: float) -> list[float]:
    """Round numbers at equal distances, about four of them, the first at or below ``low`` and the last above."""
    rough = (high - low) / 4 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 2.5, 5, 10) if one * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * place for place in range(first, max(last, first + 1) + 1)]


def _ends(metric: Metric) -> list[float]:
    """Value and ends, nothing where one is not a number or without bounds."""
    ends = [metric.low, metric.value, metric.high]
    return ends if all(map(math.isfinite, ends)) else []


def _path(places: Iterable[str]) -> str:
    joined = "L".join(places)
    return f"M{joined}" if joined else ""


def _plain(value: float) -> str:
    return f"{value:g}"
