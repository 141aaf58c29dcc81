"""What a reader returns: items to embed, by modality, with gold labels or matches. Files, no models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ibench.errors import IbenchError
from ibench.hashing import file_digests, sha256_lines, sha256_text
from ibench.media.audio import read_audio
from ibench.media.image import read_image
from ibench.media.video import read_video
from ibench.modalities import Modality, RawSample, Region

FAKE_MARKER = "FAKE-DATA.txt"
"""A file of this name in a data set's folder, or above it up to the data root, makes every record of it fake."""


@dataclass(frozen=True)
class Item:
    """One thing to embed.

    ``decode`` is picklable, makes the raw sample, and raises UnreadableSample when it cannot. ``content`` is what
    the fingerprint covers: a file, or the digest of bytes; ``part`` says which part of it (a time span).
    ``labels`` are ids of the data's own. Two items of different modalities match when their ``group`` is the same.
    Items of one ``cluster`` (a recording, a speaker) are not independent, and intervals respect that. ``boxes`` say
    where the source of a sound is in the picture of its group.
    """

    id: str
    decode: Callable[[], RawSample]
    content: Path | str
    part: str = ""
    labels: tuple[str, ...] = ()
    group: str = ""
    cluster: str = ""
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
        """SHA-256 over ids, labels, groups, clusters, boxes and content of all items; never over paths or times."""
        lines = [
            "\x1f".join((modality, item.id, *item.labels, "", item.group, item.cluster, content, *map(str, item.boxes)))
            for modality in sorted(self.items)
            for item, content in zip(self.items[modality], self.contents(modality), strict=True)
        ]
        return sha256_lines(lines)

    def limited(self, limit: int) -> Dataset:
        """The first ``limit`` samples of each modality whose groups are still matched by another modality."""
        first = next(iter(self.items))
        kept = {item.group for item in self.items[first][:limit]}
        items = {
            modality: rows[:limit] if modality == first else [item for item in rows if item.group in kept][:limit]
            for modality, rows in self.items.items()
        }
        return replace(self, items=items, _digests={})


def text_item(id: str, text: str, group: str, cluster: str = "") -> Item:
    """A caption or any other text."""
    return Item(id, partial(str, text), sha256_text(text), group=group, cluster=cluster)


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


def _content_digests(items: Sequence[Item]) -> list[str]:
    files = list(dict.fromkeys(item.content for item in items if isinstance(item.content, Path)))
    known = dict(zip(files, digests_of(files), strict=True))
    digests = [known[item.content] if isinstance(item.content, Path) else item.content for item in items]
    return [f"{digest}:{item.part}" if item.part else digest for digest, item in zip(digests, items, strict=True)]
