"""A graph of torch.export as steps that are run one after the other, by a loop of our own: no code is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ibench.encoders.exported.layout import (
    DTYPES,
    MEMORY_FORMATS,
    STRIDED,
    Argument,
    Graph,
    Node,
    OptionalTensor,
    Refusal,
    Signature,
    Symbol,
)
from ibench.encoders.exported.operators import find_operator, refuse_training
from ibench.errors import IbenchError

_EVAL = "call model.eval() before torch.export.export"


@dataclass(frozen=True)
class Ref:
    """A value that is known only when the graph runs, by its name."""

    name: str


@dataclass(frozen=True)
class Step:
    """A call: its arguments by name, what its results are called, and the values no later step needs.

    ``writes`` are the arguments that the operator changes.
    """

    target: str
    call: Callable[..., Any]
    given: Mapping[str, Any]
    writes: tuple[Any, ...]
    makes: Any
    frees: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A graph with its weights: a function of one batch.

    ``constants`` are the weights and fixed numbers by their names in the graph, ``shape`` the sizes of the batch with
    None for those that are free.
    """

    name: str
    steps: tuple[Step, ...]
    constants: Mapping[str, Any]
    batch: str
    shape: tuple[int | None, ...]
    dtype: torch.dtype
    result: Ref

    def __call__(self, batch: Tensor) -> Any:
        """A batch of the exported shape and kind of number → what the graph gives.

        Raises IbenchError for a batch of another shape or kind, RuntimeError for a step that fails.
        """
        self._check(batch)
        batch = batch.to(self.dtype)
        values = {**self.constants, self.batch: batch}
        kept = {memory for value in values.values() if isinstance(value, Tensor) and (memory := _memory(value))}
        for step in self.steps:
            try:
                self._run(step, values, kept)
            except (RuntimeError, TypeError, ValueError, LookupError, ArithmeticError) as error:
                reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
                raise RuntimeError(f"{step.target}: {reason[0]}") from error
        return values[self.result.name]

    def _check(self, batch: Tensor) -> None:
        fits = len(batch.shape) == len(self.shape) and all(
            wanted in (None, given) for wanted, given in zip(self.shape, batch.shape, strict=True)
        )
        if not fits or batch.is_floating_point() != self.dtype.is_floating_point:
            wanted = ["any" if size is None else size for size in self.shape]
            raise IbenchError(
                f"{self.name} was exported for {_called(self.dtype)} {wanted}, and the card makes "
                f"{_called(batch.dtype)} {list(batch.shape)}; bring the card's numbers in line"
            )

    def _run(self, step: Step, values: dict[str, Any], kept: set[int]) -> None:
        for written in step.writes:
            if _memory(_valued(written, values)) in kept:
                raise RuntimeError(f"would write into the weights or the input; {_EVAL}")
        _bind(step.makes, step.call(**{name: _valued(value, values) for name, value in step.given.items()}), values)
        for name in step.frees:
            del values[name]


def make_program(
    name: str, graph: Graph, signature: Signature, weights: Mapping[str, Tensor], device: torch.device
) -> Program:
    """Bind a graph to its weights, which are on ``device`` as everything else will be, whatever the graph says.

    Raises Refusal for a graph that calls what is not allowed, names what is not there, changes what it is given, was
    exported for one size of batch, or is no function of one tensor to one tensor.
    """
    batch, constants = _inputs(signature, weights)
    meta = graph.tensor_values.get(batch)
    if meta is None or meta.dtype not in DTYPES:
        raise Refusal(f"does not describe its input '{batch:.80}'")
    shape = tuple(size.as_int for size in meta.sizes)
    if not shape or shape[0] is not None:
        raise Refusal(
            f"was exported for batches of {shape[0] if shape else 'no size'} only; export it for any: "
            "torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim('batch')},))"
        )
    result = _result(signature)
    steps = _steps(graph.nodes, {*constants, batch}, result, device)
    return Program(name, steps, constants, batch, shape, DTYPES[meta.dtype], result)


