"""Where ibench's own data and the user's cache lie."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_WAY_OUT = "make room there or name another folder with IBENCH_CACHE"
_PACKAGE = Path(__file__).parent
_CHECKOUT = {"tasks": "tasks", "published": "results/published", "digits_bind": "examples/digits_bind"}


def bundled(name: str) -> Path:
    """The folder ``tasks``, ``published`` or ``digits_bind``: in the wheel, or its place in a source checkout."""
    installed = _PACKAGE / "_bundled" / name
    return installed if installed.is_dir() else _PACKAGE.parent / _CHECKOUT[name]


def cache_dir() -> Path:
    """Where embeddings and memoised digests are kept: ``$IBENCH_CACHE``, else ``~/.cache/ibench``."""
    chosen = os.environ.get("IBENCH_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else base / "ibench"


def store_dir() -> Path:
    """Where embeddings are kept unless a run says otherwise."""
    return cache_dir() / "store"


def usual_data_root() -> Path | None:
    """Where the data sets lie unless a command says otherwise: ``$IBENCH_DATA``, if it is set."""
    return Path(os.environ["IBENCH_DATA"]) if os.environ.get("IBENCH_DATA") else None


def published_dir() -> Path:
    """Where the user's own published numbers lie: ``$IBENCH_PUBLISHED``, else ``results/published`` where one works."""
    return Path(os.environ.get("IBENCH_PUBLISHED") or "results/published")
