"""Perception Encoder Audiovisual (PE-AV, arXiv 2512.19687): folders of transformers with text, sound and video."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
import transformers
from torch import Tensor

from ibench.encoders.base import DTYPES, Card, Preprocess, unit_rows
from ibench.encoders.folder_weights import files_read, read_folder
from ibench.encoders.hf_folder import (
    Tokenize,
    TowersEncoder,
    class_named,
    load_config,
    load_processor,
    load_tokenizer,
    model_type,
    opening,
    settings_of,
)
from ibench.encoders.sizes import built_within
from ibench.encoders.source import Family, Opening, Source
from ibench.encoders.weights import refuse_misfit
from ibench.media.audio import mono
from ibench.modalities import Modality, RawSample

FAMILIES = (Family("PE-AV", "audio, text, video", "model_type in config.json: pe_audio_video", "path/to/pe-av-small"),)

_SECONDS = 30
"""Longer sounds are cut: every sample of a batch takes as much memory as the longest may."""

_TEXT_TOKENS = 512


@dataclass(frozen=True)
class Sound:
    """Waveform → float32 [1, samples + 1]: the mean of its channels, resampled, cut, and filled up with zeros.

    The last value is the number of samples before the zeros, a multiple of the codec's hop (the folder's own
    extractor reflects the end).
    """

    extractor: Any

    def __call__(self, raw: RawSample) -> Tensor:
        rate, hop = self.extractor.sampling_rate, self.extractor.hop_length
        samples = mono(raw, rate)[: _SECONDS * rate // hop * hop]
        heard = self.extractor(samples, sampling_rate=rate, return_tensors="pt")["input_values"].flatten()
        packed = torch.zeros(1, _SECONDS * rate // hop * hop + 1)
        packed[0, : len(heard)] = heard
        packed[0, -1] = len(heard)
        return packed

    def __str__(self) -> str:
        return f"mean of channels, first {_SECONDS} s, {settings_of(self.extractor)}"


@dataclass(frozen=True)
class Frames:
    """Video → float32 [1, count, 3, H, W]: frames at equal distances from the first to the last."""

    processor: Any

    def __call__(self, raw: RawSample) -> Tensor:
        count, last = self.processor.num_frames, len(raw.frame_times) - 1
        frames = raw.frames([raw.frame_times[last * number // max(count - 1, 1)] for number in range(count)])
        seen = self.processor(videos=[frames], do_sample_frames=False, return_tensors="pt")
        return seen["pixel_values_videos"]  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return f"frames at equal distances from the first to the last, {settings_of(self.processor)}"


def recognise(source: Source) -> Opening | None:
    """A folder with ``model_type: pe_audio_video``."""
    if model_type(source) != "pe_audio_video":
        return None
    return Opening(lambda: _load(source), lambda: files_read(source))


def _load(source: Source) -> TowersEncoder:
    """The model, with video where the folder says how many frames it takes.

    PE-AV has one text head for sound and another for video. To be right for either, an embedding has three parts:
    text (t_sound, t_video, 0), sound (s, 0, s), video (0, v, v). The cosine of any two different modalities is half
    that of the model's own pair of heads, so rankings are the model's. (The mean of several prompts weighs its two
    parts together, where the model would scale each one to unit length.)
    """
    model = _load_model(source)
    tokenize = Tokenize(load_tokenizer(source.path, model.config.text_config.vocab_size), _TEXT_TOKENS)
    hear = Sound(load_processor(source.path, transformers.AutoFeatureExtractor, "preprocessor_config.json"))
    see = Frames(load_processor(source.path, transformers.AutoVideoProcessor, "video_preprocessor_config.json"))
    fronts: dict[Modality, Preprocess] = {Modality.AUDIO: hear, Modality.TEXT: tokenize, Modality.VIDEO: see}
    if not see.processor.num_frames:
        logging.getLogger("ibench").warning(
            '%s: opened without video, for its video_preprocessor_config.json states no "num_frames"', source.path
        )
        del fronts[Modality.VIDEO]
    card = Card(
        name=source.path.absolute().name,
        family="PE-AV",
        modalities=tuple(fronts),
        dim=3 * model.config.text_config.hidden_size,
        trained_pairs=tuple(combinations(fronts, 2)),
        preprocessing={modality: str(front) for modality, front in fronts.items()},
        licence="see the checkpoint's own card",
    )
    return TowersEncoder(card, fronts, _towers(model, DTYPES[source.dtype]), torch.device(source.device))


def _load_model(source: Source) -> Any:
    """The model of a folder, whole. Raises IbenchError as `hf_folder.load_model` does.

    Not by from_pretrained, which takes a buffer of timm's rotary embedding for a tied weight and fails (transformers
    5.23 with timm 1.0.31). A file keeps tied weights once, under the name of the first of them.
    """
    config = load_config(source, class_named("PeAudioVideoConfig"))
    weights = read_folder(source.path)
    with opening(source.path):
        plan = built_within(lambda: transformers.AutoModel.from_config(config), weights, source.path)
    wanted = plan.state_dict()
    tied = {key: weights[first] for key, first in plan.all_tied_weights_keys.items() if first in weights}
    weights = {key: tied[key] for key in tied if key in wanted} | weights
    refuse_misfit(f"{source.path}: its weights do not fit {type(plan).__name__}", wanted, weights)
    with opening(source.path):
        model = transformers.AutoModel.from_config(config, dtype=DTYPES[source.dtype])
        model.load_state_dict(weights)
    return model.requires_grad_(False).to(source.device).eval()


def _towers(model: Any, dtype: torch.dtype) -> dict[Modality, Callable[[Tensor], Tensor]]:
    """As PeAudioVideoModel.forward composes them; its get_*_embeds call what is not there (transformers 5.23)."""

    def listen(packed: Tensor) -> Tensor:
        sound = _by_length(packed[:, -1], lambda rows, length: hear(packed[rows, None, :length]))
        return _parts(sound, None, sound)

    def hear(samples: Tensor) -> Tensor:
        audio = model.audio_model
        return audio.audio_head(audio.audio_encoder(input_values=samples.to(dtype)).pooler_output)  # type: ignore[no-any-return]

    def watch(frames: Tensor) -> Tensor:
        video = model.video_model
        seen = video.video_head(video.video_encoder(pixel_values_videos=frames.to(dtype)).pooler_output)
        return _parts(None, seen, seen)

    def read(tokens: Tensor) -> Tensor:
        words = _by_length(tokens[:, 1].sum(dim=1), lambda rows, length: _words(model, tokens[rows, 0, :length]))
        return _parts(model.audio_model.text_audio_head(words), model.video_model.text_video_head(words), None)

    return {Modality.AUDIO: listen, Modality.TEXT: read, Modality.VIDEO: watch}


def _words(model: Any, ids: Tensor) -> Tensor:
    """What the text heads take: the first token of the last hidden state."""
    return model.text_model(input_ids=ids, output_hidden_states=True).hidden_states[-1][:, 0]  # type: ignore[no-any-return]


def _by_length(lengths: Tensor, embed: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Embed rows of equal length together, without padding: what a sample is batched with cannot change it."""
    groups = [(lengths == length, int(length)) for length in sorted(set(lengths.tolist()))]
    places = torch.cat([rows.nonzero().flatten() for rows, _ in groups])
    return torch.cat([embed(rows, length) for rows, length in groups])[places.argsort()]


def _parts(*parts: Tensor | None) -> Tensor:
    """Unit rows of each part side by side; None is zeros."""
    given = next(part for part in parts if part is not None)
    return torch.cat(
        [torch.zeros_like(given, dtype=torch.float32) if part is None else unit_rows(part) for part in parts], dim=1
    )
