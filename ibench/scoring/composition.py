"""Queries, or a gallery, that are weighted sums of two parts: what the sum finds beside what each part finds alone.

ImageBind, arXiv 2305.05665, Figure 4 and Appendix B.4: unit embeddings, scaled by 0.5 each and added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.hashing import sha256_text
from ibench.scoring import retrieval
from ibench.scoring.intervals import Curve, Metric, Weighted, bootstrap, codes_of
from ibench.scoring.paired import tango
from ibench.scoring.retrieval import Ranking, Relevance, measure, ranking
from ibench.scoring.similarity import Vectors
from ibench.tasks import FOUND, Draw, Relevant

TIES = retrieval.TIES

Weights: TypeAlias = tuple[float, float]
At: TypeAlias = Callable[[Weights], tuple[Vectors, Vectors]]
"""Queries and gallery for the weights of the two parts."""

Labels: TypeAlias = Mapping[str, tuple[str, ...]]
"""Samples of one modality: id → labels."""


@dataclass(frozen=True)
class Query:
    """Two samples of a labelled pool by their ids, the label of each, and the one that is in the gallery, if one is."""

    parts: tuple[str, str]
    labels: tuple[str, str]
    own: str | None


def draw(relevant: Relevant, parts: tuple[Labels, Labels], gallery: Labels, own: int | None, how: Draw) -> list[Query]:
    """The queries of a labelled pool, by pairs of labels.

    A pair of labels (A, B) joins samples of the first part whose only label is A with samples of the second whose only
    label is B, another. Samples go by the digest of seed and id, and every pair of labels begins where the last one
    with that label ended, so that each sample is asked for about as often as any other; a pair has ``how.each``
    queries, or as many as the label with more samples has. ``own`` is the part, 0 or 1, whose samples the gallery holds
    as well. A query that nothing but its own sample would answer is left out.
    """
    firsts, seconds = (_of_one_label(part, how.seed) for part in parts)
    holding = _holding(gallery)
    turn_of = {label: turn * how.each for turn, label in enumerate(sorted({*firsts, *seconds}))}
    queries = []
    for one, other in product(firsts, seconds):
        wanted = _wanted(relevant, holding, one, other)
        mine, theirs = firsts[one], seconds[other]
        for number in range(min(how.each, max(len(mine), len(theirs)))):
            ids = (mine[(turn_of[other] + number) % len(mine)], theirs[(turn_of[one] + number) % len(theirs)])
            itself = None if own is None else ids[own]
            if one != other and wanted - {itself}:
                queries.append(Query(ids, (one, other), itself))
    return queries


def relevance(relevant: Relevant, queries: Sequence[Query], gallery: Labels) -> tuple[Relevance, NDArray[np.intp]]:
    """Which rows of the gallery are relevant to each query, never itself, and which row it is itself, -1 for none."""
    holding = _holding(gallery)
    row = {id: number for number, id in enumerate(gallery)}
    wanted = {query.labels: _wanted(relevant, holding, *query.labels) for query in queries}
    own = [query.own if query.own in wanted[query.labels] else None for query in queries]
    cases = [(query.labels, itself) for query, itself in zip(queries, own, strict=True)]
    place = {case: number for number, case in enumerate(dict.fromkeys(cases))}
    lists = [[row[id] for id in wanted[labels] - {itself}] for labels, itself in place]
    rows = np.array([-1 if query.own is None else row.get(query.own, -1) for query in queries], dtype=np.intp)
    return retrieval.of_lists(lists, [place[case] for case in cases]), rows


@dataclass(frozen=True)
class Search:
    """One direction of a composition, to be scored at any weights.

    ``about`` has a row per query, with columns id, gold and cluster at least. ``own`` is as in `retrieval.ranking`.
    """

    at: At
    relevance: Relevance
    own: NDArray[np.intp]
    about: pd.DataFrame
    gallery_ids: Sequence[str]

    def answerable(self) -> Search:
        """The same without the queries that have no relevant item."""
        kept = np.flatnonzero(self.relevance.counts > 0).tolist()

        def at(weights: Weights) -> tuple[Vectors, Vectors]:
            queries, gallery = self.at(weights)
            return queries[kept], gallery

        about: pd.DataFrame = self.about.iloc[kept]
        relevance = self.relevance.of(kept)
        return Search(at, relevance, self.own[kept], about.reset_index(drop=True), self.gallery_ids)

    def ranking(self, weights: Weights) -> Ranking:
        return ranking(*self.at(weights), self.relevance, self.own)


def score(search: Search, weights: Weights, seed: int) -> tuple[dict[str, Metric], pd.DataFrame]:
    """The metrics of the sum and of each part alone, and ``search.about`` with columns beside.

    These are prediction, score, rank, correct, relevant and gallery (how many items are), wanted (the best relevant
    item), and first_rank and second_rank (those of each part alone).
    """
    found = search.ranking(weights)
    first, second = (search.ranking(alone).rank for alone in ends(weights))
    samples = search.about.assign(
        prediction=[search.gallery_ids[item] for item in found.first.tolist()],
        score=found.score,
        rank=found.rank,
        correct=found.rank == 1,
        relevant=search.relevance.counts,
        gallery=len(search.gallery_ids) - (search.own >= 0),
        wanted=[search.gallery_ids[item] for item in found.wanted.tolist()],
        first_rank=first,
        second_rank=second,
    )
    clusters = list(samples["cluster"])
    size = len(search.gallery_ids)
    metrics = {name: measure(name, found.rank, size, clusters, seed) for name in FOUND}
    metrics["first_recall@1"] = measure("recall@1", first, size, clusters, seed)
    metrics["second_recall@1"] = measure("recall@1", second, size, clusters, seed)
    metrics["gain"] = _gain(samples, clusters, seed)
    return metrics, samples


def ends(weights: Weights) -> tuple[Weights, Weights]:
    """The parts alone, each with the sign that it has in the sum."""
    return (1.0, 0.0), (0.0, math.copysign(1.0, weights[1]))


def sweep(search: Search, weights: Weights, metric: str, over: str, points: int, seed: int) -> Curve:
    """One of `tasks.FOUND` at ``points`` weights of the first part, from 0 to 1 in equal steps; the second part has the
    rest, with the sign of its weight. The ends are the parts alone."""
    clusters = list(search.about["cluster"])
    size = len(search.gallery_ids)
    curve = []
    for share in np.linspace(0, 1, points).tolist():
        found = search.ranking((share, math.copysign(1 - share, weights[1])))
        curve.append((share, measure(metric, found.rank, size, clusters, seed)))
    return Curve(metric=metric, over=over, points=tuple(curve))


def chance(metric: str, samples: pd.DataFrame) -> float:
    """What a random order of the gallery gives on the rows of `score`; without order, nothing is gained by adding."""
    if metric == "gain":
        return 0.0
    return retrieval.chance(metric.removeprefix("first_").removeprefix("second_"), samples)


def gain(samples: pd.DataFrame) -> Weighted:
    """Recall@1 of the sum less that of the better part alone, as a function of the weights of `score`'s rows."""
    hits = np.stack([samples[column].to_numpy() == 1 for column in ("rank", "first_rank", "second_rank")])
    shares = hits.astype(np.float64)

    def value(weights: NDArray[np.float64]) -> float:
        together, first, second = shares @ weights / weights.sum()
        return float(together - max(first, second))

    return value


