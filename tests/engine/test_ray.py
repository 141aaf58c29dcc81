"""On Ray, whatever dies: the bytes of one plain process, no shard made twice, only poison lost, and an end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import SUPPORT, RunIbench
from on_ray import JOBS, SHARD_SIZE, Fragile, Lines, job

import ibench as package
from ibench.engine import plan
from ibench.engine.encode import Means, batch_size_of, encode_missing
from ibench.engine.plan import Job
from ibench.engine.store import Embeddings, EmbeddingStore
from ibench.errors import IbenchError

ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster as Nodes  # noqa: E402

from ibench.engine.ray import Cluster, encode_on  # noqa: E402

RUN = (sys.executable, str(SUPPORT / "on_ray.py"))
Toy = Callable[[str], str]


@pytest.fixture(scope="module", autouse=True)
def nodes() -> Iterator[Nodes]:
    """Two nodes on this machine, for all tests of this module; this process is connected to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SHARD_SIZE", SHARD_SIZE)
        cluster = Nodes(initialize_head=True, head_node_args={"num_cpus": 2})
        cluster.add_node(num_cpus=2)
        patch.setenv("RAY_ADDRESS", cluster.address)
        ray.init(log_to_driver=False, logging_level="error")
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def plain(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of `JOBS`."""
    store = tmp_path_factory.mktemp("plain")
    encode_missing(JOBS, EmbeddingStore(store), Fragile(), Means(4), Lines())
    return shards(store)


class Counting(EmbeddingStore):
    """A store that no shard may be written to twice."""

    def write(self, job: Job, number: int, shard: Embeddings) -> None:
        assert number in self.missing(job), "made twice"
        super().write(job, number, shard)


def shards(store: Path) -> dict[str, bytes]:
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*.safetensors")}


def on_ray(
    store: Path,
    opening: Fragile,
    actors: int = 2,
    jobs: tuple[Job, ...] = JOBS,
    limit: float = 60.0,
    size: int | None = 4,
) -> Lines:
    told = Lines()
    made = encode_on(Cluster(actors, limit), jobs, Counting(store), opening, Means(size), 0, told)
    assert made == told.done == told.total
    return told


@pytest.mark.parametrize("actors", [1, 3])
def test_bytes_are_those_of_one_process(tmp_path: Path, plain: dict[str, bytes], actors: int) -> None:
    assert on_ray(tmp_path, Fragile(), actors).notes == []
    assert shards(tmp_path) == plain
    assert on_ray(tmp_path, Fragile(), actors).total == 0


def test_actors_killed_at_random_moments(tmp_path: Path, plain: dict[str, bytes]) -> None:
    processes = tmp_path / "processes"
    processes.mkdir()
    chance, killed, over = random.Random(0), set[int](), threading.Event()

    def kill() -> None:
        while not over.wait(chance.uniform(0.2, 0.8)) and len(killed) < 3:
            for process in [int(path.name) for path in processes.iterdir()]:
                if process not in killed:
                    os.kill(process, signal.SIGKILL)
                    killed.add(process)
                    break

    killer = threading.Thread(target=kill)
    killer.start()
    told = on_ray(tmp_path / "store", Fragile(seconds=0.05, processes=processes))
    over.set()
    killer.join()
    assert killed
    assert not [note for note in told.notes if "unreadable" in note]
    assert shards(tmp_path / "store") == plain


def test_samples_that_kill_are_found_and_the_rest_is_made(tmp_path: Path) -> None:
    """The other rows are those of a run in which these samples could not be decoded."""
    jobs = (job("poisoned", 23),)
    told = on_ray(tmp_path / "ray", Fragile(kills=frozenset({22})), jobs=jobs)
    refused = job("poisoned", 23, {22: partial(damaged, "encoding crashed its process")})
    encode_missing([refused], EmbeddingStore(tmp_path / "plain"), Fragile(), Means(4), Lines())
    assert shards(tmp_path / "ray") == shards(tmp_path / "plain")
    assert [note for note in told.notes if "sample '22' is taken as unreadable: encoding crashed" in note]
    held = EmbeddingStore(tmp_path / "ray").load(*jobs)
    assert held is not None
    assert list(held.unreadable) == [22]


def damaged(reason: str) -> int:
    raise package.UnreadableSample(reason)


def test_a_sample_that_hangs_is_found(tmp_path: Path) -> None:
    on_ray(tmp_path, Fragile(hangs=frozenset({22})), jobs=(job("held", 23),), limit=3.0)
    held = EmbeddingStore(tmp_path).load(job("held", 23))
    assert held is not None
    assert held.unreadable == {22: "encoding was not done after 1 s"}  # a third of a shard's time, as its one sample


def crash() -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def test_a_decoder_that_crashes_costs_its_sample_and_no_actor(tmp_path: Path) -> None:
    jobs = (job("decoded", 5, {3: crash}),)
    assert on_ray(tmp_path, Fragile(), jobs=jobs, actors=1).notes == []
    held = EmbeddingStore(tmp_path).load(*jobs)
    assert held is not None
    assert held.unreadable == {3: "decoding crashed its process"}


def test_an_error_ends_the_run_as_it_would_here(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such number"):
        on_ray(tmp_path, Fragile(fails=frozenset({50})))
    with pytest.raises(IbenchError, match="sample 4: preprocessing failed: ZeroDivisionError"):
        on_ray(tmp_path, Fragile(), jobs=(job("bug", 9, {4: partial(divmod, 1, 0)}),))  # type: ignore[arg-type]


def test_processes_that_die_whatever_they_do_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibench.engine.ray._HOPELESS", 0)
    with pytest.raises(IbenchError, match="processes of the Ray cluster died in a row"):
        on_ray(tmp_path, Fragile(kills=frozenset(range(300))), actors=1)


def test_a_batch_size_is_probed_once_with_the_last_sample(tmp_path: Path) -> None:
    on_ray(tmp_path, Fragile(), jobs=JOBS[:1], size=None)
    size = batch_size_of(JOBS[0], EmbeddingStore(tmp_path))
    assert size is not None
    encode_missing(JOBS[:1], EmbeddingStore(tmp_path / "plain"), Fragile(), Means(size), Lines())
    assert shards(tmp_path / "plain") == {name: data for name, data in shards(tmp_path).items() if "plain" not in name}


def test_a_killed_run_asked_again(tmp_path: Path, plain: dict[str, bytes]) -> None:
    process = subprocess.Popen([*RUN, str(tmp_path), "0.05"], stdout=subprocess.PIPE)
    wait_for_a_shard(tmp_path)
    process.kill()
    process.wait()
    time.sleep(0.5)  # actors that outlive it would still write
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert 0 < len(kept) < len(plain)
    told = on_ray(tmp_path, Fragile())
    assert told.total < sum(len(one.items) for one in JOBS)
    assert shards(tmp_path) == plain
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}.items()


def wait_for_a_shard(store: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(store.rglob("*.safetensors")):
        assert time.monotonic() < deadline, "no shard was made"
        time.sleep(0.02)


def test_a_run_of_the_command_line(
    nodes: Nodes, ibench: RunIbench, toy: Toy, colours: Path, tones: Path, tmp_path: Path
) -> None:
    run = ("run", "--task", f"{colours},{tones}", "--ckpt", toy("random"), "--json")
    there = ibench(*run, "--engine", "ray", "--actors", 2, "--store", "there")
    here = ibench(*run, "--store", "here")
    assert there.returncode == here.returncode == 0, there.stderr
    assert [record["metrics"] for record in json.loads(there.stdout)] == [
        record["metrics"] for record in json.loads(here.stdout)
    ]
    assert shards(tmp_path / "there") == shards(tmp_path / "here")
    again = ibench(*run, "--engine", "ray", "--store", "there")
    assert "the encoder was not opened" in again.stderr


def _heed_interrupts() -> None:
    """A shell starts what it puts in the background deaf to Ctrl-C, and the test may be below such a process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_soon_and_says_how_to_go_on(nodes: Nodes, colours: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow_one.py"  # slow wherever it runs: an actor has the environment of its node
    slow.write_text(
        f"import sys\n\nsys.path.insert(0, {str(SUPPORT)!r})\nfrom toy_encoder import make_random\n\n\n"
        "def make(device, dtype):\n    encoder = make_random(device, dtype)\n    encoder.seconds = 1.0\n"
        "    return encoder\n"
    )
    command = [sys.executable, "-m", "ibench", "run", "--task", str(colours), "--ckpt", f"{slow}:make"]
    process = subprocess.Popen(
        [*command, "--engine", "ray", "--store", "store", "--batch-size", "1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heed_interrupts,
    )
    wait_for_a_shard(tmp_path)
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the command
    out, told = process.communicate(timeout=30)
    assert time.monotonic() - asked < 4  # two seconds on a machine that does nothing else
    assert process.returncode == 130
    assert told.endswith("ibench: interrupted; the same command continues where this one stopped\n")
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--engine", "rai"), "no engine 'rai'; did you mean ray?"),
        (("--actors", 2), "--actors and --shard-limit are for --engine ray"),
        (("--engine", "ray", "--shards", "0/2"), "without torchrun and without --shards"),
        (("--engine", "ray", "--device", "cuda"), "the Ray cluster has no GPU"),
        (("--engine", "ray", "--device", "cuda:1"), "Ray gives each process a GPU"),
    ],
)
def test_wrong_usage(
    nodes: Nodes, ibench: RunIbench, toy: Toy, colours: Path, arguments: tuple[object, ...], told: str
) -> None:
    done = ibench("run", "--task", colours, "--ckpt", toy("random"), *arguments)
    assert done.returncode == 2
    assert told in done.stderr


def test_a_live_encoder_cannot_go_there(nodes: Nodes, colours: Path) -> None:
    from toy_encoder import make_random

    with pytest.raises(IbenchError, match="write a factory"):
        package.evaluate(make_random("cpu", "fp32"), [colours], engine="ray")


def test_a_node_that_is_not_like_the_others(toy: Toy, tmp_path: Path) -> None:
    from dataclasses import replace

    from ibench.evaluation import Settings
    from ibench.machines import NodeOpening
    from ibench.modalities import Modality

    weights = tmp_path / "weights"
    weights.touch()
    like = NodeOpening(toy("random"), Settings("cpu", "fp32", 4, 0), "", {weights: "other bytes"}, {}, [])
    for other, told in (
        (replace(like, data=[tmp_path / "gone.png"]), "gone.png is not there; data must lie at the same path"),
        (replace(like, versions={Modality.TEXT: {"torch": "1.0", "ibench-eval": "0"}}), "torch is .* 1.0 where"),
        (like, "is another checkpoint than where the run began"),
    ):
        with pytest.raises(IbenchError, match=f"node .*: .*{told}"):
            other()


def test_a_node_that_is_killed(nodes: Nodes, tmp_path: Path, plain: dict[str, bytes]) -> None:
    node = nodes.add_node(num_cpus=2)
    nodes.wait_for_nodes()
    killer = threading.Timer(0, lambda: (wait_for_a_shard(tmp_path), nodes.remove_node(node, allow_graceful=False)))
    killer.start()
    on_ray(tmp_path, Fragile(seconds=0.1), actors=3)
    killer.join()
    assert shards(tmp_path) == plain


def test_without_a_cluster_one_is_started_here(
    ibench: RunIbench, toy: Toy, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "ibench", "run", "--task", str(colours), "--ckpt", toy("random"), "--json"]
    done = subprocess.run(
        [*command, "--engine", "ray"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 1


def test_without_ray_an_error_says_what_to_install(toy: Toy, colours: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; from ibench.cli import main; main()"
    arguments = ["run", "--task", str(colours), "--ckpt", toy("random"), "--engine", "ray"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        'ibench: error: the engine "ray" needs Ray, which is not installed: pip install "ibench-eval[ray]"'
    )
