"""A task bound to its samples: what its kind is scored from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ibench.datasets import Dataset, Frame, Item, frames_of, labels_of
from ibench.datasets.base import tested_folds
from ibench.engine.store import Embeddings
from ibench.errors import IbenchError, did_you_mean
from ibench.modalities import Modality
from ibench.prompts import PromptSet, fill, load_prompts
from ibench.scoring.composition import Labels, Query, draw
from ibench.tasks import MATCHING, Kind, Protocol, Relevant, Search, TaskSpec


@dataclass(frozen=True)
class Cell:
    """A task bound to its samples, a protocol and the class names' texts.

    ``classes`` are the labels in order, ``names`` the distinct class names, ``names_of[c]`` the rows of ``names``
    that class c goes by, ``texts[i]`` the prompts of name i. All empty where samples are searched, not classes.
    ``queries`` are what a composition draws from a labelled pool. The ``frames`` of a localisation are those whose
    windows are its pictures, in this order. ``bridge`` is a modality that the data set's items have beyond those of the
    task, for the path through it (`ibench.bridge`).
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
    drawn: bool
    bridge: Modality | None = None
    queries: tuple[Query, ...] = ()
    frames: Sequence[Frame] = ()

    def sample_modalities(self) -> list[Modality]:
        """The modalities whose samples are embedded by a job of this task's own (texts share one job)."""
        return [modality for modality in self.dataset.items if modality is not Modality.TEXT]

    @property
    def own_dataset(self) -> Dataset:
        """The task's samples without those of the bridge."""
        return self.dataset if self.bridge is None else self.dataset.without(self.bridge)

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
        """The same without its prompts, for an encoder that has no text, where text is only a comparison.

        Raises IbenchError where the comparison is the headline.
        """
        if self.spec.kind is not Kind.LOCALISATION:
            return self
        _refuse_headline_of_text(self.spec)
        return replace(self, prompts=None, classes=(), names_of=(), texts=())


def bind(
    spec: TaskSpec,
    dataset: Dataset,
    protocol: str | None,
    prompts: str | PromptSet | None,
    limit: int | None,
    drawn: bool = False,
) -> Cell:
    """A task with its samples and texts. Raises IbenchError for labels in the data that the task does not list, for
    a labelled pool that gives no composed query, for a class with fewer samples to train on than shots, and for a
    multilabel task of which no sample has a label."""
    name, chosen = spec.protocol(protocol)
    _refuse_absent(spec, dataset)
    limited = limit if limit is not None and dataset.exceeds(limit) else None
    drawn = drawn and limited is not None
    if limited is not None:
        dataset = dataset.limited(limited, drawn, matched=not spec.pooled)
    frames = _frames(spec, dataset, chosen.search) if chosen.search is not None else ()
    if frames:
        windows = [window for frame in frames for window in frame.windows]
        dataset = replace(dataset, items={**dataset.items, spec.target: windows}, _digests={})
    if spec.kind in MATCHING or not (prompts or chosen.prompts):
        _refuse_headline_of_text(spec)
        queries = _composed(spec, dataset, limited) if spec.pooled else ()
        return Cell(spec, dataset, name, chosen, None, (), (), (), limited, drawn, queries=queries, frames=frames)
    labels = _renamed(spec, name, chosen, labels_of(spec, dataset))
    if not labels:
        raise IbenchError(f"{spec.name}: its samples have no classes that prompts could name; leave 'prompts' out")
    if spec.kind is Kind.FEWSHOT:
        refuse_too_few(spec, tuple(labels), dataset.items[spec.query], limited)
    if spec.kind is Kind.MULTILABEL:
        refuse_unlabelled(spec, dataset.items[spec.query], limited)
    names = list(dict.fromkeys(_written(one, chosen) for several in labels.values() for one in several))
    prompt_set = _prompt_set(prompts) if prompts else load_prompts(str(chosen.prompts), spec.folder)
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
        drawn,
        frames=frames,
    )


