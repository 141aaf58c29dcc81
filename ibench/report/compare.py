"""A comparison as a document for people (table, markdown, LaTeX, HTML) or for programs (csv, JSON)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ibench.comparison import Comparison, Row, Standing, members, over_suite, prompt_spreads
from ibench.report.render import Table, as_csv, as_json, document, refuse_unknown
from ibench.report.tables import EMERGENT, LEGEND, change, count, number, p_value, pair, task_name, with_interval
from ibench.results import references
from ibench.scoring.paired import ALPHA
from ibench.tasks import points

_BLOCKS = {
    frozenset([False]): "Trained pairs",
    frozenset([True]): "Emergent pairs",
    frozenset([False, True]): "Emergent for some",
}
"""The titles of the blocks, by what the encoders say of a row's pair."""


def comparison_table(table: Comparison, form: str, suite: str | None = None) -> str:
    """A comparison in one of FORMATS, with the mean over a suite if one is named. Raises IbenchError for another."""
    refuse_unknown(form)
    if form == "csv":
        return as_csv([_flat(table, row, encoder) for row in table.rows for encoder in row.kept])
    if form == "json":
        return as_json(_nested(table, suite))
    standings = over_suite(table, suite) if suite is not None else {}
    tables = [*_blocks(table), _prompts_table(table), *_suite_table(table, suite, standings), _published(table)]
    return document(tables, _notes(table, standings), form)


def _blocks(table: Comparison) -> list[Table]:
    """Trained and emergent pairs apart: three lines for a task, scores, differences and how sure they are."""
    headers = ["task", "pair", "metric", "chance", "n", *table.encoders]
    blocks: dict[str, list[list[str]]] = {title: [] for title in _BLOCKS.values()}
    for row in table.rows:
        blocks[_BLOCKS[frozenset(record.emergent for record in row.records.values())]] += _lines(table, row)
    return [Table(title, headers, lines, 3) for title, lines in blocks.items()]


def _lines(table: Comparison, row: Row) -> list[list[str]]:
    metric = row.any.headline
    lead = [task_name(row.task, row.protocol), pair(row.any), metric, number(metric, row.any.chance), count(row.any)]
    lines = [[*lead, *(_score(row, encoder) for encoder in table.encoders)]]
    if row.paired:
        lines.append(["", "", "difference", "", "", *(_difference(row, encoder) for encoder in table.encoders)])
        lines.append(["", "", "p, detectable", "", "", *(_certainty(row, encoder) for encoder in table.encoders)])
    return lines


def _score(row: Row, encoder: str) -> str:
    record = row.records.get(encoder)
    if record is None:
        return "–"
    place = row.ranks.get(encoder)
    shared = "=" if place and list(row.ranks.values()).count(place) > 1 else ""
    parts = [with_interval(record.headline, record.score), EMERGENT if record.emergent else ""]
    return " ".join(part for part in (*parts, f"#{place}{shared}" if place else "") if part)


def _difference(row: Row, encoder: str) -> str:
    one = row.paired.get(encoder)
    if one is None:
        return ""
    scale = points(row.any.headline)
    return change(one.difference.value, one.difference.low, one.difference.high, one.p, scale)


def _certainty(row: Row, encoder: str) -> str:
    one = row.paired.get(encoder)
    return f"{p_value(one.p)}, {points(row.any.headline) * one.difference.detectable:.1f}" if one else ""


def _suite_table(table: Comparison, suite: str | None, standings: Mapping[str, Standing]) -> list[Table]:
    if suite is None:
        return []
    means = ["mean", *("–" if one.mean is None else number("mean", one.mean) for one in standings.values())]
    borda = ["Borda rank", *("–" if one.borda is None else str(one.borda) for one in standings.values())]
    return [Table(f"Suite {suite}, {len(members(suite))} tasks", ["", *table.encoders], [means, borda])]


def _prompts_table(table: Comparison) -> Table:
    """How far each encoder's score moves with the prompts, in points."""
    rows = [
        [
            one.task,
            ", ".join(one.protocols),
            one.metric,
            *(number(one.metric, one.values[name]) if name in one.values else "–" for name in table.encoders),
        ]
        for one in prompt_spreads(table)
    ]
    headers = ["task", "protocols", "metric", *table.encoders]
    return Table("Prompt sensitivity: the best less the worst of several prompt sets", headers, rows, 3)


