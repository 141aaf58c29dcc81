"""Miniatures of the published layouts, one module per reader: seeded noise in the publisher's files and folders.

Each module has ``write(spec, place)``, which writes below ``place`` what its reader expects there.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ibench.datasets.base import FAKE_MARKER
from ibench.errors import IbenchError, did_you_mean
from ibench.tasks import TaskSpec

_NOTE = "Noise in the layout of {name} ({source}), written by `ibench data fake`. No record of it is a result.\n"


def write_fake(spec: TaskSpec, data_root: Path) -> Path:
    """Write a miniature of a task's data set under ``data_root``, marked as fake; returns its folder or file.

    Raises IbenchError for a reader without a miniature, and where something else than a miniature lies already:
    noise is never mixed with data.
    """
    reader = spec.dataset.reader
    modules = (path.stem for path in Path(__file__).parent.glob("*.py"))
    known = sorted(name for name in modules if name != "noise" and not name.startswith("_"))
    if reader not in known:
        raise IbenchError(f"{spec.name}: no miniature is known of reader '{reader}'; {did_you_mean(reader, known)}")
    place = data_root / spec.dataset.path
    folder = place.parent if place.suffix else place  # a manifest is a file
    marker = folder / FAKE_MARKER
    if folder.is_dir() and any(folder.iterdir()) and not marker.is_file():
        raise IbenchError(f"{folder} is not empty and holds no {FAKE_MARKER}; choose another --out, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(_NOTE.format(name=spec.name, source=spec.dataset.source), encoding="utf-8")
    import_module(f"ibench.datasets.fakes.{reader}").write(spec, place)
    return place
