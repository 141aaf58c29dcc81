"""HTSAT, the audio tower of LAION-CLAP and MS-CLAP: its released code's state dict as transformers' ClapAudioModel.

Chen et al., "HTS-AT: A Hierarchical Token-Semantic Audio Transformer for Sound Classification and Detection", ICASSP
2022, arXiv 2202.00874. Keys here are those of ``HTSAT_Swin_Transformer``, without the prefix a checkpoint gives them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from ibench.encoders.weights import Shapes

_NOT_IN_TRANSFORMERS = re.compile(
    r"(spectrogram_extractor|logmel_extractor|tscam_conv|head)\."  # front end; AudioSet classifier
    r"|.*\.(attn_mask|relative_position_index)$"  # computed
)

# From the key mapping of transformers' convert_clap_original_pytorch_to_hf.py, restricted to where each applies.
_RENAMED = (
    (re.compile(r"(\.blocks\.\d+)\.attn\.proj\."), r"\1.attention.output.dense."),
    (re.compile(r"(\.blocks\.\d+)\.attn\."), r"\1.attention.self."),
    (re.compile(r"(\.blocks\.\d+)\.mlp\.fc1\."), r"\1.intermediate.dense."),
    (re.compile(r"(\.blocks\.\d+)\.mlp\.fc2\."), r"\1.output.dense."),
    (re.compile(r"(\.blocks\.\d+)\.norm1\."), r"\1.layernorm_before."),
    (re.compile(r"(\.blocks\.\d+)\.norm2\."), r"\1.layernorm_after."),
    (re.compile(r"^bn0\."), "batch_norm."),
)


def config_of(shapes: Shapes) -> dict[str, Any]:
    """Settings of a ClapAudioConfig. Raises IbenchError when a tensor that tells a size is missing or misshapen."""
    depths = shapes.counts(r"layers\.(\d+)\.blocks\.(\d+)\.norm1\.weight")
    table = "layers.{}.blocks.0.attn.relative_position_bias_table"
    biases = [shapes.of(table.format(stage), 2) for stage in range(max(len(depths), 1))]
    return {
        "patch_embeds_hidden_size": shapes.of("patch_embed.proj.weight", 4)[0],
        "depths": depths,
        "num_attention_heads": [heads for _, heads in biases],
        "window_size": (isqrt(biases[0][0]) + 1) // 2,
        "hidden_size": shapes.of("norm.weight", 1)[0],
        "num_mel_bins": shapes.of("bn0.weight", 1)[0],
        "enable_fusion": bool(shapes.counts(r"(patch_embed)\.mel_conv2d\.weight")),
    }


def converted(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under the names of transformers' ClapAudioEncoder, the fused query, key and value taken apart."""
    result: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        if _NOT_IN_TRANSFORMERS.match(key):
            continue
        for pattern, new in _RENAMED:
            key = pattern.sub(new, key)
        if ".qkv." in key:
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            result |= {key.replace(".qkv.", f".{name}."): part for name, part in parts}
        else:
            result[key] = tensor
    return result
