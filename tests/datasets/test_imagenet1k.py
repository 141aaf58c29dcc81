"""ImageNet's validation set in the layouts it is distributed in: the kit's ids, class folders, Kaggle's tree."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ibench.cells import bind
from ibench.datasets import Dataset, open_dataset
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import load_task

KIT_ORDER = ["n02119789", "n02100735", "n01440764", "n15075141"]
"""The beginning of the real kit's order, and what WordNet's order begins and ends with."""
TRUTH = [3, 1, 4, 1, 2, 3]  # ids of the kit
CLASSES = [KIT_ORDER[number - 1] for number in TRUTH]
NAMES = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 7)]


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


def kit(folder: Path, truth: list[int] | None = None) -> None:
    """``meta.mat`` as MATLAB writes a struct array: classes 1 … 4, and a synset above two of them."""
    rows = [(number, wnid, 0) for number, wnid in enumerate(KIT_ORDER, 1)] + [(5, "n00001740", 2)]
    synsets = np.empty((len(rows), 1), dtype=[(name, object) for name in ("ILSVRC2012_ID", "WNID", "num_children")])
    for row, (number, wnid, children) in enumerate(rows):
        synsets[row, 0] = (float(number), wnid, float(children))
    folder.mkdir(parents=True)
    savemat(folder / "meta.mat", {"synsets": synsets})
    lines = "".join(f"{number}\n" for number in truth or TRUTH)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)


def flat_with_kit(root: Path) -> None:
    for seed, name in enumerate(NAMES):
        picture(root / "imagenet" / "val" / name, seed)
    kit(root / "imagenet" / "ILSVRC2012_devkit_t12" / "data")


def class_folders(root: Path) -> None:
    for seed, (name, wnid) in enumerate(zip(NAMES, CLASSES, strict=True)):
        picture(root / "imagenet" / "val" / wnid / name, seed)


def kaggle(root: Path) -> None:
    for seed, name in enumerate(NAMES):
        picture(root / "imagenet" / "ILSVRC" / "Data" / "CLS-LOC" / "val" / name, seed)
    rows = [f"{name[:-5]},{wnid} 10 20 30 40 {wnid} 1 2 3 4 " for name, wnid in zip(NAMES, CLASSES, strict=True)]
    (root / "imagenet" / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *reversed(rows)]))
    mapping = "".join(f"{wnid} a name, another\n" for wnid in sorted(KIT_ORDER))
    (root / "imagenet" / "LOC_synset_mapping.txt").write_text(mapping)


def images(data: Dataset) -> list[tuple[str, str]]:
    return [(item.id, item.labels[0]) for item in data.items[Modality.IMAGE]]


@pytest.mark.parametrize("layout", [flat_with_kit, class_folders, kaggle])
def test_every_layout_is_the_same_data_set(layout: Callable[[Path], None], tmp_path: Path) -> None:
    layout(tmp_path)
    data = open_dataset(load_task("imagenet1k"), tmp_path)
    assert images(data) == list(zip(NAMES, CLASSES, strict=True))
    assert list(data.labels or {}) == sorted(KIT_ORDER)  # WordNet's order, not the kit's
    assert data.missing == ()
    assert open_dataset(load_task("imagenet1k"), tmp_path / "imagenet").fingerprint() == data.fingerprint()
    flat_with_kit(tmp_path / "other")
    assert open_dataset(load_task("imagenet1k"), tmp_path / "other").fingerprint() == data.fingerprint()


def test_pictures_that_the_kit_lists_and_the_copy_lacks_are_missing(tmp_path: Path) -> None:
    flat_with_kit(tmp_path)
    (tmp_path / "imagenet" / "val" / NAMES[3]).unlink()
    moved = tmp_path / "imagenet" / "val" / CLASSES[4] / NAMES[4]
    moved.parent.mkdir()
    shutil.move(tmp_path / "imagenet" / "val" / NAMES[4], moved)  # in a class folder as well as beside it
    data = open_dataset(load_task("imagenet1k"), tmp_path)
    assert data.missing == (NAMES[3],)
    assert len(images(data)) == 5


def test_names_are_open_clips_and_need_all_classes(tmp_path: Path) -> None:
    """Position 0 is the tench, n01440764; with four classes the names of the others would be wrong."""
    class_folders(tmp_path)
    spec = load_task("imagenet1k")
    with pytest.raises(IbenchError, match="4 classes in the data, and 1000 names"):
        bind(spec, open_dataset(spec, tmp_path), None, None, None)
    for number in range(996):
        (tmp_path / "imagenet" / "val" / f"n1{number:07d}").mkdir()
    cell = bind(spec, open_dataset(spec, tmp_path), None, None, None)
    assert len(cell.classes) == 1000
    assert cell.texts[cell.names_of[cell.classes.index("n01440764")][0]][0] == "a bad photo of a tench."
    assert cell.texts[cell.names_of[-1][0]][0] == "a bad photo of a toilet paper."


def test_flat_pictures_alone_tell_no_classes(tmp_path: Path) -> None:
    flat_with_kit(tmp_path)
    shutil.rmtree(tmp_path / "imagenet" / "ILSVRC2012_devkit_t12")
    with pytest.raises(IbenchError, match=r"unpack ILSVRC2012_devkit_t12\.tar\.gz"):
        open_dataset(load_task("imagenet1k"), tmp_path)


def test_a_kit_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    flat_with_kit(tmp_path)
    data = tmp_path / "imagenet" / "ILSVRC2012_devkit_t12" / "data"
    truth = data / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("1\n5\n")  # 5 is no class but has some below it
    with pytest.raises(IbenchError, match=r"expected ids of meta\.mat's 4 classes, found 5"):
        open_dataset(load_task("imagenet1k"), tmp_path)
    truth.write_text("1\nnone\n")
    with pytest.raises(IbenchError, match="none"):
        open_dataset(load_task("imagenet1k"), tmp_path)
    savemat(data / "meta.mat", {"synsets": np.array([1, 2])})
    with pytest.raises(IbenchError, match="not the development kit's table"):
        open_dataset(load_task("imagenet1k"), tmp_path)


def test_a_forged_kit_is_refused_before_scipy_sees_it(tmp_path: Path) -> None:
    """An unknown type code makes scipy look behind the end of its table, which ends the process."""
    flat_with_kit(tmp_path)
    meta = tmp_path / "imagenet" / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
    whole = meta.read_bytes()
    wnid = whole.index(KIT_ORDER[0].encode())
    meta.write_bytes(whole[: wnid - 8] + struct.pack("<I", 0xBE10) + whole[wnid - 4 :])
    with pytest.raises(IbenchError, match=r"meta\.mat: cannot be read as a MATLAB file \(type 48656"):
        open_dataset(load_task("imagenet1k"), tmp_path)


def test_lists_with_a_byte_order_mark(tmp_path: Path) -> None:
    for layout, name in ((flat_with_kit, "ILSVRC2012_validation_ground_truth.txt"), (kaggle, "LOC_val_solution.csv")):
        layout(tmp_path / layout.__name__)
        before = open_dataset(load_task("imagenet1k"), tmp_path / layout.__name__).fingerprint()
        (table,) = (tmp_path / layout.__name__).rglob(name)
        table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
        assert open_dataset(load_task("imagenet1k"), tmp_path / layout.__name__).fingerprint() == before


@pytest.mark.parametrize("row", ["ILSVRC2012_val_00000001,../../elsewhere 1 2 3 4", "ILSVRC2012_val_00000001,tench"])
def test_a_class_that_is_no_wordnet_id_is_refused(row: str, tmp_path: Path) -> None:
    kaggle(tmp_path)
    (tmp_path / "imagenet" / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{row}\n")
    with pytest.raises(IbenchError, match="expected a WordNet id"):
        open_dataset(load_task("imagenet1k"), tmp_path)


def test_a_table_of_other_columns_and_a_path_that_leaves_are_refused(tmp_path: Path) -> None:
    kaggle(tmp_path)
    table = tmp_path / "imagenet" / "LOC_val_solution.csv"
    for text in ("id,label\n1,2\n", "ImageId,PredictionString\nILSVRC2012_val_00000001\n"):
        table.write_text(text)
        with pytest.raises(IbenchError, match="expected columns ImageId and PredictionString"):
            open_dataset(load_task("imagenet1k"), tmp_path)
    table.write_text("ImageId,PredictionString\n../../secret,n01440764 1 2 3 4\n")
    with pytest.raises(IbenchError, match="leaves the data root"):
        open_dataset(load_task("imagenet1k"), tmp_path)


def test_a_picture_in_two_class_folders_is_refused(tmp_path: Path) -> None:
    class_folders(tmp_path)
    picture(tmp_path / "imagenet" / "val" / CLASSES[1] / NAMES[0], 0)
    with pytest.raises(IbenchError, match=f"{NAMES[0]} lies in the folder"):
        open_dataset(load_task("imagenet1k"), tmp_path)


def test_without_a_copy_it_says_where_one_is(tmp_path: Path) -> None:
    with pytest.raises(IbenchError, match=r"ILSVRC/Data/CLS-LOC/val not found\. Get the data from https://image-net"):
        open_dataset(load_task("imagenet1k"), tmp_path)
