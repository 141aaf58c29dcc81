"""What more samples and more tasks cost: the store, scoring and plans at growing sizes, with the fitted exponent.

    python benchmarks/scale.py [--samples 1000 10000 100000 1000000] [--square 1000 4000 16000] [--tasks 10 100 1000]

On drawn unit vectors of 512 numbers: shards written to a store and read from it; classification of n samples among 100
classes; retrieval of n queries among 1,000 items, and of n among n (``--square``). Then plans of many zero-shot tasks
over the same 512 images, each task with labels and prompts of its own, and an encoder that costs next to nothing:
planned, run with an empty store, and run again. A million samples need about 10 GiB of memory and 2 GiB of disk.

Cells are seconds. The exponent is the slope of log seconds over log size, fitted to the sizes that take 50 ms or more:
below that the fixed cost shows.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import yaml
from _measure import machine, table
from numpy.typing import NDArray
from PIL import Image

from ibench.api import Request, evaluate, plan
from ibench.datasets import Item
from ibench.engine.plan import Job
from ibench.engine.store import Embeddings, EmbeddingStore
from ibench.scoring import classification, retrieval

DIM, CLASSES, ITEMS, IMAGES = 512, 100, 1_000, 512
FIXED_COST = 0.05  # seconds
Costs = dict[str, float]
"""Seconds of each thing done at one size."""

ENCODER = """
import numpy as np
import torch

from ibench import Card, Modality


def mean_colour(image):
    return torch.from_numpy(np.asarray(image.convert("RGB"), np.float32).mean(axis=(0, 1)))[None]


def letters(text):
    return torch.tensor([[float(text.count(letter)) for letter in "aei"]])


class Colours:
    card = Card(name="colours", family="benchmark", modalities=(Modality.IMAGE, Modality.TEXT))

    def preprocess(self, modality, views):
        return mean_colour if modality is Modality.IMAGE else letters

    def encode(self, modality, batch):
        return torch.nn.functional.normalize(batch + 1e-3, dim=1)


def make_encoder(device, dtype):
    return Colours()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="*", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--square", type=int, nargs="*", default=[1_000, 4_000, 16_000])
    parser.add_argument("--tasks", type=int, nargs="*", default=[10, 100, 1_000])
    given = parser.parse_args()
    print(machine())
    for title, sizes, cost in (
        ("samples", given.samples, of_samples),
        ("n queries among n items", given.square, of_square),
        ("tasks", given.tasks, of_tasks),
    ):
        if sizes:
            cost(sizes[0])  # what is imported or built at first use
            print(f"\n{report(title, sizes, [cost(size) for size in sizes])}", flush=True)


def report(title: str, sizes: Sequence[int], costs: Sequence[Costs]) -> str:
    rows = [
        [thing, *(f"{cost[thing]:.2f}" for cost in costs), exponent(sizes, [cost[thing] for cost in costs])]
        for thing in costs[0]
    ]
    return table([title, *(f"{size:,}" for size in sizes), "exponent"], rows)


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    told = [(size, cost) for size, cost in zip(sizes, seconds, strict=True) if cost >= FIXED_COST]
    return f"{np.polyfit(*np.log(told).T, 1)[0]:.2f}" if len(told) > 1 else "–"


def timed(done: Callable[[], object]) -> float:
    started = time.perf_counter()
    done()
    return time.perf_counter() - started


def unit_rows(count: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def of_samples(count: int) -> Costs:
    vectors, classes, items = unit_rows(count, 0), unit_rows(CLASSES, 1), unit_rows(ITEMS, 2)
    names = [str(row) for row in range(max(count, ITEMS))]
    gold = np.arange(count) % CLASSES
    groups = [str(row % ITEMS) for row in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddingStore(Path(folder))
        job = Job("drawn", "image", {}, [Item(name, lambda: None, name) for name in names[:count]], {"samples": count})

        def write() -> None:
            for number, rows in enumerate(job.shards):
                store.write(job, number, Embeddings(vectors[rows.start : rows.stop]))

        costs = {"store, written": timed(write), "store, read": timed(lambda: store.load(job))}
    costs[f"classification, {CLASSES} classes"] = timed(
        lambda: classification.score(
            vectors, classes, [[row] for row in range(CLASSES)], gold, names[:CLASSES], names[:count], [""] * count, 0
        )
    )
    costs[f"retrieval, {ITEMS:,} items"] = timed(
        lambda: retrieval.score(vectors, items, groups, names[:ITEMS], names[:count], names[:ITEMS], [""] * count, 0)
    )
    return costs


def of_square(count: int) -> Costs:
    queries, gallery = unit_rows(count, 0), unit_rows(count, 1)
    names = [str(row) for row in range(count)]
    return {"retrieval": timed(lambda: retrieval.score(queries, gallery, names, names, names, names, [""] * count, 0))}


def of_tasks(count: int) -> Costs:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = folder / f"colours_{folder.name}.py"  # a module of that name is loaded once in a process
        encoder.write_text(ENCODER)
        request = Request(f"{encoder}:make_encoder", write_tasks(folder, count), store=folder / "store")

        def run() -> None:
            evaluate(request.encoder, request.tasks, store=request.store, out=folder / "results")

        return {"plan": timed(lambda: plan(request)), "first run": timed(run), "run again": timed(run)}


def write_tasks(folder: Path, count: int) -> list[Path]:
    """Images of one colour, and tasks that each name their 10 classes otherwise."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for number in range(IMAGES):
            Image.new("RGB", (8, 8), tuple(rng.integers(0, 256, 3).tolist())).save(folder / "images" / f"{number}.png")
            rows.writerow([f"images/{number}.png", f"label{number % 10}"])
    files = []
    for number in range(count):
        prompts = {
            "name": f"prompts{number}",
            "source": "benchmarks/scale.py",
            "templates": [f"image {number} of {{}}."],
        }
        spec = {
            "name": f"task{number}",
            "version": 1,
            "kind": "classification",
            "query": "image",
            "target": "text",
            "dataset": {"reader": "manifest", "path": "labels.csv"},
            "labels": {f"label{label}": f"thing {label + 10 * number}" for label in range(10)},
            "protocols": {"plain": {"prompts": f"prompts{number}.yaml"}},
        }
        (folder / f"prompts{number}.yaml").write_text(yaml.safe_dump(prompts))
        (folder / f"task{number}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        files.append(folder / f"task{number}.yaml")
    return files


if __name__ == "__main__":
    main()
