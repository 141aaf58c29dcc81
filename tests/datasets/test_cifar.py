"""CIFAR's pickles, read without running what pickles can run."""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
from conftest import RunIbench
from numpy.typing import NDArray
from PIL import Image

from ibench.cells import bind
from ibench.datasets import open_dataset
from ibench.datasets._plain_pickle import read_plain_pickle
from ibench.datasets.fakes import write_fake
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import load_task

NAMES = ["airplane", "automobile", "bird"]


def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (4, 3072)).astype(np.uint8)


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    """CIFAR-10's files as Python 3 writes them in protocol 2: text for text, ``_codecs.encode`` for bytes."""
    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    write(root / "test_batch", {"data": pixels(), "labels": [2, 0, 0, 1], "filenames": list("abcd")})
    write(root / "batches.meta", {"num_cases_per_batch": 10000, "label_names": NAMES, "num_vis": 3072})
    return root


def write(file: Path, value: object) -> None:
    file.write_bytes(pickle.dumps(value, protocol=2))


def test_pictures_are_planes_of_red_green_and_blue(ten: Path) -> None:
    data = open_dataset(load_task("cifar10"), ten.parent)
    items = data.items[Modality.IMAGE]
    assert [item.labels[0] for item in items] == ["bird", "airplane", "airplane", "automobile"]
    assert list(data.labels or {}) == NAMES
    picture = items[1].decode()
    assert isinstance(picture, Image.Image)
    row = pixels()[1]
    for x, y in ((0, 0), (31, 0), (5, 30)):
        assert picture.getpixel((x, y)) == tuple(row[plane * 1024 + 32 * y + x] for plane in range(3))


def test_items_travel_to_decode_workers_without_their_pixels(ten: Path) -> None:
    item = open_dataset(load_task("cifar10"), ten.parent).items[Modality.IMAGE][3]
    sent = pickle.dumps(item.decode)
    assert len(sent) < 1000
    assert np.array_equal(np.asarray(pickle.loads(sent)()), np.asarray(item.decode()))


def test_the_classes_are_named_as_each_protocol_says(tmp_path: Path) -> None:
    spec = load_task("cifar100")
    write_fake(spec, tmp_path)
    data = open_dataset(spec, tmp_path)
    clip = bind(spec, data, "clip", None, None)
    assert (len(clip.texts[1]), clip.texts[1][0]) == (18, "a photo of a aquarium fish.")
    assert bind(spec, data, "mteb", None, None).texts[1] == ("a photo of a aquarium_fish.",)


def test_keys_and_names_as_bytes(ten: Path) -> None:
    """As Python 3 writes again what it has read with ``encoding="bytes"``."""
    before = open_dataset(load_task("cifar10"), ten.parent).fingerprint()
    write(ten / "test_batch", {b"data": pixels(), b"labels": [2, 0, 0, 1]})
    write(ten / "batches.meta", {b"label_names": [name.encode() for name in NAMES]})
    assert open_dataset(load_task("cifar10"), ten.parent).fingerprint() == before


def test_coarse_labels_are_a_column_away(tmp_path: Path) -> None:
    spec = load_task("cifar100")
    write_fake(spec, tmp_path)
    coarse = spec.dataset.model_copy(update={"columns": {"label": "coarse_labels"}})
    assert "fish" in (open_dataset(spec.model_copy(update={"dataset": coarse}), tmp_path).labels or {})


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_miniature_is_a_pickle_of_python_2(name: str, tmp_path: Path) -> None:
    """Told by Python's own tools: protocol 2, 8-bit strings, numpy 1's names; and read by pickle as by the reader."""
    spec = load_task(name)
    write_fake(spec, tmp_path)
    batch = tmp_path / spec.dataset.path / ("test_batch" if name == "cifar10" else "test")
    found = list(pickletools.genops(batch.read_bytes()))
    assert (found[0][0].name, found[0][1]) == ("PROTO", 2)
    operations = {operation.name for operation, _, _ in found}
    assert {"SHORT_BINSTRING", "BINSTRING"} <= operations
    assert not operations & {"BINUNICODE", "BINBYTES", "STACK_GLOBAL"}
    trusted = pickle.loads(batch.read_bytes(), encoding="latin1")
    ours = read_plain_pickle(batch, 1 << 20)
    assert ours.keys() == trusted.keys()
    assert np.array_equal(ours["data"], trusted["data"])
    assert ours["filenames"] == trusted["filenames"]


