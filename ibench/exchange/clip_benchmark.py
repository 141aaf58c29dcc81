"""CLIP_benchmark's JSON, one file for a model and a data set, as rows."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict

from ibench.exchange.counterparts import counterparts
from ibench.exchange.reading import Reading, by_metric, parsed


class _Result(BaseModel):
    """What is read of the file."""

    model_config = ConfigDict(protected_namespaces=())

    dataset: str
    model: str
    pretrained: str | None = None
    task: str
    language: str = "en"
    metrics: dict[str, Any]


def read(data: object, where: str) -> Reading:
    """The rows of a file. Raises IbenchError for a file that is none of CLIP_benchmark's."""
    given = parsed(data, _Result, where, "a result of CLIP_benchmark")
    model = " ".join([given.model, *([PurePosixPath(given.pretrained).name] if given.pretrained else [])])
    name = given.dataset.removeprefix("wds/").removeprefix("vtab/")
    theirs = counterparts().clip_benchmark.tasks.get(name)
    if theirs is None:
        return Reading(model, (), (f"{given.dataset}: no task of ibench is the same",))
    if given.task != theirs.measured_as or given.language != "en":
        why = f"{given.task} in '{given.language}', where ibench has {theirs.measured_as} in 'en'"
        return Reading(model, (), (f"{given.dataset}: {why}",))
    found, others = by_metric(given.metrics, counterparts().clip_benchmark.metrics, theirs.task, theirs.protocol)
    return Reading(model, tuple(found), tuple(f"{given.dataset}: {other}" for other in others))
