"""A folder of embeddings: evaluated as an encoder is, without any model.

One file for each modality, named after it, and a ``card.yaml`` (see `ibench.encoders.cardfile`) that names the folder
and the pairs its encoder was trained on::

    card.yaml
    audio.npy           float [n, dim], with audio.ids.txt: one id a line, in the order of the rows
    image.safetensors   one tensor [n, dim], with image.ids.txt
    text.parquet        columns id and embedding (a list of floats)

Ids are those of the data set's samples, as the record's parquet has them; the id of a text is the text itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from ibench.encoders.base import Card, Preprocess, Views, unit_rows
from ibench.encoders.cardfile import CardFile
from ibench.encoders.source import Family, Opening, Source
from ibench.errors import IbenchError
from ibench.hashing import file_digests, sha256_lines
from ibench.modalities import Modality
from ibench.yamlfile import read_yaml

FAMILIES = (
    Family("embeddings", "what is in the folder", "audio.npy, text.parquet, ... and card.yaml", "path/to/folder"),
)

_SUFFIXES = (".npy", ".safetensors", ".parquet")


@dataclass(frozen=True)
class Table:
    """Vectors of one modality, [n, dim], and the row of each id."""

    vectors: NDArray[np.floating]
    row_of: Mapping[str, int]


@dataclass(frozen=True)
class StoredEmbeddings:
    """Vectors by id; an Encoder in all but `preprocess` and `encode`, which need a model."""

    card: Card
    tables: Mapping[Modality, Table]

    def vectors_by_id(self, modality: Modality, ids: Sequence[str]) -> Tensor:
        """The vectors of ``ids``: float32 [n, dim], unit rows.

        Raises IbenchError naming the first ids that are not in the folder, and how many are not.
        """
        table = self.tables[modality]
        missing = [one for one in dict.fromkeys(ids) if one not in table.row_of]
        if missing:
            first = ", ".join(repr(one) for one in missing[:3])
            raise IbenchError(
                f"{self.card.name}: {len(missing)} of {len(ids)} {modality} ids have no embedding in the folder, "
                f"first {first}"
            )
        rows = table.vectors[[table.row_of[one] for one in ids]]
        return unit_rows(torch.from_numpy(np.asarray(rows, dtype=np.float32)))

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        raise IbenchError(self._no_model())

    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        raise IbenchError(self._no_model())

    def _no_model(self) -> str:
        return f"{self.card.name} is a folder of embeddings: it has vectors of known ids, and no model for others"


def recognise(source: Source) -> Opening | None:
    """A folder with a file named after a modality. Without trained pairs it is an error that says what to write."""
    files = embedding_files(source.path)
    if not files:
        return None
    card = source.path / "card.yaml"
    if not card.is_file() or read_yaml(card, CardFile).trained_pairs is None:
        raise IbenchError(
            f"{source.path}: embeddings cannot say what made them; write name and trained_pairs, such as "
            f"[[audio, text]], in {card}"
        )
    return Opening(
        partial(load, source.path, files), lambda: [part for file in files.values() for part in _parts(file)]
    )


def embedding_files(folder: Path) -> dict[Modality, Path]:
    """The file of each modality. Raises IbenchError for a modality that has two."""
    found: dict[Modality, Path] = {}
    for modality in Modality:
        files = [folder / f"{modality}{suffix}" for suffix in _SUFFIXES]
        files = [file for file in files if file.is_file()]
        if len(files) > 1:
            raise IbenchError(f"{folder}: {' and '.join(file.name for file in files)} both hold {modality}; keep one")
        if files:
            found[modality] = files[0]
    return found


def load(folder: Path, files: Mapping[Modality, Path]) -> StoredEmbeddings:
    """Open the folder. Raises IbenchError for a file that is damaged, or whose ids do not fit its rows."""
    tables = {modality: read_table(file) for modality, file in files.items()}
    dims = {modality: table.vectors.shape[1] for modality, table in tables.items()}
    if len(set(dims.values())) > 1:
        told = ", ".join(f"{modality} {dim}" for modality, dim in dims.items())
        raise IbenchError(f"{folder}: the modalities are not of one space, their dimensions differ ({told})")
    card = Card(
        name=folder.name,
        family="embeddings",
        modalities=tuple(tables),
        dim=next(iter(dims.values())),
        # the digest of all files does not tell whose they are; this does, should two modalities change places
        preprocessing={
            modality: f"brought ready-made, sha256 {sha256_lines(file_digests(_parts(file)))}"
            for modality, file in files.items()
        },
        by_id=True,
    )
    return StoredEmbeddings(card, tables)


def read_table(file: Path) -> Table:
    """The vectors and ids of one file, checked: as many as ids, finite, none of length 0, no id twice."""
    vectors, ids = _read_parquet(file) if file.suffix == ".parquet" else (_read_rows(file), _read_ids(file))
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating) or not vectors.size:
        raise IbenchError(f"{file}: {vectors.dtype} of shape {vectors.shape}; expected floats [n, dim]")
    if len(ids) != len(vectors):
        raise IbenchError(f"{file}: {len(vectors)} rows, but {len(ids)} ids in {_ids_file(file).name}")
    row_of = {one: row for row, one in enumerate(ids)}
    if len(row_of) < len(ids):
        twice = next(one for row, one in enumerate(ids) if row_of[one] != row)
        raise IbenchError(f"{file}: id {twice!r} is there more than once")
    lengths = np.linalg.norm(vectors, axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(bad):
        raise IbenchError(f"{file}: {len(bad)} rows are zero or not finite, first that of {ids[bad[0]]!r}")
    return Table(vectors, row_of)


def _read_rows(file: Path) -> NDArray[np.floating]:
    if file.suffix == ".npy":
        try:
            rows: NDArray[np.floating] = np.load(file, mmap_mode="r", allow_pickle=False)
            return rows
        except (OSError, ValueError, EOFError) as error:
            raise IbenchError(f"{file}: not a whole .npy file of numbers ({error})") from error
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise IbenchError(f"{file}: not a whole safetensors file ({error})") from error
    if len(tensors) != 1:
        raise IbenchError(f"{file}: {len(tensors)} tensors; expected one, [n, dim]")
    return next(iter(tensors.values()))


def _read_ids(file: Path) -> list[str]:
    try:
        return _ids_file(file).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise IbenchError(f"{file}: needs its ids, one a line, in {_ids_file(file).name} ({error})") from error


def _read_parquet(file: Path) -> tuple[NDArray[np.floating], list[str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file, columns=["id", "embedding"])
        vectors = np.stack(table.column("embedding").to_numpy())
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise IbenchError(f"{file}: expected columns id and embedding, lists of one length ({error})") from error
    return vectors, [str(one) for one in table.column("id").to_pylist()]


def _parts(file: Path) -> list[Path]:
    """The file and, where it has one, its file of ids."""
    return [part for part in (file, _ids_file(file)) if part.is_file()]


def _ids_file(file: Path) -> Path:
    return file.with_suffix(".ids.txt")
