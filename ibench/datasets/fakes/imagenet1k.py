"""ImageNet's validation set in little: a thousand made-up classes, two flat pictures of twelve, and the kit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat

from ibench.datasets.fakes.noise import damaged, picture
from ibench.tasks import TaskSpec

_CLASSES, _INNER, _OCCURRING, _PICTURES = 1000, 12, 12, 2


def write(spec: TaskSpec, place: Path) -> None:
    """``val/ILSVRC2012_val_00000001.JPEG`` … and the development kit, whose ids are not in the order of WordNet's.

    Its table also has synsets that are no classes but have some below them. One picture is damaged, one not there.
    """
    rng = np.random.default_rng(0)
    wnids = [f"n{number:08d}" for number in rng.choice(10**8, _CLASSES + _INNER, replace=False)]
    order = np.argsort(wnids[:_CLASSES])  # position among the sorted WordNet ids → the kit's id, less one
    occurring = order[:: _CLASSES // _OCCURRING][:_OCCURRING]
    truth = rng.permutation(np.repeat(occurring, _PICTURES)) + 1
    for number in range(1, len(truth) + 1):
        path = place / "val" / f"ILSVRC2012_val_{number:08d}.JPEG"
        if number == 1:
            damaged(path)
        elif number != 2:  # listed, and not there
            picture(path, rng, mode="L" if number == 3 else "RGB")
    kit = place / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True, exist_ok=True)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in truth))
    savemat(kit / "meta.mat", {"synsets": _synsets(wnids)})


def _synsets(wnids: list[str]) -> np.ndarray:
    """MATLAB's struct array, [n, 1]: the kit's id, the WordNet id, words, and how many synsets lie below."""
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children")
    rows = np.empty((len(wnids), 1), dtype=[(field, object) for field in fields])
    for row, wnid in enumerate(wnids):
        below = np.arange(1.0, 4.0) if row >= _CLASSES else np.empty(0)
        rows[row, 0] = (float(row + 1), wnid, f"word {row}, other word", "a made-up thing", float(len(below)), below)
    return rows
