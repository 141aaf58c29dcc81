"""CLAP: no random draw decides an embedding, and LAION's own checkpoints are the same model under other names."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from torch import Tensor

from ibench.encoders import Encoder, open_checkpoint
from ibench.encoders.hf_folder import pooled
from ibench.encoders.weights import read_weights
from ibench.errors import IbenchError
from ibench.media.audio import resample
from ibench.modalities import Modality, Waveform

RATE = 48000
RNG = np.random.default_rng(0)
NOISE = 0.1 * RNG.standard_normal((2, RATE * 14)).astype(np.float32)
SHORT, LONG = NOISE[:1, : RATE * 3], NOISE[1:]
TEXTS = ["a dog barks", "rain on a tin roof, far away", "x"]


@pytest.fixture(params=[False, True], ids=["unfused", "fused"])
def fusion(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_an_embedding_is_its_samples_alone(fusion: bool, tmp_path: Path) -> None:
    """No draw, no clip that must be marked longer: neither the batch nor numpy's generator can be seen."""
    encoder = _folder(tmp_path, fusion)[1]
    hear = pickle.loads(pickle.dumps(encoder.preprocess(Modality.AUDIO, {})))
    sounds = [SHORT, LONG, np.zeros((1, RATE), np.float32), LONG[:, : RATE * 10]]
    np.random.seed(1)
    views = [hear(Waveform(sound, RATE)) for sound in sounds]
    np.random.seed(2)
    assert all(torch.equal(view, hear(Waveform(sound, RATE))) for view, sound in zip(views, sounds, strict=True))
    together = encoder.encode(Modality.AUDIO, torch.cat(views))
    alone = torch.cat([encoder.encode(Modality.AUDIO, view) for view in views])
    assert together.dtype == torch.float32
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together.norm(dim=1), torch.ones(len(views)), atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-5


