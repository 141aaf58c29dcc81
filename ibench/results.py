"""Record: what a run leaves behind, and published numbers beside it."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pyarrow.lib import ArrowException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ibench.errors import IbenchError
from ibench.files import write_whole
from ibench.modalities import Modality
from ibench.resources import bundled, published_dir
from ibench.scoring.intervals import Curve, Metric
from ibench.tasks import Kind

_RANKED = frozenset({"id", "gold", "prediction", "score", "rank", "correct", "cluster"})
_FOUND = _RANKED | {"direction", "gallery"}
_COLUMNS = {
    Kind.CLASSIFICATION: _RANKED,
    Kind.MULTILABEL: frozenset({"id", "gold", "scores", "cluster"}),
    Kind.RETRIEVAL: _FOUND,
    Kind.COMPOSITION: _FOUND,
    Kind.FEWSHOT: _RANKED,
    Kind.LOCALISATION: (_RANKED - {"rank"}) | {"frame", "boxes", "scores", "ciou", "pointing"},
}
"""What the rows of a kind have at least; without one of these they are no rows of it."""
_HOLD = {
    "text": ("id", "prediction", "cluster", "direction", "frame"),
    "whole numbers": ("rank", "gallery"),
    "numbers": ("score", "ciou"),
    "true or false": ("correct", "pointing"),
    "lists of numbers": ("scores",),
}
"""What columns hold, in every row."""


def short(digest: str | None) -> str:
    """The beginning of an encoder's digest, as folders and tables have it."""
    return (digest or "unhashed")[:8]


class EncoderIdentity(BaseModel):
    """Which encoder was measured: its name for people, the digest of its content for programs; of a factory also which
    ``function`` made it, for all functions of a file have its digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: str
    checkpoint_sha256: str | None
    function: str = ""
    trained_pairs: tuple[tuple[Modality, Modality], ...]
    preprocessing: dict[Modality, str]
    dim: int
    licence: str

    @property
    def short_digest(self) -> str:
        """The beginning of the digest, which tells encoders of one name apart."""
        return short(self.checkpoint_sha256)


FIRST_LEG, SHARE = "first_leg_recall@1", "share_of_trained"


class Bridge(BaseModel):
    """The modality m through which an emergent pair (a, b) has a path, where the run was made with its samples.

    The record's metrics then have ``bridge_<headline>``: each sample of a answered by the sample of m nearest to it;
    ``trained_<headline>``: the samples of m asked themselves; `FIRST_LEG`: the share of a's samples whose nearest in m
    is of the same sample; and `SHARE`: (direct - chance) / (trained - its chance), absent where the trained pair is not
    above its chance. ``paired``: the data set has the same samples in both modalities, and the share is over pairs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: Modality
    paired: bool
    trained_chance: float
    first_leg_chance: float


