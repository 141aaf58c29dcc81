"""Ego4D's motion: which windows are samples, and of what; on the layout that its download tool writes."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ibench.datasets import Dataset, open_dataset
from ibench.datasets.ego4d import in_test
from ibench.encoders.imagebind.frontends import ImuSteps
from ibench.errors import IbenchError, UnreadableSample
from ibench.modalities import Modality
from ibench.tasks import load_task

COOK, WASH, SEVERAL, STILL = (f"{n:08x}-0000-4000-8000-000000000000" for n in range(4))


def video(uid: str, scenarios: list[str] | None, has_imu: bool = True) -> dict[str, Any]:
    return {"video_uid": uid, "scenarios": scenarios, "has_imu": has_imu, "duration_sec": 20.0}


def narrated(*passes: tuple[float | None, ...]) -> dict[str, Any]:
    return {
        f"narration_pass_{number}": {
            "narrations": [
                {"timestamp_sec": time, "timestamp_frame": 0, "narration_text": "#C C stirs", "annotation_uid": "x"}
                for time in times
            ],
            "summaries": [{"start_sec": 0.0, "end_sec": 9.0, "summary_text": "#Summary C cooks"}],
        }
        for number, times in enumerate(passes, start=1)
    }


def write_csv(path: Path, times: np.ndarray) -> None:
    """Readings that tell their time: each axis is the time in seconds times its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["gyro_x", "gyro_y", "gyro_z", "accl_x", "accl_y", "accl_z"]  # gyroscope first, as published
    axes = {name: times * number for name, number in zip(names, (4, 5, 6, 1, 2, 3), strict=True)}
    table = {"component_idx": 0, "component_timestamp_ms": 0.0, "canonical_timestamp_ms": 1000 * times, **axes}
    pd.DataFrame(table).to_csv(path, index=False)


@pytest.fixture
def ego4d(tmp_path: Path) -> Path:
    root = tmp_path / "ego4d_data"
    (root / "v1" / "annotations").mkdir(parents=True)
    videos = [
        video(COOK, ["Cooking"]),
        video(WASH, ["Cleaning / laundry"]),
        video(SEVERAL, ["Cooking", "Eating"]),
        video(STILL, ["Reading books"], has_imu=False),
        video("e", []),
        video("n", None),
    ]
    narrations = {each["video_uid"]: narrated((5.0,)) for each in videos}
    narrations[COOK] = narrated((12.0, 2.5, 2.0, None), (17.5, 12.0, 19.0, 30.0))
    (root / "ego4d.json").write_text(json.dumps({"version": "v1", "videos": videos}))
    (root / "v1" / "annotations" / "narration.json").write_text(json.dumps(narrations))
    for uid in (COOK, WASH):
        write_csv(root / "v1" / "imu" / f"{uid}.csv", np.arange(0, 20.001, 0.005))
    return root


def read(root: Path, split: str = "all") -> Dataset:
    spec = load_task("ego4d_scenario")
    return open_dataset(spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"split": split})}), root)


def test_windows_around_the_narrations_of_videos_with_one_scenario(ego4d: Path) -> None:
    data = read(ego4d)
    items = data.items[Modality.IMU]
    assert [(item.id, item.labels, item.cluster) for item in items] == [
        (f"{COOK}@2.500", ("Cooking",), COOK),  # 2.0, 19.0 and 30.0 have no whole window, 12.0 is said twice
        (f"{COOK}@12.000", ("Cooking",), COOK),
        (f"{COOK}@17.500", ("Cooking",), COOK),
        (f"{WASH}@5.000", ("Cleaning / laundry",), WASH),
    ]
    assert list(data.labels or {}) == ["Cleaning / laundry", "Cooking", "Eating", "Reading books"]  # of all videos
    assert len(set(data.contents(Modality.IMU))) == 4
    assert data.missing == ()


def test_a_window_has_its_own_readings_accelerometer_first(ego4d: Path) -> None:
    window = read(ego4d).items[Modality.IMU][1].decode()
    expected = np.arange(9.5, 14.4999, 0.005)
    np.testing.assert_allclose(window.readings, np.outer(range(1, 7), expected), rtol=1e-5)
    assert window.readings.dtype == np.float32
    assert window.rate == pytest.approx(200)
    assert ImuSteps(2000)(window).shape == (1, 6, 2000)


