"""One class per sample: top-1, top-5 and mean per-class recall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.scoring.classifier import name_scores
from ibench.scoring.intervals import Metric, bootstrap, proportion
from ibench.scoring.similarity import Vectors

TIES = "the class listed first wins"


def score(
    queries: Vectors,
    names: Vectors,
    names_of: Sequence[Sequence[int]],
    gold: NDArray[np.intp],
    classes: Sequence[str],
    ids: Sequence[str],
    clusters: Sequence[str],
    seed: int,
) -> tuple[dict[str, Metric], pd.DataFrame]:
    """Metrics, and one row per sample: id, gold, prediction, score, rank of the gold class, correct, cluster.

    ``queries`` [n, dim] and ``names`` [names, dim] are unit vectors, ``names_of[c]`` the rows of ``names`` that class
    c goes by, ``gold`` [n] class indices. top-1 is the argmax of cosine, ties to the class listed first.
    """
    predicted = np.empty(len(queries), np.intp)
    best = np.empty(len(queries), np.float32)
    rank = np.empty(len(queries), np.int64)
    for rows, scores in name_scores(queries, names, names_of):
        predicted[rows] = scores.argmax(axis=1)
        best[rows] = scores[np.arange(len(scores)), predicted[rows]]
        rank[rows] = rank_of(scores, gold[rows])
    samples = pd.DataFrame(
        {
            "id": list(ids),
            "gold": [classes[index] for index in gold.tolist()],
            "prediction": [classes[index] for index in predicted.tolist()],
            "score": best,
            "rank": rank,
            "correct": predicted == gold,
            "cluster": list(clusters),
        }
    )
    kinds, kind = np.unique(2 * gold + (predicted == gold), return_inverse=True)
    metrics = {
        "top1": proportion(predicted == gold, clusters, seed),
        "top5": proportion(rank <= 5, clusters, seed),
        "mean_per_class_recall": bootstrap(mean_recall(kinds % 2 == 1, kinds // 2), clusters, seed, kinds=kind),
    }
    return metrics, samples


def confusion(samples: pd.DataFrame) -> pd.DataFrame:
    """The confusion matrix of a run's per-sample rows: gold classes down, predictions across, counts."""
    return pd.crosstab(samples["gold"], samples["prediction"])


def rank_of(scores: NDArray[Any], gold: NDArray[np.intp]) -> list[int]:
    """1 for the class that wins; an equal score of a class listed earlier counts as better."""
    own = np.take_along_axis(scores, gold[:, None], axis=1)
    earlier = np.arange(scores.shape[1])[None, :] < gold[:, None]
    ahead = (scores > own) | ((scores == own) & earlier)
    return [1 + int(np.count_nonzero(row)) for row in ahead]  # several times as fast as along an axis


def mean_recall(correct: NDArray[np.bool_], gold: NDArray[np.intp]) -> Callable[[NDArray[np.float64]], float]:
    """The mean, over classes that occur, of the share of their samples that is right (balanced accuracy), as a function
    of the samples' weights."""
    kind = 2 * gold + correct

    def recall(weights: NDArray[np.float64]) -> float:
        counts = np.bincount(kind, weights, minlength=2 * int(gold.max() + 1)).reshape(-1, 2)
        occurring = counts[counts.any(axis=1)]
        return float(np.mean(occurring[:, 1] / occurring.sum(axis=1)))

    return recall
