"""COCO's and Flickr30k's test captions in the files they are found in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ibench
from ibench.datasets import Dataset, open_dataset
from ibench.encoders import Card
from ibench.encoders.embeddings import StoredEmbeddings, Table
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import load_task

COCO = {
    "COCO_val2014_000000000042.jpg": ["A dog , running .", "a dog\n"],
    "COCO_val2014_000000000007.jpg": ["Two men."],
}
FLICKR = {"1000.jpg": ["A man, in red, waves.", 'A sign says "stop".'], "77.jpg": ['"Go", it says.', "Plain words ."]}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)


def coco_format(captions: dict[str, list[str]]) -> dict[str, list[dict[str, object]]]:
    ids = {name: int(name[-10:-4]) for name in captions}
    pairs = [(ids[name], text) for name, texts in captions.items() for text in texts]
    return {
        "images": [{"id": number, "file_name": name} for name, number in ids.items()],
        "annotations": [{"id": 1, "image_id": number, "caption": text} for number, text in reversed(pairs)],
    }


def karpathy(captions: dict[str, list[str]], **more: str) -> dict[str, object]:
    def entry(name: str, split: str, texts: list[str]) -> dict[str, object]:
        sentences = [{"raw": text, "tokens": text.split(), "imgid": 0, "sentid": 0} for text in texts]
        return {"filename": name, "split": split, "sentences": sentences, "imgid": 0, "sentids": [0], **more}

    tests = [entry(name, "test", texts) for name, texts in captions.items()]
    return {"dataset": "made", "images": [entry("other.jpg", "train", ["Not this."]), *tests]}


def captions_of(data: Dataset) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in data.items[Modality.TEXT]:
        found.setdefault(item.group, []).append(str(item.decode()))
    return found


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    for name in COCO:
        picture(tmp_path / "coco" / "val2014" / name)
    return tmp_path / "coco"


@pytest.fixture
def flickr(tmp_path: Path) -> Path:
    for name in FLICKR:
        picture(tmp_path / "flickr30k" / "flickr30k-images" / name)
    return tmp_path / "flickr30k"


def test_coco_in_both_files(coco: Path) -> None:
    (coco / "dataset_coco.json").write_text(json.dumps(karpathy(COCO, filepath="val2014")))
    data = open_dataset(load_task("coco_retrieval"), coco.parent)
    assert captions_of(data) == COCO
    (coco / "dataset_coco.json").unlink()
    (coco / "coco_test_karpathy.json").write_text(json.dumps(coco_format(COCO)))
    again = open_dataset(load_task("coco_retrieval"), coco)  # the folder itself
    assert {name: sorted(texts) for name, texts in captions_of(again).items()} == {
        name: sorted(texts) for name, texts in COCO.items()
    }
    assert [item.id for item in again.items[Modality.IMAGE]] == list(COCO)
    assert {item.cluster for item in again.items[Modality.TEXT]} == set(COCO)


def test_flickr_in_both_files(flickr: Path) -> None:
    (flickr / "dataset_flickr30k.json").write_text(json.dumps(karpathy(FLICKR)))
    data = open_dataset(load_task("flickr30k_retrieval"), flickr.parent)
    assert captions_of(data) == FLICKR
    lines = [
        "image,caption",
        "1000.jpg,A man, in red, waves.",
        '1000.jpg,"A sign says ""stop""."',
        '77.jpg,"""Go"", it says."',
        "77.jpg,Plain words .",
        "",
    ]
    (flickr / "flickr30k_test_karpathy.txt").write_text("\n".join(lines))
    again = open_dataset(load_task("flickr30k_retrieval"), flickr)
    assert captions_of(again) == FLICKR
    assert again.fingerprint() == data.fingerprint()


def test_quotes_of_the_caption_stay(flickr: Path) -> None:
    lines = ['1000.jpg,"Go", it says.', '1000.jpg,A sign says "stop"', '1000.jpg,"Go" and "stop"']
    (flickr / "flickr30k_test_karpathy.txt").write_text("\n".join(lines))
    found = captions_of(open_dataset(load_task("flickr30k_retrieval"), flickr))
    assert found["1000.jpg"] == ['"Go", it says.', 'A sign says "stop"', '"Go" and "stop"']


@pytest.mark.parametrize("folder", ["flickr30k_images", "."])
def test_flickrs_pictures_may_lie_elsewhere(flickr: Path, folder: str) -> None:
    (flickr / "dataset_flickr30k.json").write_text(json.dumps(karpathy(FLICKR)))
    for name in FLICKR:
        (flickr / "flickr30k-images" / name).unlink()
        picture(flickr / folder / name)
    (flickr / "flickr30k-images").rmdir()
    assert open_dataset(load_task("flickr30k_retrieval"), flickr).missing == ()


