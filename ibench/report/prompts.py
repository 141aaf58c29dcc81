"""A task with many prompt sets: for a terminal, and for programs."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from ibench.report.render import as_json
from ibench.report.tables import count, number, with_interval
from ibench.sensitivity import OfSet, Sensitivity


def prompt_table(found: Sensitivity) -> str:
    """The sets with their scores, the highest first, and how far apart they are."""
    record = found.own.record
    metric = record.headline
    ranked = sorted(found.sets, key=lambda one: -one.record.score.value)
    headers = ["prompts", "templates", f"{metric} [95%]", ""]
    rows = [
        [
            one.prompts.name,
            str(len(one.prompts.resolved())),
            with_interval(metric, one.record.score),
            ", ".join(_marks(found, one)),
        ]
        for one in ranked
    ]
    table = tabulate(
        rows, headers, tablefmt="simple", disable_numparse=True, colalign=("left", "right", "right", "left")
    )
    interval = (
        f" [{number(metric, found.spread.low)}, {number(metric, found.spread.high)}]" if found.spread.bounded else ""
    )
    protocol, _ = record.protocol_and_prompts
    return "\n".join(
        [
            f"{record.task}, protocol {protocol}, n = {count(record)}, chance {number(metric, record.chance)}",
            table,
            "",
            f"prompt sensitivity (the best less the worst, in points): {number(metric, found.spread.value)}{interval}",
            f"'{found.best.prompts.name}' is the best on the very samples that it was chosen on: an optimistic number",
        ]
    )


def prompt_json(found: Sensitivity) -> str:
    """The same, with the templates."""
    record = found.own.record
    return as_json(
        {
            "task": record.task,
            "protocol": record.protocol_and_prompts[0],
            "encoder": record.encoder.name,
            "metric": record.headline,
            "chance": record.chance,
            "n": record.n,
            "sets": [_told(found, one) for one in found.sets],
            "sensitivity": found.spread.model_dump(),
        }
    )


def _told(found: Sensitivity, one: OfSet) -> dict[str, Any]:
    return {
        "prompts": one.prompts.name,
        "source": one.prompts.source,
        "templates": list(one.prompts.resolved()),
        "record": one.record.protocol,
        "own": one is found.own,
        "best": one is found.best,
        **one.record.score.model_dump(),
    }


def _marks(found: Sensitivity, one: OfSet) -> list[str]:
    return ["the protocol's own"] * (one is found.own) + ["best"] * (one is found.best)
