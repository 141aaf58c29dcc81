"""From a state dict of MS-CLAP to its towers: the release told by the keys, all sizes by the shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

import transformers
from torch import Tensor, nn

from ibench.encoders import htsat
from ibench.encoders.hf_folder import opening
from ibench.encoders.ms_clap.towers import AudioEncoder, Cnn14, Htsat, LogMel, Projection, TextEncoder, Towers
from ibench.encoders.source import Source
from ibench.encoders.weights import Shapes, load_strictly, naming, part
from ibench.errors import IbenchError

_TOWERS_OF = {
    "2023": ("audio_encoder.base.htsat.", "caption_encoder.base.h."),
    "2022": ("audio_encoder.base.conv_block", "caption_encoder.base.encoder."),
}
"""How keys of each release's towers begin: HTSAT and GPT-2, Cnn14 and BERT."""

_UNUSED = re.compile(
    r"audio_encoder\.base\.fc_audioset\."  # AudioSet classifier
    r"|caption_encoder\.base\.pooler\."  # BERT's own, of which the released code makes no use
    r"|caption_encoder\.base\.(h\.\d+\.attn\.(bias|masked_bias)|embeddings\.(position|token_type)_ids)$"  # computed
    r"|logit_scale$"  # turns no ranking
)
"""In a checkpoint, and nothing a unit vector depends on."""

_FRONT = re.compile(r"^audio_encoder\.base\.(htsat\.)?(?=(spectrogram|logmel)_extractor\.)")
_AUDIO, _TEXT = "audio_encoder.base.", "caption_encoder.base."
_HTSAT = f"{_AUDIO}htsat."


def release_of(weights: Mapping[str, Tensor]) -> str | None:
    """The year of the release that a state dict is of; None for one of another family.

    Raises IbenchError for MS-CLAP with other towers than the published ones.
    """
    if not _has(weights, _AUDIO, _TEXT):
        return None
    for year, starts in _TOWERS_OF.items():
        if _has(weights, *starts):
            return year
    raise IbenchError(
        "has the keys of MS-CLAP, but the towers of neither release (2023: HTSAT and GPT-2, 2022: Cnn14 and BERT); "
        "write a factory (file.py:make_encoder)"
    )


def load_towers(source: Source, release: str) -> Towers:
    """The towers of a checkpoint, in float32 on the CPU.

    Raises IbenchError with the first five missing, unexpected and misshapen keys, or with the one whose shape should
    have told a size.
    """
    weights = source.weights
    with naming(source.path), opening(source.path):
        towers = _TOWERS[release](weights)
    computed = {key: index for key, index in towers.state_dict().items() if key.endswith("relative_position_index")}
    load_strictly(towers, {**computed, **_renamed(weights)}, source.reference)
    return towers.requires_grad_(False).eval()


def _has(weights: Mapping[str, Tensor], *starts: str) -> bool:
    return all(any(key.startswith(start) for key in weights) for start in starts)


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The keys of `Towers`: the front end beside its tower, HTSAT as in transformers, the unused left out."""
    used = {_FRONT.sub("audio_encoder.front.", key): value for key, value in weights.items() if not _UNUSED.match(key)}
    swin = htsat.converted(part(used, _HTSAT))
    others = {key: tensor for key, tensor in used.items() if not key.startswith(_HTSAT)}
    return others | {f"{_HTSAT}{key}": tensor for key, tensor in swin.items()}


def _release_2023(weights: Mapping[str, Tensor]) -> Towers:
    audio = Shapes(weights, _HTSAT)
    tower = transformers.ClapAudioModel(transformers.ClapAudioConfig(**htsat.config_of(audio))).audio_encoder
    ear = AudioEncoder(_front(audio), Htsat(tower), _projection(weights, "audio_encoder"))
    reader = TextEncoder(_gpt2(Shapes(weights, _TEXT)), _projection(weights, "caption_encoder"), at_end=True)
    return Towers(ear, reader)


def _release_2022(weights: Mapping[str, Tensor]) -> Towers:
    audio = Shapes(weights, _AUDIO)
    blocks = range(1, max(len(audio.counts(r"conv_block(\d+)\.conv1\.weight")), 1) + 1)
    channels = [audio.of(f"conv_block{number}.conv1.weight", 4)[0] for number in blocks]
    tower = Cnn14(audio.of("bn0.weight", 1)[0], channels, audio.of("fc1.weight", 2)[0])
    ear = AudioEncoder(_front(audio), tower, _projection(weights, "audio_encoder"))
    reader = TextEncoder(_bert(Shapes(weights, _TEXT)), _projection(weights, "caption_encoder"), at_end=False)
    return Towers(ear, reader)


_TOWERS = {"2023": _release_2023, "2022": _release_2022}


def _front(audio: Shapes) -> LogMel:
    bins, _, window = audio.of("spectrogram_extractor.stft.conv_real.weight", 3)
    return LogMel(bins, window, audio.of("logmel_extractor.melW", 2)[1])


def _gpt2(text: Shapes) -> nn.Module:
    """Heads of 64 channels, as all sizes of GPT-2 have them."""
    words, width = text.of("wte.weight", 2)
    config = transformers.GPT2Config(
        vocab_size=words,
        n_embd=width,
        n_positions=text.of("wpe.weight", 2)[0],
        n_layer=sum(text.counts(r"(h)\.\d+\.ln_1\.weight")),
        n_head=max(width // 64, 1),
        n_inner=text.of("h.0.mlp.c_fc.weight", 2)[1],
        use_cache=False,
        bos_token_id=words - 1,
        eos_token_id=words - 1,
    )
    model: nn.Module = transformers.GPT2Model(config)
    return model


def _bert(text: Shapes) -> nn.Module:
    """Heads of 64 channels, as all sizes of BERT have them."""
    words, width = text.of("embeddings.word_embeddings.weight", 2)
    config = transformers.BertConfig(
        vocab_size=words,
        hidden_size=width,
        max_position_embeddings=text.of("embeddings.position_embeddings.weight", 2)[0],
        type_vocab_size=text.of("embeddings.token_type_embeddings.weight", 2)[0],
        num_hidden_layers=sum(text.counts(r"encoder\.(layer)\.\d+\.output\.dense\.weight")),
        num_attention_heads=max(width // 64, 1),
        intermediate_size=text.of("encoder.layer.0.intermediate.dense.weight", 2)[0],
    )
    model: nn.Module = transformers.BertModel(config, add_pooling_layer=False)
    return model


def _projection(weights: Mapping[str, Tensor], encoder: str) -> Projection:
    dim, width = Shapes(weights, f"{encoder}.projection.").of("linear1.weight", 2)
    return Projection(width, dim)
