"""The two towers of MS-CLAP (released code ``msclap/models/clap.py`` and ``audio.py``).

Modules are named as the stored keys are, but that the front end stands beside its tower instead of within it: it
always computes in float32, whatever the tower runs in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibench.encoders.trimming import without_padding

HOP = 320
"""Samples from frame to frame, in both releases (``configs/config_202*.yml``); no tensor tells it."""

_FLOOR = 1e-10
"""The least energy, -100 dB (``amin`` of torchlibrosa's LogmelFilterBank)."""


class Towers(nn.Module):
    """Both towers, each with its projection into the common space."""

    def __init__(self, audio_encoder: AudioEncoder, caption_encoder: TextEncoder) -> None:
        super().__init__()
        self.audio_encoder = audio_encoder
        self.caption_encoder = caption_encoder


class AudioEncoder(nn.Module):
    """Front end, tower, projection."""

    def __init__(self, front: LogMel, base: nn.Module, projection: Projection) -> None:
        super().__init__()
        self.front = front
        self.base = base
        self.projection = projection

    def to_dtype(self, dtype: torch.dtype) -> None:
        """All but the front end."""
        self.base.to(dtype)
        self.projection.to(dtype)

    def forward(self, waves: Tensor) -> Tensor:
        """Waveforms float32 [n, samples] to embeddings [n, dim], not normalised."""
        return self.embed(self.front(waves))

    def embed(self, mels: Tensor) -> Tensor:
        """Log-mel spectrograms [n, 1, frames, mels] to embeddings [n, dim], not normalised."""
        embedded: Tensor = self.projection(self.base(mels.to(self.projection.linear1.weight.dtype)))
        return embedded


class LogMel(nn.Module):
    """Waveform to log-mel spectrogram, by the windowed Fourier matrices and mel filters of the checkpoint.

    torchlibrosa's Spectrogram and LogmelFilterBank (frames centred, edges reflected, power, dB) keep them among the
    weights. They are used as they are, not made again: the released code makes the filters of 2023 by HTSAT's own
    settings (32 kHz, up to 14 kHz), whatever the release's configuration says of them.
    """

    def __init__(self, bins: int, window: int, mels: int) -> None:
        super().__init__()
        parts = {name: nn.Conv1d(1, bins, window, bias=False) for name in ("conv_real", "conv_imag")}
        self.spectrogram_extractor = nn.ModuleDict({"stft": nn.ModuleDict(parts)})
        self.logmel_extractor = nn.ParameterDict({"melW": nn.Parameter(torch.empty(bins, mels))})

    def forward(self, waves: Tensor) -> Tensor:
        """Waveforms [n, samples] to dB [n, 1, frames, mels]."""
        parts: Any = self.spectrogram_extractor["stft"]
        window = parts["conv_real"].weight.shape[2]
        frames = F.pad(waves, (window // 2, window // 2), mode="reflect").unfold(1, window, HOP)
        # As a product of matrices, not as the convolution it is stored as: CUDA's convolutions round to TF32.
        real, imaginary = (frames @ parts[name].weight[:, 0].T for name in ("conv_real", "conv_imag"))
        energies: Tensor = (real.square() + imaginary.square()) @ self.logmel_extractor["melW"]
        return 10 * energies.clamp(min=_FLOOR).log10().unsqueeze(1)


class Htsat(nn.Module):
    """transformers' ClapAudioEncoder, pooled over all positions."""

    def __init__(self, audio_encoder: nn.Module) -> None:
        super().__init__()
        self.htsat = audio_encoder

    def forward(self, mels: Tensor) -> Tensor:
        """Log-mel spectrograms [n, 1, frames, mels] to [n, width]."""
        pooled: Tensor = self.htsat(mels).pooler_output
        return pooled


class Cnn14(nn.Module):
    """Kong et al., "PANNs", arXiv 1912.10211: six blocks of convolutions, pooled over frequency, then over time."""

    def __init__(self, mels: int, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(mels)
        steps = zip((1, *channels[:-1]), channels, strict=True)
        self.depth = len(channels)
        for number, (before, after) in enumerate(steps, start=1):
            self.add_module(f"conv_block{number}", ConvBlock(before, after, halve=number < self.depth))
        self.fc1 = nn.Linear(channels[-1], width)

    def forward(self, mels: Tensor) -> Tensor:
        """Log-mel spectrograms [n, 1, frames, mels] to [n, width]."""
        values = self.bn0(mels.transpose(1, 3)).transpose(1, 3)
        for number in range(1, self.depth + 1):
            values = self.get_submodule(f"conv_block{number}")(values)
        over_time = values.mean(dim=3)
        return self.fc1(over_time.amax(dim=2) + over_time.mean(dim=2)).relu()  # type: ignore[no-any-return]


class ConvBlock(nn.Module):
    """Two 3 × 3 convolutions, each normalised and rectified; then, if ``halve``, means of 2 × 2."""

    def __init__(self, before: int, after: int, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)

    def forward(self, values: Tensor) -> Tensor:
        """[n, before, frames, mels] to [n, after, frames, mels], or half as many frames and mels."""
        values = self.bn1(self.conv1(values)).relu()
        values = self.bn2(self.conv2(values)).relu()
        return F.avg_pool2d(values, 2) if self.halve else values


class TextEncoder(nn.Module):
    """A text transformer read at one token, and its projection."""

    def __init__(self, base: nn.Module, projection: Projection, at_end: bool) -> None:
        super().__init__()
        self.base = base
        self.projection = projection
        self.at_end = at_end

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids and, below them, attention mask, int64 [n, 2, length], to embeddings [n, dim], not normalised.

        Read at the first token, or with ``at_end`` where the released code takes the end to be: at the number of ids
        that are not 0, less one. 0 is padding, but also "!", so a text with exclamation marks is read before its end.
        """
        ids = tokens[:, 0]
        places = ids.count_nonzero(dim=1) - 1 if self.at_end else ids.new_zeros(len(ids))
        tokens = without_padding(tokens, places)
        states = self.base(input_ids=tokens[:, 0], attention_mask=tokens[:, 1]).last_hidden_state
        return self.projection(states[torch.arange(len(ids), device=ids.device), places])  # type: ignore[no-any-return]


class Projection(nn.Module):
    """A linear layer, and a second one around it as a residual, normalised."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, dim, bias=False)
        self.linear2 = nn.Linear(dim, dim, bias=False)
        self.layer_norm = nn.LayerNorm(dim)

    def forward(self, values: Tensor) -> Tensor:
        """[n, width] to [n, dim]."""
        first = self.linear1(values)
        return self.layer_norm(first + self.linear2(F.gelu(first)))  # type: ignore[no-any-return]
