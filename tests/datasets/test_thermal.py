"""LLVIP and FLIR ADAS as their publishers lay them out: boxes, what is drawn beside them, and what may be wrong."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ibench.cells import bind
from ibench.datasets import Dataset, Item, open_dataset
from ibench.datasets._boxes import Box
from ibench.datasets.llvip import TRIES, background_box
from ibench.errors import IbenchError, UnreadableSample
from ibench.modalities import Modality
from ibench.tasks import TaskSpec, load_task

WIDTH, HEIGHT = 200, 160
PERSONS = [(10, 20, 40, 90), (60, 30, 85, 100), (180, 100, 230, 170)]
"""The last one reaches over the edge at the right and below."""


def write_picture(path: Path, seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """Losslessly stored under its published name, so that pixels can be compared."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size[::-1]).astype(np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


def write_voc(path: Path, boxes: list[tuple[int, int, int, int]], name: str = "person") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    things = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>\n"
        for a, b, c, d in boxes
    )
    path.write_text(f"<annotation>\n<folder>LLVIP</folder>\n{things}</annotation>\n")


def write_pair(root: Path, name: str, boxes: list[tuple[int, int, int, int]]) -> None:
    write_picture(root / "infrared" / "test" / f"{name}.jpg", int(name))
    write_picture(root / "visible" / "test" / f"{name}.jpg", int(name) + 1)
    write_voc(root / "Annotations" / f"{name}.xml", boxes)


@pytest.fixture
def llvip(tmp_path: Path) -> Path:
    root = tmp_path / "data" / "LLVIP"
    write_pair(root, "190001", PERSONS)
    write_pair(root, "190002", [(100, 10, 130, 80)])
    write_picture(root / "infrared" / "train" / "010001.jpg", 7)
    write_voc(root / "Annotations" / "010001.xml", PERSONS)
    return root


def read(root: Path, task: str = "llvip") -> Dataset:
    return open_dataset(load_task(task), root.parent)


def thermal(root: Path) -> list[Item]:
    return list(read(root).items[Modality.THERMAL])


def box_of(item: Item) -> Box:
    return Box(*map(int, item.part.split(",")))


def test_every_person_has_a_box_of_the_background_beside_it(llvip: Path) -> None:
    items = thermal(llvip)
    assert Counter(item.labels for item in items) == {("person",): 4, ("background",): 4}
    assert Counter(item.cluster for item in items) == {"190001": 6, "190002": 2}  # and nothing of the training picture
    persons = {item.id: box_of(item) for item in items if item.labels == ("person",)}
    assert persons["190001-person-2"] == (180, 100, WIDTH, HEIGHT)  # clipped
    assert persons["190001-person-0"] == PERSONS[0]
    for item in items:
        if item.labels == ("background",):
            box, person = box_of(item), persons[item.id.replace("background", "person")]
            assert (box.right - box.left, box.bottom - box.top) == (
                person.right - person.left,
                person.bottom - person.top,
            )
            assert box.left >= 0
            assert box.top >= 0
            assert box.right <= WIDTH
            assert box.bottom <= HEIGHT
            taken = np.zeros((HEIGHT, WIDTH), bool)
            for id, other in persons.items():
                if id.startswith(item.cluster):
                    taken[other.top : other.bottom, other.left : other.right] = True
            assert not taken[box.top : box.bottom, box.left : box.right].any()


def test_a_crop_is_that_part_of_the_picture(llvip: Path) -> None:
    for item in thermal(llvip):
        whole = np.asarray(Image.open(item.content))  # type: ignore[arg-type]
        box = box_of(item)
        found = pickle.loads(pickle.dumps(item.decode))()
        np.testing.assert_array_equal(np.asarray(found), whole[box.top : box.bottom, box.left : box.right])


def test_what_is_drawn_depends_on_the_picture_alone(llvip: Path) -> None:
    before = {item.id: item.part for item in thermal(llvip)}
    write_pair(llvip, "180000", [(0, 0, 50, 50)])
    (llvip / "Annotations" / "190002.xml").unlink()
    after = {item.id: item.part for item in thermal(llvip) if item.cluster == "190001"}
    assert after == {id: part for id, part in before.items() if id.startswith("190001")}
    drawn = {background_box(f"{n:06d}", 0, [Box(0, 0, 20, 30)], WIDTH, HEIGHT) for n in range(200)}
    assert len(drawn) > 190  # other pictures, other places
    assert background_box("190001", 0, [Box(0, 0, 20, 30)], 1280, 1024) == (995, 328, 1015, 358)  # on every machine


