"""Frames made of handwritten digits: for each spoken digit one, in which it stands among others.

What stands where is ordered by digests of a seed, the sound's id and the thing, so that it is the same on every
machine, and a frame does not depend on the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ibench.datasets.base import Item
from ibench.hashing import sha256_text
from ibench.modalities import Modality

SIDE, DIGIT, STEP = 32, 8, 4
"""Pixels of a frame, of a digit, and of the lattice that digits stand on."""

DIGITS = 4
"""How many different ones are in a frame."""

_SEED = "ibench-1"
_CORNERS = tuple((left, top) for top in range(0, SIDE - DIGIT + 1, STEP) for left in range(0, SIDE - DIGIT + 1, STEP))


def in_frames(sounds: Iterable[Item], images: Iterable[Item]) -> dict[Modality, list[Item]]:
    """Each sound with a frame of its own, and the box of its digit; sounds and images have one label each."""
    of_word: dict[str, list[Item]] = {}
    for image in images:
        of_word.setdefault(image.labels[0], []).append(image)
    items: dict[Modality, list[Item]] = {Modality.AUDIO: [], Modality.IMAGE: []}
    for sound in sounds:
        others = _shuffled([word for word in of_word if word != sound.labels[0]], sound.id)
        words = [sound.labels[0], *others[: DIGITS - 1]]
        corners = list(_apart(sound.id))[:DIGITS]
        digits = [_drawn(of_word[word], sound.id) for word in words]
        left, top = corners[0]
        box = (left / SIDE, top / SIDE, (left + DIGIT) / SIDE, (top + DIGIT) / SIDE)
        items[Modality.AUDIO].append(replace(sound, group=sound.id, boxes=(box,)))
        items[Modality.IMAGE].append(_frame(sound, digits, corners))
    return items


def _frame(sound: Item, digits: Sequence[Item], corners: Sequence[tuple[int, int]]) -> Item:
    pixels: NDArray[np.uint8] = np.zeros((SIDE, SIDE), np.uint8)
    for digit, (left, top) in zip(digits, corners, strict=True):
        pixels[top : top + DIGIT, left : left + DIGIT] = np.asarray(digit.decode())
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Item(sound.id, partial(Image.fromarray, pixels), digest, group=sound.id, cluster=sound.cluster)


def _apart(id: str) -> Iterator[tuple[int, int]]:
    """Corners of the lattice in a random order, without those whose digit would overlap an earlier one."""
    taken: list[tuple[int, int]] = []
    for number in _shuffled([str(number) for number in range(len(_CORNERS))], id):
        left, top = _CORNERS[int(number)]
        if all(abs(left - x) >= DIGIT or abs(top - y) >= DIGIT for x, y in taken):
            taken.append((left, top))
            yield left, top


def _drawn(images: Sequence[Item], id: str) -> Item:
    by_id = {image.id: image for image in images}
    return by_id[_shuffled(list(by_id), id)[0]]


def _shuffled(things: Iterable[str], id: str) -> list[str]:
    return sorted(things, key=lambda thing: sha256_text(f"{_SEED}/{id}/{thing}"))
