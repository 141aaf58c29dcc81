"""An encoder from plain functions: a live model inside a training loop needs no class."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ibench.encoders.base import Card, OneView, Preprocess, Views, to_device, unit_rows
from ibench.errors import IbenchError
from ibench.modalities import Modality, RawSample


@dataclass(frozen=True)
class FunctionEncoder:
    """Satisfies the Encoder protocol by calling what it was given; see `from_functions`."""

    card: Card
    towers: Mapping[Modality, tuple[Callable[[RawSample], Tensor], Callable[[Tensor], Tensor]]]
    module: nn.Module | None
    device: torch.device

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        return OneView(self.towers[modality][0])

    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        with _evaluating(self.module):
            vectors = self.towers[modality][1](to_device(batch, self.device))
        if not isinstance(vectors, Tensor):
            raise IbenchError(f"{self.card.name}: its {modality} function gave {type(vectors).__name__}, not a tensor")
        return unit_rows(vectors)


def from_functions(
    name: str,
    towers: Mapping[str, tuple[Callable[[RawSample], Tensor], Callable[[Tensor], Tensor]]],
    *,
    trained_pairs: tuple[tuple[str, str], ...],
    module: nn.Module | None = None,
    device: str | torch.device = "cpu",
) -> FunctionEncoder:
    """An Encoder of live functions: ``towers`` maps a modality to (raw sample → tensor, batch [n, ...] → [n, dim]).

    Give the ``module`` the functions belong to: it is put in eval mode around every batch and back, and its weights'
    digest goes into the record. Nothing of it is kept in the store, which cannot see what the functions do.
    Raises IbenchError for a modality that does not exist.
    """
    known = {modality.value for modality in Modality}
    unknown = [one for one in [*towers, *(one for pair in trained_pairs for one in pair)] if one not in known]
    if unknown:
        raise IbenchError(f"no modality '{unknown[0]}'; known: {', '.join(sorted(known))}")
    card = Card(
        name=name,
        family="live",
        modalities=tuple(Modality(one) for one in towers),
        trained_pairs=tuple((Modality(a), Modality(b)) for a, b in trained_pairs),
        checkpoint_sha256=None if module is None else sha256_module(module),
    )
    return FunctionEncoder(card, {Modality(one): pair for one, pair in towers.items()}, module, torch.device(device))


def sha256_module(module: nn.Module) -> str:
    """SHA-256 over the names and bytes of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for key, tensor in sorted(module.state_dict().items()):
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _evaluating(module: nn.Module | None) -> Iterator[None]:
    """Eval mode for the duration, each submodule put back as it was."""
    training = [part for part in module.modules() if part.training] if module is not None else []
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
