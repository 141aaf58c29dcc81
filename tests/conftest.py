"""Small data sets with known answers, and the command line run as a user runs it."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))

from browser import Browser, chromium  # noqa: E402
from toy_encoder import COLOURS, TONES_HZ  # noqa: E402

RunIbench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what another kept, or the user's data root."""
    monkeypatch.setenv("IBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("IBENCH_DATA", raising=False)
    monkeypatch.delenv("IBENCH_PUBLISHED", raising=False)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; tests that ask for it are skipped where there is none."""
    with chromium() as running:
        yield running


@pytest.fixture
def ibench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunIbench:
    """Run the command line in ``tmp_path``; returns exit code, stdout and stderr.

    In this process, since importing torch anew for each of a hundred commands would take minutes; factories that a
    test wrote are forgotten after each command, as a new process would.
    """
    from ibench.cli import main

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["ibench", *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        out, told, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]
        importlib.invalidate_caches()
        return subprocess.CompletedProcess(list(map(str, arguments)), code, out.getvalue(), told.getvalue())

    return run


@pytest.fixture
def toy() -> Callable[[str], str]:
    """``--ckpt`` for a toy encoder: oracle, random, constant or nan."""
    return lambda name: f"{SUPPORT / 'toy_encoder.py'}:make_{name}"


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A task file over class subfolders: eight noisy squares of each of three colours."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / "colours" / name).mkdir(parents=True)
        for number in range(8):
            pixels = np.clip(np.array(colour) * 0.8 + rng.integers(0, 40, (9 + number, 11, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "colours" / name / f"{name} {number}.png")
    return write_task(tmp_path / "colours.yaml", "colours", "image", "{reader: folder, path: colours, count: 24}")


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """A task file over a manifest: sounds of several formats and rates, three tones, one file cut into segments."""
    rows = ["path,label,start,end,recording"]
    folder = tmp_path / "tones"
    folder.mkdir()
    for name, hertz in TONES_HZ.items():
        for rate, suffix in ((16000, "wav"), (44100, "flac"), (22050, "ogg")):
            tone(hertz, 1.0, rate, folder / f"{name}.{suffix}")
            rows.append(f"{name}.{suffix},{name},,,{name}-{suffix}")
    long = np.concatenate([_sine(hertz, 1.0, 16000) for hertz in TONES_HZ.values()])
    soundfile.write(folder / "all, three.wav", long, 16000)
    rows += [f'"all, three.wav",{name},{second},{second + 1},all' for second, name in enumerate(TONES_HZ)]
    (folder / "tones.csv").write_text("\n".join(rows) + "\n")
    return write_task(
        tmp_path / "tones.yaml", "tones", "audio", "{reader: manifest, path: tones/tones.csv}", "cluster: recording"
    )


def write_task(path: Path, name: str, query: str, dataset: str, *more: str) -> Path:
    """A classification task file."""
    lines = [
        f"name: {name}",
        "version: 1",
        "kind: classification",
        f"query: {query}",
        "target: text",
        f"dataset: {dataset}",
        "protocols: {ibench: {prompts: lb_sound}}",
        *more,
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def tone(hertz: float, seconds: float, rate: int, path: Path) -> None:
    soundfile.write(path, _sine(hertz, seconds, rate), rate)


def _sine(hertz: float, seconds: float, rate: int) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
