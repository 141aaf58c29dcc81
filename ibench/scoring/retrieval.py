"""Queries against a gallery, both directions: recall@1, @5, @10, mean reciprocal and median rank of the first relevant
item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.scoring.intervals import Metric, bootstrap, median, proportion
from ibench.scoring.similarity import Vectors, similarity_rows
from ibench.tasks import FOUND

TIES = "pessimistic: an irrelevant item of equal score ranks first"


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
    relevance = of_groups(query_groups, gallery_groups)
    asked = np.flatnonzero(relevance.counts > 0).tolist()
    relevance = relevance.of(asked)
    found = ranking(queries[asked], gallery, relevance)
    samples = pd.DataFrame(
        {
            "id": [query_ids[row] for row in asked],
            "gold": [query_groups[row] for row in asked],
            "prediction": [gallery_ids[item] for item in found.first.tolist()],
            "score": found.score,
            "rank": found.rank,
            "correct": found.rank == 1,
            "relevant": relevance.counts,
            "cluster": [clusters[row] for row in asked],
        }
    )
    own = list(samples["cluster"])
    return {name: measure(name, found.rank, len(gallery), own, seed) for name in FOUND}, samples


def measure(name: str, rank: NDArray[np.int64], size: int, clusters: Sequence[str], seed: int) -> Metric:
    """One of `tasks.FOUND` from the ranks of the first relevant items in a gallery of ``size``."""
    if name == "median_rank":
        return median(rank, clusters, seed, (1, size))
    if name == "mrr":
        ranks, kind = np.unique(rank, return_inverse=True)
        return bootstrap(mean_reciprocal(ranks), clusters, seed, kinds=kind)
    return proportion(rank <= int(name.removeprefix("recall@")), clusters, seed)


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


@dataclass(frozen=True)
class Relevance:
    """Which gallery items are relevant to each query: query i has ``members[begin[i]:end[i]]``, ascending."""

    members: NDArray[np.intp]
    begin: NDArray[np.intp]
    end: NDArray[np.intp]

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many items are relevant to each query."""
        return self.end - self.begin

    def of(self, queries: Sequence[int]) -> Relevance:
        """The same for some of the queries."""
        return Relevance(self.members, self.begin[queries], self.end[queries])


def of_groups(query_groups: Sequence[str], gallery_groups: Sequence[str]) -> Relevance:
    """A gallery item is relevant to the queries of its group."""
    codes, _ = pd.factorize(pd.Series([*query_groups, *gallery_groups], dtype=object))
    query_codes, gallery_codes = codes[: len(query_groups)], codes[len(query_groups) :]
    members = np.argsort(gallery_codes, kind="stable")
    begin, end = (np.searchsorted(gallery_codes[members], query_codes, side) for side in ("left", "right"))
    return Relevance(members, begin, end)


def of_lists(lists: Sequence[Sequence[int]], which: Sequence[int]) -> Relevance:
    """Query i has the gallery rows ``lists[which[i]]``."""
    ends = np.cumsum([len(rows) for rows in lists], dtype=np.intp)
    begins = np.concatenate([[0], ends[:-1]]).astype(np.intp)
    members = np.array([row for rows in lists for row in sorted(rows)], dtype=np.intp)
    return Relevance(members, begins[list(which)], ends[list(which)])


@dataclass(frozen=True)
class Ranking:
    """Per query: the rank of its best relevant item, the row of that item, and row and score of the first item."""

    rank: NDArray[np.int64]
    wanted: NDArray[np.intp]
    first: NDArray[np.intp]
    score: NDArray[np.float32]


def ranking(queries: Vectors, gallery: Vectors, relevance: Relevance, own: NDArray[np.intp] | None = None) -> Ranking:
    """Rank the whole gallery for each query, in chunks; every query has a relevant item.

    ``own[i]`` is the row of the gallery that query i is itself, -1 for none: it is passed over, and not relevant.
    """
    rank = np.empty(len(queries), np.int64)
    wanted, first = np.empty(len(queries), np.intp), np.empty(len(queries), np.intp)
    best = np.empty(len(queries), np.float32)
    for rows, scores in similarity_rows(queries, gallery):
        if own is not None:
            itself = np.flatnonzero(own[rows] >= 0)
            scores[itself, own[rows][itself]] = -np.inf
        query, relevant = _pairs(relevance.members, relevance.begin[rows], relevance.end[rows])
        theirs = scores[query, relevant]
        best_relevant = np.maximum.reduceat(theirs, np.flatnonzero(np.diff(query, prepend=-1)))
        at_best = np.flatnonzero(theirs == best_relevant[query])
        wanted[rows] = relevant[at_best[np.flatnonzero(np.diff(query[at_best], prepend=-1))]]
        scores[query, relevant] = -np.inf
        rival = scores.argmax(axis=1)
        best_rival = scores[np.arange(len(scores)), rival]
        # numpy counts a row several times as fast as along an axis
        rank[rows] = [1 + np.count_nonzero(ahead) for ahead in scores >= best_relevant[:, None]]
        # of equal scores the irrelevant one stands first
        first[rows] = np.where(best_rival >= best_relevant, rival, wanted[rows])
        best[rows] = np.maximum(best_rival, best_relevant)
    return Ranking(rank, wanted, first, best)


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
