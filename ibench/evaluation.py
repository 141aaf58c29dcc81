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

import numpy as np
import pandas as pd

from ibench.datasets import Dataset, Item, labels_of
from ibench.encoders import Card
from ibench.engine.encode import POOLING
from ibench.engine.plan import Job
from ibench.engine.store import Embeddings
from ibench.errors import IbenchError, did_you_mean
from ibench.hashing import sha256_lines, sha256_text
from ibench.media import decoder_versions
from ibench.modalities import Modality
from ibench.prompts import fill, load_prompts
from ibench.results import EncoderIdentity, Record
from ibench.scoring import classification, multilabel, retrieval
from ibench.scoring.classifier import class_embeddings
from ibench.scoring.fusion import shared_rows, weighted_sum
from ibench.scoring.intervals import Metric
from ibench.scoring.similarity import Vectors
from ibench.tasks import Kind, Protocol, TaskSpec


@dataclass(frozen=True)
class Cell:
    """A task bound to its samples, a protocol and the class names' texts.

    ``classes`` are the labels in order, ``names`` the distinct class names, ``names_of[c]`` the rows of ``names``
    that class c goes by, ``texts[i]`` the prompts of name i. All empty for retrieval.
    """

    spec: TaskSpec
    dataset: Dataset
    protocol_name: str
    protocol: Protocol
    prompts: str | None
    classes: tuple[str, ...]
    names_of: tuple[tuple[int, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    limited: int | None

    def sample_modalities(self) -> list[Modality]:
        """The modalities whose samples are embedded by a job of this task's own (texts share one job)."""
        return [modality for modality in self.dataset.items if modality is not Modality.TEXT]

    def all_texts(self) -> list[str]:
        """Prompts and captions: every text this task needs embedded."""
        captions = [item.decode() for item in self.dataset.items.get(Modality.TEXT, ())]
        return [text for prompts in self.texts for text in prompts] + captions


@dataclass(frozen=True)
class Settings:
    """How a run was made, as it stands in the record."""

    device: str
    dtype: str
    batch_size: int | Mapping[Modality, int]
    seed: int
    compiled: bool = False


def bind(spec: TaskSpec, dataset: Dataset, protocol: str | None, prompts: str | None, limit: int | None) -> Cell:
    """A task with its samples and texts. Raises IbenchError for labels in the data that the task does not list."""
    name, chosen = spec.protocol(protocol)
    _refuse_absent(spec, dataset)
    limited = limit if limit is not None and any(len(items) > limit for items in dataset.items.values()) else None
    if limited is not None:
        dataset = dataset.limited(limited)
    if spec.kind is Kind.RETRIEVAL:
        return Cell(spec, dataset, name, chosen, None, (), (), (), limited)
    labels = _renamed(spec, name, chosen, labels_of(spec, dataset))
    names = list(dict.fromkeys(_written(one, chosen) for several in labels.values() for one in several))
    prompt_set = load_prompts(prompts) if prompts else load_prompts(str(chosen.prompts), spec.folder)
    templates = prompt_set.resolved()
    return Cell(
        spec,
        dataset,
        name if prompts is None else f"{name}+{prompt_set.name}",
        chosen,
        prompt_set.name,
        tuple(labels),
        tuple(tuple(names.index(_written(one, chosen)) for one in several) for several in labels.values()),
        tuple(tuple(fill(templates, one)) for one in names),
        limited,
    )


def sample_jobs(cell: Cell, card: Card, settings: Settings) -> list[Job]:
    """The embedding jobs of a task's samples, one for each modality that is not text."""
    return [_sample_job(cell, modality, card, settings) for modality in cell.sample_modalities()]


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
    spec = cell.spec
    unreadable = {
        cell.dataset.items[modality][position].id: reason
        for modality, part in embeddings.items()
        for position, reason in part.unreadable.items()
    }
    metrics, samples, chance, ties = _SCORE[spec.kind](cell, embeddings, embedding_of, settings.seed)
    record = Record(
        encoder=EncoderIdentity(
            name=card.name,
            family=card.family,
            checkpoint_sha256=card.checkpoint_sha256,
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
        emergent=_emergent(spec, card),
        headline=spec.headline,
        metrics=metrics,
        ties=ties,
        chance=spec.chance if spec.chance is not None else chance,
        n=metrics[spec.headline].n,
        n_expected=spec.dataset.count,
        n_missing=len(cell.dataset.missing),
        n_unreadable=len(unreadable),
        unreadable=unreadable,
        limited=cell.limited,
        fake=cell.dataset.fake,
        confusions=_confusions(samples) if spec.kind is Kind.CLASSIFICATION else (),
        dataset_fingerprint=cell.dataset.fingerprint(),
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
    return record, samples


def _emergent(spec: TaskSpec, card: Card) -> bool:
    """Whether no part of the query was trained with any part of the target: one trained pair alone may give a fused
    score."""
    return all(card.emergent(one, other) for one in spec.parts(spec.query) for other in spec.parts(spec.target))


def _refuse_absent(spec: TaskSpec, dataset: Dataset) -> None:
    for modality in spec.sample_modalities:
        if modality not in dataset.items:
            raise IbenchError(
                f"{spec.name}: reader '{spec.dataset.reader}' reads {', '.join(dataset.items)} for this task, "
                f"and no {modality}; use one that reads both, such as 'manifest'"
            )
        if not dataset.items[modality]:
            raise IbenchError(
                f"{spec.name}: this copy holds no sample to read (missing: {len(dataset.missing)}); "
                f"`ibench data check {spec.name}` says which"
            )


def _renamed(
    spec: TaskSpec, name: str, protocol: Protocol, labels: Mapping[str, tuple[str, ...]]
) -> Mapping[str, tuple[str, ...]]:
    """The labels with the names a protocol gives them. Raises IbenchError for a label that is none of them."""
    for label in protocol.names:
        if label not in labels:
            raise IbenchError(
                f"{spec.name}: protocol '{name}' names '{label}', which is no label of the task; "
                f"{did_you_mean(label, labels)}"
            )
    return {**labels, **protocol.names}


def _written(name: str, protocol: Protocol) -> str:
    return name.replace("_", " ") if protocol.underscores == "spaces" else name


def _sample_job(cell: Cell, modality: Modality, card: Card, settings: Settings) -> Job:
    items = cell.dataset.items[modality]
    views = cell.protocol.views.get(modality, {})
    # vectors had by id depend on nothing else: samples of the same bytes under other ids are others
    samples = [item.id for item in items] if card.by_id else cell.dataset.contents(modality)
    identity = _identity(card, modality, views, settings, sha256_lines(samples))
    return Job(f"{cell.spec.name} {modality}", modality, views, items, identity, by_id=card.by_id)


def _identity(
    card: Card, modality: Modality, views: Mapping[str, Any], settings: Settings, samples: str
) -> dict[str, Any]:
    """All that can move a bit of an embedding: samples, weights, front end, views, dtype, device, libraries."""
    return {
        "samples": samples,
        "checkpoint": card.checkpoint_sha256,
        "encoder": f"{card.family}/{card.name}",
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


def _score_classification(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
) -> tuple[dict[str, Metric], pd.DataFrame, float, str]:
    queries, items = _readable(cell, cell.spec.query, embeddings)
    index = {label: position for position, label in enumerate(cell.classes)}
    metrics, samples = classification.score(
        queries,
        class_embeddings(cell.texts, embedding_of),
        cell.names_of,
        np.array([index[item.labels[0]] for item in items], dtype=np.intp),
        cell.classes,
        [item.id for item in items],
        [item.cluster for item in items],
        seed,
    )
    return metrics, samples, 1 / len(cell.classes), classification.TIES


def _score_multilabel(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
) -> tuple[dict[str, Metric], pd.DataFrame, float, str]:
    queries, items = _readable(cell, cell.spec.query, embeddings)
    index = {label: position for position, label in enumerate(cell.classes)}
    gold = [[index[label] for label in item.labels] for item in items]
    metrics, samples = multilabel.score(
        queries,
        class_embeddings(cell.texts, embedding_of),
        cell.names_of,
        gold,
        cell.classes,
        [item.id for item in items],
        [item.cluster for item in items],
        seed,
    )
    return metrics, samples, multilabel.chance(gold, len(cell.classes)), multilabel.TIES


def _score_retrieval(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
) -> tuple[dict[str, Metric], pd.DataFrame, float, str]:
    spec = cell.spec
    sides = {side: _side(cell, side, embeddings, embedding_of) for side in (spec.query, spec.target)}
    metrics: dict[str, Metric] = {}
    tables = []
    for prefix, source, target in (("", spec.query, spec.target), ("reverse_", spec.target, spec.query)):
        (queries, asked), (gallery, offered) = sides[source], sides[target]
        found, samples = retrieval.score(
            queries,
            gallery,
            [item.group for item in asked],
            [item.group for item in offered],
            [item.id for item in asked],
            [item.id for item in offered],
            [item.cluster for item in asked],
            seed,
        )
        metrics |= {prefix + name: metric for name, metric in found.items()}
        tables.append(samples.assign(direction=f"{source}→{target}", gallery=len(offered)))
    forward = tables[1 if spec.headline.startswith("reverse_") else 0]
    chance = retrieval.chance(spec.headline.removeprefix("reverse_"), forward)
    return metrics, pd.concat(tables, ignore_index=True), chance, retrieval.TIES


_SCORE = {
    Kind.CLASSIFICATION: _score_classification,
    Kind.MULTILABEL: _score_multilabel,
    Kind.RETRIEVAL: _score_retrieval,
}


def _side(
    cell: Cell, side: Modality, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors]
) -> tuple[Vectors, list[Item]]:
    """The vectors and items of a retrieval's query or target: texts, readable samples, or what is fused of samples."""
    if side is Modality.TEXT:
        texts = list(cell.dataset.items[side])
        return np.stack([embedding_of[item.decode()] for item in texts]), texts
    parts = cell.spec.parts(side)
    if len(parts) == 1:
        return _readable(cell, side, embeddings)
    readable = {part: _readable(cell, part, embeddings) for part in parts}
    rows = shared_rows([[item.id for item in items] for _, items in readable.values()])
    if not rows:
        raise IbenchError(f"{cell.spec.name}: no sample has {' and '.join(parts)}; the parts of one need the same id")
    vectors = [vectors[[of[part] for of in rows]] for part, (vectors, _) in enumerate(readable.values())]
    items = readable[side][1]
    return weighted_sum(vectors, list(parts.values())), [items[first] for first, *_ in rows]


def _readable(cell: Cell, modality: Modality, embeddings: Mapping[Modality, Embeddings]) -> tuple[Vectors, list[Item]]:
    """The vectors and items of a modality without those that could not be read."""
    part = embeddings[modality]
    kept = [position for position in range(len(part.vectors)) if position not in part.unreadable]
    if not kept:
        reason = next(iter(part.unreadable.values()), "the data set is empty")
        raise IbenchError(f"{cell.spec.name}: no readable {modality} sample ({reason})")
    items = cell.dataset.items[modality]
    return part.vectors[kept], [items[position] for position in kept]


def _confusions(samples: pd.DataFrame, most: int = 10) -> tuple[tuple[str, str, int], ...]:
    wrong = samples.loc[~samples["correct"], ["gold", "prediction"]]
    counts = Counter(zip(wrong["gold"], wrong["prediction"], strict=True))
    ranked = sorted(((gold, said, times) for (gold, said), times in counts.items()), key=lambda row: (-row[2], row))
    return tuple(ranked[:most])


def _versions(cell: Cell) -> dict[str, str]:
    decoders = {name: number for modality in cell.dataset.items for name, number in decoder_versions(modality).items()}
    packages = ("ibench-eval", "torch", "open_clip_torch", "transformers", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}, **decoders}


@cache
def _version(package: str) -> str:
    """Read once: the metadata of a package takes milliseconds to parse, and every record names six of them."""
    return version(package)
