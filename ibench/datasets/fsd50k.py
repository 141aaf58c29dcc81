"""FSD50K's evaluation clips as Zenodo record 4060432 unpacks: ``FSD50K.eval_audio``, ``FSD50K.ground_truth``.

10,231 clips of 0.3 to 30 s, 44.1 kHz mono, each with several of 200 classes, their ancestors in the ontology included.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ibench.datasets._listed import ordered, present, read_table
from ibench.datasets.base import Dataset, Item, inside
from ibench.media.audio import read_audio
from ibench.tasks import TaskSpec

MARKER = "FSD50K.ground_truth/eval.csv"


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The clips of ``eval.csv``; labels are FSD50K's own (``Gunshot_and_gunfire``) in the order of ``vocabulary.csv``.

    Raises IbenchError when a table is absent or incomplete.
    """
    hint = f"unpack FSD50K.ground_truth.zip from {spec.dataset.source}"
    vocabulary = root / "FSD50K.ground_truth" / "vocabulary.csv"
    classes = ordered(read_table(vocabulary, ("index", "label", "mid"), hint, header=False), "index", vocabulary)
    table = root / MARKER
    items, missing = present(
        Item(
            id=row["fname"],
            decode=partial(read_audio, file),
            content=file,
            labels=tuple(row["labels"].split(",")),
            group=row["fname"],
        )
        for row in read_table(table, ("fname", "labels"), hint)
        for file in [inside(root / "FSD50K.eval_audio", f"{row['fname']}.wav", str(table))]
    )
    return Dataset(
        {spec.query: items},
        labels={row["label"]: (row["label"],) for row in classes},
        missing=missing,
        copy="FSD50K folder",
    )
