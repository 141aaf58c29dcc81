"""The seven modalities and the raw sample of each, with shapes and units.

A raw sample is what `ibench.media` decodes and what an encoder's ``preprocess`` receives:

========  ==================================================================
text      ``str``
image     ``PIL.Image.Image``, as stored (mode L, RGB, P, ...; 16-bit stays 16-bit)
thermal   ``PIL.Image.Image``, usually mode L
video     :class:`Video`, a handle that decodes only the frames asked for
audio     :class:`Waveform`
depth     :class:`DepthMap`
imu       :class:`ImuWindow`
========  ==================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:  # the command line lists tasks without waiting for numpy
    import numpy as np
    from numpy.typing import NDArray


class Modality(str, Enum):
    """A kind of input; its value is the name used in task files, cards and tables."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    DEPTH = "depth"
    THERMAL = "thermal"
    IMU = "imu"

    def __str__(self) -> str:
        return self.value


def pair_name(query: Modality, target: Modality, fuse: Collection[Modality] = ()) -> str:
    """A pair as tables show it: ``text→video``, or ``text→video+audio`` where a side is composed of ``fuse``, the query
    if it is among them."""
    composed = "+".join(fuse)
    if query in fuse:
        return f"{composed}→{target}"
    return f"{query}→{composed if target in fuse else target}"


@dataclass(frozen=True)
class Waveform:
    """Sound: ``samples`` is float32 [channels, samples] in -1..1, ``rate`` in Hz."""

    samples: NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        return float(self.samples.shape[1] / self.rate)


@dataclass(frozen=True)
class DepthMap:
    """Depth: ``metres`` is float32 [H, W]; ``focal`` in pixels and ``baseline`` in metres give disparity."""

    metres: NDArray[np.float32]
    focal: float
    baseline: float


@dataclass(frozen=True)
class ImuWindow:
    """Motion: ``readings`` is float32 [6, T], accelerometer x y z in m/s² then gyroscope x y z in rad/s."""

    readings: NDArray[np.float32]
    rate: float


class Video(Protocol):
    """A video that decodes only what is asked for."""

    @property
    def seconds(self) -> float:
        """Duration in seconds: the number of frames over the average frame rate."""
        ...

    @property
    def frame_times(self) -> Sequence[float]:
        """When each frame is shown (seconds, ascending, the first at 0), known without decoding.

        Published protocols choose frames by number; frame ``i`` is ``frames([frame_times[i]])``.
        """
        ...

    def frames(self, times: Sequence[float]) -> NDArray[np.uint8]:
        """The frames shown at ``times`` (seconds), uint8 [len(times), H, W, 3] RGB."""
        ...


Region: TypeAlias = tuple[float, float, float, float]
"""A box in a picture: left, top, right, bottom as shares of its sides, 0 to 1."""

RawSample: TypeAlias = Any
"""``str``, ``PIL.Image.Image``, :class:`Waveform`, :class:`Video`, :class:`DepthMap` or :class:`ImuWindow`."""
