"""The YAML card a user may put beside a checkpoint: what the checkpoint itself cannot say."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ibench.encoders.base import Card
from ibench.encoders.source import Source
from ibench.modalities import Modality
from ibench.yamlfile import read_yaml


class CardFile(BaseModel):
    """``<file>.card.yaml`` beside a checkpoint, or ``card.yaml`` in a folder; what it leaves out stays as it was.

    ``trained_pairs`` replaces the pairs the family gives, ``also_trained_pairs`` adds to them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    licence: str | None = None
    trained_pairs: tuple[tuple[Modality, Modality], ...] | None = None
    also_trained_pairs: tuple[tuple[Modality, Modality], ...] = ()


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
