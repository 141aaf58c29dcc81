"""How a run goes: from a request to a plan of jobs, to embeddings in the store, to scores."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ibench import results
from ibench.bridge import bridged
from ibench.cells import Cell, bind
from ibench.datasets import Dataset, open_dataset
from ibench.diagnosis import Diagnosis, diagnosis
from ibench.encoders import Card, Checkpoint, Encoder, open_checkpoint
from ibench.encoders.base import DTYPES
from ibench.engine.encode import WHOLE, Means, Progress, batch_size_of, encode_missing
from ibench.engine.plan import Job, Share, unique
from ibench.engine.store import Embeddings, EmbeddingStore
from ibench.errors import IbenchError, LacksModality, did_you_mean
from ibench.evaluation import Settings, emergent, record_of, sample_jobs, text_job
from ibench.files import make_folder
from ibench.hashing import sha256_text
from ibench.machines import device_here, device_on, node_opening
from ibench.modalities import Modality
from ibench.prompts import PromptSet
from ibench.resources import store_dir, usual_data_root
from ibench.results import Record
from ibench.scoring.similarity import Vectors
from ibench.tasks import Kind, TaskSpec, load_task

if TYPE_CHECKING:
    from ibench.engine.ray import Cluster

ENGINES = ("local", "ray")
MAX_SWEEP = 1001

Prompts: TypeAlias = str | Sequence[str | PromptSet | None] | None
"""A prompt set, or several; None is the protocol's own."""

Make: TypeAlias = Callable[[Sequence[Job], Share], int]
"""Makes the shards of jobs that the store lacks and that fall to a share; returns how many samples were encoded."""

_WORKER_STARTS_IN = 6.0
"""Seconds of a core until a decode process has imported what it needs: decoding that is done sooner is done here."""
_DECODED_IN = {Modality.VIDEO: 0.1}
"""About how many seconds the decoding of a sample takes; of what is not named, `_ANY_DECODED_IN`."""
_ANY_DECODED_IN = 0.003


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


@dataclass(frozen=True)
class Run:
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


def prepared(
    request: Request, settings: Settings, store: EmbeddingStore, tell: Progress, cluster: Cluster | None = None
) -> Run:
    """The checkpoint opened for its card, the tasks bound to their data, and what has to be embedded for them.

    Raises IbenchError for what cannot be opened or bound, unless the request skips what is not there.
    """
    checkpoint = _checkpoint(request.encoder, settings, cluster)
    cells = _bound(request, checkpoint, tell)
    texts = text_job(cells, checkpoint.card, settings)
    known: dict[str, Vectors] = {}
    if texts is not None and not store.begun(texts):  # what was begun in this company is ended in it
        known = store.rows_of_others(texts)
        texts = text_job(cells, checkpoint.card, settings, known.keys()) if known else texts
    return Run(checkpoint, [(cell, sample_jobs(cell, checkpoint.card, settings)) for cell in cells], texts, known)


def refuse_sweep(run: Run, points: int | None) -> None:
    """Raises IbenchError for a number of weights that makes no sweep, and where no task has weights."""
    if points is None:
        return
    if not 2 <= points <= MAX_SWEEP:
        raise IbenchError(f"a sweep of {points:,} weights: from 2, both parts alone, to {MAX_SWEEP:,}, steps of 0.001")
    if all(cell.spec.kind is not Kind.COMPOSITION for cell, _ in run.cells):
        raise IbenchError("--sweep varies the weights of a composition, and none of these tasks is one")


def make_results_folder(run: Run, out: Path) -> None:
    """Make the folder of a run's records unless it is there.

    Raises IbenchError, now and not when all is encoded, where it cannot be made, and where records of this run would
    take the place of one another or of another encoder's.
    """
    _refuse_one_name(run)
    card = run.checkpoint.card
    results.refuse_namesake(card.name, card.checkpoint_sha256, card.function, out)
    make_folder(out)


def _refuse_one_name(run: Run) -> None:
    """Raises IbenchError for different tasks of one name, such as a file and its changed copy."""
    first: dict[tuple[str, str], Cell] = {}
    for cell, _ in run.cells:
        other = first.setdefault((cell.spec.name, cell.protocol_name), cell)
        if other.spec != cell.spec:
            raise IbenchError(
                f"two tasks are called '{cell.spec.name}' and would write one record; give each a 'name' of its own"
            )


def means_of(run: Run, settings: Settings, workers: int | None) -> Means:
    """What a run encodes with. Raises IbenchError for ``workers`` below 0.

    Where nobody says how many decode, they are as many as `cores` says if that pays. If not, one is forked, and so
    there at once: a decoder that crashes or hangs costs its sample, and not the run, however small that is.
    """
    if workers is not None and workers < 0:
        raise IbenchError(f"{workers} decode processes: at least 0, for none")
    size = settings.batch_size if isinstance(settings.batch_size, int) else None
    means = Means(size, pinned=settings.device.startswith("cuda"))
    if workers is not None:
        return replace(means, workers=workers)
    if _workers_pay(run.jobs):
        return replace(means, workers=cores())
    forks = sys.platform == "linux"  # macOS has libraries that a forked process may not use, and Windows forks none
    return replace(means, workers=int(forks), forked=forks)


def maker(
    run: Run,
    request: Request,
    settings: Settings,
    store: EmbeddingStore,
    means: Means,
    tell: Progress,
    cluster: Cluster | None,
) -> Make:
    """How shards of jobs are made: here or on the cluster, which is no use for vectors that are there already."""
    if cluster is None or run.checkpoint.card.by_id:
        return lambda jobs, share: encode_missing(jobs, store, run.open, means, tell, share)
    from ibench.engine.ray import encode_on

    opening = node_opening(str(request.encoder), settings, run.checkpoint.card, [cell for cell, _ in run.cells])
    gpus = int(settings.device.startswith("cuda"))
    return lambda jobs, share: encode_on(cluster, jobs, store, opening, means, gpus, tell)


