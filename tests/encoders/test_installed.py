"""An encoder that an installed package offers is opened by its name, and is what its files are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import SUPPORT, RunIbench

from ibench.encoders import open_checkpoint
from ibench.errors import IbenchError


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a package lies as pip installs it, with two encoders and one whose module is not there."""
    place = tmp_path / "installed"
    package = place / f"package_of_{tmp_path.name}"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(SUPPORT / "toy_encoder.py", package / "encoders.py")
    info = place / f"{package.name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[ibench.encoders]\n"
        f"toy-oracle = {package.name}.encoders:make_oracle\n"
        f"toy-random = {package.name}.encoders:make_random\n"
        f"toy-broken = {package.name}.gone:make_encoder\n"
    )
    monkeypatch.syspath_prepend(place)
    return package


def test_it_is_run_by_its_name(ibench: RunIbench, site: Path, colours: Path) -> None:
    found = ibench("run", "--task", colours, "--ckpt", "toy-oracle", "--workers", 1)
    assert found.returncode == 0, found.stderr
    assert "100.0" in found.stdout
    assert f"installed: toy-oracle ({site.name}.encoders:make_oracle)" in ibench("encoders").stdout


def test_its_identity_is_that_of_its_files(site: Path) -> None:
    card = open_checkpoint("toy-oracle", "cpu", "fp32").card
    assert {path.name for path in card.files} == {"__init__.py", "encoders.py"}
    assert open_checkpoint("toy-oracle", "cpu", "fp32").card == card
    with (site / "encoders.py").open("a") as file:
        file.write("# another release\n")
    assert open_checkpoint("toy-oracle", "cpu", "fp32").card.checkpoint_sha256 != card.checkpoint_sha256


def test_what_lies_on_the_disk_goes_before_a_name(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_checkpoint("toy-oracle", "cpu", "fp32")
    (tmp_path / "toy-oracle").mkdir()
    with pytest.raises(IbenchError, match="no known family keeps such a folder"):
        open_checkpoint("toy-oracle", "cpu", "fp32")


def test_a_near_name_is_told_and_a_broken_package(site: Path) -> None:
    with pytest.raises(IbenchError, match="'toy-oracel' not found; did you mean toy-oracle"):
        open_checkpoint("toy-oracel", "cpu", "fp32")
    with pytest.raises(IbenchError, match=r"encoder 'toy-broken': .*gone:make_encoder cannot be imported"):
        open_checkpoint("toy-broken", "cpu", "fp32")
