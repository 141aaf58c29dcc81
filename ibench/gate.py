"""Whether a checkpoint has become worse than an accepted one: a verdict for each task of the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from ibench.comparison import unlike
from ibench.errors import IbenchError, did_you_mean
from ibench.pairs import paired
from ibench.results import Kept
from ibench.scoring.outcomes import aligned, asked
from ibench.scoring.paired import ALPHA, Difference, holm
from ibench.tasks import lower_is_better, points

Cell = tuple[str, str]
"""A task and its protocol."""


class Limits(BaseModel):
    """What holds for one task instead of the policy's own, in points (median ranks: places)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_effect: float | None = Field(default=None, ge=0)
    margin: float | None = Field(default=None, gt=0)
    floor: float | None = None
    max_unreadable: int | None = Field(default=None, ge=0)


class Policy(BaseModel):
    """When a run fails. Points are hundredths of a share; of median ranks they are places.

    ``min_effect``: a significant loss fails only beyond it. ``margin``: a task fails unless a loss of as much is ruled
    out. ``max_unreadable``: samples of a task that may be unreadable. ``atol`` and ``flips`` are of the exact check:
    how far a sample's cosine may move, and how many predictions of a task may change. ``tasks``: limits of single
    tasks, and their ``floor``, which the score has to reach.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_effect: float = Field(default=0.5, ge=0)
    margin: float | None = Field(default=None, gt=0)
    max_unreadable: int = Field(default=0, ge=0)
    atol: float = Field(default=1e-5, ge=0)
    flips: int = Field(default=0, ge=0)
    tasks: dict[str, Limits] = Field(default_factory=dict)

    def of(self, task: str) -> Limits:
        """The limits in force for a task."""
        own = self.tasks.get(task, Limits())
        return Limits(
            min_effect=self.min_effect if own.min_effect is None else own.min_effect,
            margin=self.margin if own.margin is None else own.margin,
            floor=own.floor,
            max_unreadable=self.max_unreadable if own.max_unreadable is None else own.max_unreadable,
        )


class State(str, Enum):
    """What a task, or the whole gate, came to."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Verdict:
    """One task: its state and why; ``difference`` and the adjusted ``p`` of having become worse where pairs were
    compared; ``value`` is the run's score, ``baseline`` the accepted one."""

    task: str
    protocol: str
    metric: str
    state: State
    reasons: tuple[str, ...]
    baseline: float
    value: float | None = None
    difference: Difference | None = None
    p: float | None = None


@dataclass(frozen=True)
class Gate:
    """The verdicts, in the baseline's order, and what the run has beyond it."""

    baseline: str
    run: str
    verdicts: tuple[Verdict, ...]
    beyond: tuple[str, ...]

    @property
    def state(self) -> State:
        """The worst of the verdicts."""
        states = {verdict.state for verdict in self.verdicts}
        return next(state for state in (State.FAIL, State.INCONCLUSIVE, State.PASS) if state in states)

    def exit_code(self, strict: bool) -> int:
        """0; 1 for a failure; 3 for an inconclusive gate that is ``strict``."""
        return {State.FAIL: 1, State.INCONCLUSIVE: 3 if strict else 0, State.PASS: 0}[self.state]


def judge(
    baseline: Sequence[Kept], run: Sequence[Kept], policy: Policy, broken: Mapping[Cell, str], exact: bool = False
) -> Gate:
    """Hold a run to a baseline, each the records of one checkpoint.

    A task fails when it is missing (``broken`` says why), not finite, of other samples, or unreadable beyond the limit;
    when it is significantly worse (one-sided, in pairs, Holm over the tasks) by more than ``min_effect``; below its
    floor; or not shown to be within its margin. It is inconclusive where a loss of ``min_effect`` is neither ruled out
    nor would have been found, unless a margin that is kept settles it. With ``exact`` both have to be of one
    checkpoint, and the outcome of every sample the same.

    Raises IbenchError for a policy of tasks that the baseline has not, and where per-sample rows are not kept.
    """
    refuse_unknown(policy, baseline)
    new = {_cell(one): one for one in run}
    faults = {_cell(old): _faults(old, new.get(_cell(old)), policy, broken) for old in baseline}
    pairs = [(old, new[_cell(old)]) for old in baseline if not faults[_cell(old)]]
    judged = _exact(pairs, policy) if exact else _statistical(pairs, policy)
    verdicts = judged | {
        _cell(old): _verdict(old, new.get(_cell(old)), State.FAIL, faults[_cell(old)])
        for old in baseline
        if faults[_cell(old)]
    }
    return Gate(
        _named(baseline),
        _named(run),
        tuple(verdicts[_cell(old)] for old in baseline),
        tuple(f"{task} ({protocol})" for task, protocol in new if (task, protocol) not in verdicts),
    )


def _faults(old: Kept, new: Kept | None, policy: Policy, broken: Mapping[Cell, str]) -> tuple[str, ...]:
    """Why a task cannot be judged at all."""
    if new is None:
        return (broken.get(_cell(old), "the run has no such task"),)
    allowed = policy.of(old.record.task).max_unreadable
    assert allowed is not None
    found = []
    if differing := unlike(new.record, old.record):
        found.append(f"differs from the baseline in {', '.join(differing)} (n {old.record.n} and {new.record.n})")
    for name, value in (("the score", new.record.score.value), ("the baseline's score", old.record.score.value)):
        if not math.isfinite(value):
            found.append(f"{name} is {value}")
    if new.record.n_unreadable > allowed:
        found.append(f"{new.record.n_unreadable} samples are unreadable, {allowed} may be")
    return tuple(found)


