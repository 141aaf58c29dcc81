"""Two runs on the same samples, compared in pairs: what differs, how surely, and what could have been seen.

Shares of samples (accuracy, recall@k): the exact McNemar test, which is the sign-flip test of the samples' differences,
and over clusters the exact sign-flip test of the clusters' summed differences. Everything else (mAP, MRR, mean
per-class recall, median rank): the paired bootstrap over samples or clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, signal, stats

from ibench.scoring.intervals import RESAMPLES, Weighted, codes_of, unit_draws

ALPHA = 0.05
POWER = 0.8
_ROUNDING = 1e-12  # draws that differ by less do not: sums of the same numbers in another order

Outcome: TypeAlias = NDArray[np.bool_] | Weighted
"""What a metric is made of: hits [n], whose mean it is, or a function of the samples' weights [n]."""


@dataclass(frozen=True)
class Difference:
    """The second run less the first, in the metric's own unit.

    ``low`` and ``high`` are the 95% interval, ``at_least`` and ``at_most`` the one-sided 95% bounds. ``p`` is
    two-sided, ``p_lower`` and ``p_higher`` are of the alternatives that the second is lower, and higher. ``detectable``
    is the difference that the one-sided test at 5% finds with a probability of 80%. ``changed`` is how many of the
    ``n`` samples came out otherwise, -1 where that is not counted. Infinite ends: nothing can be said.
    """

    first: float
    second: float
    low: float
    high: float
    at_least: float
    at_most: float
    p: float
    p_lower: float
    p_higher: float
    detectable: float
    n: int
    changed: int
    test: str

    @property
    def value(self) -> float:
        return self.second - self.first


def difference(
    first: Outcome, second: Outcome, clusters: Sequence[str], seed: int, most: float = math.inf
) -> Difference:
    """Compare two outcomes of the same samples; ``clusters[i]`` is the cluster of sample i, "" one of its own.

    No two values of the metric differ by more than ``most``; an interval ends there, unless it is infinite.
    """
    codes = codes_of(clusters)
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return _within(1.0, _of_shares(first, second, codes))
    assert callable(first)
    assert callable(second)
    return _within(most, _of_statistics(first, second, codes, seed))


def _within(most: float, found: Difference) -> Difference:
    ends = {name: getattr(found, name) for name in ("low", "high", "at_least", "at_most")}
    return replace(
        found, **{name: min(max(end, -most), most) if math.isfinite(end) else end for name, end in ends.items()}
    )


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for being several, in their order: Holm's step-down (Scand. J. Statist. 6:65, 1979)."""
    order = np.argsort(p, kind="stable")
    stepped = np.array(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(one) for one in adjusted]


def detectable(standard_error: float) -> float:
    """The difference that a one-sided test at ALPHA finds with probability POWER: (z(1-ALPHA) + z(POWER)) × SE.

    ``standard_error`` is that of no difference; for McNemar √(discordant pairs) / n. Connor's formula (Biometrics
    43:207, 1987) puts a slightly smaller term beside z(POWER); leaving it out errs to the side of a larger difference.
    """
    return float(stats.norm.ppf(1 - ALPHA) + stats.norm.ppf(POWER)) * standard_error


