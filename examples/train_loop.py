"""Zero-shot scores inside a training loop: a live nn.Module, evaluated every few steps while it learns.

Two small towers learn scikit-learn's handwritten digits (the first 1,000 images) from captions; ibench's task
`digits` scores them on the other 797, with prompts that were not among the captions. Nothing is saved or
downloaded. It takes a few seconds on one CPU core:

    python examples/train_loop.py
"""

from __future__ import annotations

import argparse
import re
import zlib

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

import ibench
from ibench import Record

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CAPTIONS = ("someone wrote {}", "number {} in ink", "here is {}", "{} on paper", "a {}")
TRAINED_ON = 1000
BUCKETS, LENGTH, DIM = 512, 12, 32


def image_tensor(image: Image.Image) -> Tensor:
    """A picture of 8 × 8 grey pixels → float32 [64] in 0..1."""
    return torch.from_numpy(np.asarray(image, np.float32).ravel() / 255)


def text_tensor(text: str) -> Tensor:
    """A text → int64 [LENGTH]: its words as hash buckets, 0 where there is none."""
    buckets = [1 + zlib.crc32(word.encode()) % (BUCKETS - 1) for word in re.findall("[a-z]+", text.lower())]
    words = buckets[:LENGTH]
    return torch.tensor(words + [0] * (LENGTH - len(words)))


class TwoTowers(nn.Module):
    """Pixels and words into one space."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, DIM))
        self.text = nn.EmbeddingBag(BUCKETS, DIM, padding_idx=0)
        nn.init.normal_(self.text.weight, std=0.01)  # so that words that no caption has hardly count

    def loss(self, images: Tensor, texts: Tensor, digits: Tensor) -> Tensor:
        """Each image is to be nearest to the caption of its own digit; ``texts`` holds one caption per digit."""
        seen = nn.functional.normalize(self.image(images), dim=1)
        read = nn.functional.normalize(self.text(texts), dim=1)
        return nn.functional.cross_entropy(10 * seen @ read.T, digits)


def score(model: TwoTowers) -> Record:
    """The record of the task `digits` for the model as it is now.

    The encoder is made anew each time: its card holds the digest of the weights at that moment.
    """
    encoder = ibench.from_functions(
        "two-towers",
        {"image": (image_tensor, model.image), "text": (text_tensor, model.text)},
        trained_pairs=(("image", "text"),),
        module=model,
    )
    (record,) = ibench.evaluate(encoder, tasks=["digits"])
    return record


def train(steps: int, every: int, seed: int = 0) -> list[tuple[int, Record]]:
    """Train, and score at step 0, every ``every`` steps and at the end; prints and returns the scores."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    data = load_digits()
    images = torch.from_numpy(data.images[:TRAINED_ON].reshape(-1, 64).astype(np.float32) / 16)
    digits = torch.from_numpy(data.target[:TRAINED_ON])
    model = TwoTowers()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scores = []
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            record = score(model)
            top1 = record.metrics["top1"]
            print(f"step {step:4d}   top-1 {top1.value:6.1%}   95% {top1.low:6.1%} to {top1.high:6.1%}", flush=True)
            scores.append((step, record))
        batch = torch.from_numpy(draw.integers(0, TRAINED_ON, 64))
        captions = [CAPTIONS[draw.integers(len(CAPTIONS))].format(word) for word in WORDS]
        optimizer.zero_grad()
        model.loss(images[batch], torch.stack([text_tensor(text) for text in captions]), digits[batch]).backward()
        optimizer.step()
    return scores


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--every", type=int, default=30, help="steps between evaluations")
    asked = parser.parse_args()
    train(asked.steps, asked.every)
