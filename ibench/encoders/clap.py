"""CLAP: folders of transformers, and LAION's own checkpoints converted to transformers' model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from numpy.typing import NDArray
from torch import Tensor

from ibench.encoders.base import DTYPES, Card, Preprocess
from ibench.encoders.folder_weights import files_read
from ibench.encoders.hf_folder import (
    Tokenize,
    TowersEncoder,
    fitting_tokenizer,
    load_model,
    load_tokenizer,
    model_type,
    opening,
    pooled,
    refuse_lacking,
)
from ibench.encoders.sizes import refuse_absurd_views
from ibench.encoders.source import Family, Opening, Source
from ibench.encoders.weights import load_strictly
from ibench.errors import IbenchError
from ibench.media.audio import mono
from ibench.modalities import Modality, RawSample

FAMILIES = (
    Family("CLAP", "audio, text", "model_type in config.json: clap", "path/to/clap-htsat-unfused"),
    Family("CLAP (LAION)", "audio, text", "keys of HTSAT and RoBERTa", "630k-audioset-best.pt"),
)

_TEXT_TOKENS = 77
"""Length of a text in LAION's training and evaluation (laion_clap, hook.py)."""

_STATED = (
    "feature_size", "sampling_rate", "hop_length", "max_length_s", "fft_window_size", "frequency_min",
    "frequency_max", "truncation", "padding",
)  # fmt: skip
"""Settings a folder must state: transformers' defaults for them are those of no published checkpoint."""

_LAION_SOUND = {
    "feature_size": 64,
    "sampling_rate": 48000,
    "hop_length": 480,
    "max_length_s": 10,
    "fft_window_size": 1024,
    "frequency_min": 50,
    "frequency_max": 14000,
    "padding": "repeatpad",
}
"""How all of LAION's published HTSAT checkpoints hear (laion_clap, model_configs/HTSAT-tiny.json and -base.json)."""

_LAION_KEYS = {
    "audio_branch.patch_embed.proj.weight",
    "audio_projection.0.weight",
    "text_branch.embeddings.word_embeddings.weight",
}
"""HTSAT and RoBERTa under LAION's names; its models with PANN instead of HTSAT lack the first."""

_NOT_IN_TRANSFORMERS = re.compile(
    r"audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\."  # front end; AudioSet classifier
    r"|(audio|text)_transform\."  # heads of an additional loss
    r"|.*\.attn_mask$|.*\.position_ids$"  # computed
)

# From the key mapping of transformers' convert_clap_original_pytorch_to_hf.py, restricted to where each applies.
_RENAMED = (
    (re.compile(r"^text_branch\."), "text_model."),
    (re.compile(r"^audio_branch\."), "audio_model.audio_encoder."),
    (re.compile(r"(\.blocks\.\d+)\.attn\.proj\."), r"\1.attention.output.dense."),
    (re.compile(r"(\.blocks\.\d+)\.attn\."), r"\1.attention.self."),
    (re.compile(r"(\.blocks\.\d+)\.mlp\.fc1\."), r"\1.intermediate.dense."),
    (re.compile(r"(\.blocks\.\d+)\.mlp\.fc2\."), r"\1.output.dense."),
    (re.compile(r"(\.blocks\.\d+)\.norm1\."), r"\1.layernorm_before."),
    (re.compile(r"(\.blocks\.\d+)\.norm2\."), r"\1.layernorm_after."),
    (re.compile(r"\.bn0\."), ".batch_norm."),
    (re.compile(r"^(audio|text)_projection\.0\."), r"\1_projection.linear1."),
    (re.compile(r"^(audio|text)_projection\.2\."), r"\1_projection.linear2."),
)


