"""The emergence of a checkpoint as a table, a picture, a page, data, and a few lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ibench.emergence import Emergence, Pair, Score, answer, bridges, pair_of
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.report.escape import plain
from ibench.report.html import page, svg
from ibench.report.render import Table, as_json, document
from ibench.report.tables import EMERGENT, number, pair, with_interval
from ibench.results import Record
from ibench.scoring.intervals import Metric

_STYLE = "emergence.css"
_RADIUS, _ROOM = 210.0, 70.0  # of the circle of nodes; around it, for a node and a label
_BOW = 0.62  # how far from the middle, in radii, the edges pass that would cross it
_LINES = 3


@dataclass(frozen=True)
class Node:
    name: str
    x: float
    y: float
    hub: bool


@dataclass(frozen=True)
class Edge:
    """A line between two nodes, with its label at ``x``, ``y``; ``title`` says all."""

    path: str
    emergent: bool
    label: tuple[str, ...]
    title: str
    x: float
    y: float


@dataclass(frozen=True)
class Picture:
    """Modalities as nodes, pairs as edges; ``box`` is what of the plane is seen (x, y, width, height)."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    box: tuple[float, float, float, float]


def emergence_text(report: Emergence, form: str) -> str:
    """The table with its notes, as ``table`` or ``markdown``; one line where nothing is emergent."""
    if not report.scores:
        return nothing(report)
    return document([_table(report)], _notes(report), form)


def emergence_json(report: Emergence) -> str:
    """The same for programs: fractions of 1, null for what was not measured."""
    encoder = report.encoder
    return as_json(
        {
            "encoder": encoder.name,
            "checkpoint_sha256": encoder.checkpoint_sha256,
            "trained_pairs": [list(map(str, one)) for one in encoder.trained_pairs],
            "emergent": [_told(one) for one in report.scores],
            "trained": [_short(record) for record in report.trained],
        }
    )


def emergence_lines(report: Emergence) -> list[str]:
    """Each emergent score in a few lines, for those who only look at the end of something longer."""
    lines = []
    for one in report.scores:
        record = one.record
        direct, chance = _interval(record, record.score), number(record.headline, record.chance)
        lines.append(f"{EMERGENT} {record.task}, {pair(record)}, never trained together: {direct}, chance {chance}")
        if record.bridge is not None and one.path is not None and one.trained is not None:
            middle = record.bridge.modality
            trained = f"{middle}→{answer(record)}, trained: {_interval(record, one.trained)}"
            lines.append(f"  through {middle}: {_interval(record, one.path)}; {trained}")
        if one.share is not None:
            value, interval = _percent(one.share).split(" ", 1)
            lines.append(f"  {value}% {interval} {one.note}")
    return lines


def write(report: Emergence, out: Path) -> Path:
    """A page (.html), the picture (.svg) or the table (.md), by the name's ending; returns the path.

    Raises IbenchError for another ending, where nothing is emergent, and for a place that cannot be written to.
    """
    if not report.scores:
        raise IbenchError(nothing(report))
    forms: dict[str, Callable[[Emergence], str]] = {
        ".html": emergence_page,
        ".svg": emergence_svg,
        ".md": partial(emergence_text, form="markdown"),
    }
    if out.suffix not in forms:
        raise IbenchError(f"{out}: --out is a page (.html), a picture (.svg) or a table (.md)")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(forms[out.suffix](report) + "\n", encoding="utf-8")
    except OSError as error:
        raise IbenchError(f"{out}: cannot be written ({error.strerror}); name another file with --out") from error
    return out


def emergence_page(report: Emergence) -> str:
    return page(
        "emergence.html.j2",
        title=f"Emergence of {plain(report.encoder.name)}",
        scripts=("common.js",),
        styles=(_STYLE,),
        name=plain(report.encoder.name),
        trained=_trained(report),
        table=_table(report),
        notes=_notes(report),
        picture=picture(report),
    )


def emergence_svg(report: Emergence) -> str:
    return svg("emergence.svg.j2", styles=(_STYLE,), picture=picture(report))


def nothing(report: Emergence) -> str:
    """What is to be said of records none of which is emergent."""
    return (
        f"{report.encoder.name}: no emergent pair among these records ({len(report.trained)}); it was trained on "
        f"{_trained(report)}"
    )


# the table ------------------------------------------------------------------------------------------------------------


def _table(report: Emergence) -> Table:
    headers = ["task", "pair", "metric", "chance", "direct [95%]", "via", "path [95%]", "first leg", "trained", "share"]
    return Table("", headers, [_row(one) for one in report.scores], 3)


def _row(one: Score) -> list[str]:
    record = one.record
    task = record.task if record.protocol == "ibench" else f"{record.task} ({record.protocol})"
    return [
        task,
        f"{pair(record)} {EMERGENT}",
        record.headline,
        number(record.headline, record.chance),
        _interval(record, record.score),
        str(record.bridge.modality) if record.bridge else "–",
        _interval(record, one.path) if one.path else "–",
        number("recall", one.first_leg.value) if one.first_leg else "–",
        number(record.headline, one.trained.value) if one.trained else "–",
        f"{_percent(one.share)}" if one.share else "–",
    ]


def _notes(report: Emergence) -> list[str]:
    notes = [f"{EMERGENT} emergent: {report.encoder.name} was trained on {_trained(report)}"]
    if any(one.path for one in report.scores):
        notes += [
            "path: each sample answered by the nearest sample of the modality between (via), whatever that is; first "
            "leg: how many reach their own there; trained: the samples between, asked themselves",
        ]
    if any(one.share for one in report.scores):
        notes += ["share: what of the trained pair's gain over chance the direct score gains, in percent, with 95%"]
    return notes + [line for one in report.scores for line in _framed(one)]


