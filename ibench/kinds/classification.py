"""Samples among classes, each of which is what its prompts say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ibench.cells import Cell
from ibench.datasets import Item
from ibench.engine.store import Embeddings
from ibench.kinds.base import Ask, Scored, readable
from ibench.modalities import Modality
from ibench.scoring import classification as scoring
from ibench.scoring.classifier import class_embeddings
from ibench.scoring.intervals import Metric
from ibench.scoring.similarity import Vectors


def score(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
) -> Scored:
    metrics, samples = asking(cell, embedding_of, seed)(*readable(cell, cell.spec.query, embeddings))
    return Scored(metrics, samples, 1 / len(cell.classes), scoring.TIES)


def asking(cell: Cell, embedding_of: Mapping[str, Vectors], seed: int) -> Ask:
    """Which class is it?"""
    names = class_embeddings(cell.texts, embedding_of)
    index = {label: position for position, label in enumerate(cell.classes)}

    def ask(queries: Vectors, items: Sequence[Item]) -> tuple[dict[str, Metric], pd.DataFrame]:
        return scoring.score(
            queries,
            names,
            cell.names_of,
            np.array([index[item.labels[0]] for item in items], dtype=np.intp),
            cell.classes,
            [item.id for item in items],
            [item.cluster for item in items],
            seed,
        )

    return ask
