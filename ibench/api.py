"""The product: what the command line calls, and what a training loop calls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ibench import baseline, results
from ibench.comparison import Comparison, comparison
from ibench.datacheck import DataReport, check
from ibench.diagnosis import TEMPERATURE, Diagnosis, refuse_unpaired
from ibench.encoders import Encoder, open_checkpoint
from ibench.engine.encode import WHOLE, Progress, encode_missing, encode_rest
from ibench.engine.estimate import PlannedJob, planned
from ibench.engine.plan import Share
from ibench.machines import device_here
from ibench.report import run_page
from ibench.report.progress import Silent
from ibench.results import Kept, Record
from ibench.running import (
    Prompts,
    Request,
    by_text,
    checked_dtype,
    cores,
    data_root_of,
    diagnosed,
    held_in,
    joined,
    make_results_folder,
    maker,
    means_of,
    opened_store,
    prepared,
    probed_sizes,
    refuse_sweep,
    scored,
    settings_of,
)
from ibench.scoring.diagnostics import refuse_temperature
from ibench.sensitivity import OfSet, Sensitivity, prompt_sets, spread
from ibench.tasks import TaskSpec, load_task

__all__ = [
    "Request",
    "check_data",
    "compare",
    "diagnose",
    "encode",
    "evaluate",
    "load_encoder",
    "plan",
    "prompt_sensitivity",
    "report",
]


def evaluate(
    encoder: str | Path | Encoder,
    tasks: Sequence[str | Path | TaskSpec],
    *,
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    store: str | Path | None = None,
    device: str = "auto",
    dtype: str = "fp32",
    compile: bool = False,
    batch_size: int | None = 64,
    workers: int | None = 0,
    limit: int | None = None,
    drawn: bool = False,
    protocol: str | None = None,
    prompts: Prompts = None,
    seed: int = 0,
    max_unreadable: int = 0,
    skip_unavailable: bool = False,
    bridge: bool = False,
    sweep: int | None = None,
    share: Share = WHOLE,
    engine: str = "local",
    actors: int | None = None,
    shard_limit: float | None = None,
    progress: Progress | None = None,
) -> list[Record]:
    """Run tasks on an encoder; every text and every sample is embedded once, however many tasks ask for it.

    ``encoder`` is what ``--ckpt`` takes, or a live Encoder (see `ibench.from_functions`), whose embeddings are not
    kept. ``tasks`` are names, YAML files or TaskSpecs. Records go to ``out`` when it is given. ``store`` keeps
    embeddings between calls (default: the user's cache). ``batch_size`` views go through the encoder at a time; None
    probes what is fastest, once for each modality. ``workers`` processes decode; None chooses by the number of samples.
    ``limit`` takes the first samples only, or as many ``drawn`` by the digests of their ids, and marks the record.
    ``prompts`` is another prompt set than the protocol's own, by name or file, or several, each of which makes a record
    of every task. ``skip_unavailable`` notes a task whose data or modality is not there, or of whose samples more than
    ``max_unreadable`` cannot be read, and goes on, as a suite does. ``bridge`` also takes the path of emergent pairs
    through the modality that binds them, where the data has the samples in it (see docs/emergence.md). ``sweep`` adds a
    curve to the records of compositions: the headline at so many weights of the first part from 0 to 1, from the same
    embeddings. With a ``share``, others encode beside this process (see `encode`): it makes its share, then what they
    have not made yet, and scores. With ``engine`` "ray" up to ``actors`` processes of a Ray cluster encode, each shard
    within ``shard_limit`` seconds (see docs/scaling.md). Raises IbenchError for bad input, and for too many unreadable
    samples once all other tasks are scored; what was encoded is kept in any case.
    """
    tell = progress or Silent()
    request = Request(
        encoder,
        tasks,
        data_root=data_root,
        store=store,
        device=device,
        dtype=dtype,
        compile=compile,
        limit=limit,
        drawn=drawn,
        protocol=protocol,
        prompts=prompts,
        skip_unavailable=skip_unavailable,
        bridge=bridge,
    )
    with joined(engine, actors, shard_limit, share) as cluster:
        settings = replace(settings_of(request, batch_size, seed, cluster), sweep=sweep)
        started = time.monotonic()
        with opened_store(request) as kept:
            run = prepared(request, settings, kept, tell, cluster)
            refuse_sweep(run, sweep)
            if out is not None:
                make_results_folder(run, Path(out))
            read = time.monotonic()
            means = means_of(run, settings, workers)
            make = maker(run, request, settings, kept, means, tell, cluster)
            encoded = make(run.jobs, share)
            if share != WHOLE:
                encoded += encode_rest(run.jobs, kept, run.open, means, tell)
            if not encoded and run.jobs:
                tell.note("all embeddings are in the store; the encoder was not opened")
            if run.texts is not None:
                kept.note_items(run.texts)
            phases = {"read": read - started, "encode": time.monotonic() - read}
            held = held_in(kept, make)
            settings = replace(settings, batch_size=batch_size or probed_sizes(run, kept))
            records, refused = scored(run, held, settings, max_unreadable, phases, encoded, out)
    if refused and not (skip_unavailable and records):
        raise refused[0]
    for reason in refused:
        tell.note(f"skipped: {reason}")
    if out is not None:
        tell.note(f"records are under {out}")
    return records


def prompt_sensitivity(
    encoder: str | Path | Encoder,
    task: str | Path,
    *,
    prompts_from: Sequence[str] = (),
    protocol: str | None = None,
    out: str | Path = "results",
    **options: Any,
) -> Sensitivity:
    """Score a task with every prompt set of its protocols, and with those of ``prompts_from`` (names or YAML files).

    All else is as ``protocol`` says: views, and how class names are written. The samples and each distinct text are
    embedded once. Records go to ``out``, those of other sets than the protocol's own as `evaluate` with ``prompts``
    writes them. ``options`` are `evaluate`'s. Raises IbenchError for a task whose score is not of prompts, for one set
    alone, and for two sets of one name.
    """
    sets = prompt_sets(load_task(task), protocol, prompts_from)
    records = evaluate(encoder, [task], protocol=protocol, prompts=[None, *sets[1:]], out=out, **options)
    kept = [Kept(record, results.folder_of(record, Path(out)) / f"{record.stem()}.parquet") for record in records]
    found = tuple(OfSet(one, record) for one, record in zip(sets, records, strict=True))
    return Sensitivity(found, spread(kept))


def encode(
    request: Request,
    share: Share = WHOLE,
    *,
    batch_size: int | None = 64,
    workers: int | None = 0,
    progress: Progress | None = None,
) -> int:
    """Only encode, and only a share of the shards; returns how many samples were encoded. `evaluate` scores them.

    Processes with different shares of one request may run at a time, on one machine or several that see the same
    store; they need nothing of each other.
    """
    tell = progress or Silent()
    settings = settings_of(request, batch_size, 0)
    with opened_store(request) as kept:
        run = prepared(request, settings, kept, tell)
        return encode_missing(run.jobs, kept, run.open, means_of(run, settings, workers), tell, share)


def plan(request: Request, progress: Progress | None = None, engine: str = "local") -> list[PlannedJob]:
    """The embedding jobs that `evaluate` would do for a request, and how much of each is in the store."""
    with joined(engine) as cluster, opened_store(request) as kept:
        run = prepared(request, settings_of(request, None, 0, cluster), kept, progress or Silent(), cluster)
        return planned(run.jobs, kept)


def compare(runs: Sequence[str | Path | Sequence[Record]]) -> Comparison:
    """Runs side by side, the first as the reference; a run is a folder of records, one record file, or records.

    What was written to files is compared sample by sample; records alone say nothing of single samples.
    """
    columns = [
        baseline.runs(Path(run))
        if isinstance(run, str | Path)
        else [Kept(record, run=f"run {number}") for record in run]
        for number, run in enumerate(runs, start=1)
    ]
    return comparison([kept for column in columns for kept in column])


def report(
    run: str | Path,
    out: str | Path,
    *,
    data_root: str | Path | None = None,
    tasks: Sequence[str | Path] = (),
    samples: int = 12,
) -> Path:
    """Write one HTML page about a record file or a folder of records, and return its path.

    ``tasks`` are the YAML files of tasks that are not bundled. Of each task ``samples`` are shown from the worst and
    from the best, with thumbnails where its data is found as `evaluate` finds it; nothing is downloaded.
    """
    files = {spec.name: task for task in tasks for spec in [load_task(task)]}

    def root(spec: TaskSpec) -> Path | None:
        return data_root_of(files.get(spec.name, spec), data_root)

    return run_page.write(Path(run), Path(out), root, [load_task(task) for task in files.values()], samples)


def check_data(
    task: str | Path | TaskSpec,
    *,
    data_root: str | Path | None = None,
    workers: int | None = 0,
    decode: bool = True,
    progress: Progress | None = None,
) -> DataReport:
    """Whether a task's local copy is whole; its samples are decoded unless ``decode`` is false. Downloads nothing."""
    spec = task if isinstance(task, TaskSpec) else load_task(task)
    processes = cores() if workers is None else workers
    return check(spec, data_root_of(task, data_root), processes, decode, progress or Silent())


def diagnose(
    request: Request,
    temperature: float = TEMPERATURE,
    *,
    batch_size: int | None = 64,
    workers: int | None = 0,
    progress: Progress | None = None,
) -> list[Diagnosis]:
    """How the two modalities of each task lie in the encoder's space; what is not in the store is encoded first.

    ``temperature`` is InfoNCE's. Raises IbenchError for bad input, for a task that pairs no two modalities, and for a
    sample that cannot be read.
    """
    refuse_temperature(temperature)
    tell = progress or Silent()
    settings = settings_of(request, batch_size, 0)
    with opened_store(request) as kept:
        run = prepared(request, settings, kept, tell)
        for cell, _ in run.cells:
            refuse_unpaired(cell)
        make = maker(run, request, settings, kept, means_of(run, settings, workers), tell, None)
        make(run.jobs, WHOLE)
        if run.texts is not None:
            kept.note_items(run.texts)
        held = held_in(kept, make)
        embedding_of = by_text(run, held)
        return [diagnosed(run, cell, jobs, held, embedding_of, temperature) for cell, jobs in run.cells]


def load_encoder(reference: str | Path, device: str = "auto", dtype: str = "fp32", *, compile: bool = False) -> Encoder:
    """Open what ``--ckpt`` takes. Raises IbenchError for what no family knows."""
    return open_checkpoint(str(reference), device_here(device)[0], checked_dtype(dtype), compile).load()
