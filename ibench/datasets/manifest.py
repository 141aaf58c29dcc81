"""A table of samples: csv, tsv, parquet or jsonl, one row per sample or per caption."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ibench.datasets.base import Dataset, Item, file_decoder, inside, label_separator, several, text_item
from ibench.errors import IbenchError, did_you_mean
from ibench.modalities import Modality
from ibench.tasks import MATCHING, Kind, TaskSpec

_DEFAULT_COLUMNS = {"label": "label", "id": "id", "start": "start", "end": "end", "text": "caption"}


def read(spec: TaskSpec, table: Path) -> Dataset:
    """The rows of a table as items.

    A modality's column (its name in ``columns``, else ``path``) holds paths relative to the table's folder;
    ``caption`` holds text, one caption or a list. Rows of the same file and time span are one item, so that a clip
    with five captions may stand in five rows; in a labelled pool, whose modalities are of samples of their own, a row
    may lack all but one. Optional columns: ``id``, ``start`` and ``end`` in seconds, and the task's cluster key. Of a
    task with a split the rows are those that have it in column ``split``. Raises IbenchError for a table that is empty,
    cannot be parsed, lacks a column that the task names, says two things of one sample, or names a file outside its
    folder. Files that do not exist are listed as missing.
    """
    every = read_rows(table)
    rows = _of_split(spec, table, every)
    modalities = spec.sample_modalities
    if spec.pooled:
        _refuse_shared_column(spec, modalities)
    items: dict[Modality, list[Item]] = {}
    missing: list[str] = []
    for modality in modalities:
        if modality is Modality.TEXT:
            texts = _pool_texts(spec, table, rows) if spec.pooled else _captions(spec, table, rows, modalities)
            items[modality] = texts
        else:
            items[modality], absent = media_items(spec, table, rows, modality)
            missing += absent
    _refuse_absent_columns(spec, table, every)
    return Dataset(items, missing=tuple(missing), copy="manifest")


def read_rows(table: Path) -> list[dict[str, Any]]:
    """The rows of a table without their empty cells."""
    rows = [_filled(row, f"{table}:{number}") for number, row in enumerate(_parse(table), start=2)]
    if not rows:
        raise IbenchError(f"{table}: no rows; expected a header and one line per sample")
    return rows


def media_items(
    spec: TaskSpec, table: Path, rows: Sequence[Mapping[str, Any]], modality: Modality
) -> tuple[list[Item], list[str]]:
    """The items of one modality in the rows of a table, and the files that are missing."""
    columns = {**_DEFAULT_COLUMNS, **spec.dataset.columns}
    path_column = columns.get(modality, "path")
    items: dict[str, Item] = {}
    missing: list[str] = []
    for where, row in _with(spec, table, rows, path_column):
        relative = str(_cell(row, path_column, where))
        file = inside(table.parent, relative, where)
        start, end = (_seconds(row, columns[name], where) for name in ("start", "end"))
        key = _sample_key(row, columns, relative)
        if not file.is_file():
            missing.append(relative)
            continue
        labelled = spec.kind not in MATCHING or spec.pooled or columns["label"] in row
        item = Item(
            id=key,
            decode=file_decoder(modality, file, start, end),
            content=file,
            part="" if start is None and end is None else f"{start}-{end}",
            labels=_labels(spec, row, columns["label"], where) if labelled else (),
            group=_group(spec, row, columns, key),
            cluster=_cluster(spec, row),
            fold=_fold(spec, row, where),
        )
        _refuse_contradiction(items.setdefault(key, item), item, where)
    return list(items.values()), list(dict.fromkeys(missing))


def _refuse_absent_columns(spec: TaskSpec, table: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises IbenchError for a column that the task names and no row has anything in: read as absent, a misspelt
    ``cluster`` would narrow the intervals, and a misspelt ``group`` make everything match."""
    known = dict.fromkeys(column for row in rows for column in row)
    for column in filter(None, (*spec.dataset.columns.values(), spec.cluster)):
        if column not in known:
            raise IbenchError(f"{table}: nothing in column '{column}', which the task names; {_nearest(column, known)}")


def _refuse_contradiction(first: Item, again: Item, where: str) -> None:
    """Raises IbenchError where a row says of a sample what an earlier one does not."""
    told = {"content": "file", "part": "time span", "labels": "label", "group": "group", "cluster": "cluster"}
    for field, name in told.items():
        if getattr(first, field) != getattr(again, field):
            way_out = "; several labels of a sample stand in one row" if field == "labels" else ""
            raise IbenchError(f"{where}: '{again.id}' has another {name} here than in an earlier row{way_out}")


