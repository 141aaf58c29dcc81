"""A run's per-sample rows back to what each metric is made of, so that two runs can be compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.errors import IbenchError
from ibench.scoring import classification, composition, localisation, retrieval
from ibench.scoring.intervals import weighted_median
from ibench.scoring.multilabel import mean_average_precision
from ibench.scoring.paired import Outcome

_WITHIN = {"top1": 1, "top5": 5, "recall@1": 1, "recall@5": 5, "recall@10": 10}


def outcome(metric: str, rows: pd.DataFrame) -> Outcome:
    """What ``metric`` is made of on these rows: hits, or a function of the samples' weights.

    ``rows`` are those of one direction of a search. Raises IbenchError where they do not hold it.
    """
    name = metric.removeprefix("reverse_")
    if name in _WITHIN:
        return rows["rank"].to_numpy() <= _WITHIN[name]
    if name in ("first_recall@1", "second_recall@1"):
        return rows[name.replace("recall@1", "rank")].to_numpy() <= 1
    if name == "gain":
        return composition.gain(rows)
    if name.startswith("top1@") and name in rows:
        return _of_draws(rows[name].to_numpy())
    if name == "mean_per_class_recall":
        return classification.mean_recall(rows["correct"].to_numpy(), pd.factorize(rows["gold"])[0])
    if name == "mrr":
        return retrieval.mean_reciprocal(rows["rank"].to_numpy())
    if name == "median_rank":
        return _median(rows["rank"].to_numpy())
    if name == "mAP":
        return _mean_average_precision(rows)
    asked_with, of = metric[: metric.rfind("_") + 1], metric[metric.rfind("_") + 1 :]
    if of in ("ciou@0.5", "auc", "pointing") and f"{asked_with}ciou" in rows:
        return _located(of, rows[f"{asked_with}ciou"].to_numpy(), rows[f"{asked_with}pointing"].to_numpy())
    raise IbenchError(f"metric '{metric}' cannot be compared in pairs")


def asked(metric: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that ``metric`` is of: of a search those of its direction, the first or the reverse; else all."""
    if "direction" not in rows:
        return rows
    directions = list(dict.fromkeys(rows["direction"]))
    return _at(rows, np.flatnonzero(rows["direction"] == directions[metric.startswith("reverse_")]))


def aligned(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``second`` in the order of ``first``'s. Raises IbenchError when they are not of the same samples."""
    if first["id"].array.equals(second["id"].array):
        return second
    if second["id"].is_unique and set(first["id"]) == set(second["id"]):
        return _at(second, pd.Index(second["id"]).get_indexer(pd.Index(first["id"])))
    raise IbenchError("the per-sample rows are of different samples")


def _of_draws(right: NDArray[np.bool_] | NDArray[np.float64]) -> Outcome:
    """Of a few-shot task: hits where nothing was drawn, else the share of the draws in which a sample was right."""
    if right.dtype == np.bool_:
        return right.astype(np.bool_)
    return lambda weights: float(np.average(right, weights=weights))


def _located(metric: str, ciou: NDArray[np.float64], pointing: NDArray[np.bool_]) -> Outcome:
    if metric == "auc":
        return localisation.area_under(ciou)
    return ciou >= 0.5 if metric == "ciou@0.5" else pointing


def _median(values: NDArray[np.int64]) -> Outcome:
    order = np.argsort(values)
    return lambda weights: weighted_median(values[order], weights[order])


def _at(rows: pd.DataFrame, places: NDArray[np.intp]) -> pd.DataFrame:
    chosen: pd.DataFrame = rows.iloc[places]
    return chosen


def _mean_average_precision(rows: pd.DataFrame) -> Outcome:
    classes: Sequence[str] = rows.attrs.get("classes", ())
    scores = np.stack(rows["scores"].to_list())
    if len(classes) != scores.shape[1]:
        raise IbenchError("the per-sample rows do not name their classes; run the task again with this ibench")
    column = {label: position for position, label in enumerate(classes)}
    positive = np.zeros(scores.shape, bool)
    for row, labels in enumerate(rows["gold"]):
        positive[row, [column[label] for label in labels]] = True
    return mean_average_precision(scores, positive)
