"""Videos: a handle over a file or bytes that decodes only the frames asked for."""

from __future__ import annotations

import io
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from ibench.errors import UnreadableSample

MAX_PIXELS = 200_000_000
"""Refuse larger frames: a few compressed bytes may claim any size."""


@dataclass(frozen=True)
class VideoFile:
    """A video on disk or in memory that satisfies `ibench.modalities.Video`; made by `read_video`. Picklable.

    ``frame_times`` are the presentation times of all frames in seconds, the first at 0; ``seconds`` is their number
    over the average frame rate.
    """

    source: Path | bytes = field(repr=False)
    seconds: float
    frame_times: tuple[float, ...] = field(repr=False)
    _stamps: tuple[int, ...] | None = field(repr=False)
    """Presentation time stamps as stored, in order; None where the file has none and frames must be counted."""
    _keys: tuple[int, ...] = field(repr=False)
    """The stamps at which decoding can begin."""

    def frames(self, times: Sequence[float]) -> NDArray[np.uint8]:
        """The frames shown at ``times`` (seconds), uint8 [len(times), H, W, 3] RGB, in the order asked for.

        A time before the first or after the last frame gives the first or the last. Raises UnreadableSample when a
        frame cannot be decoded.
        """
        wanted = [max(bisect_right(self.frame_times, time) - 1, 0) for time in times]
        with _unreadable(self.source), _opened(self.source) as container:
            if self._stamps is None:
                decoded = _counted(container, set(wanted))
            else:
                decoded = _sought(container, sorted(set(wanted)), self._stamps, self._keys)
        missing = sorted(set(wanted) - set(decoded))
        if missing:
            raise UnreadableSample(f"{_name(self.source)}: frame {missing[0]} of {len(self.frame_times)} is damaged")
        return np.stack([decoded[index] for index in wanted]) if wanted else np.zeros((0, 0, 0, 3), np.uint8)


def read_video(source: Path | bytes, end: float | None = None) -> VideoFile:
    """Open a video, or what it shows before ``end`` seconds: its packets are listed, no frame is decoded.

    Raises UnreadableSample when the bytes are no video or hold no frame, or none before ``end``.
    """
    video = _listed(source)
    if end is None:
        return video
    times = video.frame_times[: bisect_left(video.frame_times, end)]
    if not times:
        raise UnreadableSample(f"{_name(source)}: no frames before {end:g} s")
    return replace(video, seconds=video.seconds * len(times) / len(video.frame_times), frame_times=times)


def _listed(source: Path | bytes) -> VideoFile:
    with _unreadable(source), _opened(source) as container:
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise UnreadableSample(f"{_name(source)}: frames of {width} × {height}, the limit is {MAX_PIXELS:,} pixels")
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        if not packets or rate <= 0:
            raise UnreadableSample(f"{_name(source)}: no frames in it")
        stamps = [packet.pts for packet in packets]
        if any(stamp is None for stamp in stamps) or len(set(stamps)) < len(stamps):
            times = tuple(index / rate for index in range(len(packets)))
            return VideoFile(source, len(packets) / rate, times, None, ())
        ordered = tuple(sorted(stamps))
        times = tuple(float((stamp - ordered[0]) * stream.time_base) for stamp in ordered)
        keys = tuple(sorted(packet.pts for packet in packets if packet.is_keyframe))
        return VideoFile(source, len(packets) / rate, times, ordered, keys)


def _sought(container: Any, wanted: list[int], stamps: Sequence[int], keys: Sequence[int]) -> dict[int, NDArray[Any]]:
    """The frames numbered ``wanted`` (ascending), reached through the nearest key frame before each."""
    stream = container.streams.video[0]
    found: dict[int, NDArray[Any]] = {}
    decoder, position = container.decode(stream), stamps[0]
    for index in wanted:
        stamp = stamps[index]
        # Decoding on is cheaper than a seek unless a key frame lies between here and there.
        if bisect_right(keys, stamp) > bisect_right(keys, position):
            container.seek(stamp, stream=stream, backward=True)
            decoder = container.decode(stream)
        for frame in decoder:
            if frame.pts is None or frame.pts < stamp:
                continue
            position = frame.pts
            if frame.pts == stamp:
                found[index] = frame.to_ndarray(format="rgb24")
            break
    if len(found) < len(wanted):  # a seek that overshot, or stamps the decoder corrects: count from the beginning
        container.seek(0, stream=stream, backward=True)
        found |= _counted(container, set(wanted) - set(found))
    return found


def _counted(container: Any, wanted: set[int]) -> dict[int, NDArray[Any]]:
    """The frames numbered ``wanted``, counted from the beginning."""
    found: dict[int, NDArray[Any]] = {}
    for index, frame in enumerate(container.decode(container.streams.video[0])):
        if index in wanted:
            found[index] = frame.to_ndarray(format="rgb24")
        if len(found) == len(wanted):
            break
    return found


@contextmanager
def _opened(source: Path | bytes) -> Iterator[Any]:
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
        if not container.streams.video:
            raise UnreadableSample(f"{_name(source)}: no video track")
        yield container


@contextmanager
def _unreadable(source: Path | bytes) -> Iterator[None]:
    try:
        yield
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # without the path: the same wherever the copy lies
        raise UnreadableSample(f"{_name(source)}: {reason}") from error


def _name(source: Path | bytes) -> str:
    return "video" if isinstance(source, bytes) else source.name
