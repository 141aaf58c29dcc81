"""LAION-CLAP: LAION's own checkpoints, converted to transformers' ClapModel as they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import Tensor

from ibench.encoders import htsat
from ibench.encoders.base import DTYPES
from ibench.encoders.clap import LogMel, clap_encoder
from ibench.encoders.hf_folder import TowersEncoder, opening
from ibench.encoders.hub_tokenizer import ROBERTA
from ibench.encoders.source import Family, Opening, Source
from ibench.encoders.weights import Shapes, load_strictly, naming, part
from ibench.errors import IbenchError

FAMILIES = (Family("CLAP (LAION)", "audio, text", "keys of HTSAT and RoBERTa", "630k-audioset-best.pt"),)

_SOUND = {
    "feature_size": 64,
    "sampling_rate": 48000,
    "hop_length": 480,
    "max_length_s": 10,
    "fft_window_size": 1024,
    "frequency_min": 50,
    "frequency_max": 14000,
    "padding": "repeatpad",
}
"""How all of LAION's published HTSAT checkpoints hear (laion_clap, model_configs/HTSAT-tiny.json and -base.json)."""

_KEYS = {
    "audio_branch.patch_embed.proj.weight",
    "audio_projection.0.weight",
    "text_branch.embeddings.word_embeddings.weight",
}
"""HTSAT and RoBERTa under LAION's names; its models with PANN instead of HTSAT lack the first."""

_NOT_IN_TRANSFORMERS = re.compile(
    r"(audio|text)_transform\."  # heads of an additional loss
    r"|.*\.position_ids$"  # computed
)

_RENAMED = (
    (re.compile(r"^text_branch\."), "text_model."),
    (re.compile(r"^(audio|text)_projection\.0\."), r"\1_projection.linear1."),
    (re.compile(r"^(audio|text)_projection\.2\."), r"\1_projection.linear2."),
)


def recognise(source: Source) -> Opening | None:
    """Weights with the keys of LAION's CLAP."""
    if not source.weights.keys() >= _KEYS:
        return None
    return Opening(lambda: _load(source), lambda: [source.path, *ROBERTA.files(source.path)])


def _load(source: Source) -> TowersEncoder:
    """LAION's checkpoint as transformers' ClapModel, all sizes read from its shapes."""
    with naming(source.path), opening(source.path):
        model = transformers.ClapModel(_config_of(source.weights))
    computed = {key: tensor for key, tensor in model.state_dict().items() if key.endswith(("_ids", "_index"))}
    load_strictly(model, {**computed, **_converted(source.weights)}, source.reference)
    model = model.requires_grad_(False).to(source.device, DTYPES[source.dtype]).eval()
    fused = model.config.audio_config.enable_fusion
    extractor = transformers.ClapFeatureExtractor(**_SOUND, truncation="fusion" if fused else "rand_trunc")
    _refuse_other_filters(source, extractor)
    tokenizer = ROBERTA.load(source.path, model.config.text_config.vocab_size)
    return clap_encoder(source.path.stem, "CLAP (LAION)", model, tokenizer, LogMel(extractor, quantize=True), source)


def _config_of(weights: Mapping[str, Tensor]) -> Any:
    """Sizes from shapes. RoBERTa's heads have 64 channels and its norms an epsilon of 1e-5 (roberta-base)."""
    text = Shapes(weights, "text_branch.")
    words, width = text.of("embeddings.word_embeddings.weight", 2)
    return transformers.ClapConfig(
        projection_dim=Shapes(weights, "audio_projection.").of("0.weight", 2)[0],
        audio_config=htsat.config_of(Shapes(weights, "audio_branch.")),
        text_config={
            "vocab_size": words,
            "hidden_size": width,
            "num_hidden_layers": sum(text.counts(r"encoder\.(layer)\.(\d+)\.output\.dense\.weight")),
            "num_attention_heads": max(width // 64, 1),
            "intermediate_size": text.of("encoder.layer.0.intermediate.dense.weight", 2)[0],
            "max_position_embeddings": text.of("embeddings.position_embeddings.weight", 2)[0],
            "layer_norm_eps": 1e-5,
        },
    )


def _converted(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """LAION's keys as transformers'."""
    result = {
        f"audio_model.audio_encoder.{key}": tensor
        for key, tensor in htsat.converted(part(weights, "audio_branch.")).items()
    }
    for key, tensor in weights.items():
        if key.startswith("audio_branch.") or _NOT_IN_TRANSFORMERS.match(key):
            continue
        for pattern, new in _RENAMED:
            key = pattern.sub(new, key)
        result[key] = tensor
    return result


def _refuse_other_filters(source: Source, extractor: Any) -> None:
    """The checkpoint keeps the mel filters it was trained with: they tell whether it hears as is assumed here."""
    kept = source.weights.get("audio_branch.logmel_extractor.melW")
    filters = torch.from_numpy(extractor.mel_filters_slaney).float()
    if kept is not None and (kept.shape != filters.shape or not torch.allclose(kept.float(), filters, atol=1e-5)):
        raise IbenchError(
            f"{source.path}: was trained on other mel filters than LAION's published CLAP (48 kHz, 64 bands from 50 to "
            "14000 Hz); write a factory (file.py:make_encoder)"
        )
