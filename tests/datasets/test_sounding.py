"""Frames and their sounds: VGG-SS and Flickr-SoundNet as published, the windows of a frame, and what may be wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tone
from PIL import Image

from ibench.cells import Cell, bind
from ibench.datasets import Dataset, Item, open_dataset
from ibench.datasets._digit_frames import DIGIT, SIDE
from ibench.datasets._windows import LONGEST, window
from ibench.errors import IbenchError, UnreadableSample
from ibench.modalities import Modality
from ibench.tasks import TaskSpec, load_task

CLIPS = [
    {"file": "zpWuikVorYg_000032", "class": "elk bugling", "bbox": [[0.403125, 0.253125, 0.6, 0.75]]},
    {"file": "zpWuikVorYg_000132", "class": "elk bugling", "bbox": [[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 1.0, 1.0]]},
    {"file": "M1P1xla8rg0_000000", "class": "playing tambourine", "bbox": [[0.26875, 1.0, 0.753125, 1.0]]},
    {"file": "-0jeONf82dE_000021", "class": "donkey, ass braying", "bbox": [[-0.01, 0.0, 1.2, 0.5]]},
]


def write_pair(root: Path, name: str, seed: int = 0, size: tuple[int, int] = (40, 24)) -> None:
    """Losslessly stored under its published name, so that pixels can be compared."""
    for folder in ("frames", "audio"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(root / "frames" / f"{name}.jpg", "PNG")
    tone(400.0, 0.1, 8000, root / "audio" / f"{name}.wav")


@pytest.fixture
def vggss(tmp_path: Path) -> Path:
    root = tmp_path / "VGG-SS"
    for seed, clip in enumerate(CLIPS):
        write_pair(root, str(clip["file"]), seed)
    (root / "metadata").mkdir()
    (root / "metadata" / "vggss.json").write_text(json.dumps(CLIPS))
    return root


@pytest.fixture
def flickr(tmp_path: Path) -> Path:
    root = tmp_path / "Flickr-SoundNet"
    for seed, name in enumerate(("10000130166", "2432219254", "9761803312")):
        write_pair(root, name, seed, (256, 256))
        annotate(root, name, [[(0, 0, 128, 256)], [(0, 0, 128, 256), (200, 200, 256, 256)], [(64, 0, 192, 256)]])
    (root / "flickr_test.csv").write_text("10000130166,202\n9761803312,917\n")
    return root


def annotate(root: Path, name: str, people: list[list[tuple[int, int, int, int]]]) -> Path:
    boxes = "".join(
        "<person>" + "".join(f"<bbox><k>1</k><a>{a}</a><b>{b}</b><c>{c}</c><d>{d}</d></bbox>" for a, b, c, d in own)
        + "</person>"
        for own in people
    )  # fmt: skip
    (root / "Annotations").mkdir(exist_ok=True)
    file = root / "Annotations" / f"{name}.xml"
    file.write_text(f"<annotation>{boxes}</annotation>")
    return file


def read(root: Path, task: str = "vggss") -> Dataset:
    return open_dataset(load_task(task), root.parent)


def changed(task: str = "vggss", **dataset: Any) -> TaskSpec:
    data = load_task(task).model_dump(mode="json", exclude_unset=True)
    search = {"scales": []} if dataset.get("proposals") else {"scales": [2]}
    return TaskSpec.model_validate(
        {**data, "dataset": {**data["dataset"], **dataset}, "protocols": {"own": {"search": search}}}
    )


# VGG-SS ---------------------------------------------------------------------------------------------------------------


def test_clips_have_their_class_boxes_and_video(vggss: Path) -> None:
    found = read(vggss)
    sounds, frames = (found.items[modality] for modality in (Modality.AUDIO, Modality.IMAGE))
    assert [item.id for item in sounds] == [item.id for item in frames] == [clip["file"] for clip in CLIPS]
    assert [item.group for item in sounds] == [item.group for item in frames]
    assert [item.boxes for item in sounds] == [tuple(map(tuple, clip["bbox"])) for clip in CLIPS]  # type: ignore[arg-type]
    assert sounds[0].cluster == sounds[1].cluster == "zpWuikVorYg"
    assert sounds[3].cluster == "-0jeONf82dE"
    assert list(found.labels or ()) == ["donkey, ass braying", "elk bugling", "playing tambourine"]
    assert frames[0].decode().size == (40, 24)
    assert sounds[0].decode().seconds == pytest.approx(0.1)
    (vggss / "metadata" / "vggss.json").rename(vggss / "vggss.json")
    assert read(vggss).fingerprint() == found.fingerprint()


def test_boxes_are_of_the_fingerprint(vggss: Path) -> None:
    before = read(vggss).fingerprint()
    moved = [{**CLIPS[0], "bbox": [[0.4, 0.25, 0.6, 0.75]]}, *CLIPS[1:]]
    (vggss / "metadata" / "vggss.json").write_text(json.dumps(moved))
    assert read(vggss).fingerprint() != before


def test_a_sample_without_frame_or_sound_is_missing(vggss: Path) -> None:
    (vggss / "frames" / "zpWuikVorYg_000032.jpg").unlink()
    for folder, suffix in (("frames", "jpg"), ("audio", "wav")):
        (vggss / folder / f"-0jeONf82dE_000021.{suffix}").unlink()
    found = read(vggss)
    assert found.missing == (
        "frames/zpWuikVorYg_000032.jpg",
        "frames/-0jeONf82dE_000021.jpg and audio/-0jeONf82dE_000021.wav",
    )
    assert {len(items) for items in found.items.values()} == {2}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "vggss.json"),
        ("{}", "valid array"),
        ('[{"file": "a", "bbox": []}]', "0.class"),
        ('[{"file": "a", "class": "b", "bbox": [[0, 0, 1]]}]', "0.bbox.0"),
        ('[{"file": "a", "class": "b", "bbox": [[0, 0, 1, NaN]]}]', "finite"),
        ('[{"file": "../a", "class": "b", "bbox": []}]', "leaves the data root"),
        ('[{"file": "x/a", "class": "b", "bbox": []}]', "'x/a' is a path"),
    ],
)
def test_metadata_that_is_none_is_told(vggss: Path, text: str, told: str) -> None:
    (vggss / "metadata" / "vggss.json").write_text(text)
    with pytest.raises(IbenchError, match=told):
        read(vggss)


def test_a_clip_that_is_listed_twice_is_told(vggss: Path) -> None:
    (vggss / "metadata" / "vggss.json").write_text(json.dumps([*CLIPS, CLIPS[0]]))
    with pytest.raises(IbenchError, match="'zpWuikVorYg_000032' is listed twice"):
        read(vggss)


# Flickr-SoundNet ------------------------------------------------------------------------------------------------------


def test_pairs_of_the_list_have_the_boxes_of_all_annotators(flickr: Path) -> None:
    found = read(flickr, "flickr_soundnet")
    sounds = found.items[Modality.AUDIO]
    assert [item.id for item in sounds] == ["10000130166", "9761803312"]
    assert sounds[0].boxes == ((0, 0, 0.5, 1), (0, 0, 0.5, 1), (0.78125, 0.78125, 1, 1), (0.25, 0, 0.75, 1))
    assert sounds[0].labels == ()
    (flickr / "flickr_test.csv").unlink()
    assert len(read(flickr, "flickr_soundnet").items[Modality.AUDIO]) == 3  # all that is annotated
    (flickr / "test_list.txt").write_text("9761803312.png\n123.png\n")
    found = read(flickr, "flickr_soundnet")
    assert [item.id for item in found.items[Modality.IMAGE]] == ["9761803312"]
    assert found.missing == ("Annotations/123.xml",)


def test_the_authors_folders_are_read_as_well(flickr: Path) -> None:
    before = read(flickr, "flickr_soundnet").fingerprint()
    for folder in ("frames", "audio"):
        for file in (flickr / folder).iterdir():
            own = flickr / "Data" / f"{file.stem}.mp4"
            own.mkdir(parents=True, exist_ok=True)
            file.rename(own / file.name)
    assert read(flickr, "flickr_soundnet").fingerprint() == before


BOX = "<annotation><p><bbox><k/><a>0</a><b>0</b><c>&b;</c><d>9</d></bbox></p></annotation>"
ENTITIES = f'<!DOCTYPE a [<!ENTITY b "256">]>{BOX}'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<annotation><p>", "no element found"),
        ("<annotation><p><bbox><a>1</a></bbox></p></annotation>", "a bbox of 1 elements"),
        ("<annotation><p><bbox><k/><a>1</a><b/><c>3</c><d>4</d></bbox></p></annotation>", "invalid literal"),
        (ENTITIES, "EntitiesForbidden"),
        (" " * (2**20 + 1), "larger than 1,048,576 bytes"),
    ],
)
def test_an_annotation_that_is_none_is_told(flickr: Path, text: str, told: str) -> None:
    (flickr / "Annotations" / "9761803312.xml").write_text(text)
    with pytest.raises(IbenchError, match=f"9761803312.xml: .*{told}"):
        read(flickr, "flickr_soundnet")


def test_an_annotation_of_another_file_is_not_followed(flickr: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("256")
    text = ENTITIES.replace('"256"', f'SYSTEM "file://{tmp_path}/secret"')
    (flickr / "Annotations" / "9761803312.xml").write_text(text)
    with pytest.raises(IbenchError, match="EntitiesForbidden"):
        read(flickr, "flickr_soundnet")


# windows --------------------------------------------------------------------------------------------------------------


def bound(root: Path, spec: TaskSpec) -> Cell:
    return bind(spec, open_dataset(spec, root.parent), None, None, None)


def test_windows_are_parts_of_their_frame(vggss: Path) -> None:
    cell = bound(vggss, changed())
    windows = cell.dataset.items[Modality.IMAGE]
    assert len(windows) == 9 * len(CLIPS)
    assert len({item.id for item in windows}) == len(windows)
    assert len(set(cell.dataset.contents(Modality.IMAGE))) == len(windows)
    for frame in cell.frames:
        pixels = np.asarray(Image.open(frame.item.content))  # type: ignore[arg-type]
        for item, (left, top, right, bottom) in zip(frame.windows, frame.regions, strict=True):
            cut = pickle.loads(pickle.dumps(item.decode))()
            part = pixels[round(top * 24) : round(bottom * 24), round(left * 40) : round(right * 40)]
            assert part.shape == (12, 20, 3)
            assert cut.size == (20, 20)
            warped = Image.fromarray(part).resize((20, 20), Image.Resampling.BICUBIC)
            np.testing.assert_array_equal(np.asarray(cut), np.asarray(warped))


def test_a_square_window_is_the_very_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 30), np.uint8)
    cut = window(lambda: Image.fromarray(pixels), "digest", (1 / 3, 0.0, 2 / 3, 1 / 3))
    np.testing.assert_array_equal(np.asarray(cut), pixels[:10, 10:20])
    one = window(lambda: Image.fromarray(pixels), "digest", (0.999, 0.999, 1.0, 1.0))
    assert one.size == (1, 1)
    assert one.getpixel((0, 0)) == pixels[-1, -1]


def test_a_thin_window_does_not_grow_beyond_bounds() -> None:
    thin = Image.new("L", (1, 100_000), 9)
    cut = window(lambda: thin, "thin", (0.0, 0.0, 1.0, 1.0))
    assert cut.size == (LONGEST, LONGEST)
    assert cut.getextrema() == (9, 9)


def test_a_frame_is_decoded_once_for_its_windows_and_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "frame.png"
    Image.new("L", (8, 8), 7).save(file)
    decoded = []

    def decode() -> Image.Image:
        decoded.append(1)
        with Image.open(file) as image:
            return image.copy()

    halves = ((0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5))
    assert [window(decode, file, half).getpixel((0, 0)) for half in halves] == [7, 7]
    assert len(decoded) == 1
    Image.new("L", (9, 9), 8).save(file)
    assert window(decode, file, halves[0]).getpixel((0, 0)) == 8


def test_a_damaged_frame_has_no_readable_window(vggss: Path) -> None:
    (vggss / "frames" / "zpWuikVorYg_000032.jpg").write_bytes(b"no picture")
    for item in bound(vggss, changed()).frames[0].windows:
        with pytest.raises(UnreadableSample, match="no image of a format"):
            item.decode()


def propose(root: Path, proposals: object) -> TaskSpec:
    (root / "boxes.json").write_text(json.dumps(proposals))
    return changed(proposals="boxes.json")


def test_proposals_take_the_place_of_the_grid(vggss: Path) -> None:
    boxes = {str(clip["file"]): [[0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.3, 0.4]][: 1 + number % 2]
             for number, clip in enumerate(CLIPS)}  # fmt: skip
    cell = bound(vggss, propose(vggss, {**boxes, "another": [[0, 0, 1, 1]]}))
    assert [len(frame.regions) for frame in cell.frames] == [1, 2, 1, 2]
    assert cell.frames[1].regions == ((0.0, 0.0, 1.0, 1.0), (0.1, 0.2, 0.3, 0.4))
    before = cell.dataset.fingerprint()
    boxes["zpWuikVorYg_000032"] = [[0.0, 0.0, 0.5, 1.0]]
    assert bound(vggss, propose(vggss, boxes)).dataset.fingerprint() != before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda boxes: boxes.pop("zpWuikVorYg_000032"), "no frame 'zpWuikVorYg_000032'"),
        (lambda boxes: boxes.update(a=[]), "at least 1 item"),
        (lambda boxes: boxes.update(a=[[0.5, 0, 0.5, 1]]), "frame 'a' has the box"),
        (lambda boxes: boxes.update(a=[[0, 0, 1.01, 1]]), "shares from 0 to 1"),
        (lambda boxes: boxes.update(a=[[0, 0, 1]]), "boxes.json: a"),
        (lambda boxes: boxes.update(a=[[0, 0, 1, float("nan")]]), "shares from 0 to 1"),
        (lambda boxes: boxes.update(a=[[0, 0, 1, 1]] * 2001), "at most 2000 items"),
    ],
)
def test_proposals_that_are_none_are_told(vggss: Path, change: Callable[[dict[str, Any]], Any], told: str) -> None:
    boxes: dict[str, Any] = {str(clip["file"]): [[0, 0, 1, 1]] for clip in CLIPS}
    change(boxes)
    with pytest.raises(IbenchError, match=told):
        bound(vggss, propose(vggss, boxes))


def test_a_file_of_proposals_that_is_not_there_is_told(vggss: Path) -> None:
    with pytest.raises(IbenchError, match=r"boxes.json: cannot be read \(No such file"):
        bound(vggss, changed(proposals="boxes.json"))


# the demo's frames ----------------------------------------------------------------------------------------------------


def test_frames_of_digits_hold_the_digit_that_is_said() -> None:
    spec = load_task("digits_localisation")
    found = open_dataset(spec, None)
    images = open_dataset(load_task("digits"), None).items[Modality.IMAGE]
    known = {np.asarray(item.decode()).tobytes(): item.labels[0] for item in images}
    sounds, frames = (found.items[modality] for modality in (Modality.AUDIO, Modality.IMAGE))
    assert len(sounds) == len(frames) == spec.dataset.count
    for sound, frame in zip(sounds, frames, strict=True):
        pixels = np.asarray(frame.decode())
        assert pixels.shape == (SIDE, SIDE)
        ((left, top, right, bottom),) = sound.boxes
        digit = pixels[int(top * SIDE) : int(bottom * SIDE), int(left * SIDE) : int(right * SIDE)]
        assert digit.shape == (DIGIT, DIGIT)
        assert known[digit.tobytes()] == sound.labels[0]
        words = [word for corner in corners(pixels) if (word := known.get(corner))]
        assert words.count(sound.labels[0]) == 1  # no other of its class stands there
        assert len(set(words)) == len(words) == 4


def corners(pixels: np.ndarray) -> list[bytes]:
    """The content of every place that a digit may stand on."""
    places = range(0, SIDE - DIGIT + 1, 4)
    return [pixels[top : top + DIGIT, left : left + DIGIT].tobytes() for top in places for left in places]


def test_frames_of_digits_are_the_same_on_every_machine() -> None:
    first: Item = open_dataset(load_task("digits_localisation"), None).items[Modality.IMAGE][0]
    assert first.content == "45d41614ec342e089666c6800669fc28058a73ca89d61bef6bbcf7610a841d9a"


def test_boxes_in_pixels_are_told(vggss: Path) -> None:
    """Else a data set of one's own would score 0, whatever the encoder."""
    pixels = [{**clip, "bbox": [[10, 20, 60, 70]]} for clip in CLIPS]
    (vggss / "metadata" / "vggss.json").write_text(json.dumps([CLIPS[0], *pixels[1:]]))
    with pytest.raises(IbenchError, match=r"boxes of 3 of 4 clips hold nothing .* in shares of the frame's sides"):
        read(vggss)
    (vggss / "metadata" / "vggss.json").write_text(json.dumps([*CLIPS[:3], pixels[3]]))
    assert len(read(vggss).items[Modality.AUDIO]) == 4
