"""Decoding: what is read, at which rate and depth, and what is refused with which words."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from ibench.datasets.fakes.noise import video
from ibench.errors import UnreadableSample
from ibench.media.audio import lacks_sound, read_audio, resample
from ibench.media.image import image_size, read_image
from ibench.media.video import read_video
from ibench.modalities import Waveform


def sine(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    wave = 0.4 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


@pytest.mark.parametrize(("suffix", "exact"), [("wav", True), ("flac", True), ("ogg", False), ("mp3", False)])
@pytest.mark.parametrize("channels", [1, 2])
def test_soundfile_formats(tmp_path: Path, suffix: str, exact: bool, channels: int) -> None:
    sound = sine(0.5, 44100, channels)
    soundfile.write(tmp_path / f"a.{suffix}", sound, 44100)
    read = read_audio(tmp_path / f"a.{suffix}")
    assert (read.rate, read.samples.shape[0], read.samples.dtype) == (44100, channels, np.float32)
    assert read.seconds == pytest.approx(0.5, abs=0.06)
    if exact:
        np.testing.assert_allclose(read.samples.T, sound, atol=1e-4)
    assert read_audio((tmp_path / f"a.{suffix}").read_bytes()).samples.shape == read.samples.shape


@pytest.mark.parametrize("suffix", ["m4a", "webm"])
def test_what_soundfile_cannot_read_goes_to_ffmpeg(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac" if suffix == "m4a" else "libopus", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sine(1.0, 48000).T, format="fltp", layout="mono")
        frame.sample_rate = 48000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    read = read_audio(path)
    assert read.rate == 48000
    assert read.seconds == pytest.approx(1.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(read.samples[0]))
    assert spectrum.argmax() * 48000 / read.samples.shape[1] == pytest.approx(440, abs=5)
    part = read_audio(path, 0.25, 0.75)
    assert part.seconds == pytest.approx(0.5, abs=0.01)


def test_a_part_is_the_same_as_the_slice_of_the_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).standard_normal(16000) * 0.1, 16000)
    whole = read_audio(tmp_path / "a.wav").samples
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", 0.25, 0.5).samples, whole[:, 4000:8000])
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", 0.5).samples, whole[:, 8000:])


@pytest.mark.parametrize("data", [b"", b"RIFF", b"not a sound at all" * 50])
def test_what_is_no_sound(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(UnreadableSample, match=r"a\.wav"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sound_that_is_no_number_is_unreadable(tmp_path: Path, value: float) -> None:
    samples = sine(1, 8000)
    samples[4000] = value
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    with pytest.raises(UnreadableSample, match=r"a\.wav: holds NaN or infinity"):
        read_audio(tmp_path / "a.wav")
    assert read_audio(tmp_path / "a.wav", 0, 0.25).samples.shape == (1, 2000)


def test_a_forged_length_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibench.media.audio.MAX_SAMPLES", 1000)
    soundfile.write(tmp_path / "a.flac", sine(1, 8000), 8000)
    with pytest.raises(UnreadableSample, match="the limit is 1,000"):
        read_audio(tmp_path / "a.flac")


def test_a_video_without_a_sound_track_is_told_from_one_that_does_not_open(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    video(tmp_path / "silent.mp4", rng)
    video(tmp_path / "heard.mp4", rng, with_sound=True)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    found = {name: lacks_sound(tmp_path / f"{name}.mp4") for name in ("silent", "heard", "broken", "absent")}
    assert found == {"silent": True, "heard": False, "broken": False, "absent": False}
    assert read_audio(tmp_path / "heard.mp4").rate == 16_000
    with pytest.raises(UnreadableSample, match=r"silent\.mp4: holds no audio track"):
        read_audio(tmp_path / "silent.mp4")


def test_resampling_keeps_the_tone_and_is_nothing_at_the_same_rate() -> None:
    sound = Waveform(sine(1, 44100).T.copy(), 44100)
    assert resample(sound, 44100) is sound
    lower = resample(sound, 16000)
    assert (lower.rate, lower.samples.shape) == (16000, (1, 16000))
    assert np.abs(np.fft.rfft(lower.samples[0])).argmax() == 440


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16", "1"])
def test_images_come_as_they_were_stored(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (7, 5))
    if mode == "I;16":
        image = Image.fromarray(np.full((5, 7), 40_000, np.uint16))
    image.save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert (read.mode, read.size) == (mode, (7, 5))
    if mode == "I;16":
        assert np.asarray(read).max() == 40_000
    assert read_image((tmp_path / "a.png").read_bytes()).size == (7, 5)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG" if suffix == "jpg" else suffix.upper())
    (tmp_path / f"a.{suffix}").write_bytes(data.getvalue()[: int(share * data.tell())])
    with pytest.raises(UnreadableSample, match=f"a.{suffix}"):
        read_image(tmp_path / f"a.{suffix}")


def test_an_image_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    """A PNG of a few hundred bytes whose header says 30,000 × 30,000."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(UnreadableSample, match=r"bomb\.png"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize(("read", "name"), [(read_audio, "a.wav"), (read_audio, "a.mp4"), (read_video, "a.mp4")])
def test_why_a_file_cannot_be_read_does_not_depend_on_where_it_lies(
    tmp_path: Path, read: Callable[[Path], object], name: str
) -> None:
    """Reasons stand in records, and records of two copies are compared."""
    reasons = set()
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"not what the name says")
        with pytest.raises(UnreadableSample) as refusal:
            read(tmp_path / folder / name)
        reasons.add(str(refusal.value))
    assert len(reasons) == 1


