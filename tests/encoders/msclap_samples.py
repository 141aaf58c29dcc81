"""Weights, tokenizers and inputs for the MS-CLAP tests, the same wherever they are made.

They come from numpy's ``RandomState``, so the golden files hold only what the reference made of them. Imported by the
tests and, in the reference's own environment, by ``tests/parity/make_msclap_goldens.py``: nothing here may import
ibench.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from imagebind_samples import noise
from numpy.typing import NDArray
from torch import Tensor

RELEASES = ("2022", "2023")
SECONDS = {"2022": 5, "2023": 7}
FRAMES = {"2022": 690, "2023": 965}
DIM = 32

TEXTS = [
    "A dog barks.",
    "this is a sound of rain on a tin roof",
    "",
    "  Wow! So loud!! ",
    "caf\u00e9 \u2014 \U0001f415 at <|endoftext|>",
    "x",
]
SOUNDS = {
    "mono-44k1-3s": (1, 44_100, 3.0),
    "mono-16k-5s": (1, 16_000, 5.0),
    "mono-44k1-7s": (1, 44_100, 7.0),
    "mono-48k-9.5s": (1, 48_000, 9.5),
    "stereo-22k05-12s": (2, 22_050, 12.0),
}
"""Channels, rate, seconds."""

COMPUTED = re.compile(r".*\.(attn_mask|relative_position_index)$")
"""Buffers that a model makes itself, and saves with its weights."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def random_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state dict in which every part matters; no values for what is computed."""
    return {key: _weight(key, tuple(shape)) for key, shape in shapes.items() if not COMPUTED.match(key)}


def gpt2_files(folder: Path) -> None:
    """A tokenizer as gpt2's: bytes ("!" is 0), a few merges, the end token last."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + number) for number in range(256 - len(printable))]
    merges = ["! !", "\u0120 a", "\u0120 !", "o g", "d og", "\u0120 dog", "r a", "i n", "ra in"]
    tokens = [*letters, *(merge.replace(" ", "") for merge in merges), "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


def bert_files(folder: Path) -> None:
    """A tokenizer as bert-base-uncased's, of letters and some words."""
    words = ["dog", "rain", "roof", "sound", "##s", "!", ".", *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(words)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*tokens, ""]))


def sound(name: str) -> tuple[NDArray[np.float32], int]:
    """Samples [channels, samples] and rate: a rising tone under noise, with a DC offset and a silent stretch."""
    channels, rate, seconds = SOUNDS[name]
    time = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (200 + 300 * time) * time)
    samples = 0.3 * tone + 0.05 * noise(name, channels, len(time)).numpy()
    samples += 0.02 * np.arange(1, channels + 1)[:, None]
    samples[:, (time > 0.4) & (time < 0.5)] = 0
    return samples.astype(np.float32), rate


def mels(release: str) -> Tensor:
    """Two spectrograms of a sound's range, dB [2, 1, frames, mels]."""
    return 20 * noise(f"mels {release}", 2, 1, FRAMES[release], 64) - 40


def _weight(key: str, shape: tuple[int, ...]) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(1)
    if ".stft.conv_" in key:
        return _fourier(shape, real=".conv_real." in key)
    if key.endswith("melW"):
        return _filters(*shape)
    values = noise(key, *shape)
    loud = ".bn0." in key  # of dB, the others of what is normalised
    if key.endswith("running_mean"):
        return 5 * values - 40 if loud else 0.2 * values
    if key.endswith("running_var"):
        return (1 + values.abs()) * (200 if loud else 1)
    if len(shape) < 2:
        return 0.2 * values + float(key.endswith(".weight"))  # one-dimensional weights belong to norms
    if re.search(r"\.(wte|wpe|\w+_embeddings)\.|bias_table$", key):
        return 0.3 * values
    inputs = shape[0] if re.search(r"\.(c_attn|c_proj|c_fc)\.", key) else np.prod(shape[1:])
    return values * float(1.5 / np.sqrt(inputs))


def _fourier(shape: tuple[int, ...], real: bool) -> Tensor:
    """The real or imaginary part of a Fourier transform under a Hann window, [bins, 1, window]."""
    bins, _, window = shape
    time = np.arange(window)
    angle = 2 * np.pi * (np.outer(np.arange(bins), time) % window) / window
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / window)
    return torch.from_numpy(((np.cos(angle) if real else -np.sin(angle)) * hann).astype(np.float32))[:, None]


def _filters(bins: int, bands: int) -> Tensor:
    """Triangles that widen towards high frequencies, [bins, bands]: mel filters of no library in particular."""
    edges = np.geomspace(2, bins - 1, bands + 2)
    rising = (np.arange(bins)[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - np.arange(bins)[:, None]) / (edges[2:] - edges[1:-1])
    heights = np.clip(np.minimum(rising, falling), 0, None) + 1e-4  # no band without any frequency
    return torch.from_numpy((heights * 2 / (edges[2:] - edges[:-2])).astype(np.float32))
