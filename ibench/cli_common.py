"""What commands of several modules share: options, progress around what imports torch, and how they end."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional

import typer

from ibench.errors import IbenchError
from ibench.files import WAY_OUT, make_folder, refusals_told

if TYPE_CHECKING:
    from ibench.report.progress import LogProgress, Silent, TerminalProgress

INTERRUPTED = 130
BUG = 70  # a crash of ibench itself; 1 means a regression and must not be mistaken for one

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no notes; warnings and errors only.")]
DataRoot = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads it at run time on Python 3.10
    typer.Option(help="The folder that holds the data sets' folders (or set IBENCH_DATA)."),
]
StoreFolder = Annotated[Optional[str], typer.Option(help="The store's folder or URL (default: the cache).")]  # noqa: UP045
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, typer.Option(help="fp32, bf16 or fp16.")]
BatchSize = Annotated[str, typer.Option(help="Views per batch, or auto: probed once for each modality.")]
Workers = Annotated[Optional[int], typer.Option(min=0, help="Decode processes; 0: none; default: by need.")]  # noqa: UP045


@contextmanager
def working(quiet: bool) -> Iterator[TerminalProgress | LogProgress | Silent]:
    """Progress on stderr, around what imports torch; Ctrl-C says how to go on."""
    from ibench.report.progress import progress_for_stderr

    if quiet:  # read when the libraries are imported
        os.environ |= {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    # libraries warn of what ibench does on purpose, such as building a model before its weights are loaded
    logging.basicConfig(format="ibench: warning: %(message)s", level=logging.ERROR)
    logging.getLogger("ibench").setLevel(logging.WARNING)
    try:
        with progress_for_stderr(quiet) as progress:
            progress.note("loading torch")
            yield progress
    except KeyboardInterrupt:
        fail("interrupted; the same command continues where this one stopped", INTERRUPTED)


def listed(names: str | None) -> list[str]:
    """What an option names, separated by commas."""
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def named(tasks: str | None, suite: str | None, how: str) -> list[str]:
    """The tasks asked for by name and by suite, each once."""
    from ibench.tasks import suite_tasks

    names = listed(tasks)
    if not names and not suite:
        raise IbenchError(f"name tasks with {how} or a suite with --suite; `ibench tasks` lists both")
    return list(dict.fromkeys([*names, *(suite_tasks(suite) if suite else ())]))


def batch_size_from(asked: str) -> int | None:
    """A batch size as `evaluate` takes it; None for auto."""
    if asked != "auto" and not (asked.isdecimal() and int(asked)):
        raise IbenchError(f"--batch-size {asked}: a whole number from 1, or auto")
    return None if asked == "auto" else int(asked)


def write_text(path: Path, text: str, mode: str) -> None:
    """Write or append to a file that an option names."""
    make_folder(path.parent)
    with refusals_told(path), path.open(mode, encoding="utf-8") as file:
        file.write(text)


def refuse_unwritable(path: Path | None) -> None:
    """Raise IbenchError for a file that an option names and that cannot be written: now, not when all is encoded."""
    if path is None:
        return
    make_folder(path.parent)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise IbenchError(f"{path} cannot be written; {WAY_OUT}")


def show(text: str) -> None:
    """Print the result of a command whose exit code says something: the same, whether or not anybody reads the text."""
    with suppress(BrokenPipeError):
        print(text)
    written_out()


def written_out() -> None:
    """Have stdout written now, where it can be told how that went; what nobody reads any more goes nowhere.

    Raises SystemExit where it cannot be written: a full disk.
    """
    if sys.stdout is None:  # closed by whoever started us
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again at the end, and fails
        if not isinstance(error, BrokenPipeError):
            fail(f"error: the output cannot be written: {error.strerror}", 2)


def fail(message: str, code: int) -> NoReturn:
    """End with a line on stderr."""
    print(f"ibench: {message}", file=sys.stderr)
    sys.exit(code)