@pytest.mark.parametrize("channels", [1, 2])
def test_the_sound_of_a_video_is_decoded(tmp_path: Path, channels: int) -> None:
    """Of an mp4 with a picture track first, as downloaded clips are."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=8)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        track = container.add_stream("aac", rate=48000, layout="mono" if channels == 1 else "stereo")
        for _ in range(16):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(picture.encode())
        sound = np.ascontiguousarray(sine(2.0, 48000, channels).T)
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout=track.layout.name)
        frame.sample_rate = 48000
        for packet in [*track.encode(frame), *track.encode(None)]:
            container.mux(packet)
    read = read_audio(path)
    assert (read.rate, read.samples.shape[0]) == (48000, channels)
    assert read.seconds == pytest.approx(2.0, abs=0.1)
    for channel in read.samples:
        loudest = np.abs(np.fft.rfft(channel)).argmax() * 48000 / len(channel)
        assert loudest == pytest.approx(440, abs=2)


def test_a_video_without_sound_is_no_sound(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        picture = container.add_stream("mpeg4", rate=8)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(picture.encode())
    with pytest.raises(UnreadableSample, match=r"mute\.mp4: holds no audio track"):
        read_audio(tmp_path / "mute.mp4")


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_a_part_of_an_image_is_the_slice_of_the_whole(tmp_path: Path, mode: str) -> None:
    shape = (30, 40, 3) if mode == "RGB" else (30, 40)
    pixels = np.random.default_rng(0).integers(0, 2**16 if mode == "I;16" else 256, shape)
    Image.fromarray(pixels.astype(np.uint16 if mode == "I;16" else np.uint8)).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes()):
        part = read_image(source, (5, 0, 40, 12))
        assert part.mode == mode  # 16 bits stay 16 bits
        np.testing.assert_array_equal(np.asarray(part), pixels[0:12, 5:40])
        assert image_size(source) == (40, 30)


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 41, 5), (0, 0, 5, 31), (0, -1, 5, 5)])
def test_a_box_that_leaves_the_image_is_not_filled_with_black(tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    Image.new("L", (40, 30), 200).save(tmp_path / "a.png")
    with pytest.raises(UnreadableSample, match=r"a\.png: box .* leaves the image of 40 × 30"):
        read_image(tmp_path / "a.png", box)


def test_why_an_image_is_unreadable_does_not_say_where_it_lay(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    for name in ("a.png", "absent.png"):
        for read in (read_image, image_size):
            with pytest.raises(UnreadableSample, match=name) as caught:
                read(tmp_path / name)
            assert str(tmp_path) not in str(caught.value)
