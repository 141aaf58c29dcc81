"""Kaldi's log-mel filter bank over a batch of clips, in plain torch.

The definition is Kaldi's ``compute-fbank-feats`` with ``--window-type=hanning --use-energy=false --dither=0`` and
its defaults otherwise (25 ms frames every 10 ms, edges snipped, the mean of each frame removed, pre-emphasis 0.97,
power spectrum, mel filters from 20 Hz to the Nyquist frequency), as ``torchaudio.compliance.kaldi.fbank`` has it.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

FRAME_SECONDS = 0.025
HOP_SECONDS = 0.010
LOWEST_HZ = 20.0
PREEMPHASIS = 0.97
FLOOR = torch.finfo(torch.float32).eps
CHUNK = 8
"""Clips per transform on a CPU: the frames of eight 2-s clips stay in its cache, those of eighty do not."""
CHUNK_ON_DEVICE = 128
"""Clips per transform elsewhere: enough to fill a GPU, and 128 2-s clips take a few hundred MiB while they last."""


def frames_within(samples: int, rate: int) -> int:
    """How many whole frames of 25 ms, one every 10 ms, there are in that many samples at ``rate`` Hz."""
    frame, hop = int(rate * FRAME_SECONDS), int(rate * HOP_SECONDS)
    return max((samples - frame) // hop + 1, 0)


def log_mel(clips: Tensor, rate: int, bins: int) -> Tensor:
    """Log-mel energies of mono clips [n, samples] at ``rate`` Hz, on their device: float32 [n, frames, bins].

    Equal to ``torchaudio.compliance.kaldi.fbank`` of each clip with the options named at the top of this module.
    A clip shorter than one frame of 25 ms has no frames.
    """
    if not frames_within(clips.shape[-1], rate):
        return clips.new_zeros(len(clips), 0, bins)
    chunk = CHUNK if clips.device.type == "cpu" else CHUNK_ON_DEVICE
    return torch.cat([_log_mel(part, rate, bins) for part in torch.split(clips, chunk)])


def _log_mel(clips: Tensor, rate: int, bins: int) -> Tensor:
    frame, hop = int(rate * FRAME_SECONDS), int(rate * HOP_SECONDS)
    frames = clips.unfold(-1, frame, hop)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    # The sample before the first is taken to equal it, as Kaldi does.
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    frames = (frames - PREEMPHASIS * before) * _window(frame, clips.device)
    size = _power_of_two(frame)
    power = torch.fft.rfft(frames, n=size).abs().square()
    energies: Tensor = power @ _mel_filters(bins, size, rate, clips.device)
    return energies.clamp(min=FLOOR).log()


def _power_of_two(length: int) -> int:
    return 1 << (length - 1).bit_length()


@cache
def _window(frame: int, device: torch.device) -> Tensor:
    return torch.hann_window(frame, periodic=False).to(device)


@cache
def _mel_filters(bins: int, size: int, rate: int, device: torch.device) -> Tensor:
    """Triangular filters [size // 2 + 1, bins], equidistant on the mel scale.

    Computed in float32 on purpose: the reference is, and near the foot of a triangle its rounding reaches 1e-5. And on
    the CPU, so that they are the same on any device.
    """
    low, high = _mel(LOWEST_HZ), _mel(rate / 2)
    step = (high - low) / (bins + 1)
    edge = torch.arange(bins)
    left, centre, right = low + edge * step, low + (edge + 1.0) * step, low + (edge + 2.0) * step
    mels = (1127.0 * (1.0 + (rate / size) * torch.arange(size // 2) / 700.0).log()).unsqueeze(1)
    rising, falling = (mels - left) / (centre - left), (right - mels) / (right - centre)
    filters = torch.minimum(rising, falling).clamp(min=0.0)
    return torch.cat([filters, filters.new_zeros(1, bins)]).to(device)  # Kaldi leaves the Nyquist frequency out


def _mel(hertz: float) -> float:
    return 1127.0 * math.log(1.0 + hertz / 700.0)
