"""Folders of transformers with an image or video tower and a text tower: CLIP and its kin, SigLIP, ALIGN, X-CLIP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor

from ibench.encoders.base import DTYPES, Card, Preprocess
from ibench.encoders.folder_weights import files_read
from ibench.encoders.hf_folder import (
    ImageSteps,
    Tokenize,
    TowersEncoder,
    as_rgb,
    load_model,
    load_processor,
    load_tokenizer,
    model_type,
    pooled,
    settings_of,
)
from ibench.encoders.prefixes import Tree, end_places, in_trees
from ibench.encoders.source import Family, Opening, Source
from ibench.encoders.trimming import without_padding
from ibench.errors import IbenchError
from ibench.modalities import Modality, RawSample


@dataclass(frozen=True)
class _Kind:
    """What a ``model_type`` means.

    ``tokens``: length of a text; None: as many as its tower has positions. ``masked``: whether padding is hidden from
    its tower. ``at_end``: read at the end token, all others at the first, or without a mask at the last position.
    """

    name: str
    model: str
    tokens: int | None = None
    masked: bool = True
    at_end: bool = False
    lower: bool = False


# Lengths: the position tables of CLIP, X-CLIP (77) and SigLIP (64), which was trained on padding without a mask and
# on lower case (its first tokenizer does that itself, the Gemma tokenizer of SigLIP 2 did not before transformers 5);
# ALIGN 64 (transformers' AlignProcessor), AltCLIP 77 (FlagAI), Chinese-CLIP 52 (OFA-Sys/Chinese-CLIP).
_KINDS = {
    "align": _Kind("ALIGN", "AlignModel", tokens=64),
    "altclip": _Kind("AltCLIP", "AltCLIPModel", tokens=77),
    "chinese_clip": _Kind("Chinese-CLIP", "ChineseCLIPModel", tokens=52),
    "clip": _Kind("CLIP", "CLIPModel", at_end=True),
    "siglip": _Kind("SigLIP", "SiglipModel", masked=False, lower=True),
    "siglip2": _Kind("SigLIP 2", "Siglip2Model", masked=False, lower=True),
    "xclip": _Kind("X-CLIP", "XCLIPModel", at_end=True),
}

_MASKED_ATTENTION = ("eager", "sdpa")
"""transformers' implementations of attention that take any mask."""

FAMILIES = (
    Family(
        "transformers",
        "image, text",
        f"model_type in config.json: {', '.join(key for key in _KINDS if key != 'xclip')}",
        "path/to/folder",
    ),
    Family("transformers", "text, video", "model_type in config.json: xclip", "path/to/folder"),
)


@dataclass(frozen=True)
class Pixels:
    """Image → [1, 3, H, W] by the early steps of the folder's own processor, after conversion to RGB."""

    steps: ImageSteps

    def __call__(self, raw: RawSample) -> Tensor:
        return self.steps.early(as_rgb(raw))

    def __str__(self) -> str:
        return f"RGB on white, {settings_of(self.steps.processor)}"


@dataclass(frozen=True)
class Patches:
    """Image → float32 [1, patches + 1, values]: SigLIP 2's patches at the image's own aspect ratio.

    The last row begins with the height and width of the grid of patches, which the towers' mask follows from.
    """

    processor: Any

    def __call__(self, raw: RawSample) -> Tensor:
        seen = self.processor(images=as_rgb(raw), return_tensors="pt")
        patches = seen["pixel_values"]
        grid = torch.zeros(1, 1, patches.shape[2])
        grid[0, 0, :2] = torch.as_tensor(seen["spatial_shapes"][0])
        return torch.cat([patches, grid], dim=1)

    def __str__(self) -> str:
        return f"RGB on white, {settings_of(self.processor)}"


