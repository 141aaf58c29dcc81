"""What every encoder is to the rest of ibench: a card, `preprocess` and `encode`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from ibench.modalities import Modality, RawSample

Preprocess: TypeAlias = Callable[[RawSample], Tensor]
"""A picklable function: raw sample → tensor [views, ...]. It runs in decode workers, on the CPU.

What is faster on the device, over a whole batch, is left to `Encoder.encode`; images best travel as bytes
(`ibench.encoders.pixels`).
"""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What ``--dtype`` may be; towers run in it, embeddings always come out in float32."""

Views: TypeAlias = Mapping[str, Any]
"""How a protocol wants samples of one modality cut into views, e.g. ``{"clips": 3}``; empty: the family's own rule."""


@dataclass(frozen=True)
class OneView:
    """A function of one view, raw sample → tensor [...], as a front end: → tensor [1, ...]. A class, so it pickles."""

    function: Callable[[RawSample], Tensor]

    def __call__(self, raw: RawSample) -> Tensor:
        return self.function(raw)[None]


class Card(BaseModel):
    """What an encoder says of itself. Everything that can move an embedding is in it, for it keys the store.

    ``trained_pairs`` are the modality pairs the encoder saw together in training; every other pair is emergent.
    ``preprocessing`` describes each modality's front end in words precise enough to tell two apart.
    ``checkpoint_sha256`` is the content of the weights; ``None`` for a live module that was not hashed,
    whose embeddings are then never kept. ``files`` are what else the encoder was made of (weights a factory loads).
    ``function`` is the one of a factory's that made it: two of one file make two encoders.
    ``by_id`` marks an encoder that makes no vectors from samples but has them by the samples' ids: nothing is decoded,
    and it is asked through ``vectors_by_id(modality, ids)``, float32 [n, dim], instead of `Encoder`'s two functions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: str
    modalities: tuple[Modality, ...]
    dim: int | None = None
    trained_pairs: tuple[tuple[Modality, Modality], ...] = ()
    preprocessing: dict[Modality, str] = Field(default_factory=dict)
    checkpoint_sha256: str | None = None
    files: tuple[Path, ...] = ()
    function: str = ""
    licence: str = "unknown"
    by_id: bool = False

    @field_validator("trained_pairs")
    @classmethod
    def _unordered(cls, pairs: tuple[tuple[Modality, Modality], ...]) -> tuple[tuple[Modality, Modality], ...]:
        return tuple(sorted({(min(pair), max(pair)) for pair in pairs}))

    def emergent(self, query: Modality, target: Modality) -> bool:
        """Whether the pair was never trained together: computed from ``trained_pairs``, not declared."""
        return (min(query, target), max(query, target)) not in self.trained_pairs


class Encoder(Protocol):
    """A checkpoint that is open: made by a module of this package, a Python factory, or `from_functions`."""

    @property
    def card(self) -> Card: ...

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        """The front end of a modality as a picklable function, raw sample → tensor [views, ...]."""
        ...

    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Embeddings of a batch [n, ...] of views as `preprocess` makes them: float32 [n, dim], L2-normalised.

        On any device; what is left of the front end is done here.
        """
        ...


def unit_rows(vectors: Tensor) -> Tensor:
    """Rows of unit length in float32, whatever dtype the towers ran in."""
    return torch.nn.functional.normalize(vectors.float(), dim=-1)


def to_device(batch: Tensor, device: torch.device) -> Tensor:
    """``batch`` on ``device``. On CUDA the host goes on meanwhile, if the batch lies in pinned memory.

    Nowhere else: on MPS such a copy may read its source after that is gone (pytorch/pytorch issue 189690).
    """
    return batch.to(device, non_blocking=device.type == "cuda")
