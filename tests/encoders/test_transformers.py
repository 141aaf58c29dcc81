"""Folders of transformers: embeddings are the library's own, one sample's are no other's business, and nothing runs."""

from __future__ import annotations

import json
import pickle
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from ibench.encoders import Encoder, open_checkpoint
from ibench.encoders.hf_folder import class_named, pooled
from ibench.errors import IbenchError
from ibench.modalities import Modality, Waveform

TEXTS = ["a dog", "a photo of a cat in the garden", "x"]
RNG = np.random.default_rng(0)
IMAGES = [Image.fromarray(RNG.integers(0, 255, (30 + 25 * i, 50, 3), dtype=np.uint8)) for i in range(3)]
FILMS = [tiny_models.Film(RNG.integers(0, 255, (4 + 3 * i, 40, 50, 3), dtype=np.uint8)) for i in range(3)]
SOUNDS = [Waveform(0.1 * RNG.standard_normal((1 + i % 2, 9000 * (1 + i))).astype(np.float32), 16000) for i in range(3)]
SAMPLES = {Modality.TEXT: TEXTS, Modality.IMAGE: IMAGES, Modality.VIDEO: FILMS, Modality.AUDIO: SOUNDS}

SIGHTED = ["align", "altclip", "chinese_clip", "clip", "siglip", "siglip2", "xclip"]
LENGTHS = {"align": 64, "altclip": 77, "chinese_clip": 52}
UNMASKED = ("siglip", "siglip2")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any, Encoder]]:
    """The folder, the library's model and the encoder of a tiny model, made once."""
    made: dict[str, tuple[Path, Any, Encoder]] = {}

    def make(name: str) -> tuple[Path, Any, Encoder]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name) / name
            model = getattr(tiny_models, name)(folder)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("IBENCH_CACHE", str(folder.parent / "cache"))
                made[name] = (folder, model, open_checkpoint(str(folder), "cpu", "fp32").load())
        return made[name]

    return make


@pytest.mark.parametrize("name", [*SIGHTED, "pe_av"])
def test_an_embedding_is_its_samples_alone(name: str, opened: Callable[[str], tuple[Path, Any, Encoder]]) -> None:
    _, _, encoder = opened(name)
    for modality in encoder.card.modalities:
        front = pickle.loads(pickle.dumps(encoder.preprocess(modality, {})))
        views = [front(sample) for sample in SAMPLES[modality]]
        together = encoder.encode(modality, torch.cat(views))
        alone = torch.cat([encoder.encode(modality, view) for view in views])
        reversed_ = encoder.encode(modality, torch.cat(views[::-1])).flip(0)
        assert together.dtype == torch.float32
        assert not together.requires_grad
        assert torch.allclose(together.norm(dim=1), torch.ones(len(views)), atol=1e-5)
        assert torch.allclose(together, alone, atol=1e-6)
        assert torch.allclose(together, reversed_, atol=1e-6)
        assert torch.equal(views[0], front(SAMPLES[modality][0]))
        assert (together[0] - together[1]).abs().max() > 1e-4, "different samples embed differently"


@pytest.mark.parametrize("name", SIGHTED)
def test_text_is_the_librarys_own(name: str, opened: Callable[[str], tuple[Path, Any, Encoder]]) -> None:
    folder, model, encoder = opened(name)
    tokens = _tokens(folder, name, model)
    if name in UNMASKED:
        tokens.pop("attention_mask")
    with torch.no_grad():
        theirs = pooled(model.get_text_features(**tokens))
    assert torch.allclose(_embedded(encoder, Modality.TEXT), torch.nn.functional.normalize(theirs), atol=1e-5)


@pytest.mark.parametrize("name", SIGHTED)
def test_sight_is_the_librarys_own(name: str, opened: Callable[[str], tuple[Path, Any, Encoder]]) -> None:
    from transformers import AutoImageProcessor

    folder, model, encoder = opened(name)
    processor = AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        if name == "xclip":
            chosen = [[0, 1, 2, 3], [0, 2, 4, 6], [1, 3, 6, 8]]
            clips = [list(film.pixels[numbers]) for film, numbers in zip(FILMS, chosen, strict=True)]
            seen = torch.cat([processor(clip, return_tensors="pt")["pixel_values"] for clip in clips])
            theirs = pooled(model.get_video_features(pixel_values=seen))
        else:
            theirs = pooled(model.get_image_features(**processor(images=IMAGES, return_tensors="pt")))
    assert torch.allclose(
        _embedded(encoder, encoder.card.modalities[0]), torch.nn.functional.normalize(theirs), atol=1e-5
    )