def test_places_are_drawn_from_the_whole_picture() -> None:
    boxes = [background_box(f"{n:06d}", 0, [Box(0, 0, 1, 1)], 11, 6) for n in range(3000)]
    counts = Counter((box.left, box.top) for box in boxes if box)
    assert set(counts) == {(x, y) for x in range(11) for y in range(6)} - {(0, 0)}
    assert max(counts.values()) < 3 * min(counts.values())


def test_a_crowded_picture_has_fewer_boxes_of_the_background(llvip: Path) -> None:
    write_pair(llvip, "190003", [(0, 0, WIDTH, HEIGHT), (20, 20, 60, 60)])
    items = [item for item in thermal(llvip) if item.cluster == "190003"]
    assert [item.labels for item in items] == [("person",), ("person",)]
    assert TRIES >= 50


def test_small_boxes_are_no_samples_and_still_persons(llvip: Path) -> None:
    write_pair(llvip, "190003", [(50, 50, 60, 150), (50, 50, 61, 61), (300, 0, 400, 50)])
    items = [item for item in thermal(llvip) if item.cluster == "190003"]
    assert [item.id for item in items] == ["190003-person-1", "190003-background-1"]
    assert not box_of(items[1]).overlaps(Box(50, 50, 60, 150))


def test_only_persons_count(llvip: Path) -> None:
    write_voc(llvip / "Annotations" / "190002.xml", [(1, 2, 30, 40)], name="bicycle")
    assert {item.cluster for item in thermal(llvip)} == {"190001"}


def test_names_by_protocol(llvip: Path) -> None:
    spec, data = load_task("llvip"), read(llvip)
    paper = bind(spec, data, None, None, None)
    assert paper.classes == ("person", "background")
    assert [len(names) for names in paper.names_of] == [4, 5]
    assert len(paper.texts[0]) == 80
    for protocol, names in {"languagebind": ("people", "background"), "codebind": ("person", "background")}.items():
        texts = bind(spec, data, protocol, None, None).texts
        assert [prompts[0] for prompts in texts] == [f"a bad photo of a {name}." for name in names]


def test_an_incomplete_llvip(llvip: Path) -> None:
    (llvip / "infrared" / "test" / "190002.jpg").unlink()
    (llvip / "Annotations" / "190001.xml").unlink()
    data = read(llvip)
    assert data.items[Modality.THERMAL] == []
    assert data.missing == ("Annotations/190001.xml", "infrared/test/190002.jpg")
    for file in llvip.glob("*/test/*.jpg"):
        file.unlink()
    with pytest.raises(IbenchError, match="no jpg in"):
        read(llvip)
    with pytest.raises(IbenchError, match=r"infrared/test not found.*LLVIP\.zip"):
        open_dataset(load_task("llvip"), llvip.parent / "LLVIP" / "Annotations")


def test_a_damaged_picture_has_persons_that_cannot_be_read(llvip: Path) -> None:
    (llvip / "infrared" / "test" / "190001.jpg").write_bytes(b"no picture")
    items = [item for item in thermal(llvip) if item.cluster == "190001"]
    assert [item.labels for item in items] == [("person",)] * 3
    for item in items:
        with pytest.raises(UnreadableSample, match=r"190001\.jpg: no image"):
            item.decode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation><object>", "no element found"),
        ("<annotation><object><name>person</name></object></annotation>", "an object without xmin"),
        ("<annotation><object><name>person</name><bndbox><xmin>left</xmin></bndbox></object></annotation>", "'left'"),
        ('<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>', "EntitiesForbidden"),
        ("<annotation>" + " " * 2**20 + "</annotation>", "larger than"),
    ],
)
def test_a_bad_annotation_is_named(llvip: Path, text: str, reason: str) -> None:
    (llvip / "Annotations" / "190002.xml").write_text(text)
    with pytest.raises(IbenchError, match=rf"190002\.xml.*{reason}"):
        read(llvip)


