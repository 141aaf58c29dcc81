"""What a run tells on stderr while it works."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from ibench.report import progress
from ibench.report.progress import LogProgress, TerminalProgress, memory


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_log_tells_of_the_whole_plan_at_most_twice_a_minute(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    log = LogProgress()
    log.plan(2, 400)
    log.start("esc50 audio", 100)
    for _ in range(10):
        clock[0] += 4
        log.advance(10)
    log.start("nyu_depth depth", 300)
    clock[0] += 29
    log.advance(38)
    first, early, second, late = lines(capsys)
    assert (first, second) == ("ibench: esc50 audio: 100 to do", "ibench: nyu_depth depth: 300 to do")
    assert early.startswith("ibench: esc50 audio: 80 of 400 in all, 2.5/s, 0:02:08 left, ")
    assert late.startswith("ibench: nyu_depth depth: 138 of 400 in all, 2/s, 0:02:11 left, ")


def test_what_no_plan_told_is_a_plan_of_its_own(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    log = LogProgress()
    log.plan(1, 10)
    log.start("esc50 audio", 10)
    log.advance(10)
    log.start("one shard again", 50)
    clock[0] += 30
    log.advance(25)
    assert "one shard again: 25 of 50 in all" in lines(capsys)[-1]


def test_a_terminal_shows_the_plan_above_the_job_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=140, _environ={})
    )
    with TerminalProgress() as bars:
        bars.plan(2, 400)
        bars.start("esc50 audio", 100)
        bars.advance(100)
        bars.start("nyu_depth [depth]", 300)
        bars.advance(60)
        shown = {task.description: (task.completed, task.total) for task in bars._bars.tasks}
        bars.note("a note [of] its own")
    assert shown == {"all 2 jobs": (160, 400), "nyu_depth [depth]": (60, 300)}
    for told in ("160/400", "60/300", "a note [of] its own", "GiB"):
        assert told in screen.getvalue()


def test_one_job_needs_no_bar_for_all() -> None:
    bars = TerminalProgress()
    bars.plan(1, 10)
    bars.start("esc50 audio", 10)
    assert [task.description for task in bars._bars.tasks] == ["esc50 audio"]


def test_memory_is_what_this_process_holds() -> None:
    held = float(memory().split()[0])
    assert 0.0 < held < 64
