"""The modality that binds an emergent pair: which one it is, and a task's samples in it.

An encoder that was trained on (a, m) and (m, b) and never on (a, b) has a bridge from a to b: m.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ibench.cells import Cell
from ibench.datasets import Dataset, Item, paired_modalities
from ibench.encoders import Card
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import PAIRING, Kind, TaskSpec

_FIRST = (Modality.IMAGE, Modality.VIDEO)


def bridged(cell: Cell, card: Card, root: Path | None, read: Callable[[TaskSpec, Path | None], Dataset]) -> Cell:
    """A task of an emergent pair, with its samples in the bridge modality beside its own.

    ``read`` is `open_dataset`. The samples are those of the task where the data has the same in both modalities
    (items of one group); of a classification else all that the data has in the bridge, as of digits that are spoken by
    some and written by others. Raises IbenchError, which says why, where there is no bridge.
    """
    spec = cell.spec
    if spec.kind not in PAIRING:
        raise IbenchError("only classification and retrieval have a path")
    binding = binding_modalities(card, spec.query, spec.target)
    if not binding:
        raise IbenchError(f"no modality was trained with {spec.query} and with {spec.target}")
    there = paired_modalities(spec, root)
    chosen = next((one for one in binding if one in there), None)
    if chosen is None:
        also = " or ".join(binding)
        raise IbenchError(f"reader '{spec.dataset.reader}' has no {also} of these samples")
    items = _same_samples(cell, read(_asked_of(spec, chosen), root).items.get(chosen, ()))
    if not items:
        raise IbenchError(f"this copy has no {chosen} of these samples")
    if unknown := {label for item in items for label in item.labels} - set(cell.classes or _labels(items)):
        raise IbenchError(f"its {chosen} has label '{min(unknown)}', which the task has not")
    return replace(cell, dataset=cell.dataset.beside(chosen, items), bridge=chosen)


def binding_modalities(card: Card, query: Modality, target: Modality) -> list[Modality]:
    """What was trained with both modalities of a pair, images and videos first."""
    others = [one for one in card.modalities if one not in (query, target, Modality.TEXT)]
    both = [one for one in others if not card.emergent(query, one) and not card.emergent(one, target)]
    return sorted(both, key=lambda one: _FIRST.index(one) if one in _FIRST else len(_FIRST))


def _asked_of(spec: TaskSpec, bridge: Modality) -> TaskSpec:
    """The task asked of another modality: from the bridge to its target, or from text to the bridge."""
    side = "target" if spec.query is Modality.TEXT else "query"
    return spec.model_copy(update={side: bridge})


def _same_samples(cell: Cell, found: Sequence[Item]) -> Sequence[Item]:
    groups = {item.group for item in cell.dataset.items[cell.spec.query]}
    same = [item for item in found if item.group in groups]
    return same if same or cell.spec.kind is Kind.RETRIEVAL else found[: cell.limited]


def _labels(items: Sequence[Item]) -> set[str]:
    return {label for item in items for label in item.labels}
