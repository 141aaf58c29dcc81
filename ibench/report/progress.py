"""Progress on stderr: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

_LINE_EVERY = 30.0  # seconds, in a log


class TerminalProgress:
    """One bar per job, with samples done and the time left. A context manager."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Bars(*columns, console=Console(stderr=True), transient=True)

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, title: str, total: int) -> None:
        self._bars.add_task(title, total=total)

    def advance(self, samples: int) -> None:
        self._bars.advance(self._bars.task_ids[-1], samples)

    def note(self, text: str) -> None:
        self._bars.console.print(f"ibench: {text}", markup=False, highlight=False, soft_wrap=True)


class LogProgress:
    """A line when a job starts, and at most one in thirty seconds after that. A context manager."""

    def __init__(self) -> None:
        self._title, self._total, self._done, self._started, self._said = "", 0, 0, 0.0, 0.0

    def __enter__(self) -> LogProgress:
        return self

    def __exit__(self, *_: object) -> None: ...

    def start(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, total, 0
        self._started = self._said = time.monotonic()
        self.note(f"{title}: {total} to do")

    def advance(self, samples: int) -> None:
        self._done += samples
        if time.monotonic() - self._said >= _LINE_EVERY:
            self._said = time.monotonic()
            left = (self._said - self._started) * (self._total / self._done - 1)
            self.note(f"{self._title}: {self._done} of {self._total}, {timedelta(seconds=round(left))} left")

    def note(self, text: str) -> None:
        print(f"ibench: {text}", file=sys.stderr, flush=True)


class Silent:
    """Says nothing. A context manager."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None: ...

    def start(self, title: str, total: int) -> None: ...

    def advance(self, samples: int) -> None: ...

    def note(self, text: str) -> None: ...


def progress_for_stderr(quiet: bool = False) -> TerminalProgress | LogProgress | Silent:
    """A bar on a terminal, plain lines in a log, or nothing."""
    if quiet:
        return Silent()
    return TerminalProgress() if sys.stderr.isatty() else LogProgress()
