"""JSON metadata, parsed into what a reader expects of it."""

from __future__ import annotations

from codecs import BOM_UTF8
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ibench.errors import IbenchError

Model = TypeVar("Model", bound=BaseModel)
MAX_BYTES = 4 * 2**30
"""Refuse larger files before they are parsed."""


def read_json(path: Path, model: type[Model]) -> Model:
    """A JSON file as a pydantic model; keys that the model does not name are left out.

    Raises IbenchError for a file that cannot be read, is larger than MAX_BYTES, or lacks what the model asks for.
    """
    try:
        refuse_huge(path)
        return model.model_validate_json(path.read_bytes().removeprefix(BOM_UTF8))
    except OSError as error:
        raise IbenchError(f"{path}: cannot be read ({error.strerror}); is the data set complete?") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise IbenchError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error


def refuse_huge(path: Path) -> None:
    """Raises IbenchError for a file of more than MAX_BYTES, OSError for one that is not there."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise IbenchError(f"{path}: {size:,} bytes, the limit is {MAX_BYTES:,}")
