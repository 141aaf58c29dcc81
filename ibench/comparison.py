"""Records side by side: only what was measured on the same samples in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ibench.errors import IbenchError
from ibench.results import Record

_SAME = {
    "task_version": "task version",
    "task_fingerprint": "task definition",
    "texts_fingerprint": "prompts or class names",
    "dataset_fingerprint": "samples",
    "limited": "--limit",
    "unreadable": "unreadable samples",
}
"""What must be equal for two records of one task and protocol to be compared, and what it is called."""


@dataclass(frozen=True)
class Row:
    """One task and protocol across encoders: column name → record."""

    task: str
    protocol: str
    records: Mapping[str, Record]

    @property
    def any(self) -> Record:
        """One of the records, for what they share: modalities, metric, chance."""
        return next(iter(self.records.values()))


@dataclass(frozen=True)
class Comparison:
    """Encoders as columns, the first is the reference; tasks as rows."""

    encoders: tuple[str, ...]
    rows: tuple[Row, ...]


def comparison(records: Sequence[Record]) -> Comparison:
    """Records by encoder and task, in the order they come. Raises IbenchError for records that do not compare."""
    columns = _column_names(records)
    rows: dict[tuple[str, str], dict[str, Record]] = {}
    for record, column in zip(records, columns, strict=True):
        row = rows.setdefault((record.task, record.protocol), {})
        for other in row.values():
            _refuse_unlike(record, other)
        row[column] = record
    return Comparison(
        tuple(dict.fromkeys(columns)), tuple(Row(task, protocol, row) for (task, protocol), row in rows.items())
    )


def unlike(record: Record, other: Record) -> list[str]:
    """What keeps two records of one task and protocol from being compared."""
    return [name for field, name in _SAME.items() if getattr(record, field) != getattr(other, field)]


def _refuse_unlike(record: Record, other: Record) -> None:
    if differing := unlike(record, other):
        raise IbenchError(
            f"{record.task} ({record.protocol}): {record.encoder.name} and {other.encoder.name} differ in "
            f"{', '.join(differing)} (n {record.n} and {other.n}); run both on the same data with the same ibench"
        )


def _column_names(records: Sequence[Record]) -> list[str]:
    """Encoder names, with what tells two columns apart: the digest where names repeat, and a lower precision."""
    digests: dict[str, set[str | None]] = {}
    for record in records:
        digests.setdefault(record.encoder.name, set()).add(record.encoder.checkpoint_sha256)
    return [_column_name(record, len(digests[record.encoder.name]) > 1) for record in records]


def _column_name(record: Record, repeated: bool) -> str:
    digest = (record.encoder.checkpoint_sha256 or "unhashed")[:8] if repeated else ""
    return " ".join(part for part in (record.encoder.name, digest, record.arithmetic) if part)