def test_short_sounds_and_texts_are_the_librarys_own(fusion: bool, tmp_path: Path) -> None:
    model, encoder = _folder(tmp_path, fusion)
    heard = tiny_models.clap_extractor(fusion)(SHORT[0], sampling_rate=RATE, return_tensors="pt")
    words = tiny_models.roberta_tokenizer()(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        # the library marks a random short sound as longer; LAION's code does not, when there is no longer one
        theirs = pooled(model.get_audio_features(heard["input_features"], is_longer=torch.tensor([[False]])))
        read = pooled(model.get_text_features(words["input_ids"], words["attention_mask"]))
    assert torch.allclose(_heard(encoder, SHORT), theirs, atol=1e-5)
    tokenize = encoder.preprocess(Modality.TEXT, {})
    assert torch.allclose(encoder.encode(Modality.TEXT, torch.cat([tokenize(text) for text in TEXTS])), read, atol=1e-5)


def test_a_longer_sound_is_what_the_library_may_draw(
    fusion: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's own features, its draws fixed to the middle of what they choose from."""
    model, encoder = _folder(tmp_path, fusion)
    monkeypatch.setattr(np.random, "randint", lambda low, high: (high - 1) // 2)
    monkeypatch.setattr(np.random, "choice", lambda choices: choices[len(choices) // 2])
    heard = tiny_models.clap_extractor(fusion)(LONG[0], sampling_rate=RATE, return_tensors="pt")
    assert heard["is_longer"].all()
    with torch.no_grad():
        theirs = pooled(model.get_audio_features(**heard))
    assert torch.allclose(_heard(encoder, LONG), theirs, atol=1e-5)


def test_a_sound_longer_by_less_than_a_hop_is_not_longer(tmp_path: Path) -> None:
    hear = _folder(tmp_path, True)[1].preprocess(Modality.AUDIO, {})
    flags = {length: float(hear(Waveform(LONG[:, :length], RATE))[0, 0, -1, 0]) for length in (480000, 480001, 480960)}
    assert flags == {480000: 0.0, 480001: 0.0, 480960: 1.0}


def test_channels_are_averaged_and_rates_resampled(fusion: bool, tmp_path: Path) -> None:
    hear = _folder(tmp_path, fusion)[1].preprocess(Modality.AUDIO, {})
    stereo = RNG.standard_normal((2, 16000)).astype(np.float32)
    mixed = resample(Waveform(stereo.mean(axis=0, keepdims=True), 16000), RATE)
    assert torch.allclose(hear(Waveform(stereo, 16000)), hear(mixed), atol=1e-3)
    assert torch.isfinite(hear(Waveform(np.ones((1, 1), np.float32), RATE))).all(), "a single sample is a sound"


@pytest.mark.parametrize(("dtype", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_half_precision_is_near(dtype: str, tolerance: float, fusion: bool, tmp_path: Path) -> None:
    encoder = _folder(tmp_path, fusion)[1]
    half = open_checkpoint(str(tmp_path / "clap"), "cpu", dtype).load()
    for sound in (SHORT, LONG):
        assert torch.allclose(_heard(half, sound), _heard(encoder, sound), atol=tolerance)


@pytest.mark.parametrize("lost", ["truncation", "frequency_min", "sampling_rate"])
def test_a_front_end_is_never_made_of_defaults(lost: str, tmp_path: Path) -> None:
    tiny_models.clap(tmp_path / "clap")
    tiny_models.edit_json(tmp_path / "clap" / "preprocessor_config.json", **{lost: None})
    with pytest.raises(IbenchError, match=f"does not state {lost}"):
        open_checkpoint(str(tmp_path / "clap"), "cpu", "fp32")
    (tmp_path / "clap" / "preprocessor_config.json").unlink()
    with pytest.raises(IbenchError, match=r"has no preprocessor_config\.json; add it"):
        open_checkpoint(str(tmp_path / "clap"), "cpu", "fp32")


def test_a_front_end_that_contradicts_the_model_is_refused(tmp_path: Path) -> None:
    tiny_models.clap(tmp_path / "clap")
    tiny_models.edit_json(tmp_path / "clap" / "preprocessor_config.json", truncation="fusion")
    with pytest.raises(IbenchError, match="enable_fusion False, but the feature extractor's truncation is 'fusion'"):
        open_checkpoint(str(tmp_path / "clap"), "cpu", "fp32")


def test_a_folder_saved_by_the_processor_opens(tmp_path: Path) -> None:
    """transformers 5 keeps all settings in one processor_config.json."""
    from transformers import ClapProcessor

    tiny_models.clap(tmp_path / "clap")
    before = open_checkpoint(str(tmp_path / "clap"), "cpu", "fp32").card.preprocessing
    (tmp_path / "clap" / "preprocessor_config.json").unlink()
    processor = ClapProcessor(tiny_models.clap_extractor(False), tiny_models.roberta_tokenizer())
    processor.save_pretrained(tmp_path / "clap")
    assert open_checkpoint(str(tmp_path / "clap"), "cpu", "fp32").card.preprocessing == before


def test_laions_checkpoint_is_the_same_model(fusion: bool, tmp_path: Path) -> None:
    model, encoder = _folder(tmp_path, fusion)
    checkpoint = open_checkpoint(str(_laion(model, tmp_path)), "cpu", "fp32")
    assert checkpoint.card.family == "CLAP (LAION)"
    assert {path.name for path in checkpoint.card.files} == {"laion.pt", "tokenizer.json", "tokenizer_config.json"}
    laion = checkpoint.load()
    assert torch.allclose(_heard(laion, SHORT), _heard(encoder, _sixteen_bits(SHORT)), atol=1e-5)
    assert torch.allclose(_heard(laion, LONG), _heard(encoder, _sixteen_bits(LONG)), atol=1e-5)
    tokens = laion.preprocess(Modality.TEXT, {})(TEXTS[0])
    assert torch.equal(tokens, encoder.preprocess(Modality.TEXT, {})(TEXTS[0]))
    assert torch.allclose(laion.encode(Modality.TEXT, tokens), encoder.encode(Modality.TEXT, tokens), atol=1e-5)


def test_laions_checkpoint_must_fit_whole(tmp_path: Path) -> None:
    path = _laion(tiny_models.clap(tmp_path / "clap"), tmp_path, drop=r".*layers\.1\.blocks\.1\.mlp\.fc1.*")
    lost = "audio_model.audio_encoder.layers.1.blocks.1.intermediate.dense"
    with pytest.raises(IbenchError, match=rf"2 missing \({re.escape(lost)}\.weight, {re.escape(lost)}\.bias\)"):
        _opened(path)


def test_laions_checkpoint_with_other_mel_filters_is_refused(tmp_path: Path) -> None:
    model = tiny_models.clap(tmp_path / "clap")
    with pytest.raises(IbenchError, match="trained on other mel filters"):
        _opened(_laion(model, tmp_path, mels=torch.zeros(513, 64)))


def test_laions_checkpoint_needs_robertas_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _laion(tiny_models.clap(tmp_path / "clap"), tmp_path)
    monkeypatch.setattr("ibench.encoders.hub_tokenizer.try_to_load_from_cache", lambda *_: None)
    tokenizer = tmp_path / "tokenizer.json"
    letters = json.loads(tokenizer.read_text())["model"]["vocab"]
    tokenizer.unlink()
    with pytest.raises(IbenchError, match=r"roberta-base's tokenizer, which is not there; put tokenizer\.json"):
        _opened(path)
    (tmp_path / "vocab.json").write_text(json.dumps(letters))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    assert _opened(path).preprocess(Modality.TEXT, {})("a dog").shape == (1, 2, 77)


def test_numbers_of_numpy_beside_the_weights_are_read(tmp_path: Path) -> None:
    torch.save({"epoch": np.int64(3), "best": np.float64(0.5), "state_dict": {"a": torch.ones(2)}}, tmp_path / "a.pt")
    assert read_weights(tmp_path / "a.pt").keys() == {"a"}


@pytest.mark.parametrize("lost", ["audio_branch.norm.weight", "text_branch.embeddings.position_embeddings.weight"])
def test_laions_checkpoint_without_a_tensor_that_tells_a_size_is_refused(lost: str, tmp_path: Path) -> None:
    path = _laion(tiny_models.clap(tmp_path / "clap"), tmp_path, drop=re.escape(lost))
    with pytest.raises(IbenchError, match=rf"laion\.pt: .*cannot be read: {re.escape(lost)} is missing"):
        _opened(path)


def _folder(tmp_path: Path, fusion: bool) -> tuple[Any, Encoder]:
    model = tiny_models.clap(tmp_path / "clap", fusion)
    return model, _opened(tmp_path / "clap")


def _opened(path: Path) -> Encoder:
    return open_checkpoint(str(path), "cpu", "fp32").load()


def _heard(encoder: Encoder, samples: Any) -> Tensor:
    return encoder.encode(Modality.AUDIO, encoder.preprocess(Modality.AUDIO, {})(Waveform(samples, RATE)))


def _sixteen_bits(samples: Any) -> Any:
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16).astype(np.float32) / np.float32(32767)


def _laion(model: Any, folder: Path, drop: str = "never", mels: Tensor | None = None) -> Path:
    """The model's weights as LAION's training saves them, by the module names of laion_clap (htsat.py, model.py)."""
    weights: dict[str, Tensor] = {}
    own = model.state_dict()
    for key, tensor in own.items():
        if key.startswith("text_model") or ".attention.self." not in key:
            weights[_laions_name(key)] = tensor
        elif ".attention.self.query." in key:  # only HTSAT keeps the three in one
            parts = [own[key.replace("query", part)] for part in ("query", "key", "value")]
            weights[_laions_name(key).replace("query", "qkv")] = torch.cat(parts)
        elif not re.search(r"attention\.self\.(key|value)\.", key):
            weights[_laions_name(key)] = tensor
    weights = {key: tensor for key, tensor in weights.items() if not re.fullmatch(drop, key)}
    filters = torch.from_numpy(tiny_models.clap_extractor(False).mel_filters_slaney).float()
    weights |= {
        "audio_branch.logmel_extractor.melW": filters if mels is None else mels,
        "audio_branch.spectrogram_extractor.stft.conv_real.weight": torch.zeros(513, 1, 1024),
        "audio_branch.layers.0.blocks.1.attn_mask": torch.zeros(64, 64, 64),
        "audio_branch.tscam_conv.weight": torch.zeros(527, 16, 2, 3),
        "audio_branch.head.weight": torch.zeros(527, 527),
        "audio_transform.sequential.0.weight": torch.zeros(16, 16),
        "text_transform.sequential.0.weight": torch.zeros(16, 16),
    }
    state = {f"module.{key}": tensor for key, tensor in weights.items()}
    torch.save({"epoch": 15, "name": "laion", "optimizer": {}, "state_dict": state}, folder / "laion.pt")
    tiny_models.roberta_tokenizer().save_pretrained(folder)
    return folder / "laion.pt"


def _laions_name(key: str) -> str:
    if key.startswith("text_model."):
        return key.replace("text_model.", "text_branch.", 1)
    key = re.sub(r"_projection\.linear([12])", lambda match: f"_projection.{2 * int(match[1]) - 2}", key)
    for ours, theirs in {
        "audio_model.audio_encoder": "audio_branch",
        "attention.self": "attn",
        "attention.output.dense": "attn.proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "batch_norm": "bn0",
    }.items():
        key = key.replace(ours, theirs)
    return key
