"""What the kinds of task have in common: from a bound task and its embeddings to vectors with their items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from ibench.cells import Cell
from ibench.datasets import Item
from ibench.engine.store import Embeddings
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.scoring.fusion import shared_rows, weighted_sum
from ibench.scoring.intervals import Curve, Metric
from ibench.scoring.similarity import Vectors

Ask: TypeAlias = Callable[[Vectors, Sequence[Item]], tuple[dict[str, Metric], pd.DataFrame]]
"""A task's question, which samples of any modality can be asked: their vectors and items → metrics and rows."""


class Scored(NamedTuple):
    """A task's metrics, its per-sample rows, what the headline metric is by chance, and how ties are counted.

    ``curves`` are for kinds that vary something, such as the number of shots.
    """

    metrics: dict[str, Metric]
    samples: pd.DataFrame
    chance: float
    ties: str
    curves: tuple[Curve, ...] = ()


def side(
    cell: Cell, modality: Modality, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors]
) -> tuple[Vectors, list[Item]]:
    """The vectors and items of a retrieval's query or target: texts, readable samples, or what is fused of samples."""
    if modality is Modality.TEXT:
        texts = list(cell.dataset.items[modality])
        return np.stack([embedding_of[item.decode()] for item in texts]), texts
    parts = cell.spec.parts(modality)
    if len(parts) == 1:
        return readable(cell, modality, embeddings)
    of_part = {part: readable(cell, part, embeddings) for part in parts}
    rows = shared_rows([[item.id for item in items] for _, items in of_part.values()])
    if not rows:
        raise IbenchError(f"{cell.spec.name}: no sample has {' and '.join(parts)}; the parts of one need the same id")
    vectors = [vectors[[of[part] for of in rows]] for part, (vectors, _) in enumerate(of_part.values())]
    items = of_part[modality][1]
    return weighted_sum(vectors, list(parts.values())), [items[first] for first, *_ in rows]


def readable(cell: Cell, modality: Modality, embeddings: Mapping[Modality, Embeddings]) -> tuple[Vectors, list[Item]]:
    """The vectors and items of a modality without those that could not be read."""
    part = embeddings[modality]
    kept = [position for position in range(len(part.vectors)) if position not in part.unreadable]
    if not kept:
        reason = next(iter(part.unreadable.values()), "the data set is empty")
        raise IbenchError(f"{cell.spec.name}: no readable {modality} sample ({reason})")
    items = cell.dataset.items[modality]
    return part.vectors[kept], [items[position] for position in kept]
