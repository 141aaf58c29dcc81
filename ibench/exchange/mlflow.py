"""Records as a run of MLflow: metrics, the encoder as parameters, the records whole as artifacts."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ibench.errors import IbenchError
from ibench.exchange.tracking import scores, tracker
from ibench.files import make_folder
from ibench.results import Record


def log(records: Sequence[Record], offline: Path | None) -> str:
    """One run of the records of an encoder; returns where it is.

    With ``offline``, a folder, the run is written there, into a SQLite file; else MLflow's own settings hold, such as
    MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME. Raises IbenchError when the package is missing or the server
    refuses.
    """
    mlflow = tracker("mlflow")
    encoder = records[0].encoder
    try:
        _choose_experiment(mlflow, os.environ.get("MLFLOW_EXPERIMENT_NAME") or "ibench", offline)
        with mlflow.start_run(run_name=encoder.name) as run:
            mlflow.log_params(encoder.model_dump(mode="json", exclude={"trained_pairs", "preprocessing"}))
            for record in records:
                mlflow.log_metrics({_allowed(key): value for key, value in scores([record]).items()})
                mlflow.log_dict(record.model_dump(mode="json"), f"records/{record.stem()}.json")
                if record.unranked:
                    mlflow.set_tag(f"not_ranked.{_allowed(record.stem())}", "; ".join(record.unranked))
    except mlflow.exceptions.MlflowException as error:
        raise IbenchError(f"MLflow: {error}") from error
    return f"run {run.info.run_id} in {mlflow.get_tracking_uri()}"


def _choose_experiment(mlflow: Any, name: str, offline: Path | None) -> None:
    if offline is not None:
        folder = offline.absolute()
        make_folder(folder)
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        if mlflow.get_experiment_by_name(name) is None:  # else artifacts would go to the working directory
            mlflow.create_experiment(name, artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment(name)


def _allowed(key: str) -> str:
    """A key in the letters that MLflow takes, ``recall@5`` as its own metrics are named: ``recall_at_5``."""
    return re.sub(r"[^\w./ -]", "_", key.replace("@", "_at_"))
