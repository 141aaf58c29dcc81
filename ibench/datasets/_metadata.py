"""Lists, tables and JSON that tell what a data set holds: read whole, within a size, with errors that name the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ibench.datasets import manifest
from ibench.errors import IbenchError

MAX_BYTES = 1 << 28
"""Refuse larger files: the largest metadata read here has a few megabytes."""


def text_of(file: Path) -> str:
    """A UTF-8 text file. Raises IbenchError when it is absent, cannot be read, is beyond MAX_BYTES or no UTF-8."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise IbenchError(
                f"{file}: {file.stat().st_size:,} bytes, the limit is {MAX_BYTES:,}; is it the right file?"
            )
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise IbenchError(f"{file}: {error.strerror}; unpack the data set's annotations there") from error
    except UnicodeDecodeError as error:
        raise IbenchError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from error


def lines_of(file: Path) -> list[str]:
    """The lines of a list without the empty ones. Raises IbenchError for a file that is absent or has none."""
    lines = [line.strip() for line in text_of(file).splitlines() if line.strip()]
    if not lines:
        raise IbenchError(f"{file}: empty; expected one entry a line")
    return lines


def json_of(file: Path) -> Any:
    """What a JSON file holds. Raises IbenchError when it is absent or no JSON."""
    try:
        return json.loads(text_of(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise IbenchError(f"{file}: not valid JSON ({error})") from error


def table_of(file: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a table, each with all ``columns`` filled. Raises IbenchError for the first that is not."""
    if not file.is_file():
        raise IbenchError(f"{file}: not found; unpack the data set's annotations there")
    rows = manifest.read_rows(file)
    for number, row in enumerate(rows, start=2):
        if absent := [column for column in columns if column not in row]:
            raise IbenchError(f"{file}:{number}: nothing in column {', '.join(absent)}; there is {', '.join(row)}")
    return rows
