"""The benchmarks start, and those that need no peer run, at sizes that say nothing of speed."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(script.name for script in FOLDER.glob("[!_]*.py"))


def run(script: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(FOLDER / script), run_name="__main__")


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_benchmark_says_what_it_measures(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(script, monkeypatch, "--help")
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_a_suite_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no suite 'nosuch'"):
        run("quick_suite.py", monkeypatch, "--suite", "nosuch")


@pytest.mark.parametrize(
    ("script", "arguments", "printed"),
    [
        ("scale.py", "--samples 200 --square 50 --tasks 2", ["retrieval, 1,000 items", "run again", "exponent"]),
        ("overhead.py", "--modalities imu text --blocks 1 --seconds 0.01 --rounds 1 --batch-size 2", ["imu", "text"]),
    ],
)
def test_it_prints_its_table(
    script: str,
    arguments: str,
    printed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(script, monkeypatch, *arguments.split())
    table = capsys.readouterr().out
    assert all(words in table for words in printed)
