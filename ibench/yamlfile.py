"""YAML files read into pydantic models, with errors that name the file, the line and the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ibench.errors import IbenchError, did_you_mean

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times as fast, and as safe


class _Loader(_SafeLoader):  # type: ignore[misc]  # which of the two it is, is known when it runs
    """Refuses a key that a mapping has twice, of which YAML's own loader takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


_EXPECTED = {"tuple_type": "expected a list", "dict_type": "expected a mapping of keys to values"}
"""What pydantic tells in Python's terms."""

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, model: type[Model]) -> Model:
    """The file as a ``model``. Raises IbenchError for a file that is unreadable, no YAML, or does not fit."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise IbenchError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise IbenchError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(data, dict):
        raise IbenchError(f"{path}:1: expected a mapping of keys to values, found {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise IbenchError(_explain(path, text, error, model)) from error


def _explain(path: Path, text: str, error: ValidationError, model: type[BaseModel]) -> str:
    """One fault in one line, with its line in the file, and how many more there are.

    An unknown key comes first: often it is what a key that is "missing" was meant to be.
    """
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    location = [str(part) for part in first["loc"]]
    line = _line_of(yaml.compose(text, Loader=_Loader), location)
    key = ".".join(location) or "the file"
    if first["type"] == "extra_forbidden":
        message = f"unknown key '{key}'"
        if len(location) == 1:
            message += f"; {did_you_mean(location[0], model.model_fields)}"
    else:
        given = "" if isinstance(first["input"], dict) else f" (found {first['input']!r:.60})"
        message = f"{key}: {_EXPECTED.get(first['type'], first['msg'].removeprefix('Value error, '))}{given}"
    more = f"; and {error.error_count() - 1} more" if error.error_count() > 1 else ""
    return f"{path}:{line}: {message}{more}"


def _line_of(node: yaml.Node | None, location: list[str]) -> int:
    """The 1-based line of the key at ``location``, or of the nearest enclosing key that is there."""
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
            if not found:
                continue  # a part pydantic added, such as the member of a union
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
    return line
