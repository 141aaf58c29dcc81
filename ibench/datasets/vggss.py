"""VGG-SS, the sources of VGGSound's sounds: ``vggss.json``, and a frame and the sound of each clip.

Source: github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way (arXiv 2104.02691): ``metadata/vggss.json`` is a list of
``{"file": "zpWuikVorYg_000032", "class": "elk bugling", "bbox": [[left, top, right, bottom], ...]}`` in shares of the
frame's sides, of 5,158 clips of VGGSound. The clips themselves are not published: one cuts the frame in the middle of
each, which is the one that was annotated, to ``frames/{file}.jpg``, and its 10 s of sound to ``audio/{file}.wav``, as
the README lays them out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field, FiniteFloat, RootModel

from ibench.datasets._jsonfile import read_json
from ibench.datasets._sounding import Annotated, pairs
from ibench.datasets.base import Dataset, inside
from ibench.errors import IbenchError
from ibench.modalities import Region
from ibench.tasks import TaskSpec

MARKER = ("metadata/vggss.json", "vggss.json")
_CLIP = re.compile(r"(?P<video>[\w-]{11})_\d{6}", re.ASCII)


class _Clip(BaseModel):
    file: str = Field(min_length=1)
    label: str = Field(alias="class", min_length=1)
    boxes: tuple[tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat], ...] = Field(alias="bbox")


class _Clips(RootModel[list[_Clip]]):
    pass


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The clips that are there, each a sound of its class and a frame with the boxes of what sounds.

    Boxes are as published: some reach over the frame, and some hold no pixel (M1P1xla8rg0_000000), whose source nobody
    can find; the published evaluation counts them all the same. The clips of one YouTube video are a cluster. Raises
    IbenchError for a file that is none of VGG-SS, for a name that is a path, and where most boxes miss their frames.
    """
    table = next(root / marker for marker in MARKER if (root / marker).is_file())
    clips = read_json(table, _Clips).root
    for clip in clips:
        if inside(root, clip.file, str(table)).parent != root:
            raise IbenchError(f"{table}: '{clip.file}' is a path; expected the name of a clip")
    _refuse_other_units(table, clips)
    return pairs(
        (Annotated(clip.file, clip.boxes, (clip.label,), _video(clip.file)) for clip in clips),
        root,
        copy="VGG-SS folder",
        labels={name: (name,) for name in sorted({clip.label for clip in clips})},
    )


def _refuse_other_units(table: Path, clips: Sequence[_Clip]) -> None:
    """Raises IbenchError where more than half of the clips have nothing in their boxes, as of boxes in pixels."""
    nothing = [clip.file for clip in clips if not any(map(_holds, clip.boxes))]
    if 2 * len(nothing) > len(clips):
        raise IbenchError(
            f"{table}: the boxes of {len(nothing)} of {len(clips)} clips hold nothing of their frames ('{nothing[0]}', "
            "...); a box is left, top, right, bottom, in shares of the frame's sides"
        )


def _holds(box: Region) -> bool:
    left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in box)
    return left < right and top < bottom


def _video(file: str) -> str:
    """The YouTube video that a clip was cut from; a name of another form is its own."""
    clip = _CLIP.fullmatch(file)
    return clip["video"] if clip else file
