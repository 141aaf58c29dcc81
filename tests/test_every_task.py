"""Laws that hold for every task of the registry, on a miniature of its published layout.

An oracle encoder scores 100%, a constant one no more than chance, a random one what scikit-learn and plain counting
find from the same vectors. The encoders have their vectors by id, so nothing is decoded; what cannot be decoded is the
readers' own tests' concern.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, balanced_accuracy_score, top_k_accuracy_score

from ibench.api import evaluate
from ibench.cells import Cell, bind
from ibench.datasets import Dataset, Item, open_dataset
from ibench.datasets.base import TRAINING
from ibench.datasets.fakes import write_fake
from ibench.encoders import Card
from ibench.encoders.embeddings import StoredEmbeddings, Table
from ibench.modalities import Modality
from ibench.results import Record
from ibench.tasks import MATCHING, Kind, TaskSpec, load_task, task_files

TASKS = sorted(task_files())
BUNDLED = ("digits_bind",)
"""Readers of what comes with ibench: real data, so there is no miniature of it."""

BESIDE = ("first_recall@1", "second_recall@1", "gain")
"""What a composition has beside the sum."""

Vectors = NDArray[np.float32]


Side = dict[Modality, float]
"""What one side of a search is made of, with weights."""


@dataclass(frozen=True)
class Prepared:
    """A task with its miniature under ``root``, bound to its default protocol."""

    spec: TaskSpec
    root: Path
    cell: Cell

    @property
    def dataset(self) -> Dataset:
        return self.cell.dataset


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Prepared]:
    written: dict[tuple[str, str], Path] = {}

    @cache
    def of(name: str) -> Prepared:
        spec = load_task(name)
        if spec.kind is Kind.FEWSHOT:
            spec = spec.model_copy(update={"draws": 2})
        if spec.dataset.reader in BUNDLED:
            return Prepared(spec, Path(), bind(spec, open_dataset(spec, None), None, None, None))
        layout = (spec.dataset.reader, spec.dataset.path)
        if layout not in written:
            written[layout] = tmp_path_factory.mktemp(spec.dataset.reader)
            write_fake(spec, written[layout])
        root = written[layout]
        return Prepared(spec, root, bind(spec, open_dataset(spec, root), None, None, None))

    return of


@pytest.mark.parametrize("name", TASKS)
def test_an_oracle_encoder_scores_all(name: str, prepare: Callable[[str], Prepared]) -> None:
    task = prepare(name)
    record = run(task, oracle(task.cell))
    # what a part finds without the other is for no oracle to say; the middle of a frame asks no encoder, and a grid
    # need not fit a box, whose IoU is below 1 then
    asked = [name for name in record.metrics if not name.endswith((*BESIDE, "auc")) and not name.startswith("centre_")]
    found = {name: record.metrics[name].value for name in asked}
    assert found == pytest.approx(dict.fromkeys(found, 1.0)), record.metrics
    assert record.score.value == 1


@pytest.mark.parametrize("name", TASKS)
def test_a_constant_encoder_scores_chance(name: str, prepare: Callable[[str], Prepared]) -> None:
    task = prepare(name)
    record = run(task, constant(task.cell))
    if task.spec.kind is Kind.CLASSIFICATION:
        occurring = {item.labels[0] for item in task.dataset.items[task.spec.query]}
        expected = 1 / len(occurring) if task.cell.classes[0] in occurring else 0.0
        assert record.metrics["mean_per_class_recall"].value == pytest.approx(expected)
        assert record.chance == pytest.approx(1 / len(task.cell.classes))
    elif task.spec.kind is Kind.FEWSHOT:
        tested = [item for item in task.dataset.items[task.spec.query] if item.fold != TRAINING]
        largest = sum(
            Counter(label for item in fold for label in item.labels).most_common(1)[0][1] for fold in folds(tested)
        )
        assert max(metric.value for metric in record.metrics.values()) <= largest / len(tested)
        assert record.chance == pytest.approx(1 / len(task.cell.classes))
    elif task.spec.kind is Kind.MULTILABEL:
        assert record.score.value == pytest.approx(record.chance)
    elif task.spec.kind in MATCHING:
        assert record.score.value <= record.chance  # a tie is never a hit
    else:
        assert {record.metrics[name].value for name in ("ciou@0.5", "pointing")} == {0.0}  # nothing stands out


@pytest.mark.parametrize("name", TASKS)
def test_a_random_encoder_scores_what_others_count(name: str, prepare: Callable[[str], Prepared]) -> None:
    task = prepare(name)
    encoder = random_vectors(task.cell)
    found = {metric: score.value for metric, score in run(task, encoder).metrics.items()}
    counted = COUNTED[task.spec.kind](task.cell, encoder)
    if task.spec.kind is Kind.FEWSHOT:  # what is fitted is held to scikit-learn in tests/scoring/test_few_shots.py
        assert set(found) == set(task.spec.computed)
        found = {"top1@0": found["top1@0"]}
    assert found == pytest.approx(counted, abs=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_the_miniature_is_fake_and_reads_the_same_twice(name: str, prepare: Callable[[str], Prepared]) -> None:
    task = prepare(name)
    again = open_dataset(task.spec, task.root if task.spec.dataset.reader not in BUNDLED else None)
    assert task.dataset.fake == (task.spec.dataset.reader not in BUNDLED)
    assert bind(task.spec, again, None, None, None).dataset.fingerprint() == task.dataset.fingerprint()
    for items in again.items.values():
        ids = [item.id for item in items]
        assert len(set(ids)) == len(ids)


# encoders -------------------------------------------------------------------------------------------------------------


def run(task: Prepared, encoder: StoredEmbeddings) -> Record:
    (record,) = evaluate(encoder, [task.spec], data_root=None if task.root == Path() else task.root)
    return record


def stored(vectors: dict[Modality, dict[str, Vectors]]) -> StoredEmbeddings:
    card = Card(name="by id", family="test", modalities=tuple(vectors), by_id=True)
    tables = {
        modality: Table(np.stack(list(rows.values())), {id: row for row, id in enumerate(rows)})
        for modality, rows in vectors.items()
    }
    return StoredEmbeddings(card, tables)


def oracle(cell: Cell) -> StoredEmbeddings:
    """A class that occurs, or a group of matching items, is an axis of its own; the other classes share one.

    A window is what sounds in its frame if it lies within as many boxes as have to agree, else nothing that sounds.
    """
    aims = windows_of_sources(cell)
    items = [item for several in cell.dataset.items.values() for item in several]
    axes = sorted({name for item in items for name in aims.get(item.id) or axes_of(item, cell)})
    units = np.eye(len(axes) + 1, dtype=np.float32)
    axis = dict.fromkeys(cell.classes, units[-1]) | dict(zip(axes, units, strict=False))
    vectors: dict[Modality, dict[str, Vectors]] = {
        modality: {item.id: unit(sum(axis[one] for one in aims.get(item.id) or axes_of(item, cell))) for item in items}
        for modality, items in cell.dataset.items.items()
        if modality is not Modality.TEXT
    }
    texts = {item.decode(): axis[item.group] for item in cell.dataset.items.get(Modality.TEXT, ())}
    for label, names in zip(cell.classes, cell.names_of, strict=True):
        texts |= {text: axis[label] for name in names for text in cell.texts[name]}
    return stored(vectors | ({Modality.TEXT: texts} if texts else {}))


def axes_of(item: Item, cell: Cell) -> tuple[str, ...]:
    if cell.spec.pooled:
        return item.labels or ("nothing",)
    return item.labels if cell.classes else (item.group,)


def windows_of_sources(cell: Cell) -> dict[str, tuple[str, ...]]:
    """The axes of the windows of a localisation, by their ids."""
    search = cell.protocol.search
    sounds = {item.group: item for item in cell.dataset.items[cell.spec.query]}
    found = {}
    for frame in cell.frames:
        sound = sounds[frame.item.group]
        for item, (left, top, right, bottom) in zip(frame.windows, frame.regions, strict=True):
            holding = sum(a <= left and b <= top and c >= right and d >= bottom for a, b, c, d in sound.boxes)
            found[item.id] = axes_of(sound, cell) if search and holding >= search.agree else ("elsewhere",)
    return found


def constant(cell: Cell) -> StoredEmbeddings:
    same = np.ones(4, dtype=np.float32) / 2
    return stored({modality: dict.fromkeys(ids, same) for modality, ids in ids_of(cell).items()})


def random_vectors(cell: Cell) -> StoredEmbeddings:
    rng = np.random.default_rng(0)
    return stored(
        {
            modality: {id: unit(rng.standard_normal(16)) for id in dict.fromkeys(ids)}
            for modality, ids in ids_of(cell).items()
        }
    )


def ids_of(cell: Cell) -> dict[Modality, list[str]]:
    """What an encoder is asked for: samples by their ids, texts by themselves."""
    ids = {
        modality: [item.id for item in items]
        for modality, items in cell.dataset.items.items()
        if modality is not Modality.TEXT
    }
    return ids | ({Modality.TEXT: cell.all_texts()} if cell.all_texts() else {})


def unit(vector: NDArray[np.floating]) -> Vectors:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


# the same metrics by other means --------------------------------------------------------------------------------------


def vectors_of(encoder: StoredEmbeddings, modality: Modality, ids: list[str]) -> Vectors:
    return np.asarray(encoder.vectors_by_id(modality, ids))


def class_scores(cell: Cell, encoder: StoredEmbeddings) -> NDArray[np.float64]:
    """[n, classes]: the prompts of a name averaged and made unit, the best name of a class."""
    queries = vectors_of(encoder, cell.spec.query, [item.id for item in cell.dataset.items[cell.spec.query]])
    names = [unit(vectors_of(encoder, Modality.TEXT, list(prompts)).mean(axis=0)) for prompts in cell.texts]
    by_name = queries.astype(np.float64) @ np.stack(names).T
    return np.stack([by_name[:, list(rows)].max(axis=1) for rows in cell.names_of], axis=1)


def counted_classification(cell: Cell, encoder: StoredEmbeddings) -> dict[str, float]:
    scores = class_scores(cell, encoder)
    gold = np.array([cell.classes.index(item.labels[0]) for item in cell.dataset.items[cell.spec.query]])
    every = np.arange(len(cell.classes))

    def top(k: int) -> float:  # scikit-learn's has no two-class form for k, and none for k >= classes
        if len(every) <= max(k, 2):
            return float(np.mean([gold[row] in np.argsort(-scores[row])[:k] for row in range(len(gold))]))
        return float(top_k_accuracy_score(gold, scores, k=k, labels=every))

    return {
        "top1": top(1),
        "top5": top(5),
        "mean_per_class_recall": float(balanced_accuracy_score(gold, scores.argmax(axis=1))),
    }


def counted_fewshot(cell: Cell, encoder: StoredEmbeddings) -> dict[str, float]:
    """The point without a shot: a classification of what is tested."""
    items = cell.dataset.items[cell.spec.query]
    tested = [row for row, item in enumerate(items) if item.fold != TRAINING]
    gold = np.array([cell.classes.index(items[row].labels[0]) for row in tested])
    return {"top1@0": float(np.mean(class_scores(cell, encoder)[tested].argmax(axis=1) == gold))}


def folds(items: list[Item]) -> list[list[Item]]:
    return [[item for item in items if item.fold == fold] for fold in {item.fold for item in items}]


def counted_multilabel(cell: Cell, encoder: StoredEmbeddings) -> dict[str, float]:
    scores = class_scores(cell, encoder)
    gold = np.array([[label in item.labels for label in cell.classes] for item in cell.dataset.items[cell.spec.query]])
    occurring = gold.any(axis=0)
    return {"mAP": float(average_precision_score(gold[:, occurring], scores[:, occurring], average="macro"))}


def counted_retrieval(cell: Cell, encoder: StoredEmbeddings) -> dict[str, float]:
    """Scores are weighted sums of the cosines between all parts of the two sides."""
    found: dict[str, float] = {}
    for prefix, (query, target) in (("", cell.spec.sides), ("reverse_", cell.spec.sides[::-1])):
        ranks = ranks_of(cell, encoder, query, target)
        found |= {prefix + name: value for name, value in counted_ranks(ranks).items()}
    return found


def counted_ranks(ranks: list[int]) -> dict[str, float]:
    found = {f"recall@{k}": float(np.mean([rank <= k for rank in ranks])) for k in (1, 5, 10)}
    return found | {"mrr": float(np.mean(1 / np.array(ranks))), "median_rank": float(np.median(ranks))}


def ranks_of(cell: Cell, encoder: StoredEmbeddings, query: Side, target: Side) -> list[int]:
    """The place of the first match in the ranking of each query that has one."""
    asked, gallery = whole(cell, query), whole(cell, target)
    scores = sum(
        weight * other_weight * embedded(cell, encoder, part, query) @ embedded(cell, encoder, other, target).T
        for part, weight in query.items()
        for other, other_weight in target.items()
    )
    offered = {item.group for item in gallery}
    orders = [
        (item, np.argsort(-row, kind="stable"))
        for item, row in zip(asked, scores, strict=True)
        if item.group in offered
    ]
    return [
        1 + next(place for place, at in enumerate(order) if gallery[at].group == item.group) for item, order in orders
    ]


def whole(cell: Cell, side: Side) -> list[Item]:
    """The items of a side that have all its parts, the first of which names them."""
    have = [{item.id for item in cell.dataset.items[part]} for part in side]
    return [item for item in cell.dataset.items[next(iter(side))] if all(item.id in ids for ids in have)]


def embedded(cell: Cell, encoder: StoredEmbeddings, part: Modality, side: Side) -> Vectors:
    """The vectors of one part of a side, in the order of ``whole``."""
    at = {item.id: item for item in cell.dataset.items[part]}
    items = [at[item.id] for item in whole(cell, side)]
    return vectors_of(encoder, part, [item.decode() if part is Modality.TEXT else item.id for item in items])


def counted_composition(cell: Cell, encoder: StoredEmbeddings) -> dict[str, float]:
    """The sum as a retrieval, and each part instead of it."""
    found = {}
    directions = ("",) if cell.spec.pooled else ("", "reverse_")
    for prefix, (query, target) in zip(directions, (cell.spec.sides, cell.spec.sides[::-1]), strict=False):
        together, *alone = (
            composed_ranks(cell, encoder, weights, query, target) for weights in (None, (1.0, 0.0), (0.0, 1.0))
        )
        first, second = (float(np.mean([rank == 1 for rank in ranks])) for ranks in alone)
        own = counted_ranks(together)
        own |= {"first_recall@1": first, "second_recall@1": second, "gain": own["recall@1"] - max(first, second)}
        found |= {prefix + name: value for name, value in own.items()}
    return found


def composed_ranks(
    cell: Cell, encoder: StoredEmbeddings, weights: tuple[float, float] | None, query: Side, target: Side
) -> list[int]:
    """The ranks at other weights than the task's, in a pool or among scenes."""
    query, target = (
        dict(zip(side, weights, strict=True)) if weights and len(side) > 1 else side for side in (query, target)
    )
    if not cell.spec.pooled:
        return ranks_of(cell, encoder, query, target)
    gallery = cell.dataset.items[cell.spec.target]
    offered = vectors_of(encoder, cell.spec.target, [item.id for item in gallery])
    ranks = []
    for one in cell.queries:
        scores = sum(
            weight * offered @ vectors_of(encoder, part, [id])[0]
            for (part, weight), id in zip(query.items(), one.parts, strict=True)
        )
        order = [gallery[at] for at in np.argsort(-scores, kind="stable") if gallery[at].id != one.own]
        ranks.append(1 + next(at for at, item in enumerate(order) if set(one.labels) <= set(item.labels)))
    return ranks


