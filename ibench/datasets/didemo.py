"""DiDeMo as paragraph and video: ``test_list.txt``, ``test_data.json`` and the videos under their Flickr names.

Source: github.com/LisaAnne/LocalizingMoments (annotations, videos); the lists are those of
github.com/albanie/collaborative-experts (misc/datasets/didemo). 1,004 test videos with 4,021 descriptions.
"""

from __future__ import annotations

from pathlib import Path

from ibench.datasets._metadata import json_of, lines_of
from ibench.datasets._videos import VIDEO_SUFFIXES, Clip, captioned
from ibench.datasets.base import Dataset
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

MARKER = "test_data.json"
PAIRED = (Modality.AUDIO, Modality.VIDEO)
END = 31.0
"""Seconds: annotators saw 30 s of longer videos, and CLIP4Clip's loader (and so LanguageBind) cuts at 31."""


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The videos of the list, each with all its descriptions joined by spaces, in the order of the JSON.

    ``test_data.json`` holds entries with ``video`` and ``description``. A video's name in the lists may carry the
    suffix of its first download, whatever suffix the file has now. Raises IbenchError for an entry without these keys,
    a listed video without description, and when no video is there.
    """
    described: dict[str, list[str]] = {}
    entries = json_of(root / MARKER)
    for number, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        if not isinstance(entry, dict) or not {"video", "description"} <= entry.keys():
            raise IbenchError(f"{root / MARKER}: entry {number} has no 'video' and 'description'")
        described.setdefault(str(entry["video"]), []).append(str(entry["description"]).strip())
    listed = list(dict.fromkeys(lines_of(root / "test_list.txt")))
    if undescribed := [name for name in listed if name not in described]:
        raise IbenchError(f"{root / MARKER}: no description of '{undescribed[0]}', which test_list.txt names")
    clips = [Clip(name, (" ".join(described[name]),), (name, _without_suffix(name))) for name in listed]
    return captioned(spec, clips, root, "DiDeMo folder", end=END)


def _without_suffix(name: str) -> str:
    return Path(name).stem if Path(name).suffix.lower() in VIDEO_SUFFIXES else name
