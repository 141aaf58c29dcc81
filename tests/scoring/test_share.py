"""The share of a gain: by hand, against scipy's bootstrap, and where a ratio means nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ibench.scoring.share import Part, share


def hits(right: int, of: int, chance: float = 0.1, seed: int = 0) -> Part:
    outcome = np.arange(of) < right
    return Part(np.random.default_rng(seed).permutation(outcome), chance, [""] * of)


def test_the_share_by_hand() -> None:
    found = share(hits(50, 100), hits(90, 100), paired=True, lower_is_better=False, seed=0)
    assert found is not None
    assert found.value == pytest.approx((0.5 - 0.1) / (0.9 - 0.1))
    assert found.low < found.value < found.high
    assert found.n == 100


def test_an_equal_score_is_all_of_it_and_chance_none() -> None:
    same = hits(70, 100)
    whole = share(same, same, paired=True, lower_is_better=False, seed=0)
    assert whole is not None
    assert (whole.value, whole.low, whole.high) == pytest.approx((1, 1, 1))
    none = share(hits(10, 100), hits(90, 100), paired=True, lower_is_better=False, seed=0)
    assert none is not None
    assert none.value == pytest.approx(0)
    assert none.low < 0 < none.high


def test_the_interval_is_that_of_scipy_for_pairs_and_for_two_samples() -> None:
    direct, trained = hits(120, 200, seed=1), hits(160, 200, seed=2)

    def ratio(one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
        return (one.mean(axis=axis) - 0.1) / (other.mean(axis=axis) - 0.1)

    for paired in (True, False):
        theirs = stats.bootstrap(
            (direct.outcome, trained.outcome), ratio, paired=paired, n_resamples=5000, method="percentile",
            rng=np.random.default_rng(3),
        ).confidence_interval  # fmt: skip
        ours = share(direct, trained, paired=paired, lower_is_better=False, seed=0)
        assert ours is not None
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_pairs_that_agree_are_surer_than_two_samples() -> None:
    outcome = np.random.default_rng(4).random(200) < 0.6
    part = Part(outcome, 0.1, [""] * 200)
    together, apart = (share(part, part, paired=paired, lower_is_better=False, seed=0) for paired in (True, False))
    assert together is not None
    assert apart is not None
    assert together.high - together.low < 0.01 < apart.high - apart.low


def test_clusters_are_drawn_whole() -> None:
    rng = np.random.default_rng(5)
    of_voice = rng.random(20) < 0.5
    direct = Part(np.repeat(of_voice, 25), 0.1, [f"voice {row // 25}" for row in range(500)])
    alone = direct._replace(clusters=[""] * 500)
    trained = hits(480, 500)
    wide, narrow = (share(one, trained, paired=False, lower_is_better=False, seed=0) for one in (direct, alone))
    assert wide is not None
    assert narrow is not None
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


@pytest.mark.parametrize("right", [10, 13, 2])
def test_of_a_trained_pair_at_chance_there_is_no_share(right: int) -> None:
    assert share(hits(80, 100), hits(right, 100), paired=True, lower_is_better=False, seed=0) is None


def test_where_all_samples_agree_the_interval_claims_no_certainty() -> None:
    all_right = share(hits(30, 30), hits(30, 30), paired=True, lower_is_better=False, seed=0)
    assert all_right is not None
    assert all_right.value == 1
    assert all_right.low < 0.95
    assert all_right.high > 1.05


def test_places_count_downwards() -> None:
    direct, trained = (Part(lambda weights, at=at: float(at), 50.5, [""] * 10) for at in (20, 5))
    found = share(direct, trained, paired=True, lower_is_better=True, seed=0)
    assert found is not None
    assert found.value == pytest.approx((20 - 50.5) / (5 - 50.5))
    assert share(direct, trained, paired=True, lower_is_better=False, seed=0) is None
