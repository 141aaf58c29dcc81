"""The YAML card beside a checkpoint: what it says counts, and counts as part of the checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import SUPPORT
from languagebind_folder import config_of, weights_of, write_folder

from ibench.encoders import Checkpoint, open_checkpoint
from ibench.errors import IbenchError


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    # a process imports a module name once, so every test has its own
    return Path(shutil.copy(SUPPORT / "toy_encoder.py", tmp_path / f"{tmp_path.name}_factory.py"))


def opened(file: Path) -> Checkpoint:
    return open_checkpoint(f"{file}:make_oracle", "cpu", "fp32")


def beside(file: Path, text: str) -> Path:
    card = file.with_name(f"{file.name}.card.yaml")
    card.write_text(text)
    return card


def test_it_replaces_what_it_says_and_nothing_else(factory: Path) -> None:
    before = opened(factory).card
    beside(factory, "name: mine\nlicence: CC BY 4.0\ntrained_pairs: [[text, audio]]\n")
    after = opened(factory).card
    assert (after.name, after.licence, after.trained_pairs) == ("mine", "CC BY 4.0", (("audio", "text"),))
    assert (after.family, after.modalities) == (before.family, before.modalities)


def test_pairs_can_be_added(factory: Path) -> None:
    beside(factory, "also_trained_pairs: [[image, audio]]\n")
    assert opened(factory).card.trained_pairs == (("audio", "image"), ("image", "text"))


def test_it_is_part_of_the_identity_whether_it_comes_changes_or_goes(factory: Path) -> None:
    plain = opened(factory).card
    card = beside(factory, "name: mine\n")
    named = opened(factory).card
    card.write_text("name: another\n")
    renamed = opened(factory).card
    card.unlink()
    again = opened(factory).card
    assert [one.name for one in (plain, named, renamed, again)] == ["oracle", "mine", "another", "oracle"]
    assert len({one.checkpoint_sha256 for one in (plain, named, renamed)}) == 3
    assert again == plain


def test_a_folder_has_it_inside(tmp_path: Path) -> None:
    config = config_of("depth")
    folder = write_folder(tmp_path / "folder", config, weights_of(config))
    (folder / "card.yaml").write_text("also_trained_pairs: [[depth, image]]\n")
    card = open_checkpoint(str(folder), "cpu", "fp32").card
    assert card.trained_pairs == (("depth", "image"), ("depth", "text"))
    assert [path.name for path in card.files].count("card.yaml") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("licens: MIT\n", "unknown key 'licens'; did you mean licence"),
        ("trained_pairs: [[text, smell]]\n", ":1: trained_pairs.0.1"),
        ("- a\n", "expected a mapping"),
    ],
)
def test_what_does_not_fit_is_refused(factory: Path, text: str, told: str) -> None:
    beside(factory, text)
    with pytest.raises(IbenchError, match=told):
        opened(factory)
