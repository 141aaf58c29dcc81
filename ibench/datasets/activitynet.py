"""ActivityNet Captions as paragraph and video: ``val_ids.json``, ``val_1.json`` and ``Activity_Videos/v_<id>.mp4``.

Source: cs.stanford.edu/people/ranjaykrishna/densevid (captions.zip). The first validation set describes 4,917 videos.
"""

from __future__ import annotations

from pathlib import Path

from ibench.datasets._metadata import json_of
from ibench.datasets._videos import Clip, captioned
from ibench.datasets.base import Dataset
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

MARKER = "val_1.json"
PAIRED = (Modality.AUDIO, Modality.VIDEO)


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The videos that ``val_1.json`` (id → ``sentences``) describes, in the order of ``val_ids.json``.

    The sentences of a video, joined by spaces, are one text. Identifiers that only ``val_ids.json`` has are of the
    second validation set and not of this one. A file may be called ``v_<id>`` or ``<id>``. Raises IbenchError for files
    of another form, and when no video is there.
    """
    described, ids = json_of(root / MARKER), json_of(root / "val_ids.json")
    if not isinstance(described, dict) or not isinstance(ids, list):
        raise IbenchError(f"{root}: {MARKER} should be an object of videos, and val_ids.json a list of their names")
    names = [str(id) for id in dict.fromkeys(map(str, ids)) if str(id) in described]
    if not names:
        raise IbenchError(f"{root}: {MARKER} describes no video that val_ids.json names")
    clips = [Clip(name, (_paragraph(root, name, described[name]),), (name, name[2:])) for name in names]
    return captioned(spec, clips, root, "ActivityNet Captions folder")


def _paragraph(root: Path, name: str, video: object) -> str:
    sentences = video.get("sentences") if isinstance(video, dict) else None
    if not isinstance(sentences, list) or not sentences:
        raise IbenchError(f"{root / MARKER}: '{name}' has no 'sentences'")
    return " ".join(str(sentence).strip() for sentence in sentences)