class Record(BaseModel):
    """One encoder on one task by one protocol: never changed once written, and enough to tell whether two compare.

    ``fuse`` is the task's: the modalities that one side is made of, and their weights. ``limited`` is the --limit of
    the run, whose samples were ``drawn`` or are the first, ``fake`` marks generated data: neither is ever ranked.
    ``confusions`` are the most frequent (gold, prediction, count) of a classification. ``bridge`` says of what the
    metrics of a path are. ``timings`` are seconds by phase.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    schema_version: Literal[1] = 1
    encoder: EncoderIdentity
    task: str
    title: str
    task_version: int
    task_fingerprint: str
    kind: Kind
    protocol: str
    prompts: str | None
    texts_fingerprint: str | None
    query: Modality
    target: Modality
    fuse: dict[Modality, float] = Field(default_factory=dict)
    emergent: bool
    headline: str
    metrics: dict[str, Metric]
    curves: tuple[Curve, ...] = ()
    bridge: Bridge | None = None
    ties: str
    chance: float
    n: int
    n_expected: int | None
    n_missing: int
    n_unreadable: int
    unreadable: dict[str, str] = Field(default_factory=dict)
    limited: int | None
    drawn: bool = False
    fake: bool
    confusions: tuple[tuple[str, str, int], ...] = ()
    dataset_fingerprint: str
    dataset_copy: str
    dataset_licence: str
    views: dict[Modality, dict[str, object]]
    versions: dict[str, str]
    device: str
    dtype: str
    compiled: bool = False
    batch_size: int | dict[Modality, int]
    seed: int
    timings: dict[str, float]
    encoded_per_second: float | None
    created: str

    @model_validator(mode="after")
    def _has_its_headline(self) -> Record:
        if self.headline not in self.metrics:
            raise ValueError(f"the headline '{self.headline}' is not among its metrics")
        return self

    @property
    def score(self) -> Metric:
        """The headline metric."""
        return self.metrics[self.headline]

    @property
    def own_metrics(self) -> dict[str, Metric]:
        """The metrics without those of a path through a bridge."""
        through = (f"bridge_{self.headline}", f"trained_{self.headline}", FIRST_LEG, SHARE)
        return {name: metric for name, metric in self.metrics.items() if name not in through}

    @property
    def unranked(self) -> list[str]:
        """Why the record may not stand in a ranking: generated data, a part of the samples, a score that is none."""
        expected = max(self.n_expected or 0, self.n + self.n_unreadable + self.n_missing)
        partial = self.limited is None and self.n + self.n_unreadable < expected
        reasons = {
            "made of fake data": self.fake,
            f"limited to {self.limited} samples": self.limited is not None,
            f"partial: {self.n + self.n_unreadable:,} of {expected:,} samples": partial,
            f"{self.n_unreadable:,} samples unreadable": self.n_unreadable > 0,
            "its score is not a number": not math.isfinite(self.score.value),
        }
        return [reason for reason, holds in reasons.items() if holds]

    @property
    def ranked(self) -> bool:
        """Whether the record may stand in a ranking: real data, all samples that there are, all of them readable."""
        return not self.unranked

    @property
    def protocol_and_prompts(self) -> tuple[str, str | None]:
        """The task's protocol, and the prompt set that was asked for instead of its own, if one was."""
        protocol, _, prompts = self.protocol.partition("+")
        return protocol, prompts or None

    @property
    def arithmetic(self) -> str:
        """What other last bits come from than plain float32: the dtype and the compiler; empty for neither."""
        return " ".join([self.dtype] * (self.dtype != "fp32") + ["compiled"] * self.compiled)

    def stem(self) -> str:
        """The file name, without ending, of a record: task, protocol, and what makes it another measurement."""
        limit = f".{'drawn' if self.drawn else 'limit'}{self.limited}" if self.limited else ""
        arithmetic = "".join(f".{part}" for part in self.arithmetic.split())
        return slug(f"{self.task}.{self.protocol}") + limit + arithmetic

    def measured(self) -> dict[str, object]:
        """The record without when and how fast: what is equal when the same thing is measured again."""
        return self.model_dump(mode="json", exclude={"created", "timings", "encoded_per_second", "batch_size"})


def slug(name: str) -> str:
    """A name as a file name."""
    return re.sub(r"[^A-Za-z0-9._@+-]+", "-", name).strip("-.") or "unnamed"


def folder_of(record: Record, results: Path) -> Path:
    """Where an encoder's records lie: its name, and the beginning of its digest, for names repeat."""
    return _folder_named(record.encoder.name, record.encoder.short_digest, results)


def refuse_namesake(name: str, digest: str | None, function: str, results: Path) -> None:
    """Raises IbenchError where another function of the same factory, with the same name on its card, has records: those
    of this one would take their place."""
    if not function:
        return  # no factory made it: nothing of that name and digest is another encoder, and no record need be read
    folder = _folder_named(name, short(digest), results)
    others = {record.encoder.function for record in _readable(folder.glob("*.json"))} - {"", function}
    if others:
        raise IbenchError(
            f"{folder}: holds the records of '{min(others)}', and '{function}' of the same file is called '{name}' as "
            "well; give the cards different names, or name another folder: --out"
        )


def _folder_named(name: str, short_digest: str, results: Path) -> Path:
    return results / f"{slug(name)}-{short_digest}"


def _readable(paths: Iterable[Path]) -> Iterator[Record]:
    """The records among files; what is none, or of an older form, is written again."""
    for path in paths:
        with suppress(IbenchError):
            yield load(path)


def save(record: Record, samples: pd.DataFrame, results: Path) -> Path:
    """Write the record as JSON and its samples as parquet beside it; returns the JSON's path.

    Measured again with the same outcome, record and rows stay as they are; rows that are damaged are mended.
    """
    path = folder_of(record, results) / f"{record.stem()}.json"
    table, same = path.with_suffix(".parquet"), path.exists() and _same(path, record)
    if not (same and _has_rows(record, table)):
        write_whole(table, samples.to_parquet(index=False))
    if not same:
        write_whole(path, record.model_dump_json(indent=1) + "\n")
    return path


def load(path: Path) -> Record:
    """A record from its JSON file. Raises IbenchError for a file that is none."""
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IbenchError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValidationError, UnicodeDecodeError) as error:
        if "baseline_version" in str(error):
            raise IbenchError(f"{path}: a baseline, not a record; name the folder of the run it was made of") from error
        first = str(error).splitlines()
        raise IbenchError(f"{path}: not an ibench record ({' '.join(first[:3])})") from error


