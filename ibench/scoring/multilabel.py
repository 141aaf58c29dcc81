"""Several classes per sample: macro mean of average precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.scoring.classifier import name_scores
from ibench.scoring.intervals import Metric, Weighted, bootstrap
from ibench.scoring.similarity import Vectors

TIES = "equal scores share one threshold"


def score(
    queries: Vectors,
    names: Vectors,
    names_of: Sequence[Sequence[int]],
    gold: Sequence[Sequence[int]],
    classes: Sequence[str],
    ids: Sequence[str],
    clusters: Sequence[str],
    seed: int,
) -> tuple[dict[str, Metric], pd.DataFrame]:
    """mAP of the raw cosine, and one row per sample: id, gold (names), scores of all classes, cluster.

    ``gold[i]`` are the class indices of sample i. Scores are not softmaxed over classes: that would mix classes,
    while AP ranks the samples within one. Classes without a positive are left out of the mean.
    """
    scores = np.empty((len(queries), len(names_of)), np.float32)
    for rows, chunk in name_scores(queries, names, names_of):
        scores[rows] = chunk
    positive = np.zeros(scores.shape, bool)
    for row, indices in enumerate(gold):
        positive[row, list(indices)] = True
    samples = pd.DataFrame(
        {
            "id": list(ids),
            "gold": [[classes[index] for index in indices] for indices in gold],
            "scores": list(scores),
            "cluster": list(clusters),
        }
    )
    samples.attrs["classes"] = list(classes)  # the columns of the scores; goes into the parquet with them
    # inflated: a positive that is drawn twice has itself beside it at its rank
    return {"mAP": bootstrap(mean_average_precision(scores, positive), clusters, seed, inflated=True)}, samples


def mean_average_precision(scores: Vectors, positive: NDArray[np.bool_]) -> Weighted:
    """mAP of scores [n, classes] as a function of the samples' weights: the mean over classes with a positive, NaN
    where no positive has any weight."""
    ranked = RankedScores(scores, positive)

    def mean(weights: NDArray[np.float64]) -> float:
        precision = ranked.average_precision(weights)
        occurring = precision[~np.isnan(precision)]
        return float(occurring.mean()) if len(occurring) else np.nan

    return mean


def chance(gold: Sequence[Sequence[int]], classes: int) -> float:
    """What random scores give for many samples: the mean share of positives, over classes that have any."""
    share = np.bincount([index for indices in gold for index in set(indices)], minlength=classes) / len(gold)
    return float(share[share > 0].mean())


class RankedScores:
    """Scores [n, classes] sorted once per class, so that AP under other sample weights needs no sorting."""

    def __init__(self, scores: Vectors, positive: NDArray[np.bool_]) -> None:
        columns = (np.ascontiguousarray(table.T) for table in (scores, positive))
        self._rankings = [_Ranking.of(*column) for column in zip(*columns, strict=True)]

    def average_precision(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """AP per class, [classes], NaN for one without a positive: sum of precision times the step in recall.

        The definition of scikit-learn's average_precision_score, with sample weights.
        """
        return np.array([ranking.average_precision(weights) for ranking in self._rankings])


class _Ranking(NamedTuple):
    """The samples of one class, best first. Equal scores share one threshold, which admits all of them or none."""

    order: NDArray[np.intp]
    """All samples [n]."""
    positives: NDArray[np.intp]
    """Those that are positive [p]."""
    admitted: NDArray[np.intp]
    """How many samples the threshold of each positive admits [p]."""
    found: NDArray[np.intp]
    """How many of them are positive [p]."""

    @classmethod
    def of(cls, scores: Vectors, positive: NDArray[np.bool_]) -> _Ranking:
        order = np.argsort(-scores)
        positives = order[positive[order]]
        admitted, found = (
            np.searchsorted(-scores[ranked], -scores[positives], side="right") for ranked in (order, positives)
        )
        return cls(order, positives, admitted, found)

    def average_precision(self, weights: NDArray[np.float64]) -> float:
        total = weights[self.positives].sum()
        if total == 0:
            return np.nan
        admitted = np.cumsum(weights[self.order])[self.admitted - 1]
        hits = weights[self.positives]
        drawn = hits > 0  # the others add nothing, and may stand at a threshold that admits no weight
        precision = np.cumsum(hits)[self.found - 1][drawn] / admitted[drawn]
        return float(hits[drawn] @ precision / total)
