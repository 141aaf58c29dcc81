"""Frames of depth and colour together, and the folder that SUN RGB-D keeps each of its frames in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ibench.datasets.base import Dataset, Item, shown
from ibench.errors import IbenchError, UnreadableSample
from ibench.media.depth import read_sun_rgbd
from ibench.media.image import read_image
from ibench.modalities import DepthMap, Modality, RawSample
from ibench.tasks import TaskSpec

BASELINES: Mapping[str, float] = {"kv1": 0.075, "kv1_b": 0.075, "kv2": 0.075, "realsense": 0.095, "xtion": 0.095}
"""Sensor → metres between its projector and its camera, as Omnivore's authors have them, the last two guessed
(github.com/facebookresearch/omnivore, issue 12)."""

_MOST_TEXT = 4096


class Source(NamedTuple):
    """Where one modality of a frame comes from: see `Item`."""

    decode: Callable[[], RawSample]
    content: Path
    part: str = ""


@dataclass(frozen=True)
class Frame:
    """A labelled frame; a modality that the copy lacks of it is None."""

    id: str
    label: str
    depth: Source | None
    image: Source | None
    cluster: str = ""


def dataset(spec: TaskSpec, frames: Iterable[Frame], missing: Sequence[str], copy: str) -> Dataset:
    """The frames as items of the task's modalities; depth and image of one frame match.

    ``missing`` are frames of which nothing is there; where only one modality lacks, that is listed as missing.
    """
    items: dict[Modality, list[Item]] = {
        modality: [] for modality in (spec.query, spec.target) if modality in (Modality.DEPTH, Modality.IMAGE)
    }
    lacking: list[str] = []
    for frame in frames:
        for modality, found in items.items():
            source = frame.depth if modality is Modality.DEPTH else frame.image
            if source is None:
                lacking.append(f"{frame.id} ({modality})")
                continue
            decode, content, part = source
            found.append(Item(frame.id, decode, content, part, (frame.label,), frame.id, frame.cluster))
    return Dataset(items, missing=(*missing, *lacking), copy=copy)


def image_source(file: Path) -> Source | None:
    return Source(partial(read_image, file), file) if file.is_file() else None


def scene_name(file: Path) -> str | None:
    """The scene that a text file names in its first line, such as ``living_room``; None where it names none."""
    lines = (_text(file) or "").split("\n")
    return lines[0].strip().replace(" ", "_") or None


def sun_rgbd_frame(folder: Path, id: str, sensor: str, label: str, cluster: str = "") -> Frame:
    """A frame in its folder: ``depth_bfx/*.png``, the in-filled depth, ``image/*.jpg`` and ``intrinsics.txt``.

    The intrinsics are nine numbers, the focal length in pixels first. Raises IbenchError for two files where one is
    expected.
    """
    depth, image = _only_file(folder / "depth_bfx", ".png"), _only_file(folder / "image", ".jpg")
    intrinsics, baseline = _text(folder / "intrinsics.txt"), BASELINES[sensor]
    if depth is None or intrinsics is None:
        source = None
    else:
        intrinsics = " ".join(intrinsics.split())
        decode = partial(_read_depth, depth, intrinsics, baseline)
        source = Source(decode, depth, f"intrinsics {intrinsics} baseline {baseline}")
    return Frame(id, label, source, image_source(image) if image else None, cluster)


def _read_depth(file: Path, intrinsics: str, baseline: float) -> DepthMap:
    try:
        focal = float(intrinsics.split()[0])
    except (IndexError, ValueError):
        focal = 0.0
    if not 0 < focal < float("inf"):
        raise UnreadableSample(f"{file.name}: its intrinsics.txt begins with no focal length: {intrinsics[:30]!r}")
    return read_sun_rgbd(file, focal, baseline)


def _only_file(folder: Path, suffix: str) -> Path | None:
    files = shown(folder, f"*{suffix}")
    if len(files) > 1:
        raise IbenchError(f"{folder}: {len(files)} {suffix} files where one is expected; remove what does not belong")
    return files[0] if files else None


def _text(file: Path) -> str | None:
    """The text of a small file, None where there is none."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(_MOST_TEXT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise IbenchError(f"{file}: cannot be read ({error.strerror})") from error
