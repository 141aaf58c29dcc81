"""The workflow of examples/ci does what it says: its steps are run in a scratch repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import RunIbench

from ibench.gate import Policy
from ibench.yamlfile import read_yaml

ROOT = Path(__file__).parents[2]
CI = ROOT / "examples" / "ci"
WORKFLOW = yaml.safe_load((CI / "ibench.yml").read_text())
ENCODER = f"""
import sys
sys.path.insert(0, {str(ROOT / "examples" / "digits_bind")!r})
from digits_bind_encoder import make_encoder as whole

LOST = 0  # percent of the images

def make_encoder(device, dtype):
    encoder = whole(device, dtype)
    encode = encoder.encode

    def worse(modality, batch):
        vectors = encode(modality, batch).clone()
        if modality == "image":
            vectors[: len(vectors) * LOST // 100] *= -1
        return vectors

    encoder.encode = worse
    return encoder
"""


@pytest.fixture
def repository(tmp_path: Path, ibench: RunIbench) -> Path:
    """A repository with an encoder, its baseline and the policy; ``pip`` and ``ibench`` on the path are ours."""
    (tmp_path / "encoder.py").write_text(ENCODER)
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "gate.yaml").write_text((CI / "gate.yaml").read_text())
    made = ibench("run", "--task", "digits", "--ckpt", "encoder.py:make_encoder", "--out", "first")
    assert made.returncode == 0, made.stderr
    assert ibench("baseline", "accept", "first", "--out", "ci/main.json").returncode == 0
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pip").write_text('#!/bin/sh\necho "$@" >> pip.txt\n')
    (tools / "ibench").write_text(f'#!/bin/sh\nexec {sys.executable} -m ibench "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def run_steps(repository: Path) -> int:
    """Run the workflow's commands as a runner does, each in ``bash -e``; returns the first exit code that is not 0."""
    (job,) = WORKFLOW["jobs"].values()
    given = {name: text.replace("${{ github.workspace }}", str(repository)) for name, text in job["env"].items()}
    given["PATH"] = f"{repository / 'tools'}:{os.environ['PATH']}"
    given["GITHUB_STEP_SUMMARY"] = str(repository / "summary.md")
    for step in job["steps"]:
        if "run" in step:
            assert "${{" not in step["run"]  # what a runner would fill in is not a shell's
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(command, cwd=repository, env={**os.environ, **given}, capture_output=True, text=True)
            if done.returncode:
                return done.returncode
    return 0


@pytest.mark.slow
def test_the_workflow_passes_what_is_good_and_fails_what_is_worse(repository: Path) -> None:
    assert run_steps(repository) == 0
    assert (repository / "pip.txt").read_text() == "install ibench-eval\n"
    assert "✅ ibench check: pass" in (repository / "summary.md").read_text()
    (repository / "encoder.py").write_text(ENCODER.replace("LOST = 0", "LOST = 10"))
    assert run_steps(repository) == 1
    assert "❌ ibench check: fail" in (repository / "summary.md").read_text()
    assert "below the floor of 95" in (repository / "ibench.xml").read_text()
    uploaded = WORKFLOW["jobs"]["regression"]["steps"][-1]["with"]["path"].split()
    assert all((repository / path).exists() for path in uploaded)


def test_the_policy_of_the_example_is_valid() -> None:
    policy = read_yaml(CI / "gate.yaml", Policy)
    assert policy.of("digits").min_effect == 1.0
    assert policy.of("esc50").min_effect == 0.5
