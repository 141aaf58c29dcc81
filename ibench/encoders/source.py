"""What ``--ckpt`` was given, looked at but not opened, and what a family makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ibench.encoders.base import Encoder
from ibench.encoders.weights import read_weights
from ibench.errors import IbenchError


@dataclass(frozen=True)
class Family:
    """A line of `ibench encoders`: what it is called, what it embeds, what it is known by, and an example."""

    name: str
    modalities: str
    recognised_by: str
    example: str


@dataclass(frozen=True)
class Opening:
    """How a family opens what it recognised. ``files()`` are those that make the encoder what it is; ``function`` is
    what of a factory's files makes it."""

    load: Callable[[], Encoder]
    files: Callable[[], Sequence[Path]]
    function: str = ""


@dataclass(frozen=True)
class Source:
    """The reference, and what is at it. ``device`` is torch's name of one, ``dtype`` fp32, bf16 or fp16.

    ``compiled`` asks for the models' blocks to be compiled; it is not a family's business.
    """

    reference: str
    device: str
    dtype: str
    compiled: bool = False

    @property
    def path(self) -> Path:
        return Path(self.reference)

    @cached_property
    def weights(self) -> Mapping[str, Tensor]:
        """The state dict of a weight file, on the CPU; empty when the reference is no file. Read once."""
        return read_weights(self.path) if self.path.is_file() else {}

    @cached_property
    def folder_files(self) -> tuple[Path, ...]:
        """All files of a folder, sorted; empty when the reference is none.

        Hidden ones are left out: what git and the hub's downloader note there differs between copies of one model.
        """
        if not self.path.is_dir():
            return ()
        found = (path for path in self.path.rglob("*") if path.is_file())
        return tuple(sorted(path for path in found if not _hidden(path.relative_to(self.path))))

    def config(self, name: str = "config.json") -> dict[str, Any] | None:
        """A JSON file of the folder, or None. Raises IbenchError when it is there and damaged."""
        file = self.path / name
        if not file.is_file():
            return None
        config = read_json(file)
        return config if isinstance(config, dict) else None


def read_json(file: Path) -> Any:
    """What a JSON file holds. Raises IbenchError when it is damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise IbenchError(f"{file}: not valid JSON ({error}); copy or download it again") from error


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
