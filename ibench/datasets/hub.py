"""A Hugging Face data set: from the hub at a pinned revision, or a copy of one on disk. Runs no code from it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from ibench.datasets.base import Dataset, Item, file_decoder, label_separator, several, text_item
from ibench.errors import IbenchError, UnreadableSample, did_you_mean
from ibench.hashing import file_digests, memoised, sha256_json
from ibench.modalities import Modality, RawSample
from ibench.prompts import open_clip_list
from ibench.tasks import MATCHING, HubCopy, Kind, TaskSpec


@dataclass(frozen=True)
class _Source:
    """What opens the same table in every process: a local folder, or an id and revision of the hub."""

    place: str
    split: str
    revision: str | None = None
    config: str | None = None
    files: str | None = None


def read(spec: TaskSpec, folder: Path) -> Dataset:
    """A local copy: a folder of parquet files as the hub lays it out, or one that ``save_to_disk`` wrote."""
    source = _Source(str(folder.absolute()), spec.dataset.split or "test")
    return _items(spec, source, spec.dataset.columns, copy=f"local copy {folder.name}")


def read_pinned(spec: TaskSpec, hub: HubCopy) -> Dataset:
    """The hub's copy at its pinned revision, downloaded once and cached by `datasets`."""
    source = _Source(hub.id, hub.split, hub.revision, hub.config, hub.files)
    return _items(spec, source, hub.columns, copy=f"hub {hub.id}@{hub.revision[:12]}")


def _items(spec: TaskSpec, source: _Source, named: Mapping[str, str], copy: str) -> Dataset:
    columns = {"label": "label", "text": "caption", **named}
    table = _open(source)
    modalities = spec.sample_modalities
    wanted = [columns.get(modality, str(modality)) for modality in modalities]
    labelled = [] if spec.kind in MATCHING and not spec.pooled else [columns["label"]]
    # the copy that a published layout has on the hub may lack its clusters
    clustered = [spec.cluster] if spec.cluster and spec.dataset.reader == "hub" else []
    for column in [*wanted, *labelled, *named.values(), *clustered]:
        if column not in table.column_names:
            raise IbenchError(f"{copy}: no column '{column}'; {did_you_mean(column, table.column_names)}")
    label_names = _numbered(spec, table, columns["label"])
    keys = _column(table, columns.get("id")) or [f"row-{row:07d}" for row in range(len(table))]
    clusters = _column(table, spec.cluster) or [""] * len(table)
    folds = _column(table, columns.get("fold")) or [""] * len(table)
    labels = [
        _labels(spec, value, label_names, copy) for value in _column(table, columns["label"]) or [None] * len(table)
    ]
    items: dict[Modality, list[Item]] = {}
    for modality, column in zip(modalities, wanted, strict=True):
        if modality is Modality.TEXT:
            items[modality] = _captions(table, column, keys, clusters)
            continue
        digests = _digests(source, table, column)
        items[modality] = [
            Item(
                id=str(key),
                decode=partial(_decode, source, modality, column, row),
                content=digest,
                labels=label,
                group=str(key),
                cluster=str(cluster),
                fold=str(fold) if spec.kind is Kind.FEWSHOT else "",
            )
            for row, (key, digest, label, cluster, fold) in enumerate(
                zip(keys, digests, labels, clusters, folds, strict=True)
            )
        ]
    return Dataset(items, labels={name: (name,) for name in label_names} or None, copy=copy)


