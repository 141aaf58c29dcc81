"""What the doctor says of an installation that works, and of one that does not."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import RunIbench

from ibench import doctor


def states(data_root: Path | None = None) -> dict[tuple[str, str], doctor.Finding]:
    return {(one.topic, one.name): one for one in doctor.examine(data_root)}


def test_it_tells_versions_devices_codecs_and_data(ibench: RunIbench, tmp_path: Path) -> None:
    assert ibench("data", "fake", "esc50,nyu_depth", "--out", "noise").returncode == 0
    done = ibench("doctor", "--data-root", "noise")
    assert done.returncode == 0, done.stderr
    found = states(tmp_path / "noise")
    assert found["versions", "torch"].state == version("torch")
    assert found["fit", "torchvision"].state == "imports"
    assert "h264" in found["codecs", "video"].state
    assert found["tasks", "data root"].state == "esc50, esc50_fewshot, nyu_depth, nyu_depth_fewshot, nyu_depth_image"
    assert {"digits", "spoken_digits"} <= set(found["tasks", "bundled"].state.split(", "))
    assert "vggsound" in found["tasks", "no data"].state
    assert all(one.state in done.stdout for one in found.values() if len(one.state) < 40)


def test_torch_and_a_companion_of_another_release(ibench: RunIbench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run

    def tried(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        if "import torchvision" in command:
            why = "Traceback ...\nRuntimeError: operator torchvision::nms does not exist\n"
            return subprocess.CompletedProcess(command, 1, "", why)
        return real(command, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr("ibench.doctor.subprocess.run", tried)
    done = ibench("doctor")
    assert done.returncode == 2
    assert "torchvision: RuntimeError: operator torchvision::nms does not exist" in done.stderr
    assert "install the three of one release" in done.stderr


@pytest.mark.parametrize("package", ["soundfile", "av", "h5py"])
def test_a_package_that_does_not_load_is_named(tmp_path: Path, package: str) -> None:
    """Its shared library is gone, or is another's: what the doctor is asked about."""
    (tmp_path / f"{package}.py").write_text("raise ImportError('libown.so.5: cannot open shared object file')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "ibench", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "libown.so.5: cannot open shared object file" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "broken" in done.stdout


def test_what_is_missing_is_named_with_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", (*doctor.PACKAGES, "no-such-package"))
    monkeypatch.setattr(doctor, "_VIDEO_CODECS", (*doctor._VIDEO_CODECS, "no_such_codec"))
    found = states()
    assert found["versions", "no-such-package"].problem == 'missing; pip install "no-such-package"'
    assert found["codecs", "video"].problem == "no no_such_codec: video samples in it are unreadable"
