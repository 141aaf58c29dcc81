"""`ibench export`: records on disk to what another program reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ibench.errors import IbenchError, did_you_mean
from ibench.files import write_whole
from ibench.results import Kept, Record, checkpoints


@dataclass(frozen=True)
class Exported:
    """What a command prints, and which records were left out, and why."""

    text: str
    left_out: tuple[str, ...] = ()


def export(kept: Sequence[Kept], to: str, out: Path | None) -> Exported:
    """Write records in a format of `FORMATS` to ``out``, or to where the format goes without one.

    Raises IbenchError for an unknown format, and when no record may be exported.
    """
    if to not in FORMATS:
        raise IbenchError(f"--to {to}: no such format; {did_you_mean(to, FORMATS)}")
    return FORMATS[to](kept, out)


def _model_index(kept: Sequence[Kept], out: Path | None) -> Exported:
    """A block on stdout, or in the front matter of the model card ``out``."""
    from ibench.exchange.model_index import block, into_card

    taken, left_out = _parted(kept, lambda record: None)
    records = [one.record for one in taken]
    names = checkpoints(records)
    if len(names) > 1:
        raise IbenchError(
            f"a model card is of one model, and these are records of {len(names)}: {', '.join(names)}; name one folder"
        )
    if out is None:
        return Exported(block(records), left_out)
    write_whole(out, into_card(_card_at(out), records))
    return Exported(str(out), left_out)


def _card_at(place: Path) -> str:
    """The text of a model card; empty where there is none yet."""
    try:
        return place.read_text(encoding="utf-8") if place.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise IbenchError(f"{place}: no model card, such as README.md ({error})") from error


def _mteb(kept: Sequence[Kept], out: Path | None) -> Exported:
    """Files in a folder as mteb keeps its results: ``<model>/<revision>/<task>.json``."""
    from ibench.exchange import mteb

    if out is None:
        raise IbenchError("--to mteb writes a file per task; name a folder for them with --out")
    taken, left_out = _parted(kept, mteb.why_not)
    files = [(out / mteb.folder(one.record), mteb.result(one.record, one.samples()), one.record) for one in taken]
    paths = [folder / f"{result['task_name']}.json" for folder, result, _ in files]
    if repeated := next((path for path in paths if paths.count(path) > 1), None):
        raise IbenchError(f"two records would be {repeated} (another --dtype?); name the record files to export")
    for path, (folder, result, record) in zip(paths, files, strict=True):
        write_whole(path, json.dumps(result, indent=2) + "\n")
        write_whole(folder / "model_meta.json", json.dumps(mteb.model_meta(record), indent=2) + "\n")
    return Exported("\n".join(map(str, paths)), left_out)


def _wandb(kept: Sequence[Kept], out: Path | None) -> Exported:
    from ibench.exchange.wandb import log

    return Exported("\n".join(log(records, out) for records in _by_encoder(kept)))


def _mlflow(kept: Sequence[Kept], out: Path | None) -> Exported:
    from ibench.exchange.mlflow import log

    return Exported("\n".join(log(records, out) for records in _by_encoder(kept)))


FORMATS: dict[str, Callable[[Sequence[Kept], Path | None], Exported]] = {
    "model-index": _model_index,
    "mteb": _mteb,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def _parted(kept: Sequence[Kept], why_not: Callable[[Record], str | None]) -> tuple[list[Kept], tuple[str, ...]]:
    """Records that may stand in public, and the reasons of the others. Raises IbenchError where there are only those.

    What no ranking takes is not published either: fake data, a part of the samples, a score that is none.
    """
    taken: list[Kept] = []
    left_out = []
    for one in kept:
        reasons = one.record.unranked or [why for why in [why_not(one.record)] if why]
        if reasons:
            left_out.append(
                f"{one.record.encoder.name} on {one.record.task} ({one.record.protocol}): {'; '.join(reasons)}"
            )
        else:
            taken.append(one)
    if not taken:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise IbenchError(f"nothing to export: {left_out[0]}{more}")
    return taken, tuple(left_out)


def _by_encoder(kept: Sequence[Kept]) -> list[list[Record]]:
    runs: dict[tuple[str, str | None], list[Record]] = {}
    for one in kept:
        runs.setdefault((one.record.encoder.name, one.record.encoder.checkpoint_sha256), []).append(one.record)
    return list(runs.values())
