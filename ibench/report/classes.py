"""What a run's rows say class by class, and rank by rank: bars with intervals, confusions, recall at every k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.scoring.classification import confusion
from ibench.scoring.intervals import Metric, bootstrap, proportion
from ibench.scoring.multilabel import RankedScores

_ENDS = 15  # classes that are shown from either end of many
_SIDE = 24  # classes along a side of the matrix


@dataclass(frozen=True)
class Bar:
    """A class with its metric; ``n`` samples have it."""

    label: str
    metric: Metric
    n: int


@dataclass(frozen=True)
class Bars:
    """Classes under a heading."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Matrix:
    """How often each gold class (down) was taken for each (across); ``left_out`` classes are not in it."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    left_out: int


@dataclass(frozen=True)
class Curve:
    """The share of queries with a match among the first k, over k on a logarithmic axis: an SVG path, 300 by 150."""

    direction: str
    path: str
    gallery: int


def recalls(rows: pd.DataFrame, seed: int) -> list[Bars]:
    """Of a classification: the share of each class's samples that is right, with its interval."""
    shares = rows.groupby("gold")["correct"].mean().sort_values(kind="stable")

    def bar(label: str) -> Bar:
        own = rows[rows["gold"] == label]
        return Bar(label, proportion(own["correct"].to_numpy(bool), _clusters(own), seed), len(own))

    return _ends([str(label) for label in shares.index], bar)


def precisions(rows: pd.DataFrame, classes: Sequence[str], seed: int) -> list[Bars]:
    """Of a multi-label task: the average precision of each class that occurs; ``classes`` are those of the scores."""
    scores, positive = scores_of(rows), positives(rows, classes)
    values = RankedScores(scores, positive).average_precision(np.ones(len(rows)))
    column = {label: place for place, label in enumerate(classes)}
    occurring = [label for label in classes if positive[:, column[label]].any()]
    clusters = _clusters(rows)

    def bar(label: str) -> Bar:
        one = slice(column[label], column[label] + 1)
        ranking = RankedScores(scores[:, one], positive[:, one])

        def precision(weights: NDArray[np.float64]) -> float:
            return float(np.nan_to_num(ranking.average_precision(weights)[0]))  # 0 for a draw without a positive

        return Bar(label, bootstrap(precision, clusters, seed, inflated=True), int(positive[:, one].sum()))

    return _ends(sorted(occurring, key=lambda label: float(values[column[label]])), bar)


def scores_of(rows: pd.DataFrame) -> NDArray[np.float32]:
    """The scores of a multi-label task's rows, [n, classes]."""
    return np.stack(rows["scores"].to_list())


def positives(rows: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.bool_]:
    """Which classes each row has, [n, classes]."""
    column = {label: place for place, label in enumerate(classes)}
    table = np.zeros((len(rows), len(classes)), bool)
    for row, labels in enumerate(rows["gold"]):
        table[row, [column[label] for label in labels]] = True
    return table


def matrix(rows: pd.DataFrame, classes: Sequence[str]) -> Matrix | None:
    """The confusion matrix; of many classes those with the most confusions; None where there is one class.

    ``classes`` are those of the task in its order, as far as they are known.
    """
    table = confusion(rows)
    order = {label: place for place, label in enumerate(classes)}
    labels = sorted({*table.index, *table.columns}, key=lambda label: (order.get(label, len(order)), label))
    if len(labels) < 2:
        return None
    counts = table.reindex(index=labels, columns=labels, fill_value=0).to_numpy()
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    kept = np.sort(np.argsort(-wrong, kind="stable")[:_SIDE])
    return Matrix(
        tuple(str(labels[place]) for place in kept),
        tuple(tuple(int(times) for times in counts[place, kept]) for place in kept),
        len(labels) - len(kept),
    )


def curves(rows: pd.DataFrame) -> list[Curve]:
    """Of a retrieval: recall at every k, in both directions."""
    drawn = []
    for direction, part in rows.groupby("direction", sort=False):
        ranks = np.sort(part["rank"].to_numpy())
        gallery = int(part["gallery"].iloc[0])
        ks = np.unique(np.geomspace(1, gallery, 60).round().astype(int))
        shares = np.searchsorted(ranks, ks, side="right") / len(ranks)
        across = 300 * np.log(ks) / np.log(max(gallery, 2))
        points = [f"{x:.1f} {150 - 150 * share:.1f}" for x, share in zip(across, shares, strict=True)]
        drawn.append(Curve(str(direction), f"M{'L'.join(points)}", gallery))
    return drawn


def _ends(labels: Sequence[str], bar: Callable[[str], Bar]) -> list[Bars]:
    """All classes, the worst first; of many the two ends."""
    if len(labels) <= 2 * _ENDS:
        return [Bars("All classes, the worst first", tuple(map(bar, labels)))]
    worst, best = labels[:_ENDS], labels[: -_ENDS - 1 : -1]
    return [
        Bars(f"The worst of {len(labels)} classes", tuple(map(bar, worst))),
        Bars(f"The best of {len(labels)} classes", tuple(map(bar, best))),
    ]


def _clusters(rows: pd.DataFrame) -> list[str]:
    return [str(cluster or "") for cluster in rows["cluster"]]