def test_each_direction_counts_its_own_queries(flickr: Path) -> None:
    """Four captions of two pictures: the second caption of each is taken for the other picture's."""
    (flickr / "dataset_flickr30k.json").write_text(json.dumps(karpathy(FLICKR)))
    texts = [text for several in FLICKR.values() for text in several]
    east, north = np.eye(2, dtype=np.float32)
    tables = {
        Modality.TEXT: Table(np.stack([east, north, north, east]), {text: row for row, text in enumerate(texts)}),
        Modality.IMAGE: Table(np.stack([east, north]), {name: row for row, name in enumerate(FLICKR)}),
    }
    encoder = StoredEmbeddings(Card(name="by id", family="test", modalities=tuple(tables), by_id=True), tables)
    (record,) = ibench.evaluate(encoder, ["flickr30k_retrieval"], data_root=flickr)
    assert record.metrics["recall@1"].n == 4
    assert record.metrics["recall@1"].value == 0.5
    assert record.metrics["reverse_recall@1"].n == 2
    assert record.metrics["recall@5"].value == record.metrics["reverse_recall@5"].value == 1


def test_a_missing_picture_leaves_its_captions_unasked(coco: Path) -> None:
    (coco / "coco_test_karpathy.json").write_text(json.dumps(coco_format(COCO)))
    (coco / "val2014" / "COCO_val2014_000000000007.jpg").unlink()
    data = open_dataset(load_task("coco_retrieval"), coco)
    assert data.missing == ("COCO_val2014_000000000007.jpg",)
    assert len(data.items[Modality.TEXT]) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON: recursion limit"),
        ("[]", r"karpathy\.json: Input should be an object"),
        ('{"images": 3, "annotations": []}', "images: Input should be a valid array"),
        ('{"images": [{"id": [1], "file_name": "a.jpg"}], "annotations": []}', r"images\.0\.id: Input should be"),
        ('{"images": [{"id": 1}], "annotations": []}', r"images\.0\.file_name: Field required"),
        ('{"images": [], "annotations": ["a"]}', r"annotations\.0: Input should be an object"),
        ('{"images": [], "annotations": [{"image_id": 1, "caption": ""}]}', "picture 1, which is not among"),
        ('{"images": [{"id": 1, "file_name": ".."}], "annotations": []}', "leaves the data root"),
    ],
)
def test_unfit_json_is_refused(coco: Path, content: str, message: str) -> None:
    (coco / "coco_test_karpathy.json").write_text(content)
    with pytest.raises(IbenchError, match=message):
        open_dataset(load_task("coco_retrieval"), coco)


def test_sentences_that_are_no_objects_are_refused(flickr: Path) -> None:
    pictures = [{"filename": "1000.jpg", "split": "test", "sentences": ["A man."]}]
    (flickr / "dataset_flickr30k.json").write_text(json.dumps({"images": pictures}))
    with pytest.raises(IbenchError, match=r"images\.0\.sentences\.0: Input should be an object"):
        open_dataset(load_task("flickr30k_retrieval"), flickr)


def test_a_byte_order_mark_is_no_part_of_a_name(coco: Path, flickr: Path) -> None:
    """Editors on Windows put one before the first line."""
    (coco / "coco_test_karpathy.json").write_text(json.dumps(coco_format(COCO)), encoding="utf-8-sig")
    assert set(captions_of(open_dataset(load_task("coco_retrieval"), coco))) == set(COCO)
    (flickr / "flickr30k_test_karpathy.txt").write_text("1000.jpg,A man.\n", encoding="utf-8-sig")
    assert set(captions_of(open_dataset(load_task("flickr30k_retrieval"), flickr))) == {"1000.jpg"}


def test_unfit_lines_are_refused(flickr: Path) -> None:
    table = flickr / "flickr30k_test_karpathy.txt"
    table.write_text("image,caption\n1000.jpg,A man.\nno picture here\n")
    with pytest.raises(IbenchError, match=r"karpathy\.txt:3: expected <name>\.jpg,<caption>"):
        open_dataset(load_task("flickr30k_retrieval"), flickr)
    table.write_text("image,caption\n../1000.jpg,A man.\n")
    with pytest.raises(IbenchError, match="leaves the data root"):
        open_dataset(load_task("flickr30k_retrieval"), flickr)
    table.write_text("image,caption\n")
    with pytest.raises(IbenchError, match="no captions"):
        open_dataset(load_task("flickr30k_retrieval"), flickr)
    table.unlink()
    (flickr / "dataset_flickr30k.json").write_text(json.dumps({"images": []}))
    with pytest.raises(IbenchError, match="no picture of split 'test'"):
        open_dataset(load_task("flickr30k_retrieval"), flickr)
    (flickr / "dataset_flickr30k.json").unlink()
    with pytest.raises(IbenchError, match=r"dataset_flickr30k\.json not found"):
        open_dataset(load_task("flickr30k_retrieval"), flickr)
