"""UCF101: ``UCF-101/<Class>/v_<Class>_g01_c01.avi`` and ``ucfTrainTestlist/``, as the Center for Research in Computer
Vision publishes them.

Source: crcv.ucf.edu/data/UCF101.php (UCF101.rar, UCF101TrainTestSplits-RecognitionTask.zip). 13,320 clips of 101
actions, 25 groups (one person, one background) of four to seven clips per action.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from ibench.datasets._metadata import lines_of
from ibench.datasets._videos import VIDEO_SUFFIXES, files_by_stem, none_found, sole_file
from ibench.datasets.base import Dataset, Item
from ibench.errors import IbenchError, did_you_mean
from ibench.media.video import read_video
from ibench.tasks import TaskSpec

MARKER = "ucfTrainTestlist/classInd.txt"
_LISTS = {
    "all": ("trainlist01.txt", "testlist01.txt"),
    **{f"split{number}": (f"testlist0{number}.txt",) for number in (1, 2, 3)},
}


def read(spec: TaskSpec, root: Path) -> Dataset:
    """All clips, or the test clips of one split when the task's is ``split1`` … ``split3``.

    Labels are the class folders in the order of ``classInd.txt``; the cluster is a clip's group. Files are found by
    stem, whatever its case: the lists say ``HandstandPushups/v_HandStandPushups_g01_c01.avi``, copies say either.
    Raises IbenchError for an unknown split, a list that names no class of ``classInd.txt``, and when no clip is there.
    """
    lists = root / "ucfTrainTestlist"
    split = spec.dataset.split or "all"
    if split not in _LISTS:
        raise IbenchError(f"{spec.name}: no split '{split}'; {did_you_mean(split, _LISTS)}")
    classes = _classes(lists / "classInd.txt")
    files = files_by_stem(root / "UCF-101", VIDEO_SUFFIXES, str.casefold)
    items, missing = [], []
    for name in _LISTS[split]:
        for number, line in enumerate(lines_of(lists / name), start=1):
            clip = PurePosixPath(line.split()[0])  # train lists have the class number after it
            label = clip.parent.name
            if label not in classes:
                raise IbenchError(f"{lists / name}:{number}: '{label}' is no class; {did_you_mean(label, classes)}")
            file = sole_file(spec, files, [clip.stem.casefold()])
            if file is None:
                missing.append(str(clip))
                continue
            group = clip.stem.rsplit("_", 1)[0]
            items.append(Item(str(clip), partial(read_video, file), file, labels=(label,), group=label, cluster=group))
    if not items:
        raise none_found(spec, root / "UCF-101", missing)
    return Dataset({spec.query: items}, labels=classes, missing=tuple(missing), copy="UCF101 folder")


def _classes(file: Path) -> Mapping[str, tuple[str, ...]]:
    """The classes of ``classInd.txt``, lines ``37 HandstandPushups``, in the order of their numbers."""
    numbered: dict[int, str] = {}
    for row, line in enumerate(lines_of(file), start=1):
        number, _, name = line.partition(" ")
        if not number.isdigit() or not name:
            raise IbenchError(f"{file}:{row}: expected a number and a class, found {line[:80]!r}")
        numbered[int(number)] = name.strip()
    return {name: (name,) for _, name in sorted(numbered.items())}
