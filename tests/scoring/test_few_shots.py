"""Few shots: what is drawn, what is fitted (scikit-learn beside), and the intervals of draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score

from ibench.scoring import fewshot
from ibench.scoring.fewshot import ONE_SHOT, STRENGTHS, Round, fitted_classes, over_draws, predictions, votes


def clusters(
    rng: np.random.Generator, classes: int, each: int, dim: int, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors about a direction for each class, in mixed order, and their classes."""
    centres = np.eye(dim)[:classes]
    gold = rng.permutation(np.repeat(np.arange(classes), each))
    vectors = centres[gold] + noise * rng.standard_normal((len(gold), dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), gold


def one_round(n: int, tested: int) -> list[Round]:
    return [Round(np.arange(tested), np.arange(tested, n))]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, np.ndarray]]:
    """The samples and classes of every fit; what is said of the samples is nothing."""
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def note(samples: np.ndarray, classes: np.ndarray, asked: np.ndarray, seed: int) -> np.ndarray:
        seen.append((samples, classes))
        return np.zeros(len(asked), np.intp)

    monkeypatch.setattr(fewshot, "fitted_classes", note)
    return seen


def test_a_draw_has_k_samples_of_each_class_and_none_that_are_tested(fits: list) -> None:
    gold = np.arange(60) % 4
    vectors = np.arange(60, dtype=np.float32)[:, None]
    rounds = [Round(np.arange(20), np.arange(20, 60)), Round(np.arange(20, 60), np.arange(20))]
    said = predictions(vectors, gold, rounds, shots=3, draws=5, seed=1)
    assert said.shape == (5, 60)
    assert (said == 0).all()
    assert len(fits) == 10
    for number, (samples, classes) in enumerate(fits):
        drawn = samples[:, 0].astype(int)
        assert len(set(drawn)) == 12
        assert np.bincount(classes).tolist() == [3, 3, 3, 3]
        assert (classes == gold[drawn]).all()
        assert set(drawn) <= set(rounds[number // 5].training)
    assert len({tuple(samples[:, 0]) for samples, _ in fits}) == 10


def test_more_shots_are_fewer_and_others_and_a_seed_gives_the_same_draws(fits: list) -> None:
    gold = np.arange(80) % 4
    vectors = np.arange(80, dtype=np.float32)[:, None]
    for shots, seed in ((2, 7), (5, 7), (5, 7), (5, 8)):
        predictions(vectors, gold, one_round(80, 10), shots, draws=3, seed=seed)
    drawn = [set(samples[:, 0]) for samples, _ in fits]
    few, more, again, other = drawn[:3], drawn[3:6], drawn[6:9], drawn[9:]
    assert all(one < larger for one, larger in zip(few, more, strict=True))
    assert more == again
    assert all(one != another for one, another in zip(more, other, strict=True))


def test_all_shots_are_the_whole_training_part_once(fits: list) -> None:
    gold = np.arange(30) % 3
    said = predictions(np.arange(30, dtype=np.float32)[:, None], gold, one_round(30, 12), None, draws=10, seed=0)
    assert said.shape == (1, 30)
    assert (said[0, 12:] == -1).all()
    ((samples, _),) = fits
    assert samples[:, 0].tolist() == list(range(12, 30))


@pytest.mark.parametrize(("each", "dim"), [(4, 96), (12, 16)])
def test_a_fit_is_scikit_learns_on_the_vectors_as_they_are(each: int, dim: int) -> None:
    """Fewer samples than dimensions are turned into their span, which must change nothing."""
    rng = np.random.default_rng(each)
    samples, classes = clusters(rng, 6, each, dim, 0.25)
    asked, _ = clusters(rng, 6, 60, dim, 0.25)
    own = fitted_classes(samples, classes, asked, seed=3)
    folds = StratifiedKFold(3, shuffle=True, random_state=3)
    accuracies = [
        cross_val_score(LogisticRegression(C=one, max_iter=1000), samples.astype(np.float64), classes, cv=folds).mean()
        for one in STRENGTHS
    ]
    best = LogisticRegression(C=STRENGTHS[int(np.argmax(accuracies))], max_iter=1000)
    theirs = best.fit(samples.astype(np.float64), classes).predict(asked.astype(np.float64))
    assert (own == theirs).mean() >= 0.99  # both stop near the optimum, not at it


def test_one_shot_takes_the_strength_that_is_said() -> None:
    rng = np.random.default_rng(0)
    samples, classes = clusters(rng, 5, 1, 12, 0.3)
    asked, _ = clusters(rng, 5, 40, 12, 0.3)
    theirs = LogisticRegression(C=ONE_SHOT, max_iter=1000).fit(samples.astype(np.float64), classes).predict(asked)
    assert (fitted_classes(samples, classes, asked, seed=0) == theirs).mean() >= 0.99


def test_what_is_tested_has_no_say_in_the_fit() -> None:
    rng = np.random.default_rng(4)
    samples, classes = clusters(rng, 4, 5, 20, 0.4)
    asked, _ = clusters(rng, 4, 30, 20, 0.4)
    whole = fitted_classes(samples, classes, asked, seed=0)
    assert (fitted_classes(samples, classes, asked[:7], seed=0) == whole[:7]).all()


def test_an_oracle_is_always_right_and_shuffled_classes_are_at_chance() -> None:
    rng = np.random.default_rng(5)
    vectors, gold = clusters(rng, 5, 60, 16, 0.02)
    right = predictions(vectors, gold, one_round(300, 150), 2, draws=4, seed=0)[:, :150] == gold[:150]
    assert right.all()
    shuffled = rng.permutation(gold)
    wrong = predictions(vectors, shuffled, one_round(300, 150), 8, draws=6, seed=0)[:, :150] == shuffled[:150]
    low, high = stats.binom.interval(0.9999, 150, 1 / 5)
    assert low / 150 < wrong.mean() < high / 150


def test_more_shots_help_where_samples_are_noisy() -> None:
    vectors, gold = clusters(np.random.default_rng(6), 6, 80, 24, 0.35)
    accuracy = [
        (predictions(vectors, gold, one_round(480, 300), shots, 5, 0)[:, :300] == gold[:300]).mean()
        for shots in (1, 4, 16, None)
    ]
    assert accuracy == sorted(accuracy)
    assert accuracy[-1] > accuracy[0] + 0.2


def test_the_interval_of_draws_is_scipys() -> None:
    right = np.random.default_rng(0).random((10, 400)) < 0.7
    metric = over_draws(right)
    means = right.mean(axis=1)
    interval = stats.t.interval(0.95, 9, loc=means.mean(), scale=stats.sem(means))
    assert (metric.low, metric.high) == pytest.approx(interval)
    assert metric.value == pytest.approx(means.mean())
    assert (metric.n, metric.method) == (400, "t over 10 draws")
    certain = over_draws(np.ones((3, 5), bool))
    assert (certain.low, certain.value, certain.high) == (1, 1, 1)


def test_votes_are_counted() -> None:
    said = np.array([[0, 2], [0, 1], [1, 1]])
    assert votes(said, 3).tolist() == [[2, 1, 0], [0, 2, 1]]