def test_the_model_itself_agrees_with_its_parts(opened: Callable[[str], tuple[Path, Any, Encoder]]) -> None:
    """CLIP's forward, which users of the library call, has the same cosines."""
    folder, model, encoder = opened("clip")
    from transformers import CLIPProcessor

    inputs = CLIPProcessor.from_pretrained(folder)(text=TEXTS, images=IMAGES, padding=True, return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs)
    assert torch.allclose(_embedded(encoder, Modality.TEXT), output.text_embeds, atol=1e-5)
    assert torch.allclose(_embedded(encoder, Modality.IMAGE), output.image_embeds, atol=1e-5)


def test_pe_av_has_the_cosines_of_each_pair_of_heads(opened: Callable[[str], tuple[Path, Any, Encoder]]) -> None:
    from transformers import AutoFeatureExtractor, AutoTokenizer, AutoVideoProcessor

    folder, model, encoder = opened("pe_av")
    embedded = {modality: _embedded(encoder, modality) for modality in encoder.card.modalities}
    words = AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")
    wave = np.repeat(SOUNDS[0].samples[0], 3)  # 16 kHz → 48 kHz in a way that any resampler can be told from
    sound = AutoFeatureExtractor.from_pretrained(folder)(wave, sampling_rate=48000, return_tensors="pt")["input_values"]
    frames = [FILMS[0].pixels[[0, 1, 2, 3]]]
    film = AutoVideoProcessor.from_pretrained(folder)(videos=frames, do_sample_frames=False, return_tensors="pt")
    with torch.no_grad():
        theirs = model(**words, input_values=sound, pixel_values_videos=film["pixel_values_videos"])
    front = encoder.preprocess(Modality.AUDIO, {})
    hear = encoder.encode(Modality.AUDIO, front(Waveform(wave[None], 48000)))[0]
    read, see = embedded[Modality.TEXT][0], embedded[Modality.VIDEO][0]
    assert torch.allclose(read @ hear, _cosine(theirs.text_audio_embeds, theirs.audio_embeds) / 2, atol=1e-5)
    assert torch.allclose(read @ see, _cosine(theirs.text_video_embeds, theirs.video_embeds) / 2, atol=1e-5)
    assert torch.allclose(hear @ see, _cosine(theirs.audio_embeds, theirs.video_embeds) / 2, atol=1e-5)


def test_pe_av_goes_without_video_where_the_folder_does_not_say_how_many_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_models.pe_av(tmp_path / "pe", num_frames=None)
    capsys.readouterr()
    card = open_checkpoint(str(tmp_path / "pe"), "cpu", "fp32").card
    assert card.modalities == (Modality.AUDIO, Modality.TEXT)
    assert "num_frames" in caplog.text
    assert capsys.readouterr().out == "", "stdout is for results"


def test_short_long_silent_and_stereo_sounds_are_embedded(
    opened: Callable[[str], tuple[Path, Any, Encoder]],
) -> None:
    _, _, encoder = opened("pe_av")
    front = encoder.preprocess(Modality.AUDIO, {})
    sounds = [np.zeros((1, 4000)), np.ones((1, 2)), np.zeros((2, 48000 * 31)), RNG.standard_normal((2, 5000))]
    views = [front(Waveform(samples.astype(np.float32), 48000)) for samples in sounds]
    assert len({view.shape for view in views}) == 1
    assert views[2][0, -1] == 48000 * 30, "cut to half a minute"
    assert torch.isfinite(encoder.encode(Modality.AUDIO, torch.cat([views[0], views[1], views[3]]))).all()


