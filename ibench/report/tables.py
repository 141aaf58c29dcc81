"""What commands print, as tables for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from tabulate import tabulate

from ibench.modalities import pair_name
from ibench.results import Published, Record, references
from ibench.scoring.intervals import Metric
from ibench.scoring.paired import ALPHA
from ibench.tasks import MATCHING, points

if TYPE_CHECKING:  # tables of records need no torch
    from ibench.datacheck import DataReport
    from ibench.doctor import Finding
    from ibench.encoders.contract import Outcome
    from ibench.engine.estimate import PlannedJob
    from ibench.engine.store import Entry

EMERGENT = "◇"
LEGEND = f"{EMERGENT} emergent: this encoder never saw the two modalities together in training"


def run_table(records: Sequence[Record]) -> str:
    """The table of a run, for a terminal."""
    known = references(records)
    headers = ["task", "pair", "", "metric", "score [95%]", "chance", "n", "published"]
    rows = [
        [
            record.task,
            pair(record),
            EMERGENT if record.emergent else "",
            record.headline,
            with_interval(record.headline, record.score),
            number(record.headline, record.chance),
            count(record),
            _reference(record, known),
        ]
        for record in records
    ]
    if not any(row[-1] for row in rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    lines = [tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=_aligned(headers))]
    if any(record.emergent for record in records):
        lines += ["", LEGEND]
    return "\n".join(lines)


def contract_table(outcomes: Sequence[Outcome]) -> str:
    """What `ibench encoders check` found, a line for each modality."""
    headers = ["modality", "view", "dim", "norm error", "moved by batch", "prepared/s", "encoded/s", ""]
    rows = [
        [
            one.modality,
            "" if one.view is None else " × ".join(map(str, one.view)),
            "" if one.dim is None else one.dim,
            _measured(one.norm_error, ".0e"),
            _measured(one.batch_difference, ".0e"),
            _measured(one.prepared_per_second, ",.0f"),
            _measured(one.encoded_per_second, ",.0f"),
            f"{len(one.faults)} broken" if one.faults else "kept",
        ]
        for one in outcomes
    ]
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)


def data_table(report: DataReport) -> str:
    """What `ibench data check` found, on one screen."""
    from ibench.datasets.base import parts  # and with it the codecs, which other tables do without

    spec, dataset = report.spec, report.dataset
    about = [
        ["task", f"{spec.name}: {spec.title}" if spec.title else spec.name],
        ["copy", f"{dataset.copy}{' (fake data)' if dataset.fake else ''}" if dataset else "none that can be read"],
        ["licence", spec.dataset.licence],
        ["source", spec.dataset.source],
    ]
    if spec.dataset.hub is not None:
        about.append(["hub copy", f"{spec.dataset.hub.id} at {spec.dataset.hub.revision[:12]}"])
    lines = [tabulate(about, tablefmt="plain", disable_numparse=True)]
    if dataset is None:
        return lines[0]
    headers = ["modality", "found", "expected", "unreadable"]
    rows = [
        [
            f"{modality}{' for training' if part.start else ''}",
            len(items[part]),
            (not part.start and report.expected(modality)) or "",
            "not looked at"
            if report.unreadable is None
            else sum(item.id in report.unreadable.get(modality, ()) for item in items[part]),
        ]
        for modality, items in dataset.items.items()
        for part in parts(items)
    ]
    lines += ["", tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=("left", *["right"] * 3))]
    occurring = {label for item in dataset.items[spec.query] for label in item.labels}
    if spec.kind not in MATCHING and occurring:
        expected = f"; the publisher's copy has {spec.dataset.classes}" if spec.dataset.classes else ""
        lines.append(f"{len(occurring)} classes occur, of {len(spec.labels or dataset.labels or occurring)}{expected}")
    lines += _first_few("missing", dataset.missing)
    reasons = [f"{name} ({why})" for part in (report.unreadable or {}).values() for name, why in part.items()]
    return "\n".join(lines + _first_few("unreadable", reasons))


def doctor_table(findings: Sequence[Finding]) -> str:
    """What `ibench doctor` found, topic by topic."""
    topics = dict.fromkeys(one.topic for one in findings)
    rows = {topic: [[one.name, one.state, one.problem] for one in findings if one.topic == topic] for topic in topics}
    tables = [
        tabulate(rows[topic], [topic, "", ""], tablefmt="simple", disable_numparse=True, maxcolwidths=[None, 90, 60])
        for topic in topics
    ]
    return "\n\n".join(tables)


def plan_table(jobs: Sequence[PlannedJob]) -> str:
    """The jobs of a plan, what the store holds of them, and the time the rest may take."""
    headers = ["job", "modality", "samples", "in store", "to encode", "estimate"]
    rows = [
        [job.title, job.modality, job.samples, job.held, job.samples - job.held, duration(job.seconds)] for job in jobs
    ]
    known = [job.seconds for job in jobs if job.seconds is not None]
    samples, held = sum(job.samples for job in jobs), sum(job.held for job in jobs)
    total = duration(sum(known)) if len(known) == len(jobs) else "unknown"
    rows.append([f"{len(jobs)} jobs", "", samples, held, samples - held, total])
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=("left", "left", *["right"] * 4))


def store_table(entries: Sequence[Entry]) -> str:
    """What the embedding store holds, a line for each job."""
    headers = ["key", "encoder", "modality", "dtype", "shards", "size", "last used"]
    rows = [
        [
            entry.key[:12],
            entry.identity.get("encoder", ""),
            entry.identity.get("modality", ""),
            entry.identity.get("dtype", ""),
            entry.shards,
            size(entry.bytes),
            datetime.fromtimestamp(entry.used).isoformat(" ", timespec="minutes"),
        ]
        for entry in entries
    ]
    aligned = ("left", "left", "left", "left", "right", "right", "left")
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=aligned if rows else None)


def usage_table(entries: Sequence[Entry]) -> str:
    """How much the embeddings of each encoder take, the largest first."""
    bytes_of: Counter[str] = Counter()
    for entry in entries:
        bytes_of[str(entry.identity.get("encoder", ""))] += entry.bytes
    rows = [[name, size(taken)] for name, taken in bytes_of.most_common()]
    rows.append(["all", size(bytes_of.total())])
    return tabulate(rows, ["encoder", "size"], tablefmt="simple", disable_numparse=True, colalign=("left", "right"))


def size(count: int) -> str:
    """Bytes as people read them."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def duration(seconds: float | None) -> str:
    """Seconds as people read them; an estimate that nothing is known for says so."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def task_name(task: str, protocol: str) -> str:
    """A task as it is told apart from itself by another protocol; that of ibench's own goes without saying."""
    return task if protocol == "ibench" else f"{task} ({protocol})"


