"""The product: what the command line calls, and what a training loop calls."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ibench import baseline, results
from ibench.bridge import bridged
from ibench.cells import Cell, bind
from ibench.comparison import Comparison, comparison
from ibench.datacheck import DataReport, check
from ibench.datasets import Dataset, open_dataset
from ibench.diagnosis import TEMPERATURE, Diagnosis, diagnosis, refuse_unpaired
from ibench.encoders import Card, Checkpoint, Encoder, open_checkpoint
from ibench.encoders.base import DTYPES
from ibench.engine.encode import WHOLE, Means, Progress, batch_size_of, encode_missing, encode_rest
from ibench.engine.estimate import PlannedJob, planned
from ibench.engine.plan import Job, Share, unique
from ibench.engine.store import Embeddings, EmbeddingStore
from ibench.errors import IbenchError, did_you_mean
from ibench.evaluation import Settings, emergent, record_of, sample_jobs, text_job
from ibench.hashing import sha256_text
from ibench.machines import device_here, device_on, node_opening
from ibench.modalities import Modality
from ibench.prompts import PromptSet
from ibench.report import run_page
from ibench.report.progress import Silent
from ibench.resources import store_dir, usual_data_root
from ibench.results import Kept, Record
from ibench.scoring.similarity import Vectors
from ibench.sensitivity import OfSet, Sensitivity, prompt_sets, spread
from ibench.tasks import Kind, TaskSpec, load_task

if TYPE_CHECKING:
    from ibench.engine.ray import Cluster

ENGINES = ("local", "ray")

Prompts: TypeAlias = str | Sequence[str | PromptSet | None] | None
"""A prompt set, or several; None is the protocol's own."""

_WORKERS_PAY_FROM = 512  # samples; below this, starting worker processes takes longer than decoding here


@dataclass(frozen=True)
class Request:
    """Which encoder on which tasks, and all that decides what is embedded; the fields are arguments of `evaluate`."""

    encoder: str | Path | Encoder
    tasks: Sequence[str | Path | TaskSpec]
    data_root: str | Path | None = None
    store: str | Path | None = None
    device: str = "auto"
    dtype: str = "fp32"
    compile: bool = False
    limit: int | None = None
    drawn: bool = False
    protocol: str | None = None
    prompts: Prompts = None
    skip_unavailable: bool = False
    bridge: bool = False

    @property
    def prompt_sets(self) -> Sequence[str | PromptSet | None]:
        """What each task is run with, None for its protocol's own."""
        return [self.prompts] if self.prompts is None or isinstance(self.prompts, str) else self.prompts


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
    what = (encoder, tasks, data_root, store, device, dtype, compile, limit, drawn, protocol, prompts)
    request = Request(*what, skip_unavailable=skip_unavailable, bridge=bridge)
    with _cluster(engine, actors, shard_limit, share) as cluster:
        settings = replace(_settings(request, batch_size, seed, cluster), sweep=sweep)
        started = time.monotonic()
        with _store(request) as kept:
            run = _prepared(request, settings, kept, tell, cluster)
            _refuse_sweep(run, sweep)
            read = time.monotonic()
            means = _means(run, settings, workers)
            make = _maker(run, request, settings, kept, means, tell, cluster)
            encoded = make(run.jobs, share)
            if share != WHOLE:
                encoded += encode_rest(run.jobs, kept, run.open, means, tell)
            if not encoded and run.jobs:
                tell.note("all embeddings are in the store; the encoder was not opened")
            if run.texts is not None:
                kept.note_items(run.texts)
            phases = {"read": read - started, "encode": time.monotonic() - read}
            held = partial(_held, store=kept, make=lambda job: make([job], WHOLE))
            settings = replace(settings, batch_size=batch_size or _probed_sizes(run, kept))
            records, refused = _scored(run, held, settings, max_unreadable, phases, encoded, out)
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
    settings = _settings(request, batch_size, 0)
    with _store(request) as kept:
        run = _prepared(request, settings, kept, tell)
        return encode_missing(run.jobs, kept, run.open, _means(run, settings, workers), tell, share)


def plan(request: Request, progress: Progress | None = None, engine: str = "local") -> list[PlannedJob]:
    """The embedding jobs that `evaluate` would do for a request, and how much of each is in the store."""
    with _cluster(engine) as cluster, _store(request) as kept:
        run = _prepared(request, _settings(request, None, 0, cluster), kept, progress or Silent(), cluster)
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
        return _root(files.get(spec.name, spec), data_root)

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
    processes = _cores() if workers is None else workers
    return check(spec, _root(task, data_root), processes, decode, progress or Silent())


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
    tell = progress or Silent()
    settings = _settings(request, batch_size, 0)
    with _store(request) as kept:
        run = _prepared(request, settings, kept, tell)
        for cell, _ in run.cells:
            refuse_unpaired(cell)
        make = _maker(run, request, settings, kept, _means(run, settings, workers), tell, None)
        make(run.jobs, WHOLE)
        if run.texts is not None:
            kept.note_items(run.texts)
        held = partial(_held, store=kept, make=lambda job: make([job], WHOLE))
        embedding_of = _by_text(run, held)
        return [_diagnosed(run, cell, jobs, held, embedding_of, temperature) for cell, jobs in run.cells]


