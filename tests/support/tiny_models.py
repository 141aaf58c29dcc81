"""Tiny models with random weights, saved the way transformers saves them: a folder that ``--ckpt`` can open."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import ByteLevel

TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
SIGHT = {**TOWER, "image_size": 32, "patch_size": 8}
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
BYTES = sorted(ByteLevel.alphabet())


@dataclass(frozen=True)
class Film:
    """A video that is an array of frames [T, H, W, 3], one second each."""

    pixels: NDArray[np.uint8]

    @property
    def seconds(self) -> float:
        return float(len(self.pixels))

    @property
    def frame_times(self) -> list[float]:
        return [float(second) for second in range(len(self.pixels))]

    def frames(self, times: Any) -> NDArray[np.uint8]:
        return self.pixels[[int(time) for time in times]]


def clip_tokenizer() -> Any:
    letters = [*BYTES, *(f"{letter}</w>" for letter in BYTES), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(vocab={token: number for number, token in enumerate(letters)}, merges=[])


def roberta_tokenizer() -> Any:
    letters = [*SPECIAL, *BYTES, "<mask>"]
    return transformers.RobertaTokenizer(vocab={token: number for number, token in enumerate(letters)}, merges=[])


def bert_tokenizer() -> Any:
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    return transformers.BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})


def gemma_like_tokenizer() -> Any:
    """Pads on the left unless told otherwise, as Gemma's does, and keeps capitals."""
    tokenizer = roberta_tokenizer()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>", eos_token="</s>", padding_side="left"
    )


def save(folder: Path, model: Any, *parts: Any, added: str = "never") -> Any:
    """Random weights of a size that makes embeddings differ visibly, saved with tokenizer and processors.

    Those whose names match ``added`` are made a fifth as large: what they give is added to what they were given, and
    values would grow from layer to layer as they do in no trained model.
    """
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                size = 0.2 if re.search(added, name) else 1.0
                parameter.normal_(std=size * parameter[0].numel() ** -0.5)
    for part in (model, *parts):
        part.save_pretrained(folder)
    return model.eval()


def clip(folder: Path) -> Any:
    tokenizer = clip_tokenizer()
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": len(tokenizer) - 2,
        "eos_token_id": len(tokenizer) - 1,
    }
    config = transformers.CLIPConfig(
        text_config={**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 40, **ids},
        vision_config=SIGHT,
        projection_dim=16,
    )
    return save(folder, transformers.CLIPModel(config), tokenizer, transformers.CLIPImageProcessor(**_square()))


def align(folder: Path) -> Any:
    tokenizer = bert_tokenizer()
    config = transformers.AlignConfig(
        text_config={**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 64},
        vision_config={
            "image_size": 32, "width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 16,
            "hidden_act": "relu", "kernel_sizes": [3, 3], "in_channels": [32, 16], "out_channels": [16, 24],
            "strides": [1, 2], "num_block_repeats": [1, 1], "expand_ratios": [1, 6], "depthwise_padding": [],
        },
        projection_dim=24,  # ALIGN does not project images
    )  # fmt: skip
    processor = transformers.EfficientNetImageProcessor(size={"height": 32, "width": 32})
    return save(folder, transformers.AlignModel(config), tokenizer, processor)


def siglip(folder: Path) -> Any:
    tokenizer = gemma_like_tokenizer()
    config = transformers.SiglipConfig(
        text_config={**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 20, "projection_size": 16},
        vision_config={**SIGHT, "hidden_size": 16},
    )
    processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    return save(folder, transformers.SiglipModel(config), tokenizer, processor)


def siglip2(folder: Path) -> Any:
    letters = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = transformers.Siglip2Tokenizer(vocab={token: number for number, token in enumerate(letters)}, merges=[])
    config = transformers.Siglip2Config(
        text_config={**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 20, "projection_size": 16},
        vision_config={**TOWER, "hidden_size": 16, "num_patches": 16, "patch_size": 8},
    )
    processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=12)
    return save(folder, transformers.Siglip2Model(config), tokenizer, processor)


