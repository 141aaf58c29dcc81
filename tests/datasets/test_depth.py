"""NYU Depth v2 and SUN RGB-D in the layouts of their publishers, each with the same known frames in it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

import ibench
from ibench.cells import bind
from ibench.datasets import Dataset, open_dataset
from ibench.datasets._matlab import v5_list
from ibench.datasets.base import TRAINING
from ibench.errors import IbenchError, UnreadableSample
from ibench.modalities import DepthMap, Modality
from ibench.prompts import load_prompts
from ibench.tasks import TaskSpec, load_task

FX = 518.857901
KINDS = ["living_room", "office", "excercise_room", "bookstore", "home_office", "living_room"]
TEST = [2, 3, 4, 6]  # counted from 1
WIDTH, HEIGHT = 8, 6


def millimetres(number: int) -> np.ndarray:
    """The depth of frame ``number``: [H, W], no two rows, columns or frames alike."""
    return (np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) * 37 + 700 + 900 * number).astype(np.uint16)


def pixels(number: int) -> np.ndarray:
    return np.stack([np.roll(millimetres(number), shift, axis=1) % 251 for shift in range(3)], axis=2).astype(np.uint8)


def save_png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def write_split(folder: Path, numbers: np.ndarray | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    test = np.array(TEST, np.uint16) if numbers is None else numbers
    savemat(folder / "splits.mat", {"trainNdxs": np.array([[1], [5]]), "testNdxs": test[:, None]})


def write_authors_file(folder: Path, **more: object) -> Path:
    """Axes reversed; sceneTypes and scenes are references to character codes."""
    write_split(folder)
    file = folder / "nyu_depth_v2_labeled.mat"
    with h5py.File(file, "w") as mat:
        frames = range(1, len(KINDS) + 1)
        mat.create_dataset("images", data=np.stack([pixels(number).transpose(2, 1, 0) for number in frames]))
        depths = np.stack([millimetres(number).T / 1000 for number in frames]).astype(np.float32)
        mat.create_dataset("depths", data=depths, **more)
        for name, ends in (
            ("sceneTypes", [""] * 6),
            ("scenes", ["_0001", "_0002", "_0002", "_0001", "_0009", "_0004"]),
        ):
            references = np.empty((1, len(KINDS)), h5py.ref_dtype)
            for at, (kind, end) in enumerate(zip(KINDS, ends, strict=True)):
                codes = np.frombuffer(f"{kind}{end}".encode("utf-16-le"), np.uint16)[:, None]
                references[0, at] = mat.create_dataset(f"#refs#/{name}{at}", data=codes).ref
            mat.create_dataset(name, data=references)
    return folder


SUN_NAMES = {"excercise_room": "gym"}  # SUN RGB-D has its own names for some


def write_in_sun_rgbd(folder: Path) -> Path:
    write_split(folder)
    for number, kind in enumerate(KINDS, start=1):
        write_sun_frame(
            folder / "SUNRGBD" / "kv1" / "NYUdata" / f"NYU{number:04d}", SUN_NAMES.get(kind, kind), number, str(FX)
        )
    return folder


def write_sun_frame(folder: Path, scene: str, number: int, focal: str = "520.5") -> None:
    depth = millimetres(number)
    save_png(folder / "depth_bfx" / "a.png", (depth << 3) | (depth >> 13))
    save_png(folder / "depth" / "a.png", np.zeros_like(depth))
    save_png(folder / "image" / "a.jpg", pixels(number))
    (folder / "scene.txt").write_text(scene + "\n")
    (folder / "intrinsics.txt").write_text(f"{focal} 0.000000 284.58 0.000000 519.469611 208.7 0 0 1 \n")


def write_nicr(folder: Path) -> Path:
    for number in TEST:
        name = f"{number - 1:04d}"
        save_png(folder / "test" / "depth" / f"{name}.png", millimetres(number))
        save_png(folder / "test" / "rgb" / f"{name}.png", pixels(number))
        (folder / "test" / "scene_class").mkdir(exist_ok=True)
        (folder / "test" / "scene_class" / f"{name}.txt").write_text(KINDS[number - 1])
    return folder


def write_languagebind(folder: Path) -> Path:
    folders = {"office": [2], "others": [3], "bookstore": [4], "living_room": [6], "kitchen": []}
    for name, numbers in folders.items():
        (folder / "nyuv2" / "data" / "val" / name).mkdir(parents=True)
        for number in numbers:
            save_png(folder / "nyuv2" / "data" / "val" / name / f"{number - 1:04d}.png", millimetres(number))
    return folder


LAYOUTS = {
    "authors": write_authors_file,
    "sun_rgbd": write_in_sun_rgbd,
    "nicr": write_nicr,
    "languagebind": write_languagebind,
}


def depths(data: Dataset) -> dict[str, DepthMap]:
    """By label: in this miniature no two test frames have the same."""
    return {item.labels[0]: item.decode() for item in data.items[Modality.DEPTH]}


# NYU Depth v2


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("below", ["nyu_depth_v2", "."])
def test_nyu_depth_is_the_same_from_each_of_its_copies(tmp_path: Path, layout: str, below: str) -> None:
    LAYOUTS[layout](tmp_path / below)
    data = open_dataset(load_task("nyu_depth"), tmp_path)
    found = depths(data)
    assert set(found) == {"office", "other", "bookstore", "living_room"}
    for label, number in zip(("office", "other", "bookstore", "living_room"), TEST, strict=True):
        np.testing.assert_allclose(found[label].metres, millimetres(number) / 1000, rtol=1e-6)
        assert found[label].metres.dtype == np.float32
        assert (found[label].focal, found[label].baseline) == (FX, 0.075)
    assert not data.missing
    assert list(data.items) == [Modality.DEPTH]


@pytest.mark.parametrize("layout", ["authors", "sun_rgbd", "nicr"])
def test_nyu_depth_and_its_image_match(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path)
    data = open_dataset(load_task("nyu_depth_image"), tmp_path)
    images = {item.group: item.decode() for item in data.items[Modality.IMAGE]}
    assert len(images) == len(TEST)
    for item, number in zip(data.items[Modality.DEPTH], TEST, strict=True):
        np.testing.assert_allclose(item.decode().metres, millimetres(number) / 1000, rtol=1e-6)
        seen = np.asarray(images[item.group]).astype(int)
        assert seen.shape == (HEIGHT, WIDTH, 3)
        if layout != "sun_rgbd":  # JPEG there
            np.testing.assert_array_equal(seen, pixels(number))


@pytest.mark.parametrize("layout", ["sun_rgbd", "nicr", "languagebind"])
def test_hidden_files_are_no_frames(tmp_path: Path, layout: str) -> None:
    """Archives made on macOS hold a ._x.png of metadata beside each file."""
    LAYOUTS[layout](tmp_path)
    before = open_dataset(load_task("nyu_depth"), tmp_path).fingerprint()
    for file in [file for file in tmp_path.rglob("*") if file.suffix in (".png", ".jpg", ".txt")]:
        file.with_name(f"._{file.name}").write_bytes(b"Mac OS X")
    after = open_dataset(load_task("nyu_depth"), tmp_path)
    assert (after.fingerprint(), after.missing) == (before, ())


def test_frames_of_one_place_are_a_cluster(tmp_path: Path) -> None:
    data = open_dataset(load_task("nyu_depth"), write_authors_file(tmp_path))
    assert [(item.id, item.cluster) for item in data.items[Modality.DEPTH]] == [
        ("NYU0002", "office_0002"), ("NYU0003", "excercise_room_0002"), ("NYU0004", "bookstore_0001"),
        ("NYU0006", "living_room_0004"),
    ]  # fmt: skip


def test_a_big_file_is_hashed_once_and_its_frames_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ibench.hashing

    streamed = []
    stream = ibench.hashing._stream
    monkeypatch.setattr(ibench.hashing, "_stream", lambda path: streamed.append(path) or stream(path))
    data = open_dataset(load_task("nyu_depth_image"), write_authors_file(tmp_path))
    contents = data.contents(Modality.DEPTH) + data.contents(Modality.IMAGE)
    assert len(set(contents)) == 2 * len(TEST)
    assert streamed == [tmp_path / "nyu_depth_v2_labeled.mat"]


def test_images_of_a_copy_that_has_none(tmp_path: Path) -> None:
    write_languagebind(tmp_path)
    with pytest.raises(IbenchError, match=r"LanguageBind's copy in .* has no images"):
        open_dataset(load_task("nyu_depth_image"), tmp_path)


@pytest.mark.parametrize("layout", ["sun_rgbd", "nicr"])
def test_what_is_not_there_is_missing(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path)
    named = {
        "sun_rgbd": ("SUNRGBD/kv1/NYUdata/NYU0002/depth_bfx/a.png", "SUNRGBD/kv1/NYUdata/NYU0003/image/a.jpg"),
        "nicr": ("test/depth/0001.png", "test/rgb/0002.png"),
    }[layout]
    label = {"sun_rgbd": "SUNRGBD/kv1/NYUdata/NYU0004/scene.txt", "nicr": "test/scene_class/0003.txt"}[layout]
    for name in named:
        (tmp_path / name).unlink()
    (tmp_path / label).write_text("\n")
    ids = ("NYU0002", "NYU0003", "NYU0004") if layout == "sun_rgbd" else ("0001", "0002", "0003")
    depth = open_dataset(load_task("nyu_depth"), tmp_path)
    assert depth.missing == (ids[2], f"{ids[0]} (depth)")
    both = open_dataset(load_task("nyu_depth_image"), tmp_path)
    assert both.missing == (ids[2], f"{ids[0]} (depth)", f"{ids[1]} (image)")
    assert both.contents(Modality.DEPTH) == depth.contents(Modality.DEPTH)


@pytest.mark.parametrize("layout", ["authors", "sun_rgbd"])
def test_the_split_must_be_there_and_fit(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path)
    spec = load_task("nyu_depth")
    write_split(tmp_path, np.array([2.0, 6.0]))  # doubles, as MATLAB has numbers
    assert [item.id for item in open_dataset(spec, tmp_path).items[Modality.DEPTH]] == ["NYU0002", "NYU0006"]
    for wrong in (np.array([0, 1]), np.array([1.5]), np.array([np.nan]), np.array([])):
        write_split(tmp_path, wrong)
        with pytest.raises(IbenchError, match=r"splits\.mat: testNdxs must be whole numbers from 1"):
            open_dataset(spec, tmp_path)
    write_split(tmp_path, np.array([6, 7]))
    if layout == "authors":
        with pytest.raises(IbenchError, match=r"names frame 7, nyu_depth_v2_labeled\.mat has 6"):
            open_dataset(spec, tmp_path)
    else:
        assert open_dataset(spec, tmp_path).missing == ("NYU0007",)
    savemat(tmp_path / "splits.mat", {"trainNdxs": [1]})
    with pytest.raises(IbenchError, match="no variable 'testNdxs'; it has trainNdxs"):
        open_dataset(spec, tmp_path)
    (tmp_path / "splits.mat").unlink()
    with pytest.raises(IbenchError, match=r"splits\.mat not found"):
        open_dataset(spec, tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_few_shot_tasks_train_on_the_training_split(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path)
    spec = load_task("nyu_depth_fewshot")
    if layout == "languagebind":
        with pytest.raises(IbenchError, match=r"LanguageBind's copy in .* is of the test split"):
            open_dataset(spec, tmp_path)
        return
    if layout == "nicr":
        for number in (1, 5):
            save_png(tmp_path / "train" / "depth" / f"{number - 1:04d}.png", millimetres(number))
            (tmp_path / "train" / "scene_class").mkdir(exist_ok=True)
            (tmp_path / "train" / "scene_class" / f"{number - 1:04d}.txt").write_text(KINDS[number - 1])
    data = open_dataset(spec, tmp_path)
    tested = open_dataset(load_task("nyu_depth"), tmp_path)
    items = data.items[Modality.DEPTH]
    assert [item.fold for item in items] == [""] * 4 + [TRAINING] * 2
    assert [item.labels[0] for item in items[4:]] == ["living_room", "home_office"]
    assert data.contents(Modality.DEPTH)[:4] == tested.contents(Modality.DEPTH)
    for item, number in zip(items[4:], (1, 5), strict=True):
        np.testing.assert_allclose(item.decode().metres, millimetres(number) / 1000, rtol=1e-6)


def test_few_shot_tasks_train_on_the_training_list_of_sun_rgbd(tmp_path: Path) -> None:
    items = open_dataset(load_task("sun_rgbd_fewshot"), write_sun_rgbd(tmp_path)).items[Modality.DEPTH]
    assert [item.fold for item in items] == [""] * 5 + [TRAINING]
    assert (items[-1].id, items[-1].labels) == ("kv2/align_kv2/of_the_train_split", ("office",))


@pytest.mark.parametrize("name", ["nyu_depth", "sun_rgbd"])
def test_a_split_that_there_is_not(tmp_path: Path, name: str) -> None:
    (write_authors_file if name == "nyu_depth" else write_sun_rgbd)(tmp_path)
    spec = load_task(name)
    other = spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"split": "val"})})
    with pytest.raises(IbenchError, match="reads split test or train, not 'val'"):
        open_dataset(other, tmp_path)


def test_without_a_copy_every_marker_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        IbenchError, match=r": nyu_depth_v2_labeled\.mat or SUNRGBD/kv1/NYUdata or .*not found\. .*cs\.nyu\.edu"
    ):
        open_dataset(load_task("nyu_depth"), tmp_path)


def hard_to_trust(kind: str, file: Path) -> None:
    """Replace ``depths`` of the authors' file by what brings bytes from elsewhere, or is something else."""
    other = file.parent / "other.h5"
    with h5py.File(other, "w") as elsewhere:
        elsewhere["depths"] = np.zeros((6, WIDTH, HEIGHT), np.float32)
    with h5py.File(file, "r+") as mat:
        del mat["depths"]
        if kind == "external link":
            mat["depths"] = h5py.ExternalLink("other.h5", "/depths")
        elif kind == "soft link":
            mat["depths"] = h5py.SoftLink("/images")
        elif kind == "external storage":
            mat.create_dataset("depths", (6, WIDTH, HEIGHT), "f4", external=[(str(other), 0, h5py.h5f.UNLIMITED)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((6, WIDTH, HEIGHT), "f4")
            layout[:] = h5py.VirtualSource(str(other), "depths", (6, WIDTH, HEIGHT))
            mat.create_virtual_dataset("depths", layout)
        elif kind == "group":
            mat.create_group("depths")
        elif kind == "bytes":
            mat["depths"] = np.zeros((6, WIDTH, HEIGHT), np.uint8)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("external link", "'depths' is a link"),
        ("soft link", "'depths' is a link"),
        ("external storage", "'depths' is no array in the file itself"),
        ("virtual", "'depths' is no array in the file itself"),
        ("group", "'depths' is no array in the file itself"),
        ("bytes", "'depths' is uint8 of shape"),
        ("absent", "no variable 'depths'; it has #refs#, images"),
    ],
)
def test_depth_from_elsewhere_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    write_authors_file(tmp_path)
    hard_to_trust(kind, tmp_path / "nyu_depth_v2_labeled.mat")
    with pytest.raises(IbenchError, match=message):
        open_dataset(load_task("nyu_depth"), tmp_path)


