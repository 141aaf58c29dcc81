"""A Python factory, ``file.py:make_encoder``: the way to bring an encoder of your own."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from pathlib import Path

from ibench.encoders.base import Encoder
from ibench.encoders.source import Family, Opening, Source
from ibench.errors import IbenchError

FAMILIES = (Family("factory", "what its card says", "file.py:function", "my_encoder.py:make_encoder"),)


def recognise(source: Source) -> Opening | None:
    """``file.py:function``; a Python file without a function is an error that says so."""
    file, _, function = source.reference.rpartition(":")
    if source.reference.endswith(".py"):
        raise IbenchError(
            f"{source.reference}: name the function that makes the encoder after a colon, file.py:function"
        )
    if not file.endswith(".py"):
        return None
    if not Path(file).is_file():
        raise IbenchError(f"factory '{file}' not found")
    return Opening(partial(load, Path(file), function, source.device, source.dtype), partial(sources, Path(file)))


def load(file: Path, function: str, device: str, dtype: str) -> Encoder:
    """Import ``file`` and call ``function(device=..., dtype=...)``, which returns an Encoder.

    The file is imported as a top-level module from its own folder, so that decode workers can import it as well.
    It is code, and it runs: unlike data and weights, a factory is to be trusted like any script.
    """
    folder = str(file.parent.absolute())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.import_module(file.stem)
    if Path(module.__file__ or "").absolute() != file.absolute():
        raise IbenchError(f"{file}: another module named '{file.stem}' is already loaded; give the file its own name")
    make = getattr(module, function, None)
    if not callable(make):
        raise IbenchError(f"{file}: has no function '{function}'; name it after the colon: {file}:make_encoder")
    encoder = make(device=device, dtype=dtype)
    if not all(hasattr(encoder, name) for name in ("card", "preprocess", "encode")):
        raise IbenchError(
            f"{file}:{function} returned {type(encoder).__name__}, which lacks card, preprocess or encode"
        )
    return encoder  # type: ignore[no-any-return]


def sources(file: Path) -> list[Path]:
    """The factory's file and the modules it imported from its own folder: their bytes are part of its identity."""
    folder = file.parent.absolute()
    named = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    modules = {Path(name) for name in named if name and Path(name).is_absolute()}
    own = {path for path in modules if folder in path.parents and not _installed(path)}
    return sorted({file.absolute(), *own})


def _installed(path: Path) -> bool:
    """Whether a module is of an environment that happens to lie inside the folder; versions stand for those."""
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts) or Path(sys.base_prefix) in path.parents
