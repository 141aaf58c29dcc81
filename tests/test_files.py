"""Files written by several processes at once, and by none: whole, or refused with a way out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import RunIbench

from ibench.encoders import open_checkpoint
from ibench.encoders.base import Card
from ibench.errors import IbenchError
from ibench.files import write_whole
from ibench.hashing import file_digests, sha256_text

Toy = Callable[[str], str]

NOWHERE = Path("/dev/null/nowhere")
SIZE = 1 << 18


def _write_and_look(path: Path, letter: str) -> set[bytes]:
    seen = set()
    for _ in range(40):
        write_whole(path, letter * SIZE)
        seen.add(path.read_bytes())
    return seen


def test_what_several_write_at_once_is_whole_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "made" / "here" / "one"
    letters = "abcd"
    with ThreadPoolExecutor(len(letters)) as writers:
        seen = set().union(*writers.map(_write_and_look, [path] * len(letters), letters))
    assert seen <= {(letter * SIZE).encode() for letter in letters}
    assert [one.name for one in path.parent.iterdir()] == ["one"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_is_there_already_stays_where_asked(tmp_path: Path) -> None:
    write_whole(tmp_path / "one", b"1", replace=False)
    write_whole(tmp_path / "one", b"2", replace=False)
    assert (tmp_path / "one").read_bytes() == b"1"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    with pytest.raises(IbenchError, match=f"cannot write to {NOWHERE}: Not a directory; make room there or name"):
        write_whole(NOWHERE / "one", "")
    (tmp_path / "one").mkdir()
    with pytest.raises(IbenchError, match="Is a directory"):
        write_whole(tmp_path / "one", "")
    assert [path.name for path in tmp_path.iterdir()] == ["one"], "no temporary file is left"


def test_processes_that_open_one_checkpoint_at_once(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks start together: each writes the card down, and none may take away what another is writing."""
    together = threading.Barrier(4)
    renamed = os.replace

    def rename(temporary: str, path: Path) -> None:
        together.wait(timeout=20)  # all have written, none has renamed
        renamed(temporary, path)

    def card(_: int) -> Card:
        return open_checkpoint(toy("oracle"), "cpu", "fp32").card

    expected = card(0)
    for note in Path(os.environ["IBENCH_CACHE"]).glob("cards/*"):
        note.unlink()
    monkeypatch.setattr(os, "replace", rename)
    with ThreadPoolExecutor(4) as ranks:
        assert list(ranks.map(card, range(4))) == [expected] * 4


def test_hashing_a_large_file_keeps_no_other_process_waiting(tmp_path: Path) -> None:
    """A pipe stands for the large file: its digest is not known before we say so."""
    small, other, slow = tmp_path / "small", tmp_path / "other", tmp_path / "slow"
    small.write_text("small")
    other.write_text("other")
    os.mkfifo(slow)
    with ThreadPoolExecutor(1) as process:
        hashed = process.submit(file_digests, [small, slow])
        with slow.open("w") as pipe:  # opens once the other end reads: the small file is hashed
            assert file_digests([other]) == [sha256_text("other")]
            pipe.write("slow")
        assert hashed.result(timeout=60) == [sha256_text("small"), sha256_text("slow")]


@pytest.mark.parametrize(
    ("option", "way_out"),
    [("--out", "name another place"), ("--store", "name another store with --store")],
)
def test_a_run_that_cannot_keep_what_it_makes(
    ibench: RunIbench, toy: Toy, colours: Path, tmp_path: Path, option: str, way_out: str
) -> None:
    done = ibench("run", "--task", colours, "--ckpt", toy("oracle"), option, NOWHERE)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: cannot write to {NOWHERE}" in done.stderr
    assert way_out in done.stderr
    assert not list(tmp_path.rglob("*.safetensors")), "nothing was encoded that could not be kept"


def test_a_cache_that_cannot_be_written_to(
    ibench: RunIbench, toy: Toy, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store lies elsewhere, but digests and cards are remembered in the cache."""
    command = ("run", "--task", colours, "--ckpt", toy("oracle"), "--store", tmp_path / "store")
    monkeypatch.setenv("IBENCH_CACHE", str(NOWHERE))
    done = ibench(*command)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: cannot write to" in done.stderr
    assert "with IBENCH_CACHE" in done.stderr
    monkeypatch.setenv("IBENCH_CACHE", str(tmp_path / "damaged"))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "digests.sqlite").write_text("not a database, and longer than a header " * 100)
    assert "digests.sqlite: file is not a database" in ibench(*command).stderr


@pytest.mark.parametrize(
    "command",
    [
        ("leaderboard", "results", "--out"),
        ("report", "results", "--out"),
        ("export", "results", "--to", "model-index", "--out"),
        ("baseline", "accept", "results", "--note", "why", "--out"),
        ("check", "--baseline", "results", "--run", "results", "--junit"),
    ],
    ids=lambda command: command[0],
)
def test_what_is_made_of_records_and_cannot_be_written(
    ibench: RunIbench, toy: Toy, colours: Path, command: tuple[str, ...]
) -> None:
    assert ibench("run", "--task", colours, "--ckpt", toy("oracle"), "--out", "results").returncode == 0
    done = ibench(*command, NOWHERE / "one.json")
    assert done.returncode == 2, done.stderr
    assert f"error: cannot write to {NOWHERE}" in done.stderr
