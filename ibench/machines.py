"""What a machine gives a run: its device; and of a cluster's nodes, that they are like the machine it began on."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ibench.cells import Cell
from ibench.encoders import Card, Encoder, open_checkpoint
from ibench.errors import IbenchError
from ibench.evaluation import Settings, versions_behind
from ibench.hashing import file_digests
from ibench.modalities import Modality

if TYPE_CHECKING:
    from ibench.engine.ray import Cluster


def device_here(asked: str) -> tuple[str, ...]:
    """The torch device, and for a GPU its model: embeddings of two models are not interchangeable."""
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
    try:
        device = torch.device(chosen)
    except RuntimeError as error:
        raise IbenchError(f"no device '{asked}'; use auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise IbenchError(f"device '{asked}': this torch finds no CUDA device; use --device cpu")
        return chosen, f"({torch.cuda.get_device_name(device)})"
    return (chosen,)


def device_on(cluster: Cluster, asked: str) -> tuple[str, ...]:
    """The same for the processes of a cluster, each of which has a GPU of its own where there are any."""
    chosen = ("cuda" if cluster.gpus() else "cpu") if asked == "auto" else asked
    if not chosen.startswith("cuda"):
        return device_here(chosen)
    if chosen != "cuda":
        raise IbenchError(f"--device {asked}: Ray gives each process a GPU; use --device cuda")
    if not cluster.gpus():
        raise IbenchError("--device cuda: the Ray cluster has no GPU; start a node that has one, or use --device cpu")
    return cluster.ask(partial(device_here, chosen), gpus=1)


@dataclass(frozen=True)
class NodeOpening:
    """Opens the encoder in a process of a cluster; picklable.

    Raises IbenchError where the node would not make what the keys in the store say: other files of the checkpoint,
    other libraries, another device; or where it does not see the data, whose samples would all be unreadable.
    """

    reference: str
    settings: Settings
    sha256: str | None
    digests: Mapping[Path, str]
    versions: Mapping[Modality, Mapping[str, str]]
    data: Sequence[Path]

    def __call__(self) -> Encoder:
        try:
            self._refuse_other_data()
            self._refuse_other_libraries()
            device = self.settings.device.split(" ")[0]
            if (found := " ".join(device_here(device))) != self.settings.device:
                raise IbenchError(f"its device is {found}, the run's {self.settings.device}; use nodes with the same")
            checkpoint = open_checkpoint(self.reference, device, self.settings.dtype, self.settings.compiled)
            self._refuse_other_checkpoint(checkpoint.card)
            return checkpoint.load()
        except IbenchError as error:
            raise IbenchError(f"node {platform.node()}: {error}") from error

    def _refuse_other_data(self) -> None:
        for file in self.data:
            if not file.exists():
                raise IbenchError(f"{file} is not there; data must lie at the same path on every node")

    def _refuse_other_libraries(self) -> None:
        for modality, versions in self.versions.items():
            for name, found in versions_behind(modality).items():
                if found != versions[name]:
                    raise IbenchError(f"{name} is {found} here, {versions[name]} where the run began; install the same")

    def _refuse_other_checkpoint(self, found: Card) -> None:
        # a factory's digest covers what has been imported so far, so the files that were read are looked at first
        there = [file for file in self.digests if file.is_file()]
        same = len(there) == len(self.digests) and file_digests(there) == list(self.digests.values())
        if not same and found.checkpoint_sha256 != self.sha256:
            raise IbenchError(f"{self.reference} is another checkpoint than where the run began; copy it to all nodes")


def node_opening(reference: str, settings: Settings, card: Card, cells: Sequence[Cell]) -> NodeOpening:
    """How the nodes open the checkpoint of a card for some tasks."""
    firsts = [items[0].content for cell in cells for items in cell.dataset.items.values()]
    return NodeOpening(
        reference,
        settings,
        card.checkpoint_sha256,
        dict(zip(card.files, file_digests(card.files), strict=True)),
        {modality: versions_behind(modality) for cell in cells for modality in (*cell.dataset.items, Modality.TEXT)},
        [content for content in firsts if isinstance(content, Path)],
    )