def _gain(samples: pd.DataFrame, clusters: Sequence[str], seed: int) -> Metric:
    """The gain with its interval, sum and parts on the same draws.

    Where no draw differs from the samples, the bootstrap would claim certainty: then it is Tango's score interval of
    the paired difference, with the clusters as the samples.
    """
    metric = bootstrap(gain(samples), clusters, seed)
    units = int(codes_of(clusters).max()) + 1
    if units < 2 or metric.low < metric.high:
        return metric
    won, lost = (round(max(sign * metric.value, 0.0) * units) for sign in (1, -1))
    low, high = tango(lost, won, units, 0.95)
    method = "Tango" if units == len(clusters) else "Tango over clusters"
    return Metric(value=metric.value, low=low, high=high, n=metric.n, method=method)


def _of_one_label(samples: Labels, seed: int) -> dict[str, list[str]]:
    """The labels in order, each with the ids of the samples that have it alone, as the seed shuffles them.

    By a digest, not a generator: those of numpy may draw otherwise in another version.
    """
    found: dict[str, list[str]] = {}
    for id, labels in samples.items():
        if len(set(labels)) == 1:
            found.setdefault(labels[0], []).append(id)
    return {label: sorted(found[label], key=lambda id: sha256_text(f"{seed}/{id}")) for label in sorted(found)}


def _holding(gallery: Labels) -> dict[str, set[str]]:
    """Label → the ids of the gallery's items that hold it."""
    found: dict[str, set[str]] = {}
    for id, labels in gallery.items():
        for label in labels:
            found.setdefault(label, set()).add(id)
    return found


def _wanted(relevant: Relevant, holding: Mapping[str, set[str]], first: str, second: str) -> set[str]:
    """The ids of the gallery's items that a query of two labels should find."""
    mine, theirs = holding.get(first, set()), holding.get(second, set())
    return mine & theirs if relevant is Relevant.BOTH else mine - theirs
