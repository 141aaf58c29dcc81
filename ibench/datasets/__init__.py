"""Readers, one module per published layout, and the generic ones: `folder`, `manifest`, `hub`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from ibench.datasets._training import in_folds, with_training
from ibench.datasets._windows import Frame, frames_of, read_proposals
from ibench.datasets.base import FAKE_MARKER, Dataset, Item, inside
from ibench.errors import IbenchError, did_you_mean
from ibench.modalities import Modality
from ibench.resources import bundled
from ibench.tasks import Kind, TaskSpec

__all__ = [
    "Dataset",
    "Frame",
    "Item",
    "find_copy",
    "frames_of",
    "labels_of",
    "open_dataset",
    "paired_modalities",
    "refuse_unknown_reader",
]


def open_dataset(spec: TaskSpec, data_root: Path | None) -> Dataset:
    """The samples of a task, from under ``data_root``, else from its pinned hub copy; of a few-shot task those that are
    tested, and those that are trained on.

    Raises IbenchError when there is no copy to read, with where to get one, and when a few-shot task has nothing to
    train on, or tests what it trains on.
    """
    if spec.kind is not Kind.FEWSHOT:
        return _opened(spec, data_root)
    tested = _opened(spec, data_root)
    if spec.dataset.train is None:
        return in_folds(spec, tested)
    return with_training(spec, tested, _opened(spec.training, data_root))


def _opened(spec: TaskSpec, data_root: Path | None) -> Dataset:
    reader = _reader(spec)
    if reader.bundled:
        return _read(spec, reader, bundled(reader.bundled))
    if data_root is not None:
        place = _locate(spec, data_root, reader.markers)
        dataset = _read(spec, reader, place)
        return replace(dataset, fake=True) if _marked_fake(place, data_root) else dataset
    if spec.dataset.hub is not None:
        from ibench.datasets import hub

        return hub.read_pinned(spec, spec.dataset.hub)
    raise IbenchError(f"{spec.name}: no data root; give --data-root DIR or set IBENCH_DATA. {_where_to_get(spec)}")


def find_copy(spec: TaskSpec, data_root: Path | None) -> str:
    """Which copy `open_dataset` would read, without reading it: bundled, data root, or hub copy.

    Raises IbenchError when there is none, as `open_dataset` does.
    """
    reader = _reader(spec)
    if reader.bundled:
        return "bundled"
    if data_root is not None:
        _locate(spec, data_root, reader.markers)
        return "data root"
    if spec.dataset.hub is not None:
        return "hub copy"
    raise IbenchError(f"{spec.name}: no data root; give --data-root DIR or set IBENCH_DATA. {_where_to_get(spec)}")


def paired_modalities(spec: TaskSpec, data_root: Path | None) -> tuple[Modality, ...]:
    """In which modalities other than text the copy that `open_dataset` would read can give a task's samples.

    A task with another of them as its query (or as its target, where the query is text) reads the same samples in it.
    Raises IbenchError as `find_copy` does.
    """
    hub = spec.dataset.hub if find_copy(spec, data_root) == "hub copy" else None
    paired = () if hub is not None else _reader(spec).paired
    columns = spec.dataset.columns if hub is None else hub.columns
    return tuple(one for one in Modality if one is not Modality.TEXT and (one in paired or one.value in columns))


def labels_of(spec: TaskSpec, dataset: Dataset) -> Mapping[str, tuple[str, ...]]:
    """The task's labels, else the data's own, else those that occur, with their names.

    Raises IbenchError when one that occurs is not among them, and for other than one label where the kind is of one.
    """
    used = dict.fromkeys(label for item in dataset.items[spec.query] for label in item.labels)
    labels = spec.named(spec.labels or dataset.labels or {label: (label,) for label in sorted(used)})
    for item in dataset.items[spec.query]:
        for label in item.labels:
            if label not in labels:
                raise IbenchError(
                    f"{spec.name}: sample '{item.id}' has label '{label}', which the task does not list; "
                    f"{did_you_mean(label, labels)}"
                )
        if spec.kind in (Kind.CLASSIFICATION, Kind.FEWSHOT) and len(item.labels) != 1:
            raise IbenchError(f"{spec.name}: sample '{item.id}' has {len(item.labels)} labels; {spec.kind} needs one")
    return labels


def refuse_unknown_reader(spec: TaskSpec) -> None:
    """Raises IbenchError for a reader that is no module of this package; `base` and ``_names`` are none."""
    modules = (path.stem for path in Path(__file__).parent.glob("*.py"))
    known = [name for name in modules if name != "base" and not name.startswith("_")]
    if spec.dataset.reader not in known:
        raise IbenchError(f"{spec.name}: no reader '{spec.dataset.reader}'; {did_you_mean(spec.dataset.reader, known)}")


@dataclass(frozen=True)
class _Reader:
    """A reader module: its ``read(spec, place)``; what tells its folder; the bundled data it reads; what it pairs.

    A module's ``MARKER`` is a file or folder in that folder, or, of a data set distributed in several layouts, one of
    each: any of them will do. ``PAIRED`` are the modalities, text aside, in which its samples are.
    """

    read: Callable[[TaskSpec, Path], Dataset]
    markers: tuple[str, ...]
    bundled: str
    paired: tuple[Modality, ...]


def _reader(spec: TaskSpec) -> _Reader:
    refuse_unknown_reader(spec)
    module = import_module(f"ibench.datasets.{spec.dataset.reader}")
    marker = getattr(module, "MARKER", "")
    markers = (marker,) if isinstance(marker, str) else marker
    return _Reader(module.read, markers, getattr(module, "BUNDLED", ""), getattr(module, "PAIRED", ()))


def _read(spec: TaskSpec, reader: _Reader, place: Path) -> Dataset:
    """What the reader makes of its folder. Raises IbenchError for what the file system refuses (a closed folder, a
    name in a table that is too long for it), and for a sample that is listed twice, as it would count twice."""
    try:
        dataset = reader.read(spec, place)
        if spec.dataset.proposals:
            file = inside(place if place.is_dir() else place.parent, spec.dataset.proposals, spec.name)
            dataset = replace(dataset, proposals=read_proposals(file))
    except OSError as error:
        raise IbenchError(
            f"{spec.name}: {error.filename or place}: {error.strerror or error}; are the names and permissions right?"
        ) from error
    for modality, items in dataset.items.items():
        seen: set[str] = set()
        for item in items:
            if item.id in seen:
                raise IbenchError(f"{spec.name}: {modality} '{item.id}' is listed twice under {place}; keep it once")
            seen.add(item.id)
    return dataset


def _locate(spec: TaskSpec, data_root: Path, markers: tuple[str, ...]) -> Path:
    """The task's folder or file under the root; the root itself where it is that folder, told by a marker."""
    if not data_root.is_dir():
        raise IbenchError(f"{spec.name}: data root {data_root} is not a folder. {_where_to_get(spec)}")
    place = data_root / spec.dataset.path
    for candidate in (place, data_root) if any(markers) else (place,):
        if any((candidate / marker).exists() for marker in markers):
            return candidate
    sought = place / markers[0] if len(markers) == 1 else f"{place}: {' or '.join(markers)}"
    raise IbenchError(f"{spec.name}: {sought} not found. {_where_to_get(spec)}")


def _marked_fake(place: Path, data_root: Path) -> bool:
    above = [folder for folder in place.parents if folder.is_relative_to(data_root)]
    return any((folder / FAKE_MARKER).is_file() for folder in [place, *above])


def _where_to_get(spec: TaskSpec) -> str:
    if "source" not in spec.dataset.model_fields_set:
        return "Is 'path' in the task file right, and --data-root the folder that it is under?"
    return f"Get the data from {spec.dataset.source} (licence: {spec.dataset.licence})"
