"""The filter bank equals torchaudio's Kaldi filter bank."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ibench.encoders.filterbank import CHUNK, frames_within, log_mel


def kaldi(clip: Tensor, rate: int, bins: int) -> Tensor:
    from torchaudio.compliance.kaldi import fbank

    return fbank(
        clip.unsqueeze(0),
        htk_compat=True,
        sample_frequency=rate,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=bins,
        dither=0.0,
        frame_length=25,
        frame_shift=10,
    )


@pytest.mark.parametrize(("rate", "bins", "length"), [(16_000, 128, 32_000), (16_000, 64, 400), (44_100, 80, 30_001)])
def test_it_equals_torchaudio(rate: int, bins: int, length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    clips = 0.1 * torch.randn(3, length, generator=generator) + torch.tensor([[0.0], [0.3], [0.0]])
    clips[2] = 0.0  # digital silence lies on the floor
    expected = torch.stack([kaldi(clip, rate, bins) for clip in clips])
    assert torch.allclose(log_mel(clips, rate, bins), expected, rtol=1e-6, atol=1e-5)


def test_the_chunks_do_not_show() -> None:
    clips = torch.randn(2 * CHUNK + 3, 4_000, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([log_mel(clip.unsqueeze(0), 16_000, 128) for clip in clips])
    assert torch.allclose(log_mel(clips, 16_000, 128), alone, rtol=1e-6, atol=1e-5)


def test_all_is_computed_where_the_clips_are() -> None:
    """On the meta device, which computes shapes only, torch refuses to mix devices as it does on a GPU."""
    assert log_mel(torch.zeros(3, 4_000, device="meta"), 16_000, 128).device.type == "meta"


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_frames_are_counted_as_they_are_cut(rate: int) -> None:
    frame = int(0.025 * rate)
    for length in (0, frame - 1, frame, frame + 159, frame + 160, frame + 440, frame + 441, 2 * rate):
        assert log_mel(torch.zeros(1, length), rate, 23).shape[1] == frames_within(length, rate)


def test_less_than_a_frame_has_no_frames() -> None:
    assert log_mel(torch.zeros(2, 399), 16_000, 128).shape == (2, 0, 128)
    assert log_mel(torch.zeros(2, 400), 16_000, 128).shape == (2, 1, 128)
