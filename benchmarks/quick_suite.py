"""Which few tasks and samples rank encoders as a whole suite does, and how well.

    python benchmarks/quick_suite.py [--suite bundled] [--encoders 32] [--budget 0.25] [--seed 0]
    python benchmarks/quick_suite.py --suite audio --ckpts a.pt b.pt ... --data-root DATA

An encoder's standing in a suite is its mean headline score. Every subset of the suite's tasks, with every number of
drawn samples (`ibench run --limit N --drawn`), is a candidate if it encodes no more than ``--budget`` of what the suite
does.
On a half of the encoders the candidate is chosen whose means agree best with the whole suite's (Kendall's tau-b; of
equal ones the cheapest), on the other half its agreement is measured, with a 95% interval from 2,000 bootstrap draws of
encoders.

Without ``--ckpts`` the encoders are digits-bind with noise in its weights, a level of its own for each tower: that is
what can be had without downloads. They rank by how damaged they are, and real encoders differ in more than that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
import torch
from _measure import table
from numpy.typing import NDArray
from scipy.stats import kendalltau

from ibench import evaluate
from ibench.encoders.base import Encoder
from ibench.errors import IbenchError
from ibench.resources import bundled
from ibench.tasks import suite_tasks

_SIZES = (25, 50, 100, 200)
_DRAWS = 2_000
_LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)  # of noise, in standard deviations of each tensor


@dataclass(frozen=True)
class Candidate:
    """A subset of the tasks, how many samples of each are drawn (None: all), what share of the suite that is, and the
    mean score of each encoder on it."""

    tasks: tuple[str, ...]
    samples: int | None
    share: float
    means: NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", default="bundled")
    parser.add_argument("--ckpts", nargs="+", help="what --ckpt takes, 20 or more; default: digits-bind with noise")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--encoders", type=int, default=32, help="how many to make where no --ckpts are given")
    parser.add_argument("--budget", type=float, default=0.25, help="share of what the suite encodes")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    encoders = [lambda name=name: name for name in given.ckpts] if given.ckpts else noisy(given.encoders, given.seed)
    if len(encoders) < 20:
        raise SystemExit(f"{len(encoders)} encoders: a rank correlation of fewer than 20 says little")
    try:
        tasks = suite_tasks(given.suite)
    except IbenchError as error:
        raise SystemExit(str(error)) from error
    scores, counts = measured(encoders, tasks, given.data_root)
    print(report(tasks, scores, counts, given.budget, given.seed))


def noisy(count: int, seed: int) -> list[Callable[[], Encoder]]:
    """digits-bind, each time with noise of other levels in its towers."""
    folder = bundled("digits_bind")
    sys.path.insert(0, str(folder))
    from digits_bind_encoder import make_encoder

    def damaged(number: int) -> Encoder:
        encoder = make_encoder("cpu", "fp32")
        levels = np.random.default_rng([seed, number])
        generator = torch.Generator().manual_seed(seed + number)
        for tower in encoder._towers.values():
            level = float(levels.choice(_LEVELS))
            for tensor in tower.parameters():
                if tensor.numel() > 1:
                    tensor += level * tensor.std() * torch.randn(tensor.shape, generator=generator)
        return encoder

    return [lambda number=number: damaged(number) for number in range(count)]


Scores = dict[int | None, NDArray[np.float64]]
"""Number of samples drawn of each task (None: all) → headline scores [encoders, tasks]."""

Counts = dict[int | None, NDArray[np.int64]]
"""The same → how many samples and texts each task encodes [tasks]; what tasks share counts in each."""


def measured(
    encoders: Sequence[Callable[[], Encoder | str]], tasks: Sequence[str], data_root: Path | None
) -> tuple[Scores, Counts]:
    scores: Scores = {size: np.empty((len(encoders), len(tasks))) for size in (None, *_SIZES)}
    counts: Counts = {size: np.zeros(len(tasks), np.int64) for size in scores}
    for row, opened in enumerate(encoders):
        encoder = opened()
        for size, (column, task) in product(scores, enumerate(tasks)):
            record = evaluate(encoder, [task], data_root=data_root, limit=size, drawn=size is not None)[0]
            scores[size][row, column] = record.score.value
            if record.encoded_per_second is not None:  # from a store that has it all, nothing is told
                counts[size][column] = round(record.encoded_per_second * record.timings["encode"])
        print(f"{row + 1} of {len(encoders)}", file=sys.stderr, end="\r")
    return scores, counts


def candidates(
    tasks: Sequence[str], scores: Scores, counts: dict[int | None, NDArray[np.int64]]
) -> Iterator[Candidate]:
    """Every subset of the tasks with every number of samples, but for the whole suite."""
    whole = counts[None].sum()
    for size, values in scores.items():
        for many in range(1, len(tasks) + 1):
            for chosen in combinations(range(len(tasks)), many):
                share = float(counts[size][list(chosen)].sum() / whole)
                if share < 1:
                    named = tuple(tasks[task] for task in chosen)
                    yield Candidate(named, size, share, values[:, list(chosen)].mean(axis=1))


def report(tasks: Sequence[str], scores: Scores, counts: Counts, budget: float, seed: int) -> str:
    whole = scores[None].mean(axis=1)
    order = np.random.default_rng(seed).permutation(len(whole))
    chosen_on, held_out = order[: len(order) // 2], order[len(order) // 2 :]
    affordable = [one for one in candidates(tasks, scores, counts) if one.share <= budget]
    best = sorted(affordable, key=lambda one: (-tau(one.means[chosen_on], whole[chosen_on]), one.share))
    rows = [
        [
            ", ".join(one.tasks),
            str(one.samples or "all"),
            f"{one.share:.1%}",
            f"{tau(one.means[chosen_on], whole[chosen_on]):.3f}",
            told(one.means[held_out], whole[held_out], seed),
            told(one.means, whole, seed),
        ]
        for one in [
            best[0],
            *(next(one for one in best if one.samples == size and one is not best[0]) for size in _SIZES),
        ]
    ]
    headers = ["tasks", "samples of each", "cost", "tau, chosen on", "tau, held out", "tau, all encoders"]
    spread = f"whole-suite means from {whole.min():.3f} to {whole.max():.3f}"
    return (
        f"{len(whole)} encoders, {len(tasks)} tasks, {spread}; {len(affordable)} candidates within {budget:.0%}\n"
        f"{table(headers, rows)}\nThe first is the choice; the others are the best of each other number of samples."
    )


def best_of_each_size(ranked: Sequence[Candidate]) -> list[Candidate]:
    return [next(one for one in ranked if one.samples == size) for size in dict.fromkeys(one.samples for one in ranked)]


def tau(some: NDArray[np.float64], whole: NDArray[np.float64]) -> float:
    """Kendall's tau-b; -1 where it is not defined, since all are tied."""
    value = float(kendalltau(some, whole).statistic)
    return -1.0 if np.isnan(value) else value


def told(some: NDArray[np.float64], whole: NDArray[np.float64], seed: int) -> str:
    """With the 95% interval of a bootstrap over encoders."""
    rng = np.random.default_rng(seed)
    draws = [tau(some[drawn], whole[drawn]) for drawn in rng.integers(len(some), size=(_DRAWS, len(some)))]
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{tau(some, whole):.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
