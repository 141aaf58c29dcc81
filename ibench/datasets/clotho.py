"""Clotho's evaluation split as Zenodo record 4783391 unpacks: ``clotho_captions_evaluation.csv``, ``evaluation/*.wav``.

1,045 clips of 15 to 30 s, 44.1 kHz, five captions each. File names are Freesound's, with spaces, commas and quotes.
The captions are UTF-8; ``clotho_metadata_evaluation.csv``, which is not read here, is not.
"""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

from ibench.datasets._listed import captioned, read_table
from ibench.datasets.base import Dataset
from ibench.tasks import TaskSpec

MARKER = "clotho_captions_evaluation.csv"
_CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))
_FOLDERS = ("evaluation", "clotho_audio_evaluation/evaluation", "clotho_audio_evaluation")
"""Where the archive's files lie, unpacked beside the captions or into a folder named after it."""


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The clips and their captions, each caption a query. Raises IbenchError when the table is incomplete."""
    rows = read_table(root / MARKER, ("file_name", *_CAPTIONS), f"get it from {spec.dataset.source}")
    sounds = _sounds(root)
    return captioned(
        {
            row["file_name"]: (sounds.get(_composed(row["file_name"])), [row[caption] for caption in _CAPTIONS])
            for row in rows
        },
        copy="Clotho folder",
    )


def _sounds(root: Path) -> dict[str, Path]:
    """Name → file; the first folder that there is."""
    for folder in (root / name for name in _FOLDERS):
        if folder.is_dir():
            return {_composed(file.name): file for file in sorted(folder.iterdir()) if file.is_file()}
    return {}


def _composed(name: str) -> str:
    """A name with accents in one form: some file systems and archivers take letters and accents apart."""
    return normalize("NFC", name)
