"""Samples among classes, each of which is what its prompts say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ibench.cells import Cell
from ibench.engine.store import Embeddings
from ibench.kinds.base import Scored, readable
from ibench.modalities import Modality
from ibench.scoring import classification as scoring
from ibench.scoring.classifier import class_embeddings
from ibench.scoring.similarity import Vectors


def score(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
) -> Scored:
    queries, items = readable(cell, cell.spec.query, embeddings)
    index = {label: position for position, label in enumerate(cell.classes)}
    metrics, samples = scoring.score(
        queries,
        class_embeddings(cell.texts, embedding_of),
        cell.names_of,
        np.array([index[item.labels[0]] for item in items], dtype=np.intp),
        cell.classes,
        [item.id for item in items],
        [item.cluster for item in items],
        seed,
    )
    return Scored(metrics, samples, 1 / len(cell.classes), scoring.TIES)
