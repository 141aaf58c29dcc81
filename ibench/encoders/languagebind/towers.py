"""The two towers of a LanguageBind folder (released code ``languagebind/*/modeling_*.py``), and the merging of LoRA.

Both are CLIP's transformers; the vision tower may attend over time before it attends over space. Modules are named
as the stored keys are, so that a state dict loads without a table of names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ibench.encoders.prefixes import Tree, end_places, in_trees
from ibench.errors import IbenchError

_LORA = re.compile(r"(.*)\.lora_(A|B)\.default\.weight")
_UNUSED = re.compile(r"(text|vision)_model\.embeddings\.position_ids|logit_scale")
"""In a checkpoint, and nothing a unit vector depends on: the counted positions, and the scale of similarities."""


class TowerConfig(BaseModel):
    """What ``text_config`` and ``vision_config`` have in common; defaults are those of the released classes."""

    model_config = ConfigDict(frozen=True)

    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt = 12
    num_attention_heads: PositiveInt
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    @model_validator(mode="after")
    def _divisible(self) -> TowerConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"{self.num_attention_heads} heads do not divide hidden_size {self.hidden_size}")
        return self


class TextConfig(TowerConfig):
    """``text_config`` of a LanguageBind config.json."""

    hidden_size: PositiveInt = 512
    intermediate_size: PositiveInt = 2048
    num_attention_heads: PositiveInt = 8
    vocab_size: PositiveInt = 49408
    max_position_embeddings: PositiveInt = 77


class VisionConfig(TowerConfig):
    """``vision_config`` of a LanguageBind config.json, whatever the modality is.

    The defaults of ``audio_mean`` and ``audio_std`` are the published values, not those of the released class (0.5),
    and ``max_depth`` is in metres (0: the farthest of each map).
    """

    hidden_size: PositiveInt = 768
    intermediate_size: PositiveInt = 3072
    num_attention_heads: PositiveInt = 12
    num_channels: PositiveInt = 3
    image_size: PositiveInt = 224
    patch_size: PositiveInt = 32
    add_time_attn: bool = False
    num_frames: PositiveInt = 1
    lora_alpha: float = 16.0
    num_mel_bins: NonNegativeInt = 0
    target_length: NonNegativeInt = 0
    audio_sample_rate: PositiveInt = 16_000
    audio_mean: float = -4.2677393
    audio_std: float = 4.5689974
    max_depth: NonNegativeFloat = 10.0

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of what the patches are cut from: pixels, or mel bins and frames."""
        spectrogram = self.num_mel_bins, self.target_length
        return spectrogram if all(spectrogram) else (self.image_size, self.image_size)


class Config(BaseModel):
    """config.json of a LanguageBind folder."""

    model_config = ConfigDict(frozen=True)

    text_config: TextConfig
    vision_config: VisionConfig
    projection_dim: PositiveInt = 512


class Towers(nn.Module):
    """Text and one other modality, each with its projection into the common space."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.text_model = TextTower(config.text_config)
        self.vision_model = VisionTower(config.vision_config)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, config.projection_dim, bias=False)

    def embed_text(self, ids: Tensor) -> Tensor:
        """Token ids [n, context] to embeddings [n, dim], not normalised."""
        return self.text_projection(self.text_model(ids))  # type: ignore[no-any-return]

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Frames [n, T, channels, H, W] to embeddings [n, dim], not normalised; T is 1 for all but video."""
        return self.visual_projection(self.vision_model(frames))  # type: ignore[no-any-return]


class TextTower(nn.Module):
    """CLIP's text transformer: causal, read at the end token, which is the largest id."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(config, frames=0)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids [n, context] to [n, width]."""
        return in_trees(ids, end_places(ids, None), self._read)

    def _read(self, tree: Tree) -> Tensor:
        tokens = self.embeddings(tree.ids, tree.places).unsqueeze(0)
        tokens = self.encoder(tokens, frames=1, visible=tree.visible)
        return self.final_layer_norm(tokens[0, tree.ends])  # type: ignore[no-any-return]