def load_encoder(reference: str | Path, device: str = "auto", dtype: str = "fp32", *, compile: bool = False) -> Encoder:
    """Open what ``--ckpt`` takes. Raises IbenchError for what no family knows."""
    return open_checkpoint(str(reference), device_here(device)[0], _dtype(dtype), compile).load()


@dataclass(frozen=True)
class _Run:
    """The tasks of a call with the jobs of their samples, the job of their texts, and the distinct jobs of both.

    ``known`` are the vectors of texts that other calls have encoded already, by the texts' digests.
    """

    checkpoint: Checkpoint
    cells: Sequence[tuple[Cell, Sequence[Job]]]
    texts: Job | None
    known: Mapping[str, Vectors] = field(default_factory=dict)

    @cached_property
    def _opened(self) -> Encoder:
        return self.checkpoint.load()

    def open(self) -> Encoder:
        """The encoder, opened when it is first asked for."""
        return self._opened

    @cached_property
    def jobs(self) -> list[Job]:
        """Texts first: while they are encoded, workers start and decode the first samples."""
        return unique([*([self.texts] if self.texts else []), *(job for _, jobs in self.cells for job in jobs)])


def _prepared(
    request: Request, settings: Settings, store: EmbeddingStore, tell: Progress, cluster: Cluster | None = None
) -> _Run:
    checkpoint = _checkpoint(request.encoder, settings, cluster)
    cells = _bound(request, checkpoint, tell)
    texts = text_job(cells, checkpoint.card, settings)
    known: dict[str, Vectors] = {}
    if texts is not None and not store.begun(texts):  # what was begun in this company is ended in it
        known = store.rows_of_others(texts)
        texts = text_job(cells, checkpoint.card, settings, known.keys()) if known else texts
    return _Run(checkpoint, [(cell, sample_jobs(cell, checkpoint.card, settings)) for cell in cells], texts, known)


def _refuse_sweep(run: _Run, points: int | None) -> None:
    if points is None:
        return
    if points < 2:
        raise IbenchError(f"a sweep of {points} weights: at least 2, both parts alone")
    if all(cell.spec.kind is not Kind.COMPOSITION for cell, _ in run.cells):
        raise IbenchError("--sweep varies the weights of a composition, and none of these tasks is one")


def _means(run: _Run, settings: Settings, workers: int | None) -> Means:
    size = settings.batch_size if isinstance(settings.batch_size, int) else None
    return Means(size, _workers(workers, run.jobs), settings.device.startswith("cuda"))


def _maker(
    run: _Run,
    request: Request,
    settings: Settings,
    store: EmbeddingStore,
    means: Means,
    tell: Progress,
    cluster: Cluster | None,
) -> Callable[[Sequence[Job], Share], int]:
    """How shards of jobs are made: here or on the cluster, which is no use for vectors that are there already."""
    if cluster is None or run.checkpoint.card.by_id:
        return lambda jobs, share: encode_missing(jobs, store, run.open, means, tell, share)
    from ibench.engine.ray import encode_on

    opening = node_opening(str(request.encoder), settings, run.checkpoint.card, [cell for cell, _ in run.cells])
    gpus = int(settings.device.startswith("cuda"))
    return lambda jobs, share: encode_on(cluster, jobs, store, opening, means, gpus, tell)


def _probed_sizes(run: _Run, store: EmbeddingStore) -> dict[Modality, int]:
    """The batch size of each modality, where it was left to be probed."""
    sizes = {Modality(job.modality): batch_size_of(job, store) for job in run.jobs}
    return {modality: size for modality, size in sizes.items() if size is not None}


def _held(job: Job, store: EmbeddingStore, make: Callable[[Job], int]) -> Embeddings:
    """A job's embeddings; what is found damaged while they are read is made again, once."""
    held = store.load(job)
    if held is None:
        make(job)
        held = store.load(job)
    if held is None:
        raise IbenchError(
            f"{job.title}: the store at {store.place} does not keep what is written; name another: --store"
        )
    return held