@pytest.mark.parametrize(("dtype", "bits"), [("bf16", 8), ("fp16", 11)])
@pytest.mark.parametrize("name", ["clip", "siglip2", "xclip", "pe_av"])
def test_half_precision_errs_by_its_own_rounding(
    name: str, dtype: str, bits: int, opened: Callable[[str], tuple[Path, Any, Encoder]]
) -> None:
    """How far a unit vector moves, in roundings of a number with that many bits: the same count in either format.

    Weights and activations are rounded some tens of times on the way, each time by up to half a unit and in any
    direction, so their sum is a few units: 2 to 4 with the kernels of four instruction sets, and 5 where every
    activation is rounded by hand. Which way each one goes differs between processors; how many there are does not.
    Twelve units of fp16 are one and a half of bf16, and three quarters of one of bf16 are six of fp16: with 1.6 to
    3.8 of its own neither format passes for the other, nor single precision for either.
    """
    folder, _, encoder = opened(name)
    half = open_checkpoint(str(folder), "cpu", dtype).load()
    for modality in encoder.card.modalities:
        embedded = _embedded(half, modality)
        assert embedded.dtype == torch.float32
        units = (embedded - _embedded(encoder, modality)).norm(dim=1) * 2**bits
        assert 0.75 < units.max() < 12, f"{modality}: {units.tolist()}"


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_images_of_any_mode_are_seen(mode: str, opened: Callable[[str], tuple[Path, Any, Encoder]]) -> None:
    _, _, encoder = opened("clip")
    assert encoder.preprocess(Modality.IMAGE, {})(IMAGES[0].convert(mode)).shape == (1, 3, 32, 32)


def test_long_texts_are_cut_and_capitals_lowered_where_the_model_was_trained_so(
    opened: Callable[[str], tuple[Path, Any, Encoder]],
) -> None:
    _, _, encoder = opened("siglip")
    read = encoder.preprocess(Modality.TEXT, {})
    assert torch.equal(read("A DOG"), read("a dog"))
    assert read("dog " * 100).shape == (1, 2, 20)
    assert read("dog")[0, 0, 0] != read.tokenizer.pad_token_id, "padded on the right, whatever the tokenizer prefers"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["clip", "pe_av", "clap"])
def test_half_loaded_weights_are_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    getattr(tiny_models, name)(folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    lost = sorted(key for key in weights if key.endswith("layer_norm1.weight") or "audio_projection.linear1" in key)
    lost = lost or [next(key for key in sorted(weights) if key.endswith(".bias"))]
    grown = next(key for key in sorted(weights) if weights[key].dim() == 2 and key not in lost)
    kept = {key: tensor for key, tensor in weights.items() if key not in lost}
    kept |= {"surplus.weight": torch.zeros(2), grown: torch.zeros(3, 3)}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(IbenchError) as refusal:
        open_checkpoint(str(folder), "cpu", "fp32")
    told = str(refusal.value)
    assert "\n" not in told
    assert re.search(rf"\d missing \({re.escape(lost[0])}", told)
    assert "1 unexpected (surplus.weight)" in told
    assert re.search(rf"\d misshapen \(.*{re.escape(grown)} \(3, 3\) instead of", told)


@pytest.mark.parametrize("name", ["clip", "siglip2", "pe_av"])
def test_opening_asks_no_network(
    name: str, monkeypatch: pytest.MonkeyPatch, opened: Callable[[str], tuple[Path, Any, Encoder]]
) -> None:
    folder, _, _ = opened(name)
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *names, **_: asked.append(names))
    open_checkpoint(str(folder), "cpu", "fp32")
    assert asked == []


@pytest.mark.parametrize(("name", "processor"), [("clip", "CLIPProcessor"), ("pe_av", "PeAudioVideoProcessor")])
def test_a_folder_saved_by_the_processor_opens(
    name: str, processor: str, tmp_path: Path, opened: Callable[[str], tuple[Path, Any, Encoder]]
) -> None:
    """transformers 5 keeps all settings in one processor_config.json."""
    import transformers

    folder, _, encoder = opened(name)
    other = _copied(folder, tmp_path / name)
    for file in [*other.glob("*preprocessor_config.json")]:
        file.unlink()
    getattr(transformers, processor).from_pretrained(folder).save_pretrained(other)
    assert not list(other.glob("*preprocessor_config.json"))
    assert open_checkpoint(str(other), "cpu", "fp32").card.preprocessing == encoder.card.preprocessing


