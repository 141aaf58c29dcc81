"""95% intervals: exact or closed where independent samples allow it, the bootstrap for everything else."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import stats

RESAMPLES = 1000
_DRAWN_AT_ONCE = 1 << 17  # units of all draws held at once: scipy holds all draws and the whole jackknife if not told
_BCA_LIMIT = 5000  # the jackknife of BCa costs one evaluation per cluster; beyond this the percentiles agree


class Metric(BaseModel):
    """A value with its 95% interval, over ``n`` samples; ``method`` says how the interval was made."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    value: float
    low: float
    high: float
    n: int
    method: str


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
    statistic: Callable[[NDArray[np.float64]], float], clusters: Sequence[str], seed: int, *, inflated: bool = False
) -> Metric:
    """Any function of the samples' weights, with a bootstrap over clusters (scipy's BCa, or percentiles if many).

    ``statistic`` gets one weight per sample, how often it was drawn, and returns the metric. One that is ``inflated``
    is greater on draws than on the samples because draws repeat samples, by more than it varies where it averages many
    classes: its interval is the percentiles less the mean excess of the draws (and BCa, which takes the percentiles on
    the samples' side of the draws, has none left to take). The interval is of a share then, within 0 and 1.
    """
    codes = codes_of(clusters)
    units = int(codes.max()) + 1

    def resampled(drawn: NDArray[np.intp]) -> float:
        return statistic(np.bincount(drawn, minlength=units).astype(np.float64)[codes])

    value = statistic(np.ones(len(codes)))
    method = "BCa" if units <= _BCA_LIMIT and not inflated else "percentile"
    kind = "centred percentile" if inflated else method
    name = f"{'cluster bootstrap' if units < len(codes) else 'bootstrap'} ({kind}, {RESAMPLES} draws)"
    if units < 2:
        return Metric(value=value, low=value, high=value, n=len(codes), method="one cluster, no interval")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns when BCa has no answer; the lines below have one
        result = stats.bootstrap(
            (np.arange(units),),
            resampled,
            vectorized=False,
            n_resamples=RESAMPLES,
            batch=max(1, _DRAWN_AT_ONCE // units),
            method=method,
            rng=np.random.default_rng(seed),
        )
    low, high = (float(end) for end in result.confidence_interval)
    draws = result.bootstrap_distribution
    if not np.isfinite([low, high]).all():  # all draws agree, or lie to one side of the value
        low, high = (float(end) for end in np.quantile(draws, [0.025, 0.975]))
    if inflated:
        excess = float(np.mean(draws)) - value
        low, high = max(low - excess, 0.0), min(high - excess, 1.0)
    return Metric(value=value, low=min(low, value), high=max(high, value), n=len(codes), method=name)


def codes_of(clusters: Sequence[str]) -> NDArray[np.intp]:
    """Cluster names as numbers from 0; samples without one get a number of their own."""
    if not any(clusters):
        return np.arange(len(clusters))
    names = [cluster or f"\0{row}" for row, cluster in enumerate(clusters)]
    return np.unique(names, return_inverse=True)[1].astype(np.intp)