def _of_split(spec: TaskSpec, table: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the task's split, all of a task that names none. Raises IbenchError for a split that has none."""
    if spec.dataset.split is None:
        return rows
    column = spec.dataset.columns.get("split", "split")
    kept = [row for row in rows if str(row.get(column, "")) == spec.dataset.split]
    if not kept:
        splits = sorted({str(row[column]) for row in rows if column in row})
        known = f"it has {', '.join(splits)}" if splits else "there is no such column"
        raise IbenchError(f"{table}: no row has '{spec.dataset.split}' in column '{column}'; {known}")
    return kept


def _captions(
    spec: TaskSpec, table: Path, rows: Sequence[Mapping[str, Any]], modalities: Sequence[Modality]
) -> list[Item]:
    columns = {**_DEFAULT_COLUMNS, **spec.dataset.columns}
    other = next(modality for modality in modalities if modality is not Modality.TEXT)
    items: list[Item] = []
    for number, row in enumerate(rows, start=2):
        where = f"{table}:{number}"
        key = _sample_key(row, columns, str(_cell(row, columns.get(other, "path"), where)))
        for caption in several(_cell(row, columns["text"], where), spec.dataset.separator):
            items.append(
                text_item(
                    f"{key}#{len(items)}", caption, group=_group(spec, row, columns, key), cluster=_cluster(spec, row)
                )
            )
    return items


def _pool_texts(spec: TaskSpec, table: Path, rows: Sequence[Mapping[str, Any]]) -> list[Item]:
    """The texts of a labelled pool, one a row."""
    columns = {**_DEFAULT_COLUMNS, **spec.dataset.columns}
    return [
        text_item(
            str(row.get(columns["id"], row[columns["text"]])),
            str(row[columns["text"]]),
            group="",
            cluster=_cluster(spec, row),
            labels=_labels(spec, row, columns["label"], where),
        )
        for where, row in _with(spec, table, rows, columns["text"])
    ]


def _refuse_shared_column(spec: TaskSpec, modalities: Sequence[Modality]) -> None:
    """Raises IbenchError where two modalities of a pool would be read from one column."""
    columns = {**_DEFAULT_COLUMNS, **spec.dataset.columns}
    names = [columns.get(modality, "path") for modality in modalities]
    if len(set(names)) < len(names):
        raise IbenchError(
            f"{spec.name}: the modalities of a pool have columns of their own; name them, such as 'columns: {{"
            f"{', '.join(f'{modality}: {modality}' for modality in modalities)}}}'"
        )


def _with(
    spec: TaskSpec, table: Path, rows: Sequence[Mapping[str, Any]], column: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows with their place in the table; in a labelled pool only those that have the column.

    Raises IbenchError where no row has it.
    """
    if all(column not in row for row in rows):
        _cell(rows[0], column, f"{table}:2")
    for number, row in enumerate(rows, start=2):
        if column in row or not spec.pooled:
            yield f"{table}:{number}", row


def _group(spec: TaskSpec, row: Mapping[str, Any], columns: Mapping[str, str], key: str) -> str:
    """What makes two items match: the ``group`` column where the task names one, else being the same sample."""
    column = spec.dataset.columns.get("group")
    return str(row.get(column, "")) if column else key


def _cluster(spec: TaskSpec, row: Mapping[str, Any]) -> str:
    return str(row.get(spec.cluster, "")) if spec.cluster else ""


def _fold(spec: TaskSpec, row: Mapping[str, Any], where: str) -> str:
    """What the task trains and tests by, where it names a column of folds."""
    column = spec.dataset.columns.get("fold")
    return str(_cell(row, column, where)) if column and spec.kind is Kind.FEWSHOT else ""


def _sample_key(row: Mapping[str, Any], columns: Mapping[str, str], relative: str) -> str:
    """The sample's id: its own column, else its file and time span."""
    if columns["id"] in row:
        return str(row[columns["id"]])
    span = "-".join(str(row[columns[name]]) for name in ("start", "end") if columns[name] in row)
    return f"{relative}@{span}" if span else relative


def _labels(spec: TaskSpec, row: Mapping[str, Any], column: str, where: str) -> tuple[str, ...]:
    return tuple(several(_cell(row, column, where), label_separator(spec)))


def _filled(row: Any, where: str) -> dict[str, Any]:
    """A row without its empty cells. Raises IbenchError for what is no row of named cells."""
    if not isinstance(row, dict):
        raise IbenchError(f"{where}: expected an object with a value for each column, found {type(row).__name__}")
    if any(row.pop(None, ())):  # where csv puts what the header has no column for
        raise IbenchError(f"{where}: more cells than the header has columns; put a cell that holds a comma in quotes")
    return {key: value for key, value in row.items() if not _is_empty(value)}


def _nearest(column: str, known: Iterable[str]) -> str:
    """In quotes, so that a space in the header is seen."""
    return did_you_mean(repr(column), map(repr, known))


def _is_empty(value: Any) -> bool:
    return value is None or value == "" if not isinstance(value, float) else math.isnan(value)


def _cell(row: Mapping[str, Any], column: str, where: str) -> Any:
    if column not in row:
        raise IbenchError(f"{where}: nothing in column '{column}'; {_nearest(column, row)}")
    return row[column]


def _seconds(row: Mapping[str, Any], column: str, where: str) -> float | None:
    if column not in row:
        return None
    try:
        return float(row[column])
    except ValueError as error:
        raise IbenchError(f"{where}: column '{column}' needs seconds, found {row[column]!r}") from error


def _parse(table: Path) -> Iterator[dict[str, Any]]:
    suffix = table.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            with table.open(encoding="utf-8-sig", newline="") as file:
                yield from csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ",", strict=True)
        elif suffix in (".jsonl", ".ndjson"):
            with table.open(encoding="utf-8") as file:
                yield from (json.loads(line) for line in file if line.strip())
        elif suffix == ".parquet":
            import pyarrow.parquet

            yield from pyarrow.parquet.read_table(table).to_pylist()
        else:
            raise IbenchError(f"{table}: a manifest is .csv, .tsv, .jsonl or .parquet")
    except (OSError, ValueError, csv.Error) as error:
        raise IbenchError(f"{table}: cannot be read as {suffix[1:]} ({error})") from error
