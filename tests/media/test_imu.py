"""Motion: windows of csv files, their rate, and rows that the publisher warns of."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ibench.errors import UnreadableSample
from ibench.media import imu
from ibench.media.imu import read_imu, recorded_stretches

HEADER = "gyro_z,component_idx,gyro_y,accl_z,canonical_timestamp_ms,accl_x,gyro_x,accl_y"


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def row(milliseconds: float | str, accl_x: float | str = 1) -> str:
    return f"6,0,5,3,{milliseconds},{accl_x},4,2"


def test_axes_are_found_by_name_and_rows_by_time(tmp_path: Path) -> None:
    rows = [row(30), row(10, 1.5), row("NULL"), row(20, ""), row(""), row(0, "nan"), row(40), row(25, "inf")]
    window = read_imu(write(tmp_path / "a.csv", *rows), 0.0, 0.04)
    expected = np.repeat([[1.0], [2], [3], [4], [5], [6]], 5, axis=1)
    expected[0] = [0, 1.5, 0, 0, 1]  # at 0, 10, 20, 25, 30 ms; absent and infinite readings are 0
    np.testing.assert_array_equal(window.readings, expected)
    assert window.readings.dtype == np.float32
    assert window.rate == pytest.approx(1 / 0.0075)  # intervals of 10, 10, 5, 5 ms


def test_the_rate_is_that_of_the_window(tmp_path: Path) -> None:
    times = [*np.arange(0, 1000, 5), *np.arange(1000, 2000, 10)]
    file = write(tmp_path / "a.csv", *map(row, times))
    assert read_imu(file, 0, 1).rate == pytest.approx(200)
    assert read_imu(file, 1, 2).rate == pytest.approx(100)
    assert read_imu(file, 0, 1).readings.shape == (6, 200)


def test_a_window_is_the_callers_own(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", row(0), row(5), row(10))
    read_imu(file, 0, 1).readings[:] = 99
    assert read_imu(file, 0, 1).readings.max() == 6


def test_a_file_is_parsed_once_and_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    columns = imu._columns
    monkeypatch.setattr(imu, "_columns", lambda file, names: parsed.append(file.name) or columns(file, names))
    one, two = (write(tmp_path / name, row(0), row(5), row(10)) for name in ("1.csv", "2.csv"))
    for file in (one, one, two, one, two):
        read_imu(file, 0, 1)
    assert parsed == ["1.csv", "2.csv"]
    write(one, row(0, 7), row(5, 7))
    os.utime(one, ns=(1, 1))
    assert read_imu(one, 0, 1).readings[0].tolist() == [7, 7]


@pytest.mark.parametrize(
    ("rows", "header", "reason"),
    [
        ([row(0), row(5)], HEADER.replace("accl_y", "acc_y"), r"a\.csv: lacks the columns accl_y"),
        ([row(0), row(5, "much")], HEADER, r"a\.csv: could not convert string to float: 'much'"),
        ([row(0), row(9000)], HEADER, "1 readings from 0 to 1 s"),
        ([row(5), row(5), row(5)], HEADER, "time stands still"),
        ([], HEADER, "0 readings"),
        ([], "", r"a\.csv: No columns to parse"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, rows: list[str], header: str, reason: str) -> None:
    with pytest.raises(UnreadableSample, match=reason):
        read_imu(write(tmp_path / "a.csv", *rows, header=header), 0, 1)


def test_files_that_are_not_there_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for read in (lambda file: read_imu(file, 0, 1), lambda file: recorded_stretches(file, 1)):
        with pytest.raises(UnreadableSample, match=r"b\.csv: No such file"):
            read(tmp_path / "b.csv")
        (tmp_path / "c.csv").write_bytes(bytes(range(256)))
        with pytest.raises(UnreadableSample, match=r"c\.csv"):
            read(tmp_path / "c.csv")
    monkeypatch.setattr(imu, "MAX_BYTES", 10)
    with pytest.raises(UnreadableSample, match="the limit is 10"):
        read_imu(write(tmp_path / "a.csv", row(0)), 0, 1)


def test_stretches_end_where_readings_are_missing_too_long(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", *map(row, [1500, 0, 100, "NULL", 200, 1400, 1600, 9000]))
    assert recorded_stretches(file, 0.5) == [(0, 0.2), (1.4, 1.6), (9, 9)]
    assert recorded_stretches(file, 1.2) == [(0, 1.6), (9, 9)]
    assert recorded_stretches(write(tmp_path / "b.csv"), 0.5) == []
