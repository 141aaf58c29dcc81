"""What the diagnostics of an encoder's space are, as tables for a terminal and as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from ibench.diagnosis import Diagnosis
from ibench.modalities import pair_name
from ibench.report.render import Table, as_json, document
from ibench.report.tables import EMERGENT, LEGEND

_READ = {
    "infonce": "lower is better; the mean of both directions, nats",
    "infonce_query_to_target": "of {query} finding {target}",
    "infonce_target_to_query": "of {target} finding {query}",
    "alignment": "squared distance of matches, 0 to 4",
    "uniformity_query": "how evenly {query} fills the sphere, lower is more evenly",
    "uniformity_target": "how evenly {target} fills the sphere, lower is more evenly",
    "modality_gap": "distance of the two means, 0 to 2",
    "hubness_query": "how few {query} items are near to {target}, above 1: hubs",
    "hubness_target": "how few {target} items are near to {query}, above 1: hubs",
    "overlap": "shared nearest neighbours, 0 to 1",
}
"""How a reading is to be read, in a few words; its docstring in `ibench.scoring.diagnostics` says more."""


def diagnosis_table(found: Sequence[Diagnosis]) -> str:
    """A table for each task."""
    notes = [
        "knows nothing: InfoNCE of equal cosines, alignment of unrelated vectors, neighbours drawn at random",
        "ideal: what a perfect encoder would approach",
    ]
    if any(one.emergent for one in found):
        notes.append(LEGEND)
    return document([_table(one) for one in found], notes, "table")


def diagnosis_json(found: Sequence[Diagnosis]) -> str:
    return as_json([{**asdict(one), "readings": {row.name: row._asdict() for row in one.readings}} for one in found])


def _table(one: Diagnosis) -> Table:
    mark = f" {EMERGENT}" if one.emergent else ""
    title = (
        f"{one.task}, {pair_name(one.query, one.target)}{mark}: {one.pairs}; {one.queries} {one.query}, "
        f"{one.targets} {one.target}, {one.groups} groups; τ = {one.temperature:g}"
    )
    names = {"query": one.query, "target": one.target}
    rows = [
        [
            row.name,
            _READ[row.name.partition("@")[0]].format(**names),
            _shown(row.value),
            _shown(row.uninformed),
            _shown(row.ideal),
        ]
        for row in one.readings
    ]
    return Table(title, ["diagnostic", "", "value", "knows nothing", "ideal"], rows, 2)


def _shown(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"
