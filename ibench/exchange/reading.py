"""What the readers of foreign results share: rows without a model and a source, and how a file is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ibench.errors import IbenchError

Form = TypeVar("Form", bound=BaseModel)


@dataclass(frozen=True)
class Found:
    """A number of a task, by a protocol and a metric, as ibench calls them; ``value`` is a fraction of 1."""

    task: str
    protocol: str
    metric: str
    value: float


@dataclass(frozen=True)
class Reading:
    """What a file holds: the model as the file calls it, if it does; numbers; and what was left out, and why."""

    model: str | None
    found: tuple[Found, ...]
    left_out: tuple[str, ...]


def parsed(data: object, form: type[Form], where: str, what: str) -> Form:
    """JSON data as a ``form``. Raises IbenchError that names the first key which does not fit."""
    try:
        return form.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise IbenchError(f"{where}: not {what}: {key}: {first['msg']}") from error


def fraction(value: object) -> float | None:
    """A score as a fraction of 1, None for what is none: text, not a number, percent."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 <= value <= 1 else None


def by_metric(
    scores: Mapping[str, object], metrics: Mapping[str, str], task: str, protocol: str
) -> tuple[list[Found], list[str]]:
    """The scores of a task that ``metrics`` (theirs → ibench's) knows, and what was left out of the others, and why."""
    found, left_out = [], []
    for theirs, ours in metrics.items():
        value = fraction(scores.get(theirs))
        if value is not None:
            found.append(Found(task, protocol, ours, value))
        elif theirs in scores:
            left_out.append(f"{theirs} is no fraction of 1 ({scores[theirs]})")
    if unknown := sorted(scores.keys() - metrics.keys()):
        left_out.append(f"ibench has no {first_few(unknown)}")
    return found, left_out


def first_few(names: Sequence[str], most: int = 5) -> str:
    """Names as a list that stays in its line."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