def test_edges_that_are_no_numbers(llvip: Path) -> None:
    for edge in ("inf", "nan"):
        write_voc(llvip / "Annotations" / "190002.xml", [(edge, 1, 50, 50)])  # type: ignore[list-item]
        with pytest.raises(IbenchError, match=r"190002\.xml"):
            read(llvip)


@pytest.mark.parametrize("task", ["llvip", "llvip_image"])
def test_hidden_files_are_no_pictures(llvip: Path, task: str) -> None:
    """Archives made on macOS hold a ._190001.jpg of metadata beside each picture."""
    before = read(llvip, task).fingerprint()
    for camera in ("infrared", "visible"):
        (llvip / camera / "test" / "._190001.jpg").write_bytes(b"Mac OS X")
    after = read(llvip, task)
    assert (after.fingerprint(), after.missing) == (before, ())


def test_pairs_of_whole_pictures(llvip: Path) -> None:
    (llvip / "visible" / "test" / "190002.jpg").unlink()
    data = read(llvip, "llvip_image")
    seen = {modality: [item.id for item in items] for modality, items in data.items.items()}
    assert seen == {Modality.THERMAL: ["190001.jpg", "190002.jpg"], Modality.IMAGE: ["190001.jpg"]}
    assert data.missing == ("visible/test/190002.jpg",)
    (image,) = data.items[Modality.IMAGE]
    assert image.group == data.items[Modality.THERMAL][0].group
    assert image.decode().size == (WIDTH, HEIGHT)
    assert data.contents(Modality.IMAGE)[0] != data.contents(Modality.THERMAL)[0]


def test_llvip_has_two_cameras(llvip: Path) -> None:
    spec = load_task("llvip").model_copy(update={"query": Modality.AUDIO})
    with pytest.raises(IbenchError, match="thermal and image, not audio"):
        open_dataset(spec, llvip.parent)
    visible = open_dataset(load_task("llvip").model_copy(update={"query": Modality.IMAGE}), llvip.parent)
    assert [item.part for item in visible.items[Modality.IMAGE]] == [item.part for item in thermal(llvip)]


# FLIR -----------------------------------------------------------------------------------------------------------------


def coco(**more: Any) -> dict[str, Any]:
    """FLIR ADAS 1.3's annotations in small: numbers of categories with gaps, two pictures, one category too many."""
    boxes = [
        (0, 18, [1, 2, 20, 30]),
        (0, 1, [150.4, 99.6, 80.0, 80.0]),
        (1, 3, [5, 5, 30.5, 11.2]),
        (1, 91, [0, 0, 99, 99]),
    ]
    return {
        "images": [
            {"id": 0, "file_name": "thermal_8_bit/FLIR_08863.jpeg", "width": WIDTH, "height": HEIGHT},
            {"id": 1, "file_name": "thermal_8_bit/FLIR_08864.jpeg", "width": WIDTH, "height": HEIGHT},
        ],
        "categories": [
            {"id": id, "name": name, "supercategory": "unknown"}
            for id, name in ((1, "person"), (2, "bicycle"), (3, "car"), (18, "dog"), (91, "other vehicle"))
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "bbox": box, "iscrowd": 0}
            for n, (image, category, box) in enumerate(boxes)
        ],
        **more,
    }


@pytest.fixture
def flir(tmp_path: Path) -> Path:
    folder = tmp_path / "FLIR_ADAS_1_3" / "val"
    for number in (8863, 8864):
        write_picture(folder / "thermal_8_bit" / f"FLIR_{number:05d}.jpeg", number)
    (folder / "thermal_annotations.json").write_text(json.dumps(coco()))
    return folder / "thermal_annotations.json"


def boxes_of(table: Path, spec: TaskSpec | None = None) -> Dataset:
    return open_dataset(spec or load_task("flir_v1"), table.parents[2])


def test_flir_is_read_as_published(flir: Path) -> None:
    data = boxes_of(flir)
    items = data.items[Modality.THERMAL]
    assert [(item.labels[0], box_of(item)) for item in items] == [
        ("dog", (1, 2, 21, 32)),
        ("person", (150, 100, WIDTH, HEIGHT)),  # rounded, and clipped to the picture
        ("car", (5, 5, 36, 16)),
    ]
    assert [item.cluster for item in items] == [f"thermal_8_bit/FLIR_0{number}.jpeg" for number in (8863, 8863, 8864)]
    assert items[0].decode().size == (20, 30)
    assert bind(load_task("flir_v1"), data, None, None, None).classes == ("bicycle", "car", "dog", "person")


