"""The six towers of ImageBind (arXiv 2305.05665, Section 3 and Appendix B; released code ``models/``).

Each tower is a stem that turns its input into tokens, learned positions, a pre-norm transformer and a linear head on
one pooled token. They differ in what `TowerShape` holds.

Two things are computed more cheaply than in the released code, and equal it to rounding: the last block updates only
the token that is pooled, and what several prompts of a batch begin with is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibench.encoders.prefixes import Tree, end_places, in_trees

NORM_EPS = 1e-6
STEM_NORM_EPS = 1e-5
IMU_CHANNELS = 6


@dataclass(frozen=True)
class TowerShape:
    """The sizes of one tower: ``stem`` is the shape of the stem's weight, ``positions`` counts the class token."""

    tower: str
    stem: tuple[int, ...]
    stride: int
    positions: int
    width: int
    hidden: int
    blocks: int
    heads: int
    dim: int
    stem_norm: bool
    early_norm: bool
    bias_kv: bool


def build_tower(shape: TowerShape) -> Tower | TextTower:
    """An uninitialised tower of this shape."""
    return TextTower(shape) if shape.tower == "text" else Tower(shape)


class Tower(nn.Module):
    """Vision, audio, depth, thermal and IMU: a class token before the patches, pooled after the last block."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.stem = ImuStem(shape) if shape.tower == "imu" else PatchStem(shape)
        self.cls_token = nn.Parameter(torch.empty(1, 1, shape.width))
        self.pos_embed = nn.Parameter(torch.empty(1, shape.positions, shape.width))
        self.early_norm = nn.LayerNorm(shape.width, NORM_EPS) if shape.early_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(shape.width, NORM_EPS)
        self.proj = nn.Linear(shape.width, shape.dim, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [n, ...] to embeddings [n, dim], not normalised."""
        patches = self.stem(inputs)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        tokens = self.early_norm(tokens)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        pooled = self.blocks[-1](tokens, queries=tokens[:, :1])
        return self.proj(self.norm(pooled[:, 0]))  # type: ignore[no-any-return]


class TextTower(nn.Module):
    """Text: causal attention, pooled at the end token, which is the largest id of the vocabulary."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.stem = nn.Embedding(shape.stem[0], shape.stem[1])
        self.pos_embed = nn.Parameter(torch.empty(1, shape.positions, shape.width))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(shape.width, NORM_EPS)
        self.proj = nn.Linear(shape.width, shape.dim, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids [n, up to positions] to embeddings [n, dim], not normalised."""
        return in_trees(ids, end_places(ids, None), self._read)

    def _read(self, tree: Tree) -> Tensor:
        tokens = (self.stem(tree.ids) + self.pos_embed[0, tree.places]).unsqueeze(0)
        for block in self.blocks[:-1]:
            tokens = block(tokens, visible=tree.visible)
        pooled = self.blocks[-1](tokens, queries=tokens[:, tree.ends], visible=tree.visible[tree.ends])
        return self.proj(self.norm(pooled[0]))  # type: ignore[no-any-return]


class PatchStem(nn.Module):
    """Patches of an image, a clip, a spectrogram or a map: a convolution, and a norm where the tower has one."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.stride = shape.stride
        self.weight = nn.Parameter(torch.empty(shape.stem))
        self.norm = nn.LayerNorm(shape.width, STEM_NORM_EPS) if shape.stem_norm else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """[n, channels, H, W], or [n, channels, T, H, W] for a clip as long as the kernel, to [n, patches, width]."""
        weight: Tensor = self.weight
        if inputs.ndim == 5:  # the kernel spans the clip, so time is as good as more channels
            inputs, weight = inputs.flatten(1, 2), weight.flatten(1, 2)
        elif weight.ndim == 5:  # a still image repeated over the kernel's frames: the same as the kernel summed
            weight = weight.sum(dim=2)
        patches = F.conv2d(inputs, weight, stride=self.stride)
        return self.norm(patches.flatten(2).transpose(1, 2))  # type: ignore[no-any-return]


class ImuStem(nn.Module):
    """Stretches of ``kernel`` steps; a token holds all six channels of a stretch, channel after channel."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.kernel = shape.stride
        self.weight = nn.Parameter(torch.empty(shape.stem))
        self.norm = nn.LayerNorm(shape.width, STEM_NORM_EPS)

    def forward(self, inputs: Tensor) -> Tensor:
        """[n, 6, steps] to [n, steps / kernel, width]."""
        stretches = inputs.reshape(*inputs.shape[:2], -1, self.kernel).transpose(1, 2).flatten(2)
        return self.norm(F.linear(stretches, self.weight))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm attention and a two-layer perceptron with exact GELU, both residual."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(shape.width, NORM_EPS)
        self.attn = Attention(shape.width, shape.heads, shape.bias_kv)
        self.norm_2 = nn.LayerNorm(shape.width, NORM_EPS)
        self.mlp = Perceptron(shape.width, shape.hidden)

    def forward(self, tokens: Tensor, queries: Tensor | None = None, visible: Tensor | None = None) -> Tensor:
        """Tokens [n, tokens, width] to the same; with ``queries`` [n, few, width], some of them, to those alone.

        ``visible`` bool [queries, tokens] is what each may attend to; None: all.
        """
        normed = self.norm_1(tokens)
        if queries is None:
            tokens = tokens + self.attn(normed, normed, visible)
        else:
            tokens = queries + self.attn(self.norm_1(queries), normed, visible)
        return tokens + self.mlp(self.norm_2(tokens))  # type: ignore[no-any-return]


class Perceptron(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head attention, with one learned key and value after the sequence where the tower has them."""

    def __init__(self, width: int, heads: int, bias_kv: bool) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.bias_k = nn.Parameter(torch.empty(1, 1, width)) if bias_kv else None
        self.bias_v = nn.Parameter(torch.empty(1, 1, width)) if bias_kv else None

    def forward(self, queries: Tensor, tokens: Tensor, visible: Tensor | None) -> Tensor:
        """What ``queries`` [n, q, width] gather from ``tokens`` [n, l, width]: [n, q, width]."""
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, tokens.shape[-1]
        if queries is tokens:
            query, key, value = F.linear(tokens, weight, bias).chunk(3, dim=-1)
        else:
            query = F.linear(queries, weight[:width], bias[:width])
            key, value = F.linear(tokens, weight[width:], bias[width:]).chunk(2, dim=-1)
        if self.bias_k is not None and self.bias_v is not None:
            key = torch.cat([key, self.bias_k.expand(len(key), -1, -1)], dim=1)
            value = torch.cat([value, self.bias_v.expand(len(value), -1, -1)], dim=1)
        query, key, value = (self._split(part) for part in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, tokens: Tensor) -> Tensor:
        """[n, l, width] to [n, heads, l, width / heads]."""
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)
