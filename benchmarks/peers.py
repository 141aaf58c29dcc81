"""Four zero-shot tasks over the same images: ibench beside mteb and CLIP_benchmark, whole processes, in one run.

    python benchmarks/peers.py --environments ENVIRONMENTS [--images 512] [--classes 100] [--workers 0]

The peers are installed into ENVIRONMENTS, each in one of its own, by the first run. All read the same PNGs of 256² and
the same random ViT-B-32, in one process for the four tasks, and start from nothing: no store, no cache. bf16 is the
precision that each offers: weights in ibench, autocast in CLIP_benchmark (its default); mteb has no such setting for
open_clip models, and gets weights of bfloat16 as ibench does. Every task has one prompt per class, which is all that
mteb's zero-shot tasks have room for.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from _measure import HERE, Measured, gib, machine, measured, python_of, table
from _zeroshot import Workload, make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, required=True, help="where the peers are, or are to be, installed")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100, help="of each task")
    parser.add_argument("--dtypes", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--workers", type=int, help="decode processes of each; without it, each program's default")
    given = parser.parse_args()
    pythons = {peer: python_of(peer, given.environments) for peer in ("mteb", "clip-benchmark")}
    workers = "default" if given.workers is None else given.workers
    print(f"{machine()}; 4 tasks of {given.classes} classes over {given.images} images, {workers} workers")
    with tempfile.TemporaryDirectory() as folder:
        workload = make(Path(folder), given.images, given.classes)
        for dtype in given.dtypes:
            runs = {
                "clip-benchmark": clip_benchmark(workload, pythons["clip-benchmark"], dtype, given.workers),
                "mteb": mteb(workload, pythons["mteb"], dtype, given.workers),
                "ibench": ibench(workload, dtype, given.workers),
            }
            print(f"\n{dtype}\n{report(runs, workload)}", flush=True)


Run = tuple[Measured, dict[str, float]]
"""A whole process, and the accuracy of each task."""


def ibench(workload: Workload, dtype: str, workers: int | None) -> Run:
    tasks = ",".join(str(workload.folder / f"{task}.yaml") for task in workload.tasks)
    run = workload.folder / f"ibench-{dtype}"
    process = measured(
        [
            *(sys.executable, "-m", "ibench", "run", "--task", tasks, "--ckpt", f"ViT-B-32@{workload.checkpoint}"),
            *("--dtype", dtype, "--out", run / "results", "--json", *told("--workers", workers)),
        ],
        {"IBENCH_CACHE": str(run / "cache")},
    )
    records = json.loads(process.output)
    return process, {record["task"]: record["metrics"]["top1"]["value"] for record in records}


def mteb(workload: Workload, python: Path, dtype: str, workers: int | None) -> Run:
    script = HERE / "_in_mteb.py"
    process = measured([python, script, workload.folder, "zeroshot", "--dtype", dtype, *told("--workers", workers)])
    return process, json.loads(process.output.splitlines()[-1])["accuracies"]


def clip_benchmark(workload: Workload, python: Path, dtype: str, workers: int | None) -> Run:
    out = workload.folder / f"clip-benchmark-{dtype}"
    out.mkdir()
    process = measured(
        [
            *(python, "-m", "clip_benchmark.cli", "eval", "--dataset", *(f"wds/{task}" for task in workload.tasks)),
            *("--dataset_root", workload.folder / "clip-benchmark" / "{dataset}", "--output", out / "{dataset}.json"),
            *("--model", "ViT-B-32", "--pretrained", workload.checkpoint, "--task", "zeroshot_classification"),
            *("--batch_size", "64", *(["--no_amp"] if dtype == "fp32" else []), *told("--num_workers", workers)),
        ]
    )
    results = {task: json.loads((out / f"{task}.json").read_text()) for task in workload.tasks}
    return process, {task: result["metrics"]["acc1"] for task, result in results.items()}


def told(option: str, workers: int | None) -> tuple[str, ...]:
    return () if workers is None else (option, str(workers))


def report(runs: dict[str, Run], workload: Workload) -> str:
    best = min(process.seconds for name, (process, _) in runs.items() if name != "ibench")
    rows = [
        [
            name,
            f"{process.seconds:.1f}",
            f"{process.seconds / best:.2f}",
            f"{len(workload.tasks) * workload.images / process.seconds:.1f}",
            gib(process.peak),
            *(f"{accuracies[task]:.4f}" for task in workload.tasks),
        ]
        for name, (process, accuracies) in runs.items()
    ]
    return table(["program", "seconds", "of the better peer", "images/s", "peak GiB", *workload.tasks], rows)


if __name__ == "__main__":
    main()
