"""Which records may stand in a ranking, side by side, and why the others may not."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

from ibench.comparison import encoder_names, unlike
from ibench.modalities import Modality
from ibench.results import Record
from ibench.tasks import load_task, lower_is_better, task_files


@dataclass(frozen=True)
class Column:
    """A task by a protocol: encoder → record, all on the same samples, prompts and task version.

    ``principal`` is the one column of its task that means are taken over.
    """

    task: str
    protocol: str
    records: Mapping[str, Record]
    principal: bool

    @property
    def any(self) -> Record:
        """One of the records, for what they share."""
        return next(iter(self.records.values()))

    @property
    def lower_is_better(self) -> bool:
        return lower_is_better(self.any.headline)

    @cached_property
    def best(self) -> float:
        values = [record.score.value for record in self.records.values()]
        return min(values) if self.lower_is_better else max(values)


@dataclass(frozen=True)
class Standing:
    """Encoders and the columns they are ranked in, and the records that are not ranked with the reason."""

    columns: tuple[Column, ...]
    left_out: tuple[tuple[Record, str], ...]

    @cached_property
    def encoders(self) -> list[str]:
        """Who stands in any column: those with a mean first, best first; the others by name."""
        names = dict.fromkeys(name for column in self.columns for name in column.records)
        means = {name: self.mean(name) for name in names}
        return sorted(names, key=lambda name: (means[name] is None, -(means[name] or 0.0), _natural(name)))

    def mean(self, encoder: str) -> float | None:
        """The mean headline score over all tasks; None unless the encoder has every one, or where one is a rank."""
        columns = [column for column in self.columns if column.principal]
        if any(column.lower_is_better or encoder not in column.records for column in columns):
            return None
        return math.fsum(column.records[encoder].score.value for column in columns) / len(columns) if columns else None

    def of(self, tasks: Sequence[str]) -> Standing:
        """The part of it that is about some tasks, in their order."""
        columns = sorted(
            (column for column in self.columns if column.task in tasks), key=lambda one: tasks.index(one.task)
        )
        return replace(
            self,
            columns=tuple(columns),
            left_out=tuple((record, why) for record, why in self.left_out if record.task in tasks),
        )


def standing(records: Sequence[Record]) -> Standing:
    """Rank what may be ranked: whole runs on real data, and of each task those that can be compared.

    Where records of a task cannot be compared, the newest task version is ranked, and of that what most share.
    """
    left_out = [(record, ", ".join(record.unranked)) for record in records if record.unranked]
    names = dict(zip(map(id, records), encoder_names(records), strict=True))
    columns = []
    for group in _by_task([record for record in records if not record.unranked]):
        ranked, others = _comparable(group)
        newest = _newest(ranked, names)
        columns.append(newest)
        older = [(record, newest[names[id(record)]]) for record in ranked if record is not newest[names[id(record)]]]
        left_out += [(old, "measured again since") for old, new in older if old.measured() != new.measured()]
        differing = [(other, ", ".join(unlike(other, ranked[0]))) for other in others]
        left_out += [(other, f"differs from the ranked runs in {what}") for other, what in differing]
    return Standing(_columns(columns), tuple(left_out))


def modalities(record: Record) -> list[Modality]:
    """What a record is about: its modalities other than text, which nearly all have."""
    return [one for one in dict.fromkeys((record.query, record.target, *record.fuse)) if one is not Modality.TEXT]


def _natural(name: str) -> list[tuple[float, str]]:
    """Sorts epoch_2 before epoch_10."""
    return [(float(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _columns(groups: Iterable[dict[str, Record]]) -> tuple[Column, ...]:
    """By subject, then by task; the principal one of a task is its default protocol, else what most have run."""
    columns = [
        Column(record.task, record.protocol, records, False)
        for records in groups
        for record in [next(iter(records.values()))]
    ]
    principal: dict[str, Column] = {}
    for column in columns:
        rival = principal.setdefault(column.task, column)
        if (_is_default(column), len(column.records)) > (_is_default(rival), len(rival.records)):
            principal[column.task] = column
    marked = [replace(column, principal=principal[column.task] is column) for column in columns]
    return tuple(sorted(marked, key=lambda column: (_subject(column.any), column.task, column.protocol)))


def _subject(record: Record) -> int:
    return min(list(Modality).index(modality) for modality in modalities(record))


def _is_default(column: Column) -> bool:
    return column.protocol == _default_protocol(column.task)


@cache
def _default_protocol(task: str) -> str | None:
    return load_task(task).protocol(None)[0] if task in task_files() else None


def _by_task(records: Iterable[Record]) -> Iterable[list[Record]]:
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.task, record.protocol), []).append(record)
    return groups.values()


def _newest(records: Sequence[Record], names: Mapping[int, str]) -> dict[str, Record]:
    """The newest record of each encoder, in the order they come."""
    newest: dict[str, Record] = {}
    for record in records:
        rival = newest.setdefault(names[id(record)], record)
        if record.created > rival.created:
            newest[names[id(record)]] = record
    return newest


def _comparable(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Those that are ranked together, and the others."""
    groups: list[list[Record]] = []
    for record in records:
        like = next((group for group in groups if not unlike(record, group[0])), None)
        if like is None:
            groups.append([record])
        else:
            like.append(record)
    ranked = max(groups, key=lambda group: (group[0].task_version, len(group)))
    return ranked, [record for group in groups if group is not ranked for record in group]
