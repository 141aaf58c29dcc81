"""Both sides of a pair of modalities, each asking the other."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ibench.cells import Cell
from ibench.engine.store import Embeddings
from ibench.kinds.base import Scored, side
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
        (queries, asked), (gallery, offered) = sides[source], sides[target]
        found, samples = scoring.score(
            queries,
            gallery,
            [item.group for item in asked],
            [item.group for item in offered],
            [item.id for item in asked],
            [item.id for item in offered],
            [item.cluster for item in asked],
            seed,
        )
        metrics |= {prefix + name: metric for name, metric in found.items()}
        tables.append(samples.assign(direction=f"{source}→{target}", gallery=len(offered)))
    forward = tables[1 if spec.headline.startswith("reverse_") else 0]
    chance = scoring.chance(spec.headline.removeprefix("reverse_"), forward)
    return Scored(metrics, pd.concat(tables, ignore_index=True), chance, scoring.TIES)
