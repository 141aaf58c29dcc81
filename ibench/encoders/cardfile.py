"""The YAML card a user may put beside a checkpoint: what the checkpoint itself cannot say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ibench.encoders.base import Card
from ibench.encoders.source import Source
from ibench.modalities import Modality
from ibench.yamlfile import read_yaml


class ImageTower(BaseModel):
    """A method that takes pixels [n, 3, size, size]; ``file`` is another archive beside the card's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "forward"
    file: str | None = None
    size: int = Field(gt=0)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Literal["crop", "squash"] = "crop"


class SoundTower(BaseModel):
    """A method that takes sound [n, samples] at ``rate`` Hz, ``seconds`` of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "forward"
    file: str | None = None
    rate: int = Field(gt=0)
    seconds: float = Field(gt=0)


class TextTower(BaseModel):
    """A method that takes token ids [n, context] of the tokenizer ``clip`` or of a folder beside the card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "forward"
    file: str | None = None
    tokenizer: str = "clip"
    context: int = Field(default=77, gt=2)


class ArchiveTowers(BaseModel):
    """What the methods of an archive take, by modality; see `ibench.encoders.archive`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: ImageTower | None = None
    thermal: ImageTower | None = None
    audio: SoundTower | None = None
    text: TextTower | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> ArchiveTowers:
        if not self.towers():
            raise ValueError("names no modality")
        return self

    def towers(self) -> dict[Modality, ImageTower | SoundTower | TextTower]:
        """The modalities that are there."""
        return {Modality(name): tower for name, tower in self if tower is not None}


class CardFile(BaseModel):
    """``<file>.card.yaml`` beside a checkpoint, or ``card.yaml`` in a folder; what it leaves out stays as it was.

    ``trained_pairs`` replaces the pairs the family gives, ``also_trained_pairs`` adds to them. ``archive`` describes
    a TorchScript or torch.export archive, and is looked at for nothing else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    licence: str | None = None
    trained_pairs: tuple[tuple[Modality, Modality], ...] | None = None
    also_trained_pairs: tuple[tuple[Modality, Modality], ...] = ()
    archive: ArchiveTowers | None = None


def card_path(source: Source) -> Path | None:
    """Where the card of a reference is, or None. It goes by the file in ``ARCHITECTURE@file`` and ``file.py:name``."""
    if source.path.is_dir():
        card = source.path / "card.yaml"
    else:
        named = (source.reference, source.reference.partition("@")[2], source.reference.rpartition(":")[0])
        file = next((Path(name) for name in named if name and Path(name).is_file()), None)
        if file is None:
            return None
        card = file.with_name(f"{file.name}.card.yaml")
    return card if card.is_file() else None


def with_card_file(card: Card, path: Path) -> Card:
    """The card a family made, with what the file says. Raises IbenchError for a file that does not fit `CardFile`."""
    said = read_yaml(path, CardFile)
    pairs = card.trained_pairs if said.trained_pairs is None else said.trained_pairs
    return Card.model_validate(
        {
            **card.model_dump(),
            "name": said.name or card.name,
            "licence": said.licence or card.licence,
            "trained_pairs": (*pairs, *said.also_trained_pairs),
        }
    )