def _frames(spec: TaskSpec, dataset: Dataset, search: Search) -> Sequence[Frame]:
    """The frames of a localisation with their windows. Raises IbenchError where no sound says where its source is."""
    if not any(item.boxes for item in dataset.items[spec.query]):
        raise IbenchError(
            f"{spec.name}: reader '{spec.dataset.reader}' says of no {spec.query} where its source is; use one "
            "that reads boxes, such as 'vggss'"
        )
    return frames_of(dataset.items[spec.target], search.windows, dataset.proposals)


def _refuse_headline_of_text(spec: TaskSpec) -> None:
    """Raises IbenchError for a localisation that is told by what only text can give, and has none."""
    if spec.headline.startswith("text_"):
        raise IbenchError(f"{spec.name}: without class names or text there is no {spec.headline}; set other 'metrics'")


def _prompt_set(prompts: str | PromptSet) -> PromptSet:
    return load_prompts(prompts) if isinstance(prompts, str) else prompts


def refuse_too_few(spec: TaskSpec, classes: Sequence[str], items: Sequence[Item], limited: int | None) -> None:
    """Raises IbenchError where the shots cannot be drawn from these samples, or there is nothing to tell apart."""
    if len(classes) < 2:
        raise IbenchError(f"{spec.name}: a classifier needs two classes to tell apart, there is one")
    most = max(spec.shots)
    for fold in tested_folds(items):
        counts = Counter(item.labels[0] for item in items if item.fold != fold)
        scarce = min(classes, key=lambda label: counts[label])
        if counts[scarce] < most:
            told = f" beside fold {fold}" if fold else ""
            told += " in a run with --limit" if limited is not None else ""
            raise IbenchError(
                f"{spec.name}: class '{scarce}' has {counts[scarce]} samples to train on{told}, of which {most} shots "
                "cannot be drawn; set fewer 'shots', or leave the class out"
            )


def refuse_unlabelled(spec: TaskSpec, items: Sequence[Item], limited: int | None) -> None:
    """Raises IbenchError where no sample is of any class: there is nothing that a ranking could put first."""
    if not any(item.labels for item in items):
        told = " in a run with --limit" if limited is not None else ""
        raise IbenchError(f"{spec.name}: no sample of {len(items)}{told} has a label, and mAP needs one that has")


def _composed(spec: TaskSpec, dataset: Dataset, limited: int | None) -> tuple[Query, ...]:
    """The composed queries of a labelled pool. Raises IbenchError where there is none."""
    assert spec.relevant is not None
    modalities = list(spec.sides[0])
    first, second, gallery = (pool_labels(dataset.items[modality]) for modality in (*modalities, spec.target))
    own = modalities.index(spec.target) if spec.target in modalities else None
    queries = draw(spec.relevant, (first, second), gallery, own, spec.draw)
    if not queries:
        under = "" if limited is None else f" under --limit {limited}"
        parts = (f"{modality}, {_single(part)}" for modality, part in zip(modalities, (first, second), strict=True))
        several = sum(len(set(labels)) > 1 for labels in gallery.values())
        raise IbenchError(
            f"{spec.name}: 'relevant: {spec.relevant}' matches nothing in this pool{under}: {'; '.join(parts)}; "
            f"{len(gallery)} {spec.target} to search, {several} of them of several labels. It takes two parts of "
            f"different labels, each sample with one alone, and {_NEEDS[spec.relevant]}"
        )
    return tuple(queries)


def _single(part: Labels) -> str:
    """What of a part can be composed, in words."""
    single = [labels[0] for labels in part.values() if len(set(labels)) == 1]
    kinds = list(dict.fromkeys(single))
    named = ", ".join(kinds[:3]) + (", …" if len(kinds) > 3 else "")
    return f"{len(single)} of {len(part)} of one label alone ({named})" if single else f"0 of {len(part)} of one label"


def pool_labels(items: Sequence[Item]) -> Labels:
    """The labels of a pool's items by their ids."""
    return {item.id: item.labels for item in items}


_NEEDS = {
    Relevant.BOTH: "an item to find that holds both labels",
    Relevant.FIRST_NOT_SECOND: "another item to find that holds the first label and not the second",
}


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
                "`ibench data check` says which"
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