@dataclass(frozen=True)
class LogMel:
    """Waveform → log-mel spectrogram by transformers' extractor, without any of its random draws.

    The mean of all channels is resampled. Without fusion, float32 [1, 1, frames, mels] of the middle window of a
    longer sound. With fusion, float32 [1, 4, frames + 1, mels]: the whole shrunk to a window, and the windows in the
    middle of the first, second and last third of all possible ones; the row after the last frame is 1 where the sound
    was longer than a window, else 0. ``quantize`` rounds samples to 16 bits, as LAION's own code does; it shrinks by
    torchvision's Resize, which did not yet smooth (``antialias``) when its models were trained, and neither does this.
    """

    extractor: Any
    quantize: bool

    @property
    def fusion(self) -> bool:
        return bool(self.extractor.truncation == "fusion")

    def __call__(self, raw: RawSample) -> Tensor:
        samples = mono(raw, self.extractor.sampling_rate)
        if self.quantize:
            samples = _sixteen_bits(samples)
        return _flagged(*self._four(samples)) if self.fusion else self._mels(_middle(samples, self._window))

    @property
    def _window(self) -> int:
        return int(self.extractor.nb_max_samples)

    def _four(self, samples: NDArray[np.float32]) -> tuple[Tensor, bool]:
        """[1, 4, frames, mels], and whether the sound is longer than a window."""
        if len(samples) <= self._window:
            return self._mels(samples), False
        whole = self._mels(samples, len(samples))[:, :1]
        frames = self._window // self.extractor.hop_length + 1
        if whole.shape[2] <= frames:  # longer than a window by less than a hop
            return whole.expand(-1, 4, -1, -1), False
        shrunk = torch.nn.functional.interpolate(whole, size=(frames, whole.shape[3]), mode="bilinear")
        thirds = np.array_split(np.arange(whole.shape[2] - frames + 1), 3)
        starts = [int(third[len(third) // 2]) if len(third) else 0 for third in thirds]
        return torch.cat([shrunk, *(whole[:, :, start : start + frames] for start in starts)], dim=1), True

    def _mels(self, samples: NDArray[np.float32], window: int | None = None) -> Tensor:
        """The extractor's features; given no more samples than its window holds, it draws nothing."""
        heard = self.extractor(
            samples, max_length=window, sampling_rate=self.extractor.sampling_rate, return_tensors="pt"
        )
        return heard["input_features"].float()  # type: ignore[no-any-return]

    def __str__(self) -> str:
        settings = ", ".join(f"{name} {getattr(self.extractor, name)}" for name in _STATED)
        cut = "whole and the middles of three thirds" if self.fusion else "middle window"
        depth = "16 bits, " if self.quantize else ""
        return f"mean of channels, {depth}log-mel ({settings}), longer sounds: {cut}"


def recognise(source: Source) -> Opening | None:
    """A folder with ``model_type: clap``, or weights with the keys of LAION's CLAP.

    MS-CLAP's weights are known by their keys as well, and refused with what to do.
    """
    if model_type(source) == "clap":
        return Opening(lambda: _load_folder(source), lambda: files_read(source))
    if source.weights.keys() >= _LAION_KEYS:
        return Opening(lambda: _load_laion(source), lambda: [source.path, *_tokenizer_files(source.path)])
    if any(key.startswith("caption_encoder.base.") for key in source.weights):
        raise IbenchError(
            f"{source.path}: weights of MS-CLAP, whose package (msclap) needs numpy below 2 and transformers below 5, "
            "so ibench cannot open them; encode with it in an environment of its own, behind a factory"
        )
    return None


def _load_folder(source: Source) -> TowersEncoder:
    extractor = _stated_extractor(source.path)
    model = load_model(source, "ClapModel")
    tokenizer = load_tokenizer(source.path, model.config.text_config.vocab_size)
    if model.config.audio_config.enable_fusion != (extractor.truncation == "fusion"):
        raise IbenchError(
            f"{source.path}: config.json has enable_fusion {model.config.audio_config.enable_fusion}, but the feature "
            f"extractor's truncation is '{extractor.truncation}' (rand_trunc goes without fusion, fusion with it)"
        )
    name = source.path.absolute().name
    return _encoder(name, "CLAP", model, tokenizer, LogMel(extractor, quantize=False), source)


def _stated_extractor(folder: Path) -> Any:
    refuse_lacking(folder, "preprocessor_config.json")
    extractor_class = transformers.ClapFeatureExtractor
    with opening(folder):
        stated, _ = extractor_class.get_feature_extractor_dict(folder, local_files_only=True)
    missing = [name for name in _STATED if name not in stated]
    if missing:
        raise IbenchError(
            f"{folder}: its preprocessor_config.json does not state {', '.join(missing)}; take the file from the "
            "model's own repository, transformers' defaults are another model's"
        )
    refuse_absurd_views(stated, folder / "preprocessor_config.json")
    with opening(folder):
        return extractor_class.from_dict(stated)


def _load_laion(source: Source) -> TowersEncoder:
    """LAION's checkpoint as transformers' ClapModel, all sizes read from its shapes."""
    with opening(source.path):
        model = transformers.ClapModel(_config_of(source.weights))
    computed = {key: tensor for key, tensor in model.state_dict().items() if key.endswith(("_ids", "_index"))}
    load_strictly(model, {**computed, **_converted(source.weights)}, source.reference)
    model = model.requires_grad_(False).to(source.device, DTYPES[source.dtype]).eval()
    fused = model.config.audio_config.enable_fusion
    extractor = transformers.ClapFeatureExtractor(**_LAION_SOUND, truncation="fusion" if fused else "rand_trunc")
    _refuse_other_filters(source, extractor)
    tokenizer = _roberta(source.path, model.config.text_config.vocab_size)
    return _encoder(source.path.stem, "CLAP (LAION)", model, tokenizer, LogMel(extractor, quantize=True), source)


def _encoder(name: str, family: str, model: Any, tokenizer: Any, hear: LogMel, source: Source) -> TowersEncoder:
    tokenize = Tokenize(tokenizer, min(_TEXT_TOKENS, model.config.text_config.max_position_embeddings - 2))
    dtype = DTYPES[source.dtype]

    def read(tokens: Tensor) -> Tensor:
        return pooled(model.get_text_features(input_ids=tokens[:, 0], attention_mask=tokens[:, 1]))

    def listen(mels: Tensor) -> Tensor:
        if not hear.fusion:
            return pooled(model.get_audio_features(input_features=mels.to(dtype)))
        longer = mels[:, 0, -1, :1] > 0
        return pooled(model.get_audio_features(input_features=mels[:, :, :-1].to(dtype), is_longer=longer))

    card = Card(
        name=name,
        family=family,
        modalities=(Modality.AUDIO, Modality.TEXT),
        dim=model.config.projection_dim,
        trained_pairs=((Modality.AUDIO, Modality.TEXT),),
        preprocessing={Modality.AUDIO: str(hear), Modality.TEXT: f"{tokenize}, with attention mask"},
        licence="see the checkpoint's own card",
    )
    fronts: dict[Modality, Preprocess] = {Modality.AUDIO: hear, Modality.TEXT: tokenize}
    return TowersEncoder(card, fronts, {Modality.AUDIO: listen, Modality.TEXT: read}, torch.device(source.device))


def _config_of(weights: Mapping[str, Tensor]) -> Any:
    """Sizes from shapes. RoBERTa's heads have 64 channels and its norms an epsilon of 1e-5 (roberta-base)."""
    words = weights["text_branch.embeddings.word_embeddings.weight"]
    projection = weights["audio_projection.0.weight"]
    depths = _counts(weights, r"audio_branch\.layers\.(\d+)\.blocks\.(\d+)\.norm1\.weight")
    biases = [
        weights[f"audio_branch.layers.{stage}.blocks.0.attn.relative_position_bias_table"]
        for stage in range(len(depths))
    ]
    return transformers.ClapConfig(
        projection_dim=projection.shape[0],
        audio_config={
            "patch_embeds_hidden_size": weights["audio_branch.patch_embed.proj.weight"].shape[0],
            "depths": depths,
            "num_attention_heads": [bias.shape[1] for bias in biases],
            "window_size": (isqrt(biases[0].shape[0]) + 1) // 2,
            "hidden_size": projection.shape[1],
            "num_mel_bins": weights["audio_branch.bn0.weight"].shape[0],
            "enable_fusion": "audio_branch.patch_embed.mel_conv2d.weight" in weights,
        },
        text_config={
            "vocab_size": words.shape[0],
            "hidden_size": words.shape[1],
            "num_hidden_layers": sum(_counts(weights, r"text_branch\.encoder\.(layer)\.(\d+)\.output\.dense\.weight")),
            "num_attention_heads": max(words.shape[1] // 64, 1),
            "intermediate_size": weights["text_branch.encoder.layer.0.intermediate.dense.weight"].shape[0],
            "max_position_embeddings": weights["text_branch.embeddings.position_embeddings.weight"].shape[0],
            "layer_norm_eps": 1e-5,
        },
    )


def _counts(weights: Mapping[str, Tensor], pattern: str) -> list[int]:
    """How many keys there are for each first group of ``pattern``, in order."""
    stages = [match.group(1) for key in weights if (match := re.fullmatch(pattern, key))]
    return [stages.count(stage) for stage in sorted(set(stages))]


def _converted(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """LAION's keys as transformers', the fused query, key and value taken apart."""
    converted: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        if _NOT_IN_TRANSFORMERS.match(key):
            continue
        for pattern, new in _RENAMED:
            key = pattern.sub(new, key)
        if ".qkv." in key:
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            converted |= {key.replace(".qkv.", f".{name}."): part for name, part in parts}
        else:
            converted[key] = tensor
    return converted


def _refuse_other_filters(source: Source, extractor: Any) -> None:
    """The checkpoint keeps the mel filters it was trained with: they tell whether it hears as is assumed here."""
    kept = source.weights.get("audio_branch.logmel_extractor.melW")
    filters = torch.from_numpy(extractor.mel_filters_slaney).float()
    if kept is not None and (kept.shape != filters.shape or not torch.allclose(kept.float(), filters, atol=1e-5)):
        raise IbenchError(
            f"{source.path}: was trained on other mel filters than LAION's published CLAP (48 kHz, 64 bands from 50 to "
            "14000 Hz); write a factory (file.py:make_encoder)"
        )


def _roberta(checkpoint: Path, vocabulary: int) -> Any:
    files = _tokenizer_files(checkpoint)
    if not files:
        raise IbenchError(
            f"{checkpoint}: its text tower reads with roberta-base's tokenizer, which is not there; put tokenizer.json "
            f"(or vocab.json and merges.txt) of roberta-base into {checkpoint.absolute().parent}"
        )
    with opening(files[0].parent):
        tokenizer = transformers.RobertaTokenizerFast.from_pretrained(files[0].parent, local_files_only=True)
    return fitting_tokenizer(tokenizer, vocabulary, files[0].parent)


def _tokenizer_files(checkpoint: Path) -> list[Path]:
    """roberta-base's tokenizer: beside the checkpoint, else in the Hugging Face cache; empty if in neither."""
    beside = _tokenizer_in(checkpoint.parent)
    if beside:
        return beside
    for name in ("roberta-base", "FacebookAI/roberta-base"):
        cached = try_to_load_from_cache(name, "vocab.json")
        if isinstance(cached, str) and (files := _tokenizer_in(Path(cached).parent)):
            return files
    return []


def _tokenizer_in(folder: Path) -> list[Path]:
    for names in (("tokenizer.json",), ("vocab.json", "merges.txt")):
        if all((folder / name).is_file() for name in names):
            return [folder / name for name in names]
    return []


def _middle(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    start = max(len(samples) - length, 0) // 2
    return samples[start : start + length]


def _sixteen_bits(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.divide((np.clip(samples, -1, 1) * 32767).astype(np.int16), 32767, dtype=np.float32)


def _flagged(mels: Tensor, longer: bool) -> Tensor:
    """``mels`` [1, 4, frames, mels] with a last row that says whether the sound was longer than a window."""
    return torch.cat([mels, torch.full_like(mels[:, :, :1], float(longer))], dim=2)
