"""Clips of YouTube videos, found under any of the names that downloaders give them.

AudioSet, AudioCaps and VGGSound publish lists of (video, start) and no sound, so each copy is named by the program
that downloaded it: ``Y{id}.wav`` (PANNs), ``{id}.wav``, ``{id}_{start}.flac``, ``{id}_{start:06d}.mp4`` (VGGSound),
``{id}_{start}_{end}.wav``; times in seconds, with or without decimals, or in milliseconds.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_DEPTH = 3
"""Folders below the data set's own that are looked into, such as ``audio/eval_segments`` and ``test/<class>``."""
_FIRST_CHOICE = (".wav", ".flac")


@dataclass(frozen=True)
class Clip:
    """A part of a video: YouTube id, start and end in seconds."""

    video: str
    start: float
    end: float

    @property
    def id(self) -> str:
        """``{id}_{start:06d}``, as VGGSound writes it."""
        return f"{self.video}_{self.start:06.0f}"


def find_clips(root: Path, clips: Collection[Clip], suffixes: Collection[str]) -> dict[Clip, Path]:
    """The file of each clip that is somewhere below ``root``; the folder is listed once, whatever the number of clips.

    Files are taken to be the cut clips, not whole videos. A name without a start counts only for a video that one clip
    is listed of. Of several files of a clip a wav or flac is preferred, then a name that tells the start.
    """
    named = _names(clips)
    found: dict[Clip, tuple[tuple[bool, int, str], Path]] = {}
    for file in _files(root, suffixes):
        clip = named.get(file.stem) or (named.get(file.stem[1:]) if file.stem.startswith("Y") else None)
        if clip is None or not file.is_file():  # a link may lead to nothing
            continue
        rank = (file.suffix.lower() not in _FIRST_CHOICE, -len(file.stem), file.relative_to(root).as_posix())
        if clip not in found or rank < found[clip][0]:
            found[clip] = rank, file
    return {clip: file for clip, (_, file) in found.items()}


def _names(clips: Collection[Clip]) -> dict[str, Clip]:
    """What a clip's file may be called, without suffix and without a leading Y."""
    clips_of = Counter(clip.video for clip in clips)
    named = {clip.video: clip for clip in clips if clips_of[clip.video] == 1}
    for spell in _SPELLINGS:  # all clips in seconds before any in milliseconds: 20000 is sooner the one than the other
        for clip in clips:
            start = f"{clip.video}_{spell(clip.start)}"
            named.setdefault(start, clip)
            named.setdefault(f"{start}_{spell(clip.end)}", clip)
    return named


_SPELLINGS = (
    "{:g}".format,
    "{:06.0f}".format,
    "{:.1f}".format,
    "{:.3f}".format,
    lambda seconds: f"{seconds * 1000:.0f}",
)


def _files(root: Path, suffixes: Collection[str]) -> Iterator[Path]:
    for folder, below, names in os.walk(root, followlinks=True):
        depth = len(Path(folder).relative_to(root).parts)
        below[:] = sorted(name for name in below if depth < _DEPTH and not name.startswith("."))
        yield from (
            Path(folder, name) for name in names if Path(name).suffix.lower() in suffixes and not name.startswith(".")
        )
