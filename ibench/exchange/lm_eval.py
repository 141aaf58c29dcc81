"""Results as lm-evaluation-harness writes them, ``{"results": {task: {"acc,none": 0.5}}}``, as rows.

Other programs write the same. Tasks go by ibench's names; a number says nothing of prompts, so its protocol is ``own``,
as in results/published/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ibench.errors import IbenchError
from ibench.exchange.counterparts import counterparts
from ibench.exchange.reading import Found, Reading, by_metric, first_few, parsed
from ibench.tasks import load_task, lower_is_better, task_files

_PROTOCOL = "own"
_NO_SCORES = ("alias", "name", "sample_len", "sample_count")


class _Samples(BaseModel):
    original: int
    effective: int


class _Result(BaseModel):
    """What is read of the file."""

    model_config = ConfigDict(protected_namespaces=())

    results: dict[str, dict[str, Any]]
    config: dict[str, Any] = Field(default_factory=dict)
    n_shot: dict[str, Any] = Field(default_factory=dict, alias="n-shot")
    n_samples: dict[str, _Samples] = Field(default_factory=dict, alias="n-samples")
    model_name: str | None = None


def read(data: object, where: str) -> Reading:
    """The rows of a file. Raises IbenchError for a file of another form, and for a run of a part of the samples."""
    given = parsed(data, _Result, where, "a result of lm-eval")
    if given.config.get("limit") is not None:
        raise IbenchError(f"{where}: a run of {given.config['limit']} samples (limit); a reference is of all of them")
    found: list[Found] = []
    left_out = []
    for task in filter(task_files().__contains__, given.results):
        if why := _why_not(given, task):
            left_out.append(f"{task}: {why}")
            continue
        taken, others = by_metric(_scores(given.results[task]), _metrics_of(task), task, _PROTOCOL)
        found += taken
        left_out += [f"{task}: {other}" for other in others]
    if unknown := sorted(given.results.keys() - task_files().keys()):
        left_out.append(f"no tasks of ibench: {first_few(unknown)}")
    return Reading(_model(given), tuple(found), tuple(left_out))


def _why_not(given: _Result, task: str) -> str | None:
    if given.n_shot.get(task):
        return f"{given.n_shot[task]} examples in the prompt; ibench's tasks are zero-shot"
    samples = given.n_samples.get(task)
    if samples is not None and samples.effective < samples.original:
        return f"{samples.effective} of {samples.original} samples"
    return None


def _scores(entry: Mapping[str, object]) -> dict[str, object]:
    """Metric → value, without the filter that says nothing; no names, counts and errors."""
    plain = {key.removesuffix(",none"): value for key, value in entry.items()}
    return {key: value for key, value in plain.items() if key not in _NO_SCORES and "_stderr" not in key}


def _metrics_of(task: str) -> dict[str, str]:
    """Names of a task's metrics → ibench's: ibench's own of the kind but ranks, and lm-eval's for them."""
    own = [metric for metric in load_task(task).computed if not lower_is_better(metric)]
    return {metric: metric for metric in own} | {
        theirs: ours for theirs, ours in counterparts().lm_eval.metrics.items() if ours in own
    }


def _model(given: _Result) -> str | None:
    arguments = given.config.get("model_args")
    listed = dict(re.findall(r"(\w+)=([^,]+)", arguments)) if isinstance(arguments, str) else arguments
    if not isinstance(listed, dict):
        listed = {}
    named = (given.model_name, listed.get("pretrained"), given.config.get("model"))
    return next((str(name) for name in named if name), None)
