"""What the engine costs: its throughput over a bare forward loop on the same ready tensors, in one run.

The samples are tensors already, so that decoding is not measured; the engine still streams, batches, pools,
checks, and writes shards to disk. Both loops run the same ViT-B-32 image tower (random weights, fp32) on the same
batches, in turns, so that whatever else the machine does falls on both.

    python benchmarks/overhead.py [--samples 512] [--batch-size 32] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import open_clip
import torch
from torch import Tensor

from ibench.api import Silent
from ibench.datasets import Item
from ibench.encoders.base import Card, Preprocess, Views, unit_rows
from ibench.engine.encode import Means, encode_missing
from ibench.engine.plan import Job
from ibench.engine.store import EmbeddingStore
from ibench.modalities import Modality


class ReadyTensors:
    """The image tower behind the Encoder protocol; its samples need no preprocessing."""

    card = Card(name="ViT-B-32, random weights", family="open_clip", modalities=(Modality.IMAGE,))

    def __init__(self, tower: torch.nn.Module) -> None:
        self.tower = tower

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        return torch.Tensor.contiguous

    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        return unit_rows(self.tower(batch))


def bare_loop(tower: torch.nn.Module, samples: Tensor, batch_size: int) -> float:
    """Seconds for the forward passes alone."""
    started = time.perf_counter()
    with torch.no_grad():
        for start in range(0, len(samples), batch_size):
            tower(samples[start : start + batch_size])
    return time.perf_counter() - started


def engine(tower: torch.nn.Module, samples: Tensor, batch_size: int, seed: int) -> float:
    """Seconds for the whole stream, into a store on disk."""
    items = [Item(str(row), partial(samples.__getitem__, slice(row, row + 1)), f"{row}") for row in range(len(samples))]
    job = Job("ready tensors", Modality.IMAGE, {}, items, {"seed": seed})
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        encode_missing(
            [job],
            EmbeddingStore(Path(folder)),
            lambda: ReadyTensors(tower),
            Means(batch_size),
            Silent(),
        )
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    tower = open_clip.create_model("ViT-B-32", load_weights=False).visual.eval()
    samples = torch.randn(options.samples, 3, 224, 224)
    bare_loop(tower, samples[: 2 * options.batch_size], options.batch_size)  # warm
    rounds = [
        (bare_loop(tower, samples, options.batch_size), engine(tower, samples, options.batch_size, number))
        for number in range(options.rounds)
    ]
    print("round   bare images/s   engine images/s   engine / bare")
    for number, (bare, whole) in enumerate(rounds, start=1):
        rates = options.samples / bare, options.samples / whole
        print(f"{number:5d} {rates[0]:15.1f} {rates[1]:17.1f} {rates[1] / rates[0]:15.3f}")
    print(f"median engine / bare: {statistics.median(bare / whole for bare, whole in rounds):.3f} (target 0.90)")


if __name__ == "__main__":
    main()
