"""Motion: csv files of timed accelerometer and gyroscope readings to `ImuWindow`, and the stretches they cover."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.errors import UnreadableSample
from ibench.modalities import ImuWindow

TIME = "canonical_timestamp_ms"
AXES = ("accl_x", "accl_y", "accl_z", "gyro_x", "gyro_y", "gyro_z")
MAX_BYTES = 4 * 2**30
"""Refuse larger files: a day and more at 200 Hz fits."""

_Recording: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float32]]


def read_imu(file: Path, start: float, end: float) -> ImuWindow:
    """The readings from ``start`` up to ``end`` (seconds) of a csv file as Ego4D publishes them.

    Columns are found by name: the time in ``canonical_timestamp_ms``, accelerometer (m/s²) and gyroscope (rad/s) in
    ``accl_x`` … ``gyro_z``, in that order in the window. Rows without a time are left out and the others sorted by it,
    since the publisher warns that both occur; a reading that is absent or not finite is 0. The rate is that of the
    median interval in the window.

    The file last read is kept in each process, since a window is a thousandth of it and parsing takes half a second.
    Raises UnreadableSample when the file cannot be parsed, lacks a column, or has no two readings in the window.
    """
    times, readings = _recording(file, *_stamp(file))
    first, last = np.searchsorted(times, [start, end])
    if last - first < 2:
        raise UnreadableSample(f"{file.name}: {last - first} readings from {start:g} to {end:g} s")
    interval = float(np.median(np.diff(times[first:last])))
    if interval <= 0:
        raise UnreadableSample(f"{file.name}: time stands still from {start:g} to {end:g} s")
    return ImuWindow(readings[:, first:last].copy(), 1 / interval)


def recorded_stretches(file: Path, longest_gap: float) -> list[tuple[float, float]]:
    """Start and end (seconds) of each stretch of the file without a gap of more than ``longest_gap`` seconds.

    Raises UnreadableSample when the file cannot be parsed or has no time column.
    """
    _stamp(file)
    table = _columns(file, (TIME,))[TIME].dropna()
    times = np.sort(table.to_numpy()) / 1000
    if not len(times):
        return []
    breaks = np.flatnonzero(np.diff(times) > longest_gap)
    starts, ends = times[np.r_[0, breaks + 1]], times[np.r_[breaks, len(times) - 1]]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


@lru_cache(maxsize=2)  # samples come file by file: two span the change from one to the next
def _recording(file: Path, size: int, changed: int) -> _Recording:
    """Times in seconds, ascending, float64 [T], and readings float32 [6, T]. Size and change time renew the cache."""
    table = _columns(file, (TIME, *AXES)).dropna(subset=[TIME]).sort_values(TIME, kind="stable")
    readings = table[list(AXES)].to_numpy(dtype=np.float32).T
    return table[TIME].to_numpy() / 1000, np.nan_to_num(readings, nan=0.0, posinf=0.0, neginf=0.0)


def _columns(file: Path, names: tuple[str, ...]) -> pd.DataFrame:
    try:
        absent = [name for name in names if name not in pd.read_csv(file, nrows=0).columns]
        if absent:
            raise UnreadableSample(f"{file.name}: lacks the columns {', '.join(absent)}")
        return pd.read_csv(file, usecols=list(names), index_col=False, dtype=np.float64)
    except (OSError, ValueError) as error:  # pandas' own errors of parsing are ValueErrors
        raise UnreadableSample(f"{file.name}: {' '.join(str(error).split())}") from error


def _stamp(file: Path) -> tuple[int, int]:
    """Size and change time. Raises UnreadableSample for a file that is not there or beyond MAX_BYTES."""
    try:
        stat = file.stat()
    except OSError as error:
        raise UnreadableSample(f"{file.name}: {error.strerror}") from error
    if stat.st_size > MAX_BYTES:
        raise UnreadableSample(f"{file.name}: {stat.st_size:,} bytes, the limit is {MAX_BYTES:,}")
    return stat.st_size, stat.st_mtime_ns
