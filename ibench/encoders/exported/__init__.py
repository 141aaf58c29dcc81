"""torch.export archives (``.pt2``), read and run without torch's own loader, which runs code from the file.

The loader of torch 2.12 unpickles with ``weights_only=False`` (weights and constants marked so, and whatever a safe
reading of the sample inputs rejects), evaluates strings through ``sympy.sympify``, resolves operators by any dotted
name below ``torch``, and loads compiled libraries from the archive. Here only JSON and bare bytes are read (`members`,
`layout`), the graph may call operators of a list (`operators`), and a loop calls them (`program`). What is left
computes; it can still take all memory and time. Native code in torch's operators is trusted, as it is for weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ibench.encoders.exported.layout import DTYPES, Node, Refusal, read_model
from ibench.encoders.exported.members import model_name, opened, read_tensors
from ibench.encoders.exported.operators import find_operator
from ibench.encoders.exported.program import Program, make_program
from ibench.errors import IbenchError

__all__ = ["Program", "is_exported", "load"]


def is_exported(members: Iterable[str]) -> bool:
    """Whether a zip with these members is an archive of torch.export, of today's form or an old one."""
    return any(name.endswith("/archive_format") or name == "serialized_exported_program.json" for name in members)


def load(file: Path, device: torch.device, dtype: torch.dtype) -> Program:
    """The archive as a function of one batch, with its weights on ``device``.

    In the dtype it was exported in it runs as it is. For another one its weights are cast, as long as its graph names
    no floating dtype: what ``x.to(torch.float32)`` or a softmax in float32 were meant for cannot be told from a graph.
    Raises IbenchError for an archive that is damaged, would need code to be run, or cannot run in ``dtype``.
    """
    try:
        with opened(file) as members:
            name = model_name(members)
            exported = read_model(members.text(f"models/{name}.json"))
            weights = {
                **read_tensors(members, "data/weights", f"{name}_weights_config.json"),
                **read_tensors(members, "data/constants", f"{name}_constants_config.json"),
            }
        module = exported.graph_module
        if (native := _main_dtype(weights)) in (None, dtype):
            placed = {key: tensor.to(device) for key, tensor in weights.items()}
            return make_program(str(file), module.graph, module.signature, placed, device)
        _refuse_named_dtypes(module.graph.nodes, native, dtype)
        placed = {
            key: tensor.to(device, dtype if tensor.is_floating_point() else None) for key, tensor in weights.items()
        }
        program = make_program(str(file), module.graph, module.signature, placed, device)
        return replace(program, dtype=dtype) if program.dtype.is_floating_point else program
    except Refusal as reason:
        raise IbenchError(f"{file}: {reason}") from reason


def _main_dtype(weights: Mapping[str, Tensor]) -> torch.dtype | None:
    """The floating dtype of most numbers in the weights; None without any."""
    numbers: Counter[torch.dtype] = Counter()
    for tensor in weights.values():
        if tensor.is_floating_point():
            numbers[tensor.dtype] += tensor.numel()
    return max(numbers, key=numbers.__getitem__, default=None)


def _refuse_named_dtypes(nodes: Iterable[Node], native: torch.dtype | None, wanted: torch.dtype) -> None:
    for node in nodes:
        named = [DTYPES.get(one.arg.as_scalar_type or 0) for one in node.inputs]
        dtype = next((one for one in named if one is not None and one.is_floating_point), None)
        if dtype is not None and find_operator(node.target) is not None:
            raise Refusal(
                f"was exported in {_called(native)} and its graph names {_called(dtype)} ('{node.target:.80}'), so "
                f"that it cannot run in {_called(wanted)}: use the --dtype it has, or export it in the one you want"
            )


def _called(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