@pytest.mark.parametrize("kind", ["names", "numbers", "null"])
def test_scenes_must_be_references(tmp_path: Path, kind: str) -> None:
    """A name would be looked up as a path, and a path may lead through a link to another file."""
    write_authors_file(tmp_path)
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "r+") as mat:
        del mat["sceneTypes"]
        mat["sceneTypes"] = {
            "names": np.array([[b"/depths"] * 6]),
            "numbers": np.zeros((1, 6)),
            "null": np.empty((1, 6), h5py.ref_dtype),
        }[kind]
    with pytest.raises(IbenchError, match=r"no list of strings|cannot be read as a MATLAB 7\.3"):
        open_dataset(load_task("nyu_depth"), tmp_path)


def test_a_truncated_file_and_one_that_is_none(tmp_path: Path) -> None:
    file = write_authors_file(tmp_path) / "nyu_depth_v2_labeled.mat"
    for data in (file.read_bytes()[: file.stat().st_size // 2], b"", b"no HDF5"):
        file.write_bytes(data)
        with pytest.raises(IbenchError, match=r"cannot be read as a MATLAB 7\.3 .*fetch it again"):
            open_dataset(load_task("nyu_depth"), tmp_path)


def test_one_damaged_frame_is_one_unreadable_sample(tmp_path: Path) -> None:
    """Chunks with a checksum, one of them changed after it was written."""
    write_authors_file(tmp_path, chunks=(1, WIDTH, HEIGHT), fletcher32=True)
    file = tmp_path / "nyu_depth_v2_labeled.mat"
    with h5py.File(file) as mat:
        chunk = mat["depths"].id.get_chunk_info(TEST[1] - 1)
    data = bytearray(file.read_bytes())
    data[chunk.byte_offset] ^= 0xFF
    file.write_bytes(data)
    items = open_dataset(load_task("nyu_depth"), tmp_path).items[Modality.DEPTH]
    with pytest.raises(UnreadableSample, match=r"nyu_depth_v2_labeled\.mat/depths 3: "):
        items[1].decode()
    assert [items[at].decode().metres.shape for at in (0, 2, 3)] == [(HEIGHT, WIDTH)] * 3


def test_a_frame_of_forged_size_is_not_read(tmp_path: Path) -> None:
    write_authors_file(tmp_path)
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "r+") as mat:
        del mat["depths"]
        mat.create_dataset("depths", (6, 2**20, 2**20), "f4", chunks=(1, 64, 64))  # nothing of it is stored
    with pytest.raises(UnreadableSample, match="the limit is"):
        open_dataset(load_task("nyu_depth"), tmp_path).items[Modality.DEPTH][0].decode()


# SUN RGB-D

SUN_TEST = {  # as in allsplit.mat, below SUNRGBD: scene, focal length
    "kv2/kinect2data/000002_2014-05-26_14-23-37_260595134347_rgbf000103-resize": ("furniture_store", "529.5"),
    "kv1/b3dodata/img_0063": ("living_room", "520.532"),
    "realsense/lg/2014_10_21-18_15_14-1311000073": ("office", "691.584229"),
    "xtion/sun3ddata/hotel_x/hotel_x_1/0000103-000003433018": ("corridor", "570.342205"),
    "xtion/sun3ddata/hotel_x/hotel_x_1/0000203-000006433018": ("corridor", "570.342205"),
    "kv1/NYUdata/NYU0333": ("lobby", "518.857901"),  # none of the 19
}
AS_LISTED = {
    "kv1/b3dodata/img_0063": "/n/fs/sun3d/data/SUNRGBD/kv1//b3dodata/img_0063",
    "realsense/lg/2014_10_21-18_15_14-1311000073": (
        "/n/fs/sun3d/data//SUNRGBD//realsense/lg/2014_10_21-18_15_14-1311000073/"
    ),
}


def write_sun_rgbd(folder: Path, listed: list[str] | None = None) -> Path:
    for number, (path, (scene, focal)) in enumerate(SUN_TEST.items()):
        write_sun_frame(folder / "SUNRGBD" / path, scene, number, focal)
    write_sun_frame(folder / "SUNRGBD" / "kv2" / "align_kv2" / "of_the_train_split", "office", 9)
    paths = listed or [AS_LISTED.get(path, f"/n/fs/sun3d/data/SUNRGBD/{path}") for path in SUN_TEST]
    cells = np.empty((1, len(paths)), dtype=object)
    cells[0, :] = paths
    split = folder / "SUNRGBDtoolbox" / "traintestSUNRGBD" / "allsplit.mat"
    split.parent.mkdir(parents=True, exist_ok=True)
    train = np.array([["/n/fs/sun3d/data/SUNRGBD/kv2/align_kv2/of_the_train_split"]], object)
    savemat(split, {"alltrain": train, "alltest": cells}, do_compression=True)
    return folder


@pytest.mark.parametrize("below", ["sun_rgbd", "."])
def test_sun_rgbd_is_read_as_published(tmp_path: Path, below: str) -> None:
    write_sun_rgbd(tmp_path / below)
    data = open_dataset(load_task("sun_rgbd"), tmp_path)
    items = data.items[Modality.DEPTH]
    assert [(item.id, item.labels[0]) for item in items] == [
        (path, scene) for path, (scene, _) in SUN_TEST.items() if scene != "lobby"
    ]
    baselines = {"kv1": 0.075, "kv2": 0.075, "realsense": 0.095, "xtion": 0.095}
    for number, item in enumerate(items):
        depth = item.decode()
        np.testing.assert_allclose(depth.metres, millimetres(number) / 1000, rtol=1e-6)
        assert depth.focal == float(SUN_TEST[item.id][1])
        assert depth.baseline == baselines[item.id.split("/")[0]]
    assert [item.cluster for item in items] == ["", "", "", *["xtion/sun3ddata/hotel_x/hotel_x_1"] * 2]
    assert len(data.labels or {}) == 19
    assert not data.missing


def test_the_focal_length_is_part_of_the_content(tmp_path: Path) -> None:
    """The same bytes with other intrinsics are another sample: its disparity is another."""
    before = open_dataset(load_task("sun_rgbd"), write_sun_rgbd(tmp_path)).contents(Modality.DEPTH)
    (tmp_path / "SUNRGBD" / "kv1/b3dodata/img_0063" / "intrinsics.txt").write_text("600 0 0 0 600 0 0 0 1")
    after = open_dataset(load_task("sun_rgbd"), tmp_path).contents(Modality.DEPTH)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True, True, True]


