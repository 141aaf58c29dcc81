"""FSD50K in little: two clips of each class that a protocol renames and of a few more, one damaged, one not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, sound, table
from ibench.tasks import TaskSpec

_PLAIN = ("Accordion", "Acoustic_guitar", "Bark", "Bathtub_(filling_or_washing)", "Hi-hat", "Zipper_(clothing)")


def write(spec: TaskSpec, place: Path) -> None:
    """``FSD50K.eval_audio/{id}.wav``, 44.1 kHz, and ``eval.csv`` and ``vocabulary.csv`` in ``FSD50K.ground_truth``."""
    rng = np.random.default_rng(0)
    renamed = {label for protocol in spec.protocols.values() for label in protocol.names}
    labels = sorted({*_PLAIN, *renamed})  # protocols name labels, and a label that is not there is an error
    rows = []
    for number in range(2 * len(labels)):
        own = dict.fromkeys((labels[number % len(labels)], labels[(7 * number + 1) % len(labels)]))
        rows.append((str(1028 + 37 * number), ",".join(own), ",".join(f"/m/{labels.index(label)}" for label in own)))
        file = place / "FSD50K.eval_audio" / f"{rows[-1][0]}.wav"
        if number == 1:
            damaged(file)
        elif number != 5:
            sound(file, rng, seconds=0.3, rate=44_100)
    tables = place / "FSD50K.ground_truth"
    table(tables / "eval.csv", [("fname", "labels", "mids"), *rows])
    table(tables / "vocabulary.csv", ((index, label, f"/m/{index}") for index, label in enumerate(labels)))
