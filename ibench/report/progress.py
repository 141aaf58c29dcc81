"""Progress on stderr: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

_LINE_EVERY = 30.0  # seconds, in a log


class TerminalProgress:
    """A bar for the whole plan and one for the job at work: samples done, per second, time left; the memory held.

    A context manager.
    """

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            _Rate(), TimeRemainingColumn(), TextColumn("{task.fields[held]}"),
        )  # fmt: skip
        self._bars = Bars(*columns, console=Console(stderr=True), transient=True)

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def plan(self, jobs: int, samples: int) -> None:
        if jobs > 1:
            self._add(f"all {jobs} jobs", samples)

    def start(self, title: str, total: int) -> None:
        for task in self._bars.tasks:
            if task.finished:
                self._bars.remove_task(task.id)
        self._add(title, total)

    def advance(self, samples: int) -> None:
        held = memory()
        for task in self._bars.tasks:
            self._bars.update(task.id, advance=samples, held=held)

    def note(self, text: str) -> None:
        self._bars.console.print(f"ibench: {text}", markup=False, highlight=False, soft_wrap=True)

    def _add(self, title: str, total: int) -> None:
        self._bars.add_task(title, total=total, held=memory())


class LogProgress:
    """A line when a job starts, and at most one in thirty seconds after that, of the whole plan. A context manager."""

    def __init__(self) -> None:
        self._title, self._planned, self._done = "", 0, 0
        self._started = self._said = 0.0

    def __enter__(self) -> LogProgress:
        return self

    def __exit__(self, *_: object) -> None: ...

    def plan(self, jobs: int, samples: int) -> None:
        self._planned, self._done = samples, 0
        self._started = self._said = time.monotonic()

    def start(self, title: str, total: int) -> None:
        if self._done + total > self._planned:  # more than the plan says, or none was told
            self.plan(1, total)
        self._title = title
        self.note(f"{title}: {total} to do")

    def advance(self, samples: int) -> None:
        self._done += samples
        now = time.monotonic()
        if now - self._said >= _LINE_EVERY:
            self._said = now
            rate = self._done / (now - self._started)
            left = timedelta(seconds=round((self._planned - self._done) / rate))
            self.note(f"{self._title}: {self._done} of {self._planned} in all, {rate:.3g}/s, {left} left, {memory()}")

    def note(self, text: str) -> None:
        print(f"ibench: {text}", file=sys.stderr, flush=True)


class Silent:
    """Says nothing. A context manager."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None: ...

    def plan(self, jobs: int, samples: int) -> None: ...

    def start(self, title: str, total: int) -> None: ...

    def advance(self, samples: int) -> None: ...

    def note(self, text: str) -> None: ...


def progress_for_stderr(quiet: bool = False) -> TerminalProgress | LogProgress | Silent:
    """Bars on a terminal, plain lines in a log, or nothing."""
    if quiet:
        return Silent()
    return TerminalProgress() if sys.stderr.isatty() else LogProgress()


def memory() -> str:
    """What this process holds of main memory, and of the GPU where it uses one; empty where the system does not say."""
    held = []
    try:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        held.append(f"{resident / 2**30:.1f} GiB")
    except OSError:  # no Linux
        pass
    torch = sys.modules.get("torch")  # never imported for this
    if torch is not None and torch.cuda.is_initialized():
        held.append(f"{torch.cuda.memory_allocated() / 2**30:.1f} GiB of the GPU")
    return ", ".join(held)


class _Rate(ProgressColumn):
    """Samples per second, lately."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.3g}/s" if task.speed else "")
