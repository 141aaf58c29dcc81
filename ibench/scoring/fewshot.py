"""A linear classifier on embeddings, fitted to a few samples of each class, or to all there are.

As the few-shot curves and linear probes of CLIP (arXiv 2103.00020, sections 3.1.5 and 3.2) and the curves of ImageBind
(arXiv 2305.05665, Figure 3): the encoder stays as it is, and logistic regression learns from its embeddings. Fitted by
scikit-learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ibench.scoring.intervals import Metric
from ibench.scoring.similarity import Vectors

TIES = "the class listed first wins; of equally good regularisations the strongest"
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""What C, the inverse of the regularisation, is chosen from."""
ONE_SHOT = 10.0
"""C for one sample of each class, of which none can be set aside to choose it by: the middle of `STRENGTHS`."""
_PARTS = 3  # of the training samples, each of which is left out once to choose C; fewer where a class has fewer samples


class Round(NamedTuple):
    """Which rows are tested after training on which others."""

    tested: NDArray[np.intp]
    training: NDArray[np.intp]


def predictions(
    vectors: Vectors, gold: NDArray[np.intp], rounds: Sequence[Round], shots: int | None, draws: int, seed: int
) -> NDArray[np.intp]:
    """The class of every tested row by draw, [draws, n]; -1 in rows that no round tests.

    ``vectors`` [n, dim] are unit vectors, ``gold`` [n] class numbers. Each draw takes ``shots`` of the training samples
    of each class; None takes all of them, once ([1, n]). Draws of one number are nested: with more shots come the
    samples of fewer and others. A class must have ``shots`` training samples in every round.
    """
    from threadpoolctl import threadpool_limits

    found = np.full((draws if shots is not None else 1, len(gold)), -1, np.intp)
    # matrices so small are slower in several threads, a hundred times where these have to wait for each other
    with threadpool_limits(1):
        for number, (tested, training) in enumerate(rounds):
            for draw, row in enumerate(found):
                order = np.random.default_rng([seed, number, draw]).permutation(training)
                chosen = np.sort(order[_within(gold[order], shots)]) if shots is not None else training
                row[tested] = fitted_classes(vectors[chosen], gold[chosen], vectors[tested], seed)
    return found


def fitted_classes(samples: Vectors, classes: NDArray[np.intp], asked: Vectors, seed: int) -> NDArray[np.intp]:
    """What a classifier fitted to ``samples`` [m, dim] of ``classes`` [m] says of ``asked`` [n, dim].

    C is the one of `STRENGTHS` with the best accuracy in cross-validation within the samples, stratified and shuffled
    by ``seed``; `ONE_SHOT` where a class has one sample only. Weights outside the span of fewer samples than dimensions
    would be 0 (the representer theorem), so that both sides are turned into it first: the same classifier, sooner.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second, which other kinds need not wait for
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    known, questions = samples.astype(np.float64), asked.astype(np.float64)
    if len(known) < known.shape[1]:
        basis = np.linalg.qr(known.T)[0]
        known, questions = known @ basis, questions @ basis
    parts = min(_PARTS, int(np.bincount(classes)[np.unique(classes)].min()))
    model = LogisticRegression(C=ONE_SHOT, max_iter=1000)
    if parts > 1:
        folds = StratifiedKFold(parts, shuffle=True, random_state=seed % 2**32)
        model = GridSearchCV(model, {"C": STRENGTHS}, cv=folds)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes")  # of one shot there are as many as samples
        said: NDArray[np.intp] = model.fit(known, classes).predict(questions)
    return said


def over_draws(right: NDArray[np.bool_]) -> Metric:
    """The mean accuracy of draws [draws, n], with the t interval of that mean, within 0 and 1.

    It says how far the mean over other draws would lie from this one, for the samples that are tested.
    """
    accuracies = right.mean(axis=1)
    draws, value = len(accuracies), float(accuracies.mean())
    half = float(stats.t.ppf(0.975, draws - 1) * accuracies.std(ddof=1) / np.sqrt(draws))
    low, high = max(value - half, 0.0), min(value + half, 1.0)
    return Metric(value=value, low=low, high=high, n=right.shape[1], method=f"t over {draws} draws")


def votes(said: NDArray[np.intp], classes: int) -> NDArray[np.int64]:
    """How many draws [draws, n] gave each class to each sample, [n, classes]."""
    table = np.zeros((said.shape[1], classes), np.int64)
    for row in said:
        table[np.arange(len(row)), row] += 1
    return table


def _within(classes: NDArray[np.intp], shots: int) -> NDArray[np.bool_]:
    """Which positions are among the first ``shots`` of their class."""
    order = np.argsort(classes, kind="stable")
    first = np.searchsorted(classes[order], classes[order])
    place = np.empty(len(classes), np.intp)
    place[order] = np.arange(len(classes)) - first
    return place < shots
