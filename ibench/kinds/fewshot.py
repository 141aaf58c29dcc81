"""Samples among classes of which a few samples are known; with none of them, what the prompts of a class say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.cells import Cell, refuse_too_few
from ibench.datasets import Item
from ibench.datasets.base import tested_folds
from ibench.engine.store import Embeddings
from ibench.kinds.base import Scored, readable
from ibench.kinds.classification import asking
from ibench.modalities import Modality
from ibench.scoring import classification
from ibench.scoring import fewshot as scoring
from ibench.scoring.fewshot import Round
from ibench.scoring.intervals import Curve, Metric, proportion
from ibench.scoring.similarity import Vectors


def score(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
) -> Scored:
    """``top1@k`` for each number of shots, ``top1@0`` from the prompts, as a classification, and ``top1@all``.

    A row has the classes that the draws of the most shots gave its sample: the one that most of them gave, their share
    as its score, and the rank of the right one; and for each metric whether, or in what share of the draws, the sample
    was right. Raises IbenchError for a class with fewer training samples than shots.
    """
    spec = cell.spec
    vectors, items = readable(cell, spec.query, embeddings)
    index = {label: position for position, label in enumerate(cell.classes)}
    gold = np.array([index[item.labels[0]] for item in items], dtype=np.intp)
    rounds = _rounds(items)
    refuse_too_few(spec, cell.classes, items, cell.limited)  # again: some may have been unreadable
    tested = np.sort(np.concatenate([one.tested for one in rounds.values()]))
    asked = [items[row] for row in tested]
    ids, clusters = [item.id for item in asked], [item.cluster for item in asked]
    zero, zero_rows = asking(cell, embedding_of, seed)(vectors[tested], asked)

    def said(shots: int | None) -> NDArray[np.intp]:
        return scoring.predictions(vectors, gold, list(rounds.values()), shots, spec.draws, seed)[:, tested]

    of_shots = {shots: said(shots) for shots in sorted(spec.shots)}
    right = {shots: predicted == gold[tested] for shots, predicted in of_shots.items()}
    probed = said(None)[0] == gold[tested]
    over = {0: zero["top1"], **{shots: scoring.over_draws(hits) for shots, hits in right.items()}}
    metrics: dict[str, Metric] = {f"top1@{shots}": over[shots] for shots in sorted(over, reverse=True)}
    metrics["top1@all"] = proportion(probed, clusters, seed)
    rows = _rows(cell, ids, gold[tested], of_shots[max(of_shots)], clusters).assign(
        **{"top1@0": zero_rows["correct"].to_numpy()},
        **{f"top1@{shots}": hits.mean(axis=0) for shots, hits in right.items()},
        **{"top1@all": probed},
    )
    curve = Curve(metric="top1", over="shots", points=tuple((float(shots), metric) for shots, metric in over.items()))
    return Scored(metrics, rows, 1 / len(cell.classes), scoring.TIES, (curve,))


def _rounds(items: Sequence[Item]) -> dict[str, Round]:
    """Every fold, tested after training on the others; what is only trained on leaves one fold to test, of no name."""
    folds = np.array([item.fold for item in items])
    return {fold: Round(np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)) for fold in tested_folds(items)}


def _rows(
    cell: Cell, ids: Sequence[str], gold: NDArray[np.intp], said: NDArray[np.intp], clusters: Sequence[str]
) -> pd.DataFrame:
    """A row for each tested sample: what the draws made of it."""
    votes = scoring.votes(said, len(cell.classes))
    most = votes.argmax(axis=1)
    return pd.DataFrame(
        {
            "id": list(ids),
            "gold": [cell.classes[label] for label in gold.tolist()],
            "prediction": [cell.classes[label] for label in most.tolist()],
            "score": votes.max(axis=1) / len(said),
            "rank": classification.rank_of(votes, gold),
            "correct": most == gold,
            "cluster": list(clusters),
        }
    )