def test_a_check_tells_how_many_classes_the_publisher_has(ibench: RunIbench, tmp_path: Path) -> None:
    write_fake(load_task("cifar100"), tmp_path)
    told = ibench("data", "check", "cifar100", "--data-root", tmp_path, "--workers", 0)
    assert (told.returncode, told.stderr.count("error")) == (0, 0)
    assert "10 classes occur, of 10; the publisher's copy has 100" in told.stdout


# what pickles can do --------------------------------------------------------------------------------------------------


class Touch:
    """What runs when a pickle that holds it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


def test_a_pickle_that_would_run_code_is_refused(ten: Path) -> None:
    trap = ten / "touched"
    write(ten / "test_batch", {"data": Touch(trap), "labels": [0]})
    with pytest.raises(IbenchError, match="pickles may run code"):
        open_dataset(load_task("cifar10"), ten.parent)
    assert not trap.exists()
    pickle.loads((ten / "test_batch").read_bytes())
    assert trap.exists()  # it would have


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"c_codecs\nlookup\n(S'x'\ntR.",
        b"cnumpy\nndarray.__class__\n.",
        b"\x80\x02}r\xff\xff\xff\xff.",  # well formed, and in C four thousand million entries of a table
    ],
)
def test_names_other_than_numpys_arrays_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    if data.startswith(b"\x80\x02}r"):
        assert read_plain_pickle(tmp_path / "file", 100) == {}
    else:
        with pytest.raises(IbenchError, match="no pickle of plain data"):
            read_plain_pickle(tmp_path / "file", 100)


@pytest.mark.parametrize("array", [np.zeros((2, 3072)), np.array([{}, None]), np.asfortranarray(pixels())])
def test_arrays_of_anything_but_bytes_are_refused(ten: Path, array: NDArray[np.generic]) -> None:
    write(ten / "test_batch", {"data": array, "labels": [0, 0]})
    with pytest.raises(IbenchError, match=r"expected bytes \(u1\)"):
        open_dataset(load_task("cifar10"), ten.parent)


def test_damaged_and_large_files_are_refused(ten: Path) -> None:
    batch = ten / "test_batch"
    whole = batch.read_bytes()
    for data in (whole[:-2000], b"", b"not a pickle", pickle.dumps([1], protocol=2)):
        batch.write_bytes(data)
        with pytest.raises(IbenchError, match=r"test_batch: (no pickle of plain data|expected a pickled dict)"):
            open_dataset(load_task("cifar10"), ten.parent)
    with batch.open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(IbenchError, match="larger than 64 MB"):
        open_dataset(load_task("cifar10"), ten.parent)
    batch.unlink()
    with pytest.raises(IbenchError, match="test_batch: cannot be read"):
        open_dataset(load_task("cifar10"), ten.parent)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"data": pixels(), "labels": [0, 1, 2]}, "for each of 4 pictures, one of 3 classes"),
        ({"data": pixels(), "labels": [0, 1, 2, 3]}, "one of 3 classes"),
        ({"data": pixels(), "labels": [0, 1, 2, -1]}, "one of 3 classes"),
        ({"data": pixels(), "labels": [0, 1, 2, "0"]}, "one of 3 classes"),
        ({"data": pixels()[:, :3000], "labels": [0]}, "not an array of n × 3072 bytes"),
        ({"data": "pixels", "labels": [0]}, "not an array"),
        ({"data": pixels(), "fine_labels": [0]}, "no list 'labels'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(ten: Path, batch: dict[str, object], message: str) -> None:
    write(ten / "test_batch", batch)
    with pytest.raises(IbenchError, match=message):
        open_dataset(load_task("cifar10"), ten.parent)
