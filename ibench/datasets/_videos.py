"""What readers of videos share: files found by their stems, and captions matched with the clips they describe."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ibench.datasets.base import EXTENSIONS, Dataset, Item, digests_of, text_item
from ibench.errors import IbenchError
from ibench.hashing import memoised, sha256_json
from ibench.media import decoder_versions
from ibench.media.audio import lacks_sound, read_audio
from ibench.media.video import read_video
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

VIDEO_SUFFIXES = EXTENSIONS[Modality.VIDEO]
SOUND_SUFFIXES = EXTENSIONS[Modality.AUDIO] - VIDEO_SUFFIXES

FilesByStem = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Clip:
    """A clip that a data set lists, its captions, and the stems that its file may have, likeliest first."""

    id: str
    captions: tuple[str, ...]
    stems: tuple[str, ...]
    cluster: str = ""


def captioned(spec: TaskSpec, clips: Sequence[Clip], root: Path, copy: str, end: float | None = None) -> Dataset:
    """The captions, videos and sounds of ``clips``, whichever the task asks for; those of one clip match.

    Files are found by stem anywhere under ``root``. The sound of a clip is a sound file of its stem, else the track of
    its video. ``end`` (seconds) cuts what comes after. A clip that lacks something the task asks for, a file or an
    audio track, is listed as missing and its captions are left out; what else it has stays, so that tasks of one
    modality and of two share their embeddings. Raises IbenchError when two files have the stem of one clip, and when
    no clip is complete.
    """
    wanted = [modality for modality in (Modality.VIDEO, Modality.AUDIO) if modality in spec.sample_modalities]
    files = {clip.id: found for clip, found in zip(clips, _files_of(spec, clips, root, wanted), strict=True)}
    silent = _without_sound({of[Modality.AUDIO] for of in files.values() if Modality.AUDIO in of})
    items: dict[Modality, list[Item]] = {modality: [] for modality in (Modality.TEXT, *wanted)}
    missing = []
    for clip in clips:
        there = {modality: file for modality, file in files[clip.id].items() if not _is_silent(modality, file, silent)}
        for modality, file in there.items():
            items[modality].append(_sample(clip, modality, file, end))
        if len(there) == len(wanted):
            items[Modality.TEXT] += _captions(clip)
        else:
            missing.append(f"{clip.id} (no audio track)" if len(there) < len(files[clip.id]) else clip.id)
    if len(missing) == len(clips):
        raise none_found(spec, root, missing)
    asked = {modality: items[modality] for modality in spec.sample_modalities if modality in items}
    return Dataset(asked, missing=tuple(missing), copy=copy)


def files_by_stem(folder: Path, suffixes: Collection[str], key: Callable[[str], str] = str) -> dict[str, list[Path]]:
    """The files below a folder that end in one of ``suffixes`` (lower case), by ``key`` of their stems.

    Hidden files are passed over: archives made on a Mac hold a ``._video1.mp4`` beside each ``video1.mp4``. Linked
    folders are looked into, for large data often lie on another disk; a folder that several links lead to, once. A
    link to nothing is no file.
    """
    found: dict[str, list[Path]] = {}
    seen: set[str] = set()
    for place, below, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            below.clear()
            continue
        seen.add(real)
        below.sort()
        for name in sorted(names):
            file = Path(place, name)
            if file.suffix.lower() in suffixes and not name.startswith(".") and file.is_file():
                found.setdefault(key(file.stem), []).append(file)
    return found


def sole_file(spec: TaskSpec, files: FilesByStem, stems: Iterable[str]) -> Path | None:
    """The file of the first of ``stems`` that has one. Raises IbenchError when it has two: they may differ."""
    for stem in stems:
        if found := files.get(stem):
            if len(found) > 1:
                raise IbenchError(
                    f"{spec.name}: '{stem}' is there twice, {found[0]} and {found[1]}; move one elsewhere"
                )
            return found[0]
    return None


def none_found(spec: TaskSpec, root: Path, missing: Sequence[str]) -> IbenchError:
    """The error for a copy that has the lists and nothing of what they name."""
    return IbenchError(
        f"{spec.name}: of the {len(missing)} clips listed, none is under {root} (first: {missing[0]}). "
        f"Get them from {spec.dataset.source} (licence: {spec.dataset.licence})"
    )


def _files_of(
    spec: TaskSpec, clips: Sequence[Clip], root: Path, wanted: Sequence[Modality]
) -> Iterator[dict[Modality, Path]]:
    """For each clip its files, by modality."""
    videos = files_by_stem(root, VIDEO_SUFFIXES)
    sounds = files_by_stem(root, SOUND_SUFFIXES) if Modality.AUDIO in wanted else {}
    for clip in clips:
        video = sole_file(spec, videos, clip.stems)
        files = {Modality.VIDEO: video, Modality.AUDIO: sole_file(spec, sounds, clip.stems) or video}
        yield {modality: file for modality in wanted if (file := files[modality]) is not None}


def _is_silent(modality: Modality, file: Path, silent: Collection[Path]) -> bool:
    return modality is Modality.AUDIO and file in silent


def _captions(clip: Clip) -> list[Item]:
    return [
        text_item(f"{clip.id}#{number}", caption, group=clip.id, cluster=clip.cluster)
        for number, caption in enumerate(clip.captions)
    ]


def _sample(clip: Clip, modality: Modality, file: Path, end: float | None) -> Item:
    decode = partial(read_video, file, end) if modality is Modality.VIDEO else partial(read_audio, file, None, end)
    return Item(clip.id, decode, file, "" if end is None else f"0-{end:g}", group=clip.id, cluster=clip.cluster)


def _without_sound(files: Collection[Path]) -> set[Path]:
    """The videos among them that hold no audio track.

    Remembered under their content, for a thousand of them take seconds to open.
    """
    ordered = sorted(file for file in files if file.suffix.lower() in VIDEO_SUFFIXES)
    key = sha256_json({"without sound": digests_of(ordered), "by": decoder_versions(Modality.VIDEO)})
    return {ordered[row] for row in json.loads(memoised(key, partial(_silent_rows, ordered)))}


def _silent_rows(files: Sequence[Path]) -> str:
    return json.dumps([row for row, file in enumerate(files) if lacks_sound(file)])
