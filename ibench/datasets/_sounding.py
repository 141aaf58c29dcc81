"""Frames whose sound has a source in them: pairs of a frame and a sound, with the boxes that people drew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ibench.datasets.base import Dataset, Item, shown
from ibench.media.audio import read_audio
from ibench.media.image import read_image
from ibench.modalities import Modality, Region


class Annotated(NamedTuple):
    """A sample's id, the boxes of its source, the classes of its sound, and what it was cut from."""

    id: str
    boxes: tuple[Region, ...]
    labels: tuple[str, ...] = ()
    cluster: str = ""


def pairs(
    annotated: Iterable[Annotated],
    root: Path,
    copy: str,
    labels: Mapping[str, tuple[str, ...]] | None = None,
    missing: tuple[str, ...] = (),
) -> Dataset:
    """The samples whose frame and sound are both there, in order; one that lacks either is missing.

    Files are ``frames/{id}.jpg`` and ``audio/{id}.wav``, or both in a folder of ``Data``, as Flickr-SoundNet's authors
    pack them.
    """
    frames, sounds = _files(root, "frames", ".jpg"), _files(root, "audio", ".wav")
    items: dict[Modality, list[Item]] = {Modality.AUDIO: [], Modality.IMAGE: []}
    absent = list(missing)
    for id, boxes, classes, cluster in annotated:
        lacks = [name for name, files in ((f"frames/{id}.jpg", frames), (f"audio/{id}.wav", sounds)) if id not in files]
        if lacks:
            absent.append(" and ".join(lacks))
            continue
        sound, frame = sounds[id], frames[id]
        items[Modality.AUDIO].append(Item(id, partial(read_audio, sound), sound, "", classes, id, cluster, boxes=boxes))
        items[Modality.IMAGE].append(Item(id, partial(read_image, frame), frame, group=id, cluster=cluster))
    return Dataset(items, labels=labels, missing=tuple(absent), copy=copy)


def _files(root: Path, folder: str, suffix: str) -> dict[str, Path]:
    return {
        file.stem: file for pattern in (f"Data/*/*{suffix}", f"{folder}/*{suffix}") for file in shown(root, pattern)
    }
