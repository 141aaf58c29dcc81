"""Paired comparisons against statsmodels, scipy and brute force; and how often they are wrong, by simulation."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from ibench.errors import IbenchError
from ibench.scoring import classification, multilabel, paired, retrieval
from ibench.scoring.intervals import Metric, codes_of
from ibench.scoring.multilabel import RankedScores
from ibench.scoring.outcomes import aligned, asked, outcome
from ibench.scoring.paired import Difference, difference, holm, sign_flips, tango

seeds = st.integers(0, 10_000)


def pair(both: int, lost: int, won: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits of two runs with a given 2×2 table."""
    first = np.repeat([True, True, False, False], [both, lost, won, neither])
    second = np.repeat([True, False, True, False], [both, lost, won, neither])
    return first, second


def alone(n: int) -> list[str]:
    return [""] * n


# shares ---------------------------------------------------------------------------------------------------------------


def test_no_interval_goes_beyond_what_is_possible() -> None:
    lost = np.arange(12) >= 4
    found = difference(lost, np.zeros(12, bool), ["a"] * 4 + ["b"] * 4 + ["c"] * 4, 0)
    assert found.low == found.at_least == -1
    score = lambda at: lambda weights: float(np.average(at, weights=weights))  # noqa: E731
    outcomes = score(lost.astype(float)), score(np.zeros(12))
    clusters = ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    assert difference(*outcomes, clusters, 0).low < -1 == difference(*outcomes, clusters, 0, most=1.0).low


@given(both=st.integers(0, 50), lost=st.integers(0, 60), won=st.integers(0, 60), neither=st.integers(1, 50))
def test_the_test_of_shares_is_the_mcnemar_of_statsmodels(both: int, lost: int, won: int, neither: int) -> None:
    first, second = pair(both, lost, won, neither)
    found = difference(first, second, alone(len(first)), seed=0)
    assert found.p == pytest.approx(mcnemar([[both, lost], [won, neither]], exact=True).pvalue)
    assert found.value == pytest.approx((won - lost) / len(first))
    assert found.changed == lost + won
    assert found.p == pytest.approx(min(1.0, 2 * min(found.p_lower, found.p_higher)))


@given(lost=st.integers(0, 30), won=st.integers(0, 30), n=st.integers(60, 300), level=st.sampled_from([0.9, 0.95]))
def test_the_interval_of_shares_inverts_the_score_test(lost: int, won: int, n: int, level: float) -> None:
    """Tango's statistic from a numerical likelihood: at either end of the interval it is the quantile of the level."""

    def z(delta: float) -> float:
        def loss(share: float) -> float:  # of the lost; the won are as many plus delta, the rest agree
            shares = np.array([share, share + delta, 1 - 2 * share - delta])
            counts = np.array([lost, won, n - lost - won])
            return -float(np.sum(counts[counts > 0] * np.log(np.maximum(shares[counts > 0], 1e-300))))

        span = (max(0.0, -delta), (1 - delta) / 2)
        likeliest = optimize.minimize_scalar(loss, bounds=span, method="bounded", options={"xatol": 1e-12}).x
        likeliest = min((likeliest, *span), key=loss)
        return (won - lost - n * delta) / math.sqrt(n * (2 * likeliest + delta * (1 - delta)))

    quantile = stats.norm.ppf((1 + level) / 2)
    low, high = tango(lost, won, n, level)
    assert low <= (won - lost) / n <= high
    assert z(low) == pytest.approx(quantile, abs=1e-3)
    assert z(high) == pytest.approx(-quantile, abs=1e-3)


@given(lost=st.integers(0, 40), won=st.integers(0, 40))
def test_what_is_significant_excludes_zero(lost: int, won: int) -> None:
    first, second = pair(200, lost, won, 100)
    found = difference(first, second, alone(len(first)), seed=0)
    if found.p <= 0.05:
        assert not found.low <= 0 <= found.high
    if found.p_lower <= 0.05:
        assert found.at_most < 0


@given(
    lost=st.lists(st.integers(0, 3), min_size=2, max_size=9), won=st.lists(st.integers(0, 3), min_size=9, max_size=9)
)
def test_the_cluster_test_counts_every_flip_of_signs(lost: list[int], won: list[int]) -> None:
    sums = np.array([w - loss for w, loss in zip(won, lost, strict=False)])
    total = sums.sum()
    flipped = np.array([sums @ signs for signs in itertools.product((-1, 1), repeat=len(sums))])
    p, lower, higher = sign_flips(sums)
    assert lower == pytest.approx(np.mean(flipped <= total))
    assert higher == pytest.approx(np.mean(flipped >= total))
    assert p == pytest.approx(np.mean(np.abs(flipped) >= abs(total)))