def test_without_labels_all_categories_with_a_box_are_taken(flir: Path) -> None:
    data = boxes_of(flir, load_task("flir_v1").model_copy(update={"labels": None}))
    assert list(data.labels or {}) == ["person", "car", "dog", "other vehicle"]
    assert len(data.items[Modality.THERMAL]) == 4


def test_a_picture_that_is_not_there_or_smaller_than_it_says(flir: Path) -> None:
    (flir.parent / "thermal_8_bit" / "FLIR_08863.jpeg").unlink()
    write_picture(flir.parent / "thermal_8_bit" / "FLIR_08864.jpeg", 1, (20, 12))
    data = boxes_of(flir)
    assert data.missing == ("thermal_8_bit/FLIR_08863.jpeg",)
    (item,) = data.items[Modality.THERMAL]
    with pytest.raises(UnreadableSample, match=r"box \(5, 5, 36, 16\) leaves the image of 20 × 12"):
        item.decode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"categories": [{"id": 1, "name": "people"}]}, "no category 'bicycle'"),
        ({"images": []}, "annotation 0 is of image 0, which is not listed"),
        ({"annotations": []}, "no box"),
        ({"annotations": [{"image_id": 0, "category_id": 1, "bbox": [0, 0, 50]}]}, r"annotations\.0\.bbox\.3"),
        ({"annotations": [{"image_id": 0, "category_id": 1, "bbox": [0, 0, 50, float("inf")]}]}, r"bbox\.3.*finite"),
        ({"images": [{"id": 0, "file_name": "../../x.jpeg", "width": 9, "height": 9}]}, "leaves the data root"),
    ],
)
def test_annotations_that_do_not_fit(flir: Path, change: dict[str, Any], reason: str) -> None:
    flir.write_text(json.dumps(coco(**change)))
    with pytest.raises(IbenchError, match=rf"thermal_annotations\.json.*{reason}"):
        boxes_of(flir)


def test_flir_2_goes_by_the_names_of_its_prompts(tmp_path: Path) -> None:
    folder = tmp_path / "FLIR_ADAS_v2" / "images_thermal_val"
    spec = load_task("flir_v2")
    names = [*(spec.labels or ()), "train", "dog"]
    write_picture(folder / "data" / "video-a-frame-000001-b.jpg", 1)
    image = {"id": 0, "file_name": "data/video-a-frame-000001-b.jpg", "width": WIDTH, "height": HEIGHT}
    annotations = [{"image_id": 0, "category_id": id, "bbox": [id, id, 30, 30]} for id in range(len(names))]
    categories = [{"id": id, "name": name} for id, name in enumerate(names)]
    text = json.dumps({"images": [image], "categories": categories, "annotations": annotations})
    (folder / "coco.json").write_text(text)
    cell = bind(spec, open_dataset(spec, tmp_path), None, None, None)
    assert len(cell.dataset.items[Modality.THERMAL]) == 12
    first = dict(zip(cell.classes, (prompts[0] for prompts in cell.texts), strict=True))
    assert first["light"] == "a bad photo of a traffic light."
    assert first["other vehicle"] == "a bad photo of a construction equipment or trailers."


@pytest.mark.parametrize("name", ["llvip_languagebind", "flir_v1_languagebind", "flir_v2_languagebind"])
def test_the_crops_that_languagebind_distributes(tmp_path: Path, name: str) -> None:
    spec = load_task(name)
    for label in spec.labels or ():
        write_picture(tmp_path / spec.dataset.path / label / "1.jpg", 3)
    data = open_dataset(spec, tmp_path)
    assert [item.labels for item in data.items[Modality.THERMAL]] == [(label,) for label in spec.labels or ()]
    (tmp_path / spec.dataset.path / "cat").mkdir()
    write_picture(tmp_path / spec.dataset.path / "cat" / "1.jpg", 3)
    with pytest.raises(IbenchError, match="label 'cat'"):
        bind(spec, open_dataset(spec, tmp_path), None, None, None)
