"""UCF101 in little: three groups of twelve classes, HandstandPushups among them; one damaged, one not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, video
from ibench.tasks import TaskSpec

_CLASSES = 11
_TRAPPED = "HandstandPushups"


def write(spec: TaskSpec, place: Path) -> None:
    """``UCF-101/<Class>/v_<Class>_g<group>_c<clip>.avi`` and ``ucfTrainTestlist/``, whose split N tests group N.

    Clips of the class HandstandPushups are called ``v_HandStandPushups_…``, in the lists and on disk, as published.
    """
    rng = np.random.default_rng(0)
    classes = list(spec.labels or [f"Class{number}" for number in range(_CLASSES)])
    lists = place / "ucfTrainTestlist"
    lists.mkdir(parents=True, exist_ok=True)
    numbered = {name: number for number, name in enumerate(classes, start=1)}
    (lists / "classInd.txt").write_text("".join(f"{number} {name}\r\n" for name, number in numbered.items()))
    train: dict[int, list[str]] = {1: [], 2: [], 3: []}
    test: dict[int, list[str]] = {1: [], 2: [], 3: []}
    for name in dict.fromkeys([*classes[:_CLASSES], *(_TRAPPED,) * (_TRAPPED in numbered)]):
        for group in (1, 2, 3):
            clip = f"{name}/v_{name.replace(_TRAPPED, 'HandStandPushups')}_g{group:02d}_c01.avi"
            test[group].append(clip)
            for split in train.keys() - {group}:
                train[split].append(f"{clip} {numbered[name]}")
            if (numbered[name], group) == (1, 1):
                damaged(place / "UCF-101" / clip)
            elif (numbered[name], group) != (2, 1):
                video(place / "UCF-101" / clip, rng, seconds=0.5)
    for split in (1, 2, 3):
        (lists / f"trainlist0{split}.txt").write_text("\r\n".join(train[split]) + "\r\n")
        (lists / f"testlist0{split}.txt").write_text("\r\n".join(test[split]) + "\r\n")
