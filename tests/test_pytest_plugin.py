"""The pytest plugin, in sessions of pytest of its own."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SUPPORT

import ibench

pytest_plugins = ("pytester",)

ROOT = Path(__file__).parents[1]
TEST = """
import pytest

@pytest.mark.parametrize("name", {names!r})
def test_the_encoder(ibench_run, name):
    gate = ibench_run({module!r} + f":make_{{name}}", tasks=[{task!r}])
    assert [verdict.task for verdict in gate.verdicts] == ["colours"]
"""
Session = Callable[..., pytest.RunResult]


MODULE = SUPPORT / "toy_encoder.py"


@pytest.fixture
def bases(colours: Path, tmp_path: Path) -> Path:
    """What two encoders score. Made before pytester begins, which forgets every module imported while it runs."""
    for name in ("oracle", "random"):
        ibench.evaluate(f"{MODULE}:make_{name}", [colours], out=tmp_path / "bases" / name)
    return tmp_path / "bases"


@pytest.fixture
def session(bases: Path, colours: Path, pytester: pytest.Pytester) -> Session:
    """Run pytest with the plugin on tests of toy encoders."""
    (pytester.path / "bases").symlink_to(bases)
    installed = {point.value for point in importlib.metadata.entry_points(group="pytest11")}
    load = () if "ibench.pytest_plugin" in installed else ("-p", "ibench.pytest_plugin")

    def run(names: list[str], *options: str) -> pytest.RunResult:
        pytester.makepyfile(TEST.format(names=names, module=str(MODULE), task=str(colours)))
        return pytester.runpytest_subprocess(*load, "-p", "no:cacheprovider", *options)

    return run


def test_a_good_encoder_passes_and_a_bad_one_fails(session: Session, pytester: pytest.Pytester) -> None:
    done = session(["oracle", "random"], "--ibench-baseline", "bases/oracle", "--junit-xml", "out.xml")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["ibench check: fail", "colours*fail*top1*100.0*", "colours: worse by*"])
    done.stdout.no_fnmatch_line("*pytest_plugin.py*")  # what is told is the gate, not the plugin's code
    told = (pytester.path / "out.xml").read_text()
    assert re.findall(r'<property name="ibench" value="(\w+)"', told) == ["pass", "fail"]


@pytest.mark.slow
def test_a_policy_and_strictness_count(session: Session, pytester: pytest.Pytester) -> None:
    """Chance against chance on 24 samples tells nothing, unless only a loss of everything counts."""
    strict = ("--ibench-baseline", "bases/random", "--ibench-strict")
    session(["oracle", "constant"], *strict).assert_outcomes(passed=1, failed=1)
    (pytester.path / "policy.yaml").write_text("min_effect: 100\n")
    session(["oracle", "constant"], *strict, "--ibench-policy", "policy.yaml").assert_outcomes(passed=2)


def test_without_a_baseline_it_is_skipped_and_a_bad_one_is_told(session: Session) -> None:
    session(["oracle"]).assert_outcomes(skipped=1)
    failed = session(["oracle"], "--ibench-baseline", "nowhere")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["*nowhere: no such file or folder*"])


def test_the_plugin_is_declared_and_light() -> None:
    table = (ROOT / "pyproject.toml").read_text().partition("[project.entry-points.pytest11]\n")[2]
    assert re.match(r'ibench = "ibench.pytest_plugin"\n', table)
    code = "import sys, ibench.pytest_plugin; assert not {'torch', 'numpy', 'pandas', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
