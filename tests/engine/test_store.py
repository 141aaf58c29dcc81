"""Shards are whole or absent, and come back in order."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ibench.datasets import Item
from ibench.engine.plan import SHARD_SIZE, Job, unique
from ibench.engine.store import Embeddings, EmbeddingStore
from ibench.errors import IbenchError
from ibench.hashing import sha256_text


def job(n: int, samples: str = "a") -> Job:
    items = [Item(str(i), partial(str, i), str(i)) for i in range(n)]
    return Job("test", "text", {}, items, {"samples": samples})


def shard(n: int, seed: int = 0) -> Embeddings:
    return Embeddings(np.random.default_rng(seed).standard_normal((n, 5)).astype(np.float32), {})


def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    store, wanted = EmbeddingStore(tmp_path), job(SHARD_SIZE + 3)
    first, second = shard(SHARD_SIZE, 1), Embeddings(shard(3, 2).vectors, {1: "truncated"})
    assert store.missing(wanted) == [0, 1]
    store.write(wanted, 1, second)
    assert store.missing(wanted) == [0]
    store.write(wanted, 0, first)
    loaded = store.load(wanted)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.vectors, np.concatenate([first.vectors, second.vectors]))
    assert loaded.unreadable == {SHARD_SIZE + 1: "truncated"}
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_shard_is_noticed_when_it_is_read_and_missing_from_then_on(tmp_path: Path, damage: str) -> None:
    store, wanted = EmbeddingStore(tmp_path), job(4)
    store.write(wanted, 0, shard(4))
    file = next(tmp_path.rglob("*.safetensors"))
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
    file.write_bytes({"truncate": data[:-7], "flip": data, "empty": b""}[damage])
    assert store.load(wanted) is None
    assert store.missing(wanted) == [0]


def test_a_shard_in_the_place_of_another_is_damaged(tmp_path: Path) -> None:
    store, one, other = EmbeddingStore(tmp_path), job(2 * SHARD_SIZE), job(2 * SHARD_SIZE, "b")
    for number in (0, 1):
        store.write(one, number, shard(SHARD_SIZE, number))
        store.write(other, number, shard(SHARD_SIZE, 2 + number))
    first, second = sorted((tmp_path / one.key).glob("*.safetensors"))
    shutil.copy(first, second)
    shutil.copy(first, tmp_path / other.key / first.name)
    assert (store.load(one), store.missing(one)) == (None, [1])
    assert (store.load(other), store.missing(other)) == (None, [0])


def test_no_bit_of_a_shard_may_be_another(tmp_path: Path) -> None:
    """Of its header too, which is JSON in JSON: a flipped bit may leave both readable, with other names in them."""
    store, wanted, written = EmbeddingStore(tmp_path), job(2), Embeddings(shard(2).vectors, {1: "truncated"})
    store.write(wanted, 0, written)
    file = next(tmp_path.rglob("*.safetensors"))
    data = file.read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        found = store.load(wanted)
        assert found is None or (found.unreadable == written.unreadable and (found.vectors == written.vectors).all())


def test_a_folder_in_the_place_of_a_shard_is_a_damaged_shard(tmp_path: Path) -> None:
    store, wanted = EmbeddingStore(tmp_path), job(4)
    store.write(wanted, 0, shard(4))
    file = next(tmp_path.rglob("*.safetensors"))
    file.unlink()
    (file / "within").mkdir(parents=True)
    assert store.load(wanted) is None
    assert store.missing(wanted) == [0]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_damaged_notes_are_as_if_nothing_was_noted(tmp_path: Path, damage: bytes) -> None:
    store, wanted, question = EmbeddingStore(tmp_path), job(4), {"batch size": "text"}
    store.write(wanted, 0, shard(4))
    store.note_rate(wanted, 10.0)
    store.settle(question, 8)
    for noted in tmp_path.rglob("*.json"):
        noted.write_bytes(damage)
    (entry,) = store.entries()
    assert (entry.identity, entry.rate, entry.shards) == ({}, None, 1)
    assert store.settled(question) is None
    assert store.settle(question, 16) == 16


def test_what_goes_while_it_is_listed_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that writes now renames its parts, and another gc removes what this one would."""
    store, wanted = EmbeddingStore(tmp_path), job(4)
    listed = {f"{wanted.key}/key.json": 9, f"{wanted.key}/.x.part": 9}
    monkeypatch.setattr(type(store.place), "sizes", lambda _: listed)
    assert store.collect(before=0.0) == []
    store.remove(wanted.key)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store, wanted = EmbeddingStore(tmp_path), job(4)
    monkeypatch.setattr("ibench.engine.places.os.fsync", full)
    with pytest.raises(IbenchError, match=r"No space left on device.*--store"):
        store.write(wanted, 0, shard(4))
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("*.part"))


