"""A store is the same wherever it lies, and a URL that leads nowhere is an error that says why."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from conftest import RunIbench
from fsspec.implementations.memory import MemoryFileSystem

from ibench.datasets import Item
from ibench.engine.places import Folder, Place, Remote, place_of
from ibench.engine.plan import Job
from ibench.engine.store import Embeddings, EmbeddingStore
from ibench.errors import IbenchError

Toy = Callable[[str], str]


@pytest.fixture(params=["folder", "file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "folder": str(tmp_path / "store"),
        "file": f"file://{tmp_path}/store",
        "memory": f"memory://{uuid4()}/store",
    }[request.param]


@pytest.fixture
def place(root: str) -> Place:
    return place_of(root)


def test_only_what_is_not_here_goes_through_fsspec(tmp_path: Path) -> None:
    assert place_of(tmp_path) == place_of(str(tmp_path)) == place_of(f"file://{tmp_path}") == Folder(tmp_path)
    assert isinstance(place_of("memory://store/"), Remote)
    assert str(place_of("memory://store/")) == "memory://store"


def test_a_file_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", str(tmp_path / "file"), f"file://{tmp_path}/file"):
        with pytest.raises(IbenchError, match="this is a file, and a store is a folder"):
            place_of(root)


def test_files_are_what_was_written_last(place: Place) -> None:
    assert place.read("a/one") is None
    assert place.names("a") == set()
    assert place.sizes() == {}
    place.write("a/one", b"1")
    place.write("a/one", b"12")
    place.write("a/one", b"123", replace=False)
    place.write("a/two", b"", replace=False)
    place.write("b/c/three", b"3")
    assert place.read("a/one") == b"12"
    assert (place.holds("a/one"), place.holds("a/three")) == (True, False)
    assert place.names("a") == {"one", "two"}
    assert place.sizes() == {"a/one": 2, "a/two": 0, "b/c/three": 1}


def test_what_is_removed_is_gone(place: Place) -> None:
    for name in ("a/one", "a/b/two", "c"):
        place.write(name, b"1")
    place.remove("a")
    place.remove("c")
    place.remove("c")
    assert place.sizes() == {}


def test_a_touch_moves_the_time_and_nothing_else(place: Place) -> None:
    place.write("a", b"1")
    written = place.changed("a")
    assert abs(written - time.time()) < 60
    time.sleep(0.02)
    place.touch("a")
    assert place.changed("a") > written
    assert place.read("a") == b"1"


def job(n: int) -> Job:
    return Job("test", "text", {}, [Item(str(i), str, str(i)) for i in range(n)], {"samples": "a"})


def test_a_store_keeps_lists_and_forgets(root: str) -> None:
    store, vectors = EmbeddingStore(root), np.eye(3, dtype=np.float32)
    assert (store.missing(job(3)), store.begun(job(3)), store.entries()) == ([0], False, [])
    store.write(job(3), 0, Embeddings(vectors, {1: "truncated"}))
    store.note_rate(job(3), 7.0)
    assert store.settle({"batch size": "text"}, 8) == store.settle({"batch size": "text"}, 16) == 8
    again = EmbeddingStore(root)
    assert again.missing(job(3)) == []
    held = again.load(job(3))
    assert held is not None
    np.testing.assert_array_equal(held.vectors, vectors)
    assert held.unreadable == {1: "truncated"}
    (entry,) = again.entries()
    assert (entry.key, entry.shards, entry.rate, entry.identity) == (job(3).key, 1, 7.0, {"samples": "a"})
    assert entry.bytes > vectors.nbytes
    assert again.collect(0.0) == []
    assert again.collect(time.time() + 1) == [job(3).key]
    again.remove(job(3).key)
    assert again.missing(job(3)) == [0]


def test_a_damaged_shard_is_removed(root: str) -> None:
    store = EmbeddingStore(root)
    store.write(job(3), 0, Embeddings(np.eye(3, dtype=np.float32)))
    (name,) = (name for name in store.place.sizes() if name.endswith(".safetensors"))
    store.place.write(name, (store.place.read(name) or b"")[:-1])
    assert store.load(job(3)) is None
    assert store.missing(job(3)) == [0]


def test_runs_keep_the_same_bytes_there(ibench: RunIbench, toy: Toy, colours: Path, tmp_path: Path) -> None:
    url = f"memory://{uuid4()}"
    run = ("run", "--task", colours, "--ckpt", toy("random"), "--store")
    for store in (url, tmp_path / "store"):
        assert ibench(*run, store).returncode == 0
    there, here = place_of(url), place_of(tmp_path / "store")
    names = [name for name in here.sizes() if name.endswith(".safetensors")]
    assert len(names) == 2
    assert [there.read(name) for name in names] == [here.read(name) for name in names]
    assert "the encoder was not opened" in ibench(*run, url).stderr
    listed = ibench("store", "ls", "--store", url).stdout
    assert names[0][:12] in listed
    assert "kB" in ibench("store", "du", "--store", url).stdout
    gone = ibench("store", "gc", "--store", url, "--older-than", 0).stdout
    assert sorted(gone.split()) == sorted(f"{url}/{name.partition('/')[0]}" for name in names)
    assert not [name for name in there.sizes() if name.endswith(".safetensors")]


def test_a_protocol_that_nobody_knows(ibench: RunIbench) -> None:
    done = ibench("store", "ls", "--store", "memori://store")
    assert done.returncode == 2
    assert "memori" in done.stderr
    assert "did you mean memory?" in done.stderr


def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(IbenchError, match=r"store s3://bucket/store: .*s3fs"):
        place_of("s3://bucket/store")


class NoWay(Exception):
    """As drivers have them."""


class Unreachable(MemoryFileSystem):
    protocol = "unreachable"

    def ls(self, *_: Any, **__: Any) -> Any:
        raise NoWay("no route to host\nand much more")

    pipe_file = find = cat_file = exists = ls


def test_what_a_driver_raises_is_one_line() -> None:
    fsspec.register_implementation("unreachable", Unreachable, clobber=True)
    place = place_of("unreachable://store")
    attempts = (lambda: place.names("a"), place.sizes, lambda: place.read("a"), lambda: place.write("a", b""))
    for attempt in attempts:
        with pytest.raises(IbenchError, match=r"^store unreachable://store: no route to host; look at"):
            attempt()
