"""ESC-50 as its author publishes it: ``ESC-50-master/{audio/*.wav, meta/esc50.csv}``.

Source: github.com/karolpiczak/ESC-50. 2,000 clips of 5 s, 50 classes × 40, five folds × 400, 44.1 kHz mono.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

from ibench.datasets.base import Dataset, Item, inside
from ibench.errors import IbenchError
from ibench.media.audio import read_audio
from ibench.tasks import TaskSpec

MARKER = "meta/esc50.csv"
_COLUMNS = ("filename", "fold", "target", "category", "src_file")


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The clips of ``meta/esc50.csv``, of one fold when the task's split is ``fold1`` … ``fold5``.

    Labels are the ``category`` column in the order of ``target``; the cluster is ``src_file``, the recording that
    a clip was cut from. Raises IbenchError when the metadata is absent or lacks a column.
    """
    table = root / "meta" / "esc50.csv"
    rows = _rows(spec, table)
    labels = {category: (category,) for _, category in sorted({(int(row["target"]), row["category"]) for row in rows})}
    wanted = [row for row in rows if spec.dataset.split in (None, "all", f"fold{row['fold']}")]
    if not wanted:
        raise IbenchError(f"{spec.name}: no clip in split '{spec.dataset.split}'; known: all, fold1 … fold5")
    items, missing = [], []
    for row in wanted:
        file = inside(root / "audio", row["filename"], str(table))
        if not file.is_file():
            missing.append(row["filename"])
            continue
        items.append(
            Item(
                id=row["filename"],
                decode=partial(read_audio, file),
                content=file,
                labels=(row["category"],),
                group=row["filename"],
                cluster=row["src_file"],
            )
        )
    return Dataset({spec.query: items}, labels=labels, missing=tuple(missing), copy="ESC-50 folder")


def _rows(spec: TaskSpec, table: Path) -> list[dict[str, str]]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise IbenchError(
            f"{spec.name}: {table} not found; unpack ESC-50-master.zip from {spec.dataset.source} under the data root"
        ) from error
    absent = [column for column in _COLUMNS if not rows or rows[0].get(column) is None]
    if absent:
        raise IbenchError(f"{table}: columns {', '.join(absent)} are missing or there are no rows")
    return rows
