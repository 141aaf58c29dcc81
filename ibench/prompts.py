"""Named sets of prompt templates, and class names made into texts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ibench.errors import IbenchError, did_you_mean
from ibench.resources import bundled
from ibench.yamlfile import read_yaml


class PromptSet(BaseModel):
    """Templates with ``{}`` where the class name goes, given here or as ``from_open_clip``, one of its lists.

    ``source`` is the paper, page or file they are quoted from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    templates: tuple[str, ...] = ()
    from_open_clip: str | None = Field(default=None, pattern="^[A-Z0-9_]+_TEMPLATES$")
    replace: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> PromptSet:
        if bool(self.templates) == bool(self.from_open_clip):
            raise ValueError("give either 'templates' or 'from_open_clip'")
        wrong = [template for template in self.templates if template.count("{}") != 1]
        if wrong:
            raise ValueError(f"a template needs exactly one {{}}: {wrong[0]!r}")
        return self

    def resolved(self) -> tuple[str, ...]:
        """The templates as strings, read from open_clip where they come from there, ``replace`` applied."""
        # open_clip keeps templates as functions of the class name: called with {} they give the template back
        templates = self.templates or tuple(function("{}") for function in open_clip_list(str(self.from_open_clip)))
        return tuple(template.replace(*self.replace) for template in templates) if self.replace else templates


class PromptSets(BaseModel):
    """Several prompt sets in one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sets: tuple[PromptSet, ...] = Field(min_length=1)


def load_prompt_sets(name: str) -> tuple[PromptSet, ...]:
    """The prompt sets that a YAML file lists under ``sets``; else the one set of that name, or in that file."""
    path = Path(name)
    if path.is_file() and re.search(r"^sets\s*:", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
        return read_yaml(path, PromptSets).sets
    return (load_prompts(name),)


def load_prompts(name: str, beside: Path = Path()) -> PromptSet:
    """A prompt set by its name in tasks/prompts/, or by the path of a YAML file, relative to ``beside``."""
    if name.endswith((".yaml", ".yml")):
        return read_yaml(beside / name, PromptSet)
    path = bundled("tasks") / "prompts" / f"{name}.yaml"
    if not path.is_file():
        raise IbenchError(f"no prompt set '{name}'; {did_you_mean(name, prompt_names())}")
    return read_yaml(path, PromptSet)


def prompt_names() -> list[str]:
    return sorted(path.stem for path in (bundled("tasks") / "prompts").glob("*.yaml"))


def fill(templates: Iterable[str], name: str) -> list[str]:
    """The texts of one class name, in the order of the templates."""
    return [template.replace("{}", name) for template in templates]


def open_clip_list(name: str) -> list[Any]:
    """A list of templates or class names in ``open_clip.zero_shot_metadata``. Raises IbenchError for an unknown one."""
    metadata = import_module("open_clip.zero_shot_metadata")
    if not isinstance(getattr(metadata, name, None), list | tuple):
        raise IbenchError(f"open_clip has no list '{name}'; see open_clip.zero_shot_metadata")
    return list(getattr(metadata, name))
