"""Ego4D's motion sensors as its download tool lays them out: ``ego4d_data/{ego4d.json, v1/imu, v1/annotations}``.

Source: ego4d-data.org, under a signed licence: ``ego4d --datasets imu annotations --version v1`` fetches
``v1/imu/<video_uid>.csv``, ``v1/annotations/narration.json`` and ``ego4d.json`` (in ``ego4d_data`` or in ``v1``).

ImageBind (arXiv 2305.05665, appendix A) takes 5-s clips around narrations of videos with a single scenario, and splits
the clips at random into 510,142 for training and 68,865 for testing. That split is not published, and one of clips
has pieces of one video on both sides: here whole videos are drawn, about as many of them (`in_test`). The paper feeds
5 s as 2,000 steps, 400 Hz, though Ego4D is recorded near 200 Hz: either the seconds or the steps are a slip. Windows
are 5 s here; windows of 10 s would be other samples, which no protocol of the same task can ask for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ibench.datasets._jsonfile import read_json, refuse_huge
from ibench.datasets.base import Dataset, Item, digests_of, inside
from ibench.errors import IbenchError, UnreadableSample
from ibench.hashing import memoised, sha256_json
from ibench.media.imu import read_imu, recorded_stretches
from ibench.tasks import TaskSpec

MARKER = "v1/annotations/narration.json"
WINDOW = 5.0
"""Seconds of a sample, half of them before the narration."""
LONGEST_GAP = 0.5
"""Seconds without a reading after which a recording counts as interrupted; ours, the paper names none."""
TEST_SHARE = 0.12
SPLITS = ("test", "train", "all")


class _Video(BaseModel):
    video_uid: str
    scenarios: list[str] | None = None
    has_imu: bool | None = None


class _Metadata(BaseModel):
    videos: list[_Video]


def read(spec: TaskSpec, root: Path) -> Dataset:
    """A window of `WINDOW` seconds around each narration of the split's videos that have one scenario and an IMU.

    Labels are the scenarios of all videos, sorted (108 in version 1); the cluster is the video. A narration whose
    window is not wholly within the recording, or meets an interruption of it, is no sample. The csv files that the
    copy lacks are missing; of one that cannot be parsed every narration is a sample that cannot be read. The first
    reading of a copy goes through all its csv files, later ones remember their stretches.
    """
    videos = read_json(_metadata(root), _Metadata).videos
    chosen = _chosen(spec, videos)
    narrated = _narrated(root / MARKER, sorted(video.video_uid for video in chosen))
    files = {uid: inside(root / "v1" / "imu", f"{uid}.csv", "ego4d.json") for uid, times in narrated.items() if times}
    if not files:
        raise IbenchError(f"{spec.name}: no narrated video with one scenario and an IMU in this split of {root}")
    present = {uid: file for uid, file in files.items() if file.is_file()}
    digests = dict(zip(present, digests_of(list(present.values())), strict=True))
    scenario = {video.video_uid: (video.scenarios or [""])[0] for video in chosen}
    items = [
        _item(uid, file, time, scenario[uid])
        for uid, file in present.items()
        for time in _recorded(narrated[uid], file, digests[uid])
    ]
    scenarios = sorted({name for video in videos for name in video.scenarios or ()})
    return Dataset(
        {spec.query: items},
        labels={name: (name,) for name in scenarios},
        missing=tuple(f"v1/imu/{uid}.csv" for uid in files if uid not in present),
        copy="Ego4D v1 folder",
    )


def in_test(video_uid: str) -> bool:
    """Whether a video is drawn for testing: `TEST_SHARE` of all, by a digest of its uid and nothing else."""
    digest = hashlib.sha256(f"ibench-1/{video_uid}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < TEST_SHARE * 2**64


def _metadata(root: Path) -> Path:
    """The download tool has put ego4d.json beside the version's folder or into it."""
    inner = root / "v1" / "ego4d.json"
    return inner if inner.is_file() else root / "ego4d.json"


def _chosen(spec: TaskSpec, videos: Sequence[_Video]) -> list[_Video]:
    split = spec.dataset.split or "test"
    if split not in SPLITS:
        raise IbenchError(f"{spec.name}: no split '{split}'; known: {', '.join(SPLITS)}")
    return [
        video
        for video in videos
        if len(video.scenarios or ()) == 1
        and video.has_imu
        and (split == "all" or in_test(video.video_uid) == (split == "test"))
    ]


def _narrated(file: Path, uids: Sequence[str]) -> dict[str, list[float]]:
    """Video → the times in seconds at which it is narrated, ascending, in either pass; remembered for these videos."""
    (digest,) = digests_of([file])
    key = sha256_json({"narrations in": digest, "of": list(uids)})
    times: dict[str, list[float]] = json.loads(memoised(key, lambda: json.dumps(_parsed(file, uids))))
    return times


def _parsed(file: Path, uids: Sequence[str]) -> dict[str, list[float]]:
    refuse_huge(file)
    try:
        # The file has hundreds of megabytes of text: of each narration only its time is kept while it is parsed.
        with file.open(encoding="utf-8") as stream:
            videos = json.load(stream, object_hook=_only_time)
        return {
            uid: sorted({round(time, 3) for number in (1, 2) for time in _times_in(videos.get(uid, {}), number)})
            for uid in uids
        }
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise IbenchError(f"{file}: not the narrations of Ego4D ({type(error).__name__}: {error})") from error


def _only_time(entry: dict[str, Any]) -> Any:
    return entry if entry.get("timestamp_sec") is None else float(entry["timestamp_sec"])


def _times_in(video: dict[str, Any], number: int) -> list[float]:
    """The times of one pass; a narration without one cannot be placed."""
    narrations = video.get(f"narration_pass_{number}", {}).get("narrations", [])
    return [time for time in narrations if isinstance(time, float)]


def _recorded(times: Sequence[float], file: Path, digest: str) -> list[float]:
    """The times whose window lies in a stretch of the recording; all of them where the file cannot be parsed."""
    key = sha256_json({"stretches of": digest, "longest gap": LONGEST_GAP})
    try:
        stretches = json.loads(memoised(key, lambda: json.dumps(recorded_stretches(file, LONGEST_GAP))))
    except UnreadableSample:
        return list(times)
    half = WINDOW / 2
    return [time for time in times if any(start <= time - half and time + half <= end for start, end in stretches)]


def _item(uid: str, file: Path, time: float, scenario: str) -> Item:
    start, end = time - WINDOW / 2, time + WINDOW / 2
    return Item(
        id=f"{uid}@{time:.3f}",
        decode=partial(read_imu, file, start, end),
        content=file,
        part=f"{start:.3f}-{end:.3f}",
        labels=(scenario,),
        group=f"{uid}@{time:.3f}",
        cluster=uid,
    )
