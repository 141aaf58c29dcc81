"""Places365's validation set as its tars hold it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibench.cells import bind
from ibench.datasets import open_dataset
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import TaskSpec, load_task


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Three categories, the last without a line break, and four pictures, of which one is not there."""
    (tmp_path / "categories_places365.txt").write_text(
        "/a/airplane_cabin 0\n/a/apartment_building/outdoor 1\n/z/zen_garden 2"
    )
    (tmp_path / "places365_val.txt").write_text(
        "".join(f"Places365_val_{row:08d}.jpg {number}\n" for row, number in enumerate((1, 0, 2, 1), 1))
    )
    for size in ("val_256", "val_large"):
        (tmp_path / size).mkdir()
        for row in (1, 2, 3):
            pixels = np.random.default_rng(row).integers(0, 255, (8, 8 if size == "val_256" else 12, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / size / f"Places365_val_{row:08d}.jpg")
    return tmp_path


def of_split(split: str | None) -> TaskSpec:
    spec = load_task("places365")
    return spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"split": split})})


def test_categories_are_numbered_and_named_by_the_data(places: Path) -> None:
    data = open_dataset(load_task("places365"), places)
    found = [item.labels[0] for item in data.items[Modality.IMAGE]]
    assert found == ["apartment_building/outdoor", "airplane_cabin", "zen_garden"]
    assert data.missing == ("Places365_val_00000004.jpg",)
    cell = bind(load_task("places365"), data, None, None, None)
    written = ["airplane cabin", "apartment building outdoor", "zen garden"]
    assert [texts[0] for texts in cell.texts] == [f"a bad photo of a {name}." for name in written]


def test_the_split_chooses_the_size(places: Path) -> None:
    widths = {}
    for split in ("val_256", "val_large", None):
        data = open_dataset(of_split(split), places)
        picture = data.items[Modality.IMAGE][0].decode()
        assert isinstance(picture, Image.Image)
        widths[split] = picture.width
    assert widths == {"val_256": 8, "val_large": 12, None: 8}
    with pytest.raises(IbenchError, match="no split 'val256'; did you mean val_256"):
        open_dataset(of_split("val256"), places)


def test_absent_parts_are_named(places: Path) -> None:
    for row in (1, 2, 3):
        (places / "val_large" / f"Places365_val_{row:08d}.jpg").unlink()
    (places / "val_large").rmdir()
    with pytest.raises(IbenchError, match="no folder val_large"):
        open_dataset(of_split("val_large"), places)
    (places / "places365_val.txt").unlink()
    with pytest.raises(IbenchError, match=r"unpack filelist_places365-standard\.tar there"):
        open_dataset(of_split(None), places)


def test_marks_of_other_editors_are_no_part_of_the_lists(places: Path) -> None:
    """A byte order mark before the first line, carriage returns, an empty line at the end."""
    before = open_dataset(of_split(None), places)
    for name in ("categories_places365.txt", "places365_val.txt"):
        file = places / name
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    after = open_dataset(of_split(None), places)
    assert (after.fingerprint(), after.missing) == (before.fingerprint(), before.missing)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("places365_val.txt", "Places365_val_00000001.jpg 3\n", "category 3, of 0 … 2"),
        ("places365_val.txt", "Places365_val_00000001.jpg\n", ":1: expected a new name and its number"),
        ("places365_val.txt", "a.jpg 0\na.jpg 1\n", ":2: expected a new name"),
        ("places365_val.txt", "../a.jpg 0\n", "leaves the data root"),
        ("categories_places365.txt", "/a/airfield 0\n/z/zen_garden 2\n", "not numbered 0 … 1"),
        ("categories_places365.txt", "airfield 0\n", ":1: expected a new name"),
    ],
)
def test_lists_that_do_not_fit_are_refused(places: Path, file: str, text: str, message: str) -> None:
    (places / file).write_text(text)
    with pytest.raises(IbenchError, match=message):
        open_dataset(of_split(None), places)
