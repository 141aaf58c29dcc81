"""TaskSpec, one evaluation task as data, and the registry of those in tasks/."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PrivateAttr, RootModel, field_validator, model_validator

from ibench.errors import IbenchError, did_you_mean
from ibench.hashing import sha256_json
from ibench.modalities import Modality, Region, pair_name
from ibench.prompts import open_clip_list
from ibench.resources import bundled
from ibench.yamlfile import read_yaml


class Kind(str, Enum):
    """How a task is scored; each kind is a module of `ibench.scoring`."""

    CLASSIFICATION = "classification"
    MULTILABEL = "multilabel"
    RETRIEVAL = "retrieval"
    COMPOSITION = "composition"
    FEWSHOT = "fewshot"
    LOCALISATION = "localisation"

    def __str__(self) -> str:
        return self.value


MATCHING = (Kind.RETRIEVAL, Kind.COMPOSITION)
"""The kinds that search a gallery for samples, not for classes that prompts name."""

PAIRING = (Kind.CLASSIFICATION, Kind.RETRIEVAL)
"""The kinds that pair samples of two modalities, so that one may be followed to its answer in the other."""

FOUND = ("recall@1", "recall@5", "recall@10", "mrr", "median_rank")
"""What is measured of one direction of a search."""

_BESIDE = ("first_recall@1", "second_recall@1", "gain")

SHOTS = (1, 2, 4, 8)
"""Training samples of each class, as in Figure 3 of ImageBind (arXiv 2305.05665)."""
DRAWS = 10


def shot_metrics(shots: Sequence[int]) -> tuple[str, ...]:
    """The metrics of a few-shot task: the most shots first, then fewer, none, and all training samples."""
    return (*(f"top1@{k}" for k in sorted((0, *shots), reverse=True)), "top1@all")


METRICS: Mapping[Kind, tuple[str, ...]] = {
    Kind.CLASSIFICATION: ("top1", "top5", "mean_per_class_recall"),
    Kind.MULTILABEL: ("mAP",),
    Kind.RETRIEVAL: tuple(f"{direction}{name}" for direction in ("", "reverse_") for name in FOUND),
    Kind.COMPOSITION: tuple(f"{direction}{name}" for direction in ("", "reverse_") for name in (*FOUND, *_BESIDE)),
    Kind.FEWSHOT: shot_metrics(SHOTS),
    Kind.LOCALISATION: tuple(
        f"{asked}{name}" for asked in ("", "text_", "centre_") for name in ("ciou@0.5", "auc", "pointing")
    ),
}
"""The metrics each kind computes, the usual headline first. ``reverse_`` is target → query; ``text_`` is of the class
name as the query, ``centre_`` of a box in the middle of the frame, which asks nothing. The shots of fewshot are the
task's choice: see `TaskSpec.computed`."""


def lower_is_better(metric: str) -> bool:
    """Whether a metric counts places instead of hits."""
    return metric.endswith("median_rank")


def points(metric: str) -> int:
    """What a score is multiplied with to be told: shares are told in points, ranks in places."""
    return 1 if lower_is_better(metric) else 100


class Relevant(str, Enum):
    """What of the gallery a composed query should find; A and B are the labels of its two parts.

    ``same_scene``: what belongs to the sample that both parts are of. ``both``: what holds A and B.
    ``first_not_second``: what holds A and not B.
    """

    SAME_SCENE = "same_scene"
    BOTH = "both"
    FIRST_NOT_SECOND = "first_not_second"

    def __str__(self) -> str:
        return self.value


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HubCopy(_Strict):
    """A faithful copy on the Hugging Face hub, pinned: another revision may be another data set.

    ``files`` is a pattern of the files to download, for a repository whose other splits would come along.
    """

    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    split: str
    config: str | None = None
    files: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)


_COLUMNS = frozenset({*Modality, "label", "id", "start", "end", "split", "fold", "group"})
"""What `DatasetSpec.columns` may name a column for."""


