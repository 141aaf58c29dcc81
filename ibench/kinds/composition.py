"""Weighted sums of two modalities: two samples of a labelled pool as one query, or both parts of one scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ibench.cells import Cell, pool_labels
from ibench.datasets import Item
from ibench.engine.store import Embeddings
from ibench.errors import IbenchError
from ibench.kinds.base import Scored, side
from ibench.modalities import Modality
from ibench.scoring import composition as scoring
from ibench.scoring import retrieval
from ibench.scoring.composition import Query, Search, Weights
from ibench.scoring.fusion import shared_rows, weighted_sum
from ibench.scoring.intervals import Curve, Metric
from ibench.scoring.similarity import Vectors
from ibench.tasks import FOUND, Relevant

Side = tuple[Vectors, list[Item]]


def score(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
) -> Scored:
    metrics: dict[str, Metric] = {}
    tables = []
    searches = _searches(cell, embeddings, embedding_of)
    for (direction, search), prefix in zip(searches.items(), ("", "reverse_"), strict=False):
        found, samples = scoring.score(search, _weights(cell), seed)
        metrics |= {prefix + name: metric for name, metric in found.items()}
        tables.append(samples.assign(direction=direction))
    prefix, name = _headline(cell)
    chance = scoring.chance(name, tables[-1 if prefix else 0])
    return Scored(metrics, pd.concat(tables, ignore_index=True), chance, scoring.TIES)


def sweep(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int, points: int
) -> Curve:
    """The headline metric over the weight of the first part; recall@1 where the headline compares sum and parts."""
    prefix, name = _headline(cell)
    name = name if name in FOUND else "recall@1"
    search = list(_searches(cell, embeddings, embedding_of).values())[-1 if prefix else 0]
    over = f"weight of {_parts(cell)[0]}"
    curve = scoring.sweep(search, _weights(cell), name, over, points, seed)
    return curve.model_copy(update={"metric": prefix + name})


def _searches(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors]
) -> dict[str, Search]:
    """The directions by their names; only one in a labelled pool."""
    spec = cell.spec
    sides = {one: side(cell, one, embeddings, embedding_of) for one in spec.sample_modalities}
    searches = {spec.pair: _of_pool(cell, sides)} if spec.pooled else _of_scenes(cell, sides)
    answerable = {direction: search.answerable() for direction, search in searches.items()}
    if not all(len(search.about) for search in answerable.values()):
        raise IbenchError(f"{spec.name}: of what could be read, nothing is relevant to any query")
    return answerable


def _of_pool(cell: Cell, sides: Mapping[Modality, Side]) -> Search:
    """The composed queries whose parts could be read, against the whole gallery."""
    assert cell.spec.relevant is not None
    (first, ones), (second, others) = (sides[modality] for modality in _parts(cell))
    gallery, offered = sides[cell.spec.target]
    row_of_one, row_of_other = ({item.id: row for row, item in enumerate(items)} for items in (ones, others))
    queries = [query for query in cell.queries if query.parts[0] in row_of_one and query.parts[1] in row_of_other]
    rows = [row_of_one[query.parts[0]] for query in queries]
    other_rows = [row_of_other[query.parts[1]] for query in queries]
    one, other = first[rows], second[other_rows]
    relevance, own = scoring.relevance(cell.spec.relevant, queries, pool_labels(offered))
    about = _about(cell.spec.relevant, queries).assign(
        cluster=_scarcer([ones[row] for row in rows], [others[row] for row in other_rows])
    )
    return Search(
        lambda weights: (weighted_sum([one, other], weights), gallery),
        relevance,
        own,
        about,
        [item.id for item in offered],
    )


def _about(relevant: Relevant, queries: Sequence[Query]) -> pd.DataFrame:
    """A row per composed query, named after its parts; gold says in words what is relevant."""
    words = {Relevant.BOTH: "{0} and {1}", Relevant.FIRST_NOT_SECOND: "{0}, not {1}"}
    return pd.DataFrame(
        {
            "id": [" + ".join(query.parts) for query in queries],
            "gold": [words[relevant].format(*query.labels) for query in queries],
            "first": [query.parts[0] for query in queries],
            "second": [query.parts[1] for query in queries],
        }
    )


def _scarcer(first: Sequence[Item], second: Sequence[Item]) -> list[str]:
    """The clusters of composed queries: those of the part of which there are fewer, a sample without one being its own.

    A sample stands in many queries, which are no more independent than it is.
    """
    clusters = [[item.cluster or item.id for item in items] for items in (first, second)]
    return min(clusters, key=lambda names: len(set(names)))


def _of_scenes(cell: Cell, sides: Mapping[Modality, Side]) -> dict[str, Search]:
    """Both directions between scenes, which are the samples that have both parts, and the other side."""
    spec = cell.spec
    names = _parts(cell)
    parts = [sides[modality] for modality in names]
    rows = shared_rows([[item.id for item in items] for _, items in parts])
    if not rows:
        raise IbenchError(f"{spec.name}: no sample has {' and '.join(names)}; the parts of one need the same id")
    vectors = [of[[scene[part] for scene in rows]] for part, (of, _) in enumerate(parts)]
    scenes = [parts[0][1][row] for row, _ in rows]
    composed_asks = names[0] is spec.query
    alone, others = sides[spec.target if composed_asks else spec.query]

    def forward(weights: Weights) -> tuple[Vectors, Vectors]:
        composed = weighted_sum(vectors, weights)
        return (composed, alone) if composed_asks else (alone, composed)

    asked, offered = (scenes, others) if composed_asks else (others, scenes)
    return {
        f"{spec.query}→{spec.target}": _between(asked, offered, forward),
        f"{spec.target}→{spec.query}": _between(offered, asked, lambda weights: forward(weights)[::-1]),
    }


def _between(asked: Sequence[Item], offered: Sequence[Item], at: scoring.At) -> Search:
    about = pd.DataFrame(
        {
            "id": [item.id for item in asked],
            "gold": [item.group for item in asked],
            "cluster": [item.cluster for item in asked],
        }
    )
    relevance = retrieval.of_groups([item.group for item in asked], [item.group for item in offered])
    return Search(at, relevance, np.full(len(asked), -1, np.intp), about, [item.id for item in offered])


def _parts(cell: Cell) -> tuple[Modality, ...]:
    """The modalities of the first and the second part."""
    return tuple(next(side for side in cell.spec.sides if len(side) > 1))


def _weights(cell: Cell) -> Weights:
    first, second = (cell.spec.fuse[part] for part in _parts(cell))
    return first, second


def _headline(cell: Cell) -> tuple[str, str]:
    """The headline's direction, "" or ``reverse_``, and its name without it."""
    name = cell.spec.headline.removeprefix("reverse_")
    return cell.spec.headline.removesuffix(name), name
