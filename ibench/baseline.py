"""Runs as they lie on disk: folders of records, single records, and the baseline that a person has accepted.

A baseline is one JSON file, ``main.json``: the records whole, who accepted them is in git's history, why in ``note``.
The rows of their samples are beside it, in the folder ``main/``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from pyarrow.lib import ArrowException
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ibench.errors import IbenchError
from ibench.files import write_whole
from ibench.results import Kept, Record, checkpoints, record_files


class Baseline(BaseModel):
    """The records of one checkpoint that later ones are held to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    baseline_version: int = 1
    accepted: str
    note: str
    records: tuple[Record, ...] = Field(min_length=1)


def runs(place: Path) -> list[Kept]:
    """The records of a folder and below, of a record file or of a baseline, each with the rows of its samples.

    Raises IbenchError when there is none, or for a JSON file that is neither.
    """
    if not place.exists():
        raise IbenchError(f"{place}: no such file or folder; a run is a folder of records, a record or a baseline")
    return [kept for path in record_files(place) for kept in _of_file(path, str(place))]


def the_one(place: Path) -> list[Kept]:
    """The records of a place that holds one checkpoint's. Raises IbenchError where it holds several, or one twice."""
    found = runs(place)
    several = checkpoints(one.record for one in found)
    if len(several) > 1:
        raise IbenchError(
            f"{place}: records of {len(several)} checkpoints ({', '.join(several)}); name the folder of one"
        )
    cells = [(one.record.task, one.record.protocol) for one in found]
    twice = sorted({" ".join(cell) for cell in cells if cells.count(cell) > 1})
    if twice:
        raise IbenchError(f"{place}: several records of {', '.join(twice)} (another --dtype or --limit); keep one")
    return found


def accept(found: Sequence[Kept], path: Path, note: str) -> Baseline:
    """Write a baseline; what is measured as before stays as it is, so that a review sees only what moved.

    Raises IbenchError for records without the rows of their samples: nothing could be compared with them; and for a
    place where something else is, such as a record of a run.
    """
    if path.suffix != ".json":
        raise IbenchError(f"{path}: a baseline is a .json file, such as main.json")
    folder = path.with_suffix("")
    before = {_cell(one.record): one.record for one in _standing(path, folder)}
    records = []
    for one in found:
        old = before.get(_cell(one.record))
        if old is not None and old.measured() == one.record.measured() and _same_rows(_rows(folder, old), one.rows):
            records.append(old)
            continue
        if one.rows is None:
            raise IbenchError(f"{one.record.task}: no per-sample rows beside the record; a baseline needs them")
        if one.rows != _rows(folder, one.record):
            write_whole(_rows(folder, one.record), one.rows.read_bytes())
        records.append(one.record)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    baseline = Baseline(accepted=now, note=note, records=tuple(records))
    write_whole(path, baseline.model_dump_json(indent=1) + "\n")
    wanted = {_rows(folder, record) for record in records}
    for old in before.values():
        if _rows(folder, old) not in wanted:
            _rows(folder, old).unlink(missing_ok=True)
    return baseline


def _standing(path: Path, folder: Path) -> list[Kept]:
    """The baseline that is to be replaced, if there is one."""
    found = runs(path) if path.exists() else []
    if any(one.rows is not None and one.rows.parent != folder for one in found):
        raise IbenchError(f"{path}: is a record of a run, not a baseline; name another file")
    return found


def _of_file(path: Path, run: str) -> list[Kept]:
    try:
        text = path.read_text(encoding="utf-8")
        plain = json.loads(text)
        if isinstance(plain, dict) and "baseline_version" in plain:
            records = Baseline.model_validate_json(text).records
            places = [_rows(path.with_suffix(""), record) for record in records]
        else:
            records, places = (Record.model_validate_json(text),), [path.with_suffix(".parquet")]
    except OSError as error:
        raise IbenchError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValidationError, ValueError, RecursionError) as error:
        told = " ".join(str(error).splitlines()[:3])
        raise IbenchError(f"{path}: neither an ibench record nor a baseline ({told})") from error
    return [Kept(record, rows if rows.is_file() else None, run) for record, rows in zip(records, places, strict=True)]


def _cell(record: Record) -> tuple[str, str]:
    return record.task, record.protocol


def _same_rows(file: Path, other: Path | None) -> bool:
    """Whether a file has the rows of another, or any where there is no other; one that cannot be read has none."""
    from pyarrow import parquet

    try:
        rows = parquet.read_table(file)
        return other is None or bool(rows.equals(parquet.read_table(other)))
    except (OSError, ArrowException):
        return False


def _rows(folder: Path, record: Record) -> Path:
    return folder / f"{record.stem()}.parquet"
