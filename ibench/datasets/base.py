"""What a reader returns: items to embed, by modality, with gold labels or matches. Files, no models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ibench.errors import IbenchError
from ibench.hashing import file_digests, sha256_lines, sha256_text
from ibench.media.audio import read_audio
from ibench.media.image import read_image
from ibench.media.video import read_video
from ibench.modalities import Modality, RawSample, Region
from ibench.tasks import Kind, TaskSpec

TRAINING = "training"
"""The fold of samples that are trained on and never tested."""

FAKE_MARKER = "FAKE-DATA.txt"
"""A file of this name in a data set's folder, or above it up to the data root, makes every record of it fake."""


@dataclass(frozen=True)
class Item:
    """One thing to embed.

    ``decode`` is picklable, makes the raw sample, and raises UnreadableSample when it cannot. ``content`` is what
    the fingerprint covers: a file, or the digest of bytes; ``part`` says which part of it (a time span).
    ``labels`` are ids of the data's own. Two items of different modalities match when their ``group`` is the same.
    Items of one ``cluster`` (a recording, a speaker) are not independent, and intervals respect that. Of a few-shot
    task each ``fold`` is tested after training on the others, or all are after training on `TRAINING`. ``boxes`` say
    where the source of a sound is in the picture of its group.
    """

    id: str
    decode: Callable[[], RawSample]
    content: Path | str
    part: str = ""
    labels: tuple[str, ...] = ()
    group: str = ""
    cluster: str = ""
    fold: str = ""
    boxes: tuple[Region, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Samples by modality, in a stable order.

    ``labels`` maps the data's label ids, in order, to class names, where its own metadata has them. ``missing``
    names samples that the metadata lists and the copy lacks. ``copy`` says which copy was read, without its path.
    ``proposals`` are windows of the pictures, by the picture's id, where the task names a file of them.
    """

    items: Mapping[Modality, Sequence[Item]]
    labels: Mapping[str, tuple[str, ...]] | None = None
    missing: tuple[str, ...] = ()
    copy: str = "local"
    fake: bool = False
    proposals: Mapping[str, tuple[Region, ...]] | None = None
    _digests: dict[Modality, list[str]] = field(default_factory=dict, repr=False)

    def contents(self, modality: Modality) -> list[str]:
        """One digest per item of a modality: of its bytes and which part of them, never of its path."""
        if modality not in self._digests:
            self._digests[modality] = _content_digests(self.items[modality])
        return self._digests[modality]

    def fingerprint(self) -> str:
        """SHA-256 of ids, labels, groups, clusters, folds, boxes and content of all items; never of paths or times."""
        lines = [
            "\x1f".join((modality, *_told(item), content, *map(str, item.boxes)))
            for modality in sorted(self.items)
            for item, content in zip(self.items[modality], self.contents(modality), strict=True)
        ]
        return sha256_lines(lines)

    def beside(self, modality: Modality, items: Sequence[Item]) -> Dataset:
        """With items of another modality beside its own."""
        return replace(self, items={**self.items, modality: items}, _digests=dict(self._digests))

    def without(self, modality: Modality) -> Dataset:
        """The items of the other modalities."""
        return replace(self, items={one: rows for one, rows in self.items.items() if one is not modality})

    def exceeds(self, limit: int) -> bool:
        """Whether `limited` leaves something out."""
        return any(len(_taken(items, limit, drawn=False)) < len(items) for items in self.items.values())

    def limited(self, limit: int, drawn: bool = False, matched: bool = True) -> Dataset:
        """The first ``limit`` samples of each modality; where they are ``matched``, those of the first one's groups.

        With ``drawn`` not the first, but those whose ids have the least digests: data sets that list class after class
        give some of most classes then, and every machine the same ones. Of several folds as many of each, and all that
        are only trained on.
        """
        take = partial(_taken, limit=limit, drawn=drawn)
        if not matched:
            return replace(self, items={modality: take(rows) for modality, rows in self.items.items()}, _digests={})
        first = next(iter(self.items))
        asked = take(self.items[first])
        kept = {item.group for item in asked}
        items = {
            modality: asked if modality == first else take([item for item in rows if item.group in kept])
            for modality, rows in self.items.items()
        }
        return replace(self, items=items, _digests={})


def tested_folds(items: Sequence[Item]) -> list[str]:
    """The folds that are tested, each after training on all others, in the samples' order."""
    return [fold for fold in dict.fromkeys(item.fold for item in items) if fold != TRAINING]


def parts(items: Sequence[Item]) -> list[slice]:
    """Where the samples are that are tested, and after them those that are only trained on, of which there may be none.

    Either is embedded as a job of its own, so that a task which tests the same without training asks for the same.
    """
    tested = next((row for row, item in enumerate(items) if item.fold == TRAINING), len(items))
    return [slice(0, tested), *([slice(tested, len(items))] if tested < len(items) else [])]


def text_item(id: str, text: str, group: str, cluster: str = "", labels: tuple[str, ...] = ()) -> Item:
    """A caption or any other text."""
    return Item(id, partial(str, text), sha256_text(text), labels=labels, group=group, cluster=cluster)


def label_separator(spec: TaskSpec) -> str | None:
    """What parts several labels in one cell of a table: a comma where samples may have several, unless the task says
    otherwise."""
    return spec.dataset.separator or ("," if spec.kind is Kind.MULTILABEL or spec.pooled else None)


def several(value: Any, separator: str | None) -> list[str]:
    """What one cell holds: a list, or a text that ``separator`` parts; nothing between two separators is nothing."""
    if isinstance(value, list | tuple):
        return [str(part) for part in value]
    return [part.strip() for part in str(value).split(separator) if part.strip()] if separator else [str(value)]


def file_decoder(
    modality: Modality, source: Path | bytes, start: float | None, end: float | None
) -> Callable[[], RawSample]:
    """How a file (or its bytes) of a modality is decoded."""
    if modality is Modality.AUDIO:
        return partial(read_audio, source, start, end)
    if modality in (Modality.IMAGE, Modality.THERMAL):
        return partial(read_image, source)
    if modality is Modality.VIDEO:
        return partial(read_video, source)
    raise IbenchError(f"the generic readers cannot decode {modality} files; known: audio, image, thermal, video")


EXTENSIONS: Mapping[Modality, frozenset[str]] = {
    Modality.IMAGE: frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}),
    Modality.THERMAL: frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}),
    Modality.AUDIO: frozenset({".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".au", ".webm", ".mp4"}),
    Modality.VIDEO: frozenset(
        {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".3gp", ".wmv", ".flv", ".ogv", ".mts"}
    ),
}
"""The file names a modality's files may end in, lower case; the content decides how they are decoded."""


def inside(root: Path, relative: str, where: str) -> Path:
    """``root/relative``. Raises IbenchError when the entry would leave the root (``..`` or an absolute path)."""
    if Path(relative).is_absolute() or ".." in Path(relative).parts:
        raise IbenchError(f"{where}: path {relative!r} leaves the data root; entries must be relative, without '..'")
    return root / relative


def shown(folder: Path, pattern: str) -> list[Path]:
    """What matches in a folder, sorted; hidden entries are none, as archives of macOS hold a ``._x.png`` to x.png."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def digests_of(files: Sequence[Path]) -> list[str]:
    """SHA-256 of each file's bytes, remembered. Raises IbenchError for a file that cannot be read."""
    try:
        return file_digests(files)
    except OSError as error:
        raise IbenchError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error


def _told(item: Item) -> tuple[str, ...]:
    """An item without its content; no fold is nothing, so that fingerprints from before there were folds stay."""
    fold = (f"fold {item.fold}",) if item.fold else ()
    return (item.id, *item.labels, "", item.group, item.cluster, *fold)


def _taken(items: Sequence[Item], limit: int, drawn: bool) -> list[Item]:
    """So many of each fold, the first or drawn, and all that are only trained on; in the data set's own order."""
    places = list(range(len(items)))
    if drawn:
        places.sort(key=lambda place: sha256_text(items[place].id))
    taken: Counter[str] = Counter()
    kept = []
    for place in places:
        fold = items[place].fold
        taken[fold] += 1
        if fold == TRAINING or taken[fold] <= limit:
            kept.append(place)
    return [items[place] for place in sorted(kept)]


def whole_contents(items: Sequence[Item]) -> list[str]:
    """One digest per item: of the file or the bytes that it is, or is a part, of. A file is read once."""
    files = list(dict.fromkeys(item.content for item in items if isinstance(item.content, Path)))
    known = dict(zip(files, digests_of(files), strict=True))
    return [known[item.content] if isinstance(item.content, Path) else item.content for item in items]


def _content_digests(items: Sequence[Item]) -> list[str]:
    digests = whole_contents(items)
    return [f"{digest}:{item.part}" if item.part else digest for digest, item in zip(digests, items, strict=True)]