def _while_wanted(held: Callable[[Job], Embeddings], jobs: Iterable[Job]) -> Callable[[Job], Embeddings]:
    """``held`` for each of these jobs once, where what a later task asks for again is kept until then."""
    wanted = Counter(job.key for job in jobs)
    kept: dict[str, Embeddings] = {}

    def get(job: Job) -> Embeddings:
        wanted[job.key] -= 1
        found = kept.pop(job.key) if job.key in kept else held(job)
        if wanted[job.key]:
            kept[job.key] = found
        return found

    return get


def _scored(
    run: _Run,
    held: Callable[[Job], Embeddings],
    settings: Settings,
    max_unreadable: int,
    phases: Mapping[str, float],
    encoded: int,
    out: str | Path | None,
) -> tuple[list[Record], list[IbenchError]]:
    """The records, written to ``out``, and why tasks have none: one that cannot be scored costs no other its score."""
    embedding_of = _by_text(run, held)
    held = _while_wanted(held, (job for _, jobs in run.cells for job in jobs))
    rate = encoded / phases["encode"] if encoded else None
    records: list[Record] = []
    refused: list[IbenchError] = []
    for cell, jobs in run.cells:
        started = time.monotonic()
        try:
            embeddings = _by_modality(jobs, held)
            _refuse_unreadable(cell, embeddings, max_unreadable)
            record, samples = record_of(cell, run.checkpoint.card, embeddings, embedding_of, settings)
        except IbenchError as error:
            refused.append(error)
            continue
        timings = {**phases, "score": time.monotonic() - started}
        record = record.model_copy(update={"timings": timings, "encoded_per_second": rate})
        if out is not None:
            results.save(record, samples, Path(out))
        records.append(record)
    return records, refused


def _by_modality(jobs: Sequence[Job], held: Callable[[Job], Embeddings]) -> dict[Modality, Embeddings]:
    """What the jobs of a task give; of several of one modality one after the other."""
    found: dict[Modality, Embeddings] = {}
    for job in jobs:
        modality, made = Modality(job.modality), held(job)
        found[modality] = found[modality].followed_by(made) if modality in found else made
    return found


def _diagnosed(
    run: _Run,
    cell: Cell,
    jobs: Sequence[Job],
    held: Callable[[Job], Embeddings],
    embedding_of: Mapping[str, Vectors],
    temperature: float,
) -> Diagnosis:
    embeddings = _by_modality(jobs, held)
    _refuse_unreadable(cell, embeddings, 0)
    card = run.checkpoint.card
    return diagnosis(cell, embeddings, embedding_of, card.name, emergent(cell.spec, card), temperature)


@contextmanager
def _cluster(
    engine: str, actors: int | None = None, shard_limit: float | None = None, share: Share = WHOLE
) -> Iterator[Cluster | None]:
    """The Ray cluster that encodes, joined; None for the engine in this process."""
    if engine not in ENGINES:
        raise IbenchError(f"no engine '{engine}'; {did_you_mean(engine, ENGINES)}")
    if engine == "local":
        if actors is not None or shard_limit is not None:
            raise IbenchError("--actors and --shard-limit are for --engine ray")
        yield None
        return
    if share != WHOLE:
        raise IbenchError("--engine ray gives out the shards by itself: run it without torchrun and without --shards")
    from ibench.engine.ray import SHARD_LIMIT, Cluster, connected

    with connected():
        yield Cluster(actors, SHARD_LIMIT if shard_limit is None else shard_limit)


def _settings(request: Request, batch_size: int | None, seed: int, cluster: Cluster | None = None) -> Settings:
    if batch_size is not None and batch_size < 1:
        raise IbenchError(f"batch size {batch_size}: at least 1, or auto")
    device = device_here(request.device) if cluster is None else device_on(cluster, request.device)
    return Settings(" ".join(device), _dtype(request.dtype), batch_size or {}, seed, request.compile)


def _dtype(asked: str) -> str:
    if asked not in DTYPES:
        raise IbenchError(f"no dtype '{asked}'; known: {', '.join(DTYPES)}")
    return asked


def _checkpoint(encoder: str | Path | Encoder, settings: Settings, cluster: Cluster | None) -> Checkpoint:
    if cluster is not None:
        if not isinstance(encoder, str | Path):
            raise IbenchError("a live encoder cannot go to Ray's processes; write a factory, file.py:make_encoder")
        # opened for its card and let go: this machine may have no GPU, and its copy of the model encodes nothing
        card = open_checkpoint(str(encoder), "cpu", settings.dtype).card
        return Checkpoint(card, partial(load_encoder, encoder, "cpu", settings.dtype))
    if isinstance(encoder, str | Path):
        return open_checkpoint(str(encoder), settings.device.split(" ")[0], settings.dtype, settings.compiled)
    if settings.compiled:
        raise IbenchError("compile=True is for a checkpoint; a live encoder is compiled where it is made")
    return Checkpoint(encoder.card, lambda: encoder)