def test_repeated_samples_are_no_evidence() -> None:
    """Each sample five times, in clusters: the p-value is that of the samples; without clusters it would shrink."""
    first, second = pair(60, 12, 4, 24)
    once = difference(first, second, alone(100), seed=0)
    clusters = [f"c{row}" for row in range(100) for _ in range(5)]
    five = difference(np.repeat(first, 5), np.repeat(second, 5), clusters, seed=0)
    assert five.p == pytest.approx(once.p)
    assert five.p_lower == pytest.approx(once.p_lower)
    assert five.detectable == pytest.approx(once.detectable)
    assert (five.low, five.high) == pytest.approx((once.low, once.high), abs=0.01)
    assert difference(np.repeat(first, 5), np.repeat(second, 5), alone(500), seed=0).p < once.p / 10


def test_one_cluster_says_nothing() -> None:
    first, second = pair(10, 10, 0, 0)
    found = difference(first, second, ["all"] * 20, seed=0)
    assert (found.p, found.low, found.high, found.detectable) == (1.0, -math.inf, math.inf, math.inf)


# several tests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_holm_is_that_of_statsmodels(count: int) -> None:
    rng = np.random.default_rng(count)
    for p in (rng.random(count), rng.random(count) ** 4, np.round(rng.random(count) ** 4, 1), np.ones(count)):
        assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_holm_of_nothing() -> None:
    assert holm([]) == []


# the rest -------------------------------------------------------------------------------------------------------------


def test_the_bootstrap_of_a_mean_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    ranks = rng.integers(1, 30, (2, 500))
    found = difference(*(retrieval.mean_reciprocal(rank) for rank in ranks), alone(500), seed=0)
    exact = stats.ttest_rel(1 / ranks[1], 1 / ranks[0])
    less = stats.ttest_rel(1 / ranks[1], 1 / ranks[0], alternative="less")
    assert found.value == pytest.approx(np.mean(1 / ranks[1] - 1 / ranks[0]))
    assert found.p == pytest.approx(exact.pvalue, abs=0.03)
    assert found.p_lower == pytest.approx(less.pvalue, abs=0.03)
    interval = exact.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.003)
    assert found.low < found.at_least < found.value < found.at_most < found.high


def test_equal_runs_do_not_differ() -> None:
    rows = pd.DataFrame({"rank": np.arange(1, 101)})
    for metric in ("mrr", "median_rank"):
        found = difference(outcome(metric, rows), outcome(metric, rows), alone(100), seed=0)
        assert (found.value, found.p, found.p_lower, found.low, found.high, found.detectable) == (0, 1, 1, 0, 0, 0)


def multilabel_rows(
    queries: np.ndarray, names: np.ndarray, gold: list[list[int]], ids: list[str]
) -> tuple[dict[str, Metric], pd.DataFrame]:
    each = [[row] for row in range(len(names))]
    return multilabel.score(queries, names, each, gold, list("abcdefg"), ids, alone(len(ids)), seed=0)


def test_what_a_metric_is_made_of_gives_the_metric_again(tmp_path: Path) -> None:
    """From the rows as they are written and read back, for every metric of every kind."""
    rng = np.random.default_rng(0)
    queries, names = rng.standard_normal((2, 80, 16)).astype(np.float32)
    gold, ids = rng.integers(0, 7, 80), [str(row) for row in range(80)]
    several = [[int(label), (int(label) + 3) % 7] for label in gold]
    everything = [multilabel_rows(queries, names[:7], several, ids)]
    everything.append(
        classification.score(queries, names[:7], [[c] for c in range(7)], gold, list("abcdefg"), ids, alone(80), seed=0)
    )
    found, rows = retrieval.score(queries, names, ids, ids, ids, ids, alone(80), seed=0)
    reverse, other = retrieval.score(names, queries, ids, ids, ids, ids, alone(80), seed=0)
    both = pd.concat([rows.assign(direction="a→b"), other.assign(direction="b→a")], ignore_index=True)
    everything.append((found | {f"reverse_{name}": metric for name, metric in reverse.items()}, both))
    for metrics, rows in everything:
        rows.to_parquet(tmp_path / "rows.parquet", index=False)
        kept = pd.read_parquet(tmp_path / "rows.parquet")
        for name, metric in metrics.items():
            part = asked(name, kept)
            made = outcome(name, part)
            value = made.mean() if isinstance(made, np.ndarray) else made(np.ones(len(part)))
            assert value == pytest.approx(metric.value, abs=1e-12), name


