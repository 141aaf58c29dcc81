"""AudioCaps' test split: ``dataset/test.csv`` of github.com/cdjkim/audiocaps, and the sounds as one downloaded them.

975 clips of 10 s with five captions each, one to a row. Sounds lie anywhere below the folder under the names that
`ibench.datasets._youtube` knows.
"""

from __future__ import annotations

from pathlib import Path

from ibench.datasets._listed import captioned, read_table
from ibench.datasets._youtube import Clip, find_clips
from ibench.datasets.base import EXTENSIONS, Dataset
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

MARKER = ("dataset/test.csv", "test.csv")
_SECONDS = 10


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The clips, which are rows of one video and start, and their captions, each caption a query.

    Raises IbenchError when the table is incomplete.
    """
    table = next((root / name for name in MARKER if (root / name).is_file()), root / MARKER[-1])
    captions: dict[Clip, list[str]] = {}
    for row in read_table(table, ("youtube_id", "start_time", "caption"), f"get it from {spec.dataset.source}"):
        captions.setdefault(_clip(table, row["youtube_id"], row["start_time"]), []).append(row["caption"])
    found = find_clips(root, captions, EXTENSIONS[Modality.AUDIO] | EXTENSIONS[Modality.VIDEO])
    return captioned({clip.id: (found.get(clip), texts) for clip, texts in captions.items()}, copy="AudioCaps folder")


def _clip(table: Path, video: str, start: str) -> Clip:
    try:
        return Clip(video, float(start), float(start) + _SECONDS)
    except ValueError as error:
        raise IbenchError(f"{table}: video '{video}' starts at {start!r}; expected seconds") from error
