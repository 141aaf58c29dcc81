"""One page about a run: what was right and wrong, class by class and sample by sample, to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ibench.cells import Cell, bind
from ibench.datasets import open_dataset
from ibench.errors import IbenchError
from ibench.files import write_whole
from ibench.hashing import sha256_lines
from ibench.prompts import PromptSet, load_prompts, prompt_names
from ibench.report.classes import Bars, Curve, Matrix, curves, matrix, precisions, recalls
from ibench.report.curves import Drawing, drawings
from ibench.report.html import page
from ibench.report.looks import Looks, Samples, looks
from ibench.report.tables import count, number, pair, task_name
from ibench.results import Kept, Record, load, record_files
from ibench.tasks import MATCHING, Kind, TaskSpec, load_task, task_files

Roots = Callable[[TaskSpec], Path | None]
"""Where the data of a task is; None where nobody has said."""


@dataclass(frozen=True)
class Prompts:
    """A prompt set as far as it is known; ``examples`` are texts of the first classes."""

    name: str
    source: str
    templates: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """All that is shown of one record; ``without_samples`` says why none of them are, if so."""

    record: Record
    task: str
    pair: str
    count: str
    prompts: Prompts | None
    bars: Sequence[Bars]
    matrix: Matrix | None
    curves: Sequence[Curve]
    drawings: Sequence[Drawing]
    looks: Sequence[Looks]
    name: Callable[[str], str]
    without_samples: str

    @property
    def longest(self) -> int:
        """Letters of the longest name beside the matrix."""
        return max(len(self.name(label)) for label in self.matrix.labels) if self.matrix else 0


def write(run: Path, out: Path, roots: Roots, tasks: Sequence[TaskSpec], most: int) -> Path:
    """Write the page of a record file, or of a folder of them, and return its path.

    ``tasks`` are those that are not bundled; ``most`` samples are shown from the worst and from the best. Raises
    IbenchError where there is no record or its rows cannot be read, and for a place that cannot be written to.
    """
    own = {spec.name: spec for spec in tasks}
    text = run_page([_section(file, own, roots, most) for file in record_files(run)])
    write_whole(out, text)
    return out


def run_page(sections: Sequence[Section]) -> str:
    """The page; it holds its own pictures and asks for nothing."""
    names = list(dict.fromkeys(section.record.encoder.name for section in sections))
    return page(
        "run.html.j2",
        title=f"ibench report: {', '.join(names[:3])}",
        scripts=("common.js",),
        names=names,
        sections=sections,
        number=number,
    )


def _section(file: Path, own: Mapping[str, TaskSpec], roots: Roots, most: int) -> Section:
    record = load(file)
    rows = Kept(record, file.with_suffix(".parquet")).samples()
    spec = own.get(record.task) or (load_task(record.task) if record.task in task_files() else None)
    cell, why = _cell(record, spec, roots)
    samples = Samples(spec, cell, rows.attrs.get("classes", ()))
    return Section(
        record,
        task_name(record.task, record.protocol),
        pair(record),
        count(record),
        _prompts(record, spec, cell),
        _bars(record.kind, rows, samples, record.seed),
        matrix(rows, samples.classes) if record.kind is Kind.CLASSIFICATION else None,
        curves(rows) if record.kind in MATCHING else (),
        drawings(record.curves),
        looks(record, rows, samples, most),
        samples.name,
        why,
    )


def _bars(kind: Kind, rows: pd.DataFrame, samples: Samples, seed: int) -> list[Bars]:
    if kind is Kind.CLASSIFICATION or (kind is Kind.LOCALISATION and rows["gold"].any()):
        return recalls(rows, seed)
    return precisions(rows, samples.classes, seed) if kind is Kind.MULTILABEL and samples.classes else []


def _cell(record: Record, spec: TaskSpec | None, roots: Roots) -> tuple[Cell | None, str]:
    """The task bound to the very samples that were measured, or why they cannot be shown."""
    if spec is None:
        return None, f"no bundled task is called '{record.task}'; name its file with --task"
    root = roots(spec)
    if root is None and spec.dataset.hub is not None:
        return None, "a report downloads nothing; say with --data-root where a copy of the data is"
    protocol, prompts = record.protocol_and_prompts
    try:
        dataset = open_dataset(spec, root)
        own = prompts if prompts in prompt_names() else None
        cell = bind(spec, dataset, protocol, own, record.limited, record.drawn)
        fingerprint = cell.dataset.fingerprint()
    except IbenchError as error:
        return None, str(error)
    if fingerprint != record.dataset_fingerprint:
        return None, "the samples here are not those that were measured: their fingerprints differ"
    return cell, ""


def _prompts(record: Record, spec: TaskSpec | None, cell: Cell | None) -> Prompts | None:
    """The prompts of a run; with the data at hand it is sure whether they are still the same."""
    if record.prompts is None:
        return None
    found = _prompt_set(record, spec)
    if found is None:
        return Prompts(record.prompts, "a prompt set that is not bundled")
    if cell is None:
        return Prompts(found.name, found.source, found.resolved())
    texts = [text for prompts in cell.texts for text in prompts]
    if sha256_lines(texts) != record.texts_fingerprint:
        return Prompts(found.name, "its texts have changed since the run")
    return Prompts(found.name, found.source, found.resolved(), tuple(prompts[0] for prompts in cell.texts[:5]))


def _prompt_set(record: Record, spec: TaskSpec | None) -> PromptSet | None:
    """The set of the record's name: the one its protocol names, else a bundled one."""
    protocol = spec.protocols.get(record.protocol) if spec is not None else None
    if spec is not None and protocol is not None and protocol.prompts:
        return load_prompts(protocol.prompts, spec.folder)
    return load_prompts(str(record.prompts)) if record.prompts in prompt_names() else None
