"""Encoders whose right answers are known, for tests: colours and tones, each one axis of the space."""

from __future__ import annotations

import hashlib
import os
import time

import numpy as np
import torch
from torch import Tensor

from ibench.encoders.base import Card, Encoder, Preprocess, Views, unit_rows
from ibench.modalities import Modality, RawSample

NAMES = ("red", "green", "blue", "low", "middle", "high")
TONES_HZ = {"low": 200.0, "middle": 1000.0, "high": 3000.0}
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def see_text(text: RawSample) -> Tensor:
    found = [float(name in text) for name in NAMES]
    return torch.tensor([found])


def see_image(image: RawSample) -> Tensor:
    colour = np.asarray(image.convert("RGB"), np.float32).reshape(-1, 3).mean(axis=0)
    return torch.tensor([[*(colour / 255).tolist(), 0.0, 0.0, 0.0]])


def hear(sound: RawSample) -> Tensor:
    power = np.abs(np.fft.rfft(sound.samples.mean(axis=0)))
    peak = np.fft.rfftfreq(sound.samples.shape[1], 1 / sound.rate)[power.argmax()]
    return torch.tensor([[0.0, 0.0, 0.0, *(float(abs(peak - hertz) < 60) for hertz in TONES_HZ.values())]])


def noise(raw: RawSample) -> Tensor:
    """The same random vector for the same sample, another for any other."""
    data = raw.encode() if isinstance(raw, str) else np.asarray(getattr(raw, "samples", raw)).tobytes()
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 32)).astype(np.float32))


def never(raw: RawSample) -> Tensor:
    """As a decoder that hangs."""
    while True:
        time.sleep(3600)


class ToyEncoder:
    """Preprocessing is the whole encoder; `encode` only makes unit rows. Counts how often it is asked."""

    def __init__(self, name: str, functions: dict[Modality, Preprocess], spoil: str = "") -> None:
        self.functions = functions
        self.spoil = spoil
        self.encoded = 0
        self.seconds = 0.0
        self.card = Card(
            name=name,
            family="toy",
            modalities=tuple(functions),
            dim=6,
            trained_pairs=((Modality.IMAGE, Modality.TEXT),),
            licence="Apache-2.0",
        )

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        return self.functions[modality]

    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        time.sleep(self.seconds)
        self.encoded += len(batch)
        vectors = unit_rows(batch.double() + 1e-3)
        if self.spoil == "nan" and modality is not Modality.TEXT:
            vectors[len(vectors) // 2] = torch.nan
        return torch.ones_like(vectors) / vectors.shape[1] ** 0.5 if self.spoil == "constant" else vectors


def make_oracle(device: str, dtype: str) -> Encoder:
    return ToyEncoder("oracle", {Modality.TEXT: see_text, Modality.IMAGE: see_image, Modality.AUDIO: hear})


def make_random(device: str, dtype: str) -> Encoder:
    return ToyEncoder("random", {Modality.TEXT: noise, Modality.IMAGE: noise, Modality.AUDIO: noise})


def make_slow(device: str, dtype: str) -> Encoder:
    """As `make_random`, with a wait in each batch of $TOY_SECONDS_PER_BATCH."""
    encoder = ToyEncoder("random", {Modality.TEXT: noise, Modality.IMAGE: noise, Modality.AUDIO: noise})
    encoder.seconds = float(os.environ.get("TOY_SECONDS_PER_BATCH", "0"))
    return encoder


def make_stuck(device: str, dtype: str) -> Encoder:
    return ToyEncoder("stuck", {Modality.TEXT: noise, Modality.IMAGE: never, Modality.AUDIO: never})


def make_constant(device: str, dtype: str) -> Encoder:
    seen = {Modality.TEXT: noise, Modality.IMAGE: noise, Modality.AUDIO: noise}
    return ToyEncoder("constant", seen, spoil="constant")


def make_nan(device: str, dtype: str) -> Encoder:
    return ToyEncoder("nan", {Modality.TEXT: see_text, Modality.IMAGE: see_image, Modality.AUDIO: hear}, spoil="nan")
