"""Samples that may be of several classes at once."""

from __future__ import annotations

from collections.abc import Mapping

from ibench.cells import Cell, refuse_unlabelled
from ibench.engine.store import Embeddings
from ibench.kinds.base import Scored, readable
from ibench.modalities import Modality
from ibench.scoring import multilabel as scoring
from ibench.scoring.classifier import class_embeddings
from ibench.scoring.similarity import Vectors


def score(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
) -> Scored:
    queries, items = readable(cell, cell.spec.query, embeddings)
    refuse_unlabelled(cell.spec, items, cell.limited)  # again: some may have been unreadable
    index = {label: position for position, label in enumerate(cell.classes)}
    gold = [[index[label] for label in item.labels] for item in items]
    metrics, samples = scoring.score(
        queries,
        class_embeddings(cell.texts, embedding_of),
        cell.names_of,
        gold,
        cell.classes,
        [item.id for item in items],
        [item.cluster for item in items],
        seed,
    )
    return Scored(metrics, samples, scoring.chance(gold, len(cell.classes)), scoring.TIES)
