"""The command line as a user meets it: fast to start, tables that say what they should."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import RunIbench
from made_runs import write_run

Toy = Callable[[str], str]


@pytest.mark.parametrize("quiet", [True, False])
def test_a_quiet_command_has_no_bars_of_other_libraries(quiet: bool) -> None:
    code = f"""
from ibench.cli_common import working
with working({quiet}):
    from datasets import is_progress_bar_enabled
    from huggingface_hub.utils import are_progress_bars_disabled
    print(is_progress_bar_enabled(), are_progress_bars_disabled())"""
    unset = {name: value for name, value in os.environ.items() if "PROGRESS_BARS" not in name}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=unset)
    assert done.stdout == f"{not quiet} {quiet}\n"


def seconds_of(*arguments: str) -> float:
    """The least processor time of five runs: what the command needs, not what else the machine did."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    return min(once() for _ in range(5))


def test_help_and_tasks_start_fast() -> None:
    bare = seconds_of("-c", "pass")
    assert seconds_of("-m", "ibench", "--help") - bare < 0.2
    assert seconds_of("-m", "ibench", "tasks") - bare < 0.6


@pytest.mark.parametrize(
    "command", [["--help"], ["tasks"], ["tasks", "show", "esc50"], ["run", "--help"], ["check", "--help"]]
)
def test_what_needs_no_torch_does_not_import_it(command: list[str]) -> None:
    code = f"import sys; sys.argv = ['ibench', *{command!r}]\nfrom ibench.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    pass\n"
    code += "heavy = {'torch', 'numpy', 'pandas', 'transformers'} & set(sys.modules)\nassert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_exit_code_says_the_same_when_nobody_reads_the_output(tmp_path: Path, unbuffered: str) -> None:
    """1 is a regression, and only that: not what is left of `ibench ... | head` under pipefail."""
    right = np.arange(60) % 2 == 0
    before, worse = write_run(tmp_path / "a", {"t": right}), write_run(tmp_path / "b", {"t": right & False})
    gate = [sys.executable, "-m", "ibench", "check", "--baseline", before, "--run"]
    listing = [sys.executable, "-m", "ibench", "tasks", "--json"]
    for command, code in (([*gate, before], 0), ([*gate, worse], 1), (listing, 0)):
        read, write = os.pipe()
        os.close(read)
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment)
        os.close(write)
        assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_told() -> None:
    with open("/dev/full", "w") as full:
        environment = {**os.environ, "PYTHONUNBUFFERED": ""}
        command = [sys.executable, "-m", "ibench", "tasks"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr == "ibench: error: the output cannot be written: No space left on device\n"


def test_tasks_lists_and_shows(ibench: RunIbench) -> None:
    listed = ibench("tasks")
    assert "spoken_digits_retrieval" in listed.stdout
    assert "demo" in listed.stdout
    assert {task["name"] for task in json.loads(ibench("tasks", "--json").stdout)} >= {"digits", "esc50"}
    assert "imagebind-paper" in ibench("tasks", "show", "esc50").stdout


def test_encoders_names_the_families(ibench: RunIbench) -> None:
    listed = ibench("encoders").stdout
    assert "open_clip" in listed
    assert "file.py:function" in listed


def test_compare_in_every_format(ibench: RunIbench, toy: Toy, colours: Path, tones: Path, tmp_path: Path) -> None:
    for name in ("oracle", "random"):
        done = ibench("run", "--task", f"{colours},{tones}", "--ckpt", toy(name), "--out", name)
        assert done.returncode == 0, done.stderr
    shown = {form: ibench("compare", "oracle", "random", "--format", form).stdout for form in FORMATS}
    for form, text in shown.items():
        assert "oracle" in text, form
        assert "random" in text, form
    rows = list(csv.DictReader(io.StringIO(shown["csv"])))
    assert len(rows) == 4
    assert {(row["encoder"], row["task"]): row["value"] for row in rows}["oracle", "tones"] == "1.0"
    tones_row = next(row for row in json.loads(shown["json"])["rows"] if row["task"] == "tones")
    assert tones_row["encoders"]["oracle"] == {**tones_row["encoders"]["oracle"], "value": 1.0, "emergent": True}
    assert r"\toprule" in shown["latex"]
    assert "\n| task" in shown["markdown"]
    assert shown["html"].startswith("<!doctype html>")
    assert "◇" in shown["table"]


def test_another_precision_is_another_column(ibench: RunIbench, toy: Toy, colours: Path) -> None:
    run = ("run", "--task", colours, "--ckpt", toy("oracle"))
    assert ibench(*run).returncode == ibench(*run, "--dtype", "bf16").returncode == 0
    (row,) = json.loads(ibench("compare", "results", "--format", "json").stdout)["rows"]
    assert set(row["encoders"]) == {"oracle", "oracle bf16"}


FORMATS = ("table", "markdown", "csv", "latex", "html", "json")


def test_leaderboard_ranks_the_complete_and_tells_what_it_left_out(
    ibench: RunIbench, toy: Toy, colours: Path, tones: Path, tmp_path: Path
) -> None:
    for name in ("random", "oracle"):
        ibench("run", "--task", f"{colours},{tones}", "--ckpt", toy(name))
    ibench("run", "--task", colours, "--ckpt", toy("constant"), "--limit", 5)
    written = ibench("leaderboard", "results", "--out", "board").stdout.splitlines()
    assert [Path(path).name for path in written] == ["index.html", "README.md"]
    text = (tmp_path / written[1]).read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["oracle", "random", "*chance*"]
    assert "**100.0**" in lines[2]
    assert "◇" in lines[2]
    assert "constant on colours (ibench): limited to 5 samples" in text


def test_an_encoder_name_cannot_break_the_page(tmp_path: Path, colours: Path) -> None:
    from toy_encoder import make_oracle

    import ibench
    from ibench.report.leaderboard import pages_of

    encoder = make_oracle("cpu", "fp32")
    encoder.card = encoder.card.model_copy(update={"name": "<script>alert(1)</script> | **x**"})  # type: ignore[misc]
    page = pages_of(ibench.evaluate(encoder, [colours]))["README.md"]
    assert "<script" not in page
    assert "\\| \\*\\*x\\*\\*" in page
