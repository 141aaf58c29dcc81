"""A sound, and the class it is of by name, each asked for in the windows of its frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ibench.cells import Cell
from ibench.datasets import Item
from ibench.engine.store import Embeddings
from ibench.errors import IbenchError
from ibench.kinds.base import Scored, readable
from ibench.modalities import Modality, Region
from ibench.scoring import localisation as scoring
from ibench.scoring.classifier import class_embeddings
from ibench.scoring.similarity import Vectors, similarity_rows


class _Searched(NamedTuple):
    """A frame all of whose windows could be read: their vectors [windows, dim], ids and places."""

    vectors: Vectors
    ids: Sequence[str]
    regions: tuple[Region, ...]


def score(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
) -> Scored:
    """One sound after the other, so that the maps of one frame are all that is held at a time.

    Raises IbenchError where no sound has a frame that could be read.
    """
    spec, search = cell.spec, cell.protocol.search
    assert search is not None
    frames = _searched(cell, embeddings)
    heard = [
        (vector, item)
        for vector, item in zip(*readable(cell, spec.query, embeddings), strict=True)
        if item.group in frames
    ]
    if not heard:
        raise IbenchError(f"{spec.name}: no sound has a frame that could be read")
    names = class_embeddings(cell.texts, embedding_of) if cell.texts else None
    found: dict[str, list[scoring.Found]] = defaultdict(list)
    by_chance: list[scoring.Found] = []
    rows = []
    rng = np.random.default_rng(0)  # chance is the same whatever the encoder and the run's seed
    for vector, item in heard:
        frame = frames[item.group]
        source = scoring.source_map(item.boxes, search.agree)
        cosines = {"": _cosines(vector[None], frame)}
        if names is not None:
            cosines["text_"] = _cosines(names[_names_of(item, cell)], frame)
        for prefix, scores in cosines.items():
            found[prefix].append(scoring.judge(scores, frame.regions, source, search.threshold, search.pool))
        found["centre_"].append(scoring.judge_centre(source))
        by_chance += scoring.judge_random(frame.regions, source, search.threshold, search.pool, len(heard), rng)
        rows.append(_row(item, frame, cosines[""]))
    metrics = {
        prefix + name: metric
        for prefix, several in found.items()
        for name, metric in scoring.metrics_of(several, [item.cluster for _, item in heard], seed).items()
    }
    chance = scoring.share(spec.headline.rpartition("_")[2], by_chance)
    return Scored(metrics, _table(rows, found, spec.headline), chance, scoring.TIES)


def _searched(cell: Cell, embeddings: Mapping[Modality, Embeddings]) -> dict[str, _Searched]:
    """The frames by their group; one with a window that could not be read is left out."""
    part = embeddings[cell.spec.target]
    found, start = {}, 0
    for frame in cell.frames:
        rows = range(start, start + len(frame.regions))
        start = rows.stop
        if part.unreadable.keys().isdisjoint(rows):
            ids = [item.id for item in cell.dataset.items[cell.spec.target][rows.start : rows.stop]]
            found[frame.item.group] = _Searched(part.vectors[rows.start : rows.stop], ids, frame.regions)
    return found


def _cosines(queries: Vectors, frame: _Searched) -> Vectors:
    """The cosine of each window with the nearest of the queries, [windows]; equal for equal windows."""
    cosines = np.concatenate([part for _, part in similarity_rows(queries, frame.vectors)])
    return np.asarray(cosines.max(axis=0))


def _names_of(item: Item, cell: Cell) -> list[int]:
    """The rows of the class names that a sound's classes go by."""
    return [row for label in item.labels for row in cell.names_of[cell.classes.index(label)]]


def _row(item: Item, frame: _Searched, cosines: Vectors) -> dict[str, object]:
    best = int(cosines.argmax())
    return {
        "id": item.id,
        "gold": ", ".join(item.labels),
        "prediction": frame.ids[best],
        "score": cosines[best],
        "cluster": item.cluster,
        "frame": item.group,
        "boxes": [list(box) for box in item.boxes],
        "scores": cosines,
    }


def _table(
    rows: Iterable[dict[str, object]], found: Mapping[str, Sequence[scoring.Found]], headline: str
) -> pd.DataFrame:
    """A row per sound: id, gold (its class), prediction (the nearest window) and its score, cluster, frame, the boxes
    and the cosine of every window, and for each query its cIoU and whether it pointed into the source; correct is that
    the sound did where that is the headline, else a cIoU of at least 0.5."""
    table = pd.DataFrame(rows)
    for prefix, several in found.items():
        table[f"{prefix}ciou"] = [one.ciou for one in several]
        table[f"{prefix}pointing"] = [one.pointing for one in several]
    return table.assign(correct=table["pointing"] if headline.endswith("pointing") else table["ciou"] >= 0.5)
