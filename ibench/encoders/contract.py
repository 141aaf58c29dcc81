"""Whether an encoder keeps its contract, on made-up samples: what `ibench encoders check` runs."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ibench.encoders.base import Encoder, Preprocess
from ibench.errors import IbenchError
from ibench.modalities import DepthMap, ImuWindow, Modality, RawSample, Waveform

SAMPLES = 6
NORM_TOLERANCE = 1e-4
BATCH_TOLERANCE = {"fp32": 1e-5, "fp16": 5e-3, "bf16": 4e-2}
"""How far a coordinate of a unit vector may move with the batch: sums of another order, in the precision of the run."""


@dataclass(frozen=True)
class Outcome:
    """What was found for one modality; ``faults`` is empty when the contract is kept.

    ``view`` is the shape of one view, ``norm_error`` the largest distance of a norm from 1, ``batch_difference`` the
    largest difference of a coordinate between a batch of all views and batches of one. Throughputs are in samples a
    second. What could not be measured is None.
    """

    modality: Modality
    faults: tuple[str, ...]
    view: tuple[int, ...] | None = None
    dim: int | None = None
    norm_error: float | None = None
    batch_difference: float | None = None
    prepared_per_second: float | None = None
    encoded_per_second: float | None = None


def check(encoder: Encoder, dtype: str) -> list[Outcome]:
    """Put made-up samples of every modality of the card through the encoder.

    Front ends must pickle, give a tensor [views, ...] with at least one view, and the same one twice. Vectors must be
    float32 [n, dim] with one ``dim`` for all modalities, finite, of unit norm to NORM_TOLERANCE, the same bit by bit
    when asked twice, and independent of the batch to BATCH_TOLERANCE of ``dtype``. What an encoder raises is a fault.
    Raises IbenchError for an encoder that has its vectors by id, and so none for made-up samples.
    """
    if encoder.card.by_id:
        raise IbenchError(f"{encoder.card.name} has its vectors by id: there is no front end or model to check")
    outcomes = [_checked(encoder, modality, BATCH_TOLERANCE[dtype]) for modality in encoder.card.modalities]
    wanted = encoder.card.dim or next((one.dim for one in outcomes if one.dim), None)
    return [_with_dim(outcome, wanted) for outcome in outcomes]


def made_up(modality: Modality) -> list[RawSample]:
    """SAMPLES raw samples of a modality, of several sizes, rates and modes; the same in every call."""
    rng = np.random.default_rng(0)
    return [_MAKERS[modality](rng, number) for number in range(SAMPLES)]


@dataclass(frozen=True)
class Frames:
    """A video in memory that satisfies `ibench.modalities.Video`: ``stack`` is uint8 [frames, H, W, 3]."""

    stack: NDArray[np.uint8]
    rate: float

    @property
    def seconds(self) -> float:
        return len(self.stack) / self.rate

    @property
    def frame_times(self) -> Sequence[float]:
        return [number / self.rate for number in range(len(self.stack))]

    def frames(self, times: Sequence[float]) -> NDArray[np.uint8]:
        shown = np.searchsorted(self.frame_times, times, side="right") - 1
        return self.stack[np.clip(shown, 0, len(self.stack) - 1)]


def _checked(encoder: Encoder, modality: Modality, tolerance: float) -> Outcome:
    try:
        samples = made_up(modality)
        prepare = encoder.preprocess(modality, {})
        prepare(samples[0])  # what is loaded once, such as a tokenizer, is no part of the throughput
        started = time.perf_counter()
        views = [prepare(sample) for sample in samples]
        prepared = SAMPLES / (time.perf_counter() - started)
        faults = _faults_of_views(prepare, samples, views)
        if faults:
            return Outcome(modality, tuple(faults), prepared_per_second=prepared)
        return _encoded(encoder, modality, views, prepared, tolerance)
    except Exception as error:  # the encoder's own code may raise anything, and that is what we are here to find out
        return Outcome(modality, (f"{type(error).__name__}: {error}",))


def _faults_of_views(prepare: Preprocess, samples: Sequence[RawSample], views: Sequence[Any]) -> list[str]:
    for view in views:
        if not isinstance(view, Tensor):
            return [f"preprocess gives {type(view).__name__}, not a tensor [views, ...]"]
        if view.ndim < 2 or not len(view):
            return [f"preprocess gives shape {tuple(view.shape)}, not [views, ...] with at least one view"]
    if len({tuple(view.shape[1:]) for view in views}) > 1:
        return [f"preprocess gives views of shapes {sorted({tuple(view.shape[1:]) for view in views})}, not of one"]
    faults = []
    if any(view.is_floating_point() and not view.isfinite().all() for view in views):
        faults.append("preprocess gives NaN or infinity")
    if not all(torch.equal(view, prepare(sample)) for sample, view in zip(samples, views, strict=True)):
        faults.append("preprocess gives another tensor the second time")
    try:
        travelled = pickle.loads(pickle.dumps(prepare))
    except Exception as error:  # pickling fails in many ways, each with a type of its own
        return [*faults, f"preprocess does not pickle, so no worker can run it ({error})"]
    if not all(torch.equal(view, travelled(sample)) for sample, view in zip(samples, views, strict=True)):
        faults.append("preprocess gives another tensor after pickling")
    return faults


@torch.no_grad()
def _encoded(
    encoder: Encoder, modality: Modality, views: Sequence[Tensor], prepared: float, tolerance: float
) -> Outcome:
    batch = torch.cat(list(views))
    first = encoder.encode(modality, batch)
    started = time.perf_counter()
    second = encoder.encode(modality, batch).cpu()
    encoded = SAMPLES / (time.perf_counter() - started)
    shape, view = tuple(first.shape), tuple(batch.shape[1:])
    if first.ndim != 2 or len(first) != len(batch) or first.dtype != torch.float32:
        fault = f"encode gives {first.dtype} {shape} for {len(batch)} views, not float32 ({len(batch)}, dim)"
        return Outcome(modality, (fault,), view, None, None, None, prepared, encoded)
    first = first.cpu()
    alone = torch.cat([encoder.encode(modality, one[None]).cpu() for one in batch])
    norm_error = float((first.norm(dim=1) - 1).abs().max())
    moved = float((first - alone).abs().max())
    tests = {
        "encode gives NaN or infinity": not first.isfinite().all(),
        f"norms are off 1 by {norm_error:.1e}, more than {NORM_TOLERANCE:g}": norm_error > NORM_TOLERANCE,
        "encode gives another vector the second time": not torch.equal(first.nan_to_num(), second.nan_to_num()),
        f"vectors move with the batch by {moved:.1e}, more than {tolerance:g}": moved > tolerance,
    }
    faults = tuple(fault for fault, found in tests.items() if found)
    return Outcome(modality, faults, view, shape[1], norm_error, moved, prepared, encoded)


def _with_dim(outcome: Outcome, wanted: int | None) -> Outcome:
    if outcome.dim in (None, wanted):
        return outcome
    fault = f"vectors have {outcome.dim} dimensions, {wanted} are expected"
    return Outcome(**{**vars(outcome), "faults": (*outcome.faults, fault)})


def _text(rng: np.random.Generator, number: int) -> str:
    return " ".join(["a photo of a dog", "the sound of rain", "Ünïcode, too."][: number % 3 + 1] * (number + 1))


def _image(rng: np.random.Generator, number: int) -> Image.Image:
    pixels = rng.integers(0, 256, (90 + 40 * number, 250 - 30 * number, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert("L" if number == 1 else "RGB")


def _thermal(rng: np.random.Generator, number: int) -> Image.Image:
    return _image(rng, number).convert("L")


def _video(rng: np.random.Generator, number: int) -> Frames:
    return Frames(rng.integers(0, 256, (40 + 10 * number, 64, 96, 3), dtype=np.uint8), 20.0)


def _audio(rng: np.random.Generator, number: int) -> Waveform:
    rate = (16_000, 22_050, 44_100)[number % 3]
    samples = 0.1 * rng.standard_normal((1 + number % 2, int(rate * (1.5 + number))))
    return Waveform(samples.astype(np.float32), rate)


def _depth(rng: np.random.Generator, number: int) -> DepthMap:
    metres = rng.uniform(0.0, 12.0, (120, 160 + 10 * number)).astype(np.float32)
    return DepthMap(metres, focal=500.0, baseline=0.075)


def _imu(rng: np.random.Generator, number: int) -> ImuWindow:
    return ImuWindow(rng.standard_normal((6, 1000 + 100 * number)).astype(np.float32), 200.0)


_MAKERS: dict[Modality, Callable[[np.random.Generator, int], RawSample]] = {
    Modality.TEXT: _text,
    Modality.IMAGE: _image,
    Modality.VIDEO: _video,
    Modality.AUDIO: _audio,
    Modality.DEPTH: _depth,
    Modality.THERMAL: _thermal,
    Modality.IMU: _imu,
}