def _published(table: Comparison) -> Table:
    known = references(row.any for row in table.rows)
    rows = [[one.task, one.model, one.protocol, one.metric, one.source, f"{one.value:g}"] for one in known]
    return Table("Published, not measured here", ["task", "model", "protocol", "metric", "source", "value"], rows, 5)


def _notes(table: Comparison, standings: Mapping[str, Standing]) -> list[str]:
    notes = [LEGEND] if any(record.emergent for row in table.rows for record in row.records.values()) else []
    found = [one.difference for row in table.rows for one in row.paired.values()]
    if found:
        tests = ", ".join(dict.fromkeys(one.test for one in found))
        family = f"{len(found)} difference{'s' * (len(found) > 1)}"
        notes += [
            f"difference: to {table.encoders[0]} on the same samples, in points (median ranks: in places), with its "
            f"95% interval; * p ≤ {ALPHA}, adjusted (Holm) for {family}; {tests}",
            "detectable: the difference that a one-sided test at 5% would find four times in five",
            "#1: place in the row; #1= is shared: not significantly different from the best that has it",
        ]
    alone = [row.task for row in table.rows if len(row.kept) > 1 and not row.paired]
    if alone:
        notes.append(f"not compared in pairs, for want of per-sample rows or of the reference: {', '.join(alone)}")
    return notes + [
        f"{encoder} has no mean, it lacks whole runs of: {', '.join(one.missing)}"
        for encoder, one in standings.items()
        if one.missing
    ]


def _flat(table: Comparison, row: Row, encoder: str) -> dict[str, Any]:
    """One line per encoder and task: what a program reads without parsing a cell."""
    record = row.records[encoder]
    shared = {
        "task": row.task,
        "protocol": row.protocol,
        "query": record.query,
        "target": record.target,
        "metric": record.headline,
        "chance": record.chance,
    }
    score = record.score
    own = {"encoder": encoder, "value": score.value, "low": score.low, "high": score.high, "n": record.n}
    told = {**shared, **own, "emergent": record.emergent, "reference": table.encoders[0], **_paired(row, encoder)}
    return {**told, "prompt_sensitivity": _prompt_sensitivity(table, row, encoder)}


def _prompt_sensitivity(table: Comparison, row: Row, encoder: str) -> float | None:
    """How far an encoder's score of a row's task moves with the prompts, where that is known."""
    spreads = [one for one in prompt_spreads(table) if one.task == row.task and row.protocol in one.protocols]
    return spreads[0].values.get(encoder) if spreads else None


def _paired(row: Row, encoder: str) -> dict[str, Any]:
    one = row.paired.get(encoder)
    told = {
        "difference": one and one.difference.value,
        "difference_low": one and one.difference.low,
        "difference_high": one and one.difference.high,
        "p": one and one.difference.p,
        "p_holm": one and one.p,
        "significant": one and one.significant,
        "detectable": one and one.difference.detectable,
        "test": one and one.difference.test,
    }
    return {**told, "rank": row.ranks.get(encoder)}


def _nested(table: Comparison, suite: str | None) -> dict[str, Any]:
    rows = [
        {
            "task": row.task,
            "protocol": row.protocol,
            "query": row.any.query,
            "target": row.any.target,
            "metric": row.any.headline,
            "chance": row.any.chance,
            "encoders": {
                name: {
                    **record.score.model_dump(),
                    "emergent": record.emergent,
                    **_paired(row, name),
                    "prompt_sensitivity": _prompt_sensitivity(table, row, name),
                }
                for name, record in row.records.items()
            },
        }
        for row in table.rows
    ]
    told: dict[str, Any] = {"reference": table.encoders[0], "encoders": list(table.encoders), "rows": rows}
    if suite is not None:
        standings = over_suite(table, suite)
        told["suite"] = {"name": suite, "encoders": {name: vars(one) for name, one in standings.items()}}
    return {**told, "published": [vars(one) for one in references(row.any for row in table.rows)]}
