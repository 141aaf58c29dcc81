"""Readers on faithful miniatures of what publishers ship, quirks included."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
from conftest import COLOURS, TONES_HZ, tone
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as Pillow
from toy_encoder import make_oracle

import ibench
from ibench.datasets import open_dataset
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import TaskSpec, load_task

CATEGORIES = ["dog", "rooster", "pig", "sea_waves"]


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    """ESC-50-master in small: four of its classes in target order, five folds, 44.1 kHz, one file missing."""
    root = tmp_path / "data" / "ESC-50-master"
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, category in enumerate(CATEGORIES):
            name = f"{fold}-{1000 + fold}-A-{target}.wav"
            lines.append(f"{name},{fold},{target},{category},False,{1000 + fold},A")
            if (fold, target) != (5, 3):
                tone(200 + 50 * target, 0.2, 44100, root / "audio" / name)
    (root / "meta" / "esc50.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    return root


def test_esc50_is_read_as_published(esc50: Path) -> None:
    spec = load_task("esc50")
    for given in (esc50.parent, esc50):  # the folder that holds it, or the folder itself
        data = open_dataset(spec, given)
        assert list(data.labels or {}) == CATEGORIES  # target order, whatever the rows' order
        assert len(data.items[Modality.AUDIO]) == 19
        assert data.missing == ("5-1005-A-3.wav",)
    item = data.items[Modality.AUDIO][0]
    assert item.cluster == "1005"
    assert item.decode().rate == 44100


def test_a_sample_that_is_listed_twice_is_refused(esc50: Path) -> None:
    with (esc50 / "meta" / "esc50.csv").open("a") as table:
        table.write("\n1-1001-A-0.wav,1,0,dog,False,1001,A\n")
    with pytest.raises(IbenchError, match=r"esc50: audio '1-1001-A-0\.wav' is listed twice under .*ESC-50-master"):
        open_dataset(load_task("esc50"), esc50)


def test_what_the_file_system_refuses_is_told(esc50: Path) -> None:
    with (esc50 / "meta" / "esc50.csv").open("a") as table:
        table.write(f"\n{'n' * 300}.wav,1,0,dog,False,1,A\n")
    with pytest.raises(IbenchError, match=r"esc50: .*nnn\.wav: File name too long"):
        open_dataset(load_task("esc50"), esc50)


def test_esc50_names_are_written_as_the_protocol_says(esc50: Path) -> None:
    from ibench.cells import bind

    data = open_dataset(load_task("esc50"), esc50)
    paper = bind(load_task("esc50"), data, "imagebind-paper", None, None)
    mteb = bind(load_task("esc50"), data, "mteb", None, None)
    assert len(paper.texts[3]) == 80
    assert paper.texts[3][0] == "a bad photo of a sea waves."
    assert mteb.texts[3] == ("This is a sound of sea_waves",)


def test_esc50_folds(esc50: Path) -> None:
    spec = load_task("esc50")
    one = spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"split": "fold2"})})
    assert len(open_dataset(one, esc50).items[Modality.AUDIO]) == 4
    with pytest.raises(IbenchError, match="fold1 … fold5"):
        open_dataset(spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"split": "fold9"})}), esc50)


def spec_of(reader: str, **more: object) -> TaskSpec:
    fields = {
        "name": "made",
        "version": 1,
        "kind": "classification",
        "query": "image",
        "target": "text",
        "dataset": {"reader": reader, "path": "copy", "split": "test"},
        "protocols": {"ibench": {"prompts": "lb_sound"}},
    }
    return TaskSpec.model_validate({**fields, **more})


def png(colour: tuple[int, int, int], seed: int) -> bytes:
    pixels = np.clip(np.array(colour) * 0.8 + np.random.default_rng(seed).integers(0, 40, (8, 8, 3)), 0, 255)
    data = io.BytesIO()
    Pillow.fromarray(pixels.astype(np.uint8)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def hub_rows() -> Dataset:
    """Pictures as the hub keeps them: bytes and a path in a struct, labels as numbers with names."""
    names = list(COLOURS)
    rows = [
        {"image": {"bytes": png(COLOURS[name], seed), "path": None}, "label": names.index(name)}
        for name in names
        for seed in range(3)
    ]
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=names)})
    return Dataset.from_list(rows, features=features)


@pytest.mark.parametrize("layout", ["save_to_disk", "save_to_disk_splits", "parquet"])
def test_a_hub_data_set_is_read_from_each_layout(tmp_path: Path, hub_rows: Dataset, layout: str) -> None:
    copy = tmp_path / "copy"
    if layout == "save_to_disk":
        hub_rows.save_to_disk(copy)
    elif layout == "save_to_disk_splits":
        DatasetDict({"test": hub_rows}).save_to_disk(copy)
    else:
        (copy / "data").mkdir(parents=True)
        hub_rows.to_parquet(copy / "data" / "test-00000-of-00001.parquet")
    spec = spec_of("hub")
    data = open_dataset(spec, tmp_path)
    assert list(data.labels or {}) == list(COLOURS)
    (record,) = ibench.evaluate(make_oracle("cpu", "fp32"), [spec], data_root=tmp_path)
    assert (record.n, record.score.value) == (9, 1)


def test_few_shot_tasks_train_on_another_split_of_a_hub_data_set_or_on_folds(tmp_path: Path, hub_rows: Dataset) -> None:

    tested = hub_rows.select(range(0, 9, 3))
    training = hub_rows.select([row for row in range(9) if row % 3])
    folds = hub_rows.add_column("part", [number % 3 for number in range(9)])
    DatasetDict({"test": tested, "train": training, "all": folds}).save_to_disk(tmp_path / "copy")
    few = {"kind": "fewshot", "shots": [1, 2], "draws": 2}
    spec = spec_of("hub", **few, dataset={"reader": "hub", "path": "copy", "split": "test", "train": "train"})
    ids = [item.id for item in open_dataset(spec, tmp_path).items[Modality.IMAGE]]
    assert ids[:4] == ["row-0000000", "row-0000001", "row-0000002", "train/row-0000000"]
    (record,) = ibench.evaluate(make_oracle("cpu", "fp32"), [spec], data_root=tmp_path)
    assert (record.n, record.score.value) == (3, 1)
    whole = {"reader": "hub", "path": "copy", "split": "all", "columns": {"fold": "part"}}
    (record,) = ibench.evaluate(make_oracle("cpu", "fp32"), [spec_of("hub", **few, dataset=whole)], data_root=tmp_path)
    assert (record.n, record.score.value) == (9, 1)


def test_hub_and_folder_copies_share_their_embeddings(tmp_path: Path, hub_rows: Dataset) -> None:
    """The same bytes are the same samples, wherever they lie."""
    hub_rows.save_to_disk(tmp_path / "copy")
    for row, name in enumerate(name for name in COLOURS for _ in range(3)):
        (tmp_path / "folder" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name / f"{row}.png").write_bytes(hub_rows[row]["image"]["bytes"])
    hub = open_dataset(spec_of("hub"), tmp_path)
    folder = open_dataset(spec_of("folder", dataset={"reader": "folder", "path": "folder"}), tmp_path)
    assert sorted(hub.contents(Modality.IMAGE)) == sorted(folder.contents(Modality.IMAGE))


def test_sounds_of_the_hub_need_no_torchcodec(tmp_path: Path) -> None:
    rows = []
    for name, hertz in TONES_HZ.items():
        data = io.BytesIO()
        soundfile.write(data, 0.5 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000), 16000, format="FLAC")
        rows.append({"audio": {"bytes": data.getvalue(), "path": f"{name}.flac"}, "label": name})
    Dataset.from_list(rows).save_to_disk(tmp_path / "copy")
    spec = spec_of("hub", query="audio")
    (record,) = ibench.evaluate(make_oracle("cpu", "fp32"), [spec], data_root=tmp_path)
    assert (record.n, record.score.value, record.emergent) == (3, 1, True)


def test_a_hub_copy_without_the_column_says_which_there_are(tmp_path: Path, hub_rows: Dataset) -> None:
    hub_rows.rename_column("image", "img").save_to_disk(tmp_path / "copy")
    with pytest.raises(IbenchError, match="no column 'image'; did you mean img"):
        open_dataset(spec_of("hub"), tmp_path)
    renamed = {"reader": "hub", "path": "copy", "columns": {"image": "img"}}
    with pytest.raises(IbenchError, match="no column 'writer'; known: img, label"):
        open_dataset(spec_of("hub", dataset=renamed, cluster="writer"), tmp_path)
    (tmp_path / "broken").mkdir()
    with pytest.raises(IbenchError, match="cannot be opened"):
        open_dataset(spec_of("hub", dataset={"reader": "hub", "path": "broken"}), tmp_path)


def test_a_hub_copy_without_what_the_task_names(tmp_path: Path, hub_rows: Dataset) -> None:
    hub_rows.save_to_disk(tmp_path / "copy")
    with pytest.raises(IbenchError, match="no column 'writer'"):  # its intervals would be as if there were none
        open_dataset(spec_of("hub", cluster="writer"), tmp_path)
    DatasetDict({"train": hub_rows}).save_to_disk(tmp_path / "splits")
    with pytest.raises(IbenchError, match="no split 'test'; known: train"):
        open_dataset(spec_of("hub", dataset={"reader": "hub", "path": "splits"}), tmp_path)


def test_a_hub_copy_reads_no_file_but_its_own(tmp_path: Path) -> None:
    Pillow.new("RGB", (4, 4)).save(tmp_path / "private.png")
    named = [{"bytes": None, "path": str(tmp_path / "private.png")}]
    (tmp_path / "copy").mkdir()
    pandas.DataFrame({"image": named, "label": ["red"]}).to_parquet(tmp_path / "copy" / "test.parquet")
    with pytest.raises(IbenchError, match=r"private\.png', which is not of the data set"):
        open_dataset(spec_of("hub"), tmp_path)


def test_a_manifest_of_parquet_keeps_lists_and_whole_numbers(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Pillow.new("RGB", (4, 4)).save(tmp_path / name)
    rows = {"path": ["a.png", "b.png"], "label": [["red", "blue"], ["red"]]}
    pandas.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    spec = spec_of("manifest", kind="multilabel", dataset={"reader": "manifest", "path": "table.parquet"})
    assert [item.labels for item in open_dataset(spec, tmp_path).items[Modality.IMAGE]] == [("red", "blue"), ("red",)]


def test_a_line_of_a_manifest_that_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "table.jsonl").write_text('["a.png", "red"]\n')
    with pytest.raises(IbenchError, match="expected an object with a value for each column, found list"):
        open_dataset(spec_of("manifest", dataset={"reader": "manifest", "path": "table.jsonl"}), tmp_path)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_a_manifest_of_captions_is_a_retrieval_task(tmp_path: Path, form: str) -> None:
    """Several captions of one picture are several queries, each with that picture as its match."""
    rows = []
    for name, colour in COLOURS.items():
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / f"{name}, it is.png").write_bytes(png(colour, 0))
        rows += [{"path": f"{name}, it is.png", "caption": f"{start} {name}"} for start in ("a", "so very")]
    table = pandas.DataFrame(rows)
    path = tmp_path / "copy" / f"captions.{form}"
    if form == "parquet":
        table.to_parquet(path)
    elif form == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        table.to_csv(path, index=False, sep="\t" if form == "tsv" else ",")
    spec = TaskSpec.model_validate(
        {
            "name": "found", "version": 1, "kind": "retrieval", "query": "text", "target": "image",
            "dataset": {"reader": "manifest", "path": f"copy/captions.{form}"}, "protocols": {"ibench": {}},
        }
    )  # fmt: skip
    (record,) = ibench.evaluate(make_oracle("cpu", "fp32"), [spec], data_root=tmp_path, out=tmp_path / "out")
    assert record.metrics["recall@1"].value == record.metrics["reverse_recall@1"].value == 1
    assert (record.metrics["recall@1"].n, record.metrics["reverse_recall@1"].n) == (6, 3)
    assert record.chance == pytest.approx(1 / 3)


def test_a_multilabel_manifest(tmp_path: Path) -> None:
    lines = ["path,label"]
    for number, names in enumerate(["low", "low;high", "middle", "high", "middle;low"]):
        sound = sum(np.sin(2 * np.pi * TONES_HZ[name] * np.arange(8000) / 8000) for name in names.split(";"))
        soundfile.write(tmp_path / f"{number}.wav", 0.3 * np.asarray(sound), 8000)
        lines.append(f"{number}.wav,{names}")
    (tmp_path / "sounds.csv").write_text("\n".join(lines))
    dataset = {"reader": "manifest", "path": "sounds.csv", "separator": ";"}
    spec = spec_of("manifest", query="audio", kind="multilabel", dataset=dataset, labels=list(TONES_HZ))
    (record,) = ibench.evaluate(make_oracle("cpu", "fp32"), [spec], data_root=tmp_path)
    assert record.headline == "mAP"
    assert record.score.value > 0.8  # it hears one tone of two
    assert record.chance == pytest.approx((3 + 2 + 2) / 15)


def test_labels_of_a_manifest_may_end_in_a_comma(tmp_path: Path) -> None:
    """What stands between two separators, or after the last, is no label."""
    (tmp_path / "1.wav").touch()
    (tmp_path / "sounds.csv").write_text('path,label\n1.wav,"low, ,high,"\n')
    dataset = {"reader": "manifest", "path": "sounds.csv"}
    found = open_dataset(spec_of("manifest", query="audio", kind="multilabel", dataset=dataset), tmp_path)
    assert [item.labels for item in found.items[Modality.AUDIO]] == [("low", "high")]


def test_a_cluster_that_no_row_names_is_refused(tmp_path: Path) -> None:
    """Else the intervals would be those of independent samples, and nobody told."""
    (tmp_path / "1.wav").touch()
    (tmp_path / "sounds.csv").write_text("path,label,recording\n1.wav,low,a\n")
    dataset = {"reader": "manifest", "path": "sounds.csv"}
    with pytest.raises(IbenchError, match="column 'recordings', which the task names; did you mean 'recording'"):
        open_dataset(spec_of("manifest", query="audio", dataset=dataset, cluster="recordings"), tmp_path)


def test_a_folder_takes_any_depth_case_and_hidden_files(tmp_path: Path) -> None:
    for name, colour in COLOURS.items():
        (tmp_path / "copy" / name / "deep").mkdir(parents=True)
        (tmp_path / "copy" / name / "deep" / "Picture One.PNG").write_bytes(png(colour, 1))
        (tmp_path / "copy" / name / "notes.txt").write_text("no picture")
    (tmp_path / "copy" / ".cache").mkdir()
    data = open_dataset(spec_of("folder", dataset={"reader": "folder", "path": "copy"}), tmp_path)
    assert [item.id for item in data.items[Modality.IMAGE]] == [
        f"{name}/deep/Picture One.PNG" for name in sorted(COLOURS)
    ]
    assert list(data.labels or {}) == sorted(COLOURS)
