"""Scoring of ready embeddings: beside mteb's evaluator and CLIP_benchmark's code, and at the sizes of large suites.

    python benchmarks/scoring.py --environments ENVIRONMENTS [--only mteb clip-benchmark ...] [--scale 1.0]

Each run is a process of its own, on drawn unit vectors of 512 numbers. Seconds are the scoring alone: with intervals
and per-sample rows in ibench; the peers make neither. "beyond" is the most memory the process held during the scoring
beyond what it held before, which includes the embeddings. mteb is asked for the k of its own tasks, up to 1,000, and
for k up to 10 as ibench; CLIP_benchmark for k = 1, 5 and 10, in one direction.
``--scale`` multiplies all numbers of samples. The peers are installed into ENVIRONMENTS by the first run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _measure import HERE, Peak, gib, machine, measured, python_of, resident, table
from numpy.typing import NDArray

DIM = 512
Outcome = dict[str, Any]
"""``seconds``, ``beyond`` (bytes), and of retrieval ``recall``."""


@dataclass(frozen=True)
class Case:
    """What to score: a function of this module, how many samples, against how many items or classes, beside whom."""

    score: Callable[[int, int, Path], Callable[[], Outcome]]
    samples: int
    against: int
    peers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Each run of a peer: its environment, the script, and what the script is told beside the embeddings."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, help="where the peers are, or are to be, installed")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--as-case", nargs=4, metavar=("NAME", "SAMPLES", "AGAINST", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.as_case:
        name, samples, against, folder = given.as_case
        CASES[name].score(100, 100, Path(folder))()  # what is imported or built at first use
        print(json.dumps(run(CASES[name].score(int(samples), int(against), Path(folder)))))
        return
    print(machine())
    rows = [row for name in given.only for row in compared(name, given.scale, given.environments)]
    headers = ["case", "size", "program", "seconds", "ibench is faster", "beyond GiB", "recall@1, @5, @10"]
    print(table(headers, rows))


def compared(name: str, scale: float, environments: Path | None) -> list[list[str]]:
    case = CASES[name]
    samples, against = round(scale * case.samples), round(scale * case.against) if case.peers else case.against
    with tempfile.TemporaryDirectory() as folder:
        own = [sys.executable, __file__, "--as-case", name, str(samples), str(against), folder]
        runs = {"ibench": json.loads(measured(own).output)}
        for title, (environment, script, *told) in case.peers.items():
            command = [python_of(environment, environments), HERE / script, Path(folder) / "embeddings.npz", *told]
            runs[title] = json.loads(measured(command).output.splitlines()[-1])
    size = f"{samples:,} × {against:,}"
    ours = runs["ibench"]["seconds"]
    return [
        [
            name,
            size,
            program,
            f"{outcome['seconds']:.2f}",
            f"{outcome['seconds'] / ours:.0f}x" if outcome is not runs["ibench"] else "",
            gib(outcome["beyond"]),
            ", ".join(f"{share:.4f}" for share in outcome.get("recall", {}).values()),
        ]
        for program, outcome in runs.items()
    ]


def run(score: Callable[[], Outcome]) -> Outcome:
    """The outcome with its seconds and memory, measured around it."""
    before = resident(os.getpid())
    started = time.perf_counter()
    with Peak(os.getpid()) as peak:
        outcome = score()
    return {"seconds": time.perf_counter() - started, "beyond": max(peak.bytes - before, 0), **outcome}


# the cases: each draws its input and returns what is measured ---------------------------------------------------------


def retrieval(samples: int, against: int, folder: Path) -> Callable[[], Outcome]:
    from ibench.scoring import retrieval

    gallery = unit_rows(against, 1)
    queries = near(gallery[:samples])
    np.savez(folder / "embeddings.npz", queries=queries, gallery=gallery)
    names = numbered(against)

    def score() -> Outcome:
        metrics, _ = retrieval.score(
            queries, gallery, names[:samples], names, names[:samples], names, [""] * samples, seed=0
        )
        return {"recall": {name: metric.value for name, metric in metrics.items() if name.startswith("recall")}}

    return score


def classification(samples: int, classes: int, folder: Path) -> Callable[[], Outcome]:
    from ibench.scoring import classification

    names = unit_rows(classes, 1)
    gold = np.random.default_rng(2).integers(0, classes, samples)
    queries = near(names[gold])
    own, titles = [[row] for row in range(classes)], numbered(classes)

    def score() -> Outcome:
        classification.score(queries, names, own, gold, titles, numbered(samples), [""] * samples, seed=0)
        return {}

    return score


def ranked(samples: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores of samples that have 2.7 labels on average, some labels far more often than others, as in AudioSet."""
    rng = np.random.default_rng(3)
    share = 1 / np.arange(1, classes + 1)
    positive = rng.random((samples, classes)) < np.minimum(2.7 * share / share.sum(), 0.4)
    return rng.standard_normal((samples, classes), dtype=np.float32), positive


def average_precision(samples: int, classes: int, folder: Path) -> Callable[[], Outcome]:
    from ibench.scoring.multilabel import RankedScores

    scores, positive = ranked(samples, classes)

    def score() -> Outcome:
        RankedScores(scores, positive).average_precision(np.ones(samples))
        return {}

    return score


def map_interval(samples: int, classes: int, folder: Path) -> Callable[[], Outcome]:
    from ibench.scoring.intervals import bootstrap
    from ibench.scoring.multilabel import RankedScores

    ranking = RankedScores(*ranked(samples, classes))

    def mean(weights: NDArray[np.float64]) -> float:
        return float(np.nanmean(ranking.average_precision(weights)))

    def score() -> Outcome:
        bootstrap(mean, [""] * samples, seed=0, inflated=True)
        return {}

    return score


def unit_rows(count: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def near(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors so far from the given ones that about half find their own first."""
    noisy = unit_rows(len(vectors), 4)
    noisy += 0.18 * vectors
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    return noisy


def numbered(count: int) -> Sequence[str]:
    return [str(number) for number in range(count)]


MTEB = {
    "mteb, its own k": ("mteb", "_in_mteb.py", "retrieval"),
    "mteb, k up to 10": ("mteb", "_in_mteb.py", "retrieval", "--k", "1", "5", "10"),
}
CASES = {
    "mteb": Case(retrieval, 5_000, 5_000, MTEB),
    "clip-benchmark": Case(retrieval, 10_000, 100_000, {"clip-benchmark": ("clip-benchmark", "_in_clip_benchmark.py")}),
    "retrieval": Case(retrieval, 25_000, 100_000),
    "classification": Case(classification, 50_000, 1_000),
    "average precision": Case(average_precision, 20_000, 527),
    "mAP interval": Case(map_interval, 18_000, 527),
}


if __name__ == "__main__":
    main()
