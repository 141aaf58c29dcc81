"""What the benchmarks share: peers in environments of their own, whole processes measured, tables."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PEERS = {
    "mteb": ("mteb[open-clip-torch,image]==2.26.*",),
    "clip-benchmark": ("clip-benchmark==1.6.*", "requests", "webdataset", "numpy<2.4"),
    "pytorchvideo": ("pytorchvideo==0.1.*",),
}
"""What pip installs for each peer, beside the torch and torchvision that ibench is tested with."""

_SAMPLED_EVERY = 0.05  # seconds


@dataclass(frozen=True)
class Measured:
    """A process that ended: its wall time in seconds, the peak memory of it and its children in bytes, its stdout.

    The memory is resident memory summed over the processes, so what they share counts in each; NaN where the system
    has no /proc.
    """

    seconds: float
    peak: float
    output: str


def measured(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Measured:
    """Run a command to its end. Raises SystemExit with what it wrote to stderr when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    with Peak(process.pid) as peak:
        output, errors = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{errors[-3000:]}")
    return Measured(seconds, peak.bytes, output)


class Peak(threading.Thread):
    """The most memory that a process and its descendants held, in ``bytes``, while this context was open."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.ended = threading.Event()
        self.bytes = 0.0 if Path("/proc").exists() else math.nan

    def __enter__(self) -> Peak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def run(self) -> None:
        while not self.ended.wait(_SAMPLED_EVERY):
            self.bytes = max(self.bytes, sum(map(resident, _tree(self.process))))


def _tree(process: int) -> Iterator[int]:
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in _read(children).split():
            yield from _tree(int(child))


def resident(process: int) -> int:
    """Bytes of memory that a process holds now."""
    numbers = _read(Path(f"/proc/{process}/statm")).split()
    return int(numbers[1]) * os.sysconf("SC_PAGE_SIZE") if numbers else 0


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # the process ended meanwhile
        return ""


def python_of(peer: str, environments: Path) -> Path:
    """The interpreter of a peer's environment, which is made where it is not there yet (minutes, and gigabytes)."""
    folder = (environments / peer).absolute()
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        print(f"installing {peer} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        wanted = [*_pinned("torch", "torchvision"), *PEERS[peer]]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        (folder / ".ready").touch()
    return python


def _pinned(*packages: str) -> list[str]:
    lines = (HERE.parent / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line.partition("==")[0] in packages]


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from tabulate import tabulate  # not in the peers' environments, which import this module too

    return tabulate(rows, headers, disable_numparse=True, colalign=["left"] + ["right"] * (len(headers) - 1))


def machine() -> str:
    """The processor, its cores and the memory, as a line for above a table."""
    names = [
        line.partition(":")[2].strip() for line in _read(Path("/proc/cpuinfo")).splitlines() if "model name" in line
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {memory:.0f} GiB"


def gib(size: float) -> str:
    return f"{size / 2**30:.2f}"
