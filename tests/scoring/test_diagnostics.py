"""Diagnostics against hand calculations, scikit-learn, the formulas as their papers' code has them, and plain loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats
from sklearn.metrics import log_loss
from sklearn.neighbors import NearestNeighbors

from ibench.errors import IbenchError
from ibench.scoring import diagnostics, similarity
from ibench.scoring.diagnostics import Side, readings


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.standard_normal(shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def paired(vectors: np.ndarray) -> Side:
    return Side(vectors, np.arange(len(vectors)))


def noisy_pairs(seed: int = 0, n: int = 120, dim: int = 16, noise: float = 0.3) -> tuple[Side, Side]:
    rng = np.random.default_rng(seed)
    one = unit(rng, n, dim)
    other = one + noise * unit(rng, n, dim)
    return paired(one), paired((other / np.linalg.norm(other, axis=1, keepdims=True)).astype(np.float32))


def values(query: Side, target: Side, temperature: float = 0.07) -> dict[str, float]:
    return {one.name.partition("@")[0]: one.value for one in readings(query, target, temperature)}


# InfoNCE --------------------------------------------------------------------------------------------------------------


def test_infonce_by_hand() -> None:
    axes = paired(np.eye(2, dtype=np.float32))
    turned = paired(np.array([[0.6, 0.8], [0.8, -0.6]], np.float32))
    assert diagnostics.infonce(axes, axes, 1.0) == pytest.approx(math.log(1 + math.exp(-1)))
    assert diagnostics.infonce(axes, axes, 0.5) == pytest.approx(math.log(1 + math.exp(-2)))
    # cosines: (1,0) with its own 0.6, with the other 0.8; (0,1) with its own -0.6, with the other 0.8
    by_hand = (math.log(1 + math.exp(0.8 - 0.6)) + math.log(1 + math.exp(0.8 + 0.6))) / 2
    assert diagnostics.infonce(axes, turned, 1.0) == pytest.approx(by_hand)


@pytest.mark.parametrize("temperature", [0.01, 0.07, 1.0])
def test_infonce_of_pairs_is_the_log_loss_of_scikit_learn(temperature: float) -> None:
    query, target = noisy_pairs()
    logits = query.vectors.astype(float) @ target.vectors.astype(float).T / temperature
    there, back = (
        log_loss(np.arange(120), special.softmax(table, axis=1), labels=np.arange(120)) for table in (logits, logits.T)
    )
    found = values(query, target, temperature)
    assert found["infonce_query_to_target"] == pytest.approx(there, rel=1e-4)
    assert found["infonce_target_to_query"] == pytest.approx(back, rel=1e-4)
    assert found["infonce"] == pytest.approx((there + back) / 2, rel=1e-4)


def test_infonce_from_samples_to_classes_is_the_log_loss_of_the_classifier() -> None:
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 6, 90)
    samples, classes = unit(rng, 90, 8), unit(rng, 6, 8)
    probabilities = special.softmax(samples.astype(float) @ classes.T / 0.2, axis=1)
    found = diagnostics.infonce(Side(samples, gold), Side(classes, np.arange(6)), 0.2)
    assert found == pytest.approx(log_loss(gold, probabilities, labels=np.arange(6)), rel=1e-5)


@given(seed=st.integers(0, 10_000), temperature=st.sampled_from([0.05, 0.3, 2.0]))
@settings(max_examples=40, deadline=None)
def test_of_several_matches_none_is_a_negative(seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    own, other = np.array([0, 1, 2, *rng.integers(0, 3, 4)]), np.array([0, 1, 2, *rng.integers(0, 3, 5)])
    query, target = Side(unit(rng, 7, 4), own), Side(unit(rng, 8, 4), other)
    losses = []
    for vector, code in zip(query.vectors, own, strict=True):
        weights = np.exp((target.vectors @ vector).astype(float) / temperature)
        negatives = weights[other != code].sum()
        losses.append(np.mean([-np.log(weight / (weight + negatives)) for weight in weights[other == code]]))
    assert diagnostics.infonce(query, target, temperature) == pytest.approx(np.mean(losses), rel=1e-4)


def test_infonce_does_not_overflow() -> None:
    query, _ = noisy_pairs()
    assert 0 <= diagnostics.infonce(query, query, 1e-6) < 1e-9
    assert math.isfinite(diagnostics.infonce(query, paired(-query.vectors), 1e-6))


def test_an_encoder_that_gives_one_vector_has_what_knows_nothing() -> None:
    same = paired(np.full((50, 4), 0.5, np.float32))
    told = {one.name: one for one in readings(same, same, 0.07)}
    for name in ("infonce", "infonce_query_to_target"):
        assert told[name].value == pytest.approx(math.log(50))
        assert told[name].uninformed == pytest.approx(math.log(50))
    assert told["uniformity_query"].value == pytest.approx(0)
    assert told["alignment"].value == pytest.approx(0)


def test_a_perfect_encoder_is_ideal_and_a_shuffled_one_knows_less_than_nothing() -> None:
    query = paired(unit(np.random.default_rng(2), 200, 64))
    perfect = {one.name.partition("@")[0]: one for one in readings(query, query, 0.02)}
    for name in ("infonce", "alignment", "modality_gap", "overlap"):
        assert perfect[name].value == pytest.approx(perfect[name].ideal, abs=1e-5), name
    order = np.roll(np.arange(200), 1)
    shuffled = {one.name.partition("@")[0]: one for one in readings(query, paired(query.vectors[order]), 0.02)}
    assert shuffled["infonce"].value > shuffled["infonce"].uninformed
    assert shuffled["alignment"].value == pytest.approx(shuffled["alignment"].uninformed, abs=0.1)
    assert shuffled["overlap"].value == pytest.approx(shuffled["overlap"].uninformed, abs=0.03)
    assert shuffled["uniformity_query"].value == perfect["uniformity_query"].value
    assert shuffled["modality_gap"].value == pytest.approx(0, abs=1e-6)  # the means do not know the pairs


# alignment, uniformity, gap -------------------------------------------------------------------------------------------


def test_alignment_and_uniformity_are_those_of_their_paper() -> None:
    query, target = noisy_pairs()
    one, other = torch.from_numpy(query.vectors).double(), torch.from_numpy(target.vectors).double()
    found = values(query, target)
    assert found["alignment"] == pytest.approx(float((one - other).norm(dim=1).pow(2).mean()), abs=1e-6)
    for name, side in (("uniformity_query", one), ("uniformity_target", other)):
        assert found[name] == pytest.approx(float(torch.pdist(side).pow(2).mul(-2).exp().mean().log()), abs=1e-5)


def test_alignment_is_over_all_matching_pairs() -> None:
    rng = np.random.default_rng(3)
    query, target = Side(unit(rng, 5, 3), np.array([0, 0, 1, 2, 2])), Side(unit(rng, 4, 3), np.array([0, 1, 1, 2]))
    squares = [
        float(np.sum((query.vectors[i].astype(float) - target.vectors[j]) ** 2))
        for i, j in itertools.product(range(5), range(4))
        if query.codes[i] == target.codes[j]
    ]
    assert len(squares) == 6
    assert diagnostics.alignment(query, target) == pytest.approx(np.mean(squares), abs=1e-6)


@pytest.mark.parametrize("dim", [2, 3, 10, 200, 256, 257, 1024])
def test_an_even_sphere_has_the_uniformity_that_is_integrated(dim: int) -> None:
    def density(cosine: float) -> float:
        return (1 - cosine * cosine) ** ((dim - 3) / 2) if dim > 2 else 1 / math.sqrt(1 - cosine * cosine)

    limits = (-1, 1) if dim < 50 else (-0.5, 0.5)
    above, below = (
        integrate.quad(lambda c, kappa=kappa: math.exp(kappa * c) * density(c), *limits, limit=500)[0]
        for kappa in (4, 0)
    )
    assert diagnostics.even_uniformity(dim) == pytest.approx(math.log(above / below) - 4, abs=2e-3)


def test_even_samples_come_near_the_even_sphere() -> None:
    vectors = unit(np.random.default_rng(4), 1500, 24)
    assert diagnostics.uniformity(vectors) == pytest.approx(diagnostics.even_uniformity(24), abs=0.01)


def test_no_vectors_are_more_even_than_the_least() -> None:
    simplex = np.eye(5) - 1 / 5
    simplex /= np.linalg.norm(simplex, axis=1, keepdims=True)
    least = diagnostics.least_uniformity(5, 5)
    assert diagnostics.uniformity(simplex.astype(np.float32)) == pytest.approx(least, abs=1e-5)
    ring = np.exp(2j * np.pi * np.arange(400) / 400)
    turned = np.stack([ring.real, ring.imag], axis=1).astype(np.float32)
    assert diagnostics.uniformity(turned) == pytest.approx(diagnostics.least_uniformity(400, 2), abs=1e-5)
    for n, dim in ((2, 3), (10, 64), (50, 3), (300, 16)):
        vectors = unit(np.random.default_rng(n), n, dim)
        assert diagnostics.uniformity(vectors) >= diagnostics.least_uniformity(n, dim)


def test_the_gap_by_hand_and_of_a_perfect_encoder_of_unequal_classes() -> None:
    axes = np.eye(3, dtype=np.float32)
    assert diagnostics.modality_gap(paired(axes), paired(-axes)) == pytest.approx(2 / math.sqrt(3))
    gold = np.array([0, 0, 0, 0, 1, 2])
    assert diagnostics.modality_gap(Side(axes[gold], gold), paired(axes)) == pytest.approx(0, abs=1e-7)


# neighbours -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 10])
def test_hubness_is_the_skewness_of_what_scikit_learn_finds(k: int) -> None:
    query, target = noisy_pairs(5, n=300, noise=2.0)
    found = NearestNeighbors(n_neighbors=k, metric="cosine").fit(target.vectors).kneighbors(query.vectors)[1]
    expected = stats.skew(np.bincount(found.ravel(), minlength=300))
    assert diagnostics.hubness(query.vectors, target.vectors, k) == pytest.approx(expected)


def test_a_hub_is_seen() -> None:
    rng = np.random.default_rng(6)
    gallery = unit(rng, 100, 64)
    centre = np.ones(64) / 8
    queries = unit(rng, 400, 64) + centre
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    plain = diagnostics.hubness(queries, gallery, 1)
    gallery[0] = centre
    assert diagnostics.hubness(queries, gallery, 1) > max(plain, 5.0)


def test_neighbours_at_random_have_the_hubness_of_a_binomial() -> None:
    rng = np.random.default_rng(7)
    skews = []
    for _ in range(20):
        counts = np.bincount(np.concatenate([rng.permutation(500)[:3] for _ in range(600)]), minlength=500)
        skews.append(stats.skew(counts))
    assert diagnostics.random_hubness(600, 500, 3) == pytest.approx(np.mean(skews), abs=0.06)


def test_where_all_are_found_alike_there_is_no_skewness() -> None:
    axes = np.eye(4, dtype=np.float32)
    assert math.isnan(diagnostics.hubness(axes, axes, 1))


@pytest.mark.parametrize("k", [1, 10])
def test_overlap_is_what_scikit_learn_finds(k: int) -> None:
    query, target = noisy_pairs(8, n=150)
    mine, theirs = (
        NearestNeighbors(n_neighbors=k, metric="cosine").fit(side.vectors).kneighbors()[1] for side in (query, target)
    )
    expected = np.mean([len({*one} & {*other}) / k for one, other in zip(mine.tolist(), theirs.tolist(), strict=True)])
    assert diagnostics.overlap(query.vectors, target.vectors, k) == pytest.approx(expected)


def test_overlap_does_not_see_a_turn() -> None:
    rng = np.random.default_rng(9)
    vectors = unit(rng, 80, 12)
    turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    turned = (vectors @ turn).astype(np.float32)
    found = values(paired(vectors), paired(turned))
    assert found["overlap"] > 0.999
    assert found["alignment"] > 1


def test_of_equal_scores_those_listed_first_are_nearest() -> None:
    same = np.full((6, 4), 0.5, np.float32)
    assert diagnostics.overlap(same, same, 2) == 1.0
    assert diagnostics.hubness(same, same, 2) == pytest.approx(stats.skew([6, 6, 0, 0, 0, 0]))


# all together ---------------------------------------------------------------------------------------------------------


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(10)
    gold = np.concatenate([np.arange(30), rng.integers(0, 30, 70)])
    query, target = Side(unit(rng, 100, 8), gold), Side(unit(rng, 30, 8), np.arange(30))
    whole = values(query, target)
    monkeypatch.setattr(similarity, "_CHUNK_ROWS", 7)
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", 60)
    assert values(query, target) == pytest.approx(whole, rel=1e-6)


def test_few_items_have_fewer_neighbours() -> None:
    rng = np.random.default_rng(11)
    names = {one.name for one in readings(Side(unit(rng, 40, 4), np.arange(40) % 4), paired(unit(rng, 4, 4)), 0.1)}
    assert {"hubness_target@2", "hubness_query@10", "overlap@2"} <= names


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(IbenchError, match="temperature"):
        readings(*noisy_pairs(), temperature)


def test_one_pair_is_refused() -> None:
    one = Side(np.eye(2, dtype=np.float32), np.zeros(2, np.intp))
    with pytest.raises(IbenchError, match="at least two"):
        readings(one, one, 0.07)