def test_frames_of_sun_rgbd_that_are_not_there(tmp_path: Path) -> None:
    write_sun_rgbd(tmp_path)
    frames = tmp_path / "SUNRGBD"
    (frames / "kv1/b3dodata/img_0063/scene.txt").unlink()
    (frames / "kv2/kinect2data/000002_2014-05-26_14-23-37_260595134347_rgbf000103-resize/intrinsics.txt").unlink()
    (frames / "realsense/lg/2014_10_21-18_15_14-1311000073/image/a.jpg").unlink()
    data = open_dataset(load_task("sun_rgbd_image"), tmp_path)
    assert data.missing == (
        "kv1/b3dodata/img_0063",
        "kv2/kinect2data/000002_2014-05-26_14-23-37_260595134347_rgbf000103-resize (depth)",
        "realsense/lg/2014_10_21-18_15_14-1311000073 (image)",
    )
    assert (len(data.items[Modality.DEPTH]), len(data.items[Modality.IMAGE])) == (3, 3)


@pytest.mark.parametrize("text", ["", "nan 0 0", "-520 0 0", "inf", "focal 520", "0 0 0"])
def test_intrinsics_without_a_focal_length(tmp_path: Path, text: str) -> None:
    write_sun_rgbd(tmp_path)
    (tmp_path / "SUNRGBD" / "kv1/b3dodata/img_0063" / "intrinsics.txt").write_text(text)
    items = open_dataset(load_task("sun_rgbd"), tmp_path).items[Modality.DEPTH]
    with pytest.raises(UnreadableSample, match=r"a\.png: its intrinsics\.txt begins with no focal length"):
        items[1].decode()
    assert items[0].decode().focal == 529.5


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("/n/fs/sun3d/data/SUNRGBD/kv1/../../../etc", "leaves the data root"),
        ("/n/fs/sun3d/data/SUNRGBD//etc/../..", "leaves the data root"),
        ("/n/fs/sun3d/data/elsewhere/kv1/a", "expected a path with /SUNRGBD/ in it"),
        ("/n/fs/sun3d/data/SUNRGBD/", "expected a path with /SUNRGBD/ in it"),
        ("/n/fs/sun3d/data/SUNRGBD/kv3/a", "of no known sensor; did you mean kv"),
    ],
)
def test_paths_of_the_split_stay_below_its_folder(tmp_path: Path, listed: str, message: str) -> None:
    write_sun_frame(tmp_path / "SUNRGBD" / "kv3" / "a", "office", 1)
    write_sun_rgbd(tmp_path, [listed, "/n/fs/sun3d/data/SUNRGBD/kv1/b3dodata/img_0063"])
    with pytest.raises(IbenchError, match=message):
        open_dataset(load_task("sun_rgbd"), tmp_path)


