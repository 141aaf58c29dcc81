"""A LanguageBind folder as an `ibench.encoders.base.Encoder`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import transformers
from pydantic import ValidationError
from torch import Tensor

from ibench.encoders.base import DTYPES, Card, Preprocess, Views, to_device, unit_rows
from ibench.encoders.folder_weights import files_read, read_folder
from ibench.encoders.hf_folder import load_tokenizer
from ibench.encoders.languagebind.frontends import DepthView, ImageView, Spectrogram, TextIds, VideoFrames
from ibench.encoders.languagebind.towers import Config, Towers, VisionConfig, merged
from ibench.encoders.sizes import built_within, refuse_absurd, refuse_absurd_views
from ibench.encoders.source import Family, Opening, Source
from ibench.encoders.weights import load_strictly
from ibench.errors import IbenchError
from ibench.modalities import Modality

FAMILIES = (
    Family(
        "languagebind",
        "text and one of video, audio, depth, thermal, image",
        "config.json of the folder",
        "path/to/folder",
    ),
)

_SEEN = (Modality.VIDEO, Modality.AUDIO, Modality.DEPTH, Modality.THERMAL, Modality.IMAGE)


@dataclass(frozen=True)
class LanguageBindEncoder:
    """The text tower and the other tower of one folder."""

    card: Card
    towers: Towers
    config: Config
    modality: Modality
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        """The front end of text or of the folder's modality.

        ``views`` is not looked at: LanguageBind sees a sample in one view, made by the rule in `frontends`, which the
        card repeats in words.
        """
        if modality is Modality.TEXT:
            return TextIds(self.tokenizer, self.config.text_config.max_position_embeddings)
        return _front_end(self.modality, self.config.vision_config)

    @torch.inference_mode()
    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Token ids [n, context] or frames [n, T, 3, H, W] → float32 [n, dim], unit rows.

        The released wrapper multiplies what is not text by a learned scale, which moves no cosine.
        """
        if modality is Modality.TEXT:
            return unit_rows(self.towers.embed_text(to_device(batch, self.device)))
        return unit_rows(self.towers.embed_frames(to_device(batch, self.device).to(self.dtype)))


def recognise(source: Source) -> Opening | None:
    """A folder whose config.json says LanguageBind; which modality it is for, the config says as well."""
    config = source.config()
    if config is None:
        return None
    modality = modality_of(config)
    if modality is None:
        return None
    return Opening(partial(load, source, config, modality), lambda: files_read(source))


def modality_of(config: dict[str, Any]) -> Modality | None:
    """What a LanguageBind folder embeds beside text; None when the config is none of LanguageBind's.

    ``model_type``, or the class named in ``architectures``, is LanguageBindVideo, -Audio, -Depth, -Thermal or -Image
    (released code ``configuration_*.py``). Where neither is there, ``add_time_attn`` marks a LanguageBind config; mel
    bins then mean audio and several frames video [inferred: no published folder lacks the names].
    """
    names = [config.get("model_type"), *(config.get("architectures") or ())]
    for modality in _SEEN:
        if any(str(name).lower().startswith(f"languagebind{modality}") for name in names):
            return modality
    vision = config.get("vision_config")
    if any(names) or not isinstance(vision, dict) or "add_time_attn" not in vision:
        return None
    if vision.get("num_mel_bins"):
        return Modality.AUDIO
    return Modality.VIDEO if vision.get("num_frames", 1) > 1 else None


def load(source: Source, config: dict[str, Any], modality: Modality) -> LanguageBindEncoder:
    """Open a folder: the towers with LoRA merged into their weights, in evaluation mode.

    Raises IbenchError for a config that does not fit, and with the first missing, unexpected and misshapen keys.
    """
    settings = _settings(source, config, modality)
    towers = _towers(source, settings).to(source.device, DTYPES[source.dtype]).eval().requires_grad_(False)
    card = Card(
        name=source.path.name,
        family="languagebind",
        modalities=(modality, Modality.TEXT),
        dim=settings.projection_dim,
        trained_pairs=((modality, Modality.TEXT),),
        preprocessing=_in_words(modality, settings),
        licence="see the checkpoint's own card",
    )
    tokenizer = load_tokenizer(source.path, settings.text_config.vocab_size, transformers.CLIPTokenizerFast)
    return LanguageBindEncoder(
        card, towers, settings, modality, tokenizer, torch.device(source.device), DTYPES[source.dtype]
    )


def _settings(source: Source, config: dict[str, Any], modality: Modality) -> Config:
    file = source.path / "config.json"
    refuse_absurd(config, file)
    refuse_absurd_views(config, file)
    try:
        settings = Config.model_validate(config)
    except ValidationError as error:
        first = error.errors()[0]
        raise IbenchError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    vision = settings.vision_config
    if modality is Modality.AUDIO and not (vision.num_mel_bins and vision.target_length):
        raise IbenchError(f"{file}: vision_config of an audio folder needs num_mel_bins and target_length")
    if modality is not Modality.VIDEO and vision.add_time_attn:
        raise IbenchError(f"{file}: add_time_attn is only known for video, this is {modality}")
    return settings


def _towers(source: Source, settings: Config) -> Towers:
    stored = read_folder(source.path)
    try:
        weights = merged(stored, settings.vision_config.lora_alpha)
    except IbenchError as error:
        raise IbenchError(f"{source.path}: {error}") from error
    towers = built_within(lambda: Towers(settings), weights, source.path)
    load_strictly(towers, weights, str(source.path), assign=True)
    return towers


def _front_end(modality: Modality, vision: VisionConfig) -> Preprocess:
    if modality is Modality.AUDIO:
        return Spectrogram(
            vision.audio_sample_rate, vision.num_mel_bins, vision.target_length, vision.audio_mean, vision.audio_std
        )
    if modality is Modality.VIDEO:
        return VideoFrames(vision.image_size, vision.num_frames)
    return (
        DepthView(vision.image_size, vision.max_depth) if modality is Modality.DEPTH else ImageView(vision.image_size)
    )


def _in_words(modality: Modality, settings: Config) -> dict[Modality, str]:
    """The front ends in words precise enough to tell two apart: they key the store."""
    vision, size = settings.vision_config, settings.vision_config.image_size
    square = f"short side {size} bicubic on the tensor without antialiasing, centre crop, CLIP mean and std"
    words = {
        Modality.AUDIO: f"first channel at {vision.audio_sample_rate} Hz, Kaldi log-mel {vision.num_mel_bins} (hanning "
        f"25/10 ms), {vision.target_length} frames from the start of each third or repeated, mean {vision.audio_mean} "
        f"std 2 x {vision.audio_std}",
        Modality.VIDEO: f"{vision.num_frames} frames from first to last, CLIP mean and std, short side {size} "
        "bilinear, centre crop, no flip",
        Modality.DEPTH: f"metres within 0.01..{vision.max_depth or 'their farthest'}, over that, thrice, {square}",
        Modality.THERMAL: f"8-bit RGB, {square}",
        Modality.IMAGE: f"8-bit RGB, {square}",
    }
    context = settings.text_config.max_position_embeddings
    return {modality: words[modality], Modality.TEXT: f"CLIP BPE of the folder, {context} tokens, end token kept"}