def test_an_interruption_ends_what_is_recorded(ego4d: Path) -> None:
    times = np.arange(0, 20.001, 0.005)
    write_csv(ego4d / "v1" / "imu" / f"{COOK}.csv", times[(times < 10) | (times > 14)])
    assert [item.id[-6:] for item in read(ego4d).items[Modality.IMU]] == ["@2.500", "17.500", "@5.000"]
    write_csv(ego4d / "v1" / "imu" / f"{COOK}.csv", times[(times < 10) | (times > 10.3)])  # a short one is none
    assert len(read(ego4d).items[Modality.IMU]) == 4


def test_whole_videos_are_drawn_for_testing() -> None:
    uids = [str(uuid.UUID(int=number)) for number in range(20_000)]
    share = sum(map(in_test, uids)) / len(uids)
    assert 0.11 < share < 0.13  # four standard deviations are 0.009
    assert [number for number, uid in enumerate(uids[:20]) if in_test(uid)] == [
        11
    ]  # on every machine, in every release


def test_the_splits_part_the_videos(ego4d: Path) -> None:
    uids = [str(uuid.UUID(int=number)) for number in range(40)]
    (ego4d / "ego4d.json").write_text(json.dumps({"videos": [video(uid, ["Cooking"]) for uid in uids]}))
    (ego4d / "v1" / "annotations" / "narration.json").write_text(json.dumps({uid: narrated((5.0,)) for uid in uids}))
    for uid in uids:
        write_csv(ego4d / "v1" / "imu" / f"{uid}.csv", np.arange(0, 10, 0.1))
    parts = {split: {item.cluster for item in read(ego4d, split).items[Modality.IMU]} for split in ("test", "train")}
    assert parts["test"] == {uid for uid in uids if in_test(uid)}
    assert parts["train"] == set(uids) - parts["test"]
    assert parts["test"]
    with pytest.raises(IbenchError, match="no split 'val'; known: test, train, all"):
        read(ego4d, "val")


def test_the_metadata_may_lie_in_the_folder_of_the_version(ego4d: Path) -> None:
    (ego4d / "ego4d.json").rename(ego4d / "v1" / "ego4d.json")
    for root in (ego4d, ego4d.parent):
        assert len(read(root).items[Modality.IMU]) == 4


def test_an_incomplete_copy(ego4d: Path) -> None:
    (ego4d / "v1" / "imu" / f"{WASH}.csv").unlink()
    (ego4d / "v1" / "imu" / f"{COOK}.csv").write_bytes(b"damaged")
    data = read(ego4d)
    assert data.missing == (f"v1/imu/{WASH}.csv",)
    assert len(data.items[Modality.IMU]) == 6  # every narration, since nobody knows what was recorded
    for item in data.items[Modality.IMU]:
        with pytest.raises(UnreadableSample, match="lacks the columns canonical_timestamp_ms, accl_x"):
            item.decode()


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("ego4d.json", "{", "Invalid JSON"),
        ("ego4d.json", '{"videos": [{"scenarios": []}]}', r"videos\.0\.video_uid"),
        ("ego4d.json", '{"videos": []}', "no narrated video"),
        ("v1/annotations/narration.json", "{", "not the narrations"),
        ("v1/annotations/narration.json", "[]", "not the narrations"),
        ("v1/annotations/narration.json", "{}", "no narrated video"),
        ("v1/annotations/narration.json", f'{{"{COOK}": {{"narration_pass_1": 7}}}}', "not the narrations"),
        ("v1/annotations/narration.json", '{"a": [{"timestamp_sec": "noon"}]}', "not the narrations"),
    ],
)
def test_metadata_that_does_not_fit(ego4d: Path, file: str, text: str, reason: str) -> None:
    (ego4d / file).write_text(text)
    with pytest.raises(IbenchError, match=reason):
        read(ego4d)


def test_a_uid_does_not_lead_out_of_the_folder(ego4d: Path) -> None:
    uid = "../../../secret"
    (ego4d / "ego4d.json").write_text(json.dumps({"videos": [video(uid, ["Cooking"])]}))
    (ego4d / "v1" / "annotations" / "narration.json").write_text(json.dumps({uid: narrated((5.0,))}))
    with pytest.raises(IbenchError, match="leaves the data root"):
        read(ego4d)


def test_metadata_that_is_not_there(ego4d: Path) -> None:
    (ego4d / "ego4d.json").unlink()
    with pytest.raises(IbenchError, match=r"ego4d\.json: cannot be read"):
        read(ego4d)
    (ego4d / "v1" / "annotations" / "narration.json").unlink()
    with pytest.raises(IbenchError, match=r"narration\.json not found.*ego4d-data\.org"):
        read(ego4d)
