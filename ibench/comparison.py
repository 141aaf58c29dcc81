"""Records side by side: only what was measured on the same samples in the same way, compared sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from ibench.errors import IbenchError
from ibench.pairs import paired
from ibench.results import Kept, Record
from ibench.scoring.paired import ALPHA, Difference, holm
from ibench.tasks import Kind, load_task, lower_is_better, suite_tasks

_SAME = {
    "task_version": "task version",
    "task_fingerprint": "task definition",
    "texts_fingerprint": "prompts or class names",
    "dataset_fingerprint": "samples",
    "headline": "headline metric",
    "limited": "--limit",
    "unreadable": "unreadable samples",
}
"""What must be equal for two records of one task and protocol to be compared, and what it is called."""


@dataclass(frozen=True)
class Paired:
    """How a column differs from the reference in one row; ``p`` is adjusted for all differences of the comparison."""

    difference: Difference
    p: float

    @property
    def significant(self) -> bool:
        return self.p <= ALPHA


@dataclass(frozen=True)
class Row:
    """One task and protocol across encoders: column name → what was kept of it.

    ``paired`` are the differences to the reference column, ``ranks`` the places by headline, which encoders share that
    do not differ significantly from the best of them. Both are empty where per-sample rows are not kept.
    """

    task: str
    protocol: str
    kept: Mapping[str, Kept]
    paired: Mapping[str, Paired] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)

    @property
    def records(self) -> Mapping[str, Record]:
        return {column: one.record for column, one in self.kept.items()}

    @property
    def any(self) -> Record:
        """One of the records, for what they share: modalities, metric, chance."""
        return next(iter(self.kept.values())).record


@dataclass(frozen=True)
class Comparison:
    """Encoders as columns, the first is the reference; tasks as rows."""

    encoders: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class PromptSpread:
    """A task whose records differ in the prompts alone: column → the best headline score less the worst."""

    task: str
    metric: str
    protocols: tuple[str, ...]
    values: Mapping[str, float]


@dataclass(frozen=True)
class Standing:
    """An encoder over a suite: the mean of its headline scores and its place by Borda's count, None where ``missing``
    says what it lacks."""

    mean: float | None
    borda: int | None
    missing: tuple[str, ...]


def comparison(kept: Sequence[Kept]) -> Comparison:
    """Records by encoder and task, in the order they come. Raises IbenchError for records that do not compare."""
    columns = _column_names(kept)
    rows: dict[tuple[str, str], dict[str, Kept]] = {}
    for one, column in zip(kept, columns, strict=True):
        row = rows.setdefault((one.record.task, one.record.protocol), {column: one})
        _refuse_unlike(one.record, next(iter(row.values())).record)  # all others are like the first
        _refuse_second(one, row.setdefault(column, one))
    encoders = tuple(dict.fromkeys(columns))
    plain = [Row(task, protocol, row) for (task, protocol), row in rows.items()]
    return Comparison(encoders, tuple(_with_differences(plain, encoders[0] if encoders else "")))


def prompt_spreads(table: Comparison) -> list[PromptSpread]:
    """How far the prompts move each task that was run with several sets, on the same samples with the same views."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in table.rows:
        one = row.any
        if one.kind in (Kind.CLASSIFICATION, Kind.MULTILABEL):
            alike = (row.task, one.headline, one.dataset_fingerprint, one.limited, repr(sorted(one.views.items())))
            groups.setdefault(alike, []).append(row)
    found = []
    for rows in groups.values():
        values = {}
        for encoder in table.encoders:
            records = [row.records[encoder] for row in rows if encoder in row.records]
            scores = [record.score.value for record in records]
            if len({record.texts_fingerprint for record in records}) > 1:
                values[encoder] = max(scores) - min(scores)
        if values:
            protocols = tuple(sorted(row.protocol for row in rows))
            found.append(PromptSpread(rows[0].task, rows[0].any.headline, protocols, values))
    return found


def unlike(record: Record, other: Record) -> list[str]:
    """What keeps two records of one task and protocol from being compared."""
    return [name for field, name in _SAME.items() if _compared(record, field) != _compared(other, field)]


def encoder_names(records: Sequence[Record]) -> list[str]:
    """The name of each record's encoder, with what tells two apart: the digest where names repeat, the function where
    one factory file has several of a name, and a lower precision."""
    digests: dict[str, set[str | None]] = {}
    functions: dict[tuple[str, str | None], set[str]] = {}
    for one in (record.encoder for record in records):
        digests.setdefault(one.name, set()).add(one.checkpoint_sha256)
        functions.setdefault((one.name, one.checkpoint_sha256), set()).add(one.function)
    return [
        _encoder_name(
            record,
            len(digests[record.encoder.name]) > 1,
            len(functions[record.encoder.name, record.encoder.checkpoint_sha256] - {""}) > 1,
        )
        for record in records
    ]


def members(suite: str) -> list[tuple[str, str]]:
    """The tasks of a suite, each with its default protocol."""
    return [(task, load_task(task).protocol(None)[0]) for task in suite_tasks(suite)]


def of_suite(kept: Sequence[Kept], suite: str) -> list[Kept]:
    """The records of a suite's members. Raises IbenchError when there is none."""
    wanted = members(suite)
    found = [one for one in kept if (one.record.task, one.record.protocol) in wanted]
    if not found:
        raise IbenchError(f"none of the records is of suite '{suite}' by its tasks' default protocols")
    return found


