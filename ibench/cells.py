"""A task bound to its samples: what its kind is scored from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ibench.datasets import Dataset, Frame, frames_of, labels_of
from ibench.engine.store import Embeddings
from ibench.errors import IbenchError, did_you_mean
from ibench.modalities import Modality
from ibench.prompts import fill, load_prompts
from ibench.tasks import Kind, Protocol, TaskSpec


@dataclass(frozen=True)
class Cell:
    """A task bound to its samples, a protocol and the class names' texts.

    ``classes`` are the labels in order, ``names`` the distinct class names, ``names_of[c]`` the rows of ``names``
    that class c goes by, ``texts[i]`` the prompts of name i. All empty for retrieval. The ``frames`` of a localisation
    are those whose windows are its pictures, in this order.
    """

    spec: TaskSpec
    dataset: Dataset
    protocol_name: str
    protocol: Protocol
    prompts: str | None
    classes: tuple[str, ...]
    names_of: tuple[tuple[int, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    limited: int | None
    frames: Sequence[Frame] = ()

    def sample_modalities(self) -> list[Modality]:
        """The modalities whose samples are embedded by a job of this task's own (texts share one job)."""
        return [modality for modality in self.dataset.items if modality is not Modality.TEXT]

    def all_texts(self) -> list[str]:
        """Prompts and captions: every text this task needs embedded."""
        captions = [item.decode() for item in self.dataset.items.get(Modality.TEXT, ())]
        return [text for prompts in self.texts for text in prompts] + captions

    def unreadable(self, embeddings: Mapping[Modality, Embeddings]) -> dict[tuple[Modality, str], str]:
        """The samples that could not be read, by modality and id, and why; of a frame's windows the frame is told."""
        of_windows = self.spec.target if self.frames else None
        found = {}
        for modality, part in embeddings.items():
            for position, reason in part.unreadable.items():
                item = self.dataset.items[modality][position]
                found[modality, item.group if modality is of_windows else item.id] = reason
        return found

    def without_text(self) -> Cell:
        """The same without its prompts, for an encoder that has no text, where text is only a comparison."""
        if self.spec.kind is not Kind.LOCALISATION:
            return self
        return replace(self, prompts=None, classes=(), names_of=(), texts=())


def bind(spec: TaskSpec, dataset: Dataset, protocol: str | None, prompts: str | None, limit: int | None) -> Cell:
    """A task with its samples and texts. Raises IbenchError for labels in the data that the task does not list."""
    name, chosen = spec.protocol(protocol)
    _refuse_absent(spec, dataset)
    limited = limit if limit is not None and any(len(items) > limit for items in dataset.items.values()) else None
    if limited is not None:
        dataset = dataset.limited(limited)
    frames: Sequence[Frame] = ()
    if chosen.search is not None:
        if not any(item.boxes for item in dataset.items[spec.query]):
            raise IbenchError(
                f"{spec.name}: reader '{spec.dataset.reader}' says of no {spec.query} where its source is; use one "
                "that reads boxes, such as 'vggss'"
            )
        frames = frames_of(dataset.items[spec.target], chosen.search.windows, dataset.proposals)
        windows = [window for frame in frames for window in frame.windows]
        dataset = replace(dataset, items={**dataset.items, spec.target: windows}, _digests={})
    if spec.kind is Kind.RETRIEVAL or not (prompts or chosen.prompts):
        return Cell(spec, dataset, name, chosen, None, (), (), (), limited, frames)
    labels = _renamed(spec, name, chosen, labels_of(spec, dataset))
    if not labels:
        raise IbenchError(f"{spec.name}: its samples have no classes that prompts could name; leave 'prompts' out")
    names = list(dict.fromkeys(_written(one, chosen) for several in labels.values() for one in several))
    prompt_set = load_prompts(prompts) if prompts else load_prompts(str(chosen.prompts), spec.folder)
    templates = prompt_set.resolved()
    return Cell(
        spec,
        dataset,
        name if prompts is None else f"{name}+{prompt_set.name}",
        chosen,
        prompt_set.name,
        tuple(labels),
        tuple(tuple(names.index(_written(one, chosen)) for one in several) for several in labels.values()),
        tuple(tuple(fill(templates, one)) for one in names),
        limited,
        frames,
    )


def _refuse_absent(spec: TaskSpec, dataset: Dataset) -> None:
    for modality in spec.sample_modalities:
        if modality not in dataset.items:
            raise IbenchError(
                f"{spec.name}: reader '{spec.dataset.reader}' reads {', '.join(dataset.items)} for this task, "
                f"and no {modality}; use one that reads both, such as 'manifest'"
            )
        if not dataset.items[modality]:
            raise IbenchError(
                f"{spec.name}: this copy holds no sample to read (missing: {len(dataset.missing)}); "
                f"`ibench data check {spec.name}` says which"
            )


def _renamed(
    spec: TaskSpec, name: str, protocol: Protocol, labels: Mapping[str, tuple[str, ...]]
) -> Mapping[str, tuple[str, ...]]:
    """The labels with the names a protocol gives them. Raises IbenchError for a label that is none of them."""
    for label in protocol.names:
        if label not in labels:
            raise IbenchError(
                f"{spec.name}: protocol '{name}' names '{label}', which is no label of the task; "
                f"{did_you_mean(label, labels)}"
            )
    return {**labels, **protocol.names}


def _written(name: str, protocol: Protocol) -> str:
    return name.replace("_", " ") if protocol.underscores == "spaces" else name