def test_sun_rgbd_without_its_parts(tmp_path: Path) -> None:
    write_sun_rgbd(tmp_path)
    save_png(tmp_path / "SUNRGBD" / "kv1/b3dodata/img_0063/depth_bfx/b.png", millimetres(1))
    with pytest.raises(IbenchError, match=r"2 \.png files where one is expected"):
        open_dataset(load_task("sun_rgbd"), tmp_path)
    (tmp_path / "SUNRGBD").rename(tmp_path / "renamed")
    with pytest.raises(IbenchError, match=r"SUNRGBD not found; unpack SUNRGBD\.zip beside SUNRGBDtoolbox"):
        open_dataset(load_task("sun_rgbd"), tmp_path)
    (tmp_path / "SUNRGBDtoolbox").rename(tmp_path / "renamed too")
    with pytest.raises(IbenchError, match=r"allsplit\.mat not found"):
        open_dataset(load_task("sun_rgbd"), tmp_path)


# MATLAB's older files


def v5_file(path: Path, *elements: bytes, version: int = 0x0100) -> Path:
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", version) + b"IM" + b"".join(elements))
    return path


def element(code: int, data: bytes) -> bytes:
    return struct.pack("<II", code, len(data)) + data + bytes(-len(data) % 8)


def cells(inner: bytes, count: int = 1) -> bytes:
    shape = struct.pack("<ii", 1, count)
    head = element(6, struct.pack("<II", 1, 0)) + element(5, shape) + element(1, b"alltest")
    return element(14, head + inner)


