"""Records as a run of Weights & Biases: metrics in its history, the rest in its config."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ibench.errors import IbenchError
from ibench.exchange.tracking import origin, scores, tracker
from ibench.files import make_folder
from ibench.results import Record


def log(records: Sequence[Record], offline: Path | None) -> str:
    """One run of the records of an encoder; returns where it is.

    With ``offline``, a folder, nothing leaves the machine (`wandb sync` sends it later); else W&B's own settings hold,
    such as WANDB_MODE and WANDB_PROJECT. Raises IbenchError when the package or a login is missing.
    """
    wandb = tracker("wandb")
    where = {"dir": str(offline), "mode": "offline"} if offline else {}
    if offline:
        make_folder(offline)
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "ibench",
            name=records[0].encoder.name,
            job_type="evaluation",
            config={
                "encoder": records[0].encoder.model_dump(mode="json"),
                "records": {record.stem(): origin(record) for record in records},
            },
            tags=["not ranked"] if any(record.unranked for record in records) else [],
            settings=wandb.Settings(quiet=True),  # else every metric is printed again, as a diagram of one point
            **where,
        )
        run.log(scores(records))
        run.finish()
    except wandb.Error as error:
        raise IbenchError(f"W&B: {error}") from error
    return str(Path(run.dir).parent if run.offline else run.url)
