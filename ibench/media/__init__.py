"""Bytes to raw samples: the only room that knows codecs."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

from ibench.modalities import Modality

_DECODERS = {
    Modality.TEXT: (),
    Modality.IMAGE: ("pillow",),
    Modality.THERMAL: ("pillow",),
    Modality.DEPTH: ("pillow", "h5py"),
    Modality.VIDEO: ("av",),
    Modality.AUDIO: ("soundfile", "av", "torchaudio"),
    Modality.IMU: ("pandas",),
}


@cache
def decoder_versions(modality: Modality) -> dict[str, str]:
    """The installed versions of the libraries that decode a modality: another version may give other samples."""
    return {name: version(name) for name in _DECODERS[modality]}
