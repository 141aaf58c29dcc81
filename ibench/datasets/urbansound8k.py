"""UrbanSound8K as its authors publish it: ``audio/fold1`` … ``fold10``, ``metadata/UrbanSound8K.csv``.

Source: urbansounddataset.weebly.com. 8,732 slices of at most 4 s in 10 classes, of any rate (8 to 192 kHz), depth and
number of channels.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ibench.datasets._listed import ordered, present, read_table
from ibench.datasets.base import Dataset, Item, inside
from ibench.media.audio import read_audio
from ibench.tasks import TaskSpec

MARKER = "metadata/UrbanSound8K.csv"


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The slices of all folds. Labels are the ``class`` column in the order of ``classID``; the cluster is ``fsID``,
    the Freesound recording that slices were cut from. Raises IbenchError when the table is incomplete.
    """
    table = root / MARKER
    hint = f"unpack UrbanSound8K.tar.gz from {spec.dataset.source}"
    rows = read_table(table, ("slice_file_name", "fsID", "fold", "classID", "class"), hint)
    items, missing = present(
        Item(
            id=row["slice_file_name"],
            decode=partial(read_audio, file),
            content=file,
            labels=(row["class"],),
            group=row["slice_file_name"],
            cluster=row["fsID"],
        )
        for row in rows
        for file in [inside(root / "audio", f"fold{row['fold']}/{row['slice_file_name']}", str(table))]
    )
    labels = {row["class"]: (row["class"],) for row in ordered(rows, "classID", table)}
    return Dataset({spec.query: items}, labels=labels, missing=missing, copy="UrbanSound8K folder")
