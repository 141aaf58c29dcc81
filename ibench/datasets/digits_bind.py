"""The demo's data: scikit-learn's handwritten digits, and the ten digit words spoken by synthetic voices.

Images: the last 797 of `sklearn.datasets.load_digits` (UCI Optical Recognition of Handwritten Digits, test part);
digits-bind was trained on the first 1,000. Sounds: ``spoken.csv`` beside the bundled weights, made with espeak-ng,
in voices that digits-bind never heard in training. For localisation, frames made of these images.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ibench.datasets import manifest
from ibench.datasets._digit_frames import in_frames
from ibench.datasets.base import Dataset, Item
from ibench.modalities import Modality
from ibench.tasks import Kind, TaskSpec

BUNDLED = "digits_bind"
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_LABELS = {word: (word,) for word in _WORDS}
_TRAINED_ON = 1000


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The test images and test sounds that the task asks for; two match when they show and say the same digit."""
    items: dict[Modality, list[Item]] = {}
    if spec.kind is Kind.LOCALISATION:
        items = in_frames(_sounds(spec, root), _images())
        return Dataset(items, labels=_LABELS, copy="bundled with ibench, arranged in frames")
    for modality in (spec.query, spec.target):
        if modality is Modality.IMAGE:
            items[modality] = _images()
        elif modality is Modality.AUDIO:
            items[modality] = _sounds(spec, root)
    return Dataset(items, labels=_LABELS, copy="bundled with ibench")


def _images() -> list[Item]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return [
        _image_item(number, np.rint(pixels * (255 / 16)).astype(np.uint8), _WORDS[int(target)])
        for number, (pixels, target) in enumerate(zip(digits.images, digits.target, strict=True))
        if number >= _TRAINED_ON
    ]


def _image_item(number: int, pixels: NDArray[np.uint8], word: str) -> Item:
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Item(f"digit-{number:04d}", partial(Image.fromarray, pixels), digest, labels=(word,), group=word)


def _sounds(spec: TaskSpec, root: Path) -> list[Item]:
    table = root / "spoken.csv"
    items, _ = manifest.media_items(spec, table, manifest.read_rows(table), Modality.AUDIO)
    return items
