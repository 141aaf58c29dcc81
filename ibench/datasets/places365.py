"""Places365-Standard's validation set as its authors publish it: 36,500 pictures, 100 of each of 365 scenes.

Source: places2.csail.mit.edu/download.html. ``filelist_places365-standard.tar`` holds ``categories_places365.txt``
(``/a/airfield 0``) and ``places365_val.txt`` (``Places365_val_00000001.jpg 165``); ``val_256.tar`` and
``val_large.tar`` hold the same pictures, squeezed to 256 × 256 and larger at their own shape.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ibench.datasets.base import Dataset, Item, inside
from ibench.errors import IbenchError, did_you_mean
from ibench.media.image import read_image
from ibench.tasks import TaskSpec

MARKER = "categories_places365.txt"
_LIST = "places365_val.txt"
_SIZES = ("val_256", "val_large")


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The pictures of ``places365_val.txt`` in the folder that the task's split names, else the first there is.

    A label is the category without its initial, ``apartment_building/outdoor``; its name has a space for the slash,
    as CLIP writes SUN397's names, which have the same form. Raises IbenchError when a list or the folder is absent,
    or a line of a list does not fit.
    """
    numbered = _numbered(root / MARKER)
    labels = [category.split("/", 2)[2] for category, _ in sorted(numbered.items(), key=lambda pair: pair[1])]
    folder = _pictures(spec, root)
    items, missing = [], []
    for name, number in _numbered(root / _LIST).items():
        if not 0 <= number < len(labels):
            raise IbenchError(f"{root / _LIST}: {name} has category {number}, of 0 … {len(labels) - 1}")
        file = inside(folder, name, str(root / _LIST))
        if not file.is_file():
            missing.append(name)
            continue
        decode = partial(read_image, file)
        items.append(Item(id=name, decode=decode, content=file, labels=(labels[number],), group=name))
    names = {label: (label.replace("/", " "),) for label in labels}
    return Dataset({spec.query: items}, labels=names, missing=tuple(missing), copy=f"Places365 {folder.name}")


def _numbered(table: Path) -> dict[str, int]:
    """The lines ``<name> <number>`` of a list; a category begins with a slash and its initial."""
    rows: dict[str, int] = {}
    try:
        lines = table.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IbenchError(f"{table}: cannot be read; unpack filelist_places365-standard.tar there ({error})") from error
    for line, text in enumerate(lines, 1):
        name, _, number = text.strip().rpartition(" ")
        if not number.isdigit() or name in rows or (table.name == MARKER and name.count("/") < 2):
            raise IbenchError(f"{table}:{line}: expected a new name and its number, found {text!r:.60}")
        rows[name] = int(number)
    if table.name == MARKER and sorted(rows.values()) != list(range(len(rows))):
        raise IbenchError(f"{table}: the categories are not numbered 0 … {len(rows) - 1}")
    return rows


def _pictures(spec: TaskSpec, root: Path) -> Path:
    split = spec.dataset.split
    if split is not None and split not in _SIZES:
        raise IbenchError(f"{spec.name}: no split '{split}'; {did_you_mean(split, _SIZES)}")
    for name in (split,) if split else _SIZES:
        if (root / name).is_dir():
            return root / name
    raise IbenchError(f"{spec.name}: no folder {split or ' or '.join(_SIZES)} in {root}; unpack val_256.tar there")
