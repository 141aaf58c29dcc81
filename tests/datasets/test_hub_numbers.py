"""Labels that a hub copy keeps as numbers, and tar shards in the layout of webdataset."""

from __future__ import annotations

import io
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from ibench.cells import bind
from ibench.datasets import hub, open_dataset
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import HubCopy, TaskSpec


def spec_of(**more: object) -> TaskSpec:
    fields = {
        "name": "made",
        "version": 1,
        "kind": "classification",
        "query": "image",
        "target": "text",
        "dataset": {"reader": "hub", "path": "copy", "columns": {"image": "jpg", "label": "cls"}},
        "protocols": {"ibench": {"prompts": "lb_sound"}},
    }
    return TaskSpec.model_validate({**fields, **more})


def jpeg(seed: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(data, "JPEG")
    return data.getvalue()


def shard(path: Path, labels: list[int]) -> None:
    """A tar as clip-benchmark's repositories hold them: ``s0000000.jpg`` and ``s0000000.cls``, and so on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, label in enumerate(labels):
            for suffix, data in (("cls", str(label).encode()), ("jpg", jpeg(number))):
                member = tarfile.TarInfo(f"s{number:07d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def labels_of(spec: TaskSpec, root: Path) -> list[tuple[str, ...]]:
    return [item.labels for item in open_dataset(spec, root).items[Modality.IMAGE]]


def test_several_labels_in_one_text_are_parted_as_in_a_manifest(tmp_path: Path) -> None:
    """Else each combination of labels is a class of its own, as in mteb's copy of FSD50K."""
    texts = ["low,high", "low, ", "middle"]
    rows = [{"jpg": {"bytes": jpeg(row), "path": None}, "cls": text} for row, text in enumerate(texts)]
    Dataset.from_list(rows).save_to_disk(tmp_path / "copy")
    assert labels_of(spec_of(kind="multilabel"), tmp_path) == [("low", "high"), ("low",), ("middle",)]
    assert labels_of(spec_of(), tmp_path) == [("low,high",), ("low, ",), ("middle",)]


def test_shards_of_jpg_and_cls_are_read_with_labels_by_position(tmp_path: Path) -> None:
    shard(tmp_path / "copy" / "test" / "0.tar", [2, 0, 1])
    (tmp_path / "copy" / "classnames.txt").write_text("not a shard")
    spec = spec_of(labels=["ant", "bee", "cat"])
    assert labels_of(spec, tmp_path) == [("cat",), ("ant",), ("bee",)]
    item = open_dataset(spec, tmp_path).items[Modality.IMAGE][0]
    picture = item.decode()
    assert isinstance(picture, Image.Image)
    assert picture.size == (8, 8)


def test_labels_that_are_numbers_are_no_positions(tmp_path: Path) -> None:
    shard(tmp_path / "copy" / "test" / "0.tar", [2, 1, 3])
    spec = spec_of(labels={"1": "ant", "2": "bee", "3": "cat"})
    assert labels_of(spec, tmp_path) == [("2",), ("1",), ("3",)]


@pytest.mark.parametrize("label", [3, -1])
def test_a_number_without_a_class_is_refused(tmp_path: Path, label: int) -> None:
    """-1 is how the hub writes that a label is withheld; Python would take it for the last class."""
    shard(tmp_path / "copy" / "test" / "0.tar", [0, label])
    with pytest.raises(IbenchError, match=f"has label {label}; its 3 classes are numbered from 0"):
        open_dataset(spec_of(labels=["ant", "bee", "cat"]), tmp_path)


def test_names_of_open_clip_go_by_position(tmp_path: Path) -> None:
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    shard(tmp_path / "copy" / "test" / "0.tar", [0, 999])
    spec = spec_of(names_from_open_clip="IMAGENET_CLASSNAMES")
    cell = bind(spec, open_dataset(spec, tmp_path), None, None, None)
    assert cell.classes == tuple(map(str, range(1000)))
    gold = [cell.classes.index(item.labels[0]) for item in cell.dataset.items[Modality.IMAGE]]
    texts = [cell.texts[cell.names_of[row][0]][0] for row in gold]
    assert texts == ["a sound of tench.", f"a sound of {IMAGENET_CLASSNAMES[999]}."]


def test_names_of_open_clip_need_as_many_classes(tmp_path: Path) -> None:
    for label in ("n01440764", "n01443537"):
        (tmp_path / "copy" / label).mkdir(parents=True)
        (tmp_path / "copy" / label / "1.jpg").write_bytes(jpeg(0))
    spec = spec_of(dataset={"reader": "folder", "path": "copy"}, names_from_open_clip="IMAGENET_CLASSNAMES")
    with pytest.raises(IbenchError, match="2 classes in the data, and 1000 names"):
        bind(spec, open_dataset(spec, tmp_path), None, None, None)


def test_a_list_that_open_clip_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "copy" / "a").mkdir(parents=True)
    (tmp_path / "copy" / "a" / "1.jpg").write_bytes(jpeg(0))
    spec = spec_of(dataset={"reader": "folder", "path": "copy"}, names_from_open_clip="OTHER_CLASSNAMES")
    with pytest.raises(IbenchError, match="open_clip has no list 'OTHER_CLASSNAMES'"):
        bind(spec, open_dataset(spec, tmp_path), None, None, None)
    with pytest.raises(ValueError, match="either 'labels' or 'names_from_open_clip'"):
        spec_of(labels=["a"], names_from_open_clip="IMAGENET_CLASSNAMES")


def test_a_pinned_copy_may_name_the_files_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``files`` every split of a repository is fetched and unpacked, training data included."""
    shard(tmp_path / "copy" / "test" / "0.tar", [1, 0])
    (tmp_path / "copy" / "train").mkdir()
    (tmp_path / "copy" / "train" / "0.tar").write_bytes(b"what must not be read")
    local = partial(hub._Source, str(tmp_path / "copy"))
    monkeypatch.setattr(hub, "_Source", lambda _, split, revision, *rest: local(split, None, *rest))
    columns = {"image": "jpg", "label": "cls"}
    pinned = HubCopy(id="some/copy", revision="0" * 40, split="test", files="test/*.tar", columns=columns)
    data = hub.read_pinned(spec_of(labels=["ant", "bee"]), pinned)
    assert [item.labels for item in data.items[Modality.IMAGE]] == [("bee",), ("ant",)]
    with pytest.raises(IbenchError, match="cannot be opened"):
        hub.read_pinned(spec_of(labels=["ant", "bee"]), pinned.model_copy(update={"files": None}))


def test_a_class_label_of_digits_keeps_its_names(tmp_path: Path) -> None:
    from datasets import ClassLabel, Features
    from datasets import Image as Pictures

    features = Features({"jpg": Pictures(decode=False), "cls": ClassLabel(names=["7", "3"])})
    rows = [{"jpg": {"bytes": jpeg(0), "path": None}, "cls": label} for label in (0, 1)]
    Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "copy")
    assert labels_of(spec_of(), tmp_path) == [("7",), ("3",)]
