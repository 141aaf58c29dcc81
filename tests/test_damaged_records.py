"""Records and rows that are damaged, or none: every command that reads them says so in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import RunIbench
from made_runs import write_run

from ibench.baseline import accept, the_one

_RIGHT = np.arange(30) % 3 != 0
_READERS = [
    ("compare", "good", "bad"),
    ("compare", "good", "bad", "--samples"),
    ("check", "--baseline", "good", "--run", "bad"),
    ("check", "--baseline", "good", "--run", "bad", "--exact"),
    ("report", "bad"),
]
_OF_RECORDS = [*_READERS, ("leaderboard", "bad"), ("export", "bad", "--to", "model-index")]


def edited(**changes: object) -> Callable[[Path], None]:
    def edit(record: Path) -> None:
        told: dict[str, Any] = json.loads(record.read_text())
        record.write_text(json.dumps(told | changes))

    return edit


def without(column: str) -> Callable[[Path], None]:
    def edit(record: Path) -> None:
        rows = record.with_suffix(".parquet")
        pd.read_parquet(rows).drop(columns=column).to_parquet(rows, index=False)

    return edit


def holding(column: str, *values: object) -> Callable[[Path], None]:
    def edit(record: Path) -> None:
        rows = record.with_suffix(".parquet")
        table = pd.read_parquet(rows)
        table.assign(**{column: [*values, *table[column][len(values) :].astype(object)]}).to_parquet(rows, index=False)

    return edit


def no_file_of_rows(record: Path) -> None:
    record.with_suffix(".parquet").unlink()
    record.with_suffix(".parquet").mkdir()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (edited(metrics={}), "the headline 'top1' is not among its metrics"),
        (edited(kind="dowsing"), "kind Input should be"),
        (edited(schema_version=2), "schema_version Input should be 1"),
        (lambda record: record.write_text("[" * 100_000), "recursion"),
    ],
)
def test_a_damaged_record(tmp_path: Path, ibench: RunIbench, damage: Callable[[Path], None], told: str) -> None:
    write_run(tmp_path / "good", {"t": _RIGHT})
    damage(next(write_run(tmp_path / "bad", {"t": _RIGHT}).rglob("*.json")))
    for command in _OF_RECORDS:
        assert_refused(ibench(*command), "bad/one-6f6e6500/t.ibench.json", told)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (without("rank"), "lacks the columns rank; run the task again"),
        (without("score"), "lacks the columns score; run the task again"),
        (holding("rank", *["1"] * 30), "column 'rank' does not hold whole numbers in every row; run the task again"),
        (holding("rank", None), "column 'rank' does not hold whole numbers"),
        (holding("score", *["0.5"] * 30), "column 'score' does not hold numbers"),
        (holding("correct", None), "column 'correct' does not hold true or false"),
        (holding("id", None), "column 'id' does not hold text"),
        (no_file_of_rows, "t"),
    ],
)
def test_damaged_rows(tmp_path: Path, ibench: RunIbench, damage: Callable[[Path], None], told: str) -> None:
    write_run(tmp_path / "good", {"t": _RIGHT})
    damage(next(write_run(tmp_path / "bad", {"t": _RIGHT}).rglob("*.json")))
    done = [ibench(*command) for command in _READERS]
    refused = [one for one in done if one.returncode]
    assert len(refused) >= len(_READERS) - 1, "only comparing may do without rows: records stand side by side"
    for one in refused:
        assert_refused(one, "t", told)
        assert one.stderr.count("run the task again") <= 1


def test_a_baseline_of_nothing(tmp_path: Path, ibench: RunIbench) -> None:
    accept(the_one(write_run(tmp_path / "good", {"t": _RIGHT})), tmp_path / "bad.json", "")
    edited(records=[])(tmp_path / "bad.json")
    commands = [("check", "--baseline", "bad.json", "--run", "good"), ("compare", "bad.json", "--by", "class")]
    for command in [*commands, ("export", "bad.json", "--to", "model-index"), ("leaderboard", "bad.json")]:
        assert_refused(ibench(*command), "bad.json", "neither an ibench record nor a baseline")


def test_a_baseline_is_no_run_to_report(tmp_path: Path, ibench: RunIbench) -> None:
    accept(the_one(write_run(tmp_path / "good", {"t": _RIGHT})), tmp_path / "main.json", "")
    assert_refused(ibench("report", "main.json"), "main.json: a baseline, not a record; name the folder of the run")


def assert_refused(done: Any, *told: str) -> None:
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert all(one in done.stderr for one in told), done.stderr