def load_all(place: Path) -> list[Record]:
    """The records in a folder and below, or of one file. Raises IbenchError when there is none."""
    return [load(path) for path in record_files(place)]


def record_files(place: Path) -> list[Path]:
    """The JSON files in a folder and below, or the one file. Raises IbenchError when there is none."""
    if place.is_file():
        return [place]
    paths = sorted(path for path in place.rglob("*.json") if not path.name.startswith("."))
    if not paths:
        raise IbenchError(f"{place}: no records; `ibench run` writes them (a JSON file per task)")
    return paths


def checkpoints(records: Iterable[Record]) -> list[str]:
    """The distinct checkpoints that records are of, each by name and the beginning of its digest."""
    found = {(record.encoder.name, record.encoder.checkpoint_sha256) for record in records}
    return sorted(f"{name} {(digest or '')[:8]}".strip() for name, digest in found)


def samples_of(path: Path) -> pd.DataFrame:
    """The per-sample rows beside a record."""
    return pd.read_parquet(path.with_suffix(".parquet"))


@dataclass(frozen=True)
class Kept:
    """A record, the file with the rows of its samples if there is one, and how the run was named."""

    record: Record
    rows: Path | None = None
    run: str = ""

    def samples(self) -> pd.DataFrame:
        """The per-sample rows. Raises IbenchError where they are not kept, cannot be read or are none of its kind."""
        if self.rows is None:
            raise IbenchError(f"{self.record.task} of {self.record.encoder.name}: no per-sample rows are kept")
        try:
            rows = pd.read_parquet(self.rows)
        except (OSError, ArrowException) as error:
            raise IbenchError(f"{self.rows}: cannot be read ({error}); run the task again") from error
        if lacking := sorted(_COLUMNS[self.record.kind] - set(rows.columns)):
            raise IbenchError(f"{self.rows}: lacks the columns {', '.join(lacking)}; run the task again")
        for what, columns in _HOLD.items():
            for column in _COLUMNS[self.record.kind].intersection(columns):
                if not _holds(rows[column], what):
                    raise IbenchError(
                        f"{self.rows}: column '{column}' does not hold {what} in every row; run the task again"
                    )
        return rows


def _holds(column: pd.Series[Any], what: str) -> bool:
    if what == "text":
        return pd.api.types.infer_dtype(column) in ("string", "empty") and not column.hasnans
    if what == "lists of numbers":
        return all(isinstance(row, np.ndarray) and row.dtype.kind in "fiu" for row in column)
    return column.dtype.kind in {"whole numbers": "iu", "numbers": "fiu", "true or false": "b"}[what]


@dataclass(frozen=True)
class Published:
    """A number from a paper or a model page, in percent."""

    task: str
    model: str
    protocol: str
    metric: str
    value: float
    source: str


def published() -> tuple[Published, ...]:
    """All rows that come with ibench (results/published/*.csv), then those of the user's `published_dir`, each once."""
    return tuple(dict.fromkeys([*_published_with_ibench(), *published_in(published_dir())]))


def published_in(folder: Path) -> list[Published]:
    """The rows of the CSV files in a folder; none where there is no folder.

    Raises IbenchError for a file that cannot be read, lacks a column or has a value that is no number.
    """
    return [row for path in sorted(folder.glob("*.csv")) for row in _rows_of(path)]


def references(records: Iterable[Record]) -> list[Published]:
    """The published numbers for the headline metrics of these records' tasks."""
    wanted = {(record.task, record.headline) for record in records}
    return [row for row in published() if (row.task, row.metric) in wanted]


@cache
def _published_with_ibench() -> list[Published]:
    return published_in(bundled("published"))


def _rows_of(path: Path) -> list[Published]:
    columns = [field.name for field in fields(Published)]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets begin a file with a mark
            table = csv.DictReader(file, strict=True)
            if table.fieldnames != columns:
                raise IbenchError(f"{path}:1: expected the columns {','.join(columns)}")
            return [_row_of(row, f"{path}:{table.line_num}") for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IbenchError(f"{path}: cannot be read ({error})") from error


def _row_of(row: Mapping[str, str | None], where: str) -> Published:
    if None in row or None in row.values():
        raise IbenchError(f"{where}: expected {len(fields(Published))} values")
    try:
        value = float(row["value"] or "")
        if not math.isfinite(value):
            raise ValueError
    except ValueError as error:
        raise IbenchError(f"{where}: value '{row['value']}' is no number") from error
    return Published(**{**row, "value": value})  # type: ignore[arg-type]


def _same(path: Path, record: Record) -> bool:
    return any(held.measured() == record.measured() for held in _readable([path]))


def _has_rows(record: Record, table: Path) -> bool:
    try:
        Kept(record, table).samples()
    except IbenchError:
        return False
    return True
