"""A checkpoint held to a baseline: from a run that is there, or from one made as the baseline's was."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibench.baseline import the_one
from ibench.errors import IbenchError, LacksModality, NotFinite
from ibench.gate import Cell, Gate, Policy, judge, refuse_unknown
from ibench.results import Kept, Record, folder_of
from ibench.tasks import load_task
from ibench.yamlfile import read_yaml

if TYPE_CHECKING:
    from ibench.encoders import Encoder


def check(
    baseline: str | Path,
    *,
    run: str | Path | None = None,
    encoder: str | Path | Encoder | None = None,
    tasks: Sequence[str | Path] = (),
    policy: str | Path | Policy | None = None,
    exact: bool = False,
    out: str | Path = "results",
    **options: Any,
) -> Gate:
    """Whether a run, or an encoder that is run first, is worse than a baseline; see `ibench.gate.judge`.

    ``baseline`` and ``run`` are a baseline file, a folder of records or a record; ``encoder`` is what `evaluate` takes,
    and is run on the baseline's tasks with its protocols, prompts, limits, precision and seed. ``tasks`` are YAML files
    of tasks of one's own, which a baseline only knows by name. ``policy`` is a Policy or its YAML file. ``options`` are
    `evaluate`'s for where things are and how fast. Raises IbenchError for bad input.
    """
    if (run is None) == (encoder is None):
        raise IbenchError("give either a run or a checkpoint to run (--run or --ckpt)")
    accepted = the_one(Path(baseline))
    limits = policy if isinstance(policy, Policy) else read_yaml(Path(policy), Policy) if policy else Policy()
    refuse_unknown(limits, accepted)  # now, not when all is encoded
    if encoder is None:
        return judge(accepted, the_one(Path(str(run))), limits, {}, exact)
    kept, broken = _run_as(accepted, encoder, tasks, Path(out), options)
    return judge(accepted, kept, limits, broken, exact)


def _run_as(
    accepted: Sequence[Kept],
    encoder: str | Path | Encoder,
    files: Sequence[str | Path],
    out: Path,
    options: dict[str, Any],
) -> tuple[list[Kept], dict[Cell, str]]:
    """Runs of the baseline's tasks as they were run then, and what the encoder broke: task and protocol → how."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for one in accepted:
        groups.setdefault(_how(one.record), []).append(one.record)
    kept: list[Kept] = []
    broken: dict[Cell, str] = {}
    for how, records in groups.items():
        asked = dict(zip(("protocol", "prompts", "limit", "drawn", "dtype", "compile", "seed"), how, strict=True))
        # what is unreadable is the gate's to judge
        common = {**options, **asked, "out": out, "max_unreadable": sys.maxsize}
        found, refused = _evaluated(encoder, [(record, _source(record.task, files)) for record in records], common)
        kept += [Kept(record, folder_of(record, out) / f"{record.stem()}.parquet") for record in found]
        broken |= refused
    return kept, broken


def _evaluated(
    encoder: str | Path | Encoder, wanted: Sequence[tuple[Record, str | Path]], options: dict[str, Any]
) -> tuple[list[Record], dict[Cell, str]]:
    """All tasks at once; where the encoder cannot do one, or gives NaN, one by one: others keep their score."""
    from ibench.api import evaluate  # torch is for those who run something

    try:
        return evaluate(encoder, [task for _, task in wanted], **options), {}
    except (NotFinite, LacksModality) as error:
        if len(wanted) == 1:
            return [], {(wanted[0][0].task, wanted[0][0].protocol): str(error)}
    parts = [_evaluated(encoder, [one], options) for one in wanted]
    return [record for records, _ in parts for record in records], {
        cell: why for _, broken in parts for cell, why in broken.items()
    }


def _how(record: Record) -> tuple[Any, ...]:
    """How a task was run, in the order of `evaluate`'s arguments above; hashable, to group by."""
    return *record.protocol_and_prompts, record.limited, record.drawn, record.dtype, record.compiled, record.seed


def _source(task: str, files: Sequence[str | Path]) -> str | Path:
    """The YAML file of a task if one was given for it, else its name."""
    return next((file for file in files if load_task(file).name == task), task)