def sign_flips(sums: NDArray[np.int64]) -> tuple[float, float, float]:
    """Exact p-values (two-sided, lower, higher) of the total of ``sums``, when each might as well have the other sign.

    ``sums[k]`` is the difference of cluster k, summed over its samples. Were the runs exchangeable within clusters,
    all 2^k signs would be equally likely (Fisher's randomisation test; with matched groups Gail et al., Biometrika
    75:57, 1988). Clusters of one sample make it the exact McNemar test. The distribution is convolved, not sampled.
    """
    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    if not len(sizes):
        return 1.0, 1.0, 1.0
    if sizes.tolist() == [1]:
        up = int((sums > 0).sum())
        tests = (stats.binomtest(up, int(counts[0]), alternative=side) for side in ("two-sided", "less", "greater"))
        two_sided, lower, higher = (float(test.pvalue) for test in tests)
        return two_sided, lower, higher
    ups = np.ones(1)  # ups[s]: the probability that the positive ones sum to s
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        steps = np.zeros(size * count + 1)
        steps[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        ups = np.maximum(signal.convolve(ups, steps), 0.0)
    up = int(sums[sums > 0].sum())
    lower, higher = min(float(ups[: up + 1].sum()), 1.0), min(float(ups[up:].sum()), 1.0)
    return min(2 * min(lower, higher), 1.0), lower, higher


def tango(lost: int, won: int, n: int, level: float) -> tuple[float, float]:
    """The score interval of the difference (won - lost) / n of two paired shares (Tango, Stat. Med. 17:891, 1998).

    It holds the differences that McNemar's test, without its correction, would not refuse.
    """
    z = float(stats.norm.ppf((1 + level) / 2))
    value = (won - lost) / n

    def distance(delta: float) -> float:
        return _tango_score(lost, won, n, delta)

    low = -1.0 if won - lost == -n else float(optimize.brentq(lambda delta: distance(delta) - z, -1.0, value))
    high = 1.0 if won - lost == n else float(optimize.brentq(lambda delta: distance(delta) + z, value, 1.0))
    return low, high


def _tango_score(lost: int, won: int, n: int, delta: float) -> float:
    """(won - lost - n·delta) over its standard error at the likeliest shares whose difference is ``delta``."""
    linear = -(lost + won) + (2 * n - won + lost) * delta
    constant = -lost * delta * (1 - delta)
    share_lost = (math.sqrt(max(linear * linear - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * (2 * share_lost + delta * (1 - delta))
    distance = won - lost - n * delta
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0.0


def _of_shares(first: NDArray[np.bool_], second: NDArray[np.bool_], codes: NDArray[np.intp]) -> Difference:
    n, units = len(codes), int(codes.max()) + 1
    changes = second.astype(np.int64) - first.astype(np.int64)
    sums = np.bincount(codes, weights=changes, minlength=units).astype(np.int64)
    p, lower, higher = sign_flips(sums)
    if units == n or not sums.any():  # where no cluster differs, the clusters are the samples
        lost, won = int((sums < 0).sum()), int((sums > 0).sum())
        ends = [tango(lost, won, units, level) for level in (0.95, 1 - 2 * ALPHA)]
    else:
        sizes = np.bincount(codes, minlength=units)
        ends = _student(float(changes.mean()), _cluster_error(sums, sizes), units)
    (low, high), (at_least, at_most) = ends
    return Difference(
        first=float(first.mean()),
        second=float(second.mean()),
        low=low,
        high=high,
        at_least=at_least,
        at_most=at_most,
        p=p,
        p_lower=lower,
        p_higher=higher,
        detectable=detectable(math.sqrt(float(sums @ sums)) / n) if units > 1 else math.inf,
        n=n,
        changed=int(np.count_nonzero(changes)),
        test="exact McNemar" if units == n else f"exact sign flips of {units} clusters",
    )


def _cluster_error(sums: NDArray[np.int64], sizes: NDArray[np.intp]) -> float:
    """The standard error of a mean difference over clusters of unequal sizes, as in Obuchowski, Stat. Med. 17:1495
    (1998): the mean is the ratio of the clusters' sums to their sizes."""
    units, n = len(sums), int(sizes.sum())
    if units < 2:
        return math.inf
    residuals = sums - sizes * (sums.sum() / n)
    return math.sqrt(units / (units - 1) * float(residuals @ residuals)) / n


def _student(value: float, error: float, units: int) -> list[tuple[float, float]]:
    """The intervals of 95% and 90% with the t quantiles of ``units`` - 1 degrees of freedom; infinite for one unit."""
    if units < 2:
        return [(-math.inf, math.inf)] * 2
    halves = (float(stats.t.ppf(upper, units - 1)) * error for upper in (0.975, 1 - ALPHA))
    return [(value - half, value + half) for half in halves]


def _of_statistics(first: Weighted, second: Weighted, codes: NDArray[np.intp], seed: int) -> Difference:
    """The paired bootstrap: both runs on the same draws, the spread of their difference as its standard error.

    The spread, not the percentiles: Holm asks for p-values far smaller than 1 / draws, and draws that repeat samples
    inflate mAP (see `intervals.bootstrap`), which moves the percentiles but not the spread (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapters 6 and 12).
    """
    n, units = len(codes), int(codes.max()) + 1
    ones = np.ones(n)
    before, after = first(ones), second(ones)
    value = after - before
    error = _bootstrap_error(lambda weights: second(weights) - first(weights), codes, units, seed)
    (low, high), (at_least, at_most) = _student(value, error, units)
    if error > 0:
        lower = float(stats.t.cdf(value / error, units - 1)) if units > 1 else 1.0
        higher = float(stats.t.sf(value / error, units - 1)) if units > 1 else 1.0
    else:  # no draw differs from another: as sure as the number of draws allows
        rare = 1 / (RESAMPLES + 1)
        lower, higher = (1.0 if value >= 0 else rare), (1.0 if value <= 0 else rare)
    return Difference(
        first=before,
        second=after,
        low=low,
        high=high,
        at_least=at_least,
        at_most=at_most,
        p=min(2 * min(lower, higher), 1.0),
        p_lower=lower,
        p_higher=higher,
        detectable=detectable(error),
        n=n,
        changed=-1,
        test=f"paired {'bootstrap' if units == n else f'bootstrap of {units} clusters'}, {RESAMPLES} draws",
    )


def _bootstrap_error(statistic: Weighted, codes: NDArray[np.intp], units: int, seed: int) -> float:
    if units < 2:
        return math.inf
    draws = unit_draws(units, np.random.default_rng(seed))
    # NaN: a draw that the statistic says nothing of, see `intervals.bootstrap`
    error = float(np.nanstd([statistic(drawn.astype(np.float64)[codes]) for drawn in draws], ddof=1))
    return error if error > _ROUNDING else 0.0
