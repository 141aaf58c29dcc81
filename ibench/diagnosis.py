"""How the two modalities of a task lie in an encoder's space: its pairs, and what the diagnostics read from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.cells import Cell
from ibench.engine.store import Embeddings
from ibench.errors import IbenchError
from ibench.kinds.base import readable, side
from ibench.modalities import Modality
from ibench.scoring.classifier import class_embeddings
from ibench.scoring.diagnostics import Reading, Side, readings
from ibench.scoring.similarity import Vectors
from ibench.tasks import PAIRING, Kind

TEMPERATURE = 0.07
"""τ of InfoNCE where none is asked for: the one that CLIP begins its training with (arXiv 2103.00020, section 2.5)."""


@dataclass(frozen=True)
class Diagnosis:
    """The diagnostics of one task: ``queries`` and ``targets`` items in ``groups`` that match within and not across.

    ``pairs`` says in words what was paired.
    """

    encoder: str
    task: str
    query: Modality
    target: Modality
    emergent: bool
    pairs: str
    queries: int
    targets: int
    groups: int
    temperature: float
    readings: tuple[Reading, ...]


def diagnosis(
    cell: Cell,
    embeddings: Mapping[Modality, Embeddings],
    embedding_of: Mapping[str, Vectors],
    encoder: str,
    emergent: bool,
    temperature: float,
) -> Diagnosis:
    """Read the diagnostics from a task's embeddings. Raises IbenchError for a task that does not pair two modalities.

    Of a retrieval the two sides, whose items match within a group; of a classification the samples and the texts of
    their classes (one vector for each name: the mean of its prompts). Items without a match are left out.
    """
    spec = cell.spec
    refuse_unpaired(cell)
    if spec.kind is Kind.RETRIEVAL:
        (queries, asked), (targets, offered) = (
            side(cell, one, embeddings, embedding_of) for one in (spec.query, spec.target)
        )
        pairs = "items of one sample"
        own, other = [item.group for item in asked], [item.group for item in offered]
    else:
        queries, items = readable(cell, spec.query, embeddings)
        names = class_embeddings(cell.texts, embedding_of)
        targets = names[[row for rows in cell.names_of for row in rows]]
        pairs = "samples and the texts of their classes"
        own = [item.labels[0] for item in items]
        other = [label for label, rows in zip(cell.classes, cell.names_of, strict=True) for _ in rows]
    query, target = _matched(queries, own, targets, other)
    return Diagnosis(
        encoder,
        spec.name,
        spec.query,
        spec.target,
        emergent,
        pairs,
        len(query.codes),
        len(target.codes),
        len(np.unique(query.codes)),
        temperature,
        readings(query, target, temperature),
    )


def refuse_unpaired(cell: Cell) -> None:
    """Raises IbenchError for a task of another kind than those that pair samples of two modalities."""
    spec = cell.spec
    if spec.kind not in PAIRING:
        what = "fuses modalities" if spec.fuse else f"is a {spec.kind} task"
        raise IbenchError(
            f"{spec.name} {what}: diagnostics are of tasks that pair two modalities, by retrieval or classification"
        )


def _matched(queries: Vectors, own: Sequence[str], targets: Vectors, other: Sequence[str]) -> tuple[Side, Side]:
    """Both sides without what has no match on the other; codes from 0."""
    codes, _ = pd.factorize(pd.Series([*own, *other], dtype=object))
    query_codes, target_codes = codes[: len(own)], codes[len(own) :]
    both = np.intersect1d(query_codes, target_codes)
    return _kept(queries, query_codes, both), _kept(targets, target_codes, both)


def _kept(vectors: Vectors, codes: NDArray[np.intp], both: NDArray[np.intp]) -> Side:
    rows = np.isin(codes, both)
    return Side(vectors[rows], np.searchsorted(both, codes[rows]).astype(np.intp))
