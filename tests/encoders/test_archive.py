"""TorchScript archives: opened by their card, and what would run code or touch files is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ibench.encoders import Encoder, open_checkpoint
from ibench.encoders.contract import check
from ibench.errors import IbenchError
from ibench.modalities import Modality, Waveform

CARD = """
name: tiny
trained_pairs: [[image, text]]
archive:
  image: {method: encode_image, size: 16, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}
  text: {method: encode_text, context: 8}
  audio: {file: audio.pt, rate: 8000, seconds: 0.5}
"""


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Linear(3 * 16 * 16, 4)
        self.read = nn.Embedding(49408, 4)

    @torch.jit.export
    def encode_image(self, pixels: Tensor) -> Tensor:
        return self.see(pixels.flatten(1))

    @torch.jit.export
    def encode_text(self, ids: Tensor) -> Tensor:
        return self.read(ids).sum(dim=1)


class Hear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hear = nn.Linear(4000, 4)

    def forward(self, sound: Tensor) -> Tensor:
        return self.hear(sound)


class Writes(nn.Module):
    def forward(self, sound: Tensor) -> Tensor:
        torch.save(sound, "written.pt")
        return sound


class Maps(nn.Module):
    def forward(self, sound: Tensor) -> Tensor:
        return sound + torch.from_file("/etc/hostname", False, 1)


class Three(nn.Module):
    def forward(self, sound: Tensor) -> Tensor:
        return sound[None]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.jit.script(Tiny()).save(str(tmp_path / "tiny.pt"))
    torch.jit.script(Hear()).save(str(tmp_path / "audio.pt"))
    (tmp_path / "tiny.pt.card.yaml").write_text(CARD)
    return tmp_path / "tiny.pt"


def opened(file: Path) -> Encoder:
    return open_checkpoint(str(file), "cpu", "fp32").load()


def test_the_card_says_what_the_methods_take(archive: Path) -> None:
    checkpoint = open_checkpoint(str(archive), "cpu", "fp32")
    assert (checkpoint.card.name, checkpoint.card.family) == ("tiny", "archive")
    assert checkpoint.card.trained_pairs == (("image", "text"),)
    assert {path.name for path in checkpoint.card.files} == {"tiny.pt", "audio.pt", "tiny.pt.card.yaml"}
    encoder = checkpoint.load()
    for outcome in check(encoder, "fp32"):
        assert outcome.faults == ()


def test_vectors_are_those_of_the_module(archive: Path) -> None:
    encoder = opened(archive)
    grey = Image.fromarray(np.full((40, 60), 128, np.uint8))
    view = encoder.preprocess(Modality.IMAGE, {})(grey)
    assert torch.equal(view, torch.full((1, 3, 16, 16), 128, dtype=torch.uint8))
    seen = torch.full((1, 3, 16, 16), (128 / 255 - 0.5) / 0.25)
    torch.manual_seed(0)
    expected = nn.functional.normalize(Tiny().encode_image(seen), dim=-1)
    torch.testing.assert_close(encoder.encode(Modality.IMAGE, view), expected)


def test_sound_is_mixed_cut_and_filled(archive: Path) -> None:
    prepare = opened(archive).preprocess(Modality.AUDIO, {})
    short = np.stack([np.full(100, 0.5), np.full(100, 0.1)]).astype(np.float32)
    view = prepare(Waveform(short, 8000))[0]
    assert view.shape == (4000,)
    torch.testing.assert_close(view[:100], torch.full((100,), 0.3))
    assert not view[100:].any()
    assert prepare(Waveform(np.ones((1, 9000), np.float32), 8000)).shape == (1, 4000)


def with_audio(archive: Path, module: nn.Module) -> Path:
    torch.jit.script(module).save(str(archive.parent / "audio.pt"))
    return archive


@pytest.mark.parametrize(("module", "told"), [(Writes(), "'save'"), (Maps(), "'from_file'")])
def test_code_that_touches_files_is_not_loaded(archive: Path, module: nn.Module, told: str) -> None:
    with pytest.raises(IbenchError, match=f"{told}, which touches files"):
        opened(with_audio(archive, module))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: None, "describe them under 'archive' in tiny.pt.card.yaml"),
        (lambda text: "name: tiny\n", "describe them under 'archive'"),
        (lambda text: "archive: {}\n", "names no modality"),
        (lambda text: text.replace("encode_image", "state_dict"), "no scripted method 'state_dict'"),
        (lambda text: text.replace("size: 16", "sise: 16"), "unknown key 'archive.image.sise'"),
        (lambda text: text.replace("context: 8", "context: 8, tokenizer: words"), "no such tokenizer folder"),
        (lambda text: text.replace("audio.pt", "sound.pt"), "not a TorchScript archive"),
    ],
)
def test_a_card_that_does_not_fit_is_told(archive: Path, change: Callable[[str], str | None], told: str) -> None:
    card = archive.with_name("tiny.pt.card.yaml")
    text = change(card.read_text())
    card.unlink()
    if text is not None:
        card.write_text(text)
    with pytest.raises(IbenchError) as error:
        opened(archive)
    assert told in str(error.value)


def test_what_a_method_gives_is_looked_at(archive: Path) -> None:
    encoder = opened(with_audio(archive, Three()))
    with pytest.raises(IbenchError, match=r"audio method gives \(1, 2, 4000\), not a tensor \[2, dim\]"):
        encoder.encode(Modality.AUDIO, torch.zeros(2, 4000))
    with pytest.raises(IbenchError, match="image method failed"):
        encoder.encode(Modality.IMAGE, torch.zeros(2, 3, 9, 9))


def test_plain_weights_are_left_to_others(tmp_path: Path) -> None:
    weights: dict[str, Any] = {"layer.weight": torch.zeros(2, 2)}
    torch.save(weights, tmp_path / "weights.pt")
    with pytest.raises(IbenchError, match="no known family has these keys"):
        opened(tmp_path / "weights.pt")
