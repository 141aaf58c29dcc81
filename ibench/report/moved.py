"""What is behind a difference: the classes that moved, the samples that flipped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ibench.comparison import Comparison, Row
from ibench.pairs import Moved, flipped_samples, has_hits, moved_classes
from ibench.report.render import Table, as_csv, as_json, document, refuse_unknown
from ibench.report.tables import change, number, p_value
from ibench.results import Kept
from ibench.scoring.paired import ALPHA
from ibench.tasks import Kind

_CELL = ("task", "protocol", "reference", "encoder")
_OF_CLASSES = (*_CELL, "class", "n", "before", "after", "difference", "low", "high", "p", "p_holm")
_OF_SAMPLES = (*_CELL, "id", "gold", "now", "prediction_before", "prediction_after")
"""The columns of a CSV, also of one without rows."""


def class_table(table: Comparison, form: str) -> str:
    """Which classes moved between the reference and each other column, task by task."""
    refuse_unknown(form)
    reference, tables, flat = table.encoders[0], [], []
    for row, other, before, after in _pairs(table):
        if row.any.kind != Kind.CLASSIFICATION:
            continue
        moved = moved_classes(before, after)
        title = f"{row.task}: {other} against {reference}, {len(moved)} classes with a changed sample"
        headers = ["class", "n", "before", "after", "difference [95%]", "p"]
        tables.append(Table(title, headers, [_class_cells(one) for one in moved]))
        shared = {"task": row.task, "protocol": row.protocol, "reference": reference, "encoder": other}
        flat += [{**shared, **_class_data(one)} for one in moved]
    notes = [f"* p ≤ {ALPHA}, adjusted (Holm) for all classes of the task; classes without a changed sample left out"]
    return _listed(flat, _OF_CLASSES, tables, notes, form, "classification")


def sample_table(table: Comparison, form: str) -> str:
    """Which samples flipped between the reference and each other column, both ways, task by task."""
    refuse_unknown(form)
    reference, tables, flat = table.encoders[0], [], []
    for row, other, before, after in _pairs(table):
        if not has_hits(row.any):
            continue
        flipped = flipped_samples(before, after)
        for now, what in (("wrong", "lost"), ("right", "won")):
            part = flipped[flipped["now"] == now]
            title = f"{row.task}: {len(part)} samples {what} by {other} against {reference}"
            headers = ["id", "gold", "before", "after", *(["rank before", "after"] if "rank_before" in part else [])]
            tables.append(Table(title, headers, _cells(part), 4))
        shared = {"task": row.task, "protocol": row.protocol, "reference": reference, "encoder": other}
        flat += [{**shared, **one} for one in json.loads(flipped.to_json(orient="records"))]
    return _listed(flat, _OF_SAMPLES, tables, [], form, "task whose samples are right or wrong")


def _listed(
    flat: list[dict[str, Any]],
    columns: Sequence[str],
    tables: Sequence[Table],
    notes: Sequence[str],
    form: str,
    wanted: str,
) -> str:
    if form == "csv":
        return as_csv(flat, columns)
    if form == "json":
        return as_json(flat)
    if not tables:
        return document([], [f"nothing to compare: the reference and another column have no {wanted} in common"], form)
    if not any(table.rows for table in tables):
        return document([], ["no sample came out otherwise"], form)
    return document(tables, notes, form)


def _pairs(table: Comparison) -> list[tuple[Row, str, Kept, Kept]]:
    """Row, column, what was kept of the reference and of the column, where both have the row."""
    reference = table.encoders[0]
    return [
        (row, column, row.kept[reference], row.kept[column])
        for row in table.rows
        if reference in row.kept
        for column in table.encoders[1:]
        if column in row.kept
    ]


def _class_cells(one: Moved) -> list[str]:
    found = one.difference
    recalls = [number("recall", value) for value in (found.first, found.second)]
    return [one.label, str(found.n), *recalls, change(found.value, found.low, found.high, one.p), p_value(one.p)]


def _class_data(one: Moved) -> dict[str, Any]:
    found = one.difference
    told = {"class": one.label, "n": found.n, "before": found.first, "after": found.second}
    return {**told, "difference": found.value, "low": found.low, "high": found.high, "p": found.p, "p_holm": one.p}


def _cells(flipped: pd.DataFrame) -> list[list[str]]:
    shown = flipped.drop(columns="now")
    return [[str(cell) for cell in row] for row in shown.itertuples(index=False)]
