"""The leaderboard as one HTML page: what stands in it as data, for ``web/leaderboard.js`` to show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ibench.modalities import Modality
from ibench.report.html import page
from ibench.report.standing import Column, Standing, modalities
from ibench.report.tables import pair
from ibench.results import Published, Record, references
from ibench.scoring.intervals import Metric
from ibench.tasks import Suite, points

_TRAINING = re.compile(
    r"(?P<run>.*?)(?:epoch[\s_=-]*\d+[\s_,-]+)?"  # Lightning's epoch=3-step=1200 is a step
    r"(?P<unit>epoch|step|checkpoint(?=-))s?[\s_=-]*(?P<at>\d{1,15})(?P<thousands>k?)$",
    re.I | re.S,
)


def leaderboard_page(standing: Standing, suites: Mapping[str, Suite]) -> str:
    """The page; it holds its own data, style and script, and asks for nothing."""
    return page(
        "leaderboard.html.j2",
        title="ibench leaderboard",
        scripts=("common.js", "leaderboard.js", "figures.js"),
        data=leaderboard_data(standing, suites),
    )


def leaderboard_data(standing: Standing, suites: Mapping[str, Suite]) -> dict[str, Any]:
    """All that the page shows, as JSON; what repeats (encoders, tasks, circumstances) is listed once."""
    encoders = standing.encoders
    index = {name: row for row, name in enumerate(encoders)}
    first = {name: column.records[name] for column in standing.columns for name in column.records}
    circumstances: list[dict[str, Any]] = []
    return {
        "suites": [{"name": name, "about": suite.about, "tasks": suite.tasks} for name, suite in suites.items()],
        "encoders": [_encoder(name, first[name]) for name in encoders],
        "columns": [_column(column) for column in standing.columns],
        "records": [
            {"encoder": index[name], "column": place, **_record(record, circumstances)}
            for place, column in enumerate(standing.columns)
            for name, record in column.records.items()
        ],
        "circumstances": circumstances,
        "published": [_published(row, standing) for row in references(one.any for one in standing.columns)],
        "leftOut": [_left_out(record, why) for record, why in standing.left_out],
    }


def training_step(name: str) -> dict[str, Any] | None:
    """Where in a training run an encoder stands, if its name ends in a number after epoch or step.

    >>> training_step("ViT-B-32 epoch_12")
    {'run': 'ViT-B-32', 'unit': 'epoch', 'at': 12}
    """
    match = _TRAINING.fullmatch(name)
    if match is None:
        return None
    at = int(match["at"]) * (1000 if match["thousands"] else 1)
    unit = "epoch" if match["unit"].lower() == "epoch" else "step"  # transformers' checkpoint-500 is a step
    return {"run": match["run"].strip(" _/.-"), "unit": unit, "at": at}


def _encoder(name: str, record: Record) -> dict[str, Any]:
    step = training_step(record.encoder.name)
    if step is not None:
        step["run"] = " ".join(part for part in (step["run"] or record.encoder.family, record.arithmetic) if part)
    return {
        "name": name,
        "family": record.encoder.family,
        "sha256": record.encoder.checkpoint_sha256,
        "licence": record.encoder.licence,
        "dim": record.encoder.dim,
        "trained": ["–".join(pair) for pair in record.encoder.trained_pairs],
        "training": step,
    }


def _column(column: Column) -> dict[str, Any]:
    record = column.any
    return {
        "task": record.task,
        "title": record.title,
        "version": record.task_version,
        "protocol": record.protocol,
        "prompts": record.prompts,
        "pair": pair(record),
        "modalities": _subjects(modalities(record)),
        "metric": record.headline,
        "lower": column.lower_is_better,
        "principal": column.principal,
        "chance": record.chance,
        "n": record.n,
        "data": record.dataset_fingerprint,
        "licence": record.dataset_licence,
    }


def _record(record: Record, circumstances: list[dict[str, Any]]) -> dict[str, Any]:
    how = {
        "device": record.device,
        "dtype": " ".join([record.dtype, *(["compiled"] if record.compiled else [])]),
        "versions": record.versions,
    }
    if how not in circumstances:
        circumstances.append(how)
    others = {name: _interval(metric) for name, metric in record.metrics.items() if name != record.headline}
    return {
        "score": _interval(record.score),
        "method": record.score.method,
        "emergent": record.emergent,
        "metrics": others,
        "unbounded": [name for name, metric in record.metrics.items() if not metric.bounded],
        "copy": record.dataset_copy,
        "created": record.created,
        "rate": record.encoded_per_second,
        "how": circumstances.index(how),
    }


def _interval(metric: Metric) -> list[float]:
    return [round(end, 6) for end in (metric.value, metric.low, metric.high)]


def _published(row: Published, standing: Standing) -> dict[str, Any]:
    column = next(column for column in standing.columns if column.task == row.task)
    return {
        "task": row.task,
        "model": row.model,
        "protocol": row.protocol,
        "metric": row.metric,
        "value": row.value / points(column.any.headline),
        "source": row.source,
        "modalities": _subjects(modalities(column.any)),
    }


def _left_out(record: Record, why: str) -> dict[str, Any]:
    return {
        "encoder": record.encoder.name,
        "task": record.task,
        "protocol": record.protocol,
        "metric": record.headline,
        "score": record.score.value,
        "why": why,
        "modalities": _subjects(modalities(record)),
    }


def _subjects(several: Sequence[Modality]) -> list[str]:
    return [modality.value for modality in several]
