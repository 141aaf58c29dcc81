"""Sound: files and bytes to `Waveform`, and resampling."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import soundfile
from av.error import FFmpegError
from numpy.typing import NDArray

from ibench.errors import UnreadableSample
from ibench.modalities import Waveform

MAX_SAMPLES = 500_000_000
"""Refuse to decode more (channels × samples): two hours of 44.1 kHz stereo fit, a forged header does not."""


def read_audio(source: Path | bytes, start: float | None = None, end: float | None = None) -> Waveform:
    """Decode a sound file, or the part of it from ``start`` to ``end`` (seconds), at its own rate and channels.

    soundfile reads wav, flac, ogg and mp3; what it does not know (m4a, aac, webm, the sound of a video) goes to
    PyAV. Raises UnreadableSample when neither can, when there is no sound in it, when a sample is NaN or infinity (as
    a damaged file of floats has it), or when it is beyond MAX_SAMPLES.
    """
    try:
        waveform = _read_soundfile(source, start, end)
    except soundfile.LibsndfileError as refusal:
        waveform = _read_av(source, start, end, refusal)
    except OSError as error:
        raise UnreadableSample(f"{_name(source)}: {error.strerror or error}") from error
    if waveform.samples.size == 0:
        raise UnreadableSample(f"{_name(source)}: no sound{_span(start, end)} (zero length)")
    if not np.isfinite(waveform.samples).all():
        raise UnreadableSample(f"{_name(source)}: holds NaN or infinity{_span(start, end)}")
    return waveform


def lacks_sound(file: Path) -> bool:
    """Whether a file opens and holds no audio track, as silent videos do; of one that does not open, decoding tells."""
    try:
        with av.open(str(file)) as container:
            return not container.streams.audio
    except (FFmpegError, OSError, ValueError):
        return False


def resample(waveform: Waveform, rate: int) -> Waveform:
    """The same sound at ``rate`` Hz, by torchaudio's default windowed-sinc resampler (the reference's choice)."""
    if waveform.rate == rate:
        return waveform
    import torch
    import torchaudio.functional  # the only import of torchaudio in ibench: it is in maintenance

    samples = torchaudio.functional.resample(torch.from_numpy(waveform.samples), waveform.rate, rate)
    return Waveform(samples.numpy(), rate)


def mono(waveform: Waveform, rate: int) -> NDArray[np.float32]:
    """The mean of all channels at ``rate`` Hz, float32 [samples]."""
    mixed = Waveform(waveform.samples.mean(axis=0, keepdims=True, dtype=np.float32), waveform.rate)
    samples: NDArray[np.float32] = resample(mixed, rate).samples[0]
    return samples


def middle(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """The middle ``length`` samples; all of a shorter sound. Where others crop at random, ibench takes these."""
    start = max(len(samples) - length, 0) // 2
    return samples[start : start + length]


def repeated(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """The sound over and over until it has ``length`` samples; the beginning of a longer one."""
    return np.resize(samples, length)


def _read_soundfile(source: Path | bytes, start: float | None, end: float | None) -> Waveform:
    with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
        first = min(int((start or 0.0) * file.samplerate), file.frames)
        last = file.frames if end is None else min(int(end * file.samplerate), file.frames)
        _refuse_if_huge(source, max(last - first, 0) * file.channels)
        file.seek(first)
        samples = file.read(max(last - first, 0), dtype="float32", always_2d=True)
        return Waveform(np.ascontiguousarray(samples.T), file.samplerate)


def _read_av(
    source: Path | bytes, start: float | None, end: float | None, refusal: soundfile.LibsndfileError
) -> Waveform:
    try:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "r") as container:
            if not container.streams.audio:
                raise UnreadableSample(f"{_name(source)}: holds no audio track")
            stream = container.streams.audio[0]
            planar = av.AudioResampler(format="fltp")
            blocks: list[NDArray[np.float32]] = []
            total = 0
            for frame in container.decode(stream):
                for block in planar.resample(frame):
                    blocks.append(np.asarray(block.to_ndarray(), dtype=np.float32))
                    total += blocks[-1].size
                    _refuse_if_huge(source, total)
            rate = stream.codec_context.sample_rate
    except (FFmpegError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error  # without the path: the same wherever the copy lies
        raise UnreadableSample(
            f"{_name(source)}: neither soundfile ({refusal.error_string}) nor PyAV ({why}) reads it"
        ) from error
    samples = np.concatenate(blocks, axis=1) if blocks else np.zeros((1, 0), np.float32)
    first, last = int((start or 0.0) * rate), None if end is None else int(end * rate)
    return Waveform(np.ascontiguousarray(samples[:, first:last], dtype=np.float32), rate)


def _refuse_if_huge(source: Path | bytes, samples: int) -> None:
    if samples > MAX_SAMPLES:
        raise UnreadableSample(f"{_name(source)}: {samples:,} samples to decode, the limit is {MAX_SAMPLES:,}")


def _name(source: Path | bytes) -> str:
    return "sound" if isinstance(source, bytes) else source.name


def _span(start: float | None, end: float | None) -> str:
    return (
        "" if start is None and end is None else f" from {start or 0:g} to {'the end' if end is None else f'{end:g}'} s"
    )
