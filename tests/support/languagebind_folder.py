"""Tiny LanguageBind folders with random weights, laid out as the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTH, HIDDEN, LAYERS, HEADS, DIM = 16, 32, 2, 2, 8
VOCABULARY, CONTEXT = 524, 12
VISION: dict[str, dict[str, Any]] = {
    "video": {"add_time_attn": True, "num_frames": 8},
    "audio": {"num_mel_bins": 28, "target_length": 112, "audio_mean": -4.2677393, "audio_std": 4.5689974},
    "depth": {"max_depth": 10},
    "thermal": {},
    "image": {},
}


def config_of(modality: str, **vision: Any) -> dict[str, Any]:
    """config.json of a folder; ``vision`` overrides keys of vision_config."""
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_act": "gelu",
    }
    seen = {**sizes, "image_size": 28, "patch_size": 14, "add_time_attn": False, "num_frames": 1, "lora_r": 0}
    return {
        "model_type": f"LanguageBind{modality.capitalize()}",
        "architectures": [f"LanguageBind{modality.capitalize()}"],
        "projection_dim": DIM,
        "text_config": {**sizes, "vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT},
        "vision_config": {**seen, "lora_alpha": 16, **VISION[modality], **vision},
    }


def weights_of(config: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Random weights under the published keys, LoRA beside it when ``lora_r`` is not 0."""
    vision = config["vision_config"]
    rows, columns = vision["image_size"] // 14, vision["image_size"] // 14
    if "num_mel_bins" in vision:
        rows, columns = vision["num_mel_bins"] // 14, vision["target_length"] // 14
    shapes = {
        "logit_scale": (),
        "text_projection.weight": (DIM, WIDTH),
        "visual_projection.weight": (DIM, WIDTH),
        "text_model.embeddings.token_embedding.weight": (VOCABULARY, WIDTH),
        "text_model.embeddings.position_embedding.weight": (CONTEXT, WIDTH),
        "vision_model.embeddings.class_embedding": (WIDTH,),
        "vision_model.embeddings.patch_embedding.weight": (WIDTH, 3, 14, 14),
        "vision_model.embeddings.position_embedding.weight": (rows * columns + 1, WIDTH),
        **_norm("text_model.final_layer_norm"),
        **_norm("vision_model.pre_layrnorm"),
        **_norm("vision_model.post_layernorm"),
    }
    rank = vision["lora_r"]
    inside = "vision_model.encoder.base_model.model.layers" if rank else "vision_model.encoder.layers"
    for layer in range(LAYERS):
        shapes |= _layer(f"text_model.encoder.layers.{layer}", frames=0)
        shapes |= _layer(f"{inside}.{layer}", vision["num_frames"] if vision["add_time_attn"] else 0)
        adapted = "temporal_attn" if vision["add_time_attn"] else "self_attn"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj") if rank else ():
            shapes[f"{inside}.{layer}.{adapted}.{name}.lora_A.default.weight"] = (rank, WIDTH)
            shapes[f"{inside}.{layer}.{adapted}.{name}.lora_B.default.weight"] = (WIDTH, rank)
    generator = torch.Generator().manual_seed(seed)
    weights = {key: torch.randn(shape, generator=generator) * 0.3 for key, shape in shapes.items()}
    weights["text_model.embeddings.position_ids"] = torch.arange(CONTEXT)[None]
    return weights


def write_folder(folder: Path, config: dict[str, Any], weights: dict[str, Tensor]) -> Path:
    """The folder, with a tokenizer of single characters."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if config["vision_config"]["lora_r"]:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors")
    _write_tokenizer(folder)
    return folder


def _write_tokenizer(folder: Path) -> None:
    # CLIP's byte alphabet begins with the printable characters; no merges, so every character is a token
    characters = [chr(code) for code in [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)]]
    tokens = [*characters, *(character + "</w>" for character in characters)]
    tokens += [f"<unused{number}>" for number in range(VOCABULARY - 2 - len(tokens))]
    vocabulary = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def _linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _layer(name: str, frames: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for attention in ("self_attn", "temporal_attn") if frames else ("self_attn",):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{name}.{attention}.{part}", WIDTH, WIDTH)
    if frames:
        shapes |= {f"{name}.temporal_embedding": (1, frames, WIDTH), **_norm(f"{name}.temporal_layer_norm1")}
    shapes |= {**_norm(f"{name}.layer_norm1"), **_norm(f"{name}.layer_norm2")}
    return shapes | _linear(f"{name}.mlp.fc1", HIDDEN, WIDTH) | _linear(f"{name}.mlp.fc2", WIDTH, HIDDEN)
