"""mteb's result JSON, out and in: the tasks that both measure on the same copy of the data by the same protocol.

Written is what ``TaskResult`` of mteb 2.26 reads, with all its scores of a zero-shot classification; ``mteb_version``
is null, for mteb did not compute them.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from pydantic import BaseModel

from ibench.exchange.counterparts import MtebTask, counterparts
from ibench.exchange.reading import Found, Reading, by_metric, parsed
from ibench.results import Record, slug

_NO_SCORES = ("main_score", "hf_subset", "languages", "mteb_version")  # main_score is the accuracy again
_NOT_KNOWN_OF_A_MODEL = (
    *("release_date", "languages", "n_parameters", "memory_usage_mb", "max_tokens", "license", "open_weights"),
    *("public_training_code", "public_training_data", "use_instructions", "training_datasets"),
)
_NO_REVISION = "no_revision_available"  # as mteb writes it


class _Result(BaseModel):
    """What is read of mteb's ``TaskResult``."""

    task_name: str
    dataset_revision: str
    scores: dict[str, list[dict[str, Any]]]


def why_not(record: Record) -> str | None:
    """Why a record is no result of mteb's, None when it is one."""
    name = _name_of(record)
    if name is None:
        return _no_counterpart(record)
    theirs = counterparts().mteb.tasks[name]
    copy = f"hub {theirs.dataset}@{theirs.revision[:12]}"
    if record.dataset_copy != copy:
        return (
            f"mteb's {name} is of the {copy}, this of another copy ({record.dataset_copy}); run it without --data-root"
        )
    return None


def result(record: Record, samples: pd.DataFrame) -> dict[str, Any]:
    """The result of a record for which `why_not` says nothing, from it and its per-sample rows.

    ``evaluation_time`` is in seconds, and holds all that the call which measured it encoded.
    """
    name = _name_of(record)
    assert name is not None
    theirs = counterparts().mteb.tasks[name]
    scores = _scores(list(samples["gold"]), list(samples["prediction"]))
    entry = {**scores, "main_score": scores["accuracy"], "hf_subset": "default", "languages": list(theirs.languages)}
    return {
        "dataset_revision": theirs.revision,
        "task_name": name,
        "mteb_version": None,
        "scores": {theirs.split: [entry]},
        "evaluation_time": sum(record.timings.values()),
        "kg_co2_emissions": None,
        "date": record.created,
    }


def model_meta(record: Record) -> dict[str, Any]:
    """``model_meta.json``, beside the results of a model: what mteb's cache finds the model's name by."""
    return {
        "name": record.encoder.name,
        "revision": _revision(record),
        **dict.fromkeys(_NOT_KNOWN_OF_A_MODEL),
        "embed_dim": record.encoder.dim,
        "framework": [],
        "similarity_fn_name": "cosine",
    }


def folder(record: Record) -> str:
    """Where mteb keeps the results of a model: its name, then its revision."""
    return f"{slug(record.encoder.name.replace('/', '__'))}/{_revision(record)}"


def read(data: object, where: str) -> Reading:
    """The rows of a result that mteb wrote; it does not name the model.

    Raises IbenchError for a file that is none.
    """
    given = parsed(data, _Result, where, "a result of mteb")
    theirs = counterparts().mteb.tasks.get(given.task_name)
    if theirs is None:
        near = counterparts().mteb.near.get(given.task_name)
        return Reading(None, (), (f"{given.task_name}: {near.why if near else 'no task of ibench is the same'}",))
    if given.dataset_revision != theirs.revision:
        why = f"is of revision {given.dataset_revision} of {theirs.dataset}, ibench's of {theirs.revision}"
        return Reading(None, (), (f"{given.task_name}: {why}",))
    found, left_out = _found(given, theirs)
    return Reading(None, tuple(found), tuple(left_out))


def _found(given: _Result, theirs: MtebTask) -> tuple[list[Found], list[str]]:
    found: list[Found] = []
    left_out = [f"{given.task_name}: split {split} is another" for split in given.scores if split != theirs.split]
    for scores in given.scores.get(theirs.split, []):
        named = {name: value for name, value in scores.items() if name not in _NO_SCORES}
        taken, others = by_metric(named, counterparts().mteb.metrics, theirs.task, theirs.protocol)
        found += taken
        left_out += [f"{given.task_name}: {other}" for other in others]
    return found, left_out


def _name_of(record: Record) -> str | None:
    """What mteb calls a record's task by its protocol."""
    names = (name for name, theirs in counterparts().mteb.tasks.items() if _is_of(record, theirs))
    return next(names, None)


def _is_of(record: Record, theirs: MtebTask) -> bool:
    return (record.task, record.protocol) == (theirs.task, theirs.protocol)


def _no_counterpart(record: Record) -> str:
    table = counterparts().mteb
    for name, theirs in table.tasks.items():
        if theirs.task == record.task:
            return f"mteb's {name} is by another protocol; run it with --protocol {theirs.protocol}"
    for name, near in table.near.items():
        if near.task == record.task:
            return f"mteb's {name} is another task: it {near.why}"
    return "mteb has no task of the same samples, prompts and metric"


def _revision(record: Record) -> str:
    return record.encoder.checkpoint_sha256 or _NO_REVISION


def _scores(gold: list[str], predicted: list[str]) -> dict[str, float | None]:
    """All scores that mteb gives of a zero-shot classification, as its AbsTaskZeroShotClassification computes them."""
    from sklearn import metrics

    scores: dict[str, float | None] = {"accuracy": float(metrics.accuracy_score(gold, predicted))}
    for name in ("f1", "precision", "recall"):
        score = getattr(metrics, f"{name}_score")
        scores[name] = float(score(gold, predicted, average="macro", zero_division=0))
        scores[f"{name}_weighted"] = float(score(gold, predicted, average="weighted", zero_division=0))
    return {**scores, "ap": None, "ap_weighted": None}  # of two classes only
