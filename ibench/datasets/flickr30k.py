"""Flickr30k, Karpathy's test split: 1,000 pictures with five captions each.

The captions come as ``flickr30k_test_karpathy.txt`` (github.com/mehdidc/retrieval_annotations, what CLIP_benchmark
reads) or as Karpathy's ``dataset_flickr30k.json`` (cs.stanford.edu/people/karpathy/deepimagesent); the pictures in a
folder ``flickr30k-images`` (the authors' tar) or ``flickr30k_images``, or beside the captions.
"""

from __future__ import annotations

from pathlib import Path

from ibench.datasets._captions import Captions, captioned, karpathy_json
from ibench.datasets.base import Dataset
from ibench.errors import IbenchError
from ibench.tasks import TaskSpec

MARKER = ("flickr30k_test_karpathy.txt", "dataset_flickr30k.json")
_FOLDERS = ("flickr30k-images", "flickr30k_images", "images")


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The test pictures and their captions. Raises IbenchError for a line, or JSON, that does not fit."""
    table = root / "flickr30k_test_karpathy.txt"
    captions = _lines(table) if table.is_file() else karpathy_json(root / "dataset_flickr30k.json", "test")
    folder = next((root / name for name in _FOLDERS if (root / name).is_dir()), root)
    return captioned(spec, folder, captions, copy=f"Flickr30k {'folder' if folder == root else folder.name}")


def _lines(table: Path) -> Captions:
    """Lines ``1007129816.jpg,The man …`` below a header; commas in a caption are not always quoted."""
    captions: dict[str, list[str]] = {}
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IbenchError(f"{table}: cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        stem, found, caption = line.partition(".jpg,")
        if found:
            captions.setdefault(f"{stem}.jpg", []).append(_unquoted(caption))
        elif line.strip() and number > 1:
            raise IbenchError(f"{table}:{number}: expected <name>.jpg,<caption>, found {line!r:.60}")
    if not captions:
        raise IbenchError(f"{table}: no captions; expected lines <name>.jpg,<caption>")
    return captions


def _unquoted(caption: str) -> str:
    """A caption without the quotes that csv puts around a cell, doubling those inside; others are the caption's own."""
    inner = caption[1:-1]
    quoted = len(caption) > 1 and caption[0] == caption[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else caption