def altclip(folder: Path) -> Any:
    tokenizer = roberta_tokenizer()
    config = transformers.AltCLIPConfig(
        text_config={**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 80, "project_dim": 24},
        vision_config=SIGHT,
        projection_dim=16,
    )
    return save(folder, transformers.AltCLIPModel(config), tokenizer, transformers.CLIPImageProcessor(**_square()))


def chinese_clip(folder: Path) -> Any:
    tokenizer = bert_tokenizer()
    config = transformers.ChineseCLIPConfig(
        text_config={**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 60},
        vision_config=SIGHT,
        projection_dim=16,
    )
    processor = transformers.ChineseCLIPImageProcessor(**_square())
    return save(folder, transformers.ChineseCLIPModel(config), tokenizer, processor)


def xclip(folder: Path) -> Any:
    tokenizer = clip_tokenizer()
    config = transformers.XCLIPConfig(
        text_config={
            **TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 24, "eos_token_id": len(tokenizer) - 1,
        },
        vision_config={
            **SIGHT, "num_frames": 4, "mit_hidden_size": 16, "mit_intermediate_size": 24, "mit_num_hidden_layers": 1,
            "mit_num_attention_heads": 2,
        },
        projection_dim=16,
        prompt_layers=1,
        prompt_num_attention_heads=2,
    )  # fmt: skip
    processor = transformers.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return save(folder, transformers.XCLIPModel(config), tokenizer, processor)


def pe_av(folder: Path, **video: Any) -> Any:
    tokenizer = roberta_tokenizer()
    stack = {**TOWER, "head_dim": 16}
    dac = {"encoder_hidden_size": 4, "downsampling_ratios": [2, 8, 10, 12], "codebook_dim": 8, "hidden_size": 16}
    timm = {"img_size": 28, "embed_dim": 32, "depth": 1, "num_heads": 2, "ref_feat_shape": (2, 2)}
    sight = {
        "architecture": "vit_pe_core_large_patch14_336",
        "num_classes": 24,
        "global_pool": "map",
        "model_args": timm,
    }
    config = transformers.PeAudioVideoConfig(
        text_config={
            "model_type": "modernbert", **TOWER, "vocab_size": len(tokenizer), "pad_token_id": 1, "bos_token_id": 0,
            "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2, "max_position_embeddings": 600,
        },
        audio_video_config={
            **stack,
            "audio_config": {"model_type": "pe_audio_encoder", **stack, "dac_config": {"model_type": "dac", **dac}},
            "video_config": {"model_type": "pe_video_encoder", **stack, "vision_config": sight},
        },
    )  # fmt: skip
    processor = transformers.PeVideoVideoProcessor(
        **{"num_frames": 4, "do_resize": True, "size": {"height": 28, "width": 28}, **video}
    )
    hearing = transformers.PeAudioFeatureExtractor()
    model = transformers.PeAudioVideoModel(config)
    # the codec's sin² of a value of 40 has no correct digit in bfloat16, whose values lie 0.25 apart there
    return save(folder, model, tokenizer, processor, hearing, added=r"res_unit\d\.conv2")


def clap_config(fusion: bool, vocabulary: int) -> Any:
    return transformers.ClapConfig(
        text_config={**TOWER, "num_attention_heads": 1, "vocab_size": vocabulary, "max_position_embeddings": 80,
                     "layer_norm_eps": 1e-5},
        audio_config={
            "patch_embeds_hidden_size": 8, "depths": [2, 2], "num_attention_heads": [2, 4], "hidden_size": 16,
            "enable_fusion": fusion,
        },
        projection_dim=16,
    )  # fmt: skip


def clap(folder: Path, fusion: bool = False) -> Any:
    tokenizer = roberta_tokenizer()
    model = transformers.ClapModel(clap_config(fusion, len(tokenizer)))
    return save(folder, model, tokenizer, clap_extractor(fusion))


def clap_extractor(fusion: bool) -> Any:
    truncation = "fusion" if fusion else "rand_trunc"
    return transformers.ClapFeatureExtractor(truncation=truncation, frequency_min=50)


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    merged = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))


def _square() -> dict[str, Any]:
    return {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
