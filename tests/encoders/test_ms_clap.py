"""MS-CLAP against golden outputs of the reference (tests/parity), and the laws it keeps."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msclap_samples as samples
import numpy as np
import pytest
import torch
from conftest import RunIbench
from imagebind_samples import noise, sample
from safetensors import safe_open
from torch import Tensor

from ibench.encoders import Encoder, open_checkpoint
from ibench.encoders.ms_clap.layout import load_towers
from ibench.encoders.ms_clap.towers import Towers
from ibench.encoders.source import Source
from ibench.errors import IbenchError
from ibench.media.audio import resample
from ibench.modalities import Modality, Waveform

GOLDENS = Path(__file__).parent / "goldens" / "msclap.safetensors"
RATE = 44_100
TOKENIZER = {"2022": "bert-base-uncased", "2023": "gpt2"}
FILES: dict[str, Callable[[Path], None]] = {"2022": samples.bert_files, "2023": samples.gpt2_files}


@pytest.fixture(params=samples.RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both releases as a download of microsoft/msclap leaves them, in one folder, each tokenizer in one of its own."""
    folder = tmp_path_factory.mktemp("msclap")
    for release in samples.RELEASES:
        torch.save({"model": state(release)}, folder / f"CLAP_weights_{release}.pth")
        FILES[release](folder / TOKENIZER[release])
    return folder


