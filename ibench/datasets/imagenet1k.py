"""ImageNet-1k's validation set (ILSVRC 2012) as it is distributed: 50,000 pictures, 1,000 classes.

Pictures ``ILSVRC2012_val_00000001.JPEG`` … lie in ``val/`` (image-net.org's ILSVRC2012_img_val.tar) or in
``ILSVRC/Data/CLS-LOC/val/`` (Kaggle's copy), flat or in a folder for each class, ``n01440764/``. Classes are told by
Kaggle's ``LOC_val_solution.csv``, by the development kit (``ILSVRC2012_devkit_t12/data/``), or by the folders.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ibench.datasets._matlab import v5_array
from ibench.datasets.base import Dataset, Item, inside
from ibench.errors import IbenchError
from ibench.media.image import read_image
from ibench.tasks import TaskSpec

_PLACES = ("val", "ILSVRC/Data/CLS-LOC/val")
MARKER = _PLACES
_WNID = re.compile(r"n\d{8}")


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The validation pictures in the order of their names, the same in every layout.

    Labels are WordNet ids in sorted order, the order that weights, papers and open_clip's names go by; the kit's own
    ids (1 … 1000) have another, and `meta.mat` translates. Raises IbenchError for flat pictures without the kit or
    Kaggle's table, and for metadata that does not fit.
    """
    folder = next(root / place for place in _PLACES if (root / place).is_dir())
    wnids, class_of = _kaggle(root) or _devkit(root) or _class_folders(spec, root, folder)
    items, missing = [], []
    for name, wnid in sorted(class_of.items()):
        flat = inside(folder, name, str(root))
        file = flat if flat.is_file() else folder / wnid / name
        if not file.is_file():
            missing.append(name)
            continue
        items.append(Item(id=name, decode=partial(read_image, file), content=file, labels=(wnid,), group=name))
    labels = {wnid: (wnid,) for wnid in wnids}
    return Dataset({spec.query: items}, labels=labels, missing=tuple(missing), copy="ILSVRC 2012 validation folder")


def _kaggle(root: Path) -> tuple[list[str], Mapping[str, str]] | None:
    """Classes, and file name → class, from ``LOC_val_solution.csv``: ImageId, and boxes that begin with the class."""
    table = root / "LOC_val_solution.csv"
    if not table.is_file():
        return None
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            class_of = {
                f"{row['ImageId']}.JPEG": row["PredictionString"].split(maxsplit=1)[0] for row in csv.DictReader(file)
            }
    except (KeyError, AttributeError, IndexError, ValueError, csv.Error) as error:
        raise IbenchError(f"{table}: expected columns ImageId and PredictionString, filled in every row") from error
    mapping = root / "LOC_synset_mapping.txt"  # "n01440764 tench, Tinca tinca"
    lines = mapping.read_text(encoding="utf-8-sig").splitlines() if mapping.is_file() else class_of.values()
    return sorted({line.split(maxsplit=1)[0] for line in lines if line.strip()}), _of_wnids(class_of, table)


def _devkit(root: Path) -> tuple[list[str], Mapping[str, str]] | None:
    """The same from the development kit: line i of the ground truth is the kit's id of picture i's class."""
    for folder in (root / "ILSVRC2012_devkit_t12" / "data", root / "data", root):
        meta, truth = folder / "meta.mat", folder / "ILSVRC2012_validation_ground_truth.txt"
        if meta.is_file() and truth.is_file():
            break
    else:
        return None
    wnid_of = _wnids_by_kit_id(meta)
    try:
        lines = truth.read_text(encoding="utf-8-sig").split()
        named = ((f"ILSVRC2012_val_{number:08d}.JPEG", wnid_of[int(line)]) for number, line in enumerate(lines, 1))
        return sorted(wnid_of.values()), _of_wnids(dict(named), truth)
    except (ValueError, KeyError) as error:
        raise IbenchError(f"{truth}: expected ids of {meta.name}'s {len(wnid_of)} classes, found {error}") from error


def _wnids_by_kit_id(meta: Path) -> dict[int, str]:
    """The kit's id → WordNet id of the classes of the challenge, the synsets without children."""
    synsets = v5_array(meta, "synsets").ravel()
    try:
        rows = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], synsets["num_children"], strict=True)
        return {number.item(): str(wnid.item()) for number, wnid, children in rows if children.item() == 0}
    except (ValueError, AttributeError, IndexError, TypeError) as error:
        raise IbenchError(f"{meta}: not the development kit's table of synsets ({error})") from error


def _class_folders(spec: TaskSpec, root: Path, folder: Path) -> tuple[list[str], Mapping[str, str]]:
    """The same from folders named after the classes, where no metadata lies beside them."""
    classes = sorted(path for path in folder.iterdir() if _WNID.fullmatch(path.name) and path.is_dir())
    files = [file for one in classes for file in one.glob("ILSVRC2012_val_*.JPEG")]
    class_of = {file.name: file.parent.name for file in files}
    if not files:
        raise IbenchError(
            f"{spec.name}: {folder} has no folders n01440764, … of ILSVRC2012_val_*.JPEG; for pictures that lie flat, "
            f"unpack ILSVRC2012_devkit_t12.tar.gz in {root}, or put Kaggle's LOC_val_solution.csv there"
        )
    if len(class_of) != len(files):
        twice = next(file for file in files if class_of[file.name] != file.parent.name)
        raise IbenchError(f"{spec.name}: {twice} lies in the folder {class_of[twice.name]} as well")
    return [path.name for path in classes], class_of


def _of_wnids(class_of: Mapping[str, str], where: Path) -> Mapping[str, str]:
    """The mapping as it is. Raises IbenchError for a class that is no WordNet id: it is part of a path."""
    for name, wnid in class_of.items():
        if not _WNID.fullmatch(wnid):
            raise IbenchError(f"{where}: {name} has class {wnid!r}; expected a WordNet id such as n01440764")
    return class_of
