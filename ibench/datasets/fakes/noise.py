"""Seeded noise as files: sounds, pictures and videos that decode and mean nothing."""

from __future__ import annotations

import csv
import string
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image


def sound(
    path: Path,
    rng: np.random.Generator,
    seconds: float = 1.0,
    rate: int = 16_000,
    channels: int = 1,
    depth: str | None = None,
) -> None:
    """A sound file of white noise; the format follows the suffix, ``depth`` is a subtype of soundfile's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, rng.uniform(-0.3, 0.3, (max(round(seconds * rate), 1), channels)), rate, subtype=depth)


def picture(path: Path, rng: np.random.Generator, size: tuple[int, int] = (64, 48), mode: str = "RGB") -> None:
    """A picture of noise, ``size`` is width × height; mode ``L``, ``RGB``, or ``I;16`` for 16-bit grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    if mode == "I;16":
        pixels = rng.integers(0, 2**16, (height, width), dtype=np.uint16)
    else:
        pixels = rng.integers(0, 2**8, (height, width) if mode == "L" else (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def video(path: Path, rng: np.random.Generator, seconds: float = 1.0, with_sound: bool = False) -> None:
    """A small video of noise at 8 frames/s, with a sound track at 16 kHz if asked; the container follows the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        track = container.add_stream("aac" if path.suffix == ".mp4" else "mp3", rate=16_000) if with_sound else None
        for _ in range(max(round(seconds * 8), 1)):
            pixels = rng.integers(0, 2**8, (48, 64, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
        if track is not None:
            samples = rng.uniform(-0.3, 0.3, (1, round(seconds * 16_000))).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.rate = 16_000
            container.mux(track.encode(frame))
            container.mux(track.encode())


def video_id(rng: np.random.Generator, number: int) -> str:
    """An id such as YouTube's: eleven of 64 characters. Of four numbered ones one begins with ``-``, one with ``_``."""
    letters = string.ascii_letters + string.digits + "-_"
    first = {0: "-", 1: "_"}.get(number % 4, "")
    return (first + "".join(letters[at] for at in rng.integers(0, 64, 11)))[:11]


def table(path: Path, rows: Iterable[Iterable[object]], encoding: str = "utf-8") -> None:
    """A csv file, quoted where a cell needs it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def damaged(path: Path) -> None:
    """A file of the right name whose bytes are nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not what the name says")