@pytest.mark.filterwarnings("error")
def test_draws_without_a_positive_are_left_out_of_a_difference_of_map() -> None:
    rng = np.random.default_rng(5)
    gold, ids = [[2] if row == 3 else [] for row in range(40)], [str(row) for row in range(40)]
    runs = [multilabel_rows(rng.standard_normal((40, 8)), rng.standard_normal((7, 8)), gold, ids) for _ in range(2)]
    found = difference(*(outcome("mAP", rows) for _, rows in runs), alone(40), seed=0)
    assert found.value == pytest.approx(runs[1][0]["mAP"].value - runs[0][0]["mAP"].value)
    assert np.isfinite([found.low, found.high, found.p, found.detectable]).all()
    assert found.low < found.value < found.high


def test_rows_of_several_classes_that_do_not_name_them_are_refused() -> None:
    _, rows = multilabel_rows(np.eye(7, dtype=np.float32), np.eye(7, dtype=np.float32), [[0]] * 7, list("stuvwxy"))
    rows.attrs.clear()
    with pytest.raises(IbenchError, match="do not name their classes"):
        outcome("mAP", rows)


def test_rows_are_paired_by_id() -> None:
    first = pd.DataFrame({"id": ["a", "b", "c"], "rank": [1, 2, 3]})
    second = pd.DataFrame({"id": ["c", "a", "b"], "rank": [30, 10, 20]})
    assert list(aligned(first, second)["rank"]) == [10, 20, 30]
    with pytest.raises(IbenchError, match="different samples"):
        aligned(first, second[:2])


# how often they are wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_cover_and_false_alarms_are_rare(clustered: bool) -> None:
    """500 pairs of runs with a known difference of -5 points, and 500 with none."""
    rng = np.random.default_rng(7)
    n, size = 300, 5 if clustered else 1
    clusters = [f"c{row // size}" for row in range(n)]

    def hits(lost: float, won: float) -> Difference:
        # a cluster's samples mostly share their fate
        own, common = rng.random(n), np.repeat(rng.random(n // size), size)
        fate = np.where(rng.random(n) < 0.7, common, own) if clustered else own
        first = (fate < 0.5) | (fate > 1 - lost)
        second = (fate < 0.5) | ((fate > 0.5) & (fate < 0.5 + won))
        return difference(first, second, clusters if clustered else alone(n), seed=0)

    differing = [hits(0.10, 0.05) for _ in range(500)]
    equal = [hits(0.06, 0.06) for _ in range(500)]
    assert np.mean([one.low <= -0.05 <= one.high for one in differing]) > 0.93
    assert np.mean([one.p_lower <= 0.05 for one in equal]) < 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 500)
    assert np.mean([one.p <= 0.05 for one in equal]) < 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 500)


@settings(deadline=None, max_examples=5)
@given(seed=seeds)
def test_the_detectable_difference_is_found_four_times_in_five(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, discordant = 2000, 0.08
    first, second = pair(1500, 80, 80, 340)
    delta = difference(first, second, alone(n), seed=0).detectable
    changed = rng.binomial(n, discordant, 1000)
    lost = rng.binomial(changed, (discordant + delta) / 2 / discordant)
    found = stats.binom.sf(lost - 1, changed, 0.5) <= 0.05
    assert 0.72 < found.mean() < 0.88


def test_the_spread_of_map_is_the_spread_over_new_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although draws repeat samples, which raises the precision of a positive that is drawn twice."""
    monkeypatch.setattr(paired, "RESAMPLES", 100)
    rng = np.random.default_rng(0)
    told, values = [], []
    for _ in range(60):
        positive = rng.random((100, 6)) < 0.1
        shared = rng.standard_normal(positive.shape)  # two runs find the same samples hard
        runs = [0.7 * (shared + rng.standard_normal(positive.shape)) + skill * positive for skill in (1.0, 1.3)]
        tables = [RankedScores(scores.astype(np.float32), positive) for scores in runs]
        means = [lambda weights, table=table: np.nanmean(table.average_precision(weights)) for table in tables]
        found = difference(*means, alone(100), seed=0)
        told.append((found.high - found.low) / 2 / stats.t.ppf(0.975, 99))
        values.append(found.value)
    assert 0.8 < np.mean(told) / np.std(values, ddof=1) < 1.25


def test_codes_keep_samples_without_a_cluster_apart() -> None:
    assert len(set(codes_of(["", "", "a", "a"]).tolist())) == 3


def test_a_difference_that_no_draw_changes_is_as_sure_as_the_draws_allow() -> None:
    """Whatever its sums round to: one over the draws, not the quotient of a difference and a rounding error."""
    found = difference(retrieval.mean_reciprocal(np.full(30, 3)), retrieval.mean_reciprocal(np.ones(30)), [""] * 30, 0)
    assert found.p == pytest.approx(2 / 1001)
    assert found.detectable == 0
