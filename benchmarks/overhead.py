"""What the engine costs: its throughput over a bare forward loop on the same ready tensors, per modality, in one run.

    python benchmarks/overhead.py [--modalities image audio ...] [--blocks 4] [--seconds 5] [--rounds 3]

The towers are ImageBind's (random weights) in the published widths, cut to the first ``--blocks`` blocks; 0 leaves all
of them. The samples are tensors already, so that decoding is not measured; the engine still streams, batches, pools,
checks, and writes shards to disk. Both run the same tower on the same batches, in turns, so that whatever else the
machine does falls on both; each turn has as many samples as the bare loop does in about ``--seconds``. On a GPU, if
there is one, the towers run in bf16 unless ``--dtype`` says otherwise, and the peak of its memory is told.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from _measure import gib, machine, table
from torch import Tensor

from ibench.datasets import Item
from ibench.encoders.base import DTYPES, Card, Preprocess, Views, unit_rows
from ibench.encoders.imagebind.towers import TowerShape, build_tower
from ibench.engine.encode import Means, encode_missing
from ibench.engine.plan import SHARD_SIZE, Job
from ibench.engine.store import EmbeddingStore
from ibench.modalities import Modality
from ibench.report.progress import Silent

VISION = TowerShape("vision", (1280, 3, 2, 14, 14), 14, 257, 1280, 5120, 32, 16, 1024, False, True, False)
TOWERS = {
    Modality.TEXT: TowerShape("text", (49_408, 1024), 1, 77, 1024, 4096, 24, 16, 1024, False, False, False),
    Modality.IMAGE: VISION,
    Modality.VIDEO: VISION,
    Modality.AUDIO: TowerShape("audio", (768, 1, 16, 16), 10, 229, 768, 3072, 12, 12, 1024, True, False, True),
    Modality.DEPTH: TowerShape("depth", (384, 1, 16, 16), 16, 197, 384, 1536, 12, 8, 1024, True, False, True),
    Modality.THERMAL: TowerShape("thermal", (768, 1, 16, 16), 16, 197, 768, 3072, 12, 12, 1024, True, False, True),
    Modality.IMU: TowerShape("imu", (512, 48), 8, 251, 512, 2048, 6, 8, 1024, True, False, True),
}
VIEWS = {
    Modality.TEXT: (77,),
    Modality.IMAGE: (3, 224, 224),
    Modality.VIDEO: (3, 2, 224, 224),
    Modality.AUDIO: (1, 128, 204),
    Modality.DEPTH: (1, 224, 224),
    Modality.THERMAL: (1, 224, 224),
    Modality.IMU: (6, 2000),
}


class ReadyTensors:
    """A tower behind the Encoder protocol; its samples need no preprocessing."""

    card = Card(name="random weights", family="imagebind", modalities=tuple(TOWERS))

    def __init__(self, tower: torch.nn.Module, device: str, dtype: torch.dtype) -> None:
        self.tower, self.device, self.dtype = tower, device, dtype

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        return torch.Tensor.contiguous

    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        floats = None if modality is Modality.TEXT else self.dtype
        return unit_rows(self.tower(batch.to(self.device, floats)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modalities", nargs="+", type=Modality, choices=list(TOWERS), default=list(TOWERS))
    parser.add_argument("--blocks", type=int, default=4, help="of each tower; 0: all")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=list(DTYPES))
    given = parser.parse_args()
    given.dtype = given.dtype or ("fp32" if given.device == "cpu" else "bf16")
    where = machine() if given.device == "cpu" else torch.cuda.get_device_name(given.device)
    print(f"{where}; {given.dtype}, batches of {given.batch_size}, median of {given.rounds} rounds (target 0.95)")
    headers = ["modality", "blocks", "samples", "bare /s", "engine /s", "engine / bare", "TFLOP/s"]
    rows = [measured(modality, given) for modality in given.modalities]
    print(table([*headers, *(["device GiB"] if given.device != "cpu" else [])], rows))


def measured(modality: Modality, given: argparse.Namespace) -> list[str]:
    torch.manual_seed(0)
    shape = TOWERS[modality]
    shape = replace(shape, blocks=min(given.blocks, shape.blocks) or shape.blocks)
    tower = build_tower(shape).to(given.device, DTYPES[given.dtype]).eval()
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    encoder = ReadyTensors(tower, given.device, DTYPES[given.dtype])
    few = drawn(modality, 2 * given.batch_size)
    bare_loop(encoder, modality, few, given.batch_size)  # warm
    count = round(given.seconds * len(few) / bare_loop(encoder, modality, few, given.batch_size))
    samples = drawn(modality, max(count // given.batch_size, 1) * given.batch_size)
    rounds = []
    for _ in range(given.rounds):
        bare = bare_loop(encoder, modality, samples, given.batch_size)
        rounds.append((bare, engine(encoder, modality, samples, given.batch_size)))
    bare, whole = (statistics.median(times) for times in zip(*rounds, strict=True))
    flops = 2 * sum(parameter.numel() for parameter in tower.blocks.parameters()) * shape.positions
    return [
        modality,
        str(shape.blocks),
        str(len(samples)),
        f"{len(samples) / bare:.1f}",
        f"{len(samples) / whole:.1f}",
        f"{statistics.median(one / other for one, other in rounds):.3f}",
        f"{flops * len(samples) / whole / 1e12:.2f}" if modality is not Modality.TEXT else "–",  # trimmed
        *([gib(torch.cuda.max_memory_allocated())] if given.device != "cpu" else []),
    ]


def drawn(modality: Modality, count: int) -> Tensor:
    """Ready views of so many samples; texts of 7 to 20 tokens, as prompts have, shortest first."""
    if modality is not Modality.TEXT:
        return torch.randn(count, *VIEWS[modality])
    ids = torch.zeros(count, *VIEWS[modality], dtype=torch.long)
    for row, length in zip(ids, torch.linspace(7, 20, count).long().tolist(), strict=True):
        row[:length] = torch.randint(1, 49_000, (length,))
        row[length - 1] = 49_407  # the end token, where the embedding is read
    return ids


@torch.no_grad()
def bare_loop(encoder: ReadyTensors, modality: Modality, samples: Tensor, batch_size: int) -> float:
    """Seconds for the forward passes alone, in batches that end where the engine's shards end."""
    started = time.perf_counter()
    for shard in samples.split(SHARD_SIZE):
        for batch in shard.split(batch_size):
            vectors = encoder.encode(modality, batch)
    vectors.cpu()  # waits for the device
    return time.perf_counter() - started


def engine(encoder: ReadyTensors, modality: Modality, samples: Tensor, batch_size: int) -> float:
    """Seconds for the whole stream, into a store on disk."""
    items = [Item(str(row), partial(samples.__getitem__, slice(row, row + 1)), f"{row}") for row in range(len(samples))]
    job = Job("ready tensors", modality, {}, items, {"samples": len(samples)})
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        encode_missing(
            [job],
            EmbeddingStore(Path(folder)),
            lambda: encoder,
            Means(batch_size, pinned=encoder.device != "cpu"),
            Silent(),
        )
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
