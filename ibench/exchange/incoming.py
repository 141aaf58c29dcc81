"""`ibench import`: results of other programs as published rows, each with its source."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ibench.errors import IbenchError
from ibench.exchange import clip_benchmark, lm_eval, mteb
from ibench.exchange.reading import Reading
from ibench.files import write_whole
from ibench.results import Published, published, published_in


@dataclass(frozen=True)
class Imported:
    """The rows that were written, and what was left out, and why."""

    rows: tuple[Published, ...]
    left_out: tuple[str, ...]


def import_results(files: Sequence[Path], source: str, model: str | None, out: Path) -> Imported:
    """Write the rows of result files to ``out/<task>.csv``: all of them, or none.

    ``source`` says where the numbers are from; ``model`` is who scored them, where the files do not say or say it
    otherwise. Raises IbenchError for a file of no known form, when no row is left, and for a row that is there already.
    """
    said = " ".join(source.split())
    if not said:
        raise IbenchError("--source: say where the numbers are from, such as a paper and its table, or an address")
    rows: list[Published] = []
    left_out: list[str] = []
    for file in files:
        reading = read(file)
        rows += _rows(reading, model or reading.model, file, said)
        left_out += [f"{file}: {why}" for why in reading.left_out]
    if not rows:
        raise IbenchError(f"no number for a task of ibench: {'; '.join(left_out) or 'empty files'}")
    _refuse_repeated(rows, [*published(), *published_in(out)])
    _write(rows, out)
    return Imported(tuple(rows), tuple(left_out))


def read(file: Path) -> Reading:
    """A result file of any of the three forms, told by its keys. Raises IbenchError for another."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # of text: no UTF-8, no JSON
        raise IbenchError(f"{file}: cannot be read as JSON ({getattr(error, 'strerror', None) or error})") from error
    keys = set(data) if isinstance(data, dict) else set()
    if {"task_name", "scores"} <= keys:
        reading = mteb.read(data, str(file))
        return Reading(_name_beside(file), reading.found, reading.left_out)
    if {"dataset", "metrics"} <= keys:
        return clip_benchmark.read(data, str(file))
    if "results" in keys:
        return lm_eval.read(data, str(file))
    raise IbenchError(
        f"{file}: no result of mteb (task_name, scores), CLIP_benchmark (dataset, metrics) or lm-eval (results)"
    )


def _name_beside(file: Path) -> str | None:
    """The model's name as mteb keeps it, in a file beside the results."""
    try:
        name = json.loads((file.parent / "model_meta.json").read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _rows(reading: Reading, model: str | None, file: Path, source: str) -> list[Published]:
    name = " ".join((model or "").split())
    if reading.found and not name:
        raise IbenchError(f"{file}: does not name its model; name it with --model")
    return [
        Published(one.task, name, one.protocol, one.metric, round(100 * one.value, 4), source) for one in reading.found
    ]


def _refuse_repeated(rows: Sequence[Published], known: Sequence[Published]) -> None:
    seen = {_place(row): row for row in known}
    for row in rows:
        other = seen.setdefault(_place(row), row)
        if other is not row:
            raise IbenchError(
                f"{row.task} has a {row.metric} of {row.model} by {row.protocol} already: {other.value:g} "
                f"({other.source}); remove that row, or tell the two apart with --model"
            )


def _place(row: Published) -> tuple[str, str, str, str]:
    return row.task, row.model, row.protocol, row.metric


def _write(rows: Sequence[Published], out: Path) -> None:
    """Append the rows to the files of their tasks; what a person wrote there stays as it is."""
    header = ",".join(field.name for field in fields(Published))
    for task in dict.fromkeys(row.task for row in rows):
        path = out / f"{task}.csv"
        before = path.read_text(encoding="utf-8").rstrip("\n") if path.exists() else header
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(astuple(row) for row in rows if row.task == task)
        write_whole(path, f"{before}\n{lines.getvalue()}")