@pytest.mark.slow
def test_a_run_decodes_in_workers(
    ibench: Callable[..., Any], colours: Path, opened: Callable[[str], tuple[Path, Any, Encoder]]
) -> None:
    folder, _, _ = opened("clip")
    done = ibench("run", "--task", colours, "--ckpt", folder, "--workers", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_torch_files_open_as_well(tmp_path: Path, opened: Callable[[str], tuple[Path, Any, Encoder]]) -> None:
    folder, _, encoder = opened("clip")
    other = _copied(folder, tmp_path / "bin")
    torch.save(load_file(other / "model.safetensors"), other / "pytorch_model.bin")
    (other / "model.safetensors").unlink()
    again = open_checkpoint(str(other), "cpu", "fp32").load()
    assert torch.equal(_embedded(again, Modality.TEXT), _embedded(encoder, Modality.TEXT))


def test_code_of_a_folder_is_never_run(tmp_path: Path, opened: Callable[[str], tuple[Path, Any, Encoder]]) -> None:
    folder, _, encoder = opened("clip")
    other = _copied(folder, tmp_path / "clip")
    ran = tmp_path / "ran"
    (other / "mine.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Mine: pass\n")
    code = {"AutoModel": "mine.Mine", "AutoConfig": "mine.Mine"}
    tiny_models.edit_json(other / "config.json", auto_map=code)
    assert torch.equal(
        _embedded(open_checkpoint(str(other), "cpu", "fp32").load(), Modality.TEXT), _embedded(encoder, Modality.TEXT)
    )
    tiny_models.edit_json(
        other / "tokenizer_config.json", auto_map={"AutoTokenizer": ["mine.Mine", "mine.Mine"]}, tokenizer_class="Mine"
    )
    with suppress(IbenchError):  # a release may refuse this or fall back on its own tokenizer
        open_checkpoint(str(other), "cpu", "fp32")
    tiny_models.edit_json(other / "config.json", model_type="mine")
    with pytest.raises(IbenchError, match="'mine' is code that the folder brings along") as refused:
        open_checkpoint(str(other), "cpu", "fp32")
    assert "\n" not in str(refused.value)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "has no preprocessor_config.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights: none of model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x08"), "neither safetensors nor a torch"),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
        (lambda folder: tiny_models.edit_json(folder / "config.json", model_type="bert"), "no known family"),
    ],
)
def test_a_spoiled_folder_is_told_in_one_line(
    spoil: Callable[[Path], Any], told: str, tmp_path: Path, opened: Callable[[str], tuple[Path, Any, Encoder]]
) -> None:
    folder = _copied(opened("chinese_clip")[0], tmp_path / "folder")
    spoil(folder)
    with pytest.raises(IbenchError, match=told) as refusal:
        open_checkpoint(str(folder), "cpu", "fp32")
    assert "\n" not in str(refusal.value)


def test_another_models_tokenizer_is_refused(
    tmp_path: Path, opened: Callable[[str], tuple[Path, Any, Encoder]]
) -> None:
    folder = _copied(opened("chinese_clip")[0], tmp_path / "folder")
    (folder / "tokenizer.json").unlink()
    tiny_models.roberta_tokenizer().save_pretrained(folder)
    with pytest.raises(IbenchError, match="it is another model's"):
        open_checkpoint(str(folder), "cpu", "fp32")


def test_a_class_that_transformers_lacks_is_told() -> None:
    with pytest.raises(IbenchError, match=r"transformers \d.* has no NextYearModel; install a newer one"):
        class_named("NextYearModel")


def test_the_card_tells_two_front_ends_apart(
    tmp_path: Path, opened: Callable[[str], tuple[Path, Any, Encoder]]
) -> None:
    folder, _, encoder = opened("clip")
    other = _copied(folder, tmp_path / "clip")
    tiny_models.edit_json(other / "preprocessor_config.json", image_mean=[0.5, 0.5, 0.5])
    card = open_checkpoint(str(other), "cpu", "fp32").card
    assert card.preprocessing[Modality.IMAGE] != encoder.card.preprocessing[Modality.IMAGE]
    assert card.preprocessing[Modality.TEXT] == encoder.card.preprocessing[Modality.TEXT]
    assert card.trained_pairs == ((Modality.IMAGE, Modality.TEXT),)
    assert not any("/" in words for words in card.preprocessing.values()), "no path: a folder may be moved"


def _embedded(encoder: Encoder, modality: Modality) -> Tensor:
    front = encoder.preprocess(modality, {})
    return encoder.encode(modality, torch.cat([front(sample) for sample in SAMPLES[modality]]))


def _tokens(folder: Path, name: str, model: Any) -> dict[str, Tensor]:
    from transformers import AutoTokenizer

    length = LENGTHS.get(name, model.config.text_config.max_position_embeddings)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    tokens = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return {key: tokens[key] for key in ("input_ids", "attention_mask")}


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(one, other)[0]


def _copied(folder: Path, other: Path) -> Path:
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    return other
