"""How much of one score's gain over chance another one reaches, with an interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ibench.scoring.intervals import RESAMPLES, Metric, Weighted, bootstrap, codes_of, proportion, unit_draws
from ibench.scoring.paired import Outcome


class Part(NamedTuple):
    """A score: what it is made of [n], what it is by chance, and the cluster of each sample ("" one of its own)."""

    outcome: Outcome
    chance: float
    clusters: Sequence[str]

    @property
    def weighted(self) -> Weighted:
        """The score as a function of the samples' weights."""
        hits = self.outcome
        return (lambda weights: float(np.average(hits, weights=weights))) if isinstance(hits, np.ndarray) else hits


def share(direct: Part, trained: Part, *, paired: bool, lower_is_better: bool, seed: int) -> Metric | None:
    """(direct - its chance) / (trained - its chance), 1 where the direct score gains as much; None where that is empty.

    ``paired``: sample i of both is the same, and one draw of clusters serves both; else each is drawn by itself. The
    interval is of the percentiles of the ratio. Of a ratio they can be trusted only while the denominator keeps away
    from 0: there is no share unless the trained score's own 95% interval lies on the better side of its chance, and the
    few draws that do not are left out. Where all samples agree, no draw differs and the bootstrap would claim
    certainty: the interval then covers the ends of that score's own interval as well.
    """
    own, other = (_interval(part, seed) for part in (direct, trained))
    sign = -1 if lower_is_better else 1
    if not min(sign * (other.low - trained.chance), sign * (other.high - trained.chance)) > 0:
        return None

    def reached(score: float, gained: float) -> float:
        return (score - direct.chance) / (gained - trained.chance)

    draws = _draws(direct, trained, paired, seed)
    drawn = np.array([[direct.weighted(one), trained.weighted(two)] for one, two in draws])
    drawn = drawn[sign * (drawn[:, 1] - trained.chance) > 0]
    value = reached(own.value, other.value)
    ends = [value, *np.quantile([reached(*pair) for pair in drawn.tolist()], [0.025, 0.975]).tolist()]
    if not np.ptp(drawn[:, 0]):
        ends += [reached(own.low, other.value), reached(own.high, other.value)]
    if not np.ptp(drawn[:, 1]):
        ends += [reached(own.value, other.low), reached(own.value, other.high)]
    method = f"{'paired' if paired else 'two-sample'} bootstrap (percentile, {RESAMPLES} draws)"
    return Metric(value=value, low=min(ends), high=max(ends), n=len(direct.clusters), method=method)


def _interval(part: Part, seed: int) -> Metric:
    if isinstance(part.outcome, np.ndarray):
        return proportion(part.outcome, part.clusters, seed)
    return bootstrap(part.outcome, part.clusters, seed)


def _draws(
    direct: Part, trained: Part, paired: bool, seed: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """How often each sample of both is drawn."""
    rng = np.random.default_rng(seed)
    if paired:
        yield from ((weights, weights) for weights in _weights(direct.clusters, rng))
    else:
        yield from zip(_weights(direct.clusters, rng), _weights(trained.clusters, rng), strict=True)


def _weights(clusters: Sequence[str], rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    codes = codes_of(clusters)
    return (times[codes].astype(np.float64) for times in unit_draws(int(codes.max()) + 1, rng))
