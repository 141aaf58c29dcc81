"""Prompts as a tree of tokens: what several of a batch begin with goes through a causal text tower once.

In causal attention a token's state depends on those before it alone, so "a photo of a" has the same states before every
class name. The texts of a batch become one sequence that holds each beginning once; a mask shows every token its own
beginning, and each token keeps its place in its text. That is exact, and nothing is padded. Of the 80 templates over
ImageNet's classes, in batches of 64 in order of length, 4.4 tokens are left per prompt of the 77 that towers are fed.

The same mask lets language models check several continuations of one text at a time: Miao et al., "SpecInfer", ASPLOS
2024, arXiv 2305.09781, tree attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

LARGEST = 384
"""Tokens in a tree. Attention is computed between all of them, shown or not, and in larger trees costs more than shared
beginnings save (ViT-B-32's tower on a CPU: 256 and 384 are fastest of 128 to 1,024); 64 prompts make about 290."""


@dataclass(frozen=True)
class Tree:
    """Texts as one sequence of m tokens.

    ``ids`` int64 [m]; ``places`` int64 [m], of each token in its text; ``visible`` bool [m, m], row by row what a token
    attends to: its beginning and itself; ``ends`` int64 [n], where in the sequence each text ends.
    """

    ids: Tensor
    places: Tensor
    visible: Tensor
    ends: Tensor

    def additive(self, dtype: torch.dtype) -> Tensor:
        """``visible`` as what is added to attention's logits: 0 or minus infinity."""
        return torch.zeros_like(self.visible, dtype=dtype).masked_fill_(~self.visible, float("-inf"))


def end_places(ids: Tensor, end: int | None) -> Tensor:
    """Where CLIP's towers are read, [n] for ids [n, L]: at the first token ``end``; None: at the largest id."""
    return (ids if end is None else ids.eq(end).int()).argmax(dim=-1)


def in_trees(ids: Tensor, ends: Tensor, read: Callable[[Tree], Tensor]) -> Tensor:
    """Texts of ids [n, L], each up to its place in ``ends`` [n], through a tower that reads trees: [n, dim]."""
    return torch.cat([read(tree) for tree in trees(ids, ends)])


def trees(ids: Tensor, ends: Tensor, largest: int = LARGEST) -> Iterator[Tree]:
    """The texts in order, each tree of as many as ``largest`` tokens are sure to hold (one longer text is a tree)."""
    growing = _Growing()
    for row, end in zip(ids.tolist(), ends.tolist(), strict=True):
        if growing.ends and len(growing.tokens) + end + 1 > largest:
            yield growing.tree(ids.device)
            growing = _Growing()
        growing.add(row[: end + 1])
    yield growing.tree(ids.device)


@dataclass(frozen=True)
class _Growing:
    """``tokens``: (number of the token before, -1 for none; id) → number, in order; ``ends`` of the texts so far."""

    tokens: dict[tuple[int, int], int] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)

    def add(self, text: Sequence[int]) -> None:
        number = -1
        for token in text:
            number = self.tokens.setdefault((number, token), len(self.tokens))
        self.ends.append(number)

    def tree(self, device: torch.device) -> Tree:
        paths: list[list[int]] = []  # of each token: the numbers of its beginning and itself
        for before, _ in self.tokens:
            paths.append([*(paths[before] if before >= 0 else ()), len(paths)])
        lengths = torch.tensor([len(path) for path in paths])
        visible = torch.zeros(len(paths), len(paths), dtype=torch.bool)
        rows = torch.arange(len(paths)).repeat_interleave(lengths)
        visible[rows, torch.tensor([number for path in paths for number in path])] = True
        ids = torch.tensor([token for _, token in self.tokens])
        return Tree(
            ids.to(device), (lengths - 1).to(device), visible.to(device), torch.tensor(self.ends, device=device)
        )
