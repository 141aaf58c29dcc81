"""Two runs of one task, sample by sample: how the headline differs, which classes moved, which samples flipped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.errors import IbenchError
from ibench.results import Kept, Record
from ibench.scoring.outcomes import aligned, asked, outcome
from ibench.scoring.paired import Difference, difference, holm
from ibench.tasks import Kind, lower_is_better


@dataclass(frozen=True)
class Moved:
    """One class in two runs; ``p`` is adjusted for all classes of the task."""

    label: str
    difference: Difference
    p: float


def paired(first: Kept, second: Kept) -> Difference:
    """The second run's headline metric less the first's, sample by sample. Raises IbenchError where the rows of the
    samples are not kept, or are not those that the records were made of."""
    metric = first.record.headline
    own, other = _rows_of(first, second)
    most = math.inf if lower_is_better(metric) else 2.0 if metric == "gain" else 1.0  # ranks, -1 to 1, shares
    outcomes = outcome(metric, own), outcome(metric, other)
    found = difference(*outcomes, own["cluster"].to_list(), first.record.seed, most)
    for one, value in ((first, found.first), (second, found.second)):
        if not math.isclose(value, one.record.score.value, abs_tol=1e-6):
            raise IbenchError(
                f"{one.rows}: gives {metric} {value:.6g}, its record says {one.record.score.value:.6g}; "
                "one of the two is of another run: run the task again"
            )
    return found


def moved_classes(first: Kept, second: Kept) -> list[Moved]:
    """The classes of a classification with a sample that came out otherwise, those that moved most first."""
    own, other = _rows_of(first, second)
    right, now_right = own["correct"].to_numpy(), other["correct"].to_numpy()
    clusters = own["cluster"].to_numpy()
    found = {
        str(label): difference(right[at], now_right[at], clusters[at].tolist(), first.record.seed)
        for label, at in _places(own["gold"]).items()
    }
    adjusted = holm([one.p for one in found.values()])
    moved = [Moved(label, one, p) for (label, one), p in zip(found.items(), adjusted, strict=True) if one.changed]
    return sorted(moved, key=lambda one: (-abs(one.difference.value), one.label))


def flipped_samples(first: Kept, second: Kept) -> pd.DataFrame:
    """The samples that only one of two runs has right: id, gold, right or wrong ``now``, both predictions and, where
    samples have them, ranks.

    Right is what the headline metric counts, or what the rows call correct where it counts no hits.
    """
    own, other = _rows_of(first, second)
    before, after = (_hits(first.record.headline, rows) for rows in (own, other))
    at = np.flatnonzero(before != after)
    table = pd.DataFrame(
        {
            "id": own["id"].to_numpy()[at],
            "gold": own["gold"].to_numpy()[at],
            "now": np.where(after[at], "right", "wrong"),
            "prediction_before": own["prediction"].to_numpy()[at],
            "prediction_after": other["prediction"].to_numpy()[at],
        }
    )
    if "rank" in own:
        table = table.assign(rank_before=own["rank"].to_numpy()[at], rank_after=other["rank"].to_numpy()[at])
    return table.sort_values(["now", "gold", "id"], ascending=[False, True, True], ignore_index=True)


def has_hits(record: Record) -> bool:
    """Whether a task's samples are right or wrong; of several labels they are neither."""
    return record.kind != Kind.MULTILABEL


def _rows_of(first: Kept, second: Kept) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The per-sample rows behind the headline metric of both, sample by sample. Raises IbenchError where they are not
    kept, or of different samples."""
    metric = first.record.headline
    own, others = asked(metric, first.samples()), second.samples()
    try:
        return own, aligned(own, asked(metric, others))
    except IbenchError as error:
        raise IbenchError(f"{first.rows} and {second.rows}: {error}; run the task again") from error


def _hits(metric: str, rows: pd.DataFrame) -> NDArray[np.bool_]:
    made = outcome(metric, rows)
    return made if isinstance(made, np.ndarray) else rows["correct"].to_numpy()


def _places(labels: pd.Series[str]) -> dict[str, NDArray[np.intp]]:
    codes, names = pd.factorize(labels)
    return {name: np.flatnonzero(codes == code) for code, name in enumerate(names)}