def characters(code: int) -> bytes:
    head = element(6, struct.pack("<II", 4, 0)) + element(5, struct.pack("<ii", 1, 4)) + element(1, b"")
    return element(14, head + element(code, b"text"))


def test_a_cell_array_of_strings(tmp_path: Path) -> None:
    assert v5_list(v5_file(tmp_path / "a.mat", cells(characters(16))), "alltest") == ["text"]


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ([cells(characters(0xBE10))], "type 48656 of"),  # scipy would look this type up behind the end of its table
        ([cells(characters(0))], "type 0 of 4 bytes"),
        ([element(14, b"")[:4]], "cannot be read as a MATLAB file"),
        ([struct.pack("<II", 14, 2**31)], "type 14 of 2147483648 bytes"),
        ([cells(b"", 2**30)], "claims"),
        ([element(15, zlib.compress(bytes(2**20))[:200])], "ends within compressed data"),
        ([element(15, b"no zlib data")], "cannot be read as a MATLAB file"),
    ],
)
def test_malformed_lists_are_refused(tmp_path: Path, elements: list[bytes], message: str) -> None:
    with pytest.raises(IbenchError, match=message):
        v5_list(v5_file(tmp_path / "a.mat", *elements), "alltest")


def test_lists_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nested = characters(16)
    for _ in range(20):
        nested = cells(nested)
    with pytest.raises(IbenchError, match="nested too deep"):
        v5_list(v5_file(tmp_path / "a.mat", nested), "alltest")
    monkeypatch.setattr("ibench.datasets._matlab.MOST_BYTES", 4096)
    with pytest.raises(IbenchError, match="has more than 4,096 bytes"):
        v5_list(v5_file(tmp_path / "a.mat", element(15, zlib.compress(bytes(2**20)))), "alltest")
    with pytest.raises(IbenchError, match="more than 4,096 bytes"):
        v5_list(v5_file(tmp_path / "a.mat", bytes(4096)), "alltest")
    with pytest.raises(IbenchError, match="of another version"):
        v5_list(v5_file(tmp_path / "a.mat", version=0x0200), "alltest")


