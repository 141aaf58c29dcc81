"""Kinetics-400 and -600: a list of clips of ten seconds and ``<youtube id>_<start>_<end>.mp4`` files.

Source: github.com/cvdfoundation/kinetics-dataset (``annotations/val.csv`` and the videos, which have disappeared from
YouTube one by one: copies differ in size). VideoMAE, SlowFast and LanguageBind list paths and class numbers instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ibench.datasets._metadata import lines_of, table_of
from ibench.datasets._videos import VIDEO_SUFFIXES, files_by_stem, none_found, sole_file
from ibench.datasets.base import Dataset, Item, inside
from ibench.errors import IbenchError
from ibench.media.video import read_video
from ibench.tasks import TaskSpec

_NAMES_OF_SPLIT = {"val": ("val", "validate", "validation")}
_PATH_AND_NUMBER = re.compile(r"(.+)[ ,](\d+)")


@dataclass(frozen=True)
class _Row:
    """A clip of the list: its name, its class, and its file where the copy has it."""

    name: str
    label: str
    file: Path | None


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The clips of a split (default ``val``), from ``annotations/val.csv`` or ``val.csv`` (or ``validate.csv``).

    A list with a header has the columns ``label``, ``youtube_id``, ``time_start`` and ``time_end`` (seconds); files are
    found by name in the folder of the split or anywhere below ``root``, in class folders or not. A list without one has
    lines ``path number``, parted at the last space (or comma), with paths relative to ``root`` and numbers from 0 in
    the order of the task's labels. Lines that say the same are one. Raises IbenchError when there is no list, for a
    line of another form, a number without a class, a path that leaves ``root``, and when no clip is there.
    """
    table = _list_of(spec, root)
    official = "youtube_id" in lines_of(table)[0]
    rows = dict.fromkeys(_from_table(spec, root, table) if official else _from_paths(spec, root, table))
    missing = tuple(row.name for row in rows if row.file is None)
    if len(missing) == len(rows):
        raise none_found(spec, root, missing)
    items = [
        Item(f"{row.label}/{row.name}", partial(read_video, row.file), row.file, labels=(row.label,), group=row.name)
        for row in rows
        if row.file is not None
    ]
    return Dataset({spec.query: items}, missing=missing, copy="Kinetics folder")


def _list_of(spec: TaskSpec, root: Path) -> Path:
    split = spec.dataset.split or "val"
    names = [f"{name}.csv" for name in _NAMES_OF_SPLIT.get(split, (split,))]
    candidates = [root / folder / name for name in names for folder in ("annotations", ".")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise IbenchError(
        f"{spec.name}: no list of clips; {candidates[0]} and {candidates[1]} are not there. "
        f"Get it from {spec.dataset.source}"
    )


def _from_table(spec: TaskSpec, root: Path, table: Path) -> Iterator[_Row]:
    """Of the publisher's columns. Labels are matched whatever their case: Kinetics-600 itself writes American both
    ways."""
    known = {label.casefold(): label for label in spec.labels or ()}
    folder = root / (spec.dataset.split or "val")
    files = files_by_stem(folder if folder.is_dir() else root, VIDEO_SUFFIXES)
    for number, row in enumerate(table_of(table, ("label", "youtube_id", "time_start", "time_end")), start=2):
        try:
            start, end = (int(float(row[column])) for column in ("time_start", "time_end"))
        except ValueError as error:
            raise IbenchError(f"{table}:{number}: time_start and time_end should be seconds ({error})") from error
        name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
        yield _Row(name, known.get(row["label"].casefold(), row["label"]), sole_file(spec, files, [name]))


def _from_paths(spec: TaskSpec, root: Path, table: Path) -> Iterator[_Row]:
    labels: Sequence[str] = list(spec.labels or ())
    for number, line in enumerate(lines_of(table), start=1):
        match = _PATH_AND_NUMBER.fullmatch(line)
        if match is None or int(match[2]) >= len(labels):
            raise IbenchError(
                f"{table}:{number}: expected a path, a space and a class number from 0 to {len(labels) - 1}, "
                f"found {line[:80]!r}"
            )
        file = inside(root, match[1], f"{table}:{number}")
        yield _Row(match[1], labels[int(match[2])], file if file.is_file() else None)
