"""Ego4D's motion in little: eight test videos of sixteen seconds, and videos that are none for each reason there is."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ibench.datasets.ego4d import in_test
from ibench.datasets.fakes.noise import damaged
from ibench.tasks import TaskSpec

_SCENARIOS = ("Cooking", "Cleaning / laundry", "Bike mechanic", "Walking on street", "Crafting/knitting", "Gardening")
_SECONDS, _RATE = 16, 200
_TEST_VIDEOS = 8


def write(spec: TaskSpec, place: Path) -> None:
    """``ego4d.json``, ``v1/annotations/narration.json`` and ``v1/imu/<video_uid>.csv``.

    Of the test videos the first is damaged and the second not there. Rows are out of order, some without a time and
    some without a reading; narrations lie within the recording and beyond it.
    """
    rng = np.random.default_rng(0)
    uids = _uids(rng)
    tests = list(itertools.islice((uid for uid in uids if in_test(uid)), _TEST_VIDEOS))
    other = next(uid for uid in uids if not in_test(uid))
    several, without = itertools.islice((uid for uid in uids if in_test(uid)), 2)
    videos = [_video(uid, [_SCENARIOS[number % len(_SCENARIOS)]]) for number, uid in enumerate(tests)]
    videos += [
        _video(other, [_SCENARIOS[0]]),
        _video(several, list(_SCENARIOS[:2])),
        _video(without, ["Reading"], False),
    ]
    (place / "v1" / "annotations").mkdir(parents=True, exist_ok=True)
    (place / "v1" / "imu").mkdir(exist_ok=True)
    (place / "ego4d.json").write_text(json.dumps({"date": "", "version": "v1", "videos": videos}))
    narrations = {video["video_uid"]: _narrations() for video in videos}
    (place / "v1" / "annotations" / "narration.json").write_text(json.dumps(narrations))
    damaged(place / "v1" / "imu" / f"{tests[0]}.csv")
    for uid in (*tests[2:], other):
        _recording(rng).to_csv(place / "v1" / "imu" / f"{uid}.csv", index=False)


def _uids(rng: np.random.Generator) -> Iterator[str]:
    while True:
        yield str(uuid.UUID(bytes=rng.bytes(16), version=4))


def _video(uid: str, scenarios: list[str], has_imu: bool = True) -> dict[str, Any]:
    return {
        "video_uid": uid,
        "duration_sec": float(_SECONDS),
        "scenarios": scenarios,
        "has_imu": has_imu,
        "video_metadata": {"fps": 30.0, "video_duration_sec": float(_SECONDS)},
    }


def _narrations() -> dict[str, Any]:
    """Two passes, which meet in one time; the first and last of the times are too near an end for a whole window."""
    passes = ((0.5, 4.25, 8.0), (8.0, 11.5, 15.0))
    return {"status": "complete"} | {
        f"narration_pass_{number}": {
            "narrations": [
                {
                    "timestamp_sec": time,
                    "timestamp_frame": round(30 * time),
                    "narration_text": "#C C does nothing",
                    "annotation_uid": str(uuid.UUID(int=number)),
                }
                for time in times
            ],
            "summaries": [{"start_sec": 0.0, "end_sec": 16.0, "summary_text": "#Summary noise"}],
        }
        for number, times in enumerate(passes, start=1)
    }


def _recording(rng: np.random.Generator) -> pd.DataFrame:
    count = _SECONDS * _RATE
    time = 1000 * np.arange(count) / _RATE
    axes = {f"{sensor}_{axis}": rng.standard_normal(count) for sensor in ("gyro", "accl") for axis in "xyz"}
    table = pd.DataFrame(
        {"component_idx": 0, "component_timestamp_ms": time, "canonical_timestamp_ms": time, **axes}
    ).round(4)
    table.loc[40:44, "canonical_timestamp_ms"] = np.nan
    table.loc[500:520, ["accl_x", "accl_y", "accl_z"]] = np.nan
    order = np.arange(count)
    order[1000:1020] = order[1000:1020][::-1]
    return table.iloc[order]
