"""The contract of encoders: kept by those that keep it, and each way to break it is told."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import RunIbench
from languagebind_folder import VISION, config_of, weights_of, write_folder
from torch import Tensor
from toy_encoder import make_constant, make_nan, make_oracle, make_random, noise

from ibench.encoders import Card, open_checkpoint
from ibench.encoders.base import unit_rows
from ibench.encoders.contract import SAMPLES, check, made_up
from ibench.modalities import Modality


@dataclass
class Broken:
    """Keeps the contract but for what a test gives it."""

    prepare: Callable[[Any], Any] = noise
    embed: Callable[[Tensor], Tensor] = unit_rows
    card: Card = field(default_factory=lambda: Card(name="broken", family="toy", modalities=(Modality.TEXT,), dim=32))

    def preprocess(self, modality: Modality, views: Any) -> Any:
        return self.prepare

    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        return self.embed(batch)


def faults(encoder: Any) -> tuple[str, ...]:
    (outcome,) = check(encoder, "fp32")
    return outcome.faults


def drifting() -> Callable[[Any], Tensor]:
    asked: list[Any] = []
    return lambda raw: (asked.append(raw), torch.full((1, 32), float(len(asked))))[1]


def stubborn(raw: Any) -> Tensor:
    raise ValueError("cannot read that")


@pytest.mark.parametrize("modality", Modality)
def test_made_up_samples_are_the_same_in_every_call(modality: Modality) -> None:
    first, second = made_up(modality), made_up(modality)
    assert len(first) == SAMPLES
    assert [pickle.dumps(one) for one in first] == [pickle.dumps(one) for one in second]


@pytest.mark.parametrize("make", [make_random, make_constant])
def test_the_toys_keep_it(make: Callable[[str, str], Any]) -> None:
    encoder = make("cpu", "fp32")
    encoder.card = encoder.card.model_copy(update={"dim": 32, "modalities": (Modality.TEXT, Modality.AUDIO)})
    for outcome in check(encoder, "fp32"):
        assert outcome.faults == ()
        assert outcome.dim == 32
        assert outcome.encoded_per_second


@pytest.mark.parametrize("modality", VISION)
def test_languagebind_keeps_it(tmp_path: Path, modality: str) -> None:
    config = config_of(modality)
    folder = write_folder(tmp_path / modality, config, weights_of(config))
    for outcome in check(open_checkpoint(str(folder), "cpu", "fp32").load(), "fp32"):
        assert outcome.faults == ()


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        (Broken(prepare=lambda raw: noise(raw)), "does not pickle"),
        (Broken(prepare=lambda raw: [1.0]), "gives list, not a tensor"),
        (Broken(prepare=lambda raw: torch.zeros(32)), "shape (32,), not [views, ...]"),
        (Broken(prepare=lambda raw: torch.zeros(1, len(raw))), "not of one"),
        (Broken(prepare=drifting()), "another tensor the second time"),
        (Broken(prepare=lambda raw: torch.full((1, 32), torch.nan)), "preprocess gives NaN"),
        (Broken(prepare=stubborn), "ValueError: cannot read that"),
        (Broken(embed=lambda batch: batch * 2), "norms are off 1"),
        (Broken(embed=lambda batch: unit_rows(batch).double()), "not float32 (6, dim)"),
        (Broken(embed=lambda batch: unit_rows(batch)[:1]), "not float32 (6, dim)"),
        (Broken(embed=lambda batch: unit_rows(batch) * torch.nan), "NaN or infinity"),
        (Broken(embed=lambda batch: unit_rows(batch - batch.mean(dim=0) * 0.5)), "move with the batch"),
        (Broken(embed=lambda batch: unit_rows(torch.rand_like(batch))), "another vector the second time"),
        (Broken(embed=lambda batch: unit_rows(batch[:, :16])), "16 dimensions, 32 are expected"),
    ],
)
def test_each_way_to_break_it_is_told(encoder: Broken, told: str) -> None:
    assert any(told in fault for fault in faults(encoder)), faults(encoder)


def test_nan_of_one_modality_leaves_the_others(tmp_path: Path) -> None:
    outcomes = {one.modality: one.faults for one in check(make_nan("cpu", "fp32"), "fp32")}
    assert outcomes[Modality.TEXT] == ()
    assert "encode gives NaN or infinity" in outcomes[Modality.IMAGE]


def test_the_command_says_kept_or_what_is_broken(ibench: RunIbench, toy: Callable[[str], str]) -> None:
    kept = ibench("encoders", "check", toy("oracle"))
    assert kept.returncode == 0, kept.stderr
    assert kept.stdout.count("kept") == len(make_oracle("cpu", "fp32").card.modalities)
    broken = ibench("encoders", "check", toy("nan"))
    assert broken.returncode == 2
    assert "1 broken" in broken.stdout or "2 broken" in broken.stdout
    assert len(broken.stderr.splitlines()) == 1
    assert "image: encode gives NaN or infinity" in broken.stderr


def test_what_is_not_there_is_one_line(ibench: RunIbench) -> None:
    done = ibench("encoders", "check", "nowhere.pt")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "nowhere.pt" in done.stderr
    assert len(done.stderr.splitlines()) == 1
