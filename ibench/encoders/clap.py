"""CLAP in transformers' folders; LAION's own checkpoints, in `laion_clap`, hear and read as these do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from ibench.encoders.base import DTYPES, Card, Preprocess
from ibench.encoders.folder_weights import files_read
from ibench.encoders.hf_folder import (
    Tokenize,
    TowersEncoder,
    load_model,
    load_tokenizer,
    model_type,
    opening,
    pooled,
    refuse_lacking,
)
from ibench.encoders.sizes import refuse_absurd_views
from ibench.encoders.source import Family, Opening, Source
from ibench.encoders.trimming import without_padding
from ibench.errors import IbenchError
from ibench.media.audio import middle, mono
from ibench.modalities import Modality, RawSample

FAMILIES = (Family("CLAP", "audio, text", "model_type in config.json: clap", "path/to/clap-htsat-unfused"),)

_TEXT_TOKENS = 77
"""Length of a text in LAION's training and evaluation (laion_clap, hook.py)."""

_STATED = (
    "feature_size", "sampling_rate", "hop_length", "max_length_s", "fft_window_size", "frequency_min",
    "frequency_max", "truncation", "padding",
)  # fmt: skip
"""Settings a folder must state: transformers' defaults for them are those of no published checkpoint."""


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
        return _flagged(*self._four(samples)) if self.fusion else self._mels(middle(samples, self._window))

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
    """A folder with ``model_type: clap``."""
    if model_type(source) != "clap":
        return None
    return Opening(lambda: _load(source), lambda: files_read(source))


def _load(source: Source) -> TowersEncoder:
    extractor = _stated_extractor(source.path)
    model = load_model(source, "ClapModel")
    tokenizer = load_tokenizer(source.path, model.config.text_config.vocab_size)
    if model.config.audio_config.enable_fusion != (extractor.truncation == "fusion"):
        raise IbenchError(
            f"{source.path}: config.json has enable_fusion {model.config.audio_config.enable_fusion}, but the feature "
            f"extractor's truncation is '{extractor.truncation}' (rand_trunc goes without fusion, fusion with it)"
        )
    name = source.path.absolute().name
    return clap_encoder(name, "CLAP", model, tokenizer, LogMel(extractor, quantize=False), source)


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


def clap_encoder(name: str, family: str, model: Any, tokenizer: Any, hear: LogMel, source: Source) -> TowersEncoder:
    """A ClapModel of transformers, in the source's dtype and on its device, with what it hears and reads by."""
    tokenize = Tokenize(tokenizer, min(_TEXT_TOKENS, model.config.text_config.max_position_embeddings - 2))
    dtype = DTYPES[source.dtype]

    def read(tokens: Tensor) -> Tensor:
        tokens = without_padding(tokens)
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


def _sixteen_bits(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.divide((np.clip(samples, -1, 1) * 32767).astype(np.int16), 32767, dtype=np.float32)


def _flagged(mels: Tensor, longer: bool) -> Tensor:
    """``mels`` [1, 4, frames, mels] with a last row that says whether the sound was longer than a window."""
    return torch.cat([mels, torch.full_like(mels[:, :, :1], float(longer))], dim=2)
