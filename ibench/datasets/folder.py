"""Class subfolders: ``<path>/<label>/**/<file>``, as torchvision's ImageFolder reads them, or those of a split."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from pathlib import Path

from ibench.datasets.base import EXTENSIONS, Dataset, Item, file_decoder, inside, shown
from ibench.errors import IbenchError
from ibench.tasks import TaskSpec


def read(spec: TaskSpec, root: Path) -> Dataset:
    """Every file of the query's modality below a subfolder is a sample labelled with the subfolder's name.

    The subfolders are those of ``<path>/<split>`` where the task names a split. Labels are the subfolders in sorted
    order, unless the task lists its own. Raises IbenchError when there is no subfolder, or none with a file of that
    modality, and for a task that names columns.
    """
    if spec.cluster or spec.dataset.columns:
        raise IbenchError(
            f"{spec.name}: reader 'folder' has no columns for 'cluster' and 'columns'; list the files in a table and "
            "read it with 'manifest'"
        )
    suffixes = EXTENSIONS.get(spec.query)
    if suffixes is None:
        raise IbenchError(f"{spec.name}: reader 'folder' holds {', '.join(EXTENSIONS)}, not {spec.query}")
    place = root if spec.dataset.split is None else inside(root, spec.dataset.split, spec.name)
    if not root.is_dir():
        raise IbenchError(f"{spec.name}: {root} is a file; reader 'folder' reads a folder of class folders")
    if not place.is_dir():
        raise IbenchError(f"{spec.name}: {place} not found, the folder of split '{spec.dataset.split}'")
    folders = sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    items = [_item(spec, root, folder.name, file) for folder in folders for file in _files(folder, suffixes)]
    if not items:
        raise IbenchError(
            f"{spec.name}: no {spec.query} files in subfolders of {place}; expected <label>/<file> "
            f"ending in {' '.join(sorted(suffixes))}"
        )
    _tell_empty(spec, [folder.name for folder in folders], {item.labels[0] for item in items})
    return Dataset({spec.query: items}, labels={folder.name: (folder.name,) for folder in folders}, copy="folder")


def _tell_empty(spec: TaskSpec, folders: Sequence[str], filled: Set[str]) -> None:
    if empty := [name for name in folders if name not in filled]:
        named = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
        logging.getLogger("ibench").warning(
            f"{spec.name}: no {spec.query} files in {len(empty)} of {len(folders)} class folders ({named}); "
            "they are classes all the same, which lowers chance"
        )


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return [path for path in shown(folder, "**/*") if path.suffix.lower() in suffixes and path.is_file()]


def _item(spec: TaskSpec, root: Path, label: str, file: Path) -> Item:
    return Item(
        id=file.relative_to(root).as_posix(),
        decode=file_decoder(spec.query, file, None, None),
        content=file,
        labels=(label,),
        group=label,
    )
