"""The state dict of an ImageBind checkpoint: which key is which parameter, and what the shapes tell.

The layout is that of the released ``imagebind_huge.pth``: a flat dict whose keys begin with
``modality_preprocessors.``, ``modality_trunks.``, ``modality_heads.`` or ``modality_postprocessors.``, then the tower.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor

from ibench.encoders.imagebind.towers import IMU_CHANNELS, TextTower, Tower, TowerShape, build_tower
from ibench.encoders.weights import refuse_faults, refuse_misfit
from ibench.errors import IbenchError

Shapes = Mapping[str, tuple[int, ...]]

HEAD_WIDTHS = {"vision": 80, "text": 64, "audio": 64, "depth": 48, "thermal": 64, "imu": 64}
"""Width of an attention head in the published towers: the one size a state dict does not tell."""

AUDIO_STRIDE = 10
"""The audio patches overlap, 16 × 16 every 10; everywhere else the stride is the kernel's size."""

_STEMS = {
    "vision": ("rgbt_stem.proj.1", None),  # proj.0 is the released code's step that repeats a still image
    "text": ("token_embedding", None),
    "audio": ("rgbt_stem.proj", "rgbt_stem.norm_layer"),
    "depth": ("depth_stem.proj", "depth_stem.norm_layer"),
    "thermal": ("rgbt_stem.proj", "rgbt_stem.norm_layer"),
    "imu": ("imu_stem.proj", "imu_stem.norm_layer"),
}
_HEADS = {"text": ("proj.0", "proj.1"), "imu": ("0", "3")}  # the others: 0 is the norm, 2 the projection
_NOT_WHOLE = "not a whole ImageBind checkpoint"
_KEY = re.compile(r"modality_(?:preprocessors|trunks|heads|postprocessors)\.(\w+)\.")
_BLOCK = re.compile(r"modality_trunks\.(\w+)\.blocks\.(\d+)\.")
# In the checkpoint, and nothing an embedding depends on: the causal mask, and the scales of vectors that we normalise.
_UNUSED = re.compile(r"modality_preprocessors\.text\.mask|modality_postprocessors\.\w+\.1\.log_logit_scale")


def has_towers(keys_and_shapes: Shapes) -> bool:
    """Whether these are the keys of an ImageBind checkpoint: the trunk of at least one tower is among them."""
    return any(match and match[1] in HEAD_WIDTHS for match in map(_BLOCK.match, keys_and_shapes))


def checkpoint_names(tower: str) -> dict[str, str]:
    """Where the parts of a `Tower` or `TextTower` are in a checkpoint: our prefix → theirs."""
    before, trunk, head = f"modality_preprocessors.{tower}", f"modality_trunks.{tower}", f"modality_heads.{tower}"
    stem, stem_norm = _STEMS[tower]
    norm, proj = _HEADS.get(tower, ("0", "2"))
    positions = "pos_embed" if tower in ("text", "imu") else "pos_embedding_helper.pos_embed"
    return {
        "stem.weight": f"{before}.{stem}.weight",
        "stem.norm": f"{before}.{stem_norm}",
        "cls_token": f"{before}.cls_token",
        "pos_embed": f"{before}.{positions}",
        "early_norm": f"{trunk}.pre_transformer_layer.0",
        "blocks": f"{trunk}.blocks",  # below it, the names are the same
        "norm": f"{head}.{norm}",
        "proj": f"{head}.{proj}",
    }


def load_towers(
    state_dict: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype, heads: Mapping[str, int]
) -> dict[str, tuple[TowerShape, Tower | TextTower]]:
    """The towers that a checkpoint holds, in evaluation mode, with the sizes its shapes tell.

    Raises IbenchError naming the first missing, unexpected and misshapen keys when it does not hold exactly the
    parameters of the towers it begins, and when its sizes fit no head count.
    """
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    names = [tower for tower in HEAD_WIDTHS if any(_tower_of(key) == tower for key in shapes)]
    sizes = {tower: tower_shape(tower, shapes, heads) for tower in names}
    with torch.device("meta"):
        towers = {tower: build_tower(size) for tower, size in sizes.items()}
    sources = {tower: _sources(tower, module) for tower, module in towers.items()}
    wanted = {
        sources[tower][name]: value for tower, module in towers.items() for name, value in module.state_dict().items()
    }
    refuse_misfit(_NOT_WHOLE, wanted, {key: value for key, value in state_dict.items() if not _UNUSED.fullmatch(key)})
    for tower, module in towers.items():
        weights = {name: state_dict[key].to(device, dtype) for name, key in sources[tower].items()}
        module.load_state_dict(weights, assign=True)
        module.eval().requires_grad_(False)
    return {tower: (sizes[tower], module) for tower, module in towers.items()}


def tower_shape(tower: str, shapes: Shapes, heads: Mapping[str, int]) -> TowerShape:
    """The sizes of a tower, read off the shapes of a few of its weights. ``heads`` overrides the published width."""
    names = checkpoint_names(tower)
    anchors = {
        names["stem.weight"]: {"vision": 5, "text": 2, "imu": 2}.get(tower, 4),
        names["pos_embed"]: 3,
        names["proj"] + ".weight": 2,
        names["blocks"] + ".0.mlp.fc1.weight": 2,
    }
    missing = [key for key in anchors if key not in shapes]
    misshapen = [f"{key} {shapes[key]}" for key, axes in anchors.items() if key in shapes and len(shapes[key]) != axes]
    refuse_faults(_NOT_WHOLE, missing=missing, misshapen=misshapen)
    stem, positions, proj, fc1 = (shapes[key] for key in anchors)
    if tower not in heads and proj[1] % HEAD_WIDTHS[tower]:
        raise IbenchError(
            f"ImageBind {tower} tower: {proj[1]} is no multiple of the published head width {HEAD_WIDTHS[tower]}, "
            f"and a state dict does not tell the number of heads: say heads={{'{tower}': ...}}"
        )
    count = heads[tower] if tower in heads else proj[1] // HEAD_WIDTHS[tower]
    if count < 1 or proj[1] % count:
        raise IbenchError(f"ImageBind {tower} tower: {count} heads do not divide its width {proj[1]}")
    strides = {"audio": AUDIO_STRIDE, "imu": stem[1] // IMU_CHANNELS}
    return TowerShape(
        tower=tower,
        stem=stem,
        stride=strides.get(tower, stem[-1]),
        positions=positions[1],
        width=proj[1],
        hidden=fc1[0],
        # how many there are, not the largest number: a key may say any
        blocks=len({match[2] for match in map(_BLOCK.match, shapes) if match and match[1] == tower}),
        heads=count,
        dim=proj[0],
        stem_norm=tower not in ("vision", "text"),
        early_norm=tower == "vision",
        bias_kv=tower not in ("vision", "text"),
    )


def image_size(shape: TowerShape) -> int:
    """Pixels of the square image that a vision, depth or thermal tower takes. Raises IbenchError if it is no square."""
    side = isqrt(shape.positions - 1)
    if side * side != shape.positions - 1:
        raise IbenchError(f"ImageBind {shape.tower} tower: {shape.positions - 1} patches are no square image")
    return side * shape.stride


def _sources(tower: str, module: Tower | TextTower) -> dict[str, str]:
    names = checkpoint_names(tower)
    sources = {}
    for name in module.state_dict():
        ours = next(prefix for prefix in names if name == prefix or name.startswith(prefix + "."))
        sources[name] = names[ours] + name[len(ours) :]
    return sources


def _tower_of(key: str) -> str | None:
    match = _KEY.match(key)
    return match[1] if match else None
