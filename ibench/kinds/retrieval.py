"""Both sides of a pair of modalities, each asking the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ibench.cells import Cell
from ibench.datasets import Item
from ibench.engine.store import Embeddings
from ibench.kinds.base import Ask, Scored, side
from ibench.modalities import Modality
from ibench.scoring import retrieval as scoring
from ibench.scoring.intervals import Metric
from ibench.scoring.similarity import Vectors


def score(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
) -> Scored:
    spec = cell.spec
    sides = {one: side(cell, one, embeddings, embedding_of) for one in (spec.query, spec.target)}
    metrics: dict[str, Metric] = {}
    tables = []
    for prefix, source, target in (("", spec.query, spec.target), ("reverse_", spec.target, spec.query)):
        found, samples = asking(*sides[target], seed)(*sides[source])
        metrics |= {prefix + name: metric for name, metric in found.items()}
        samples.insert(len(samples.columns) - 1, "direction", f"{source}→{target}")
        tables.append(samples)
    forward = tables[1 if spec.headline.startswith("reverse_") else 0]
    chance = scoring.chance(spec.headline.removeprefix("reverse_"), forward)
    return Scored(metrics, pd.concat(tables, ignore_index=True), chance, scoring.TIES)


def asking(gallery: Vectors, offered: Sequence[Item], seed: int) -> Ask:
    """Which of these is it? The rows also have the size of the gallery."""

    def ask(queries: Vectors, items: Sequence[Item]) -> tuple[dict[str, Metric], pd.DataFrame]:
        metrics, samples = scoring.score(
            queries,
            gallery,
            [item.group for item in items],
            [item.group for item in offered],
            [item.id for item in items],
            [item.id for item in offered],
            [item.cluster for item in items],
            seed,
        )
        return metrics, samples.assign(gallery=len(offered))

    return ask
