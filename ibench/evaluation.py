"""One task on one encoder: what it needs embedded, and the record that its embeddings make."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import pandas as pd

from ibench.cells import Cell
from ibench.datasets import Item
from ibench.datasets.base import parts
from ibench.encoders import Card
from ibench.engine.encode import POOLING
from ibench.engine.plan import Job
from ibench.engine.store import Embeddings
from ibench.hashing import sha256_lines, sha256_text
from ibench.kinds import SCORE, composition
from ibench.kinds.bridge import add_bridge
from ibench.media import decoder_versions
from ibench.modalities import Modality
from ibench.results import EncoderIdentity, Record
from ibench.scoring.similarity import Vectors
from ibench.tasks import Kind, TaskSpec


@dataclass(frozen=True)
class Settings:
    """How a run was made, as it stands in the record. ``sweep`` is how many weights a composition is scored at."""

    device: str
    dtype: str
    batch_size: int | Mapping[Modality, int]
    seed: int
    compiled: bool = False
    sweep: int | None = None


def sample_jobs(cell: Cell, card: Card, settings: Settings) -> list[Job]:
    """The embedding jobs of a task's samples: for each modality that is not text one, and one of what is only trained
    on; what is embedded of a modality is what its jobs give, one after the other."""
    return [
        _sample_job(cell, modality, part, card, settings)
        for modality in cell.sample_modalities()
        for part in parts(cell.dataset.items[modality])
    ]


def text_job(cells: Sequence[Cell], card: Card, settings: Settings, held: Collection[str] = frozenset()) -> Job | None:
    """One job for the distinct texts of all tasks, shortest first, so that batches hold texts of like length.

    Texts whose digests are ``held`` have vectors already, and are left out.
    """
    texts = sorted({text for cell in cells for text in cell.all_texts()}, key=lambda text: (len(text), text))
    items = [
        item
        for item in (Item(text, partial(str, text), sha256_text(text)) for text in texts)
        if item.content not in held
    ]
    if not items:
        return None
    identity = _identity(card, Modality.TEXT, {}, settings, sha256_lines(item.id for item in items))
    more = f" ({len(texts) - len(items)} more are in the store)" if held else ""
    title = f"{len(items)} prompts and captions{more}"
    contents = () if card.by_id else tuple(str(item.content) for item in items)
    return Job(title, Modality.TEXT, {}, items, identity, inline=True, by_id=card.by_id, contents=contents)


def record_of(
    cell: Cell,
    card: Card,
    embeddings: Mapping[Modality, Embeddings],
    embedding_of: Mapping[str, Vectors],
    settings: Settings,
) -> tuple[Record, pd.DataFrame]:
    """Score a task from its embeddings: the record (timings to be filled in), and its per-sample rows."""
    spec, bridge = cell.spec, None
    unreadable = {
        id: reason for (modality, id), reason in cell.unreadable(embeddings).items() if modality is not cell.bridge
    }
    scored = SCORE[spec.kind](cell, embeddings, embedding_of, settings.seed)
    if cell.bridge is not None:
        scored, bridge = add_bridge(cell, scored, embeddings, embedding_of, settings.seed)
    if settings.sweep is not None and spec.kind is Kind.COMPOSITION:
        swept = composition.sweep(cell, embeddings, embedding_of, settings.seed, settings.sweep)
        scored = scored._replace(curves=(*scored.curves, swept))
    record = Record(
        encoder=EncoderIdentity(
            name=card.name,
            family=card.family,
            checkpoint_sha256=card.checkpoint_sha256,
            function=card.function,
            trained_pairs=card.trained_pairs,
            preprocessing=card.preprocessing,
            dim=next(iter(embeddings.values())).vectors.shape[1],
            licence=card.licence,
        ),
        task=spec.name,
        title=spec.title,
        task_version=spec.version,
        task_fingerprint=spec.fingerprint(cell.protocol),
        kind=spec.kind,
        protocol=cell.protocol_name,
        prompts=cell.prompts,
        texts_fingerprint=sha256_lines([text for prompts in cell.texts for text in prompts]) if cell.texts else None,
        query=spec.query,
        target=spec.target,
        fuse=spec.fuse,
        emergent=emergent(spec, card),
        headline=spec.headline,
        metrics=scored.metrics,
        curves=scored.curves,
        bridge=bridge,
        ties=scored.ties,
        chance=spec.chance if spec.chance is not None else scored.chance,
        n=scored.metrics[spec.headline].n,
        n_expected=spec.dataset.count,
        n_missing=len(cell.dataset.missing),
        n_unreadable=len(unreadable),
        unreadable=unreadable,
        limited=cell.limited,
        drawn=cell.drawn,
        fake=cell.dataset.fake,
        confusions=_confusions(scored.samples) if spec.kind is Kind.CLASSIFICATION else (),
        dataset_fingerprint=cell.own_dataset.fingerprint(),
        dataset_copy=cell.dataset.copy,
        dataset_licence=spec.dataset.licence,
        views={modality: dict(views) for modality, views in cell.protocol.views.items()},
        versions=_versions(cell),
        device=settings.device,
        dtype=settings.dtype,
        compiled=settings.compiled,
        batch_size=settings.batch_size if isinstance(settings.batch_size, int) else dict(settings.batch_size),
        seed=settings.seed,
        timings={},
        encoded_per_second=None,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    return record, scored.samples


def emergent(spec: TaskSpec, card: Card) -> bool:
    """Whether no part of the query was trained with any part of the target: one trained pair alone may give a composed
    score, and a modality is trained with itself."""
    query, target = spec.sides
    return all(one is not other and card.emergent(one, other) for one in query for other in target)


def _sample_job(cell: Cell, modality: Modality, part: slice, card: Card, settings: Settings) -> Job:
    items = cell.dataset.items[modality][part]
    views = cell.protocol.views.get(modality, {})
    # vectors had by id depend on nothing else: samples of the same bytes under other ids are others
    samples = [item.id for item in items] if card.by_id else cell.dataset.contents(modality)[part]
    identity = _identity(card, modality, views, settings, sha256_lines(samples))
    title = f"{cell.spec.name} {modality}{' for training' if part.start else ''}"
    return Job(title, modality, views, items, identity, by_id=card.by_id)


def _identity(
    card: Card, modality: Modality, views: Mapping[str, Any], settings: Settings, samples: str
) -> dict[str, Any]:
    """All that can move a bit of an embedding: samples, weights and the function that made an encoder of them, front
    end, views, dtype, device, libraries."""
    return {
        "samples": samples,
        "checkpoint": card.checkpoint_sha256,
        "encoder": f"{card.family}/{card.name}",
        **({"function": card.function} if card.function else {}),
        "modality": modality,
        "preprocessing": card.preprocessing.get(modality, ""),
        "views": dict(views),
        "pooling": POOLING,
        "dtype": settings.dtype,
        "compiled": settings.compiled,
        "device": re.sub(r":\d+", "", settings.device),  # which of several equal devices does not matter
        "versions": versions_behind(modality),
    }


def versions_behind(modality: Modality) -> dict[str, str]:
    """The libraries whose versions can move a bit of an embedding of a modality, as installed here."""
    return {**decoder_versions(modality), **{name: _version(name) for name in ("torch", "ibench-eval")}}


def _confusions(samples: pd.DataFrame, most: int = 10) -> tuple[tuple[str, str, int], ...]:
    wrong = samples.loc[~samples["correct"], ["gold", "prediction"]]
    counts = Counter(zip(wrong["gold"], wrong["prediction"], strict=True))
    ranked = sorted(((gold, said, times) for (gold, said), times in counts.items()), key=lambda row: (-row[2], row))
    return tuple(ranked[:most])


def _versions(cell: Cell) -> dict[str, str]:
    decoders = {name: number for modality in cell.dataset.items for name, number in decoder_versions(modality).items()}
    packages = ["ibench-eval", "torch", "open_clip_torch", "transformers", "numpy", "scipy"]
    packages += ["scikit-learn"] if cell.spec.kind is Kind.FEWSHOT else []
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}, **decoders}


@cache
def _version(package: str) -> str:
    """Read once: the metadata of a package takes milliseconds to parse, and every record names six of them."""
    return version(package)
