"""Samples to look at: what a run got most wrong and most right, with a thumbnail where the data is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ibench.cells import Cell
from ibench.datasets import Item, labels_of
from ibench.errors import UnreadableSample
from ibench.modalities import Modality
from ibench.report.classes import positives, scores_of
from ibench.report.thumbnails import Thumbnail, localised, thumbnail
from ibench.results import Record
from ibench.scoring.localisation import score_map, tiling
from ibench.tasks import MATCHING, Kind, TaskSpec


@dataclass(frozen=True)
class Shown:
    """A sample by its id, with its thumbnail if the data is there."""

    id: str
    thumbnail: Thumbnail | None


@dataclass(frozen=True)
class Look:
    """A query, what was said of it or found for it, and what would have been right.

    ``second`` is the other part of a composed query, and ``joined`` how it is put to the first; ``searched`` where
    ``found`` is the frame that was searched for it.
    """

    query: Shown
    right: bool
    said: str = ""
    gold: str = ""
    found: Shown | None = None
    wanted: Shown | None = None
    note: str = ""
    second: Shown | None = None
    joined: str = ""
    searched: bool = False


@dataclass(frozen=True)
class Looks:
    """Samples under a heading."""

    title: str
    looks: tuple[Look, ...]


class Samples:
    """The samples of a record by id and by group; empty where the data is not there.

    ``classes`` are those that the rows name, in the order of their scores; with the data they are the task's.
    """

    def __init__(self, spec: TaskSpec | None, cell: Cell | None, classes: Sequence[str] = ()) -> None:
        items = cell.dataset.items if cell is not None else {}
        self._by_id = {modality: {item.id: item for item in several} for modality, several in items.items()}
        self._by_group: dict[tuple[Modality, str], Item] = {}
        for modality, several in items.items():
            for item in several:
                self._by_group.setdefault((modality, item.group), item)
        self._names = _class_names(spec, cell)
        self.classes: Sequence[str] = cell.classes if cell is not None else classes
        search = cell.protocol.search if cell is not None else None
        self._pool = search.pool if search is not None else "mean"
        self._frames = {frame.item.group: frame for frame in (cell.frames if cell is not None else ())}

    def name(self, label: str) -> str:
        """The class name that a label goes by, or the label where that is not known."""
        return self._names.get(label, label)

    def shown(self, modality: Modality, id: str) -> Shown:
        item = self._by_id.get(modality, {}).get(id)
        return Shown(id, None if item is None else _thumbnail(item))

    def searched(self, row: Mapping[str, Any]) -> Shown:
        """The frame of a localisation's row, with the map of its windows' cosines, its boxes and the best window."""
        frame = self._frames.get(row["frame"])
        if frame is None:
            return Shown(row["frame"], None)
        try:
            picture = frame.item.decode()
        except UnreadableSample as error:
            return Shown(row["frame"], Thumbnail(note=f"unreadable: {error}"))
        scores = np.asarray(row["scores"], np.float32)
        tiles = tiling(frame.regions)
        heat = tiles.spread(score_map(scores, tiles, self._pool))
        boxes = [(left, top, right, bottom) for left, top, right, bottom in row["boxes"]]
        return Shown(row["frame"], localised(picture, heat, boxes, frame.regions[int(scores.argmax())]))

    def of_group(self, modality: Modality, group: str) -> Shown | None:
        """The first item of a group: what a query of that group should have found."""
        item = self._by_group.get((modality, group))
        return None if item is None else Shown(item.id, _thumbnail(item))


def looks(record: Record, rows: pd.DataFrame, samples: Samples, most: int) -> list[Looks]:
    """The worst and the best of a run, ``most`` of each."""
    found = _OF_KIND[record.kind](record, rows, samples, most)
    return [one for one in found if one.looks]


def _classified(record: Record, rows: pd.DataFrame, samples: Samples, most: int) -> list[Looks]:
    def look(row: Mapping[str, Any]) -> Look:
        off = "" if row["correct"] else f"; the right class is number {row['rank']}"
        return Look(
            samples.shown(record.query, row["id"]),
            bool(row["correct"]),
            samples.name(row["prediction"]),
            samples.name(row["gold"]),
            note=f"cosine {row['score']:.3f}{off}",
        )

    wrong = rows[~rows["correct"]].sort_values(["rank", "score"], ascending=False, kind="stable")
    right = rows[rows["correct"]].sort_values("score", ascending=False, kind="stable")
    return [_of("Furthest from right", wrong, most, look), _of("Right, and the surest", right, most, look)]


def _drawn(record: Record, rows: pd.DataFrame, samples: Samples, most: int) -> list[Looks]:
    """By the share of the draws that a sample was right in, with the most shots."""

    def look(row: Mapping[str, Any]) -> Look:
        return Look(
            samples.shown(record.query, row["id"]),
            bool(row["correct"]),
            samples.name(row["prediction"]),
            samples.name(row["gold"]),
            note=f"said in {100 * row['score']:.0f}% of the draws; right in {100 * row[shots]:.0f}%",
        )

    shots = next(name for name in record.metrics if name.startswith("top1@"))
    ranked = rows.sort_values([shots, "score"], ascending=[True, False], kind="stable")
    right = rows[rows["correct"]].sort_values([shots, "score"], ascending=False, kind="stable")
    return [
        _of("Furthest from right", ranked[~ranked["correct"]], most, look),
        _of("Right, and the surest", right, most, look),
    ]


def _tagged(record: Record, rows: pd.DataFrame, samples: Samples, most: int) -> list[Looks]:
    """By the mean rank of a sample's own classes; none where neither the data nor the rows name them."""
    if not samples.classes or rows.empty:
        return []
    scores, positive = scores_of(rows), positives(rows, samples.classes)
    ranks = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1) + 1
    own = np.where(positive, ranks, 0).sum(axis=1) / np.maximum(positive.sum(axis=1), 1)
    first = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    said = [", ".join(samples.name(samples.classes[place]) for place in places) for places in first]
    table = rows.assign(mean_rank=own, said=said).iloc[np.flatnonzero(positive.any(axis=1))]
    table = table.sort_values("mean_rank", kind="stable")

    def look(row: Mapping[str, Any]) -> Look:
        gold = ", ".join(samples.name(label) for label in row["gold"])
        right = row["mean_rank"] <= (len(row["gold"]) + 1) / 2
        note = f"its classes stand at {row['mean_rank']:.1f} on average"
        return Look(samples.shown(record.query, row["id"]), right, row["said"], gold, note=note)

    return [_of("Furthest from right", table.iloc[::-1], most, look), _of("Nearest to right", table, most, look)]