# The tasks


def bound_texts(name: str, protocol: str, write: Callable[[Path], Path], root: Path) -> dict[str, list[str]]:
    """Class → the first prompt of each name it goes by."""
    spec = load_task(name)
    cell = bind(spec, open_dataset(spec, write(root)), protocol, None, None)
    return {
        label: [cell.texts[row][0] for row in rows] for label, rows in zip(cell.classes, cell.names_of, strict=True)
    }


def test_other_is_the_best_of_eighteen_or_a_word(tmp_path: Path) -> None:
    paper = bound_texts("nyu_depth", "imagebind-paper", write_authors_file, tmp_path / "a")
    assert list(paper)[-1] == "other"
    assert [len(texts) for texts in paper.values()] == [1] * 9 + [18]
    assert paper["home_office"] == ["a bad photo of a home office."]
    assert "a bad photo of a exercise room." in paper["other"]
    assert bound_texts("nyu_depth", "codebind", write_authors_file, tmp_path / "b") == paper
    words = bound_texts("nyu_depth", "languagebind", write_authors_file, tmp_path / "c")
    assert words["other"] == ["a bad depth photo of a others."]
    assert words["home_office"] == ["a bad depth photo of a home office."]


def test_the_nineteen_classes_are_in_order_of_the_alphabet(tmp_path: Path) -> None:
    texts = bound_texts("sun_rgbd", "imagebind-paper", write_sun_rgbd, tmp_path)
    assert len(texts) == 19
    assert list(texts) == sorted(texts)
    assert texts["lecture_theatre"] == ["a bad photo of a lecture theatre."]


