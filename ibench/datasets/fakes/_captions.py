"""Made-up captions for pictures of noise."""

from __future__ import annotations

import numpy as np

_WORDS = (
    "man",
    "dog",
    "red",
    "ball",
    "street",
    "runs",
    "near",
    "two",
    "holding",
    "water",
    "sign",
    "white",
    "on",
    "old",
)


def captions(rng: np.random.Generator, picture: int, count: int) -> list[str]:
    """Captions that no other picture has, with the commas, quotes and stray spaces of the published ones."""
    made = []
    for number in range(count):
        words = " ".join(rng.choice(_WORDS, 5))
        text = f"A {words} , {picture}-{number}." if number % 2 else f"{words.capitalize()} {picture}-{number}."
        made.append({2: f'{text} It says "stop"', 3: f"{text} "}.get(number, text))
    return made
