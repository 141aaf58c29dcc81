"""Which tasks and metrics of other programs are ibench's own: tasks/counterparts.yaml, read and checked."""

from __future__ import annotations

from functools import cache

from pydantic import BaseModel, ConfigDict, Field

from ibench.resources import bundled
from ibench.yamlfile import read_yaml


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MtebTask(_Strict):
    """A task of ibench by a protocol, and what mteb calls its data: the hub's id, revision, split and languages."""

    task: str
    protocol: str
    dataset: str
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    split: str
    languages: tuple[str, ...]


class Near(_Strict):
    """A task that is not the one of ibench that it looks like, and why."""

    task: str
    why: str


class Mteb(_Strict):
    """mteb's tasks by their names; its metrics → ibench's."""

    source: str
    tasks: dict[str, MtebTask]
    metrics: dict[str, str]
    near: dict[str, Near]


class ClipBenchmarkTask(_Strict):
    """A task of ibench by a protocol, and the ``task`` of CLIP_benchmark that measures it."""

    task: str
    protocol: str
    measured_as: str


class ClipBenchmark(_Strict):
    """CLIP_benchmark's tasks by the names of their data; its metrics → ibench's."""

    source: str
    tasks: dict[str, ClipBenchmarkTask]
    metrics: dict[str, str]


class LmEval(_Strict):
    """lm-eval's metrics → ibench's; its tasks have no counterparts, and go by ibench's names."""

    source: str
    metrics: dict[str, str]


class Counterparts(_Strict):
    mteb: Mteb
    clip_benchmark: ClipBenchmark
    lm_eval: LmEval


@cache
def counterparts() -> Counterparts:
    """The map as it comes with ibench."""
    return read_yaml(bundled("tasks") / "counterparts.yaml", Counterparts)