def _inputs(signature: Signature, weights: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The name of the one tensor that is given, and all that is known beforehand, by its name in the graph."""
    asked: list[str] = []
    constants: dict[str, Any] = {}
    for spec in signature.input_specs:
        stored = spec.parameter or spec.buffer or spec.tensor_constant
        if stored:
            key = stored.parameter_name or stored.buffer_name or stored.tensor_constant_name or ""
            if key not in weights:
                raise Refusal(f"has no weight '{key:.80}', which its graph asks for")
            constants[stored.arg.name] = weights[key]
        elif spec.constant_input:
            constants[spec.constant_input.name] = _literal(spec.constant_input.value, torch.device("cpu"))
        elif spec.user_input and spec.user_input.arg.as_tensor:
            asked.append(spec.user_input.arg.as_tensor.name)
        elif not (spec.user_input and spec.user_input.arg.kind == "as_none"):
            raise Refusal(f"takes {'/'.join(spec.model_fields_set)}, and ibench gives tensors only")
    if len(asked) != 1:
        raise Refusal(f"takes {len(asked)} tensors, and ibench gives one; export a module with one input")
    return asked[0], constants


def _result(signature: Signature) -> Ref:
    for spec in signature.output_specs:
        if spec.user_output is None:
            kinds = "/".join(spec.model_fields_set)
            raise Refusal(f"changes what it is given ({kinds}); {_EVAL}")
    tensors = [spec.user_output.arg.as_tensor for spec in signature.output_specs if spec.user_output]
    if len(tensors) != 1 or tensors[0] is None:
        raise Refusal(f"gives {len(tensors)} values, not one tensor [n, dim]; export a module that returns embeddings")
    return Ref(tensors[0].name)


def _steps(nodes: list[Node], known: set[str], result: Ref, device: torch.device) -> tuple[Step, ...]:
    """The calls in order; every name is made before it is used, once, and freed after its last use."""
    steps: list[Step] = []
    last_use: dict[str, int] = {}
    given, known = known, set(known)
    for node in nodes:
        step = _step(node, device)
        if step is None:
            continue
        used, made = list(_names(list(step.given.values()))), list(_names(step.makes))
        for name in used:
            _refuse_unknown(name, known)
        if given & set(_names(list(step.writes))):
            raise Refusal(f"writes into its weights or input ('{node.target:.80}'); {_EVAL}")
        if known & set(made) or len(set(made)) < len(made):
            raise Refusal(f"makes one of {made} twice")
        last_use.update(dict.fromkeys([*used, *made], len(steps)))
        known.update(made)
        steps.append(step)
    _refuse_unknown(result.name, known)
    last_use.pop(result.name, None)
    return tuple(_with_frees(steps, last_use))


def _refuse_unknown(name: str, known: set[str]) -> None:
    if name not in known:
        raise Refusal(f"its graph uses '{name:.80}', which nothing before makes")


def _with_frees(steps: list[Step], last_use: Mapping[str, int]) -> Iterator[Step]:
    frees: list[list[str]] = [[] for _ in steps]
    for name, number in last_use.items():
        frees[number].append(name)
    for step, names in zip(steps, frees, strict=True):
        yield Step(**{**vars(step), "frees": tuple(names)})


def _step(node: Node, device: torch.device) -> Step | None:
    found = find_operator(node.target)
    if found is None:
        return None
    given = {one.name: _literal(one.arg, device) for one in node.inputs}
    refuse_training(node.target, given)
    makes = [_literal(one, device) for one in node.outputs]
    writes = tuple(given[name] for name in found.writes if name in given)
    return Step(node.target, found.call, given, writes, makes[0] if len(makes) == 1 else makes, ())


def _literal(argument: Argument, device: torch.device) -> Any:
    """What an argument stands for: a number, a string, a `Ref`, or a list of these. Devices are replaced by ours."""
    kind = argument.kind
    if kind == "as_device":
        return device
    if kind == "as_scalar_type" and argument.as_scalar_type in DTYPES:
        return DTYPES[argument.as_scalar_type]
    if kind == "as_memory_format" and argument.as_memory_format in MEMORY_FORMATS:
        return MEMORY_FORMATS[argument.as_memory_format]
    if kind == "as_layout" and argument.as_layout == STRIDED:
        return torch.strided
    if kind == "as_none":
        return None
    if kind in ("as_scalar_type", "as_memory_format", "as_layout") or kind not in Argument.model_fields:
        raise Refusal(f"has an argument {kind:.40} that ibench does not read")
    return _plain(getattr(argument, kind))


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, OptionalTensor):
        return None if value.as_tensor is None else Ref(value.as_tensor.name)
    if isinstance(value, Symbol):
        given = [value.as_int, value.as_float, value.as_bool]
        return Ref(value.as_name) if value.as_name else next((one for one in given if one is not None), None)
    name = getattr(value, "name", None)
    return value if name is None else Ref(name)


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, list):
        for one in value:
            yield from _names(one)


def _valued(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    return [_valued(one, values) for one in value] if isinstance(value, list) else value


def _bind(names: Any, result: Any, values: dict[str, Any]) -> None:
    """Give results their names; None is a result that has none."""
    if isinstance(names, Ref):
        values[names.name] = result
    elif isinstance(names, list) and names:
        for one, part in zip(names, result, strict=True):
            _bind(one, part, values)


def _memory(value: Any) -> int:
    """Where a tensor's memory begins; 0 for an empty one and for what is no tensor."""
    return value.untyped_storage().data_ptr() if isinstance(value, Tensor) else 0


def _called(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
