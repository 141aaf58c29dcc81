"""Frames as windows: each an item of its own, so that they are embedded as any picture is."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from PIL import Image
from pydantic import Field, RootModel, model_validator

from ibench.datasets._jsonfile import read_json
from ibench.datasets.base import Item
from ibench.errors import IbenchError
from ibench.modalities import RawSample, Region
from ibench.tasks import MAX_WINDOWS

LONGEST = 2048
"""Pixels of a side after warping: a window one pixel wide may be as long as a picture."""


@dataclass(frozen=True)
class Frame:
    """A picture, and the windows that it is searched by."""

    item: Item
    regions: tuple[Region, ...]

    @property
    def windows(self) -> list[Item]:
        """An item for each window, with the frame's group; its id is the frame's and its number, from 0."""
        frame = self.item
        return [
            Item(
                id=f"{frame.id}#{number}",
                decode=partial(window, frame.decode, frame.content, region),
                content=frame.content,
                part=",".join(map(repr, region)),
                group=frame.group,
                cluster=frame.cluster,
            )
            for number, region in enumerate(self.regions)
        ]


def window(decode: Callable[[], RawSample], content: Path | str, region: Region) -> Image.Image:
    """The window of a frame, cut at the nearest pixels (at least one) and warped to a square.

    Warped as regions are for a detector that classifies them (R-CNN, arXiv 1311.2524, section 2.1), and as published
    localisation squashes its frames: front ends crop to the middle, and would leave out the sides of a wide window.
    The longer side keeps its length, so that no pixel is lost, up to LONGEST; a square window is the frame's very
    pixels. The frame last read is kept in each process, since its windows come one after the other. Raises
    UnreadableSample as ``decode`` does.
    """
    frame = _whole(decode, content)
    left, right = _pixels(region[0], region[2], frame.width)
    top, bottom = _pixels(region[1], region[3], frame.height)
    cut = frame.crop((left, top, right, bottom))
    side = min(max(cut.size), LONGEST)
    return cut if cut.width == cut.height else cut.resize((side, side), Image.Resampling.BICUBIC)


_LAST: dict[Hashable, Image.Image] = {}


def _whole(decode: Callable[[], RawSample], content: Path | str) -> Image.Image:
    """A frame in grey or RGB, from memory where it is the one last asked for and has not changed since."""
    key = (content, _stamp(content)) if isinstance(content, Path) else content
    frame = _LAST.get(key)
    if frame is None:
        decoded = decode()
        frame = decoded if decoded.mode in ("L", "RGB") else decoded.convert("RGB")
        _LAST.clear()
        _LAST[key] = frame
    return frame


def _stamp(file: Path) -> tuple[int, int] | None:
    """Size and change time; None for a file that is not there, of which decoding tells."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _pixels(start: float, end: float, length: int) -> tuple[int, int]:
    """The pixels nearest to a span of shares, at least one."""
    first = min(round(start * length), length - 1)
    return first, max(round(end * length), first + 1)


class _Proposals(RootModel[dict[str, Annotated[tuple[Region, ...], Field(min_length=1, max_length=MAX_WINDOWS)]]]):
    @model_validator(mode="after")
    def _boxes(self) -> _Proposals:
        for frame, regions in self.root.items():
            for left, top, right, bottom in regions:
                if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                    raise ValueError(
                        f"frame '{frame}' has the box {[left, top, right, bottom]}; left < right and top < bottom, "
                        "all of them shares from 0 to 1"
                    )
        return self


def read_proposals(file: Path) -> Mapping[str, tuple[Region, ...]]:
    """Windows by the frame's id, from JSON: ``{"frame": [[left, top, right, bottom], ...]}`` in shares of its sides.

    Raises IbenchError for a file that cannot be read, a box that is none, and a frame with none or over MAX_WINDOWS.
    """
    return read_json(file, _Proposals).root


def frames_of(
    items: Sequence[Item], grid: tuple[Region, ...], proposals: Mapping[str, tuple[Region, ...]] | None
) -> list[Frame]:
    """The frames with the windows that are proposed for each, or else those of the grid.

    Raises IbenchError for a frame that nothing is proposed for, and for two of one group.
    """
    if len({item.group for item in items}) < len(items):
        raise IbenchError("two frames are of one group; a sound is searched for in one frame")
    if proposals is None:
        return [Frame(item, grid) for item in items]
    for item in items:
        if item.id not in proposals:
            raise IbenchError(f"the proposals have no frame '{item.id}'; every frame needs a window to be searched by")
    return [Frame(item, proposals[item.id]) for item in items]