def counted_localisation(cell: Cell, encoder: StoredEmbeddings) -> dict[str, float]:
    """Pixel by pixel, as arXiv 2104.02691's code and the papers define it."""
    search = cell.protocol.search
    assert search is not None
    frames = {frame.item.group: frame for frame in cell.frames}
    found: dict[str, list[tuple[float, bool]]] = {}
    for item in cell.dataset.items[cell.spec.query]:
        frame = frames[item.group]
        votes = sum((mask(box, int) for box in item.boxes), np.zeros((224, 224)))
        source = np.minimum(votes / search.agree, 1)
        windows = vectors_of(encoder, Modality.IMAGE, [one.id for one in frame.windows])
        queries = {"": vectors_of(encoder, cell.spec.query, [item.id])[0]}
        if cell.texts:
            ((name,),) = (cell.names_of[cell.classes.index(label)] for label in item.labels)
            queries["text_"] = unit(vectors_of(encoder, Modality.TEXT, list(cell.texts[name])).mean(axis=0))
        for prefix, query in queries.items():
            cosines = windows.astype(np.float64) @ query
            shares = shares_of(frame.regions)
            highest = np.where(shares > 0, cosines[:, None], -2).max(axis=0) if search.pool == "max" else None
            image = (cosines @ shares if highest is None else highest).reshape(224, 224)
            image = (image - image.min()) / np.ptp(image)
            middle = np.sort(image.ravel())[224 * 224 // 2]
            part = image > middle + 1e-9 if search.threshold == "upper-half" else image >= search.threshold
            rows, columns = np.nonzero(image >= 1 - 1e-9)
            hit = source[(rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2] == 1
            found.setdefault(prefix, []).append((overlap(part, source), bool(hit)))
        half = np.sqrt(0.5) / 2
        centre = mask((0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half), round)
        found.setdefault("centre_", []).append((overlap(centre > 0, source), bool(source[111, 111] == 1)))
    thresholds = [0.05 * step for step in range(21)]
    return {
        f"{prefix}{name}": value
        for prefix, several in found.items()
        for ciou in [np.array([one for one, _ in several])]
        for name, value in {
            "ciou@0.5": float(np.mean(ciou >= 0.5)),
            "auc": float(auc(thresholds, [np.mean(ciou >= at) for at in thresholds])),
            "pointing": float(np.mean([hit for _, hit in several])),
        }.items()
    }


@cache
def shares_of(regions: tuple[tuple[float, ...], ...]) -> NDArray[np.float64]:
    """What each window counts at each pixel: one part of as many as cover it, [windows, 224 × 224]."""
    masks = np.stack([mask(region, round).ravel() for region in regions])
    return np.asarray(masks / masks.sum(axis=0))


def mask(box: tuple[float, ...], whole: Callable[[float], int]) -> NDArray[np.float64]:
    """The pixels of a box, [224, 224]."""
    drawn = np.zeros((224, 224))
    left, top, right, bottom = (whole(224 * edge) for edge in box)
    drawn[top:bottom, left:right] = 1
    return drawn


def overlap(part: NDArray[np.bool_], source: NDArray[np.float64]) -> float:
    return float(source[part].sum() / (source.sum() + (part & (source == 0)).sum()))


COUNTED = {
    Kind.CLASSIFICATION: counted_classification,
    Kind.MULTILABEL: counted_multilabel,
    Kind.RETRIEVAL: counted_retrieval,
    Kind.COMPOSITION: counted_composition,
    Kind.FEWSHOT: counted_fewshot,
    Kind.LOCALISATION: counted_localisation,
}
