"""Sound → log-mel clips (arXiv 2305.05665, Appendix B.1; released code ``data.py``)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ibench.encoders.filterbank import log_mel
from ibench.encoders.imagebind.clips import CLIP_SECONDS, clip_starts, clips_to_cover
from ibench.errors import UnreadableSample
from ibench.media.audio import resample
from ibench.modalities import Waveform

RATE = 16_000
BINS = 128
MEAN, STD = -4.268, 9.138


@dataclass(frozen=True)
class AudioClips:
    """Waveform → float32 [clips, 1, 128, frames]: normalised log-mel energies of 2-s clips.

    ``clips`` is how many, spread evenly; ``None`` as many as cover the recording. ``frames`` is the width the tower
    takes (204 in the published one, for the 198 frames of 2 s): what is missing is filled with zeros *before* the
    normalisation, what is too long is cut. Raises UnreadableSample for less than one frame (25 ms) of sound.
    """

    clips: int | None
    frames: int

    def __call__(self, waveform: Waveform) -> Tensor:
        samples = torch.tensor(resample(waveform, RATE).samples)  # a copy: _centred_clips writes into it
        seconds = samples.shape[1] / RATE
        clips = clips_to_cover(seconds) if self.clips is None else self.clips
        mel = log_mel(_centred_clips(samples, clips), RATE, BINS).transpose(1, 2)
        if mel.shape[-1] == 0:
            raise UnreadableSample(f"{seconds * 1000:.1f} ms of sound: less than one frame of 25 ms")
        mel = torch.nn.functional.pad(mel[..., : self.frames], (0, max(self.frames - mel.shape[-1], 0)))
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