def test_the_same_identity_is_one_job_and_any_other_another() -> None:
    assert len(unique([job(3), job(3), job(3, "b")])) == 2
    assert job(3).key == job(3).key != job(3, "b").key


def test_the_first_answer_stands(tmp_path: Path) -> None:
    store, question = EmbeddingStore(tmp_path), {"batch size": {"modality": "text"}}
    assert store.settled(question) is None
    assert [store.settle(question, answer) for answer in (8, 16)] == [8, 8]
    assert store.settled(question) == 8


def texts(*named: str) -> Job:
    items = [Item(name, partial(str, name), name) for name in named]
    identity = {"samples": "|".join(named), "checkpoint": "a"}
    return Job("texts", "text", {}, items, identity, contents=tuple(sha256_text(name) for name in named))


def test_what_other_jobs_hold_is_found_item_by_item(tmp_path: Path) -> None:
    store, first, second, third = EmbeddingStore(tmp_path), texts("a", "b", "c"), texts("c", "d"), texts("b", "d", "e")
    for number, job_ in enumerate((first, second)):
        store.note_items(job_)  # not finished: nothing to find
        store.write(job_, 0, shard(len(job_.items), number))
    assert store.rows_of_others(third) == {}
    store.note_items(first)
    store.note_items(second)
    found = store.rows_of_others(third)
    assert found.keys() == {sha256_text("b"), sha256_text("d")}
    np.testing.assert_array_equal(found[sha256_text("b")], shard(3, 0).vectors[1])
    np.testing.assert_array_equal(found[sha256_text("d")], shard(2, 1).vectors[1])


def test_a_job_that_was_collected_or_damaged_holds_nothing(tmp_path: Path) -> None:
    store, first, second = EmbeddingStore(tmp_path), texts("a"), texts("b")
    for job_ in (first, second):
        store.write(job_, 0, shard(1))
        store.note_items(job_)
    shutil.rmtree(tmp_path / first.key)
    (file,) = (tmp_path / second.key).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    assert store.rows_of_others(texts("a", "b", "c")) == {}
    assert not list((tmp_path / "items").rglob("?" * 64 + "/*"))


@pytest.mark.parametrize("kept", [slice(0), slice(-1), slice(32), slice(1, None), slice(-64, None)])
def test_a_damaged_note_costs_no_shard(tmp_path: Path, kept: slice) -> None:
    store, first = EmbeddingStore(tmp_path), texts("a", "b")
    store.write(first, 0, shard(2))
    store.note_items(first)
    (noted,) = (tmp_path / "items").rglob("?" * 64 + "/*")
    noted.write_bytes(noted.read_bytes()[kept])
    assert store.rows_of_others(texts("a", "b", "c")) == {}
    assert store.load(first) is not None


def test_jobs_of_another_make_share_nothing(tmp_path: Path) -> None:
    store, first = EmbeddingStore(tmp_path), texts("a")
    store.write(first, 0, shard(1))
    store.note_items(first)
    assert store.rows_of_others(replace(texts("a"), identity={"samples": "", "checkpoint": "b"})) == {}
