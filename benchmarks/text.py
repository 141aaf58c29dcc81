"""What reading prompts without padding saves: text towers fed the padded context, as peers feed them, beside ibench's.

The prompts are whole batches, taken at equal distances from all that CLIP's 80 templates make of ImageNet's classes, in
the order in which the engine encodes them: how much neighbours share decides what ibench's way costs. Every round reads
some prompts of one batch padded, whose time does not depend on the text, and then all batches ibench's way. Weights are
random: the time does not depend on them either.

    python benchmarks/text.py [--batches 3] [--batch-size 64] [--padded 16] [--rounds 3]
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import open_clip
import torch
import transformers
from _measure import machine, table
from torch import Tensor

from ibench.encoders.base import DTYPES, unit_rows
from ibench.encoders.imagebind.towers import TextTower, TowerShape
from ibench.encoders.open_clip_text import text_reader
from ibench.encoders.transformers_models import clip_reader, padded
from ibench.encoders.trimming import without_padding
from ibench.prompts import fill, load_prompts, open_clip_list

Read = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pair:
    """One tower read both ways. Takes ids [n, context], or with ``masked`` ids over their mask [n, 2, context]."""

    name: str
    padded: Read
    ours: Read
    masked: bool = False


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--batches", type=int, default=3)
    arguments.add_argument("--batch-size", type=int, default=64)
    arguments.add_argument("--padded", type=int, default=16, help="prompts of a batch that are read padded")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    logging.disable(logging.WARNING)  # open_clip says that weights are random
    ids = token_ids(given.batches, given.batch_size)
    headers = ["text tower", "dtype", "padded/s", "ibench/s", "ratio", "range", "difference"]
    rows = [
        measured(pair, dtype, ids, given.padded, given.rounds)
        for dtype in ("fp32", "bf16")
        for tower in (vit_b_32, imagebind, clip, clap)
        for pair in tower(dtype)
    ]
    print(machine())
    print(table(headers, rows))


def token_ids(batches: int, size: int) -> Tensor:
    """Batches of prompts [batches, size, context], shortest first."""
    templates = load_prompts("clip80").resolved()
    prompts = {text for name in open_clip_list("IMAGENET_CLASSNAMES") for text in fill(templates, name)}
    ordered = sorted(prompts, key=lambda text: (len(text), text))
    places = [(2 * number + 1) * len(ordered) // (2 * batches) for number in range(batches)]
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    return torch.stack([tokenizer(ordered[place : place + size]) for place in places])


def vit_b_32(dtype: str) -> Iterator[Pair]:
    model = open_clip.create_model("ViT-B-32", precision={"fp32": "fp32", "bf16": "pure_bf16"}[dtype]).eval()
    yield Pair("open_clip ViT-B-32", model.encode_text, text_reader(model))


def imagebind(dtype: str) -> Iterator[Pair]:
    """ImageBind-Huge's tower, and the same blocks over all 77 places."""
    shape = TowerShape("text", (49_408, 1024), 1, 77, 1024, 4096, 24, 16, 1024, False, False, False)
    tower = TextTower(shape).to(DTYPES[dtype]).eval()
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    causal = torch.ones(77, 77, dtype=torch.bool).tril()

    def every_place(ids: Tensor) -> Tensor:
        tokens = tower.stem(ids) + tower.pos_embed
        for block in tower.blocks:
            tokens = block(tokens, visible=causal)
        return tower.proj(tower.norm(tokens[torch.arange(len(ids)), ids.argmax(dim=-1)]))

    yield Pair("ImageBind-Huge", every_place, tower)


def clip(dtype: str) -> Iterator[Pair]:
    """The tower of openai/clip-vit-base-patch32, and an image tower that is not used."""
    sight = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 1}
    model = transformers.CLIPModel(transformers.CLIPConfig(vision_config=sight)).to(DTYPES[dtype]).eval()
    yield Pair("transformers CLIP B/32", lambda tokens: padded(model, tokens), clip_reader(model), masked=True)


def clap(dtype: str) -> Iterator[Pair]:
    """RoBERTa-base as CLAP has it: bidirectional, so that its prompts are trimmed and share nothing."""
    hearing = {"num_hidden_layers": 1, "depths": [1], "num_attention_heads": [1], "hidden_size": 96}
    model = transformers.ClapModel(transformers.ClapConfig(audio_config=hearing)).to(DTYPES[dtype]).eval()
    yield Pair("CLAP", lambda tokens: padded(model, tokens), lambda t: padded(model, without_padding(t)), masked=True)


def measured(pair: Pair, dtype: str, ids: Tensor, few: int, rounds: int) -> list[str]:
    batches = [masked(batch) if pair.masked else batch for batch in ids]
    differences, ratios, slow, fast = [], [], [], []
    seconds_of(pair.ours, batches[:1])  # the first pass pays for what torch prepares
    for number in range(rounds):
        batch = number % len(batches)
        seconds, expected = seconds_of(pair.padded, [batches[batch][:few]])
        slow.append(len(expected[0]) / seconds)
        seconds, found = seconds_of(pair.ours, batches)
        fast.append(sum(map(len, batches)) / seconds)
        ratios.append(fast[-1] / slow[-1])
        differences.append(float((expected[0] - found[batch][:few]).abs().max()))
    return [
        pair.name,
        dtype,
        f"{statistics.median(slow):.1f}",
        f"{statistics.median(fast):.1f}",
        f"{statistics.median(ratios):.1f}",
        f"{min(ratios):.1f}..{max(ratios):.1f}",
        f"{max(differences):.0e}",
    ]


def masked(ids: Tensor) -> Tensor:
    """Ids over their mask [n, 2, context]: shown to the end token, and behind it RoBERTa's padding."""
    ends = ids.argmax(dim=-1, keepdim=True)
    mask = torch.arange(ids.shape[1]) <= ends
    return torch.stack([ids.masked_fill(~mask, 1), mask.long()], dim=1)


@torch.no_grad()
def seconds_of(read: Read, batches: list[Tensor]) -> tuple[float, list[Tensor]]:
    started = time.perf_counter()
    vectors = [unit_rows(read(batch)) for batch in batches]
    return time.perf_counter() - started, vectors


if __name__ == "__main__":
    main()
