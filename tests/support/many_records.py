"""Made-up records in any number, for pages that have to bear many; run as a script, it writes them to a folder."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ibench.modalities import Modality
from ibench.results import EncoderIdentity, Record
from ibench.scoring.intervals import Metric
from ibench.tasks import MATCHING, TaskSpec, load_task, task_files

_FAMILIES = ("imagebind", "open_clip", "languagebind", "laion_clap", "transformers")


def record(
    task: str | TaskSpec,
    encoder: str,
    score: float,
    *,
    family: str = "open_clip",
    emergent: bool = False,
    rate: float | None = 100.0,
    **changes: object,
) -> Record:
    """A record of a bundled task with a headline score and Wilson's interval about it; the rest is made up."""
    spec = load_task(task) if isinstance(task, str) else task
    n = spec.dataset.count or 2000
    chance = 0.01 if spec.kind in MATCHING else 1 / (spec.dataset.classes or len(spec.labels or ()) or 20)
    metric = Metric(value=score, **_wilson(score, n), n=n, method="Wilson")
    second = "recall@5" if spec.kind in MATCHING else "top5"
    made = Record(
        encoder=EncoderIdentity(
            name=encoder,
            family=family,
            checkpoint_sha256=hashlib.sha256(encoder.encode("utf-8", "surrogatepass")).hexdigest(),
            trained_pairs=((Modality.IMAGE, Modality.TEXT),),
            preprocessing={},
            dim=512,
            licence="Apache-2.0",
        ),
        task=spec.name,
        title=spec.title,
        task_version=spec.version,
        task_fingerprint="f" * 64,
        kind=spec.kind,
        protocol=next(iter(spec.protocols)),
        prompts=None,
        texts_fingerprint=None,
        query=spec.query,
        target=spec.target,
        fuse=spec.fuse,
        emergent=emergent,
        headline=spec.headline,
        metrics={spec.headline: metric, second: metric},
        ties="",
        chance=chance,
        n=n,
        n_expected=spec.dataset.count,
        n_missing=0,
        n_unreadable=0,
        limited=None,
        fake=False,
        dataset_fingerprint=hashlib.sha256(spec.name.encode()).hexdigest(),
        dataset_copy="made up",
        dataset_licence=spec.dataset.licence,
        views={},
        versions={"python": "3.11.7", "torch": "2.12.1", "ibench-eval": "0.1.0"},
        device="cpu",
        dtype="fp32",
        batch_size=64,
        seed=0,
        timings={},
        encoded_per_second=rate,
        created="2026-11-24T19:52:01+00:00",
    )
    return made.model_copy(update=changes)


def _wilson(share: float, n: int, z: float = 1.959964) -> dict[str, float]:
    middle, half = share + z * z / (2 * n), z * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return {"low": (middle - half) / (1 + z * z / n), "high": (middle + half) / (1 + z * z / n)}


def many(encoders: int, tasks: Sequence[str] | None = None, seed: int = 0) -> list[Record]:
    """Encoders of several families on tasks (all by default): better ones are better throughout, some lack a few."""
    rng = np.random.default_rng(seed)
    specs = [load_task(name) for name in (tasks or task_files())]
    records = []
    for number in range(encoders):
        family = _FAMILIES[number % len(_FAMILIES)]
        skill, rate = rng.uniform(0.3, 0.9), float(10 ** rng.uniform(1, 3))
        for spec in specs:
            emergent = family == "imagebind" and Modality.IMAGE not in (spec.query, spec.target)
            score = float(np.clip(skill * rng.uniform(0.6, 1.05) - 0.2 * emergent, 0.02, 0.995))
            score = round(score, 4)
            records.append(record(spec, f"{family}-{number:03d}", score, family=family, emergent=emergent, rate=rate))
    return records


def training(epochs: int, task: str = "esc50", run: str = "two-towers", best: float = 0.9) -> list[Record]:
    """The checkpoints of one run: a score that rises and settles."""
    return [
        record(task, f"{run} epoch_{epoch}", round(best * (1 - np.exp(-epoch / 5)), 4), family="factory", emergent=True)
        for epoch in range(1, epochs + 1)
    ]


if __name__ == "__main__":
    from ibench.report.leaderboard import write

    made = [*many(int(sys.argv[2])), *training(20), *training(20, "nyu_depth")]
    made += training(20, run="one-tower", best=0.7)
    made += [record("esc50", "half a run", 0.5, n=900), record("esc50", "noise", 0.02, fake=True)]
    print(*write(made, Path(sys.argv[1])), sep="\n")
