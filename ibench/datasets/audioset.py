"""AudioSet's evaluation segments: its two csv files, and the sounds as one has downloaded them.

``eval_segments.csv`` and ``class_labels_indices.csv`` are from research.google.com/audioset/download.html; of the
20,371 segments of 10 s between 17,000 and 20,000 can usually still be had. Sounds lie anywhere below the folder under
the names that `ibench.datasets._youtube` knows.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ibench.datasets._listed import ordered, read_table
from ibench.datasets._youtube import Clip, find_clips
from ibench.datasets.base import EXTENSIONS, Dataset, Item
from ibench.errors import IbenchError
from ibench.media.audio import read_audio
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

MARKER = "eval_segments.csv"


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The segments whose sound is there. Labels are machine ids (``/m/09x0r``) with their display names, in the order
    of ``class_labels_indices.csv``; several to a segment. Raises IbenchError when a table is absent or incomplete.
    """
    hint = f"get it from {spec.dataset.source}"
    names = root / "class_labels_indices.csv"
    classes = ordered(read_table(names, ("index", "mid", "display_name"), hint), "index", names)
    labels_of = _segments(root / MARKER, hint)
    found = find_clips(root, labels_of, EXTENSIONS[Modality.AUDIO] | EXTENSIONS[Modality.VIDEO])
    items = [
        Item(
            id=clip.id,
            decode=partial(read_audio, found[clip]),
            content=found[clip],
            labels=labels,
            group=clip.id,
            cluster=clip.video,
        )
        for clip, labels in labels_of.items()
        if clip in found
    ]
    return Dataset(
        {spec.query: items},
        labels={row["mid"]: (row["display_name"],) for row in classes},
        missing=tuple(clip.id for clip in labels_of if clip not in found),
        copy="AudioSet folder",
    )


def _segments(table: Path, hint: str) -> dict[Clip, tuple[str, ...]]:
    """Three lines of comment, then ``YTID, start, end, "mid,mid"`` with a space after each comma that parts cells."""
    columns = ("YTID", "start_seconds", "end_seconds", "positive_labels")
    rows = read_table(table, columns, hint, header=False, comment="#", spaced=True)
    try:
        return {
            Clip(row["YTID"], float(row["start_seconds"]), float(row["end_seconds"])): tuple(
                row["positive_labels"].split(",")
            )
            for row in rows
        }
    except ValueError as error:
        raise IbenchError(f"{table}: {error}; start and end are seconds") from error
