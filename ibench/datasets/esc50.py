"""ESC-50 as its author publishes it: ``ESC-50-master/{audio/*.wav, meta/esc50.csv}``.

Source: github.com/karolpiczak/ESC-50. 2,000 clips of 5 s, 50 classes × 40, five folds × 400, 44.1 kHz mono.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ibench.datasets._listed import ordered, present, read_table
from ibench.datasets.base import Dataset, Item, inside
from ibench.errors import IbenchError
from ibench.media.audio import read_audio
from ibench.tasks import Kind, TaskSpec

MARKER = "meta/esc50.csv"
_COLUMNS = ("filename", "fold", "target", "category", "src_file")


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The clips of ``meta/esc50.csv``, of one fold when the task's split is ``fold1`` … ``fold5``.

    Labels are the ``category`` column in the order of ``target``; the cluster is ``src_file``, the recording that
    a clip was cut from. A few-shot task trains and tests by ``fold``. Raises IbenchError when the metadata is absent
    or lacks a column.
    """
    table = root / MARKER
    rows = read_table(table, _COLUMNS, f"unpack ESC-50-master.zip from {spec.dataset.source}")
    wanted = [row for row in rows if spec.dataset.split in (None, "all", f"fold{row['fold']}")]
    if not wanted:
        raise IbenchError(f"{spec.name}: no clip in split '{spec.dataset.split}'; known: all, fold1 … fold5")
    items, missing = present(
        Item(
            id=row["filename"],
            decode=partial(read_audio, file),
            content=file,
            labels=(row["category"],),
            group=row["filename"],
            cluster=row["src_file"],
            fold=row["fold"] if spec.kind is Kind.FEWSHOT else "",
        )
        for row in wanted
        for file in [inside(root / "audio", row["filename"], str(table))]
    )
    labels = {row["category"]: (row["category"],) for row in ordered(rows, "target", table)}
    return Dataset({spec.query: items}, labels=labels, missing=missing, copy="ESC-50 folder")
