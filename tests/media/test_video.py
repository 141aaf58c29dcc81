"""Videos are decoded where they are asked for, and damage is reported."""

from __future__ import annotations

import io
import pickle
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ibench.errors import UnreadableSample
from ibench.media.video import read_video

FRAMES = 60


def encoded(container: str, codec: str, times: list[Fraction] | None = None, **options: str) -> bytes:
    """A video of FRAMES frames at 25 a second (or shown at ``times``): frame ``i`` is grey 4 · i."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000) if times else Fraction(1, 25)
        for number in range(FRAMES):
            pixels = np.full((48, 64, 3), 4 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = int(times[number] * 1000) if times else number
            frame.time_base = stream.codec_context.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def numbers(frames: np.ndarray) -> list[int]:
    """Which frames these are, by their grey."""
    return [round(float(frame.mean()) / 4) for frame in frames]


@pytest.fixture(scope="module", params=["h264 in mp4", "mpeg4 in avi", "vp9 in webm"])
def video(request: pytest.FixtureRequest) -> bytes:
    if request.param == "h264 in mp4":
        return encoded("mp4", "libx264", g="12", bf="2", crf="1")
    if request.param == "mpeg4 in avi":
        return encoded("avi", "mpeg4", g="12", bf="2", qmin="1", qmax="1")
    return encoded("webm", "libvpx-vp9", g="12", crf="4", cpu_used="8", deadline="realtime")


def test_it_knows_its_frames_without_decoding(video: bytes) -> None:
    handle = read_video(video)
    assert handle.seconds == pytest.approx(FRAMES / 25)
    assert np.allclose(handle.frame_times, np.arange(FRAMES) / 25, atol=2e-3)


@pytest.mark.parametrize(
    "wanted", [[0], [59], [0, 1, 2], [5, 30, 59], [30, 5, 5, 59], [11, 12, 13, 47, 48], list(range(FRAMES))]
)
def test_it_gives_the_frames_asked_for_in_that_order(video: bytes, wanted: list[int]) -> None:
    handle = read_video(video)
    frames = handle.frames([handle.frame_times[number] for number in wanted])
    assert frames.shape == (len(wanted), 48, 64, 3)
    assert frames.dtype == np.uint8
    assert numbers(frames) == wanted


def test_a_time_between_frames_shows_the_one_before(video: bytes) -> None:
    assert numbers(read_video(video).frames([-1.0, 0.05, 0.39, 99.0])) == [0, 1, 9, 59]


def test_an_end_cuts_what_comes_after(video: bytes) -> None:
    whole, cut = read_video(video), read_video(video, end=1.0)
    assert len(cut.frame_times) == 25
    assert cut.seconds == pytest.approx(1.0)
    assert numbers(cut.frames([0.0, 0.5, 0.97, 99.0])) == [0, 12, 24, 24]
    assert read_video(video, end=99.0) == whole
    with pytest.raises(UnreadableSample, match="no frames before 0 s"):
        read_video(video, end=0.0)


def test_uneven_frame_times_are_kept() -> None:
    times = [Fraction(number, 25) + (Fraction(1, 2) if number >= 30 else 0) for number in range(FRAMES)]
    handle = read_video(encoded("matroska", "libx264", times, g="12", crf="1"))
    assert np.allclose(handle.frame_times, [float(time) for time in times], atol=2e-3)
    assert numbers(handle.frames([1.5, handle.frame_times[30]])) == [29, 30]


def test_bytes_and_path_are_the_same_and_picklable(tmp_path: Path, video: bytes) -> None:
    path = tmp_path / "video"
    path.write_bytes(video)
    there, here = read_video(path), pickle.loads(pickle.dumps(read_video(video)))
    assert np.array_equal(there.frames([0.0, 1.0]), here.frames([0.0, 1.0]))


@pytest.mark.parametrize("content", [b"", b"no video at all", b"RIFF" + bytes(200)])
def test_what_is_no_video_is_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(UnreadableSample, match=r"broken\.mp4"):
        read_video(path)


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSample, match=r"^absent\.mp4: No such file or directory$"):
        read_video(tmp_path / "absent.mp4")


def test_a_truncated_video_is_unreadable_where_it_ends() -> None:
    whole = encoded("matroska", "libx264", g="12", crf="1")
    handle = read_video(whole[: len(whole) * 2 // 3])
    assert len(handle.frame_times) < FRAMES
    assert numbers(handle.frames([0.0])) == [0]


def test_sound_alone_is_no_video() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as output:
        stream = output.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.rate = 16_000
        output.mux(stream.encode(frame))
    with pytest.raises(UnreadableSample, match="no video track"):
        read_video(file.getvalue())
