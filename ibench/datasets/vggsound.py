"""VGGSound's test clips: its csv files, and the clips as one has downloaded them.

Source: github.com/hche11/VGGSound. ``vggsound.csv`` lists all clips (id, start, label, split; no header), ``test.csv``
the 15,446 of the test split (``{id}_{start:06d}.mp4``, label); either is enough. 309 classes, 10 s each. Clips lie
anywhere below the folder under the names that `ibench.datasets._youtube` knows.
"""

from __future__ import annotations

from pathlib import Path

from ibench.datasets._listed import read_table
from ibench.datasets._youtube import Clip, find_clips
from ibench.datasets.base import EXTENSIONS, Dataset, Item, file_decoder
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

_ALL, _TEST, _CLASSES = "vggsound.csv", "test.csv", "stat.csv"
MARKER = (_ALL, f"data/{_ALL}", f"data/{_TEST}", _TEST)
PAIRED = (Modality.AUDIO, Modality.VIDEO)
_SECONDS = 10


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The test clips that are there, labelled; for retrieval both their modalities, sound and picture of one file.

    The classes are those of ``stat.csv`` where it is, else all that the table names, in sorted order either way.
    Raises IbenchError when a table is incomplete or names a clip in another way.
    """
    hint = f"get it from {spec.dataset.source}"
    label_of, classes = _test_clips(root, hint)
    seen = Modality.VIDEO in spec.sample_modalities
    suffixes = EXTENSIONS[Modality.VIDEO] | (frozenset() if seen else EXTENSIONS[Modality.AUDIO])
    found = find_clips(root, label_of, suffixes)
    items = {
        modality: [
            Item(
                id=clip.id,
                decode=file_decoder(modality, found[clip], None, None),
                content=found[clip],
                labels=(label,),
                group=clip.id,
                cluster=clip.video,
            )
            for clip, label in label_of.items()
            if clip in found
        ]
        for modality in spec.sample_modalities
    }
    return Dataset(
        items,
        labels={name: (name,) for name in _class_names(root, hint) or sorted(classes)},
        missing=tuple(clip.id for clip in label_of if clip not in found),
        copy="VGGSound folder",
    )


def _test_clips(root: Path, hint: str) -> tuple[dict[Clip, str], set[str]]:
    """The clips of the test split with their labels, and all labels of the table."""
    table = _either(root, _ALL)
    if table is not None:
        rows = read_table(table, ("id", "start", "label", "split"), hint, header=False)
        named = [(row["id"], row["start"], row["label"]) for row in rows if row["split"] == "test"]
    else:
        table = _either(root, _TEST) or root / _TEST
        rows = read_table(table, ("file", "label"), hint, header=False)
        stems = [(row["file"].removesuffix(".mp4").rpartition("_"), row["label"]) for row in rows]
        named = [(video, start, label) for (video, _, start), label in stems]
    return {_clip(table, video, start): label for video, start, label in named}, {row["label"] for row in rows}


def _clip(table: Path, video: str, start: str) -> Clip:
    if not video or not start.isdecimal():
        raise IbenchError(f"{table}: '{video}' from '{start}' is no clip; expected a YouTube id and whole seconds")
    return Clip(video, int(start), int(start) + _SECONDS)


def _class_names(root: Path, hint: str) -> list[str]:
    """The labels of ``stat.csv`` (label, number of clips, later also a group; no header), if it is there."""
    table = _either(root, _CLASSES)
    return sorted(row["label"] for row in read_table(table, ("label",), hint, header=False)) if table else []


def _either(root: Path, name: str) -> Path | None:
    """A table in the folder, or in ``data/`` as in the repository."""
    return next((table for table in (root / name, root / "data" / name) if table.is_file()), None)
