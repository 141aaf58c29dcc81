"""An ImageBind checkpoint as an `ibench.encoders.base.Encoder`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ibench.encoders.base import Card, Preprocess, Views, to_device, unit_rows
from ibench.encoders.imagebind.audio import BINS, PACKED, AudioClips, spectrograms
from ibench.encoders.imagebind.frontends import (
    CLIP_MEAN,
    CLIP_STD,
    DEPTH_CONVENTIONS,
    DepthConvention,
    DisparityView,
    ImageView,
    ImuSteps,
    TextIds,
    ThermalView,
    VideoClips,
)
from ibench.encoders.imagebind.layout import HEAD_WIDTHS, image_size, load_towers
from ibench.encoders.imagebind.towers import IMU_CHANNELS, TextTower, Tower, TowerShape
from ibench.encoders.pixels import normalised, unit
from ibench.errors import IbenchError, did_you_mean
from ibench.modalities import Modality

LICENCE = "CC BY-NC 4.0"
VOCABULARY = 49_408

TOWER_OF = {
    Modality.TEXT: "text",
    Modality.IMAGE: "vision",
    Modality.VIDEO: "vision",
    Modality.AUDIO: "audio",
    Modality.DEPTH: "depth",
    Modality.THERMAL: "thermal",
    Modality.IMU: "imu",
}

# The paper trains on (image, text), (video, audio), (image, depth), (image, thermal) and (video, IMU) (Section 3.2).
# Images and videos share one tower, so whatever was paired with either was paired with both.
PAIRED_WITH_VISION = (Modality.TEXT, Modality.AUDIO, Modality.DEPTH, Modality.THERMAL, Modality.IMU)
TRAINED_PAIRS = tuple((seen, other) for seen in (Modality.IMAGE, Modality.VIDEO) for other in PAIRED_WITH_VISION)


class Switch(NamedTuple):
    """What a protocol may say of the views of a modality."""

    default: Any
    accepts: Callable[[Any], bool]
    words: str


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


SWITCHES = {
    Modality.AUDIO: {
        "clips": Switch("cover", lambda value: value == "cover" or _is_count(value), "cover or a whole number from 1"),
    },
    Modality.VIDEO: {
        "clips": Switch(5, _is_count, "a whole number from 1"),
        "crops": Switch(3, lambda value: _is_count(value) and value in (1, 3), "1 or 3"),
    },
    # Which of these belong together, `_depth_convention` says.
    Modality.DEPTH: {
        "units": Switch("raw", lambda value: isinstance(value, str), "a name"),
        "statistics": Switch("omnivore", lambda value: isinstance(value, str), "a name"),
    },
}


@dataclass(frozen=True)
class ImageBind:
    """The towers of a checkpoint on a device. Made by `load`."""

    card: Card
    towers: Mapping[str, Tower | TextTower]
    shapes: Mapping[str, TowerShape]
    device: torch.device
    dtype: torch.dtype

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        """The front end of a modality: a picklable function, raw sample → tensor [views, ...].

        ``views`` may hold, for audio, ``clips``: ``"cover"`` (as many 2-s clips as cover the recording, the paper's
        rule and the default) or a number (3 in the released code); for video, ``clips`` (5) and ``crops`` (3 or 1);
        for depth, ``units`` and ``statistics``, one of the pairs of `DEPTH_CONVENTIONS` (``"raw"`` with
        ``"omnivore"``). Raises IbenchError for any other key or value, for units with the statistics of others, and
        for a modality whose tower the checkpoint lacks.
        """
        shape = self._shape(modality)
        return _front_end(modality, shape, _switches(modality, views))

    @torch.inference_mode()
    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Views [n, ...], each as `preprocess` makes them, to unit vectors, float32 [n, dim] on the encoder's device.

        Raises IbenchError for a batch of another shape.
        """
        return self.embed(modality, self.inputs(modality, batch))

    @torch.inference_mode()
    def inputs(self, modality: Modality, batch: Tensor) -> Tensor:
        """What the tower takes of views [n, ...] as `preprocess` makes them: the second half of the front end.

        On the encoder's device, in float32: bytes become normalised pixels (of thermal images 0..1), clips of sound
        spectrograms; the rest, and pixels that are floats, is ready. Raises IbenchError as `encode` does.
        """
        shape = self._shape(modality)
        expected = _view_shape(modality, shape)
        if tuple(batch.shape[1:]) != expected:
            raise IbenchError(f"ImageBind {modality}: a batch of shape {tuple(batch.shape)}, each view is {expected}")
        views = to_device(batch, self.device)
        if modality is Modality.IMAGE:
            return normalised(views, CLIP_MEAN, CLIP_STD)
        if modality is Modality.THERMAL:
            return unit(views)
        return spectrograms(views, _audio_frames(shape)) if modality is Modality.AUDIO else views

    @torch.inference_mode()
    def embed(self, modality: Modality, inputs: Tensor) -> Tensor:
        """What `inputs` gives to unit vectors, float32 [n, dim] on the encoder's device.

        The released code multiplies them by a fixed scale for each modality (none for vision): that turns neither a
        ranking nor, within a modality, the mean of clips.
        """
        tower = self.towers[self._shape(modality).tower]
        return unit_rows(tower(inputs.to(torch.long if modality is Modality.TEXT else self.dtype)))

    def _shape(self, modality: Modality) -> TowerShape:
        if TOWER_OF[modality] not in self.shapes:
            held = ", ".join(self.card.modalities)
            raise IbenchError(f"{self.card.name} has no {TOWER_OF[modality]} tower, so no {modality}; it has {held}")
        return self.shapes[TOWER_OF[modality]]