def _statistical(pairs: Sequence[tuple[Kept, Kept]], policy: Policy) -> dict[Cell, Verdict]:
    differences = [paired(old, new) for old, new in pairs]
    worse = [
        one.p_higher if lower_is_better(old.record.headline) else one.p_lower
        for (old, _), one in zip(pairs, differences, strict=True)
    ]
    return {
        _cell(old): _weighed(old, new, difference, p, policy.of(old.record.task))
        for (old, new), difference, p in zip(pairs, differences, holm(worse), strict=True)
    }


def _weighed(old: Kept, new: Kept, difference: Difference, p: float, limits: Limits) -> Verdict:
    """The verdict on one comparison; all in points."""
    metric = new.record.headline
    scale, down = points(metric), lower_is_better(metric)
    assert limits.min_effect is not None
    lost = scale * (difference.value if down else -difference.value)
    at_most = scale * (difference.at_most if down else -difference.at_least)  # the loss, one-sided 95%
    detectable = scale * difference.detectable
    failed = _below_floor(scale * difference.second, down, limits)
    if p <= ALPHA and lost > limits.min_effect:
        failed.append(f"worse by {lost:.2f} (p {p:.2g}), more than {limits.min_effect:g}")
    if limits.margin is not None and at_most >= limits.margin:
        failed.append(f"a loss of up to {at_most:.2f} is not ruled out, the margin is {limits.margin:g}")
    if failed:
        return _verdict(old, new, State.FAIL, failed, difference, p)
    if limits.margin is None and detectable > limits.min_effect and at_most >= limits.min_effect:
        told = f"a loss of {limits.min_effect:g} would be missed: only one of {detectable:.2f} is found 4 times in 5"
        return _verdict(old, new, State.INCONCLUSIVE, [told], difference, p)
    return _verdict(old, new, State.PASS, [], difference, p)


def _below_floor(told: float, down: bool, limits: Limits) -> list[str]:
    if limits.floor is None or (told <= limits.floor if down else told >= limits.floor):
        return []
    return [f"{told:.2f} is {'above' if down else 'below'} the floor of {limits.floor:g}"]


def _exact(pairs: Sequence[tuple[Kept, Kept]], policy: Policy) -> dict[Cell, Verdict]:
    for old, new in pairs:
        if old.record.encoder.checkpoint_sha256 != new.record.encoder.checkpoint_sha256:
            raise IbenchError(
                f"an exact check is of one checkpoint: the baseline is of {_named([old])}, the run of {_named([new])}"
            )
    return {_cell(old): _same(old, new, policy) for old, new in pairs}


def _same(old: Kept, new: Kept, policy: Policy) -> Verdict:
    """Whether every sample has the same cosine within ``atol`` and the same prediction."""
    moves, flips = [], 0
    before, after = old.samples(), new.samples()
    for direction in ("", "reverse_") if "direction" in before else ("",):
        own = asked(direction, before)
        other = aligned(own, asked(direction, after))
        moves.append(_moved(own, other))
        flips += (
            int((own["prediction"].to_numpy() != other["prediction"].to_numpy()).sum()) if "prediction" in own else 0
        )
    moved = float(np.max(moves))  # NaN if one is
    scale, down = points(new.record.headline), lower_is_better(new.record.headline)
    failed = _below_floor(scale * new.record.score.value, down, policy.of(old.record.task))
    if not moved <= policy.atol:
        failed.append(f"a cosine moved by {moved:.2g}, more than {policy.atol:g}")
    if flips > policy.flips:
        failed.append(f"{flips} predictions changed, {policy.flips} may")
    told = failed or [f"the largest move of a cosine is {moved:.2g}, {flips} predictions changed"]
    return _verdict(old, new, State.FAIL if failed else State.PASS, told)


def _moved(own: pd.DataFrame, other: pd.DataFrame) -> float:
    """The largest difference of a cosine; NaN where one is NaN."""
    column = "scores" if "scores" in own else "score"
    before, after = (np.hstack(rows[column].to_list()).astype(np.float64) for rows in (own, other))
    return float(np.abs(before - after).max()) if before.shape == after.shape else math.inf


def _verdict(
    old: Kept,
    new: Kept | None,
    state: State,
    reasons: Sequence[str],
    difference: Difference | None = None,
    p: float | None = None,
) -> Verdict:
    record, value = old.record, None if new is None else new.record.score.value
    before = record.score.value
    return Verdict(record.task, record.protocol, record.headline, state, tuple(reasons), before, value, difference, p)


def refuse_unknown(policy: Policy, baseline: Sequence[Kept]) -> None:
    """Raise IbenchError for a policy of tasks that the baseline has not."""
    tasks = {one.record.task for one in baseline}
    for name in policy.tasks:
        if name not in tasks:
            raise IbenchError(f"the policy names task '{name}', the baseline has no such; {did_you_mean(name, tasks)}")


def _cell(one: Kept) -> Cell:
    return one.record.task, one.record.protocol


def _named(run: Sequence[Kept]) -> str:
    if not run:
        return "nothing"
    encoder = run[0].record.encoder
    return f"{encoder.name} {encoder.short_digest}"
