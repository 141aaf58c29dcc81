"""The gate: how often it is wrong, by simulation; what always fails; what it writes and how it ends."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from conftest import RunIbench, write_task
from made_runs import flipped, record_of, rows_of, write_run

from ibench.baseline import accept, runs, the_one
from ibench.errors import IbenchError
from ibench.gate import Gate, Policy, State, judge
from ibench.rerun import check
from ibench.results import Kept, save
from ibench.scoring.intervals import Metric

Toy = Callable[[str], str]
HALF = np.arange(2000) % 2 == 0


def gate_of(tmp_path: Path, before: np.ndarray, after: np.ndarray, policy: Policy | None = None) -> Gate:
    a = write_run(tmp_path / "a", {"task": before}, "one")
    b = write_run(tmp_path / "b", {"task": after}, "two")
    return judge(the_one(a), the_one(b), policy or Policy(), {})


# how often it is wrong ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InMemory(Kept):
    """A record whose rows were never on disk."""

    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    def samples(self) -> pd.DataFrame:
        return self.table


PLAIN = rows_of(HALF)
RECORD = record_of("task", {"top1": Metric(value=0.5, low=0, high=1, n=2000, method="")}, "made")


def made(task: str, lost: int, won: int) -> InMemory:
    """A run over 2,000 samples of which it lost and won so many."""
    right = flipped(HALF, lost, won)
    score = RECORD.score.model_copy(update={"value": float(right.mean())})
    record = RECORD.model_copy(update={"task": task, "metrics": {"top1": score}})
    return InMemory(record, Path("rows"), table=PLAIN.assign(rank=np.where(right, 1, 2)))


def state_of(*tables: tuple[int, int]) -> State:
    """What the gate says of a run of so many tasks, each with so many lost and won."""
    baseline = [made(f"task{number}", 0, 0) for number in range(len(tables))]
    run = [made(f"task{number}", *table) for number, table in enumerate(tables)]
    return judge(baseline, run, Policy(), {}).state


def draws(rng: np.random.Generator, drop: float, count: int) -> list[tuple[int, int]]:
    """How many samples of 2,000 are lost and won, when 8% change and the true loss is ``drop``."""
    changed = rng.binomial(2000, 0.08, count)
    lost = rng.binomial(changed, (1 + drop / 0.08) / 2)
    return [(int(one), int(all_ - one)) for one, all_ in zip(lost, changed, strict=True)]


def test_the_gate_catches_two_points_and_seldom_cries_wolf() -> None:
    """The simulation behind the gate: 2,000 samples, of which 8% change; 1,000 gates of either kind.

    Beside it what a fixed tolerance would do: one that is wide sleeps, one that is tight cries wolf.
    """
    rng, count = np.random.default_rng(0), 1000
    unchanged, worse = draws(rng, 0.0, count), draws(rng, 0.02, count)
    alarms = np.mean([state_of(table) is State.FAIL for table in unchanged])
    found = np.mean([state_of(table) is State.FAIL for table in worse])
    noise = 2.6 * math.sqrt(0.05 * 0.95 / count)
    assert 0.01 < alarms < 0.05 + noise
    assert found > 0.90
    losses = {name: np.array([lost - won for lost, won in tables]) / 2000 for name, tables in
              {"unchanged": unchanged, "worse": worse}.items()}  # fmt: skip
    assert np.mean(losses["worse"] > 0.05) < 0.01
    assert np.mean(losses["unchanged"] > 0.01) > 0.04


def test_many_tasks_do_not_make_it_cry_wolf() -> None:
    """Ten unchanged tasks: without Holm 37% of the gates would fail; with it one that lost 4 points is still found."""
    rng = np.random.default_rng(1)
    tables = [tuple(draws(rng, 0.0, 10)) for _ in range(60)]
    alarms = sum(state_of(*ten) is State.FAIL for ten in tables)
    assert alarms <= 8  # of 60 at 5%: more has a probability of 0.2%
    for ten, worse in zip(tables[:10], draws(rng, 0.04, 10), strict=True):
        assert state_of(*ten[:9], worse) is State.FAIL


# verdicts -------------------------------------------------------------------------------------------------------------


def test_a_loss_has_to_be_both_significant_and_large(tmp_path: Path) -> None:
    many = np.arange(20_000) % 2 == 0
    small = gate_of(tmp_path / "1", many, flipped(many, 100, 40))  # 0.3 points, p < 1e-6
    assert small.verdicts[0].p is not None
    assert small.verdicts[0].p < 1e-6
    assert small.state is State.PASS
    tight = gate_of(tmp_path / "2", many, flipped(many, 100, 40), Policy(min_effect=0.2))
    assert tight.state is State.FAIL
    unsure = gate_of(tmp_path / "3", HALF[:200], flipped(HALF[:200], 5, 2))  # 1.5 points, p 0.23
    assert unsure.state is State.INCONCLUSIVE
    assert gate_of(tmp_path / "4", HALF[:200], flipped(HALF[:200], 0, 30)).state is State.PASS  # better, and surely so


def test_a_margin_asks_for_proof(tmp_path: Path) -> None:
    after = flipped(HALF, 20, 15)
    assert gate_of(tmp_path / "1", HALF, after, Policy(margin=1.0)).state is State.PASS
    refused = gate_of(tmp_path / "2", HALF, after, Policy(margin=0.5))
    assert refused.state is State.FAIL
    assert "not ruled out" in refused.verdicts[0].reasons[0]


def test_a_floor_is_a_floor(tmp_path: Path) -> None:
    for floor, state in ((50.0, State.PASS), (50.1, State.FAIL)):
        policy = Policy.model_validate({"tasks": {"task": {"floor": floor}}})
        assert gate_of(tmp_path / str(floor), HALF, HALF, policy).state is state


def test_limits_of_a_task_replace_the_policys(tmp_path: Path) -> None:
    policy = Policy.model_validate({"margin": 0.1, "tasks": {"task": {"margin": 5, "min_effect": 3}}})
    assert gate_of(tmp_path, HALF, flipped(HALF, 80, 40), policy).state is State.PASS


def test_a_rank_counts_downwards(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kept = {}
    for name, shift in (("one", 0), ("up", 5), ("down", -3)):
        ranks = rng.integers(4, 12, 400) + shift
        rows = rows_of(ranks == 1).assign(rank=ranks)
        metric = Metric(value=float(np.median(ranks)), low=0, high=1, n=400, method="")
        save(record_of("task", {"median_rank": metric}, name), rows, tmp_path / name)
        kept[name] = the_one(tmp_path / name)
    worse = judge(kept["one"], kept["up"], Policy(), {})
    assert worse.state is State.FAIL
    assert "worse by 5.00" in worse.verdicts[0].reasons[0]
    assert judge(kept["one"], kept["down"], Policy(), {}).state is State.PASS


# what always fails ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"dataset_fingerprint": "other"}, "samples"),
        ({"task_version": 2}, "task version"),
        ({"texts_fingerprint": "other"}, "prompts"),
        ({"unreadable": {"s1": "torn"}, "n_unreadable": 1}, "1 samples are unreadable, 0 may be"),
        ({"metrics": {"top1": Metric(value=math.nan, low=math.nan, high=math.nan, n=2000, method="")}}, "is nan"),
    ],
)
def test_what_cannot_be_compared_fails(tmp_path: Path, changed: dict[str, object], told: str) -> None:
    a = write_run(tmp_path / "a", {"task": HALF, "fine": HALF})
    b = write_run(tmp_path / "b", {"fine": HALF}, "two")
    write_run(tmp_path / "b", {"task": HALF}, "two", **changed)
    found = {verdict.task: verdict for verdict in judge(the_one(a), the_one(b), Policy(), {}).verdicts}
    assert found["task"].state is State.FAIL
    assert any(told in reason for reason in found["task"].reasons)
    assert found["fine"].state is State.PASS


def test_unreadable_samples_up_to_the_limit_pass(tmp_path: Path) -> None:
    torn = {"unreadable": {"s1": "torn"}, "n_unreadable": 1}
    a, b = (write_run(tmp_path / name, {"task": HALF}, **torn) for name in "ab")
    assert judge(the_one(a), the_one(b), Policy(max_unreadable=1), {}).state is State.PASS
    assert judge(the_one(a), the_one(b), Policy(), {}).state is State.FAIL


def test_a_missing_task_fails_and_one_more_is_told(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {"task": HALF, "gone": HALF})
    b = write_run(tmp_path / "b", {"task": HALF, "new": HALF})
    gate = judge(the_one(a), the_one(b), Policy(), {})
    assert {verdict.task: verdict.state for verdict in gate.verdicts} == {"task": State.PASS, "gone": State.FAIL}
    assert gate.beyond == ("new (ibench)",)


# exact ----------------------------------------------------------------------------------------------------------------


def test_exact_is_about_every_sample(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {"task": HALF})
    b = write_run(tmp_path / "b", {"task": HALF})
    rows = next(b.rglob("*.parquet"))
    plain = pd.read_parquet(rows)

    def state(changed: pd.DataFrame, **policy: float) -> State:
        changed.to_parquet(rows)
        return judge(the_one(a), the_one(b), Policy(**policy), {}, exact=True).state  # type: ignore[arg-type]

    moved = plain.assign(score=plain["score"] + 1e-4 * (plain["id"] == "s7"))
    assert state(plain) is State.PASS
    assert state(moved) is State.FAIL
    assert state(moved, atol=1e-3) is State.PASS
    assert state(plain.assign(score=np.where(plain["id"] == "s7", np.nan, plain["score"]))) is State.FAIL
    other = plain.assign(prediction=np.where(plain["id"] == "s7", "elk", plain["prediction"]))
    assert state(other) is State.FAIL
    assert state(other, flips=1) is State.PASS


def test_exact_is_of_one_checkpoint(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", {"task": HALF}), write_run(tmp_path / "b", {"task": HALF}, "two")
    with pytest.raises(IbenchError, match="of one checkpoint"):
        judge(the_one(a), the_one(b), Policy(), {}, exact=True)


# baselines ------------------------------------------------------------------------------------------------------------


def test_a_baseline_is_a_run(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {"task": HALF, "more": HALF})
    accept(the_one(a), tmp_path / "main.json", "the first")
    kept = runs(tmp_path / "main.json")
    assert [one.record for one in kept] == [one.record for one in runs(a)]
    for one, other in zip(kept, runs(a), strict=True):
        pd.testing.assert_frame_equal(one.samples(), other.samples())
    assert runs(tmp_path)  # a folder with a baseline in it


def test_a_review_sees_only_what_moved(tmp_path: Path, ibench: RunIbench) -> None:
    write_run(tmp_path / "a", {"same": HALF, "moved": HALF, "dropped": HALF})
    write_run(tmp_path / "b", {"same": HALF, "added": HALF}, created="2026-02-02T00:00:00+00:00")
    write_run(tmp_path / "b", {"moved": flipped(HALF, 9, 0)}, created="2026-02-02T00:00:00+00:00")
    assert ibench("baseline", "accept", "a", "--out", "main.json", "--note", "first").returncode == 0
    before = json.loads((tmp_path / "main.json").read_text())
    told = ibench("baseline", "accept", "b", "--out", "main.json").stdout
    after = json.loads((tmp_path / "main.json").read_text())
    old, new = ({one["task"]: one for one in baseline["records"]} for baseline in (before, after))
    assert old["same"] == new["same"]
    assert sorted(new) == ["added", "moved", "same"]
    assert sorted(path.name for path in (tmp_path / "main").iterdir()) == [
        f"{task}.ibench.parquet" for task in ("added", "moved", "same")
    ]
    for words in ("dropped", "changed", "new", "49.5"):
        assert words in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("baseline", "accept", "both", "--out", "main.json"), "records of 2 checkpoints"),
        (("baseline", "accept", "both/one-6f6e6500", "--out", "main.txt"), "a baseline is a .json file"),
        (("baseline", "accept", "nothing", "--out", "main.json"), "no such file or folder"),
        (("check", "--baseline", "both/one-6f6e6500"), "--run or --ckpt"),
        (("check", "--baseline", "both/one-6f6e6500", "--run", "nothing"), "no such file or folder"),
        (("check", "--baseline", "policy.yaml", "--run", "both"), "neither an ibench record nor a baseline"),
        (
            ("check", "--baseline", "both/one-6f6e6500", "--run", "both/one-6f6e6500", "--policy", "policy.yaml"),
            "policy.yaml:1: unknown key 'min_efect'; did you mean min_effect",
        ),
        (
            ("check", "--baseline", "both/one-6f6e6500", "--run", "both/one-6f6e6500", "--policy", "tasks.yaml"),
            "did you mean task?",
        ),
        (
            ("check", "--baseline", "both/one-6f6e6500", "--run", "both/one-6f6e6500", "--policy", "infinite.yaml"),
            "infinite.yaml:1: min_effect: Input should be a finite number (found inf); and 1 more",
        ),
        (
            ("check", "--baseline", "both/one-6f6e6500", "--ckpt", "none.py:make", "--policy", "tasks.yaml", "--quiet"),
            "did you mean task?",
        ),
        (
            ("check", "--baseline", "both/one-6f6e6500", "--ckpt", "none.py:make", "--junit", "both"),
            "both cannot be written",
        ),
        (
            ("check", "--baseline", "both/one-6f6e6500", "--run", "both/one-6f6e6500", "--task", "task"),
            "--task is for --ckpt",
        ),
        (
            ("check", "--baseline", "both/one-6f6e6500", "--ckpt", "none.py:make", "--summary", "/dev/null/s.md"),
            "cannot write to /dev/null",
        ),
    ],
)
def test_bad_input_is_exit_2(tmp_path: Path, ibench: RunIbench, arguments: tuple[str, ...], told: str) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / "both", {"task": HALF}, name)
    (tmp_path / "policy.yaml").write_text("min_efect: 1\n")
    (tmp_path / "infinite.yaml").write_text("min_effect: .inf\ntasks: {task: {margin: .nan}}\n")
    (tmp_path / "tasks.yaml").write_text("tasks: {tsak2: {floor: 3}}\n")
    done = ibench(*arguments)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


# what it writes -------------------------------------------------------------------------------------------------------


def test_rows_of_a_baseline_that_were_damaged_are_mended_by_accepting_again(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"task": HALF})
    accept(the_one(run), tmp_path / "main.json", "")
    rows = tmp_path / "main" / "task.ibench.parquet"
    whole = rows.read_bytes()
    rows.write_bytes(whole[:100])
    accept(the_one(run), tmp_path / "main.json", "")
    assert rows.read_bytes() == whole


def test_a_baseline_takes_no_record_s_place(tmp_path: Path, ibench: RunIbench) -> None:
    record = next(write_run(tmp_path / "run", {"task": HALF}).rglob("*.json"))
    before = record.read_bytes()
    for out, told in ((record, "is a record of a run, not a baseline"), (tmp_path, "a baseline is a .json file")):
        done = ibench("baseline", "accept", "run", "--out", out)
        assert done.returncode == 2
        assert told in done.stderr
    assert record.read_bytes() == before


def test_exit_codes(tmp_path: Path, ibench: RunIbench) -> None:
    few = HALF[:200]
    write_run(tmp_path / "a", {"task": few})
    outcomes = {"same": (few, 0, 0), "worse": (flipped(few, 30, 0), 1, 1), "unclear": (flipped(few, 5, 2), 0, 3)}
    for name, (after, plain, strict) in outcomes.items():
        write_run(tmp_path / name, {"task": after}, name)
        done = ibench("check", "--baseline", "a", "--run", name)
        assert done.returncode == plain, name
        assert ibench("check", "--baseline", "a", "--run", name, "--strict").returncode == strict
        told = json.loads(ibench("check", "--baseline", "a", "--run", name, "--strict", "--json").stdout)
        assert told["exit_code"] == strict
        assert told["tasks"][0]["state"] in done.stdout
    assert "a loss of 0.5 would be missed" in done.stdout


def test_judging_and_comparing_need_no_torch(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, {"task": HALF}, name)
    for command in (["compare", "a", "b"], ["check", "--baseline", "a", "--run", "b"]):
        code = f"import sys; sys.argv = ['ibench', *{command!r}]\nfrom ibench.cli import main\n"
        code += "try:\n    main()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)


class Schema:
    """The JUnit XML that Jenkins and its like read: which elements stand where, and their attributes."""

    CHILDREN = {  # noqa: RUF012
        "testsuites": {"testsuite"},
        "testsuite": {"testcase", "properties", "system-out", "system-err"},
        "testcase": {"skipped", "error", "failure", "system-out", "system-err"},
        "failure": set(),
        "skipped": set(),
        "system-out": set(),
    }
    REQUIRED = {"testsuite": {"name", "tests", "failures", "errors"}, "testcase": {"name", "classname"}}  # noqa: RUF012
    ALLOWED = {  # noqa: RUF012
        "testsuites": {"name", "time", "tests", "failures", "errors", "disabled"},
        "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id"},
        "testcase": {"name", "classname", "time", "assertions", "status"},
        "failure": {"message", "type"},
        "skipped": {"message"},
        "system-out": set(),
    }

    @classmethod
    def hold(cls, element: ElementTree.Element) -> None:
        given = set(element.attrib)
        assert cls.REQUIRED.get(element.tag, set()) <= given <= cls.ALLOWED[element.tag]
        for attribute in given & {"tests", "failures", "errors", "skipped"}:
            assert element.attrib[attribute].isdecimal()
        for child in element:
            assert child.tag in cls.CHILDREN[element.tag]
            cls.hold(child)


def test_junit_is_what_ci_servers_read(tmp_path: Path, ibench: RunIbench) -> None:
    evil = 'a<b>&"\x1b]0;\x00\ufffe]]>'
    hits = {"good": HALF, "bad": HALF, "unclear": HALF[:200], evil: HALF}
    write_run(tmp_path / "a", hits)
    worse = {"bad": flipped(HALF, 90, 0), "unclear": flipped(HALF[:200], 3, 2), evil: flipped(HALF, 90, 0)}
    write_run(tmp_path / "b", {**hits, **worse}, "two")
    done = ibench("check", "--baseline", "a", "--run", "b", "--junit", "out/j.xml", "--summary", "s.md")
    assert done.returncode == 1
    root = ElementTree.parse(tmp_path / "out" / "j.xml").getroot()
    Schema.hold(root)
    (suite,) = root
    assert [suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")] == ["4", "2", "0", "1"]
    outcomes = {case.attrib["name"]: [child.tag for child in case] for case in suite}
    assert outcomes["good"] == ["system-out"]
    assert outcomes["bad"] == ["failure", "system-out"]
    assert outcomes["unclear"] == ["skipped", "system-out"]
    first = (tmp_path / "s.md").read_text()
    assert first.startswith("### ❌ ibench check: fail")
    assert "a<b>" not in first
    ibench("check", "--baseline", "a", "--run", "a", "--summary", "s.md")
    assert (tmp_path / "s.md").read_text().startswith(first)
    assert "### ✅ ibench check: pass" in (tmp_path / "s.md").read_text()


# a checkpoint that is run first ---------------------------------------------------------------------------------------


def test_a_checkpoint_is_run_as_the_baseline_was(tmp_path: Path, ibench: RunIbench, toy: Toy, colours: Path) -> None:
    other = write_task(tmp_path / "some.yaml", "some", "image", "{reader: folder, path: colours}")
    ibench("run", "--task", colours, "--ckpt", toy("oracle"), "--out", "a", "--dtype", "bf16", "--seed", 3)
    ibench("run", "--task", other, "--ckpt", toy("oracle"), "--out", "a", "--limit", 10)
    assert ibench("baseline", "accept", "a", "--out", "main.json").returncode == 0
    check_ = ("check", "--baseline", "main.json", "--task", f"{colours},{other}")
    done = ibench(*check_, "--ckpt", toy("oracle"), "--exact", "--out", "b")
    assert done.returncode == 0, done.stderr + done.stdout
    made = {one.record.task: one.record for one in runs(tmp_path / "b")}
    assert (made["colours"].dtype, made["colours"].seed, made["colours"].limited) == ("bf16", 3, None)
    assert made["some"].limited == 10
    done = ibench(*check_, "--ckpt", toy("random"), "--out", "c")
    assert done.returncode == 1
    done = ibench(*check_, "--ckpt", toy("nan"), "--out", "d")
    assert done.returncode == 1
    assert "NaN or infinity" in done.stdout


def test_a_modality_that_the_checkpoint_lacks_fails_its_tasks_alone(
    tmp_path: Path, ibench: RunIbench, toy: Toy, colours: Path, tones: Path
) -> None:
    ibench("run", "--task", f"{colours},{tones}", "--ckpt", toy("oracle"), "--out", "a")
    (tmp_path / "deaf.py").write_text(
        "from toy_encoder import make_oracle\n\n\n"
        "def make(device, dtype):\n    encoder = make_oracle(device, dtype)\n"
        "    seen = tuple(one for one in encoder.card.modalities if one != 'audio')\n"
        "    encoder.card = encoder.card.model_copy(update={'modalities': seen})\n    return encoder\n"
    )
    check_ = ("check", "--baseline", "a", "--task", f"{colours},{tones}", "--ckpt", "deaf.py:make")
    done = ibench(*check_, "--out", "b", "--json", "--junit", "j.xml")
    assert done.returncode == 1, done.stderr
    states = {task["task"]: (task["state"], task["reasons"]) for task in json.loads(done.stdout)["tasks"]}
    assert states["colours"] == ("pass", [])
    assert "tones needs audio, which oracle has not" in states["tones"][1][0]
    assert (tmp_path / "j.xml").exists()


def test_a_live_model_is_held_to_a_baseline(tmp_path: Path, toy: Toy, colours: Path) -> None:
    from toy_encoder import make_oracle, make_random

    import ibench

    ibench.evaluate(toy("oracle"), [colours], out=tmp_path / "a")
    held = {"tasks": [colours], "out": tmp_path / "b"}
    assert check(tmp_path / "a", encoder=make_oracle("cpu", "fp32"), **held).state is State.PASS
    assert ibench.check(tmp_path / "a", encoder=make_random("cpu", "fp32"), **held).state is State.FAIL
