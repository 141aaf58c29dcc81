"""Metrics against independent oracles: scikit-learn, torchmetrics, and counting by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, balanced_accuracy_score, top_k_accuracy_score
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR

from ibench.errors import IbenchError
from ibench.scoring import classification, intervals, multilabel, retrieval
from ibench.scoring.classifier import class_embeddings
from ibench.scoring.intervals import Metric, bootstrap, codes_of, median, proportion

seeds = st.integers(0, 10_000)


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def classify(rng: np.random.Generator, n: int, classes: int) -> tuple:
    queries, names = unit(rng, n, 16), unit(rng, classes, 16)
    gold = rng.integers(0, classes, n)
    metrics, samples = classification.score(
        queries, names, [[c] for c in range(classes)], gold, [f"c{c}" for c in range(classes)],
        [str(i) for i in range(n)], [""] * n, seed=0,
    )  # fmt: skip
    return queries @ names.T, gold, metrics, samples


def test_classification_equals_scikit_learn() -> None:
    scores, gold, metrics, samples = classify(np.random.default_rng(1), 300, 12)
    labels = np.arange(12)
    assert metrics["top1"].value == pytest.approx(top_k_accuracy_score(gold, scores, k=1, labels=labels))
    assert metrics["top5"].value == pytest.approx(top_k_accuracy_score(gold, scores, k=5, labels=labels))
    assert metrics["mean_per_class_recall"].value == pytest.approx(balanced_accuracy_score(gold, scores.argmax(axis=1)))
    assert samples["correct"].mean() == metrics["top1"].value
    assert (samples["rank"] <= 5).mean() == metrics["top5"].value
    table = classification.confusion(samples)
    assert np.trace(table.to_numpy()) == samples["correct"].sum()


def test_a_tie_goes_to_the_class_listed_first() -> None:
    same = np.ones((3, 4), np.float32) / 2
    gold = np.array([0, 1, 2])
    metrics, samples = classification.score(
        same, same, [[0], [1], [2]], gold, ["a", "b", "c"], ["x", "y", "z"], [""] * 3, seed=0
    )
    assert list(samples["prediction"]) == ["a", "a", "a"]
    assert list(samples["rank"]) == [1, 2, 3]
    assert metrics["top1"].value == pytest.approx(1 / 3)


def test_a_class_of_several_names_scores_by_its_best() -> None:
    rng = np.random.default_rng(2)
    queries, names = unit(rng, 50, 8), unit(rng, 4, 8)
    _, samples = classification.score(
        queries, names, [[0], [1, 2, 3]], np.zeros(50, np.intp), ["own", "other"],
        [str(i) for i in range(50)], [""] * 50, seed=0,
    )  # fmt: skip
    scores = queries @ names.T
    expected = np.where(scores[:, 0] >= scores[:, 1:].max(axis=1), "own", "other")
    assert list(samples["prediction"]) == list(expected)


@given(seed=seeds, n=st.integers(2, 40), classes=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_average_precision_equals_scikit_learn_with_ties_and_weights(seed: int, n: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, (n, classes)).astype(np.float32)
    positive = rng.random((n, classes)) < 0.4
    positive[0] = True
    weights = rng.integers(0, 3, n).astype(np.float64)
    weights[0] = 1
    ours = multilabel.RankedScores(scores, positive).average_precision(weights)
    theirs = average_precision_score(positive, scores, average=None, sample_weight=weights)
    np.testing.assert_allclose(ours, np.atleast_1d(theirs), rtol=1e-12)


def test_multilabel_leaves_out_classes_without_a_positive() -> None:
    rng = np.random.default_rng(3)
    queries, names = unit(rng, 60, 8), unit(rng, 5, 8)
    gold = [[int(i % 3), 3] if i % 2 else [int(i % 3)] for i in range(60)]  # class 4 never occurs
    metrics, samples = multilabel.score(
        queries, names, [[c] for c in range(5)], gold, list("abcde"), [str(i) for i in range(60)], [""] * 60, seed=0
    )
    positive = np.zeros((60, 5), int)
    for row, indices in enumerate(gold):
        positive[row, indices] = 1
    assert metrics["mAP"].value == pytest.approx(
        average_precision_score(positive[:, :4], (queries @ names.T)[:, :4], average="macro"), abs=1e-6
    )
    assert metrics["mAP"].low < metrics["mAP"].value < metrics["mAP"].high
    assert np.stack(samples["scores"].to_numpy()).shape == (60, 5)


@pytest.mark.filterwarnings("error")
def test_draws_without_a_positive_are_left_out_of_the_interval_of_map() -> None:
    """One labelled sample of 40 is in none of a third of the draws: (1 - 1/40)^40."""
    rng = np.random.default_rng(4)
    gold = [[0] if row == 3 else [] for row in range(40)]
    metrics, samples = multilabel.score(
        unit(rng, 40, 8), unit(rng, 2, 8), [[0], [1]], gold, list("ab"), [str(i) for i in range(40)], [""] * 40, seed=0
    )
    found = metrics["mAP"]
    assert found.value == pytest.approx(1 / (1 + np.sum(np.stack(samples["scores"])[:, 0] > samples["scores"][3][0])))
    assert 0 <= found.low < found.value < found.high <= 1
    left = int(found.method.split(", ")[1].removesuffix(" draws)"))
    assert left == pytest.approx(1000 * (1 - (1 - 1 / 40) ** 40), abs=60)


def test_a_label_that_a_sample_has_twice_counts_once_in_the_chance_of_map() -> None:
    assert multilabel.chance([[0, 0], [0]], 2) == 1.0


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_equals_torchmetrics(k: int) -> None:
    rng = np.random.default_rng(4)
    queries, gallery = unit(rng, 80, 8), unit(rng, 60, 8)
    query_groups = [str(g) for g in rng.integers(0, 20, 80)]
    gallery_groups = [str(g) for g in list(range(20)) * 3]
    metrics, samples = retrieval.score(
        queries, gallery, query_groups, gallery_groups, [f"q{i}" for i in range(80)], [f"g{i}" for i in range(60)],
        [""] * 80, seed=0,
    )  # fmt: skip
    scores = torch.from_numpy(queries @ gallery.T)
    relevant = torch.tensor([[q == g for g in gallery_groups] for q in query_groups])
    index = torch.arange(80)[:, None].expand_as(scores)
    expected = RetrievalHitRate(top_k=k)(scores.flatten(), relevant.flatten(), indexes=index.flatten())
    assert metrics[f"recall@{k}"].value == pytest.approx(float(expected))
    assert metrics["median_rank"].value == np.median(samples["rank"])
    # torchmetrics takes what does not score above 0 for not found
    reciprocal = RetrievalMRR()(scores.flatten() + 1, relevant.flatten(), indexes=index.flatten())
    assert metrics["mrr"].value == pytest.approx(float(reciprocal))
    assert list(samples["prediction"]) == [f"g{i}" for i in scores.argmax(dim=1).tolist()]


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_ranks_are_pessimistic_under_ties_and_equal_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.eye(3, dtype=np.float32)
    queries, gallery = corners[rng.integers(0, 3, 7)], corners[rng.integers(0, 3, 11)]
    query_groups, gallery_groups = list(map(str, rng.integers(0, 4, 7))), list(map(str, rng.integers(0, 4, 11)))
    if not set(query_groups) & set(gallery_groups):
        return
    _, samples = retrieval.score(
        queries, gallery, query_groups, gallery_groups, list(map(str, range(7))), list(map(str, range(11))), [""] * 7, 0
    )
    for _, row in samples.iterrows():
        scores = queries[int(row["id"])] @ gallery.T
        relevant = np.array([group == row["gold"] for group in gallery_groups])
        assert row["rank"] == 1 + int(((scores >= scores[relevant].max()) & ~relevant).sum())
        assert row["correct"] == (gallery_groups[int(row["prediction"])] == row["gold"])


def test_an_encoder_that_says_one_thing_never_finds_a_unique_item() -> None:
    same = np.full((30, 7), 7**-0.5, np.float32)
    groups = [str(i) for i in range(30)]
    metrics, samples = retrieval.score(same, same, groups, groups, groups, groups, [""] * 30, seed=0)
    assert metrics["recall@10"].value == 0
    assert set(samples["rank"]) == {30}


def test_chance_of_the_reciprocal_rank_is_the_mean_over_orders() -> None:
    orders = list(itertools.permutations([True, True, False, False, False]))
    expected = np.mean([1 / (1 + order.index(True)) for order in orders])
    samples = pd.DataFrame({"relevant": [2, 2, 1, 5], "gallery": [5, 5, 3, 5]})
    harmonic = (1 + 1 / 2 + 1 / 3) / 3
    assert retrieval.chance("mrr", samples) == pytest.approx((2 * expected + harmonic + 1) / 4)


def test_chance_recall_equals_the_hypergeometric_tail() -> None:
    _, samples = retrieval.score(
        *(unit(np.random.default_rng(5), n, 4) for n in (6, 20)),
        ["0", "1", "0", "1", "0", "2"], ["0", "1", "2", "3"] * 5, list("abcdef"), [str(i) for i in range(20)],
        [""] * 6, seed=0,
    )  # fmt: skip
    expected = 1 - stats.hypergeom(20, 5, 10).pmf(0)
    assert retrieval.chance("recall@10", samples.assign(gallery=20)) == pytest.approx(expected)


def test_a_query_without_a_relevant_item_is_left_out() -> None:
    vectors = unit(np.random.default_rng(6), 3, 4)
    metrics, samples = retrieval.score(
        vectors, vectors, ["a", "b", "lost"], ["a", "b", "c"], ["0", "1", "2"], ["0", "1", "2"], [""] * 3, seed=0
    )
    assert list(samples["id"]) == ["0", "1"]
    assert metrics["recall@1"].n == 2


def test_a_classifier_is_the_renormalised_mean_of_unit_embeddings() -> None:
    rng = np.random.default_rng(7)
    texts = {name: unit(rng, 8) for name in "abcd"}
    built = class_embeddings([["a", "b"], ["c", "d"]], texts)
    mean = (texts["a"] + texts["b"]) / 2
    np.testing.assert_allclose(built[0], mean / np.linalg.norm(mean), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(built, axis=1), 1, rtol=1e-6)


def test_a_class_whose_prompts_cancel_out_is_refused() -> None:
    """It would be NaN, and NaN wins every argmax."""
    texts = {
        name: sign * np.eye(3, dtype=np.float32)[axis] for name, sign, axis in (("a", 1, 0), ("b", -1, 0), ("c", 1, 1))
    }
    with pytest.raises(IbenchError, match="one class, 'a' and the like, are zero or add up to it"):
        class_embeddings([["c"], ["a", "b"]], texts)


def test_wilson_equals_scipy_and_the_formula() -> None:
    hits = np.arange(200) < 37
    metric = proportion(hits, [""] * 200, seed=0)
    z = stats.norm.ppf(0.975)
    centre = (37 + z**2 / 2) / (200 + z**2)
    half = z / (200 + z**2) * np.sqrt(37 * 163 / 200 + z**2 / 4)
    assert (metric.low, metric.high) == pytest.approx((centre - half, centre + half))


def test_clusters_widen_the_interval_of_repeated_samples() -> None:
    rng = np.random.default_rng(8)
    speakers = rng.random(30) < 0.6
    hits = np.repeat(speakers, 20)
    alone = proportion(hits, [""] * 600, seed=0)
    together = proportion(hits, [f"speaker {i // 20}" for i in range(600)], seed=0)
    assert together.value == alone.value
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_agreement_of_all_samples_is_not_certainty() -> None:
    metric = proportion(np.ones(100, bool), [str(i % 5) for i in range(100)], seed=0)
    assert metric.value == metric.high == 1
    assert metric.low < 0.6  # five clusters, as if five samples


def test_bootstrap_covers_the_truth_at_its_rate() -> None:
    rng = np.random.default_rng(9)
    covered = 0
    for draw in range(60):
        values = rng.exponential(size=60)
        metric = bootstrap(lambda weights, v=values: float(np.average(v, weights=weights)), [""] * 60, seed=draw)
        covered += metric.low <= 1.0 <= metric.high
    assert covered >= 50  # of 60; 95% would be 57, skewed data of this size give about 93%


@pytest.mark.parametrize("clusters", [[""] * 45, [str(row // 3) for row in range(45)]])
def test_bootstrap_equals_scipys_bca(clusters: list[str]) -> None:
    values = np.random.default_rng(11).exponential(size=45)
    units = [np.flatnonzero(codes_of(clusters) == unit) for unit in range(codes_of(clusters).max() + 1)]
    theirs = stats.bootstrap(
        (np.arange(len(units)),),
        lambda drawn: values[np.concatenate([units[unit] for unit in drawn])].mean(),
        vectorized=False, n_resamples=1000, method="BCa", rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    ours = bootstrap(lambda weights: float(np.average(values, weights=weights)), clusters, seed=5)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


@pytest.mark.parametrize("clusters", [[""] * 400, [str(row // 4) for row in range(400)]])
def test_samples_of_a_kind_are_drawn_as_if_each_were_its_own(clusters: list[str]) -> None:
    kind = np.random.default_rng(12).integers(0, 4, 400)
    value_of = np.array([0.0, 1.0, 5.0, 20.0])
    one_by_one = bootstrap(lambda weights: float(np.average(value_of[kind], weights=weights)), clusters, seed=0)
    by_kind = bootstrap(lambda weights: float(np.average(value_of, weights=weights)), clusters, seed=0, kinds=kind)
    assert by_kind.value == pytest.approx(one_by_one.value)
    ends = (one_by_one.low, one_by_one.high)
    assert (by_kind.low, by_kind.high) == pytest.approx(ends, abs=0.1 * (ends[1] - ends[0]))
    assert by_kind.method == one_by_one.method


def test_the_interval_of_map_covers_its_mean_over_samples_of_its_size() -> None:
    def scored(draw: int) -> Metric:
        rng = np.random.default_rng(draw)
        positive = rng.random((150, 24)) < 0.04
        names = np.eye(24, dtype=np.float32)
        queries = (rng.standard_normal((150, 24)) + positive).astype(np.float32)
        gold = [np.flatnonzero(row).tolist() for row in positive]
        ids = [str(row) for row in range(150)]
        metrics, _ = multilabel.score(queries, names, [[c] for c in range(24)], gold, ids[:24], ids, [""] * 150, seed=0)
        return metrics["mAP"]

    drawn = [scored(draw) for draw in range(15)]
    mean = np.mean([metric.value for metric in drawn])
    assert sum(metric.low <= mean <= metric.high for metric in drawn) >= 13  # 95% would be 14
    assert all(metric.low < metric.value < metric.high for metric in drawn)


def test_draws_to_one_side_of_the_value_are_no_certainty() -> None:
    metric = bootstrap(lambda weights: float((weights == 0).sum()), [""] * 50, seed=0)
    assert metric.value == metric.low == 0
    assert 20 < metric.high < 27  # 50 × 0.364 samples are not drawn on average, with a deviation of 2.2


@given(seed=seeds, n=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_weighted_median_is_the_median_of_repeats(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    values, weights = np.sort(rng.integers(1, 9, n)), rng.integers(0, 4, n).astype(np.float64)
    weights[rng.integers(n)] += 1
    assert intervals.weighted_median(values, weights) == np.median(np.repeat(values, weights.astype(int)))


@pytest.mark.parametrize("n", [6, 7, 20, 151])
def test_the_interval_of_a_median_is_the_narrowest_of_its_kind_that_covers_95_percent(n: int) -> None:
    metric = median(np.random.default_rng(n).permutation(n) + 1, [""] * n, seed=0, bounds=(1, 1000))
    low, high = int(metric.low), int(metric.high)  # the values are their own ranks

    def coverage(k: int) -> float:
        """How often at least k and at most n - k of n coins fall on one side."""
        return sum(math.comb(n, heads) for heads in range(k, n - k + 1)) / 2**n

    assert low + high == n + 1
    assert coverage(low) >= 0.95 > coverage(low + 1)
    assert metric.value == (n + 1) / 2


def test_five_values_say_nothing_of_the_median_at_95_percent() -> None:
    metric = median(np.array([3, 1, 2, 5, 4]), [""] * 5, seed=0, bounds=(1, 70))
    assert (metric.low, metric.value, metric.high) == (1, 3, 70)


def test_clusters_widen_the_interval_of_a_median() -> None:
    ranks = np.repeat(np.random.default_rng(10).integers(1, 100, 40), 5)
    alone = median(ranks, [""] * 200, seed=0, bounds=(1, 100))
    together = median(ranks, [f"recording {row // 5}" for row in range(200)], seed=0, bounds=(1, 100))
    assert together.value == alone.value
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