@cache
def _open(source: _Source) -> Any:
    """The table, memory-mapped, with sounds and images left as bytes; opened once in each process."""
    import datasets

    folder = Path(source.place)
    local = "are 'path' and 'split' of the task file right?"
    hub = "check the id, the split and the network, or give a local copy with --data-root"
    way_out = local if source.revision is None else hub
    try:
        if (folder / "state.json").is_file():
            table = datasets.load_from_disk(source.place)
        elif (folder / "dataset_dict.json").is_file():
            tables = datasets.load_from_disk(source.place)
            if source.split not in tables:
                raise IbenchError(f"{folder}: no split '{source.split}'; {did_you_mean(source.split, tables)}")
            table = tables[source.split]
        else:
            table = datasets.load_dataset(
                source.place,
                name=source.config,
                revision=source.revision,
                split=source.split,
                data_files={source.split: source.files} if source.files else None,
            )
    except (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise IbenchError(
            f"data set '{source.place}', split '{source.split}', cannot be opened ({_first_line(error)}); {way_out}"
        ) from error
    for name, feature in table.features.items():
        if isinstance(feature, datasets.Audio | datasets.Image):
            table = table.cast_column(name, type(feature)(decode=False))
    return table


def _decode(source: _Source, modality: Modality, column: str, row: int) -> RawSample:
    cell = _open(source)[row : row + 1][column][0]
    try:
        data = _bytes(cell, source)
    except OSError as error:
        raise UnreadableSample(f"row {row}: column '{column}': {error.strerror}") from error
    if not data:
        raise UnreadableSample(f"row {row}: column '{column}' holds no file")
    return file_decoder(modality, data, None, None)()


def _bytes(cell: Any, source: _Source) -> bytes:
    """The encoded file in a cell: a {bytes, path} struct, or bytes themselves. Raises OSError for a path that cannot
    be read, and IbenchError for one that leaves the data set."""
    if isinstance(cell, dict):
        data = cell.get("bytes")
        return data if data is not None else _own_file(source, cell["path"]).read_bytes() if cell.get("path") else b""
    return cell if isinstance(cell, bytes) else b""


def _own_file(source: _Source, path: str) -> Path:
    """A file that a cell names instead of holding it, as class folders are read: of the data set's own files."""
    import datasets
    import huggingface_hub

    unpacked = [datasets.config.EXTRACTED_DATASETS_PATH, huggingface_hub.constants.HF_HUB_CACHE]
    places = [*unpacked, *([source.place] if source.revision is None else [])]
    file = Path(source.place, path)
    if not any(file.resolve().is_relative_to(Path(place).resolve()) for place in places):
        raise IbenchError(f"data set '{source.place}': it names the file {path!r}, which is not of the data set")
    return file


def _digests(source: _Source, table: Any, column: str) -> list[str]:
    """One digest per cell, of its bytes. Remembered under the digests of the table's own files."""
    files = [Path(file["filename"]) for file in table.cache_files]

    def compute() -> str:
        cells = (row[column] for row in table.select_columns([column]))
        return json.dumps([hashlib.sha256(_bytes(cell, source)).hexdigest() for cell in cells])

    if not files:
        return list(json.loads(compute()))
    key = sha256_json({"cells of": file_digests(files), "column": column, "rows": len(table)})
    return list(json.loads(memoised(key, compute)))


def _column(table: Any, name: str | None) -> list[Any] | None:
    return list(table.select_columns([name])[:][name]) if name in table.column_names else None


def _numbered(spec: TaskSpec, table: Any, column: str) -> list[str]:
    """What the integers of a label column stand for: a ClassLabel's names, else the task's labels by position.

    Nothing when the task's labels are numbers: then they are the labels themselves.
    """
    names = getattr(table.features.get(column), "names", None)
    if names:
        return list(names)
    if spec.names_from_open_clip:
        return [str(position) for position in range(len(open_clip_list(spec.names_from_open_clip)))]
    labels = list(spec.labels or ())
    return [] if any(label.isdigit() for label in labels) else labels


def _labels(spec: TaskSpec, value: Any, numbered: Sequence[str], copy: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(several(value, label_separator(spec)))
    values = value if isinstance(value, list) else [value]
    for one in values:
        if numbered and isinstance(one, int) and not 0 <= one < len(numbered):
            raise IbenchError(f"{spec.name}: {copy} has label {one}; its {len(numbered)} classes are numbered from 0")
    return tuple(numbered[one] if numbered and isinstance(one, int) else str(one) for one in values)


def _captions(table: Any, column: str, keys: Sequence[Any], clusters: Sequence[Any]) -> list[Item]:
    cells = _column(table, column) or []
    return [
        text_item(f"{key}#{number}", str(text), group=str(key), cluster=str(cluster))
        for key, cluster, cell in zip(keys, clusters, cells, strict=True)
        for number, text in enumerate(cell if isinstance(cell, list) else [cell])
    ]


def _first_line(error: Exception) -> str:
    return next(iter(io.StringIO(str(error))), type(error).__name__).strip()
