"""What trimmed prompts save: text towers fed the padded context, as peers feed them, beside ibench's, in one run.

The prompts are CLIP's 80 templates over ImageNet classes, as a suite has them. Both read the same token ids in turns,
sorted by length as the engine sorts them. Weights are random: the time does not depend on them.

    python benchmarks/text.py [--prompts 512] [--batch-size 64] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import open_clip
import torch
from tabulate import tabulate
from torch import Tensor

from ibench.encoders.base import DTYPES, unit_rows
from ibench.encoders.imagebind.towers import TextTower, TowerShape
from ibench.encoders.trimming import open_clip_reader
from ibench.prompts import fill, load_prompts, open_clip_list

Read = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pair:
    """One tower read both ways."""

    name: str
    padded: Read
    trimmed: Read


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--prompts", type=int, default=512)
    arguments.add_argument("--batch-size", type=int, default=64)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    ids = token_ids(given.prompts)
    rows = [
        measured(pair, dtype, ids, given.batch_size, given.rounds)
        for dtype in ("fp32", "bf16")
        for pair in (vit_b_32(dtype), imagebind(dtype))
    ]
    headers = ["text tower", "dtype", "padded/s", "trimmed/s", "ratio", "difference"]
    print(f"{given.prompts} prompts, {torch.get_num_threads()} threads, medians of {given.rounds} rounds")
    print(tabulate(rows, headers, disable_numparse=True))


def token_ids(count: int) -> Tensor:
    """Every so-manyth prompt of the 80,000 that ImageNet's classes make, shortest first."""
    templates = load_prompts("clip80").resolved()
    prompts = [text for name in open_clip_list("IMAGENET_CLASSNAMES") for text in fill(templates, name)]
    chosen = sorted(prompts[:: len(prompts) // count][:count], key=len)
    return open_clip.get_tokenizer("ViT-B-32")(chosen)  # type: ignore[no-any-return]


def vit_b_32(dtype: str) -> Pair:
    model = open_clip.create_model("ViT-B-32", precision={"fp32": "fp32", "bf16": "pure_bf16"}[dtype]).eval()
    return Pair("open_clip ViT-B-32", model.encode_text, open_clip_reader(model))


def imagebind(dtype: str) -> Pair:
    """ImageBind-Huge's tower, and the same blocks over all 77 places."""
    shape = TowerShape("text", (49_408, 1024), 1, 77, 1024, 4096, 24, 16, 1024, False, False, False)
    tower = TextTower(shape).to(DTYPES[dtype]).eval()
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.02)

    def padded(ids: Tensor) -> Tensor:
        tokens = tower.stem(ids) + tower.pos_embed
        for block in tower.blocks:
            tokens = block(tokens, causal=True)
        return tower.proj(tower.norm(tokens[torch.arange(len(ids)), ids.argmax(dim=-1)]))

    return Pair("ImageBind-Huge", padded, tower)


def measured(pair: Pair, dtype: str, ids: Tensor, batch_size: int, rounds: int) -> list[str]:
    padded, trimmed = [], []
    for _ in range(rounds):
        seconds, expected = timed(pair.padded, ids, batch_size)
        padded.append(len(ids) / seconds)
        seconds, found = timed(pair.trimmed, ids, batch_size)
        trimmed.append(len(ids) / seconds)
    slow, fast = statistics.median(padded), statistics.median(trimmed)
    difference = float((expected - found).abs().max())
    return [pair.name, dtype, f"{slow:.0f}", f"{fast:.0f}", f"{fast / slow:.1f}", f"{difference:.0e}"]


@torch.no_grad()
def timed(read: Read, ids: Tensor, batch_size: int) -> tuple[float, Tensor]:
    started = time.perf_counter()
    vectors = torch.cat([unit_rows(read(batch)) for batch in ids.split(batch_size)])
    return time.perf_counter() - started, vectors


if __name__ == "__main__":
    main()