@pytest.fixture(scope="module")
def encoders(written: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return {release: opened(written / f"CLAP_weights_{release}.pth") for release in samples.RELEASES}


@pytest.fixture(scope="module")
def towers(written: Path) -> dict[str, Towers]:
    return {
        release: load_towers(Source(str(written / f"CLAP_weights_{release}.pth"), "cpu", "fp32"), release)
        for release in samples.RELEASES
    }


def test_spectrograms_are_embedded_as_the_reference_does(release: str, towers: dict[str, Towers]) -> None:
    embeddings = towers[release].audio_encoder.embed(samples.mels(release))
    assert difference(unit(embeddings), golden(f"{release}/tower")) <= 1e-5


def test_texts_are_read_as_the_reference_does(release: str, encoders: dict[str, Encoder]) -> None:
    """Exclamation marks, an empty text, an end token in the text, letters outside ASCII among them."""
    tokenize = encoders[release].preprocess(Modality.TEXT, {})
    tokens = torch.cat([tokenize(text) for text in samples.TEXTS])
    assert torch.equal(tokens[:, 0], golden(f"{release}/ids").long())
    assert torch.equal(tokens[:, 1], golden(f"{release}/mask").long())
    assert difference(encoders[release].encode(Modality.TEXT, tokens), golden(f"{release}/text")) <= 1e-5


@pytest.mark.parametrize("name", samples.SOUNDS)
def test_sounds_are_heard_as_the_reference_does(
    name: str, release: str, encoders: dict[str, Encoder], towers: dict[str, Towers]
) -> None:
    """Waveform, spectrogram and embedding.

    A sum of 1,024 products in float32 is exact to about 1e-7 of the frame's loudest part, whatever the part, and by how
    much it is off depends on the order of summation, which differs between processors. Within 60 dB of the loudest,
    1e-3 of its amplitude, that moves an energy by less than 1e-3 dB; below, as in the silent stretch and beyond the
    bandwidth of a resampled sound, it may be most of what there is.
    """
    waves = encoders[release].preprocess(Modality.AUDIO, {})(Waveform(*samples.sound(name)))
    assert waves.shape == (1, samples.SECONDS[release] * RATE)
    assert difference(sample(waves, step=311), golden(f"{release}/waves/{name}")) <= 1e-5
    mels = towers[release].audio_encoder.front(waves)
    assert mels.shape == (1, 1, samples.FRAMES[release], 64)
    heard, expected = sample(mels, step=97), golden(f"{release}/mels/{name}")
    loud = expected > expected.max() - 60
    assert torch.allclose(heard[loud], expected[loud], rtol=0, atol=1e-3)
    assert torch.allclose(heard, expected, rtol=0, atol=0.1)
    assert difference(encoders[release].encode(Modality.AUDIO, waves), golden(f"{release}/audio/{name}")) <= 1e-5


def test_what_it_hears_of_a_sound(release: str, encoders: dict[str, Encoder]) -> None:
    """The mean of channels, the middle of a longer sound, a shorter one over and over; the same in every call."""
    hear = pickle.loads(pickle.dumps(encoders[release].preprocess(Modality.AUDIO, {})))
    window = samples.SECONDS[release] * RATE
    stereo = noise("stereo", 2, 2 * window + 4).numpy()
    (heard,) = hear(Waveform(stereo, RATE))
    assert torch.equal(heard, torch.from_numpy(stereo.mean(axis=0)[window // 2 + 2 : window // 2 + 2 + window]))
    short = stereo[:1, : window // 2 - 7]
    assert torch.equal(hear(Waveform(short, RATE))[0], torch.from_numpy(np.tile(short[0], 3)[:window]))
    slow = Waveform(stereo[:1, :16_000], 16_000)
    assert torch.equal(hear(slow), hear(resample(slow, RATE)))
    assert torch.equal(hear(Waveform(np.full((1, 1), 0.5, np.float32), RATE)), torch.full((1, window), 0.5))


def test_a_long_text_keeps_its_end(encoders: dict[str, Encoder]) -> None:
    tokenize = encoders["2023"].preprocess(Modality.TEXT, {})
    end = int(golden("2023/ids").max())
    ids, mask = tokenize("xy" * 200)[0]
    assert (len(ids), int(ids[-1]), int(mask.sum())) == (77, end, 77)
    assert torch.equal(ids[:-1], tokenize("xy" * 30)[0, 0, :1].repeat(76) + torch.tensor([0, 1]).repeat(38))
    cut = encoders["2022"].preprocess(Modality.TEXT, {})("xy " * 200)[0]
    assert (cut.shape, int(cut[1].sum())) == ((2, 100), 100)
    assert cut[0, -1] == 3, "[SEP]"


def test_the_contract_is_kept(release: str, written: Path, ibench: RunIbench) -> None:
    done = ibench("encoders", "check", written / f"CLAP_weights_{release}.pth")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kept") == 2


def test_the_card(release: str, encoders: dict[str, Encoder]) -> None:
    card = encoders[release].card
    assert (card.name, card.family, card.licence, card.dim) == (f"CLAP_weights_{release}", "MS-CLAP", "MIT", 32)
    assert not card.emergent(Modality.AUDIO, Modality.TEXT)
    assert f"{samples.SECONDS[release]} s" in card.preprocessing[Modality.AUDIO]


def test_another_tokenizer_is_another_encoder(written: Path) -> None:
    checkpoint = open_checkpoint(str(written / "CLAP_weights_2022.pth"), "cpu", "fp32")
    assert {path.name for path in checkpoint.card.files} == {"CLAP_weights_2022.pth", "vocab.txt"}


@pytest.mark.parametrize(("dtype", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_half_precision_is_near(
    dtype: str, tolerance: float, release: str, written: Path, encoders: dict[str, Encoder]
) -> None:
    half = opened(written / f"CLAP_weights_{release}.pth", dtype)
    waves = half.preprocess(Modality.AUDIO, {})(Waveform(*samples.sound("mono-48k-9.5s")))
    tokens = half.preprocess(Modality.TEXT, {})(samples.TEXTS[1])
    for modality, batch in ((Modality.AUDIO, waves), (Modality.TEXT, tokens)):
        ours = half.encode(modality, batch)
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, encoders[release].encode(modality, batch), atol=tolerance)


def test_the_front_end_stays_in_single_precision(written: Path, towers: dict[str, Towers]) -> None:
    half = opened(written / "CLAP_weights_2023.pth", "bf16")
    waves = half.preprocess(Modality.AUDIO, {})(Waveform(*samples.sound("mono-44k1-3s")))
    assert torch.equal(half.towers[Modality.AUDIO].front(waves), towers["2023"].audio_encoder.front(waves))


LOST = {
    "2022": "audio_encoder.base.conv_block3.bn2.running_var",
    "2023": "audio_encoder.base.htsat.layers.1.blocks.0.norm1.bias",
}


def test_a_checkpoint_fits_whole_or_not_at_all(release: str, tmp_path: Path, ibench: RunIbench) -> None:
    weights = state(release)
    del weights[LOST[release]]
    weights["caption_encoder.base.more.weight"] = torch.ones(2)
    weights["audio_encoder.projection.linear2.weight"] = torch.ones(3, 3)
    torch.save({"model": weights}, tmp_path / "half.pth")
    FILES[release](tmp_path)
    done = ibench("encoders", "check", "half.pth")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "1 missing (audio_encoder.base." in done.stderr
    assert "1 unexpected (caption_encoder.base.more.weight)" in done.stderr
    assert "1 misshapen (audio_encoder.projection.linear2.weight (3, 3) instead of (32, 32))" in done.stderr


SIZES = {
    "2022": [
        "audio_encoder.base.conv_block2.conv1.weight", "audio_encoder.base.bn0.weight", "audio_encoder.base.fc1.weight",
        "caption_encoder.base.embeddings.word_embeddings.weight", "caption_encoder.projection.linear1.weight",
    ],
    "2023": [
        "audio_encoder.base.htsat.norm.weight", "caption_encoder.base.wte.weight", "caption_encoder.base.wpe.weight",
        "audio_encoder.base.htsat.layers.2.blocks.0.attn.relative_position_bias_table",
        "audio_encoder.base.htsat.spectrogram_extractor.stft.conv_real.weight",
        "audio_encoder.base.htsat.logmel_extractor.melW",
    ],
}  # fmt: skip


def test_a_tensor_that_tells_a_size_is_missed_by_name(release: str, tmp_path: Path) -> None:
    whole = state(release)
    for lost in SIZES[release]:
        for change in ({}, {lost: torch.ones(2, 2, 2, 2, 2)}):
            kept = {key: tensor for key, tensor in whole.items() if key != lost}
            torch.save({"model": {**kept, **change}}, tmp_path / "half.pth")
            with pytest.raises(IbenchError, match=rf"half\.pth: .*{re.escape(lost)}"):
                opened(tmp_path / "half.pth")


def test_other_towers_are_refused(tmp_path: Path) -> None:
    audio = {key: tensor for key, tensor in state("2022").items() if key.startswith("audio_encoder.")}
    text = {key: tensor for key, tensor in state("2023").items() if key.startswith("caption_encoder.")}
    torch.save({"model": audio | text}, tmp_path / "mixed.pth")
    with pytest.raises(IbenchError, match=r"mixed\.pth: has the keys of MS-CLAP, but the towers of neither release"):
        opened(tmp_path / "mixed.pth")
    torch.save({"model": audio}, tmp_path / "audio.pth")
    with pytest.raises(IbenchError, match="no known family has these keys"):
        opened(tmp_path / "audio.pth")


class Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("owned"),)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, ibench: RunIbench) -> None:
    torch.save({"model": state("2022"), "args": Hostile()}, tmp_path / "CLAP_weights_2022.pth")
    done = ibench("encoders", "check", "CLAP_weights_2022.pth")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "loading this pickle would run code" in done.stderr
    assert not (tmp_path / "owned").exists()


def test_half_a_file_is_refused(written: Path, tmp_path: Path, ibench: RunIbench) -> None:
    whole = (written / "CLAP_weights_2022.pth").read_bytes()
    (tmp_path / "CLAP_weights_2022.pth").write_bytes(whole[: len(whole) // 2])
    done = ibench("encoders", "check", "CLAP_weights_2022.pth")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "CLAP_weights_2022.pth: " in done.stderr


def test_the_tokenizer_is_found_beside_it_or_in_the_cache(
    release: str, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "CLAP_weights.pth"
    shutil.copy(written / f"CLAP_weights_{release}.pth", path)
    monkeypatch.setattr("ibench.encoders.hub_tokenizer.try_to_load_from_cache", lambda *_: None)
    name = TOKENIZER[release]
    with pytest.raises(IbenchError, match=rf"{name}'s tokenizer, which is not there; put tokenizer\.json .* into "):
        opened(path)
    FILES[release](tmp_path)
    beside = opened(path).preprocess(Modality.TEXT, {})
    for file in open_checkpoint(str(path), "cpu", "fp32").card.files[1:]:
        file.unlink()
    FILES[release](tmp_path / "hub")
    monkeypatch.setattr(
        "ibench.encoders.hub_tokenizer.try_to_load_from_cache",
        lambda repository, file: str(tmp_path / "hub" / file) if repository.endswith(f"/{name}") else None,
    )
    assert torch.equal(opened(path).preprocess(Modality.TEXT, {})("a dog"), beside("a dog"))


def test_anothers_tokenizer_is_refused(release: str, written: Path, tmp_path: Path) -> None:
    """As when one folder holds both releases, and the tokenizer of one of them without a folder of its own."""
    shutil.copy(written / f"CLAP_weights_{release}.pth", tmp_path)
    (other,) = (open_tokenizer(written, year) for year in samples.RELEASES if year != release)
    other.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").unlink(missing_ok=True)
    with pytest.raises(IbenchError, match=rf"it is not {TOKENIZER[release]}'s; put tokenizer\.json"):
        opened(tmp_path / f"CLAP_weights_{release}.pth")


def open_tokenizer(written: Path, release: str) -> Any:
    encoder = opened(written / f"CLAP_weights_{release}.pth")
    return encoder.preprocess(Modality.TEXT, {}).tokenizer


def golden(name: str) -> Tensor:
    with safe_open(GOLDENS, "pt") as file:
        return file.get_tensor(name)


def state(release: str) -> dict[str, Tensor]:
    """All that the package saves, and the buffers that transformers of its day saved with GPT-2 and BERT."""
    with safe_open(GOLDENS, "pt") as file:
        shapes = json.loads(file.metadata()["shapes"])[release]
    weights = samples.random_weights(shapes)
    computed = {key: torch.zeros(shape) for key, shape in shapes.items() if samples.COMPUTED.match(key)}
    if release == "2022":
        return weights | computed | {"caption_encoder.base.embeddings.position_ids": torch.arange(120)[None]}
    masks = {f"caption_encoder.base.h.{layer}.attn.bias": torch.ones(1, 1, 80, 80).tril() for layer in range(2)}
    return weights | computed | masks | {"caption_encoder.base.h.0.attn.masked_bias": torch.tensor(-1e4)}


def opened(path: Path, dtype: str = "fp32") -> Encoder:
    return open_checkpoint(str(path), "cpu", dtype).load()


def unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=1)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())
