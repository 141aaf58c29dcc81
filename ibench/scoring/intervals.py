"""95% intervals: exact or closed where independent samples allow it, the bootstrap for everything else."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import stats

RESAMPLES = 1000
_BCA_LIMIT = 5000  # the jackknife of BCa costs one evaluation per cluster; beyond this the percentiles agree

Weighted: TypeAlias = Callable[[NDArray[np.float64]], float]
"""A metric as a function of how often each sample, or each kind of samples, counts."""


class Metric(BaseModel):
    """A value with its 95% interval, over ``n`` samples; ``method`` says how the interval was made."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    value: float
    low: float
    high: float
    n: int
    method: str

    @property
    def bounded(self) -> bool:
        """Whether there is an interval; where there is none, such as for one cluster, both ends are the value."""
        return not self.method.endswith("no interval")


class Curve(BaseModel):
    """A metric over something that is varied: ``points`` are its values, ascending, each with the metric there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    over: str
    points: tuple[tuple[float, Metric], ...]


def proportion(hits: NDArray[np.bool_], clusters: Sequence[str], seed: int) -> Metric:
    """The share of hits: Wilson's interval, or the cluster bootstrap when samples share clusters.

    ``clusters[i]`` names the cluster of sample i; "" is a cluster of its own. When all samples agree no draw differs
    from them, and the bootstrap would claim certainty: then it is Wilson's, with the clusters as the samples.
    """
    units = int(codes_of(clusters).max()) + 1
    agreed = bool(hits.all() or not hits.any())
    if units < len(hits) and not agreed:
        return bootstrap(lambda weights: float(np.average(hits, weights=weights)), clusters, seed)
    right = (units if hits.all() else 0) if agreed else int(hits.sum())
    interval = stats.binomtest(right, units).proportion_ci(method="wilson")
    method = "Wilson" if units == len(hits) else "Wilson over clusters"
    return Metric(
        value=float(np.mean(hits)), low=float(interval.low), high=float(interval.high), n=len(hits), method=method
    )


def median(values: NDArray[np.int64], clusters: Sequence[str], seed: int, bounds: tuple[int, int]) -> Metric:
    """The median of whole numbers within ``bounds``: an interval of order statistics, or the cluster bootstrap.

    Between the k-th smallest value and the k-th largest lies the median of any distribution with a probability that
    the binomial distribution of (n, 1/2) gives; k is the largest for which it is at least 95% (scipy's quantile_test).
    Fewer than six values are too few for any k, and the interval is all that the bounds admit.
    """
    if int(codes_of(clusters).max()) + 1 < len(values):
        order = np.argsort(values)
        return bootstrap(lambda weights: weighted_median(values[order], weights[order]), clusters, seed)
    interval = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    low, high = bounds if np.isnan(interval.low) else (interval.low, interval.high)
    return Metric(value=np.median(values), low=low, high=high, n=len(values), method="order statistics")


def weighted_median(values: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    """The median of sorted values repeated ``weights`` times: the mean of the two middle ones of an even number."""
    upto = np.cumsum(weights)
    low, high = np.searchsorted(upto, [(upto[-1] - 1) / 2, upto[-1] / 2], side="right")
    return float(values[low] + values[min(high, len(values) - 1)]) / 2


def bootstrap(
    statistic: Weighted,
    clusters: Sequence[str],
    seed: int,
    *,
    kinds: NDArray[np.intp] | None = None,
    inflated: bool = False,
) -> Metric:
    """Any function of the samples' weights, with a bootstrap over clusters: BCa, or percentiles where they are many.

    ``statistic`` gets one weight per sample, how often it was drawn, and returns the metric. Where samples are alike to
    it, ``kinds[i]`` is the kind of sample i, from 0, and it gets one weight per kind: the same bootstrap, sooner.
    Draws of which it says nothing, by NaN, are left out, such as those without a positive to find.

    A statistic that is ``inflated`` is greater on draws than on the samples because draws repeat samples, by more than
    it varies where it averages many classes: its interval is the percentiles less the mean excess of the draws (and
    BCa, which takes the percentiles on the samples' side of the draws, has none left to take). The interval is of a
    share then, within 0 and 1.
    """
    codes = codes_of(clusters)
    n, units = len(codes), int(codes.max()) + 1
    rng = np.random.default_rng(seed)
    if kinds is not None and units == n:  # of independent samples only the number of each kind is drawn
        counts, of = np.bincount(kinds), statistic
        draws = (rng.multinomial(n, counts / n) for _ in range(RESAMPLES))
    else:
        counts, of = np.ones(units, np.int64), _of_units(statistic, codes, kinds)
        draws = unit_draws(units, rng)
    value = of(counts.astype(np.float64))
    if units < 2:
        return Metric(value=value, low=value, high=value, n=n, method="one cluster, no interval")
    drawn = np.array([of(times.astype(np.float64)) for times in draws])
    drawn = drawn[~np.isnan(drawn)]
    method, levels = "percentile", np.array([0.025, 0.975])
    if inflated:
        method = "centred percentile"
    elif units <= _BCA_LIMIT:
        method, levels = "BCa", _bca_levels(value, drawn, *_jackknife(of, counts))
    low, high = (float(end) for end in np.quantile(drawn, levels))
    if inflated:
        excess = float(np.mean(drawn)) - value
        low, high = max(low - excess, 0.0), min(high - excess, 1.0)
    name = f"{'cluster bootstrap' if units < n else 'bootstrap'} ({method}, {len(drawn)} draws)"
    return Metric(value=value, low=min(low, value), high=max(high, value), n=n, method=name)


def unit_draws(units: int, rng: np.random.Generator) -> Generator[NDArray[np.int64]]:
    """How often each of so many units is drawn, for each of RESAMPLES draws of as many with replacement."""
    return (np.bincount(rng.integers(units, size=units), minlength=units) for _ in range(RESAMPLES))


def _of_units(statistic: Weighted, codes: NDArray[np.intp], kinds: NDArray[np.intp] | None) -> Weighted:
    """The statistic as a function of the units' weights; unit ``codes[i]`` holds sample i."""
    if kinds is None:
        return lambda times: statistic(times[codes])
    return lambda times: statistic(np.bincount(kinds, times[codes]).astype(np.float64))


def _jackknife(of: Weighted, counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The statistic without one unit, for each kind of units, and how many units are of it."""
    without = []
    for kind in np.flatnonzero(counts):
        times = counts.astype(np.float64)
        times[kind] -= 1
        without.append(of(times))
    return np.array(without), counts[counts > 0]


def _bca_levels(
    value: float, draws: NDArray[np.float64], without: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Which quantiles of the draws bound the bias-corrected and accelerated interval (Efron, JASA 82:171, 1987).

    As scipy.stats.bootstrap takes them, which leaves out every unit in turn, alike or not. The plain percentiles where
    there is no answer: all draws lie to one side of the value, or nothing changes when a unit is left out.
    """
    bias = stats.norm.ppf((np.mean(draws < value) + np.mean(draws <= value)) / 2)
    influence = np.average(without, weights=counts) - without
    spread = counts @ influence**2
    plain = np.array([0.025, 0.975])
    if not np.isfinite(bias) or not spread > 0:
        return plain
    acceleration = (counts @ influence**3) / (6 * spread**1.5)
    z = bias + stats.norm.ppf(plain)
    return np.asarray(stats.norm.cdf(bias + z / (1 - acceleration * z)))


def codes_of(clusters: Sequence[str]) -> NDArray[np.intp]:
    """Cluster names as numbers from 0; samples without one get a number of their own."""
    if not any(clusters):
        return np.arange(len(clusters))
    names = [cluster or f"\0{row}" for row, cluster in enumerate(clusters)]
    return np.unique(names, return_inverse=True)[1].astype(np.intp)