class TextEmbeddings(nn.Module):
    """Tokens and their positions."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        """Token ids [m] and their places [m] in their texts to [m, width]."""
        return self.token_embedding(ids) + self.position_embedding(places)  # type: ignore[no-any-return]


class VisionTower(nn.Module):
    """CLIP's vision transformer over every frame; the class token of each is normalised, then they are averaged."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = PatchEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)  # CLIP's own spelling
        self.encoder = Encoder(config, frames=config.num_frames if config.add_time_attn else 0)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [n, T, channels, H, W] to [n, width]."""
        samples, count = frames.shape[:2]
        tokens = self.pre_layrnorm(self.embeddings(frames.flatten(0, 1)))
        tokens = self.encoder(tokens, frames=count)
        pooled: Tensor = self.post_layernorm(tokens[:, 0])
        return pooled.reshape(samples, count, -1).mean(dim=1)


class PatchEmbeddings(nn.Module):
    """A class token and the patches of an image, or of a spectrogram seen as one, with their positions."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        rows, columns = (side // patch for side in config.input_size)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(config.num_channels, width, patch, patch, bias=False)
        self.position_embedding = nn.Embedding(rows * columns + 1, width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [n, channels, H, W] to [n, 1 + patches, width]."""
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        classes = self.class_embedding.expand(len(patches), 1, -1)
        return torch.cat([classes, patches], dim=1) + self.position_embedding.weight


class Encoder(nn.Module):
    """A stack of layers."""

    def __init__(self, config: TowerConfig, frames: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, frames) for _ in range(config.num_hidden_layers))

    def forward(self, tokens: Tensor, frames: int, visible: Tensor | None = None) -> Tensor:
        """Tokens [n · frames, tokens, width], the frames of a sample side by side, to the same.

        ``visible`` bool [tokens, tokens] is what each may attend to; None: all.
        """
        for layer in self.layers:
            tokens = layer(tokens, frames, visible)
        return tokens


class Layer(nn.Module):
    """Attention over time where ``frames`` is not 0, attention over space, perceptron: each pre-norm and residual."""

    def __init__(self, config: TowerConfig, frames: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.temporal = frames > 0
        if self.temporal:
            self.temporal_embedding = nn.Parameter(torch.empty(1, frames, width))
            self.temporal_layer_norm1 = nn.LayerNorm(width, config.layer_norm_eps)
            self.temporal_attn = Attention(width, config.num_attention_heads)
        self.layer_norm1 = nn.LayerNorm(width, config.layer_norm_eps)
        self.self_attn = Attention(width, config.num_attention_heads)
        self.layer_norm2 = nn.LayerNorm(width, config.layer_norm_eps)
        self.mlp = Perceptron(config)

    def forward(self, tokens: Tensor, frames: int, visible: Tensor | None) -> Tensor:
        """Tokens [n · frames, tokens, width] to the same."""
        if self.temporal:
            tokens = self._over_time(tokens, frames)
        tokens = tokens + self.self_attn(self.layer_norm1(tokens), visible)
        return tokens + self.mlp(self.layer_norm2(tokens))  # type: ignore[no-any-return]

    def _over_time(self, tokens: Tensor, frames: int) -> Tensor:
        """Every token attends to those in its place in the other frames. One frame gets no time embedding."""
        _, places, width = tokens.shape
        series = tokens.reshape(-1, frames, places, width).transpose(1, 2).reshape(-1, frames, width)
        if frames > 1:
            series = series + self.temporal_embedding
        attended: Tensor = series + self.temporal_attn(self.temporal_layer_norm1(series))
        return attended.reshape(-1, places, frames, width).transpose(1, 2).reshape(-1, places, width)


class Attention(nn.Module):
    """Multi-head attention with a linear layer each for queries, keys, values and the output."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, tokens: Tensor, visible: Tensor | None = None) -> Tensor:
        """Tokens [n, tokens, width] to the same."""
        parts = (project(tokens) for project in (self.q_proj, self.k_proj, self.v_proj))
        query, key, value = (part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Perceptron(nn.Module):
    """Two linear layers around the activation that the config names."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = _activation(config.hidden_act)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(tokens)))  # type: ignore[no-any-return]


class QuickGelu(nn.Module):
    """x · sigmoid(1.702 x), the activation of OpenAI's CLIP."""

    def forward(self, values: Tensor) -> Tensor:
        return values * torch.sigmoid(1.702 * values)


def merged(weights: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """A state dict with every LoRA pair added into the weight it belongs to: W + alpha / r · B · A, in float32.

    The names lose what peft puts in (``base_model.model.`` and, in its later releases, ``base_layer.``); buffers and
    scalars that no embedding depends on are left out. Raises IbenchError for a LoRA factor without its other half,
    or of shapes that do not belong together.
    """
    plain = {_without_peft(key): tensor for key, tensor in weights.items() if not _UNUSED.fullmatch(key)}
    factors = {key: tensor for key, tensor in plain.items() if _LORA.fullmatch(key)}
    result = {key: tensor for key, tensor in plain.items() if key not in factors}
    for target in dict.fromkeys(key.rpartition(".lora_")[0] for key in factors):
        names = f"{target}.lora_B.default.weight", f"{target}.lora_A.default.weight", f"{target}.weight"
        absent = [name for name in names if name not in plain]
        if absent:
            raise IbenchError(f"LoRA of {target}: {absent[0]} is not in the checkpoint")
        up, down, weight = (plain[name].float() for name in names)
        if not up.ndim == down.ndim == 2 or up.shape[1] != down.shape[0] or weight.shape != (len(up), down.shape[1]):
            raise IbenchError(
                f"LoRA of {target}: {tuple(up.shape)} times {tuple(down.shape)} is no {tuple(weight.shape)}"
            )
        result[names[2]] = weight + (alpha / len(down)) * (up @ down)
    return result


def _without_peft(key: str) -> str:
    return key.replace("encoder.base_model.model.", "encoder.").replace(".base_layer.", ".")


def _activation(name: str) -> nn.Module:
    known = {"gelu": nn.GELU(), "quick_gelu": QuickGelu()}
    if name not in known:
        raise IbenchError(f"hidden_act '{name}': LanguageBind towers have {' or '.join(known)}")
    return known[name]