def _bound(request: Request, checkpoint: Checkpoint, tell: Progress) -> list[Cell]:
    """The tasks with their data; one that cannot be had is an error, or a note where others go on without it."""
    cells = []
    kept: dict[tuple[str, Path | None], Dataset] = {}  # tasks that differ in prompts only have the same samples

    def read(spec: TaskSpec, root: Path | None) -> Dataset:
        copy = spec.reading, root
        if copy not in kept:
            kept[copy] = open_dataset(spec, root)
        return kept[copy]

    for task in request.tasks:
        try:
            spec = task if isinstance(task, TaskSpec) else load_task(task)
            _refuse_modality(spec, checkpoint)
            root = _root(task, request.data_root)
            for prompts in request.prompt_sets:
                cell = bind(spec, read(spec, root), request.protocol, prompts, request.limit, request.drawn)
                cell = cell if Modality.TEXT in checkpoint.card.modalities else cell.without_text()
                cells.append(_with_bridge(cell, checkpoint.card, root, read, tell) if request.bridge else cell)
        except IbenchError as error:
            if not request.skip_unavailable:
                raise
            tell.note(f"skipped: {error}")
    if not cells:
        raise IbenchError("no task left to run")
    return cells


def _with_bridge(
    cell: Cell, card: Card, root: Path | None, read: Callable[[TaskSpec, Path | None], Dataset], tell: Progress
) -> Cell:
    """A task of an emergent pair with its samples in the bridge modality; without them, and a note why, where there
    are none."""
    if not emergent(cell.spec, card):
        return cell
    try:
        return bridged(cell, card, root, read)
    except IbenchError as error:
        tell.note(f"{cell.spec.name}: no path from {cell.spec.query} to {cell.spec.target}: {error}")
        return cell


def _refuse_modality(spec: TaskSpec, checkpoint: Checkpoint) -> None:
    for modality in (*spec.sample_modalities, spec.target):
        if modality not in checkpoint.card.modalities:
            has = ", ".join(checkpoint.card.modalities)
            raise IbenchError(f"{spec.name} needs {modality}, which {checkpoint.card.name} has not (it has {has})")


def _root(task: str | Path | TaskSpec, data_root: str | Path | None) -> Path | None:
    """The data root: as given, else $IBENCH_DATA, else beside a task file of the user's own."""
    if data_root is not None:
        return Path(data_root)
    if (usual := usual_data_root()) is not None:
        return usual
    if isinstance(task, TaskSpec) or not str(task).endswith((".yaml", ".yml")):
        return None
    spec = load_task(task)
    beside = spec.folder.absolute()
    # a task of the user's own may also name a copy on the hub, and have nothing beside it
    local = spec.dataset.path != "." and (beside / spec.dataset.path).exists()
    return None if spec.dataset.hub and not local else beside


@contextmanager
def _store(request: Request) -> Iterator[EmbeddingStore]:
    """The store; a temporary one for a live encoder, whose code has no digest to keep its embeddings under."""
    if isinstance(request.encoder, str | Path):
        yield EmbeddingStore(request.store if request.store is not None else store_dir())
        return
    with tempfile.TemporaryDirectory(prefix="ibench-") as folder:
        yield EmbeddingStore(Path(folder))


def _workers(asked: int | None, plan: Sequence[Job]) -> int:
    if asked is not None:
        return asked
    samples = sum(len(job.items) for job in plan if not job.inline)
    return _cores() if samples >= _WORKERS_PAY_FROM else 0


def _cores() -> int:
    """Decode processes that leave a core to the encoder."""
    return min(8, max(1, (os.cpu_count() or 2) - 1))


def _by_text(run: _Run, held: Callable[[Job], Embeddings]) -> dict[str, Vectors]:
    texts = {text for cell, _ in run.cells for text in cell.all_texts()} if run.known else ()
    known = {text: run.known[digest] for text in texts if (digest := sha256_text(text)) in run.known}
    if run.texts is None:
        return known
    made = held(run.texts).vectors
    return known | {item.id: vector for item, vector in zip(run.texts.items, made, strict=True)}


def _refuse_unreadable(cell: Cell, embeddings: dict[Modality, Embeddings], allowed: int) -> None:
    reasons = [f"{id} ({reason})" for (_, id), reason in cell.unreadable(embeddings).items()]
    if len(reasons) > allowed:
        more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        raise IbenchError(
            f"{cell.spec.name}: {len(reasons)} of the samples cannot be read, --max-unreadable is {allowed}: "
            f"{'; '.join(reasons[:5])}{more}. The embeddings made so far are kept"
        )
