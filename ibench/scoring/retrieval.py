"""Queries against a gallery, both directions: recall@1, @5, @10, mean reciprocal and median rank of the first relevant
item."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.scoring.intervals import Metric, bootstrap, median, proportion
from ibench.scoring.similarity import Vectors, similarity_rows

TIES = "pessimistic: an irrelevant item of equal score ranks first"
_AT = (1, 5, 10)


def score(
    queries: Vectors,
    gallery: Vectors,
    query_groups: Sequence[str],
    gallery_groups: Sequence[str],
    query_ids: Sequence[str],
    gallery_ids: Sequence[str],
    clusters: Sequence[str],
    seed: int,
) -> tuple[dict[str, Metric], pd.DataFrame]:
    """One direction: metrics, and a row per query: id, gold (its group), prediction (the first item), score, rank,
    correct, relevant (how many items are), cluster.

    A gallery item is relevant to a query of the same group; a query counts as found within k when any relevant item
    is. Exact: ranks are counted over the whole gallery, in chunks. Queries that have no relevant item are left out.
    """
    codes, _ = pd.factorize(pd.Series([*query_groups, *gallery_groups], dtype=object))
    query_codes, gallery_codes = codes[: len(queries)], codes[len(queries) :]
    relevant = np.bincount(gallery_codes, minlength=codes.max() + 1)[query_codes]
    asked = np.flatnonzero(relevant > 0).tolist()
    rank, first, best = _ranks(queries[asked], gallery, query_codes[asked], gallery_codes)
    samples = pd.DataFrame(
        {
            "id": [query_ids[row] for row in asked],
            "gold": [query_groups[row] for row in asked],
            "prediction": [gallery_ids[item] for item in first.tolist()],
            "score": best,
            "rank": rank,
            "correct": rank == 1,
            "relevant": relevant[asked],
            "cluster": [clusters[row] for row in asked],
        }
    )
    own = list(samples["cluster"])
    metrics = {f"recall@{k}": proportion(rank <= k, own, seed) for k in _AT}
    ranks, kind = np.unique(rank, return_inverse=True)
    metrics["mrr"] = bootstrap(mean_reciprocal(ranks), own, seed, kinds=kind)
    metrics["median_rank"] = median(rank, own, seed, (1, len(gallery)))
    return metrics, samples


def chance(metric: str, samples: pd.DataFrame) -> float:
    """What a random order of the gallery gives on these queries: expected recall@k, the expected median rank, or
    the expected reciprocal rank.

    ``samples`` are the rows of `score` with a column ``gallery``, the gallery's size. Of N items with r relevant, the
    first k hold none with probability C(N-r, k) / C(N, k), and the first relevant one stands at (N+1)/(r+1) on average.
    """
    relevant, size = samples["relevant"].to_numpy(np.float64), samples["gallery"].to_numpy(np.float64)
    if metric == "median_rank":
        return float(np.median((size + 1) / (relevant + 1)))
    if metric == "mrr":
        cases, counts = np.unique(np.stack([relevant, size], axis=1), axis=0, return_counts=True)
        return float(np.average([_expected_reciprocal(*case) for case in cases], weights=counts))
    k = int(metric.removeprefix("recall@"))
    # the product form: binomials of a large gallery overflow
    steps = np.arange(k)[:, None]
    none = np.prod(np.clip(size - relevant - steps, 0, None) / np.maximum(size - steps, 1), axis=0)
    return float(np.mean(1 - none))


def _expected_reciprocal(relevant: float, size: float) -> float:
    """The mean of 1 / rank of the first of ``relevant`` items in a random order of ``size``."""
    rank = np.arange(1, size - relevant + 2)
    missed = np.cumprod((size - relevant - rank[:-1] + 1) / (size - rank[:-1] + 1))  # by the first 1, 2, ... items
    first_here = np.concatenate([[1.0], missed]) * relevant / (size - rank + 1)
    return float(np.sum(first_here / rank))


def _ranks(
    queries: Vectors, gallery: Vectors, query_codes: NDArray[np.intp], gallery_codes: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.float32]]:
    """Per query: rank of its best relevant item, the first item of the ranking, and that item's score."""
    rank = np.empty(len(queries), np.int64)
    first = np.empty(len(queries), np.intp)
    best = np.empty(len(queries), np.float32)
    by_group = np.argsort(gallery_codes, kind="stable")
    begin, end = (np.searchsorted(gallery_codes[by_group], query_codes, side) for side in ("left", "right"))
    for rows, scores in similarity_rows(queries, gallery):
        query, relevant = _pairs(by_group, begin[rows], end[rows])
        own = scores[query, relevant]
        best_own = np.maximum.reduceat(own, np.flatnonzero(np.diff(query, prepend=-1)))
        at_best = np.flatnonzero(own == best_own[query])
        first_own = relevant[at_best[np.flatnonzero(np.diff(query[at_best], prepend=-1))]]
        scores[query, relevant] = -np.inf
        rival = scores.argmax(axis=1)
        best_rival = scores[np.arange(len(scores)), rival]
        # numpy counts a row several times as fast as along an axis
        rank[rows] = [1 + np.count_nonzero(ahead) for ahead in scores >= best_own[:, None]]
        # of equal scores the irrelevant one stands first
        first[rows] = np.where(best_rival >= best_own, rival, first_own)
        best[rows] = np.maximum(best_rival, best_own)
    return rank, first, best


def _pairs(
    members: NDArray[np.intp], begin: NDArray[np.intp], end: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row i paired with each of ``members[begin[i]:end[i]]``: the rows, ascending, and the members, in their order."""
    counts = end - begin
    row = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return row, members[np.arange(len(row)) + (begin - before)[row]]


def mean_reciprocal(rank: NDArray[np.int64]) -> Callable[[NDArray[np.float64]], float]:
    """The mean of 1 / rank as a function of the samples' weights."""
    reciprocal = 1 / rank
    return lambda weights: float(reciprocal @ weights / weights.sum())
