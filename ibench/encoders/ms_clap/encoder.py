"""A checkpoint of MS-CLAP as an encoder of sound and text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ibench.encoders.base import DTYPES, Card, Preprocess
from ibench.encoders.hf_folder import Tokenize, TowersEncoder
from ibench.encoders.hub_tokenizer import BERT, GPT2
from ibench.encoders.ms_clap.layout import load_towers, release_of
from ibench.encoders.ms_clap.towers import HOP, LogMel
from ibench.encoders.source import Family, Opening, Source
from ibench.encoders.weights import naming
from ibench.errors import IbenchError
from ibench.media.audio import middle, mono, repeated
from ibench.modalities import Modality, RawSample

FAMILIES = (Family("MS-CLAP", "audio, text", "keys of HTSAT and GPT-2, or of Cnn14 and BERT", "CLAP_weights_2023.pth"),)

_RATE = 44_100
_SECONDS = {"2023": 7, "2022": 5}
_TOKENS = {"2023": 77, "2022": 100}
_TOKENIZER = {"2023": GPT2, "2022": BERT}
"""What no tensor tells, by release (``msclap/configs/config_2023.yml`` and ``config_2022.yml``)."""

_END = "<|endoftext|>"
_PADDING = "!"


@dataclass(frozen=True)
class Excerpt:
    """Waveform → float32 [1, samples] at 44.1 kHz: a longer sound's middle, a shorter one over and over.

    All channels are averaged; the released code puts one after the other and crops that, so that it may hear a single
    one. It crops at random, this takes the middle.
    """

    seconds: int

    def __call__(self, raw: RawSample) -> Tensor:
        samples = self.seconds * _RATE
        return torch.from_numpy(repeated(middle(mono(raw, _RATE), samples), samples))[None]

    def __str__(self) -> str:
        return f"mean of channels at {_RATE} Hz, {self.seconds} s (longer: the middle; shorter: repeated)"


@dataclass(frozen=True)
class TokenizeToEnd:
    """Text → int64 [1, 2, length] as `Tokenize` gives, of the text and an end token, padded with 0.

    The released code does not cut, and cannot put texts of more than ``length`` tokens into one batch with others;
    here they lose what comes before their end token.
    """

    tokenizer: Any
    length: int

    def __call__(self, raw: RawSample) -> Tensor:
        ids = self.tokenizer(f"{raw} {_END}", verbose=False)["input_ids"]
        ids = [*ids[: self.length - 1], ids[-1]] if len(ids) > self.length else ids
        tokens = torch.zeros(1, 2, self.length, dtype=torch.long)
        tokens[0, 0, : len(ids)] = torch.tensor(ids)
        tokens[0, 1, : len(ids)] = 1
        return tokens

    def __str__(self) -> str:
        return f"{type(self.tokenizer).__name__}, ' {_END}' appended, cut before it and padded to {self.length} tokens"


def recognise(source: Source) -> Opening | None:
    """Weights with the keys of one of MS-CLAP's two releases.

    Raises IbenchError for its keys with other towers.
    """
    with naming(source.path):
        release = release_of(source.weights)
    if release is None:
        return None
    return Opening(lambda: _load(source, release), lambda: [source.path, *_TOKENIZER[release].files(source.path)])


def _load(source: Source, release: str) -> TowersEncoder:
    towers = load_towers(source, release)
    text: Any = towers.caption_encoder.base
    hear = Excerpt(_SECONDS[release])
    read = _tokenize(source.path, release, text.config)
    towers.audio_encoder.to_dtype(DTYPES[source.dtype])
    towers.caption_encoder.to(DTYPES[source.dtype])
    towers.to(source.device)
    card = Card(
        name=source.path.stem,
        family="MS-CLAP",
        modalities=(Modality.AUDIO, Modality.TEXT),
        dim=towers.caption_encoder.projection.linear2.out_features,
        trained_pairs=((Modality.AUDIO, Modality.TEXT),),
        preprocessing={
            Modality.AUDIO: f"{hear}, {_in_words(towers.audio_encoder.front)}",
            Modality.TEXT: f"{read}, with attention mask",
        },
        licence="MIT",
    )
    fronts: dict[Modality, Preprocess] = {Modality.AUDIO: hear, Modality.TEXT: read}
    embed = {Modality.AUDIO: towers.audio_encoder, Modality.TEXT: towers.caption_encoder}
    return TowersEncoder(card, fronts, embed, torch.device(source.device))


def _tokenize(checkpoint: Path, release: str, config: Any) -> Preprocess:
    tokenizer = _TOKENIZER[release].load(checkpoint, config.vocab_size)
    length = min(_TOKENS[release], config.max_position_embeddings)
    if release == "2022":
        return Tokenize(tokenizer, length)
    # As the released code makes it: a special token is split off before all others, so "!!" becomes two of them.
    tokenizer.add_special_tokens({"pad_token": _PADDING})
    if tokenizer.pad_token_id != 0:
        raise IbenchError(f"{checkpoint}: its tokenizer gives '{_PADDING}' the id {tokenizer.pad_token_id}, gpt2's 0")
    return TokenizeToEnd(tokenizer, length)


def _in_words(front: LogMel) -> str:
    bins, mels = front.logmel_extractor["melW"].shape
    return f"log-mel by the checkpoint's own matrices ({bins} frequencies, {mels} bands, hop {HOP}), float32"
