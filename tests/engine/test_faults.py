"""Whatever dies, the same command again gives what an undisturbed run gives, bit for bit, and makes nothing twice."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SUPPORT, write_task
from PIL import Image

import ibench as package
from ibench.api import Request, encode
from ibench.engine.batching import WithinMemory
from ibench.engine.plan import Share

SLOW_RUN = (sys.executable, str(SUPPORT / "slow_run.py"))


def shards(store: Path) -> dict[str, bytes]:
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*.safetensors")}


def stamps(store: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in store.rglob("*.safetensors")}


def wait_for_a_shard(store: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(store.rglob("*.safetensors")):
        assert time.monotonic() < deadline, "no shard was made"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Of a process, below any thread of it."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([*SLOW_RUN, str(store), "0", "0"], check=True, timeout=120)
    return shards(store)


@pytest.mark.parametrize("moment", [0.3, 0.8, 1.6])
def test_a_killed_run_asked_again(tmp_path: Path, undisturbed: dict[str, bytes], moment: float) -> None:
    process = subprocess.Popen([*SLOW_RUN, str(tmp_path), "0.001", "0"])
    wait_for_a_shard(tmp_path)
    time.sleep(moment)
    process.kill()
    process.wait()
    kept = stamps(tmp_path)
    subprocess.run([*SLOW_RUN, str(tmp_path), "0", "0"], check=True, timeout=120)
    assert kept.items() <= stamps(tmp_path).items(), "a finished shard was made twice"
    assert shards(tmp_path) == undisturbed


def test_decode_workers_killed_at_random_moments(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """Far apart enough that a sample is not taken for the killer: that takes two deaths with it alone."""
    process = subprocess.Popen([*SLOW_RUN, str(tmp_path), "0.002", "2"])
    chance = random.Random(0)
    wait_for_a_shard(tmp_path)
    killed = 0
    while process.poll() is None and killed < 2:
        time.sleep(chance.uniform(0.2, 0.6))
        workers = [child for child in children(process.pid) if b"spawn_main" in _command(child)]
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
            killed += 1
            time.sleep(4)
    assert process.wait(timeout=120) == 0
    assert killed == 2
    assert shards(tmp_path) == undisturbed


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def test_two_runs_on_one_store_at_a_time(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    runs = [subprocess.Popen([*SLOW_RUN, str(tmp_path), "0.0005", "0"]) for _ in range(2)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert shards(tmp_path) == undisturbed
    assert not list(tmp_path.rglob("*.part"))


def _files_hold(most: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """A quota on the size of files stands for the disk: a shard of 512 × 32 float32 does not fit into 40,000 bytes."""
    full = subprocess.run(
        [*SLOW_RUN, str(tmp_path), "0", "0"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        preexec_fn=partial(_files_hold, 40_000),
    )
    assert full.returncode != 0
    assert f"cannot write to {tmp_path}" in full.stderr
    assert "File too large; make room there or name another store with --store" in full.stderr
    assert not shards(tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    subprocess.run([*SLOW_RUN, str(tmp_path), "0", "0"], check=True, timeout=120)
    assert shards(tmp_path) == undisturbed


def test_memory_that_a_processor_does_not_have_makes_batches_smaller() -> None:
    """Torch's own error for an allocation that the machine cannot give."""

    def greedy(batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 3:
            torch.empty(len(batch) << 50, dtype=torch.uint8)
        return batch

    forward = WithinMemory(greedy, "a job", 8)
    batch = torch.arange(8)[:, None]
    assert torch.equal(forward(batch), batch)
    assert forward.largest == 2


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    """A task of 1,600 images, in four shards."""
    chance = np.random.default_rng(0)
    for label in ("red", "green", "blue"):
        (tmp_path / "patches" / label).mkdir(parents=True)
    for number in range(1600):
        label = ("red", "green", "blue")[number % 3]
        pixels = chance.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "patches" / label / f"{number:04d}.png")
    return write_task(tmp_path / "patches.yaml", "patches", "image", "{reader: folder, path: patches}")


@pytest.mark.parametrize("ranks", [2, 4])
def test_shares_of_a_run_make_its_bytes(toy: Callable[[str], str], patches: Path, tmp_path: Path, ranks: int) -> None:
    plain = package.evaluate(toy("random"), [patches], store=tmp_path / "one")
    request = Request(toy("random"), [patches], store=tmp_path / "several")
    made = [encode(request, Share(rank, ranks), workers=rank % 2) for rank in range(1, ranks)]
    shared = package.evaluate(toy("random"), [patches], store=tmp_path / "several", share=Share(0, ranks))
    assert all(made)
    assert shards(tmp_path / "one") == shards(tmp_path / "several")
    assert [record.measured() for record in plain] == [record.measured() for record in shared]


def test_a_killed_rank_and_the_same_command_again(toy: Callable[[str], str], patches: Path, tmp_path: Path) -> None:
    package.evaluate(toy("slow"), [patches], store=tmp_path / "one")
    command = [sys.executable, "-m", "ibench", "run", "--task", str(patches), "--ckpt", toy("slow")]
    command += ["--store", str(tmp_path / "ranks"), "--workers", "0"]
    about = {**os.environ, "TOY_SECONDS_PER_BATCH": "0.05", "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen(command, cwd=tmp_path, env={**about, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    wait_for_a_shard(tmp_path / "ranks")
    ranks[1].kill()
    assert ranks[0].wait(timeout=120) == 0, "the first rank makes up for the others, and scores"
    kept = stamps(tmp_path / "ranks")
    again = subprocess.run(command, cwd=tmp_path, env=about | {"WORLD_SIZE": "1"}, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "all embeddings are in the store" in again.stderr
    assert stamps(tmp_path / "ranks") == kept
    assert shards(tmp_path / "one") == shards(tmp_path / "ranks")
