"""Depth maps: 16 bits stay 16 bits, SUN RGB-D's rotated bits are turned back, a picture of depth is no depth."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibench.errors import UnreadableSample
from ibench.media.depth import read_millimetres, read_sun_rgbd


def png(values: np.ndarray, form: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.fromarray(values).save(data, form)
    return data.getvalue()


@pytest.mark.parametrize(("kind", "form"), [(np.uint16, "PNG"), (np.int32, "TIFF")])  # modes I;16 and I
def test_millimetres_are_metres_times_a_thousand(tmp_path: Path, kind: type, form: str) -> None:
    millimetres = np.array([[0, 1, 713], [9995, 10_000, 65_535]], kind)
    (tmp_path / "a.png").write_bytes(png(millimetres, form))
    depth = read_millimetres(tmp_path / "a.png", 518.857901, 0.075)
    assert depth.metres.dtype == np.float32
    np.testing.assert_allclose(depth.metres, millimetres / 1000, rtol=1e-7)
    assert (depth.focal, depth.baseline) == (518.857901, 0.075)
    np.testing.assert_array_equal(read_millimetres(png(millimetres, form), 1, 1).metres, depth.metres)


def test_the_bits_of_sun_rgbd_are_turned_back() -> None:
    """Whatever is stored: the toolbox's words, bit by bit. Beyond 8 m everything is 8 m."""
    stored = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    bits = [f"{value:016b}" for value in range(2**16)]
    millimetres = np.array([int(word[-3:] + word[:-3], 2) for word in bits]).reshape(256, 256)
    metres = read_sun_rgbd(png(stored), 500, 0.075).metres
    np.testing.assert_allclose(metres, np.minimum(millimetres / 1000, 8), rtol=1e-7)
    assert metres.dtype == np.float32
    assert metres[0, 0] == 0


def test_a_depth_of_sun_rgbd_is_read_as_written() -> None:
    millimetres = np.random.default_rng(0).integers(0, 8000, (30, 40), dtype=np.uint16)
    rotated = (millimetres << 3) | (millimetres >> 13)
    np.testing.assert_allclose(read_sun_rgbd(png(rotated), 1, 1).metres, millimetres / 1000, rtol=1e-7)


@pytest.mark.parametrize("read", [read_millimetres, read_sun_rgbd])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "LA"])
def test_a_picture_of_depth_is_refused(tmp_path: Path, read, mode: str) -> None:
    Image.new(mode, (4, 3)).save(tmp_path / "d.png")
    with pytest.raises(UnreadableSample, match=rf"d\.png: mode {mode}, a depth map is 16-bit grey"):
        read(tmp_path / "d.png", 500, 0.075)


@pytest.mark.parametrize("damage", ["", "no image", "half", "absent"])
def test_a_damaged_depth_map_is_unreadable(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "d.png"
    whole = png(np.random.default_rng(0).integers(0, 2**16, (50, 60), dtype=np.uint16))
    if damage != "absent":
        file.write_bytes(whole[: len(whole) // 2] if damage == "half" else damage.encode())
    with pytest.raises(UnreadableSample, match=r"d\.png"):
        read_sun_rgbd(file, 500, 0.075)


def test_more_bits_than_sixteen_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[1, 70_000]], np.int32)).save(tmp_path / "d.tif")
    with pytest.raises(UnreadableSample, match="values 1 to 70000"):
        read_millimetres(tmp_path / "d.tif", 500, 0.075)


def test_a_forged_size_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableSample, match="201 pixels"):
        read_millimetres(png(np.zeros((1, 201), np.uint16)), 500, 0.075)
