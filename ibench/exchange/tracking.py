"""What the experiment trackers are told of records: the same numbers and the same origin, whatever the tracker."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ibench.errors import IbenchError
from ibench.results import Record


def scores(records: Sequence[Record]) -> dict[str, float]:
    """Every metric of every record, with its interval: ``esc50.clap/top1``, ``esc50.clap/top1_low``, ``…_high``.

    Fractions of 1, and ranks as they are. What stands before the slash tells a ``--limit`` and a precision too.
    """
    told: dict[str, float] = {}
    for record in records:
        for name, metric in record.metrics.items():
            key = f"{record.stem()}/{name}"
            told |= {key: metric.value, f"{key}_low": metric.low, f"{key}_high": metric.high}
    return told


def origin(record: Record) -> dict[str, Any]:
    """All else that a record says, but for lists of samples and the encoder, which all records of a run share.

    ``not_ranked`` says why the numbers may stand in no ranking: fake data, a limited or a partial run.
    """
    aside = {"encoder", "metrics", "unreadable", "confusions"}
    return {**record.model_dump(mode="json", exclude=aside), "not_ranked": record.unranked}


def tracker(name: str) -> Any:
    """The package of a tracker. Raises IbenchError that says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise IbenchError(f"--to {name} needs the package {name}: pip install 'ibench-eval[{name}]'") from error
