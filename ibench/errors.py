"""The errors ibench raises on purpose. Each message says what is wrong, where, and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class IbenchError(Exception):
    """Wrong usage or bad input: the command line prints it as one line and ends with exit code 2."""


class UnreadableSample(IbenchError):
    """One sample whose bytes cannot be decoded; the run records it with this reason and goes on."""


class NotFinite(IbenchError):
    """An encoder that gave NaN or infinity: a fault of the checkpoint, where others are of how it was asked."""


class LacksModality(IbenchError):
    """An encoder without a modality that a task needs: a fault of the checkpoint as well."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint ending a "no such name" message: the nearest known names, or all of a short list."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if len(names) <= 12:
        return f"known: {', '.join(names)}" if names else "none are known"
    return f"{len(names)} are known, e.g. {', '.join(names[:5])}"