def _framed(one: Score) -> list[str]:
    record = one.record
    legs = [
        f"{pair(leg)} {number(leg.headline, leg.score.value)} ({leg.task}, {leg.headline})"
        for side in one.legs
        for leg in side
    ]
    return [f"{record.task}: {one.note}" + (f"; framed by {', '.join(legs)}" if legs else "")]


def _interval(record: Record, metric: Metric) -> str:
    return with_interval(record.headline, metric)


def _percent(share: Metric) -> str:
    return with_interval("share", share)


def _trained(report: Emergence) -> str:
    return ", ".join("–".join(one) for one in report.encoder.trained_pairs) or "no pairs that it states"


# data -----------------------------------------------------------------------------------------------------------------


def _told(one: Score) -> dict[str, Any]:
    record = one.record
    metrics = {"path": one.path, "first_leg": one.first_leg, "trained": one.trained, "share": one.share}
    return {
        **_short(record),
        "chance": record.chance,
        "via": list(map(str, bridges(record))),
        "bridge": record.bridge.model_dump(mode="json") if record.bridge else None,
        **{name: metric.model_dump() if metric else None for name, metric in metrics.items()},
        "note": one.note,
        "legs": [[_short(leg) for leg in side] for side in one.legs],
    }


def _short(record: Record) -> dict[str, Any]:
    return {
        "task": record.task,
        "protocol": record.protocol,
        "query": str(record.query),
        "target": str(record.target),
        "metric": record.headline,
        **record.score.model_dump(),
    }


# the picture ----------------------------------------------------------------------------------------------------------


def picture(report: Emergence) -> Picture:
    """Modalities on a circle, the one that binds them in its middle; trained pairs and emergent scores between them."""
    trained = [Pair(one) for one in report.encoder.trained_pairs]
    emergent = [pair_of(one.record) for one in report.scores]
    names = [one for one in Modality if any(one in pair for pair in (*trained, *emergent))]
    hub = _hub(report, trained)
    at = _places([one for one in names if one is not hub]) | ({hub: (0.0, 0.0)} if hub else {})
    edges = [
        _edge(at, pair, [record for record in records if pair_of(record) == pair], pair in emergent)
        for pairs, records in ((trained, report.trained), (emergent, [one.record for one in report.scores]))
        for pair in dict.fromkeys(pairs)
    ]
    seen = [*at.values(), *((edge.x, edge.y) for edge in edges)]
    left, right = min(x for x, _ in seen) - 2 * _ROOM, max(x for x, _ in seen) + 2 * _ROOM
    top, bottom = min(y for _, y in seen) - _ROOM, max(y for _, y in seen) + _ROOM
    return Picture(
        f"Trained and emergent pairs of {plain(report.encoder.name)}",
        tuple(Node(one.value, round(at[one][0], 1), round(at[one][1], 1), one is hub) for one in names),
        tuple(edges),
        (round(left), round(top), round(right - left), round(bottom - top)),
    )


def _hub(report: Emergence, trained: Sequence[Pair]) -> Modality | None:
    """What binds most of the emergent pairs, images first; None where nothing does."""
    times = {one: sum(one in bridges(score.record) for score in report.scores) for one in Modality}
    best = max(times.values()) or math.inf
    return next((one for one in (Modality.IMAGE, *Modality) if times[one] == best), None)


def _places(names: Sequence[Modality]) -> dict[Modality, tuple[float, float]]:
    """Evenly on a circle: two beside each other, more from the top on."""
    start = math.pi if len(names) == 2 else -math.pi / 2
    angles = [start + 2 * math.pi * number / len(names) for number in range(len(names))]
    return {
        name: (_RADIUS * math.cos(angle), _RADIUS * math.sin(angle)) for name, angle in zip(names, angles, strict=True)
    }


def _edge(at: dict[Modality, tuple[float, float]], pair: Pair, records: Sequence[Record], emergent: bool) -> Edge:
    one, other = sorted(pair, key=list(Modality).index)
    start, end = at[one], at[other]
    middle = _around(start, end)
    # the control point of a quadratic curve that passes there halfway
    bend = tuple(2 * halfway - (a + b) / 2 for halfway, a, b in zip(middle, start, end, strict=True))
    path = f"M{start[0]:.1f} {start[1]:.1f}Q{bend[0]:.1f} {bend[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
    lines = [f"{plain(record.task)} {number(record.headline, record.score.value)}" for record in records]
    more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
    how = "never trained together" if emergent else "trained together"
    told = [f"{plain(record.task)} {record.headline} {_interval(record, record.score)}" for record in records]
    title = f"{one}–{other}, {how}{': ' if told else ''}{'; '.join(told)}"
    return Edge(path, emergent, (*lines[:_LINES], *more), title, round(middle[0], 1), round(middle[1], 1))


def _around(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Where an edge passes halfway: on the straight line, but not too near to the node in the middle."""
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    away = math.hypot(*middle)
    if (0.0, 0.0) in (start, end) or away >= _BOW * _RADIUS:
        return middle
    if away < 1:  # opposite nodes: to the side, upwards if there is an upwards
        across = end[1] - start[1], start[0] - end[0]
        middle = across if across[1] < 0 else (-across[0], -across[1])
        away = math.hypot(*middle)
    return middle[0] * _BOW * _RADIUS / away, middle[1] * _BOW * _RADIUS / away
