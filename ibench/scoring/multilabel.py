"""Several classes per sample: macro mean of average precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.scoring.classifier import name_scores
from ibench.scoring.intervals import Metric, bootstrap
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
    scores = np.concatenate([chunk for _, chunk in name_scores(queries, names, names_of)])
    positive = np.zeros(scores.shape, bool)
    for row, indices in enumerate(gold):
        positive[row, list(indices)] = True
    ranked = RankedScores(scores, positive)
    samples = pd.DataFrame(
        {
            "id": list(ids),
            "gold": [[classes[index] for index in indices] for indices in gold],
            "scores": list(scores),
            "cluster": list(clusters),
        }
    )

    def mean(weights: NDArray[np.float64]) -> float:
        return float(np.nanmean(ranked.average_precision(weights)))

    # inflated: a positive that is drawn twice has itself beside it at its rank
    return {"mAP": bootstrap(mean, clusters, seed, inflated=True)}, samples


def chance(gold: Sequence[Sequence[int]], classes: int) -> float:
    """What random scores give for many samples: the mean share of positives, over classes that have any."""
    share = np.bincount([index for indices in gold for index in indices], minlength=classes) / len(gold)
    return float(share[share > 0].mean())


class RankedScores:
    """Scores [n, classes] sorted once per class, so that AP under other sample weights needs no sorting."""

    def __init__(self, scores: Vectors, positive: NDArray[np.bool_]) -> None:
        self._order = np.argsort(-scores, axis=0, kind="stable")
        ordered = np.take_along_axis(scores, self._order, axis=0)
        self._positive = np.take_along_axis(positive, self._order, axis=0)
        # a sample counts at the last rank of its tie: one threshold admits all equal scores
        last = np.ones(scores.shape, bool)
        last[:-1] = ordered[1:] != ordered[:-1]
        ranks = np.where(last, np.arange(len(scores))[:, None], len(scores))
        self._threshold = np.minimum.accumulate(ranks[::-1], axis=0)[::-1]

    def average_precision(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """AP per class, [classes], NaN for one without a positive: sum of precision times the step in recall.

        The definition of scikit-learn's average_precision_score, with sample weights.
        """
        weight = weights[self._order]
        hits = weight * self._positive
        admitted = np.cumsum(weight, axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.nan_to_num(np.cumsum(hits, axis=0) / admitted)
            at_threshold = np.take_along_axis(precision, self._threshold, axis=0)
            return np.asarray((hits * at_threshold).sum(axis=0) / hits.sum(axis=0))
