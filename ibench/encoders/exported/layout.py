"""The JSON in a torch.export archive, checked for form before anything is made of it.

Written from the schema of torch 2.12, torch/_export/serde/schema.py, version 8.20. A major version is raised when old
readers would misread, a minor one when something optional is added, so that every 8.x is read. Symbolic expressions
(strings that torch evaluates) are taken for what they stand for, a size that is not fixed; stack traces, module call
graphs, range constraints and guards are left aside.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

SCHEMA_MAJOR = 8

DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
}
"""By their numbers in the schema's ScalarType. Its 8-bit floats, half complex and wide unsigned types are not read."""

MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
STRIDED = 7
"""Layout of plain tensors; the others are sparse ones."""

_NOT_FINITE = {"Infinity", "-Infinity", "NaN"}  # JSON has no numbers for these, so they are written as strings
Float = Annotated[float, BeforeValidator(lambda value: float(value) if value in _NOT_FINITE else value)]
Model = TypeVar("Model", bound=BaseModel)


class Refusal(Exception):
    """Why an archive is not opened, in words that follow its name."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Size(_Part):
    """A number, or None where it is computed from those of the input."""

    as_int: int | None = None


class TensorMeta(_Part):
    """What a tensor is, without its numbers."""

    dtype: int
    sizes: list[Size]
    strides: list[Size]
    storage_offset: Size
    layout: int


class Payload(_Part):
    """Where a weight's bytes are; several weights may be views of one member."""

    path_name: str
    use_pickle: bool
    tensor_meta: TensorMeta | None = None


class Payloads(_Part):
    """``*_weights_config.json`` and ``*_constants_config.json``."""

    config: dict[str, Payload]


class Name(_Part):
    """A tensor of the graph."""

    name: str


class OptionalTensor(_Part):
    """A tensor of the graph, or none."""

    as_tensor: Name | None = None


class Symbol(_Part):
    """A number of the graph by its name, or the number itself."""

    as_name: str | None = None
    as_int: int | None = None
    as_float: Float | None = None
    as_bool: bool | None = None


class Argument(_Part):
    """A value: exactly one field is set, and its name says of what kind it is. What is not here is kept as an extra."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    as_none: bool | None = None
    as_tensor: Name | None = None
    as_tensors: list[Name] | None = None
    as_optional_tensor: OptionalTensor | None = None
    as_optional_tensors: list[OptionalTensor] | None = None
    as_int: int | None = None
    as_ints: list[int] | None = None
    as_float: Float | None = None
    as_floats: list[Float] | None = None
    as_bool: bool | None = None
    as_bools: list[bool] | None = None
    as_string: str | None = None
    as_sym_int: Symbol | None = None
    as_sym_ints: list[Symbol] | None = None
    as_sym_float: Symbol | None = None
    as_sym_floats: list[Symbol] | None = None
    as_sym_bool: Symbol | None = None
    as_sym_bools: list[Symbol] | None = None
    as_scalar_type: int | None = None
    as_memory_format: int | None = None
    as_layout: int | None = None
    as_device: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> Argument:
        if len(self.model_fields_set) != 1:
            raise ValueError("a value must be of one kind")
        return self

    @property
    def kind(self) -> str:
        return next(iter(self.model_fields_set))


class Input(_Part):
    """An argument of a node, by the name in the operator's signature."""

    name: str
    arg: Argument


class Node(_Part):
    """A call of an operator."""

    target: str
    inputs: list[Input]
    outputs: list[Argument]


class Graph(_Part):
    """Calls in the order they are made. ``tensor_values`` describes every tensor of the graph."""

    nodes: list[Node]
    tensor_values: dict[str, TensorMeta]


class UserInput(_Part):
    arg: Argument


class StoredInput(_Part):
    """A weight, under its name in the graph and its name in the module."""

    arg: Name
    parameter_name: str | None = None
    buffer_name: str | None = None
    persistent: bool = True
    tensor_constant_name: str | None = None


class ConstantInput(_Part):
    """An argument of forward that is no tensor and was fixed when the module was exported."""

    name: str
    value: Argument


class InputSpec(_Part):
    """Exactly one field is set; what is not here (objects, tokens) is kept as an extra."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    user_input: UserInput | None = None
    parameter: StoredInput | None = None
    buffer: StoredInput | None = None
    tensor_constant: StoredInput | None = None
    constant_input: ConstantInput | None = None


class OutputSpec(_Part):
    """What the graph gives; anything but ``user_output`` (a changed buffer, a loss, ...) is kept as an extra."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    user_output: UserInput | None = None


class Signature(_Part):
    input_specs: list[InputSpec]
    output_specs: list[OutputSpec]


class GraphModule(_Part):
    graph: Graph
    signature: Signature


class Version(_Part):
    major: int
    minor: int


class Versioned(_Part):
    """The part of ``models/*.json`` that says how to read the rest."""

    schema_version: Version
    torch_version: str = "unknown"


class Exported(Versioned):
    """``models/*.json``."""

    graph_module: GraphModule


def read_model(text: bytes) -> Exported:
    """``models/*.json``. Raises Refusal for another version of the schema, and for what does not fit it."""
    said = read_json(text, Versioned)
    version = said.schema_version
    if version.major != SCHEMA_MAJOR:
        raise Refusal(
            f"written by torch {said.torch_version:.40} in version {version.major}.{version.minor} of the export "
            f"schema; ibench reads {SCHEMA_MAJOR}.x, which torch 2.12 writes"
        )
    return read_json(text, Exported)


def read_json(text: bytes, model: type[Model]) -> Model:
    """Raises Refusal, with the place of the first fault."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the JSON"
        raise Refusal(f"not as torch.export.save writes it: {place:.200}: {fault['msg']:.200}") from error