def load(
    state_dict: Mapping[str, Tensor],
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    heads: Mapping[str, int] | None = None,
) -> ImageBind:
    """Open an ImageBind state dict, whole or only some towers of it, with weights in ``dtype`` on ``device``.

    Sizes are inferred from the shapes. The number of attention heads, which shapes do not tell, follows from the
    published head widths (80 for vision, 64 for text, audio, thermal and IMU, 48 for depth) unless ``heads`` gives
    it by tower. Raises IbenchError naming the first five missing, unexpected and misshapen keys.
    """
    for tower in heads or {}:
        if tower not in HEAD_WIDTHS:
            raise IbenchError(f"heads: ImageBind has no tower {tower!r}; {did_you_mean(tower, HEAD_WIDTHS)}")
    try:
        opened = load_towers(state_dict, device, dtype, heads or {})
    except IbenchError as error:
        raise IbenchError(f"{name}: {error}") from error
    shapes = {tower: shape for tower, (shape, _) in opened.items()}
    dims = {shape.dim for shape in shapes.values()}
    if len(dims) != 1:
        raise IbenchError(f"{name}: its towers embed in {sorted(dims) or 'no'} dimensions")
    modalities = tuple(modality for modality, tower in TOWER_OF.items() if tower in shapes)
    card = Card(
        name=name,
        family="imagebind",
        modalities=modalities,
        dim=dims.pop(),
        trained_pairs=tuple(pair for pair in TRAINED_PAIRS if set(pair) <= set(modalities)),
        preprocessing={modality: _in_words(modality, shapes[TOWER_OF[modality]]) for modality in modalities},
        licence=LICENCE,
    )
    return ImageBind(card, {tower: module for tower, (_, module) in opened.items()}, shapes, device, dtype)


def _front_end(modality: Modality, shape: TowerShape, switches: Mapping[str, Any]) -> Preprocess:
    if modality is Modality.TEXT:
        if shape.stem[0] != VOCABULARY:
            raise IbenchError(f"a text tower of {shape.stem[0]:,} tokens: CLIP's vocabulary has {VOCABULARY:,}")
        return TextIds(shape.positions)
    if modality is Modality.AUDIO:
        clips = None if switches["clips"] == "cover" else switches["clips"]
        return AudioClips(clips)
    if modality is Modality.IMU:
        return ImuSteps(_imu_steps(shape))
    if modality is Modality.VIDEO:
        return VideoClips(image_size(shape), shape.stem[2], switches["clips"], switches["crops"])
    if modality is Modality.DEPTH:
        return DisparityView(image_size(shape), _depth_convention(switches["units"], switches["statistics"]))
    return ImageView(image_size(shape)) if modality is Modality.IMAGE else ThermalView(image_size(shape))


