"""How two modalities lie in one space: InfoNCE, alignment, uniformity, modality gap, hubness, shared neighbours.

All are exact, over vectors of unit length [n, dim], in chunks. An item of one side matches those of the other that have
its code; paired rows are the special case of a code for each row. Every item has to have a match.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from ibench.errors import IbenchError
from ibench.scoring.similarity import Vectors, similarity_rows

NEIGHBOURS = 10
"""k of `hubness` and `overlap`, as in the papers of both."""

Codes = NDArray[np.intp]


class Side(NamedTuple):
    """The vectors of one modality [n, dim], and the code of each [n]."""

    vectors: Vectors
    codes: Codes


class Reading(NamedTuple):
    """A diagnostic with what to hold it against: ``uninformed`` is what an encoder that knows nothing of the pairs has,
    ``ideal`` what a perfect one approaches; None where there is no such value.

    The docstring of each function says more.
    """

    name: str
    value: float
    uninformed: float | None
    ideal: float | None


def readings(query: Side, target: Side, temperature: float) -> tuple[Reading, ...]:
    """All diagnostics of two sides. Raises IbenchError for fewer than two codes and for what is no temperature."""
    if len(np.unique(query.codes)) < 2:
        raise IbenchError("diagnostics need pairs of at least two samples or classes: with one there is nothing else")
    refuse_temperature(temperature)
    there, back = infonce(query, target, temperature), infonce(target, query, temperature)
    unlike_there, unlike_back = _log_candidates(query, target), _log_candidates(target, query)
    dim = query.vectors.shape[1]
    own, other = _means(query), _means(target)
    k = neighbours(len(own))
    of_query, of_target = neighbours(len(query.codes)), neighbours(len(target.codes))
    return (
        Reading("infonce", (there + back) / 2, (unlike_there + unlike_back) / 2, 0.0),
        Reading("infonce_query_to_target", there, unlike_there, 0.0),
        Reading("infonce_target_to_query", back, unlike_back, 0.0),
        Reading("alignment", alignment(query, target), 2.0, 0.0),
        Reading("uniformity_query", uniformity(query.vectors), None, least_uniformity(len(query.codes), dim)),
        Reading("uniformity_target", uniformity(target.vectors), None, least_uniformity(len(target.codes), dim)),
        Reading("modality_gap", modality_gap(query, target), None, 0.0),
        Reading(
            f"hubness_target@{of_target}",
            hubness(query.vectors, target.vectors, of_target),
            random_hubness(len(query.codes), len(target.codes), of_target),
            0.0,
        ),
        Reading(
            f"hubness_query@{of_query}",
            hubness(target.vectors, query.vectors, of_query),
            random_hubness(len(target.codes), len(query.codes), of_query),
            0.0,
        ),
        Reading(f"overlap@{k}", overlap(own, other, k), k / (len(own) - 1), 1.0),
    )


def refuse_temperature(temperature: float) -> None:
    """Raises IbenchError for what is no temperature."""
    if not (temperature > 0 and np.isfinite(temperature)):
        raise IbenchError(f"temperature {temperature:g}: a number above 0, such as 0.07")


def infonce(query: Side, target: Side, temperature: float) -> float:
    """InfoNCE from queries to targets, in nats: equation (1) of ImageBind (arXiv 2305.05665), L with I the queries.

    The mean over queries q of -log( exp(q·k/τ) / (exp(q·k/τ) + Σ exp(q·n/τ)) ), where k matches the query and n runs
    over the targets that do not: all of them, not those of a batch. The paper trains the sum of both directions;
    `readings` gives their mean, as CLIP's loss does (arXiv 2103.00020, figure 3). A query of several matches k has the
    mean over them, and none of them is a negative of another. With one match each it is the softmax cross-entropy of
    the true target (scikit-learn's log_loss), and from samples to classes that of the zero-shot classifier at τ.

    How to read it: lower is better, 0 is the limit. log(1 + number of negatives) is what equal cosines give, so an
    encoder above it is confidently wrong. It depends on τ and on how many negatives there are: compare encoders on one
    task, at one τ, which is best the one they were trained at.
    """
    total = 0.0
    for scores, match in _blocks(query, target):
        logits = scores.astype(np.float64) / temperature
        row, _ = np.nonzero(match)
        positive = logits[match]
        logits[match] = -np.inf
        others = special.logsumexp(logits, axis=1)
        losses = np.logaddexp(positive, others[row]) - positive
        total += float(np.sum(np.bincount(row, losses) / np.bincount(row)))
    return total / len(query.codes)


def alignment(query: Side, target: Side) -> float:
    """The mean squared distance of matching vectors: Wang and Isola's alignment, α = 2 (ICML 2020, arXiv 2005.10242).

    Over all matching pairs. How to read it: lower is better. 0: matches lie on one another; 2: they are orthogonal, as
    random vectors of many dimensions are; 4: opposite. It is 2 - 2 × the mean cosine. An encoder that puts everything
    into one point has 0 as well: read it together with uniformity.
    """
    sums = [_sums(side) for side in (query, target)]
    pairs = sums[0].counts @ sums[1].counts
    cross = float(np.sum(sums[0].vectors * sums[1].vectors))
    squares = float(sums[0].squares @ sums[1].counts + sums[0].counts @ sums[1].squares)
    return max((squares - 2 * cross) / float(pairs), 0.0)


def uniformity(vectors: Vectors) -> float:
    """log of the mean of exp(-2 × squared distance) over the pairs of one modality: Wang and Isola's, t = 2 (ibid.).

    How to read it: lower is better. 0: all vectors are equal; about -4 is the least that many vectors of many
    dimensions can have, `least_uniformity` that of so many. Between modalities it tells which of them crowds.
    """
    total, n = 0.0, len(vectors)
    for rows, scores in similarity_rows(vectors, vectors):
        near = np.exp(4.0 * (scores.astype(np.float64) - 1))
        near[np.arange(len(near)), np.arange(rows.start, rows.stop)] = 0.0
        total += float(near.sum())
    return float(np.log(total / (n * (n - 1))))


def least_uniformity(n: int, dim: int) -> float:
    """What the uniformity of ``n`` vectors cannot be below.

    With each vector's pair with itself counted in, their mean is at least that of the whole sphere, which no other
    distribution is below (ibid.); and by Jensen's inequality it is at least that of a simplex, whose vectors all have
    the squared distance 2n / (n - 1). The second is the greater for few vectors, and reached by up to dim + 1.
    """
    simplex = -4 * n / (n - 1)
    sphere = (n * np.exp(even_uniformity(dim)) - 1) / (n - 1)
    return max(simplex, float(np.log(sphere))) if sphere > 0 else simplex


def even_uniformity(dim: int) -> float:
    """The uniformity of a whole sphere of ``dim`` dimensions, evenly filled (ibid.).

    The mean of exp(4c) over the cosine c of two random directions is Γ(d/2) (2/4)^(d/2-1) I_{d/2-1}(4), with I the
    modified Bessel function (the constant of the von Mises-Fisher distribution of concentration 4).
    """
    order = dim / 2 - 1
    if dim > 256:  # the Bessel function underflows; c is normal of variance 1/d there
        return -4 + 8 / dim
    # the scaled function is I × exp(-4), and so takes the 4 in
    return float(special.gammaln(dim / 2) + order * np.log(0.5) + np.log(special.ive(order, 4.0)))


def modality_gap(query: Side, target: Side) -> float:
    """The distance between the means of the two modalities (Liang et al., NeurIPS 2022, arXiv 2203.02053).

    Over matching pairs: an item counts as often as it has a match. How to read it: 0: the modalities share their
    centre, as those of a perfect encoder do; up to 2. A gap does not need to cost a ranking anything, for it moves all
    cosines across the modalities alike; it does where galleries mix modalities, or a threshold is set.
    """
    sums = [_sums(side) for side in (query, target)]
    pairs = float(sums[0].counts @ sums[1].counts)
    means = (sums[0].vectors.T @ sums[1].counts, sums[1].vectors.T @ sums[0].counts)
    return float(np.linalg.norm((means[0] - means[1]) / pairs))


def hubness(queries: Vectors, gallery: Vectors, k: int) -> float:
    """The skewness of how often each gallery item is among the k nearest of a query (Radovanović et al., JMLR 11:2487).

    There the k-occurrences are counted within one set; here they are of the queries of the other modality. Skewness is
    the third standardised moment. How to read it: near 0: every item is found about equally often; above 1: a few hubs
    are found by queries of all kinds, and others never. Neighbours drawn at random have `random_hubness`. NaN where all
    are found equally often.
    """
    found = np.zeros(len(gallery), np.int64)
    for _, scores in similarity_rows(queries, gallery):
        found += _nearest(scores, k).sum(axis=0)
    return float(stats.skew(found)) if np.ptp(found) else float("nan")


def random_hubness(queries: int, gallery: int, k: int) -> float:
    """The skewness of the k-occurrences where each query draws its k neighbours at random: that of a binomial."""
    share = k / gallery
    return float((1 - 2 * share) / np.sqrt(queries * share * (1 - share)))


def overlap(one: Vectors, other: Vectors, k: int) -> float:
    """The share of the k nearest neighbours that a pair has in common, each sought within its own modality.

    Row i of both is one pair. The mutual nearest-neighbour metric of Huh et al. (The Platonic Representation
    Hypothesis, ICML 2024, arXiv 2405.07987). It compares how the modalities are arranged, not whether they
    lie on one another: turning one of them as a whole changes nothing. How to read it: k / (n - 1) by chance, 1 where
    both have the same neighbourhoods.
    """
    shared = 0
    for (rows, mine), (_, theirs) in zip(similarity_rows(one, one), similarity_rows(other, other), strict=True):
        itself = np.arange(len(mine)), np.arange(rows.start, rows.stop)
        mine[itself] = theirs[itself] = -np.inf
        shared += int(np.sum(_nearest(mine, k) & _nearest(theirs, k)))
    return shared / (k * len(one))


def neighbours(n: int) -> int:
    """k among ``n`` items: NEIGHBOURS, or half of them where there are fewer than twice as many."""
    return max(1, min(NEIGHBOURS, n // 2))


class _Sums(NamedTuple):
    """Of the items of each code: the sum of their vectors [codes, dim], of their squared lengths, and their number."""

    vectors: NDArray[np.float64]
    squares: NDArray[np.float64]
    counts: NDArray[np.float64]


def _sums(side: Side) -> _Sums:
    size = int(side.codes.max()) + 1
    vectors = np.zeros((size, side.vectors.shape[1]))
    np.add.at(vectors, side.codes, side.vectors)
    lengths = np.sum(side.vectors.astype(np.float64) ** 2, axis=1)
    squares = np.bincount(side.codes, lengths, minlength=size).astype(np.float64)
    return _Sums(vectors, squares, np.bincount(side.codes, minlength=size).astype(np.float64))


def _means(side: Side) -> Vectors:
    """A unit vector for each code: the items that match one another as one, by the mean of their vectors."""
    sums = _sums(side).vectors[np.unique(side.codes)]
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, np.finfo(np.float64).tiny), np.float32)


def _blocks(query: Side, target: Side) -> Iterator[tuple[Vectors, NDArray[np.bool_]]]:
    """The cosines of consecutive queries, and what matches, both [rows, targets]."""
    for rows, scores in similarity_rows(query.vectors, target.vectors):
        yield scores, query.codes[rows, None] == target.codes


def _log_candidates(query: Side, target: Side) -> float:
    """InfoNCE where all cosines are equal: the mean of log(1 + negatives)."""
    negatives = len(target.codes) - np.bincount(target.codes)[query.codes]
    return float(np.mean(np.log1p(negatives)))


def _nearest(scores: Vectors, k: int) -> NDArray[np.bool_]:
    """Which k of each row score highest; of equal scores at the border those listed first."""
    border = np.partition(scores, -k, axis=1)[:, -k, None]
    above = scores > border
    at_border = scores == border
    wanted = k - above.sum(axis=1, keepdims=True)
    return np.asarray(above | (at_border & (np.cumsum(at_border, axis=1) <= wanted)))