def over_suite(table: Comparison, suite: str) -> dict[str, Standing]:
    """Every encoder over the members of a suite; those that have all of them, whole, have a mean and a place.

    Borda's count: in every task an encoder gets a point for each other it is above, and half a point for a tie.
    """
    tasks = members(suite)
    at = {(row.task, row.protocol): row for row in table.rows}
    lacking = {
        encoder: tuple(
            f"{task} ({protocol})" for task, protocol in tasks if not _whole(at.get((task, protocol)), encoder)
        )
        for encoder in table.encoders
    }
    whole = [encoder for encoder in table.encoders if not lacking[encoder]]
    if not whole:
        return {encoder: Standing(None, None, lacking[encoder]) for encoder in table.encoders}
    downwards = np.array([lower_is_better(at[task].any.headline) for task in tasks])
    scores = np.array([[at[task].records[encoder].score.value for task in tasks] for encoder in whole])
    heights = np.where(downwards, -scores, scores)
    points = [np.sum(own > heights) + np.sum(own == heights) / 2 for own in heights]
    places = {encoder: 1 + sum(other > own for other in points) for encoder, own in zip(whole, points, strict=True)}
    # a mean of places and shares means nothing
    means = {} if downwards.any() else dict(zip(whole, scores.mean(axis=1).tolist(), strict=True))
    return {encoder: Standing(means.get(encoder), places.get(encoder), lacking[encoder]) for encoder in table.encoders}


def _compared(record: Record, field: str) -> object:
    """What has to be equal of a field; of unreadable samples which they are, as each library words its own reasons."""
    value: object = getattr(record, field)
    return set(value) if isinstance(value, dict) else value


def _with_differences(rows: Sequence[Row], reference: str) -> list[Row]:
    """The rows with their differences and ranks, all differences of the comparison adjusted as one family."""

    @cache
    def differs(row: int, one: str, other: str) -> Difference:
        return paired(rows[row].kept[one], rows[row].kept[other])

    pairable = {number: _pairable(row) for number, row in enumerate(rows)}
    cells = [
        (number, column)
        for number, columns in pairable.items()
        if reference in columns
        for column in columns
        if column != reference
    ]
    found = [differs(number, reference, column) for number, column in cells]
    adjusted = holm([one.p for one in found])
    by_row: dict[int, dict[str, Paired]] = {number: {} for number in pairable}
    for (number, column), one, p in zip(cells, found, adjusted, strict=True):
        by_row[number][column] = Paired(one, p)
    ranks = _shared_ranks(rows, pairable, differs)
    return [replace(row, paired=by_row[number], ranks=ranks[number]) for number, row in enumerate(rows)]


def _shared_ranks(
    rows: Sequence[Row], columns: Mapping[int, list[str]], differs: Callable[[int, str, str], Difference]
) -> dict[int, dict[str, int]]:
    """Places by row: those who do not differ significantly from the best share its place, the best of the others
    has the next. All comparisons with the best of a row are adjusted as one family."""
    left = {number: _best_first(rows[number], names) for number, names in columns.items()}
    ranks: dict[int, dict[str, int]] = {number: {} for number in columns}
    while any(left.values()):
        rivals = [(number, names[0], rival) for number, names in left.items() for rival in names[1:]]
        adjusted = holm([differs(number, *sorted(two, key=columns[number].index)).p for number, *two in rivals])
        worse = {(number, rival) for (number, _, rival), p in zip(rivals, adjusted, strict=True) if p <= ALPHA}
        for number, names in left.items():
            place = len(ranks[number]) + 1
            ranks[number] |= {name: place for name in names if (number, name) not in worse}
            left[number] = [name for name in names if (number, name) in worse]
    return ranks


def _pairable(row: Row) -> list[str]:
    columns = [column for column, one in row.kept.items() if one.rows is not None]
    return columns if len(columns) > 1 else []


def _best_first(row: Row, columns: Sequence[str]) -> list[str]:
    sign = 1 if lower_is_better(row.any.headline) else -1
    return sorted(columns, key=lambda column: sign * row.records[column].score.value)


def _whole(row: Row | None, encoder: str) -> bool:
    return row is not None and encoder in row.kept and row.kept[encoder].record.ranked


def _refuse_unlike(record: Record, other: Record) -> None:
    if differing := unlike(record, other):
        raise IbenchError(
            f"{record.task} ({record.protocol}): {record.encoder.name} and {other.encoder.name} differ in "
            f"{', '.join(differing)} (n {record.n} and {other.n}); run both on the same data with the same ibench"
        )


def _refuse_second(one: Kept, first: Kept) -> None:
    """Of two measurements under one name, which one is meant is not ours to guess."""
    if one is not first and one.record.measured() != first.record.measured():
        record = one.record
        raise IbenchError(
            f"{one.run}: has {record.task} ({record.protocol}) of {record.encoder.name} twice, and not alike "
            f"({', '.join(str(kept.rows) for kept in (first, one) if kept.rows)}); name the folder of each"
        )


def _column_names(kept: Sequence[Kept]) -> list[str]:
    """The encoders' names, and the run where the same encoder ran the same task in several."""
    names = encoder_names([one.record for one in kept])
    places: dict[tuple[str, str, str], set[str]] = {}
    for name, one in zip(names, kept, strict=True):
        places.setdefault((name, one.record.task, one.record.protocol), set()).add(one.run)
    several = {name for (name, _, _), where in places.items() if len(where) > 1}
    return [f"{name} ({one.run})" if name in several else name for name, one in zip(names, kept, strict=True)]


def _encoder_name(record: Record, repeated: bool, several: bool) -> str:
    digest = record.encoder.short_digest if repeated else ""
    function = record.encoder.function if several else ""
    return " ".join(part for part in (record.encoder.name, digest, function, record.arithmetic) if part)
