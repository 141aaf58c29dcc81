"""A finished run asked for again: ibench's store, and mteb's cached wrapper, each against its own first run.

    python benchmarks/rerun.py --environments ENVIRONMENTS [--images 1024] [--classes 100] [--rounds 3]

One zero-shot task over PNGs of 256² with a random ViT-B-32, fp32. Each program runs once with an empty store or cache,
then again for some rounds; a time of the second kind is their median. "process" is the whole process, imports included;
"call" is what the process takes after its imports. mteb is installed into ENVIRONMENTS by the first run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _measure import HERE, machine, measured, python_of, table
from _zeroshot import Workload, make

Times = tuple[float, float]
"""Seconds of the whole process, and of the call in it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, help="where mteb is, or is to be, installed")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--as-ibench", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.as_ibench:
        print(json.dumps(as_ibench(given.as_ibench)))
        return
    python = python_of("mteb", given.environments)
    print(f"{machine()}; {given.images} images, {given.classes} classes, {given.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        workload = make(Path(folder), given.images, given.classes, tasks=1)
        programs: dict[str, Callable[[], Times]] = {
            "ibench": lambda: ibench(workload),
            "mteb, cached": lambda: mteb(workload, python),
        }
        rows = [[name, *_row(run(), [run() for _ in range(given.rounds)])] for name, run in programs.items()]
    headers = ["program", "first process s", "again s", "ratio", "first call s", "again s", "ratio"]
    print(table(headers, rows))


def _row(first: Times, again: list[Times]) -> list[str]:
    cells = []
    for cold, warm in zip(first, (statistics.median(times) for times in zip(*again, strict=True)), strict=True):
        cells += [f"{cold:.1f}", f"{warm:.2f}", f"{cold / warm:.0f}x"]
    return cells


def ibench(workload: Workload) -> Times:
    process = measured(
        [sys.executable, __file__, "--as-ibench", workload.folder],
        {"IBENCH_CACHE": str(workload.folder / "ibench-cache")},
    )
    return process.seconds, json.loads(process.output.splitlines()[-1])["seconds"]


def as_ibench(folder: Path) -> dict[str, float]:
    """In a process of its own: what `ibench run` does, and the seconds of it."""
    import ibench

    evaluate = ibench.evaluate  # names are looked up on first use: this imports torch and the rest
    started = time.perf_counter()
    evaluate(f"ViT-B-32@{folder / 'vit_b_32.pt'}", [folder / "task0.yaml"], out=folder / "results", workers=None)
    return {"seconds": time.perf_counter() - started}


def mteb(workload: Workload, python: Path) -> Times:
    script = HERE / "_in_mteb.py"
    process = measured([python, script, workload.folder, "zeroshot", "--cache", workload.folder / "mteb-cache"])
    return process.seconds, json.loads(process.output.splitlines()[-1])["seconds"]


if __name__ == "__main__":
    main()
