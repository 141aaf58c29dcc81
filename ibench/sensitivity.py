"""One task with many prompt sets: how far their wording moves its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ibench.errors import IbenchError
from ibench.prompts import PromptSet, load_prompt_sets, load_prompts
from ibench.results import Kept, Record
from ibench.scoring.intervals import Metric, bootstrap
from ibench.scoring.outcomes import aligned, outcome
from ibench.tasks import Kind, TaskSpec


@dataclass(frozen=True)
class OfSet:
    """A prompt set, and the record of the task with it."""

    prompts: PromptSet
    record: Record


@dataclass(frozen=True)
class Sensitivity:
    """A task with several prompt sets, that of its protocol first; ``spread`` is the best score less the worst.

    The best is the best on the samples it was chosen on: as the score of an encoder it is optimistic.
    """

    sets: tuple[OfSet, ...]
    spread: Metric

    @property
    def own(self) -> OfSet:
        return self.sets[0]

    @property
    def best(self) -> OfSet:
        """The first of the highest scores."""
        return max(self.sets, key=lambda one: one.record.score.value)


def prompt_sets(spec: TaskSpec, protocol: str | None, prompts_from: Sequence[str]) -> list[PromptSet]:
    """The distinct sets of a task: that of the protocol, those of its other protocols, those of names or YAML files.

    Raises IbenchError for a task whose score is not of prompts, for one set alone, and for two sets of one name.
    """
    if spec.kind not in (Kind.CLASSIFICATION, Kind.MULTILABEL):
        raise IbenchError(
            f"{spec.name}: a {spec.kind} is not scored by prompts; name a classification or a multilabel task"
        )
    _, chosen = spec.protocol(protocol)
    of_protocols = [load_prompts(str(one.prompts), spec.folder) for one in (chosen, *spec.protocols.values())]
    named: dict[str, PromptSet] = {}
    for one in [*of_protocols, *(one for name in prompts_from for one in load_prompt_sets(name))]:
        if named.setdefault(one.name, one).resolved() != one.resolved():
            raise IbenchError(f"{spec.name}: two prompt sets are called '{one.name}', with other templates; rename one")
    distinct: dict[tuple[str, ...], PromptSet] = {}
    for one in named.values():
        distinct.setdefault(one.resolved(), one)
    if len(distinct) < 2:
        own = next(iter(distinct.values()))
        raise IbenchError(f"{spec.name} has one prompt set, '{own.name}'; name others with --prompts-from")
    return list(distinct.values())


def spread(kept: Sequence[Kept]) -> Metric:
    """The best score less the worst of one task's runs, with a paired bootstrap over its samples or their clusters.

    As the greatest difference of several noisy scores it is greater on draws than on the samples, which the interval
    is corrected for (see `intervals.bootstrap`). Without an interval for mAP, whose draws take minutes.
    """
    records = [one.record for one in kept]
    values = [record.score.value for record in records]
    if records[0].headline == "mAP":
        value = max(values) - min(values)
        return Metric(value=value, low=value, high=value, n=records[0].n, method="no interval")
    rows = [one.samples() for one in kept]
    outcomes = [outcome(record.headline, aligned(rows[0], own)) for record, own in zip(records, rows, strict=True)]

    def between(weights: NDArray[np.float64]) -> float:
        scores = [
            float(np.average(one, weights=weights)) if isinstance(one, np.ndarray) else one(weights) for one in outcomes
        ]
        return max(scores) - min(scores)

    return bootstrap(between, rows[0]["cluster"].to_list(), records[0].seed, inflated=True)