def _retrieved(record: Record, rows: pd.DataFrame, samples: Samples, most: int) -> list[Looks]:
    found: list[Looks] = []
    for direction, part in rows.groupby("direction", sort=False):
        query, target = (Modality(record.query), Modality(record.target))
        if not str(direction).startswith(f"{query}→"):
            query, target = target, query

        def look(row: Mapping[str, Any], query: Modality = query, target: Modality = target) -> Look:
            return Look(
                samples.shown(query, row["id"]),
                bool(row["correct"]),
                found=samples.shown(target, row["prediction"]),
                wanted=None if row["correct"] else samples.of_group(target, row["gold"]),
                note=f"cosine {row['score']:.3f}"
                + ("" if row["correct"] else f"; the first match is number {row['rank']} of {row['gallery']}"),
            )

        found += _by_rank(str(direction), part, most, look)
    return found


def _composed(record: Record, rows: pd.DataFrame, samples: Samples, most: int) -> list[Looks]:
    """Two samples as one query; the parts of one scene are shown as a retrieval's."""
    if "second" not in rows:
        return _retrieved(record, rows, samples, most)
    part = next(modality for modality in record.fuse if modality is not record.query)
    joined = "less" if record.fuse[part] < 0 else "plus"

    def look(row: Mapping[str, Any]) -> Look:
        off = "" if row["correct"] else f"; the first match is number {row['rank']} of {row['gallery']}"
        alone = f"alone: {record.query} {row['first_rank']}, {part} {row['second_rank']}"
        return Look(
            samples.shown(record.query, row["first"]),
            bool(row["correct"]),
            found=samples.shown(record.target, row["prediction"]),
            wanted=None if row["correct"] else samples.shown(record.target, row["wanted"]),
            note=f"{row['gold']}{off} ({alone})",
            second=samples.shown(part, row["second"]),
            joined=joined,
        )

    return _by_rank(str(rows["direction"].iloc[0]), rows, most, look)


def _by_rank(direction: str, rows: pd.DataFrame, most: int, look: Callable[[Mapping[str, Any]], Look]) -> list[Looks]:
    wrong = rows[~rows["correct"]].sort_values(["rank", "score"], ascending=False, kind="stable")
    right = rows[rows["correct"]].sort_values("score", ascending=False, kind="stable")
    return [
        _of(f"{direction}: furthest from right", wrong, most, look),
        _of(f"{direction}: found, and the surest", right, most, look),
    ]


def _located(record: Record, rows: pd.DataFrame, samples: Samples, most: int) -> list[Looks]:
    def look(row: Mapping[str, Any]) -> Look:
        point = "points into it" if row["pointing"] else "points elsewhere"
        return Look(
            samples.shown(record.query, row["id"]),
            bool(row["correct"]),
            samples.name(row["gold"]),
            found=samples.searched(row),
            note=f"cIoU {row['ciou']:.2f}, {point}; the best window has the cosine {row['score']:.3f}",
            searched=True,
        )

    by_overlap = rows.sort_values(["ciou", "score"], kind="stable")
    hits, misses = by_overlap[by_overlap["correct"]][::-1], by_overlap[~by_overlap["correct"]]
    return [_of("Missed, least overlap first", misses, most, look), _of("Found, most overlap first", hits, most, look)]


_OF_KIND: Mapping[Kind, Callable[[Record, pd.DataFrame, Samples, int], list[Looks]]] = {
    Kind.CLASSIFICATION: _classified,
    Kind.MULTILABEL: _tagged,
    Kind.RETRIEVAL: _retrieved,
    Kind.COMPOSITION: _composed,
    Kind.FEWSHOT: _drawn,
    Kind.LOCALISATION: _located,
}


def _of(title: str, rows: pd.DataFrame, most: int, look: Callable[[Mapping[str, Any]], Look]) -> Looks:
    shown = rows.head(most)
    columns = [str(column) for column in shown.columns]
    return Looks(title, tuple(look(dict(zip(columns, row, strict=True))) for row in shown.itertuples(index=False)))


def _thumbnail(item: Item) -> Thumbnail:
    try:
        return thumbnail(item.decode())
    except UnreadableSample as error:
        return Thumbnail(note=f"unreadable: {error}")


def _class_names(spec: TaskSpec | None, cell: Cell | None) -> dict[str, str]:
    """Label → the first class name it goes by, as far as it is known."""
    if spec is None or spec.kind in MATCHING:
        return {}
    labels = labels_of(spec, cell.dataset) if cell is not None else (spec.labels or {})
    return {label: names[0] for label, names in labels.items()}