def _view_shape(modality: Modality, shape: TowerShape) -> tuple[int, ...]:
    """The shape of one view as `ImageBind.preprocess` makes it."""
    if modality is Modality.TEXT:
        return (shape.positions,)
    if modality is Modality.AUDIO:
        return (PACKED,)
    if modality is Modality.IMU:
        return (IMU_CHANNELS, _imu_steps(shape))
    size = image_size(shape)
    if modality is Modality.VIDEO:
        return (3, shape.stem[2], size, size)
    return (3 if modality is Modality.IMAGE else 1, size, size)


def _switches(modality: Modality, views: Views) -> dict[str, Any]:
    """The switches of a modality with the protocol's values over the defaults."""
    known = SWITCHES.get(modality, {})
    for key, value in views.items():
        if key not in known:
            raise IbenchError(f"ImageBind {modality} views: unknown {key!r}; {did_you_mean(str(key), known)}")
        if not known[key].accepts(value):
            raise IbenchError(f"ImageBind {modality} views: {key} is {value!r}, must be {known[key].words}")
    return {key: views.get(key, switch.default) for key, switch in known.items()}


def _depth_convention(units: str, statistics: str) -> DepthConvention:
    """The convention of that name. Statistics of depth in another unit would put every sample sigmas away."""
    if (units, statistics) not in DEPTH_CONVENTIONS:
        pairs = "; ".join(f"units: {one}, statistics: {other}" for one, other in DEPTH_CONVENTIONS)
        raise IbenchError(
            f"ImageBind depth views: units '{units}' and statistics '{statistics}' do not belong together; "
            f"these do: {pairs}"
        )
    return DEPTH_CONVENTIONS[units, statistics]


def _audio_frames(shape: TowerShape) -> int:
    """Spectrogram frames the audio tower takes: 204 for the published 19 columns of patches.

    Columns fix it to within a stride; the published width leaves 8 frames beyond the last patch.
    """
    kernel = shape.stem[-1]
    rows = (BINS - kernel) // shape.stride + 1
    columns, rest = divmod(shape.positions - 1, rows)
    if rest or not columns:
        raise IbenchError(f"ImageBind audio tower: {shape.positions - 1} patches are no {rows} rows of {BINS} mel bins")
    return (columns - 1) * shape.stride + kernel + 8


def _imu_steps(shape: TowerShape) -> int:
    return (shape.positions - 1) * shape.stride


def _in_words(modality: Modality, shape: TowerShape) -> str:
    """A front end in words precise enough to tell two apart: they key the store."""
    if modality is Modality.TEXT:
        return f"CLIP BPE, {shape.positions} tokens, end token kept"
    if modality is Modality.AUDIO:
        return (
            f"first channel at 16 kHz, 2-s clips, Kaldi log-mel {BINS} (hanning 25/10 ms), "
            f"{_audio_frames(shape)} frames zero-filled, mean -4.268 std 9.138"
        )
    if modality is Modality.IMU:
        return f"6 channels, window resampled linearly to {_imu_steps(shape)} steps, NaN as 0"
    size = image_size(shape)
    if modality is Modality.IMAGE:
        return f"RGB, short side {size} bicubic (PIL), centre crop, CLIP mean and std, one frame for {shape.stem[2]}"
    if modality is Modality.VIDEO:
        return f"2-s clips of {shape.stem[2]} frames (first to last), short side {size} bilinear, CLIP mean and std"
    if modality is Modality.DEPTH:
        conventions = "; ".join(
            f"{statistics}: depth {way.units_per_metre} x metres, {way.interpolation}, mean {way.mean} std {way.std}"
            for (_, statistics), way in DEPTH_CONVENTIONS.items()
        )
        return (
            f"disparity of depth within 0.01..50, within 0.01..75, /75, short side {size} antialiased, centre crop, "
            f"by the statistics of the views, else the first: {conventions}"
        )
    return f"8-bit grey, short side {size} bicubic (PIL), centre crop, 0..1"
