"""``--compile``: the repeated blocks of a model compiled by torch, whatever the family."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from ibench.errors import IbenchError

T = TypeVar("T")


def with_compiled_blocks(load: Callable[[], T], device: str) -> T:
    """What ``load`` makes, the blocks of its models compiled when they first run.

    A block is a member of a ModuleList or Sequential whose members are of one class and have parts of their own: the
    layers of a transformer, mostly. All of them share one compiled graph, so it takes seconds where the whole model
    takes minutes, and gains nearly as much. Sizes are dynamic: texts of another length compile nothing anew. The blocks
    are seen as they are made, since families keep their models in places of their own. Raises IbenchError where torch
    finds no compiler, and for a model without blocks.
    """
    _refuse_without_compiler(device)
    stacks: dict[int, nn.Module] = {}

    def see(parent: nn.Module, name: str, child: nn.Module | None) -> None:
        if isinstance(parent, nn.ModuleList | nn.Sequential):
            stacks[id(parent)] = parent  # kept, so that the id stays its own

    hook = register_module_module_registration_hook(see)
    try:
        made = load()
    finally:
        hook.remove()
    blocks = [block for stack in stacks.values() for block in _blocks(stack)]
    if not blocks:
        raise IbenchError("--compile: this encoder has no stack of equal blocks to compile; run it without")
    for block in blocks:
        block.compile(dynamic=True)
    return made


def _blocks(stack: nn.Module) -> list[nn.Module]:
    members = list(stack.children())
    alike = len(members) > 1 and len({type(member) for member in members}) == 1
    return [member for member in members if next(member.children(), None) is not None] if alike else []


def _refuse_without_compiler(device: str) -> None:
    """Inductor wants a C++ compiler for a CPU and Triton for a GPU; a first small graph tells."""
    try:
        torch.compile(_small)(torch.ones(64, device=device))
    except Exception as error:  # torch tells of a missing compiler in many classes, and a new one in each release
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise IbenchError(f"--compile: torch cannot compile for {device} here ({reason}); run it without") from error


def _small(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(x) + 1
