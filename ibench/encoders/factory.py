"""A function that makes an encoder: ``file.py:make_encoder``, or one that an installed package offers by name.

A package offers it as an entry point of the group ``ibench.encoders``:

    [project.entry-points."ibench.encoders"]
    our-encoder = "our_package.encoders:make_encoder"
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from ibench.encoders.base import Card, Encoder
from ibench.encoders.source import Family, Opening, Source
from ibench.errors import IbenchError

GROUP = "ibench.encoders"

FAMILIES = (
    Family("factory", "what its card says", "file.py:function", "my_encoder.py:make_encoder"),
    Family("installed factory", "what its card says", f"an entry point of {GROUP}", "our-encoder"),
)


def recognise(source: Source) -> Opening | None:
    """``file.py:function``, or an entry point's name; a Python file without a function is an error that says so."""
    file, _, function = source.reference.rpartition(":")
    if source.reference.endswith(".py"):
        raise IbenchError(
            f"{source.reference}: name the function that makes the encoder after a colon, file.py:function"
        )
    if file.endswith(".py"):
        return _by_file(Path(file), function, source)
    # what lies on the disk goes before a name that some package has taken
    offered = {} if source.path.exists() else installed()
    return _by_name(offered[source.reference], source) if source.reference in offered else None


def installed() -> dict[str, EntryPoint]:
    """The factories that installed packages offer, by name. Nothing of them is imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def _by_file(file: Path, function: str, source: Source) -> Opening:
    if not file.is_file():
        raise IbenchError(f"factory '{file}' not found")
    return Opening(partial(load, file, function, source.device, source.dtype), partial(sources, file), function)


def _by_name(point: EntryPoint, source: Source) -> Opening:
    opened = partial(_load_point, point, source.device, source.dtype)
    return Opening(opened, partial(_package_files, point), point.value)


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
    return _made(make, f"{file}:{function}", device, dtype)


def _load_point(point: EntryPoint, device: str, dtype: str) -> Encoder:
    try:
        make = point.load()
    except (ImportError, AttributeError) as error:
        raise IbenchError(f"encoder '{point.name}': {point.value} cannot be imported ({error})") from error
    return _made(make, point.value, device, dtype)


def _made(make: Callable[..., Any], named: str, device: str, dtype: str) -> Encoder:
    encoder = make(device=device, dtype=dtype)
    if isinstance(encoder, type):
        raise IbenchError(f"{named} returned the class {encoder.__name__}, not an encoder made of it")
    if not all(hasattr(encoder, name) for name in ("card", "preprocess", "encode")):
        raise IbenchError(f"{named} returned {type(encoder).__name__}, which lacks card, preprocess or encode")
    if not isinstance(encoder.card, Card):
        raise IbenchError(f"{named}: its card is a {type(encoder.card).__name__}, not an ibench.Card")
    return encoder  # type: ignore[no-any-return]


def sources(file: Path) -> list[Path]:
    """The factory's file and what it imports from its own folder, and so on: their bytes are part of its identity.

    Found by reading the import statements, wherever they stand, so that every process finds the same. What is imported
    by a name made at run time is for the card's ``files``.
    """
    folder = file.parent.absolute()
    found: set[Path] = set()
    left = [file.absolute()]
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            left += [path for name in _imports(module, folder) for path in _modules(folder, name)]
    return sorted(found)


def _imports(module: Path, folder: Path) -> Iterator[tuple[str, ...]]:
    """What a file imports, in parts: of ``from a.b import c`` both a.b and a.b.c, which may be a module as well."""
    package = module.parent.relative_to(folder).parts
    for node in ast.walk(_parsed(module)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = (*above, *(node.module.split(".") if node.module else ()))
            yield base
            yield from ((*base, alias.name) for alias in node.names)


def _parsed(module: Path) -> ast.AST:
    """A file that is no Python imports nothing; where it is imported all the same, that fails by itself."""
    try:
        return ast.parse(module.read_bytes(), module)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _modules(folder: Path, name: tuple[str, ...]) -> Iterator[Path]:
    """The files in the folder that importing a dotted name runs: those of its packages, and its own."""
    for length in range(1, len(name) + 1):
        stem = folder.joinpath(*name[:length])
        yield from (path for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")) if path.is_file())


def _package_files(point: EntryPoint) -> list[Path]:
    """The modules that were imported from an entry point's own package."""
    package = point.module.partition(".")[0]
    own = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == package}
    files = {getattr(module, "__file__", None) for module in own.values()}
    return sorted(Path(file).absolute() for file in files if file)