def pair(record: Record) -> str:
    return pair_name(record.query, record.target, record.fuse)


def number(metric: str, value: float) -> str:
    """A score as people read it: percent with one decimal, ranks as they are."""
    return f"{points(metric) * value:.1f}"


def with_interval(name: str, metric: Metric) -> str:
    interval = f"{number(name, metric.low)}, {number(name, metric.high)}" if metric.bounded else "no interval"
    return f"{number(name, metric.value)} [{interval}]"


def change(value: float, low: float, high: float, p: float, scale: int = 100) -> str:
    """A difference with its interval, times ``scale``, and a mark if it is significant."""
    mark = " *" if p <= ALPHA else ""
    return f"{scale * value:+.1f} [{scale * low:+.1f}, {scale * high:+.1f}]{mark}"


def p_value(value: float) -> str:
    """A p-value to two digits."""
    return "<0.0001" if value < 0.0001 else f"{value:.2g}"


def count(record: Record) -> str:
    """n, and what keeps it from being the whole data set."""
    notes = [
        f"of {record.n_expected}" if record.n_expected not in (None, record.n) else "",
        f"{record.n_missing} missing" if record.n_missing else "",
        f"{record.n_unreadable} unreadable" if record.n_unreadable else "",
        "limited" if record.limited is not None else "",
        "fake data" if record.fake else "",
    ]
    told = ", ".join(note for note in notes if note)
    return f"{record.n} ({told})" if told else str(record.n)


def _first_few(what: str, names: Sequence[str], most: int = 5) -> list[str]:
    """A line for each of the first names, and how many more there are."""
    more = [f"{what}: {len(names) - most} more"] if len(names) > most else []
    return [f"{what}: {name}" for name in names[:most]] + more


def _reference(record: Record, known: Sequence[Published]) -> str:
    """The published number of the same model, else the first of the task and protocol."""
    rows = [row for row in known if (row.task, row.protocol) == (record.task, record.protocol)]
    rows.sort(key=lambda row: row.model != record.encoder.name)
    return f"{rows[0].value:.1f} ({rows[0].model})" if rows else ""


def _aligned(headers: Sequence[str]) -> list[str]:
    numeric = {"chance", "n", "score [95%]"}
    words = {"task", "pair", "", "metric", "published"}
    return ["right" if header in numeric or header not in words else "left" for header in headers]


def _measured(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
