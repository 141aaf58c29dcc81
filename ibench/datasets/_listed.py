"""What publishers' tables list: their rows, and items for the files that are there."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from ibench.datasets.base import Dataset, Item, text_item
from ibench.errors import IbenchError
from ibench.media.audio import read_audio
from ibench.modalities import Modality


def read_table(
    table: Path, columns: Sequence[str], hint: str, *, header: bool = True, comment: str = "", spaced: bool = False
) -> list[dict[str, str]]:
    """The rows of a csv file in UTF-8, column → cell; none of ``columns`` is empty in any of them.

    With a ``header`` the columns must be among its names; without one they name the first cells of a row. Lines that
    begin with ``comment`` are skipped; ``spaced`` cells are parted by a comma and a space. Raises IbenchError when the
    file is absent (``hint`` says where to get it), cannot be parsed, has no rows, or lacks a column or a cell.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = (line for line in file if not comment or not line.startswith(comment))
            names = None if header else list(columns)
            reader: csv.DictReader[str] = csv.DictReader(lines, names, skipinitialspace=spaced, strict=True)
            absent = [column for column in columns if column not in (reader.fieldnames or ())]
            if absent:
                raise IbenchError(f"{table}: no column {', '.join(absent)} in its first line; {hint}")
            rows = list(_complete(reader, table, columns))
    except FileNotFoundError as error:
        raise IbenchError(f"{table} not found; {hint}") from error
    except (OSError, ValueError, csv.Error) as error:
        raise IbenchError(f"{table}: cannot be read as csv in UTF-8 ({error}); {hint}") from error
    if not rows:
        raise IbenchError(f"{table}: no rows; {hint}")
    return rows


def ordered(rows: Sequence[dict[str, str]], number: str, table: Path) -> list[dict[str, str]]:
    """The rows in the order of a column of whole numbers. Raises IbenchError for a cell that is none."""
    try:
        return sorted(rows, key=lambda row: int(row[number]))
    except ValueError as error:
        raise IbenchError(f"{table}: column {number} needs whole numbers ({error})") from error


def present(items: Iterable[Item]) -> tuple[list[Item], tuple[str, ...]]:
    """The items whose file is there, and the ids of those whose file is not."""
    kept: list[Item] = []
    missing: list[str] = []
    for item in items:
        if isinstance(item.content, Path) and item.content.is_file():
            kept.append(item)
        else:
            missing.append(item.id)
    return kept, tuple(missing)


def captioned(clips: Mapping[str, tuple[Path | None, Sequence[str]]], copy: str) -> Dataset:
    """Sounds with their captions, each caption a query of its own: clip id → its file, if it is there, and captions.

    A clip and its captions are one group and one cluster. The captions of a missing clip are left out, as they have
    no match to be found and would be distractors that others' copies do not have.
    """
    sounds: list[Item] = []
    texts: list[Item] = []
    for clip, (file, captions) in clips.items():
        if file is None:
            continue
        sounds.append(Item(clip, partial(read_audio, file), file, group=clip, cluster=clip))
        texts += [text_item(f"{clip}#{number}", text, clip, clip) for number, text in enumerate(captions, start=1)]
    missing = tuple(clip for clip, (file, _) in clips.items() if file is None)
    return Dataset({Modality.TEXT: texts, Modality.AUDIO: sounds}, missing=missing, copy=copy)


def _complete(reader: csv.DictReader[str], table: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    for number, row in enumerate(reader, start=1):
        empty = [column for column in columns if not row.get(column)]
        if empty:
            raise IbenchError(f"{table}: row {number} has nothing in {', '.join(empty)}")
        yield row