def probed_sizes(run: Run, store: EmbeddingStore) -> dict[Modality, int]:
    """The batch size of each modality, where it was left to be probed."""
    sizes = {Modality(job.modality): batch_size_of(job, store) for job in run.jobs}
    return {modality: size for modality, size in sizes.items() if size is not None}


def held_in(store: EmbeddingStore, make: Make) -> Callable[[Job], Embeddings]:
    """The embeddings of a job that was made; what is found damaged while they are read is made again, once.

    What is returned raises IbenchError where the store has lost them again.
    """

    def held(job: Job) -> Embeddings:
        found = store.load(job)
        if found is None:
            make([job], WHOLE)
            found = store.load(job)
        if found is None:
            raise IbenchError(
                f"{job.title}: the store at {store.place} does not keep what is written; name another: --store"
            )
        return found

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


def scored(
    run: Run,
    held: Callable[[Job], Embeddings],
    settings: Settings,
    max_unreadable: int,
    phases: Mapping[str, float],
    encoded: int,
    out: str | Path | None,
) -> tuple[list[Record], list[IbenchError]]:
    """The records, written to ``out``, and why tasks have none: one that cannot be scored costs no other its score."""
    embedding_of = by_text(run, held)
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


def diagnosed(
    run: Run,
    cell: Cell,
    jobs: Sequence[Job],
    held: Callable[[Job], Embeddings],
    embedding_of: Mapping[str, Vectors],
    temperature: float,
) -> Diagnosis:
    """How the modalities of one task lie. Raises IbenchError for a sample that cannot be read."""
    embeddings = _by_modality(jobs, held)
    _refuse_unreadable(cell, embeddings, 0)
    card = run.checkpoint.card
    return diagnosis(cell, embeddings, embedding_of, card.name, emergent(cell.spec, card), temperature)


@contextmanager
def joined(
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


def settings_of(request: Request, batch_size: int | None, seed: int, cluster: Cluster | None = None) -> Settings:
    """The settings with the device that there is, here or on the cluster. Raises IbenchError for what is none."""
    if batch_size is not None and batch_size < 1:
        raise IbenchError(f"batch size {batch_size}: at least 1, or auto")
    device = device_here(request.device) if cluster is None else device_on(cluster, request.device)
    return Settings(" ".join(device), checked_dtype(request.dtype), batch_size or {}, seed, request.compile)


def checked_dtype(asked: str) -> str:
    """The dtype as it was asked for. Raises IbenchError for an unknown one."""
    if asked not in DTYPES:
        raise IbenchError(f"no dtype '{asked}'; known: {', '.join(DTYPES)}")
    return asked


def _checkpoint(encoder: str | Path | Encoder, settings: Settings, cluster: Cluster | None) -> Checkpoint:
    if cluster is not None:
        if not isinstance(encoder, str | Path):
            raise IbenchError("a live encoder cannot go to Ray's processes; write a factory, file.py:make_encoder")
        # opened for its card and let go: this machine may have no GPU, and its copy of the model encodes nothing
        card = open_checkpoint(str(encoder), "cpu", settings.dtype).card
        return Checkpoint(card, lambda: open_checkpoint(str(encoder), "cpu", settings.dtype).load())
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
            root = data_root_of(task, request.data_root)
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
            raise LacksModality(f"{spec.name} needs {modality}, which {checkpoint.card.name} has not (it has {has})")


def data_root_of(task: str | Path | TaskSpec, data_root: str | Path | None) -> Path | None:
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
def opened_store(request: Request) -> Iterator[EmbeddingStore]:
    """The store; a temporary one for a live encoder, whose code has no digest to keep its embeddings under."""
    if isinstance(request.encoder, str | Path):
        yield EmbeddingStore(request.store if request.store is not None else store_dir())
        return
    with tempfile.TemporaryDirectory(prefix="ibench-") as folder:
        yield EmbeddingStore(Path(folder))


def _workers_pay(plan: Sequence[Job]) -> bool:
    """Whether decoding takes longer here than decode processes take to start."""
    seconds = sum(
        len(job.items) * _DECODED_IN.get(Modality(job.modality), _ANY_DECODED_IN) for job in plan if not job.inline
    )
    return seconds >= _WORKER_STARTS_IN


def cores() -> int:
    """Decode processes that leave a core to the encoder."""
    return min(8, max(1, (os.cpu_count() or 2) - 1))


def by_text(run: Run, held: Callable[[Job], Embeddings]) -> dict[str, Vectors]:
    """The vector of each text of a run."""
    texts = {text for cell, _ in run.cells for text in cell.all_texts()} if run.known else ()
    known = {text: run.known[digest] for text in texts if (digest := sha256_text(text)) in run.known}
    if run.texts is None:
        return known
    made = held(run.texts).vectors
    return known | {item.id: vector for item, vector in zip(run.texts.items, made, strict=True)}


def _refuse_unreadable(cell: Cell, embeddings: dict[Modality, Embeddings], allowed: int) -> None:
    reason_of = {id: reason for (_, id), reason in cell.unreadable(embeddings).items()}  # as the record counts them
    reasons = [f"{id} ({reason})" for id, reason in reason_of.items()]
    if len(reasons) > allowed:
        more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        raise IbenchError(
            f"{cell.spec.name}: {len(reasons)} of the samples cannot be read, --max-unreadable is {allowed}: "
            f"{'; '.join(reasons[:5])}{more}. The embeddings made so far are kept"
        )