@dataclass(frozen=True)
class Clip:
    """Video → [1, count, 3, H, W] by the processor's early steps: the frames in the middle of ``count`` equal parts."""

    steps: ImageSteps
    count: int

    def __call__(self, raw: RawSample) -> Tensor:
        shown = raw.frame_times
        middles = [(2 * part + 1) * len(shown) // (2 * self.count) for part in range(self.count)]
        frames = raw.frames([shown[middle] for middle in middles])
        pixels = self.steps.early(list(frames))
        return pixels.reshape(1, self.count, *pixels.shape[-3:])

    def __str__(self) -> str:
        return f"frames in the middle of {self.count} equal parts, {settings_of(self.steps.processor)}"


def recognise(source: Source) -> Opening | None:
    """A folder whose config.json states a known ``model_type``.

    Such a folder may carry code (``auto_map``): it is ignored, the model is transformers' own. A folder of any other
    type that needs its code is an error that says so.
    """
    kind = _KINDS.get(model_type(source) or "")
    if kind is not None:
        return Opening(lambda: _load(kind, source), lambda: files_read(source))
    if "auto_map" in (source.config() or {}):
        raise IbenchError(
            f"{source.path}: '{model_type(source)}' is code that the folder brings along (auto_map), and ibench never "
            "runs it; write a factory (file.py:make_encoder) if you trust it"
        )
    return None


def _load(kind: _Kind, source: Source) -> TowersEncoder:
    model = load_model(source, kind.model)
    words = model.config.text_config
    tokenize = Tokenize(
        load_tokenizer(source.path, words.vocab_size), kind.tokens or words.max_position_embeddings, kind.lower
    )
    processor = load_processor(source.path, transformers.AutoImageProcessor, "preprocessor_config.json")
    seen, front, tower = _sight(kind, model, processor, DTYPES[source.dtype])
    mask = "with" if kind.masked else "without"
    alone = "; without the prompts that X-CLIP makes for each pair" if seen is Modality.VIDEO else ""
    card = Card(
        name=source.path.absolute().name,
        family=kind.name,
        modalities=(seen, Modality.TEXT),
        dim=getattr(model.config, "projection_dim", None),
        trained_pairs=((seen, Modality.TEXT),),
        preprocessing={seen: str(front), Modality.TEXT: f"{tokenize}, {mask} attention mask{alone}"},
        licence="see the checkpoint's own card",
    )
    towers = {seen: tower, Modality.TEXT: _reader(model, kind)}
    return TowersEncoder(card, {seen: front, Modality.TEXT: tokenize}, towers, torch.device(source.device))


def _sight(
    kind: _Kind, model: Any, processor: Any, dtype: torch.dtype
) -> tuple[Modality, Preprocess, Callable[[Tensor], Tensor]]:
    """What the model sees, its front end and its tower."""
    if kind.model == "Siglip2Model":
        return Modality.IMAGE, Patches(processor), lambda packed: _see_patches(model, packed, dtype)
    steps = ImageSteps(processor)
    if kind.model == "XCLIPModel":
        front = Clip(steps, model.config.vision_config.num_frames)
        return Modality.VIDEO, front, lambda frames: pooled(model.get_video_features(steps.late(frames).to(dtype)))
    return Modality.IMAGE, Pixels(steps), lambda pixels: pooled(model.get_image_features(steps.late(pixels).to(dtype)))


def _see_patches(model: Any, packed: Tensor, dtype: torch.dtype) -> Tensor:
    patches, grids = packed[:, :-1], packed[:, -1, :2].long()
    mask = torch.arange(patches.shape[1], device=packed.device) < grids.prod(dim=1, keepdim=True)
    return pooled(
        model.get_image_features(
            pixel_values=patches.to(dtype), pixel_attention_mask=mask.to(torch.int32), spatial_shapes=grids
        )
    )


def _reader(model: Any, kind: _Kind) -> Callable[[Tensor], Tensor]:
    """Ids and mask [n, 2, length] to embeddings; a tower that sees its padding (SigLIP's) gets all of it."""
    if not kind.masked:
        return lambda tokens: pooled(model.get_text_features(input_ids=tokens[:, 0]))
    return clip_reader(model) if kind.at_end else lambda tokens: padded(model, without_padding(tokens))


def padded(model: Any, tokens: Tensor) -> Tensor:
    """Ids and mask [n, 2, length] to embeddings [n, dim], as transformers has it."""
    return pooled(model.get_text_features(input_ids=tokens[:, 0], attention_mask=tokens[:, 1]))


def clip_reader(model: Any) -> Callable[[Tensor], Tensor]:
    """The same by a CLIP or an X-CLIP, which reads prompts as trees where it is read at the end of each."""

    def read(tokens: Tensor) -> Tensor:
        ends = end_places(tokens[:, 0], None)
        if not _read_at(ends, tokens, model.config.text_config.eos_token_id):
            return padded(model, tokens)
        return in_trees(tokens[:, 0], ends, lambda tree: _read(model, tree))

    known = model.config.text_config._attn_implementation in _MASKED_ATTENTION
    return read if known else lambda tokens: padded(model, tokens)


def _read_at(ends: Tensor, tokens: Tensor, end: int | None) -> bool:
    """Whether the tower of a CLIP is read at ``ends``, the largest ids, and all that stands before is shown.

    It is read at the first ``end`` token of its config, or where that is 2 (a mistake of configs made before July 2023)
    at the largest id; that of X-CLIP at either, as transformers' release has it. The two differ, and the place may be
    one of padding, where a tokenizer has larger ids than its end token.
    """
    shown = tokens[:, 1].cumprod(dim=1).gather(1, ends.unsqueeze(1))
    same = end in (None, 2) or end_places(tokens[:, 0], end).equal(ends)
    return same and bool(shown.all())


def _read(model: Any, tree: Tree) -> Tensor:
    """As get_text_features of CLIPModel and XCLIPModel does (transformers 4.57 and 5.23)."""
    tower = model.text_model
    # not by calling embeddings, which refuses more tokens than a text has places
    tokens = tower.embeddings.token_embedding(tree.ids) + tower.embeddings.position_embedding(tree.places)
    mask = tree.additive(tokens.dtype)[None, None]
    states = tower.encoder(inputs_embeds=tokens.unsqueeze(0), attention_mask=mask).last_hidden_state
    return model.text_projection(tower.final_layer_norm(states[0, tree.ends]))  # type: ignore[no-any-return]
