"""Sizes that a config claims, held against the weights before memory or hours are spent on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

from ibench.errors import IbenchError

MOST = 10**8
"""Of any whole number in a model's config; vocabularies, the largest that occur, are a hundredth of it."""

MOST_SEEN = 10_000
"""Of the side of an image in pixels, of frames, and of seconds."""

_SEEN = frozenset(
    {"size", "crop_size", "image_size", "height", "width", "shortest_edge", "num_frames", "max_num_patches",
     "patch_size", "max_length_s"}
)  # fmt: skip

_TIMES = 4
_SPARE_TENSORS, _SPARE_NUMBERS = 1_000, 1 << 26
"""A model may be this much larger than its weights and is still built, so that the keys at fault can be named."""

Model = TypeVar("Model", bound=nn.Module)


def refuse_absurd(config: Any, where: object, most: int = MOST) -> None:
    """Raises IbenchError naming the first whole number of a model's config that is larger than ``most``."""
    for place, value in _whole_numbers(config):
        if abs(value) > most:
            raise IbenchError(f"{where}: {place} is {value:,}; no model has that, is the file damaged?")


def refuse_absurd_views(settings: Any, where: object) -> None:
    """Raises IbenchError for a front end that would make views too large for memory: sides, frames, seconds."""
    for place, value in _whole_numbers(settings):
        if value > MOST_SEEN and not _SEEN.isdisjoint(place.split(".")):
            raise IbenchError(f"{where}: {place} is {value:,}, the limit is {MOST_SEEN:,}; is the file damaged?")


def built_within(build: Callable[[], Model], weights: Mapping[str, Tensor], where: object) -> Model:
    """What ``build`` makes, without memory (on torch's meta device), given up once it outgrows its weights.

    Raises IbenchError beyond four times as many tensors or numbers as the weights have, with some to spare: what is
    nearer is compared key by key later, by `ibench.encoders.weights.load_strictly` or its like.
    """
    most_tensors = _TIMES * len(weights) + _SPARE_TENSORS
    most_numbers = _TIMES * sum(tensor.numel() for tensor in weights.values()) + _SPARE_NUMBERS
    tensors = numbers = 0

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal tensors, numbers
        tensors += 1
        numbers += tensor.numel() if tensor is not None else 0
        if tensors > most_tensors or numbers > most_numbers:
            raise IbenchError(
                f"{where}: describes a far larger model than its weights are, {len(weights):,} tensors of "
                f"{sum(tensor.numel() for tensor in weights.values()):,} numbers; are both of one model?"
            )

    hooks = [
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
    ]
    try:
        with torch.device("meta"):
            return build()
    finally:
        for hook in hooks:
            hook.remove()


def _whole_numbers(config: Any, place: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number in nested dicts and lists, with the dotted keys that lead to it."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from _whole_numbers(value, f"{place}.{key}" if place else str(key))
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _whole_numbers(value, place)
    elif isinstance(config, int) and not isinstance(config, bool):
        yield place, config