class DatasetSpec(_Strict):
    """Where the samples are and how they are laid out.

    ``reader`` is a module of `ibench.datasets`. ``path`` is a folder or file under the data root. ``columns`` says
    which column holds what, for readers of tables: a modality's name → its paths (or texts), and ``label``, ``id``,
    ``start``, ``end`` (seconds). ``separator`` parts several labels or captions in one cell. ``train`` is the split
    that a few-shot task draws from; without it the data must have folds. ``count`` is how many samples the publisher's
    copy has (without those of ``train``), ``classes`` how many classes, where the data itself names them. ``proposals``
    is a file in the data's folder with the windows of each frame, for a localisation that searches no grid.
    """

    reader: str = Field(pattern="^[a-z][a-z0-9_]*$")
    path: str = "."
    split: str | None = None
    train: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    separator: str | None = None
    count: int | None = Field(default=None, gt=0)
    classes: int | None = Field(default=None, gt=0)
    proposals: str | None = None
    licence: str = "unspecified"
    source: str = "local files"
    hub: HubCopy | None = None

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, columns: dict[str, str]) -> dict[str, str]:
        for unknown in columns.keys() - _COLUMNS:
            raise ValueError(f"no column is for '{unknown}'; {did_you_mean(unknown, _COLUMNS)}")
        return columns

    @field_validator("path", "proposals")
    @classmethod
    def _inside_the_root(cls, path: str | None) -> str | None:
        if path is not None and (Path(path).is_absolute() or ".." in Path(path).parts):
            raise ValueError("must lie inside the data root: a relative path without '..' (the root is --data-root)")
        return path


class Draw(_Strict):
    """Which samples of a labelled pool become composed queries: at most ``each`` for a pair of labels, by ``seed``."""

    each: int = Field(default=10, gt=0)
    seed: int = 0


class Search(_Strict):
    """How a localisation searches a frame, and what of the map counts as found.

    ``scales`` are how many windows fit side by side along each side of the frame, one grid for each: a window of scale
    3 is a third as wide and a third as high as the frame. From one to the next it is 1 / ``steps`` of a window, so that
    they overlap by half with 2 steps. Empty where the data set has ``proposals``. Found is what is above the median of
    the map (``upper-half``), or at least a ``threshold`` of the map's range. ``agree`` boxes have to hold a pixel for
    it to be of the source in full: with 1 every box is true, with 2 two of an image's annotators agree.
    """

    scales: tuple[int, ...] = ()
    steps: int = Field(default=2, ge=1, le=8)
    pool: Literal["mean", "max"] = "mean"
    threshold: Literal["upper-half"] | float = "upper-half"
    agree: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _sensible(self) -> Search:
        if len(set(self.scales)) < len(self.scales) or any(not 1 <= scale <= 16 for scale in self.scales):
            raise ValueError("'scales' are different whole numbers from 1 to 16")
        if self.scales == (1,):
            raise ValueError("one window as large as the frame finds nothing; add a scale")
        if len(self.windows) > MAX_WINDOWS:
            raise ValueError(f"{len(self.windows):,} windows a frame, the limit is {MAX_WINDOWS:,}; take fewer steps")
        if isinstance(self.threshold, float) and not 0 < self.threshold < 1:
            raise ValueError("'threshold' is upper-half, or a share of the map's range between 0 and 1")
        return self

    @property
    def windows(self) -> tuple[Region, ...]:
        """The grid, large windows first, row by row."""
        found = []
        for scale in sorted(self.scales):
            along = [
                (at / (scale * self.steps), (at + self.steps) / (scale * self.steps))
                for at in range((scale - 1) * self.steps + 1)
            ]
            found += [(left, top, right, bottom) for top, bottom in along for left, right in along]
        return tuple(found)


_GREATEST_WEIGHT = 1e6  # far within float32, in which the sums are made

MAX_WINDOWS = 2000
"""Windows of one frame, each of which is embedded."""


class Protocol(_Strict):
    """One way the task is run: prompts, how class names are written, how samples are cut into views, how a frame is
    searched.

    ``names`` gives labels another name (or names, of which the best counts) than the task's own in this protocol.
    """

    prompts: str | None = None
    underscores: str = Field(default="spaces", pattern="^(spaces|keep)$")
    names: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    views: dict[Modality, dict[str, Any]] = Field(default_factory=dict)
    search: Search | None = None

    @field_validator("names", mode="before")
    @classmethod
    def _several(cls, names: Any) -> Any:
        if isinstance(names, dict):
            return {str(label): [one] if isinstance(one, str) else one for label, one in names.items()}
        return names


