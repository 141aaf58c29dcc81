"""The emergence of a checkpoint as a table, a picture, a page, data, and a few lines."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ibench.emergence import Emergence, Pair, Score, answer, bridges, pair_of
from ibench.errors import IbenchError
from ibench.files import write_whole
from ibench.modalities import Modality
from ibench.report.escape import plain
from ibench.report.html import page, svg
from ibench.report.render import Table, as_json, document
from ibench.report.tables import EMERGENT, number, pair, task_name, with_interval
from ibench.results import Record
from ibench.scoring.intervals import Metric

_STYLE = "emergence.css"
_RADIUS, _NODE, _MARGIN = 280.0, 80.0, 24.0  # of the circle; across a node; around the picture
_BOW = 0.62  # how far from the middle, in radii, the edges pass that would cross it
_LETTER, _LINE = 7.3, 17.0  # about as wide and high as the letters of a label are
_LINES = 3
_MOST_HIDDEN = 0.6  # of an edge, by its label


@dataclass(frozen=True)
class Box:
    """Where something stands: its middle, and how wide and high it is."""

    x: float
    y: float
    width: float
    height: float

    def overlap(self, other: Box) -> float:
        """The area that both take."""
        wide = (self.width + other.width) / 2 - abs(self.x - other.x)
        high = (self.height + other.height) / 2 - abs(self.y - other.y)
        return max(wide, 0.0) * max(high, 0.0)


@dataclass(frozen=True)
class Node:
    name: str
    place: Box
    hub: bool


@dataclass(frozen=True)
class Edge:
    """A quadratic curve between two nodes, by its three points, with its label; ``title`` says all."""

    curve: tuple[complex, complex, complex]
    emergent: bool
    label: tuple[str, ...]
    title: str
    place: Box

    @property
    def path(self) -> str:
        (a, b, c) = (f"{point.real:.1f} {point.imag:.1f}" for point in self.curve)
        return f"M{a}Q{b} {c}"


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
    write_whole(out, forms[out.suffix](report) + "\n")
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
        notes=list(map(plain, _notes(report))),
        picture=picture(report),
    )


def emergence_svg(report: Emergence) -> str:
    return svg("emergence.svg.j2", styles=(_STYLE,), picture=picture(report))


def nothing(report: Emergence) -> str:
    """What is to be said of records none of which is emergent."""
    if not report.trained:
        return f"{report.encoder.name}: few-shot records alone; what shots add is learned, and no emergence"
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
    return [
        _name(record),
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
    return [*notes, *(f"{_name(one.record)}: {one.note}" for one in report.scores), *_framed(report.scores)]


def _framed(scores: Sequence[Score]) -> list[str]:
    """What the trained pairs of the same run have, for each emergent pair."""
    legs: dict[str, dict[str, None]] = {}
    for one in scores:
        legs.setdefault(pair(one.record), {}).update(
            {
                f"{pair(leg)} {number(leg.headline, leg.score.value)} ({_name(leg)}, {leg.headline})": None
                for side in one.legs
                for leg in side
            }
        )
    return [f"{name} is framed by {', '.join(told)}" for name, told in legs.items() if told]


def _name(record: Record) -> str:
    return task_name(record.task, record.protocol)


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
    names = [one for one in Modality if any(one in joined for joined in (*trained, *emergent))]
    hub = _hub(report)
    at = _places([one for one in names if one is not hub]) | ({hub: 0j} if hub else {})
    nodes = [Node(one.value, Box(at[one].real, at[one].imag, _NODE, _NODE), one is hub) for one in names]
    taken = [node.place for node in nodes]
    edges: list[Edge] = []
    # those of the scores last: they lie on top, and their labels give way
    for pairs, records in ((trained, report.trained), (emergent, [one.record for one in report.scores])):
        for joined in dict.fromkeys(pairs):
            found = [record for record in records if pair_of(record) == joined]
            edges.append(_edge(at, joined, found, joined in emergent, taken))
            taken.append(edges[-1].place)
    left, right = min(one.x - one.width / 2 for one in taken), max(one.x + one.width / 2 for one in taken)
    top, bottom = min(one.y - one.height / 2 for one in taken), max(one.y + one.height / 2 for one in taken)
    seen = (left - _MARGIN, top - _MARGIN, right - left + 2 * _MARGIN, bottom - top + 2 * _MARGIN)
    title = f"Trained and emergent pairs of {plain(report.encoder.name)}"
    return Picture(title, tuple(nodes), tuple(edges), seen)


def _hub(report: Emergence) -> Modality | None:
    """Images where they bind an emergent pair, else what binds most of them; None where nothing does."""
    times = {one: sum(one in bridges(score.record) for score in report.scores) for one in Modality}
    best = Modality.IMAGE if times[Modality.IMAGE] else max(Modality, key=lambda one: times[one])
    return best if times[best] else None


def _places(names: Sequence[Modality]) -> dict[Modality, complex]:
    """Evenly on a circle: two beside each other, more from the top on."""
    start = math.pi if len(names) == 2 else -math.pi / 2
    angles = [start + 2 * math.pi * number / len(names) for number in range(len(names))]
    return {name: cmath.rect(_RADIUS, angle) for name, angle in zip(names, angles, strict=True)}


def _edge(
    at: Mapping[Modality, complex], joined: Pair, records: Sequence[Record], emergent: bool, taken: Sequence[Box]
) -> Edge:
    one, other = sorted(joined, key=list(Modality).index)
    start, end = at[one], at[other]
    # the control point of a quadratic curve that passes there halfway
    curve = start, 2 * _halfway(start, end) - (start + end) / 2, end
    lines = [f"{plain(_name(record))} {number(record.headline, record.score.value)}" for record in records]
    label = (*lines[:_LINES], *([f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []))
    how = "never trained together" if emergent else "trained together"
    told = [f"{plain(_name(record))} {record.headline} {_interval(record, record.score)}" for record in records]
    title = f"{one}–{other}, {how}{': ' if told else ''}{'; '.join(told)}"
    return Edge(curve, emergent, label, title, _place(curve, label, taken))


def _halfway(start: complex, end: complex) -> complex:
    """Where an edge passes halfway: on the straight line, but not too near to the node in the middle."""
    middle = (start + end) / 2
    if 0j in (start, end) or abs(middle) >= _BOW * _RADIUS:
        return middle
    if abs(middle) < 1:  # opposite nodes: to the side, upwards where there is an upwards, else to the left
        middle = (end - start) * 1j
        upwards = round(middle.imag, 6) or middle.real
        middle = middle if upwards < 0 else -middle
    return middle * _BOW * _RADIUS / abs(middle)


def _place(curve: tuple[complex, complex, complex], label: Sequence[str], taken: Sequence[Box]) -> Box:
    """Where a label stands: as near to halfway on its edge as it can without covering what is there already.

    One that would hide most of the edge stands beside it, away from the middle of the picture.
    """
    width, height = (_LETTER * max(map(len, label)) + 8, _LINE * len(label)) if label else (0.0, 0.0)
    along = curve[2] - curve[0]
    aside = 0j
    if width * abs(along.real) > _MOST_HIDDEN * (abs(along) - _NODE) * abs(along):
        across = along * 1j / abs(along)
        aside = across * (abs(across.real) * width + abs(across.imag) * height + 8) / 2
        aside = aside if (curve[1] * aside.conjugate()).real + aside.imag > 0 else -aside
    places = [_on(curve, at, aside, width, height) for at in (0.5, 0.44, 0.56, 0.38, 0.62, 0.32, 0.68)]
    return min(places, key=lambda place: sum(place.overlap(other) for other in taken))


def _on(curve: tuple[complex, complex, complex], at: float, aside: complex, width: float, height: float) -> Box:
    a, b, c = curve
    point = (1 - at) ** 2 * a + 2 * at * (1 - at) * b + at**2 * c + aside
    return Box(point.real, point.imag, width, height)
