"""A part of the samples that is drawn: the same wherever and in whatever order, and marked."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import RunIbench
from hypothesis import given
from hypothesis import strategies as st

from ibench.datasets import Dataset, Item
from ibench.modalities import Modality
from ibench.resources import bundled
from ibench.tasks import load_suites, suite_tasks, task_files


def items(names: list[str], prefix: str = "") -> list[Item]:
    return [Item(prefix + name, str, "0" * 64, group=name[0]) for name in names]


DIGITS = f"{bundled('digits_bind') / 'digits_bind_encoder.py'}:make_encoder"

NAMES = st.lists(st.text("abcdef", min_size=2, max_size=4), unique=True, min_size=1)


@given(NAMES, st.integers(1, 20), st.randoms())
def test_the_same_samples_are_drawn_in_any_order_and_keep_theirs(names: list[str], limit: int, random: object) -> None:
    drawn = Dataset({Modality.IMAGE: items(names)}).limited(limit, drawn=True).items[Modality.IMAGE]
    shuffled = sorted(names, key=lambda _: random.random())  # type: ignore[attr-defined]
    other = Dataset({Modality.IMAGE: items(shuffled)}).limited(limit, drawn=True).items[Modality.IMAGE]
    assert {item.id for item in drawn} == {item.id for item in other}
    assert len(drawn) == min(limit, len(names))
    assert [item.id for item in drawn] == [name for name in names if name in {item.id for item in drawn}]


@given(NAMES, st.integers(1, 20))
def test_more_samples_hold_the_fewer(names: list[str], limit: int) -> None:
    whole = Dataset({Modality.IMAGE: items(names)})
    fewer, more = (whole.limited(count, drawn=True).items[Modality.IMAGE] for count in (limit, limit + 1))
    assert {item.id for item in fewer} <= {item.id for item in more}


@given(NAMES, NAMES, st.integers(1, 5))
def test_what_is_drawn_of_the_other_side_matches(first: list[str], second: list[str], limit: int) -> None:
    drawn = Dataset({Modality.IMAGE: items(first), Modality.AUDIO: items(second, "sound ")}).limited(limit, drawn=True)
    asked = {item.group for item in drawn.items[Modality.IMAGE]}
    assert {item.group for item in drawn.items[Modality.AUDIO]} <= asked
    assert len(drawn.items[Modality.AUDIO]) <= limit


def test_a_list_of_class_after_class_gives_some_of_most() -> None:
    names = [f"{label}{number}" for label in "abcdef" for number in range(100)]
    first, drawn = (Dataset({Modality.IMAGE: items(names)}).limited(60, drawn=how) for how in (False, True))
    assert {item.group for item in first.items[Modality.IMAGE]} == {"a"}
    assert {item.group for item in drawn.items[Modality.IMAGE]} == set("abcdef")


def test_drawn_and_first_samples_are_told_apart(ibench: RunIbench, tmp_path: Path) -> None:
    for more in ([], ["--drawn"]):
        done = ibench("run", "--task", "spoken_digits", "--ckpt", DIGITS, "--limit", "40", *more, "--out", "r")
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "r").rglob("*.json")) == [
        "spoken_digits.ibench.drawn40.json",
        "spoken_digits.ibench.limit40.json",
    ]
    refused = ibench("run", "--task", "spoken_digits", "--ckpt", DIGITS, "--drawn")
    assert (refused.returncode, "--limit 100 --drawn" in refused.stderr) == (2, True)


def test_a_drawn_run_is_held_to_a_baseline_as_it_was_drawn(ibench: RunIbench) -> None:
    ibench("run", "--task", "digits", "--ckpt", DIGITS, "--limit", "60", "--drawn", "--out", "r")
    ibench("baseline", "accept", "r", "--out", "main.json", "--note", "drawn")
    done = ibench("check", "--baseline", "main.json", "--ckpt", DIGITS, "--exact")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", load_suites())
def test_suites_name_tasks_that_there_are(name: str) -> None:
    assert set(suite_tasks(name)) <= set(task_files())


def test_a_suite_draws_as_many_as_it_says(ibench: RunIbench, tmp_path: Path) -> None:
    done = ibench("run", "--suite", "bundled_quick", "--ckpt", DIGITS, "--out", "r")
    assert done.returncode == 0, done.stderr
    samples = load_suites()["bundled_quick"].samples
    assert all(f".drawn{samples}." in path.name for path in (tmp_path / "r").rglob("*.json"))