class TaskSpec(_Strict):
    """One task: which samples, against what, by which protocol, and by which metric.

    The first protocol and the first metric are the defaults. ``labels`` lists the label ids of the data in order,
    or maps each to the name (or names, of which the best counts) it goes by in prompts; without it the data's own
    metadata gives the names, or, label by label in the data's order, the list ``names_from_open_clip`` of
    ``open_clip.zero_shot_metadata``. ``fuse`` are the parts of a composition with their weights, such as
    ``{video: 0.95, audio: 0.05}``: its scores are the weighted sum of the cosines of each. ``relevant`` says what a
    composed query should find, and ``draw`` how many of them a labelled pool gives. A change that can move a score
    raises ``version``.
    """

    name: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]*$")
    version: int = Field(ge=1)
    title: str = ""
    kind: Kind
    query: Modality
    target: Modality
    fuse: dict[Modality, float] = Field(default_factory=dict)
    relevant: Relevant | None = None
    draw: Draw = Draw()
    shots: tuple[int, ...] = Field(default=SHOTS, min_length=1)
    draws: int = Field(default=DRAWS, ge=2)
    dataset: DatasetSpec
    labels: dict[str, tuple[str, ...]] | None = None
    names_from_open_clip: str | None = Field(default=None, pattern="^[A-Z0-9_]+_CLASSNAMES$")
    protocols: dict[str, Protocol] = Field(min_length=1)
    metrics: tuple[str, ...] = ()
    chance: FiniteFloat | None = Field(default=None, ge=0)
    cluster: str | None = None
    _folder: Path = PrivateAttr(default=Path())

    @field_validator("fuse", mode="before")
    @classmethod
    def _weighted(cls, fuse: Any) -> Any:
        return dict.fromkeys(fuse, 1 / len(fuse)) if isinstance(fuse, list) and fuse else fuse

    @field_validator("labels", mode="before")
    @classmethod
    def _as_mapping(cls, labels: Any) -> Any:
        if isinstance(labels, list | dict) and any(isinstance(label, bool) for label in labels):
            raise ValueError("YAML reads yes, no, on and off as true and false: put such labels in quotes")
        if isinstance(labels, list):
            repeated = [label for label, times in Counter(map(str, labels)).items() if times > 1]
            if repeated:
                raise ValueError(f"listed twice: {', '.join(sorted(repeated))}")
            labels = {str(label): str(label) for label in labels}
        if isinstance(labels, dict):
            return {str(label): [names] if isinstance(names, str) else names for label, names in labels.items()}
        return labels

    @field_validator("labels")
    @classmethod
    def _named(cls, labels: dict[str, tuple[str, ...]] | None) -> dict[str, tuple[str, ...]] | None:
        for label, names in (labels or {}).items():
            if not names:
                raise ValueError(f"'{label}' has no name; leave the mapping out, or give it one")
        return labels

    @model_validator(mode="after")
    def _consistent(self) -> TaskSpec:
        if self.labels and self.names_from_open_clip:
            raise ValueError("give either 'labels' or 'names_from_open_clip'")
        for metric in self.metrics:
            if metric not in self.computed:
                raise ValueError(f"{self.kind} has no metric '{metric}'; {did_you_mean(metric, self.computed)}")
        if self.chance is not None and self.chance > 1 and not lower_is_better(self.headline):
            raise ValueError(f"'chance' is a share of 1, not {self.chance:g}; {self.headline} is told in percent")
        return self

    @model_validator(mode="after")
    def _of_its_kind(self) -> TaskSpec:
        if self.kind is Kind.RETRIEVAL:
            if self.query is self.target:
                raise ValueError(f"retrieval is between two modalities; 'query' and 'target' are both {self.query}")
        elif self.kind is Kind.LOCALISATION:
            if (self.query, self.target) != (Modality.AUDIO, Modality.IMAGE):
                raise ValueError("localisation is of a sound in a picture: set 'query: audio' and 'target: image'")
        elif self.kind not in MATCHING:
            if self.target is not Modality.TEXT or self.query is Modality.TEXT:
                raise ValueError(f"{self.kind} is from a modality to text: set 'target: text' and another 'query'")
            for name, protocol in self.protocols.items():
                if protocol.prompts is None:
                    raise ValueError(f"protocol '{name}' needs 'prompts'")
        return self

    @model_validator(mode="after")
    def _composed(self) -> TaskSpec:
        if self.kind is not Kind.COMPOSITION:
            if self.fuse or self.relevant or self.draw != Draw():
                raise ValueError(
                    "'fuse', 'relevant' and 'draw' are for kind composition; a retrieval with a side of several "
                    "modalities is one with 'relevant: same_scene'"
                )
            return self
        if self.relevant is None:
            raise ValueError(f"a composition says what is 'relevant': {', '.join(Relevant)}")
        if len(self.fuse) != 2:
            raise ValueError("a composition has two parts, such as 'fuse: {image: 0.5, audio: 0.5}'")
        self._refuse_sides()
        self._refuse_weights()
        return self

    @model_validator(mode="after")
    def _shots_of_fewshot(self) -> TaskSpec:
        if self.kind is Kind.FEWSHOT:
            if min(self.shots) < 1 or len(set(self.shots)) < len(self.shots):
                raise ValueError("'shots' are different whole numbers from 1; 0 and all training samples are added")
            return self
        given = {"shots": self.shots != SHOTS, "draws": self.draws != DRAWS, "train": self.dataset.train is not None}
        for name in (name for name, changed in given.items() if changed):
            raise ValueError(f"'{name}' is for fewshot, this task is of kind {self.kind}")
        return self

    @model_validator(mode="after")
    def _searchable(self) -> TaskSpec:
        if self.kind is not Kind.LOCALISATION:
            if self.dataset.proposals or any(protocol.search for protocol in self.protocols.values()):
                raise ValueError("'search' and 'proposals' are for localisation")
            return self
        for name, protocol in self.protocols.items():
            if protocol.search is None:
                raise ValueError(f"protocol '{name}' needs 'search', such as {{scales: [2, 3, 4]}}")
            if bool(protocol.search.scales) == bool(self.dataset.proposals):
                raise ValueError(f"protocol '{name}': give 'scales', or 'proposals' in 'dataset', not both or neither")
        return self

    def _refuse_sides(self) -> None:
        """Raises ValueError where query, target and parts do not go together."""
        if self.pooled:
            if self.query not in self.fuse:
                raise ValueError(f"'query' is the modality of the first part, one of {', '.join(self.fuse)}")
            if any(metric.startswith("reverse_") for metric in self.metrics):
                raise ValueError(f"'relevant: {self.relevant}' asks in one direction; 'reverse_' is for same_scene")
            return
        if Modality.TEXT in self.fuse or (self.query in self.fuse) == (self.target in self.fuse):
            raise ValueError("of one scene, 'fuse' names 'query' or 'target' (not both) and no text")
        if self.draw != Draw():
            raise ValueError("'draw' is for a labelled pool; with same_scene every sample is asked for")

    def _refuse_weights(self) -> None:
        """Raises ValueError for weights whose sum is no query, or another than the one that is asked for."""
        first, second = next(side for side in self.sides if len(side) > 1).values()
        weights = f"the weights of 'fuse' ({first:g} and {second:g})"
        if not (math.isfinite(first) and math.isfinite(second) and first + second > 0):
            raise ValueError(f"{weights} must be numbers whose sum is above 0")
        if first + second < 1 / _GREATEST_WEIGHT or max(abs(first), abs(second)) > _GREATEST_WEIGHT:
            raise ValueError(
                f"{weights} must be at most {_GREATEST_WEIGHT:g} and their sum at least {1 / _GREATEST_WEIGHT:g}; "
                "only their ratio counts"
            )
        if self.relevant is Relevant.FIRST_NOT_SECOND:
            if not second < 0:
                raise ValueError(
                    f"first_not_second takes the second part away: give it a weight below 0, not {second:g}, such as "
                    "'fuse: {image: 1, audio: -0.5}'"
                )
        elif first < 0 or second < 0:
            raise ValueError("a weight below 0 in 'fuse' is for 'relevant: first_not_second'")

    @property
    def pooled(self) -> bool:
        """Whether queries are composed of any two samples of a labelled pool, not of the parts of one scene."""
        return self.relevant is not None and self.relevant is not Relevant.SAME_SCENE

    @property
    def sides(self) -> tuple[dict[Modality, float], dict[Modality, float]]:
        """What query and target are made of, modality → weight: itself alone, or the parts of a composition, itself
        first. Only one side is composed: the query where it is among the parts."""
        composed_query = self.query in self.fuse
        return self._parts(self.query, composed_query), self._parts(self.target, not composed_query)

    def _parts(self, side: Modality, composed: bool) -> dict[Modality, float]:
        return {side: self.fuse[side], **self.fuse} if composed and side in self.fuse else {side: 1.0}

    @property
    def reading(self) -> str:
        """All that a reader goes by: tasks where it is equal have the same samples."""
        read = {"kind", "query", "target", "fuse", "relevant", "dataset", "labels", "names_from_open_clip", "cluster"}
        return self.model_dump_json(include=read)

    @property
    def pair(self) -> str:
        """Query and target as tables show them."""
        return pair_name(self.query, self.target, self.fuse)

    @property
    def sample_modalities(self) -> tuple[Modality, ...]:
        """What a reader gives items of: both sides with all their parts where samples are searched, or a frame is
        searched for a sound; else the query."""
        both = self.kind in MATCHING or self.kind is Kind.LOCALISATION
        return tuple(dict.fromkeys(part for side in (self.sides if both else self.sides[:1]) for part in side))

    @property
    def folder(self) -> Path:
        """Where its file lies, which names files of its own beside it; the working directory for one without a file."""
        return self._folder

    @property
    def computed(self) -> tuple[str, ...]:
        """The metrics that are computed, the usual headline first."""
        return shot_metrics(self.shots) if self.kind is Kind.FEWSHOT else METRICS[self.kind]

    @property
    def headline(self) -> str:
        """The metric that stands for the task in tables."""
        return (self.metrics or self.computed)[0]

    @property
    def training(self) -> TaskSpec:
        """The task as it reads the samples that shots are drawn from, instead of those that are tested."""
        hub = self.dataset.hub and self.dataset.hub.model_copy(update={"split": self.dataset.train})
        dataset = self.dataset.model_copy(update={"split": self.dataset.train, "hub": hub})
        return self.model_copy(update={"dataset": dataset})

    def protocol(self, name: str | None) -> tuple[str, Protocol]:
        """The protocol of that name, or the default one. Raises IbenchError for an unknown name."""
        chosen = name or next(iter(self.protocols))
        if chosen not in self.protocols:
            raise IbenchError(f"task '{self.name}' has no protocol '{chosen}'; {did_you_mean(chosen, self.protocols)}")
        return chosen, self.protocols[chosen]

    def named(self, labels: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        """The labels under open_clip's names, where the task takes those; else as they are.

        Raises IbenchError when there are not as many of one as of the other: the names go by position.
        """
        if self.names_from_open_clip is None:
            return labels
        names = open_clip_list(self.names_from_open_clip)
        if len(names) != len(labels):
            raise IbenchError(
                f"{self.name}: {len(labels)} classes in the data, and {len(names)} names in open_clip's "
                f"{self.names_from_open_clip}, which go by position; use a copy that has all classes"
            )
        return {label: (name,) for label, name in zip(labels, names, strict=True)}

    def fingerprint(self, protocol: Protocol) -> str:
        """SHA-256 of all that can move a score by a protocol; titles, licences, addresses, other protocols can not.

        A key at its default is as good as absent, so that one which comes later leaves the tasks of before alone.
        """
        told_only: dict[str, Any] = {
            "title": True,
            "protocols": True,
            "dataset": {"licence": True, "source": True, "classes": True, "hub": {"files": True}},
        }
        task = self.model_dump(mode="json", exclude_defaults=True, exclude=told_only)
        return sha256_json({**task, "protocol": protocol.model_dump(mode="json", exclude_defaults=True)})


class Suite(_Strict):
    """Tasks that are run together; of each no more than so many ``samples``, drawn, where that is given."""

    about: str
    samples: int | None = Field(default=None, gt=0)
    tasks: tuple[str, ...] = Field(min_length=1)


class _Suites(RootModel[dict[str, Suite]]):
    pass


@cache
def task_files() -> Mapping[str, Path]:
    """The bundled tasks: name → YAML file. The file's stem is the task's name."""
    root = bundled("tasks")
    files = (path for path in root.glob("*/*.yaml") if path.parent.name != "prompts")
    return {path.stem: path for path in sorted(files)}


def load_task(name: str | Path) -> TaskSpec:
    """A task by name, or by the path of a YAML file. Raises IbenchError when there is none or it does not fit."""
    path = task_path(name)
    spec = read_yaml(path, TaskSpec)
    spec._folder = path.parent
    return spec


def task_path(name: str | Path) -> Path:
    """The file of a task named or given as a path."""
    if str(name).endswith((".yaml", ".yml")):
        return Path(name)
    known = task_files()
    if str(name) not in known:
        beside = [file for file in (f"{name}.yaml", f"{name}.yml") if os.path.isfile(file)]
        hint = f"did you mean the file {beside[0]}?" if beside else did_you_mean(str(name), known)
        raise IbenchError(f"no task '{name}'; {hint} (`ibench tasks` lists them)")
    return known[str(name)]


def load_suites() -> dict[str, Suite]:
    return read_yaml(bundled("tasks") / "suites.yaml", _Suites).root


def load_suite(name: str) -> Suite:
    """Raises IbenchError for an unknown one."""
    suites = load_suites()
    if name not in suites:
        raise IbenchError(f"no suite '{name}'; {did_you_mean(name, suites)}")
    return suites[name]


def suite_tasks(name: str) -> tuple[str, ...]:
    """The task names of a suite. Raises IbenchError for an unknown one."""
    return load_suite(name).tasks
