"""Sound → log-mel clips (arXiv 2305.05665, Appendix B.1; released code ``data.py``), in two halves.

Clips are cut in decode workers; the filter bank runs on the device, over the clips of a whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ibench.encoders.filterbank import frames_within, log_mel
from ibench.encoders.imagebind.clips import CLIP_SECONDS, clip_starts, clips_to_cover
from ibench.errors import UnreadableSample
from ibench.media.audio import resample
from ibench.modalities import Waveform

RATE = 16_000
BINS = 128
MEAN, STD = -4.268, 9.138
PACKED = CLIP_SECONDS * RATE + 1
"""Length of a clip on its way to the device: its samples, and one value more."""


@dataclass(frozen=True)
class AudioClips:
    """Waveform → float32 [clips, 2 s + 1]: 2-s clips at 16 kHz, centred, and filled with zeros where they are shorter.

    ``clips`` is how many, spread evenly; ``None`` as many as cover the recording. The last value of a clip is how many
    frames of the filter bank lie within its sound: `spectrograms` computes them on the device. Raises
    UnreadableSample for less than one frame (25 ms) of sound.
    """

    clips: int | None

    def __call__(self, waveform: Waveform) -> Tensor:
        samples = torch.tensor(resample(waveform, RATE).samples)  # a copy: _centred_clips writes into it
        seconds = samples.shape[1] / RATE
        cut = _centred_clips(samples, clips_to_cover(seconds) if self.clips is None else self.clips)
        frames = frames_within(cut.shape[1], RATE)
        if frames == 0:
            raise UnreadableSample(f"{seconds * 1000:.1f} ms of sound: less than one frame of 25 ms")
        packed = torch.zeros(len(cut), PACKED)
        packed[:, : cut.shape[1]] = cut
        packed[:, -1] = frames
        return packed


def spectrograms(packed: Tensor, width: int) -> Tensor:
    """Clips as `AudioClips` gives them [n, 2 s + 1] → float32 [n, 1, 128, width]: normalised log-mel energies.

    ``width`` is how many frames the tower takes (204 in the published one, for the 198 frames of 2 s): what is missing
    is filled with zeros *before* the normalisation, what is too long is cut.
    """
    mel = log_mel(packed[:, :-1], RATE, BINS)[:, :width].transpose(1, 2)
    beyond = torch.arange(mel.shape[-1], device=mel.device) >= packed[:, -1:]
    mel = mel.masked_fill(beyond[:, None], 0.0)
    mel = torch.nn.functional.pad(mel, (0, width - mel.shape[-1]))
    return ((mel - MEAN) / STD).unsqueeze(1)


def _centred_clips(samples: Tensor, clips: int) -> Tensor:
    """Clips of the first channel [clips, length], each less its mean over all channels.

    The released loader subtracts in place, clip after clip, so a clip that overlaps the one before begins with
    samples that are already centred. Each frame of the filter bank loses its own mean anyway; only the frame across
    that seam keeps a trace, and with it we stay equal to the reference on recordings with a DC offset.
    """
    cut = []
    for start in clip_starts(samples.shape[1] / RATE, clips):
        clip = samples[:, int(start * RATE) : int((start + CLIP_SECONDS) * RATE)]
        clip -= clip.mean()
        cut.append(clip[0].clone())
    return torch.stack(cut)
