"""What a few-shot task trains on: other folds of the same samples, or another split beside those that are tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ibench.datasets.base import TRAINING, Dataset, Item
from ibench.errors import IbenchError
from ibench.tasks import TaskSpec


def in_folds(spec: TaskSpec, dataset: Dataset) -> Dataset:
    """The samples as they are. Raises IbenchError unless they lie in two folds or more, without a sample in two."""
    items = dataset.items[spec.query]
    unplaced = next((item.id for item in items if not item.fold), None)
    if unplaced is not None:
        raise IbenchError(
            f"{spec.name}: nothing to train on, '{unplaced}' is of no fold; name a training split (dataset: train), or "
            "a column of folds (columns: fold)"
        )
    if any(item.fold == TRAINING for item in items):
        raise IbenchError(
            f"{spec.name}: a fold is called '{TRAINING}', but every fold is tested; call it otherwise, or where its "
            "samples are only trained on, name it as a split (dataset: train)"
        )
    if len({item.fold for item in items}) < 2:
        raise IbenchError(f"{spec.name}: nothing to train on, all samples are of fold '{items[0].fold}'")
    _refuse_shared(spec, dataset)
    return dataset


def with_training(spec: TaskSpec, tested: Dataset, training: Dataset) -> Dataset:
    """The samples that are tested, then those of the training split, in fold `TRAINING`.

    Where an id is in both splits, those of the training split have its name before them. Raises IbenchError where a
    split is empty, and where both have the same bytes.
    """
    own = [replace(item, fold="") for item in tested.items[spec.query]]
    ids = {item.id for item in own}
    prefix = f"{spec.dataset.train}/" if any(item.id in ids for item in training.items[spec.query]) else ""
    others = [replace(item, id=prefix + item.id, fold=TRAINING) for item in training.items[spec.query]]
    for split, items in ((spec.dataset.split, own), (spec.dataset.train, others)):
        if not items:
            raise IbenchError(f"{spec.name}: split '{split}' of this copy holds no sample to read")
    both = Dataset(
        {spec.query: [*own, *others]},
        labels=_labels(tested, training),
        missing=(*tested.missing, *(prefix + id for id in training.missing)),
        copy=tested.copy,
        fake=tested.fake or training.fake,
    )
    _refuse_shared(spec, both)
    return both


def _labels(tested: Dataset, training: Dataset) -> Mapping[str, tuple[str, ...]] | None:
    return {**(tested.labels or {}), **(training.labels or {})} or None


def _refuse_shared(spec: TaskSpec, dataset: Dataset) -> None:
    """A sample that is trained on where it is tested, under any name, would be known by heart."""
    seen: dict[str, Item] = {}
    for item, content in zip(dataset.items[spec.query], dataset.contents(spec.query), strict=True):
        other = seen.setdefault(content, item)
        if other.fold != item.fold:
            raise IbenchError(
                f"{spec.name}: '{other.id}' and '{item.id}' are the same sample, one would be tested after training on "
                "the other; keep one of them"
            )
