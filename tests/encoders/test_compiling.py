"""--compile gives the same embeddings to rounding, marks the record, and says where it cannot work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import ibench
from ibench.encoders import open_checkpoint
from ibench.encoders.compiling import with_compiled_blocks
from ibench.errors import IbenchError
from ibench.modalities import Modality

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
import tiny_models


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(self.linear(x))


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What torch was asked to compile, run as it is: the compiler itself is torch's concern."""
    asked: list[str] = []

    def compile_module(module: nn.Module, **settings: object) -> None:
        assert settings == {"dynamic": True}
        asked.append(type(module).__name__)

    monkeypatch.setattr(nn.Module, "compile", compile_module)
    monkeypatch.setattr(torch, "compile", lambda function: function)
    return asked


def test_the_blocks_of_equal_class_are_compiled_and_nothing_else(graphs: list[str]) -> None:
    outside = nn.Sequential(Block(4), Block(4))
    model = with_compiled_blocks(
        lambda: nn.ModuleDict({
            "trunk": nn.Sequential(Block(4), Block(4), Block(4)),
            "head": nn.Sequential(nn.Linear(4, 4), nn.GELU()),
            "linears": nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]),
        }),
        "cpu",
    )  # fmt: skip
    assert graphs == ["Block"] * 3
    assert len(model["trunk"]) == 3
    nn.Sequential(Block(4), Block(4))  # made afterwards: no longer watched
    assert graphs == ["Block"] * 3
    del outside


def test_a_model_without_blocks_is_refused(graphs: list[str]) -> None:
    with pytest.raises(IbenchError, match="no stack of equal blocks"):
        with_compiled_blocks(lambda: nn.Linear(4, 4), "cpu")


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here(function: object) -> object:
        raise RuntimeError("no C++ compiler\nand a long trace")

    monkeypatch.setattr(torch, "compile", none_here)
    with pytest.raises(IbenchError, match=r"cannot compile for cpu here \(no C\+\+ compiler\); run it without"):
        with_compiled_blocks(lambda: nn.Linear(4, 4), "cpu")


def test_a_folder_opens_with_its_layers_compiled(tmp_path: Path, graphs: list[str]) -> None:
    tiny_models.clip(tmp_path / "clip")
    open_checkpoint(str(tmp_path / "clip"), "cpu", "fp32", compiled=True).load()
    assert graphs
    assert set(graphs) == {"CLIPEncoderLayer"}


def test_a_live_encoder_is_compiled_where_it_is_made() -> None:
    encoder = ibench.from_functions("live", {}, trained_pairs=())
    with pytest.raises(IbenchError, match="compiled where it is made"):
        ibench.evaluate(encoder, ["digits"], compile=True)


@pytest.mark.slow
def test_the_embeddings_are_the_same_to_rounding(tmp_path: Path) -> None:
    tiny_models.clip(tmp_path / "clip")
    plain = ibench.load_encoder(tmp_path / "clip", "cpu")
    compiled = ibench.load_encoder(tmp_path / "clip", "cpu", compile=True)
    ids = plain.preprocess(Modality.TEXT, {})
    for count in (1, 5, 3):
        batch = torch.cat([ids(f"a text of {number} words") for number in range(count)])
        assert torch.allclose(compiled.encode(Modality.TEXT, batch), plain.encode(Modality.TEXT, batch), atol=1e-6)
