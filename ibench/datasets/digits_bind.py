"""The demo's data: scikit-learn's handwritten digits, and the ten digit words spoken by synthetic voices.

Images: the last 797 of `sklearn.datasets.load_digits` (UCI Optical Recognition of Handwritten Digits, test part);
digits-bind was trained on the first 1,000. Sounds: ``spoken.csv`` beside the bundled weights, made with espeak-ng,
in voices that digits-bind never heard in training. Few-shot tasks train on folds of these: nothing that they test or
train on has the encoder seen. For localisation, frames made of these images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, product, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ibench.datasets import manifest
from ibench.datasets._digit_frames import in_frames
from ibench.datasets.base import Dataset, Item, whole_contents
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import Kind, TaskSpec

BUNDLED = "digits_bind"
PAIRED = (Modality.IMAGE, Modality.AUDIO)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_LABELS = {word: (word,) for word in _WORDS}
_TRAINED_ON = 1000
_OVERLAID = 10
"""Pictures of each pair of digits."""
_FOLDS = 5


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The test images and test sounds that the task asks for; two match when they show and say the same digit.

    With the split ``overlaid`` every second test image is left as it is, and of the others ten pictures of each pair of
    digits are made, one written over the other. The folds of a few-shot task are fifths of the images in their order,
    for neighbours may be of one writer, and of the voices.
    """
    if spec.dataset.split not in (None, "overlaid"):
        raise IbenchError(f"{spec.name}: no split '{spec.dataset.split}'; known: overlaid")
    items: dict[Modality, list[Item]] = {}
    if spec.kind is Kind.LOCALISATION:
        items = in_frames(_sounds(spec, root), _images())
        return Dataset(items, labels=_LABELS, copy="bundled with ibench, arranged in frames")
    for modality in spec.sample_modalities:
        if modality is Modality.IMAGE:
            items[modality] = _images() if spec.dataset.split is None else _overlaid_images()
        elif modality is Modality.AUDIO:
            items[modality] = _sounds(spec, root)
    if spec.kind is Kind.FEWSHOT:
        items = {modality: _in_folds(several) for modality, several in items.items()}
    return Dataset(items, labels=_LABELS, copy="bundled with ibench")


def _in_folds(items: Sequence[Item]) -> list[Item]:
    """Neighbouring fifths; what is in one recording stays together, and so do two voices that sound the same."""
    recordings = whole_contents(items)
    units = {recording: number for number, recording in enumerate(dict.fromkeys(recordings))}
    return [
        replace(item, fold=str(1 + _FOLDS * units[recording] // len(units)))
        for item, recording in zip(items, recordings, strict=True)
    ]


def _images() -> list[Item]:
    return [_image_item(f"digit-{number:04d}", pixels, word) for number, pixels, word in _tested()]


def _overlaid_images() -> list[Item]:
    """Images of one digit and of two in turn, so that the first of them are of either sort."""
    tested = _tested()
    single = [_image_item(f"digit-{number:04d}", pixels, word) for number, pixels, word in tested[::2]]
    apart: dict[str, list[tuple[int, NDArray[np.uint8]]]] = {word: [] for word in _WORDS}
    for number, pixels, word in tested[1::2]:
        apart[word].append((number, pixels))
    double = []
    for turn, (one, other) in product(range(_OVERLAID), combinations(_WORDS, 2)):
        (first, under), (second, over) = (
            apart[word][(_OVERLAID * _WORDS.index(beside) + turn) % len(apart[word])]
            for word, beside in ((one, other), (other, one))
        )
        double.append(_image_item(f"digit-{first:04d}+{second:04d}", np.maximum(under, over), one, other))
    return [item for both in zip_longest(single, double) for item in both if item is not None]


def _tested() -> list[tuple[int, NDArray[np.uint8], str]]:
    """The test images: number, pixels [8, 8], and the word for what they show."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return [
        (number, np.rint(pixels * (255 / 16)).astype(np.uint8), _WORDS[int(target)])
        for number, (pixels, target) in enumerate(zip(digits.images, digits.target, strict=True))
        if number >= _TRAINED_ON
    ]


def _image_item(id: str, pixels: NDArray[np.uint8], *words: str) -> Item:
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Item(id, partial(Image.fromarray, pixels), digest, labels=words, group=" and ".join(words))


def _sounds(spec: TaskSpec, root: Path) -> list[Item]:
    """Every test sound. Voices that sound the same, as three of espeak-ng's do, are one cluster."""
    table = root / "spoken.csv"
    items, _ = manifest.media_items(spec, table, manifest.read_rows(table), Modality.AUDIO)
    voice: dict[str, str] = {}
    return [
        replace(item, cluster=voice.setdefault(recording, item.cluster))
        for item, recording in zip(items, whole_contents(items), strict=True)
    ]