def test_prompts_of_depth_photos() -> None:
    plain, depth = load_prompts("clip80").resolved(), load_prompts("clip80_depth").resolved()
    assert len(depth) == 80
    assert [text.replace("depth photo", "photo") for text in depth] == list(plain)
    assert sum(one != other for one, other in zip(plain, depth, strict=True)) == sum("photo" in text for text in plain)


def spelled(spec: TaskSpec) -> dict[str, dict[Modality, dict[str, object]]]:
    return {name: dict(protocol.views) for name, protocol in spec.protocols.items()}


@pytest.mark.parametrize("name", ["nyu_depth", "sun_rgbd"])
def test_a_run_of_both_tasks_embeds_depth_once(tmp_path: Path, name: str) -> None:
    write_authors_file(tmp_path / "nyu_depth_v2")
    write_sun_rgbd(tmp_path / "sun_rgbd")
    shown: list[int] = []

    def near(depth: DepthMap) -> torch.Tensor:
        shown.append(1)
        return torch.tensor([float(depth.metres.mean()), 1.0])

    encoder = ibench.from_functions(
        "mean depth",
        {
            "depth": (near, lambda batch: batch),
            "image": (lambda image: torch.tensor([float(np.asarray(image).mean()), 1.0]), lambda batch: batch),
            "text": (lambda text: torch.tensor([float(len(text)), 1.0]), lambda batch: batch),
        },
        trained_pairs=(),
    )
    records = ibench.evaluate(encoder, [name, f"{name}_image"], data_root=tmp_path)
    assert len(shown) == records[0].n == records[1].metrics["recall@1"].n
    assert "reverse_recall@1" in records[1].metrics


@pytest.mark.parametrize("name", ["nyu_depth", "sun_rgbd"])
def test_both_tasks_show_depth_alike_in_each_protocol(name: str) -> None:
    by_default = spelled(load_task(name))
    for protocol, views in spelled(load_task(f"{name}_image")).items():
        assert views == by_default["codebind" if protocol == "codebind" else "imagebind-paper"]
