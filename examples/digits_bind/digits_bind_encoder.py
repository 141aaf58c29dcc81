"""Bring your own encoder: the factory that ``ibench run --ckpt digits_bind_encoder.py:make_encoder`` calls.

An encoder is three things: a card that says what it is, ``preprocess`` that turns a raw sample into a tensor in a
worker process, and ``encode`` that turns a batch of them into unit vectors on the device. Copy this file to begin.
ibench puts the folder of the factory on ``sys.path``, in its workers too: give modules beside it distinctive names.
"""

from __future__ import annotations

from pathlib import Path

import torch
from digits_bind_model import DIM, FRONT_ENDS, log_mel, towers
from safetensors.torch import load_file
from torch import Tensor

from ibench.encoders.base import Card, Preprocess, Views, unit_rows
from ibench.errors import IbenchError
from ibench.modalities import Modality

WEIGHTS = Path(__file__).with_name("digits_bind.safetensors")
"""The weights that train.py wrote."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What the towers may run in; front ends and embeddings are always float32."""

CARD = Card(
    name="digits-bind",
    family="digits-bind",
    modalities=(Modality.TEXT, Modality.IMAGE, Modality.AUDIO),
    dim=DIM,
    trained_pairs=((Modality.IMAGE, Modality.TEXT), (Modality.IMAGE, Modality.AUDIO)),
    preprocessing={
        Modality.TEXT: "digits-bind 1: lower case, UTF-8 bytes between two blanks, first 96",
        Modality.IMAGE: "digits-bind 1: grey, 8x8 block means, inverted if the corners are bright, 0..1",
        Modality.AUDIO: "digits-bind 1: mono 8 kHz, middle 1.28 s; 40-band log-mel, 25 ms frames by 16 ms, 40 dB deep",
    },
    files=(WEIGHTS,),
    licence="Apache-2.0",
)


class DigitsBind:
    """The tiny ImageBind, open on a device."""

    card = CARD

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self._device, self._dtype = torch.device(device), dtype
        self._towers = towers()
        self._towers.load_state_dict(load_file(WEIGHTS))
        self._towers.eval().requires_grad_(False).to(self._device, dtype)

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        """A function of `digits_bind_model`: raw sample → tensor [1, ...]; its one view is the same in any protocol."""
        _require(modality)
        return FRONT_ENDS[modality]

    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Float32 [n, DIM], unit rows; ``batch`` is [n, 96] text, [n, 1, 8, 8] image or [n, 10240] audio."""
        _require(modality)
        inputs = batch.to(self._device)
        if modality is Modality.AUDIO:
            inputs = log_mel(inputs)
        if inputs.is_floating_point():
            inputs = inputs.to(self._dtype)
        with torch.inference_mode():
            return unit_rows(self._towers[modality.value](inputs))


def make_encoder(device: str = "cpu", dtype: str = "fp32") -> DigitsBind:
    """Open the committed weights; ``dtype`` is fp32, bf16 or fp16."""
    if dtype not in DTYPES:
        raise IbenchError(f"digits-bind: no dtype {dtype!r}, known: {', '.join(DTYPES)}")
    return DigitsBind(device, DTYPES[dtype])


def _require(modality: Modality) -> None:
    if modality not in CARD.modalities:
        raise IbenchError(f"digits-bind: no {modality} tower, it knows {', '.join(CARD.modalities)}")
