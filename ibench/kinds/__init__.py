"""How each kind of task is scored: one module a kind, each with a function `score`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ibench.cells import Cell
from ibench.engine.store import Embeddings
from ibench.kinds import classification, composition, fewshot, localisation, multilabel, retrieval
from ibench.kinds.base import Scored
from ibench.modalities import Modality
from ibench.scoring.similarity import Vectors
from ibench.tasks import Kind


class Score(Protocol):
    """From a task's embeddings to its metrics.

    ``embeddings`` holds those of the samples by modality, ``embedding_of`` a unit vector for each of the task's texts.
    """

    def __call__(
        self, cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
    ) -> Scored: ...


SCORE: Mapping[Kind, Score] = {
    Kind.CLASSIFICATION: classification.score,
    Kind.MULTILABEL: multilabel.score,
    Kind.RETRIEVAL: retrieval.score,
    Kind.COMPOSITION: composition.score,
    Kind.FEWSHOT: fewshot.score,
    Kind.LOCALISATION: localisation.score,
}
