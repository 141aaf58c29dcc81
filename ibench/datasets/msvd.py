"""MSVD: ``MSVD_Videos/*.avi``, ``test_list.txt`` and ``raw-captions.pkl``, as CLIP4Clip packs them.

Source: cs.utexas.edu/users/ml/clamp/videoDescription (YouTubeClips.tar, 1,970 clips named ``<youtube>_<start>_<end>``);
lists and captions from github.com/ArrowLuo/CLIP4Clip (msvd_data.zip). 670 test clips with 27,763 captions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ibench.datasets._metadata import MAX_BYTES, lines_of
from ibench.datasets._plain_pickle import read_plain_pickle
from ibench.datasets._videos import Clip, captioned
from ibench.datasets.base import Dataset, digests_of
from ibench.errors import IbenchError
from ibench.hashing import memoised, sha256_json
from ibench.tasks import TaskSpec

MARKER = "raw-captions.pkl"
MOST = 1_000
"""Captions of a clip, words of a caption, letters of a word: a small pickle may name one long list again and again."""


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The clips of ``test_list.txt``, each with all its captions; those of one YouTube video are one cluster.

    ``raw-captions.pkl`` maps a clip to its captions, each a list of words; it is read as data and runs no code. Raises
    IbenchError when it holds anything else, lacks a listed clip, and when no clip is there.
    """
    listed = list(dict.fromkeys(lines_of(root / "test_list.txt")))
    captions = _captions(root / MARKER, listed)
    clips = [Clip(name, tuple(captions[name]), (name,), cluster=name.rsplit("_", 2)[0]) for name in listed]
    return captioned(spec, clips, root, "MSVD folder")


def _captions(file: Path, listed: Sequence[str]) -> dict[str, list[str]]:
    """The captions of the listed clips. Remembered under the file's content, for it takes seconds to read safely."""
    if not file.is_file():
        raise IbenchError(f"{file}: not found; unpack the data set's annotations there")
    key = sha256_json({"captions in": digests_of([file]), "of": list(listed)})
    captions: dict[str, list[str]] = json.loads(memoised(key, partial(_joined, file, listed)))
    return captions


def _joined(file: Path, listed: Sequence[str]) -> str:
    table = read_plain_pickle(file, MAX_BYTES)
    return json.dumps({name: _sentences(file, name, table.get(name)) for name in listed})


def _sentences(file: Path, name: str, captions: Any) -> list[str]:
    if not _is_list(captions) or not all(_is_caption(words) for words in captions):
        raise IbenchError(f"{file}: '{name}' needs a list of captions, each a list of words (at most {MOST:,} of each)")
    return [" ".join(words) for words in captions]


def _is_caption(value: Any) -> bool:
    return _is_list(value) and all(isinstance(word, str) and len(word) <= MOST for word in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and 1 <= len(value) <= MOST
