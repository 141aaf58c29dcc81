"""What this installation can do: versions that fit each other, devices, codecs, extras, and which tasks have data."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ibench.errors import IbenchError
from ibench.resources import cache_dir

PACKAGES = (
    "ibench-eval", "torch", "torchvision", "torchaudio", "open_clip_torch", "transformers", "datasets", "numpy",
    "pandas", "scipy", "scikit-learn", "soundfile", "av", "pillow", "h5py", "safetensors",
)  # fmt: skip

EXTRAS = {
    "sentence-transformers": "sentence-transformers folders as --ckpt",
    "ray": "--engine ray",
    "matplotlib": "figures",
    "mlflow-skinny": "export --to mlflow",
    "wandb": "export --to wandb",
}
"""Packages that ibench does without, and what each is for."""

_FIT = {
    "torch": "import torch",
    "torchvision": "import torchvision",
    "torchaudio": "import torchaudio",
}
_WAY_OUT = "install the three of one release together, such as torch 2.12 with torchvision 0.27 and torchaudio 2.11"

_BROKEN = (ImportError, OSError)
"""What a package raises that is there and does not load: a shared library of its own is missing, or another's."""

_VIDEO_CODECS = ("h264", "hevc", "mpeg4", "vp9", "av1")
_AUDIO_CODECS = ("aac", "mp3", "opus", "vorbis")
_SOUND_FORMATS = ("WAV", "FLAC", "OGG", "MP3")
_IMAGE_FORMATS = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "TIFF"}


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``problem`` says what does not work and the way out, or is empty."""

    topic: str
    name: str
    state: str
    problem: str = ""


def examine(data_root: Path | None) -> list[Finding]:
    """Everything that `ibench doctor` prints. Only looks: nothing is downloaded, and no data is read."""
    return [*_packages(), *_fit(), *_devices(), *_codecs(), *_extras(), *_places(data_root), *_tasks(data_root)]


def _packages() -> Iterator[Finding]:
    yield Finding("versions", "python", platform.python_version())
    for name in PACKAGES:
        installed = _version(name)
        yield Finding("versions", name, installed or "–", "" if installed else f'missing; pip install "{name}"')


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _fit() -> Iterator[Finding]:
    """Whether torch and its two companions import, each in a process of its own: one that does not fit may crash."""
    for name, line in _FIT.items():
        tried = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True)
        why = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
        fits = tried.returncode == 0
        yield Finding("fit", name, "imports" if fits else "broken", "" if fits else f"{why}; {_WAY_OUT}")


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except _BROKEN:  # told under "fit"
        return
    yield Finding("devices", "cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads")
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield Finding("devices", f"cuda:{number}", f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        yield Finding("devices", "mps", "Apple GPU")


def _codecs() -> Iterator[Finding]:
    for package, look in {"soundfile": _sound, "av": _films, "pillow": _images}.items():
        try:
            yield from look()
        except _BROKEN as error:
            yield Finding("codecs", package, "broken", _reinstall(package, error))


def _sound() -> Iterator[Finding]:
    import soundfile

    held = soundfile.available_formats()
    yield _codec("sound", "libsndfile", {name: name in held for name in _SOUND_FORMATS}, "audio")


def _films() -> Iterator[Finding]:
    import av

    yield _codec("sound in films", "FFmpeg", {name: _decodes(name) for name in _AUDIO_CODECS}, "audio")
    yield _codec("video", "FFmpeg", {name: _decodes(name) for name in _VIDEO_CODECS}, "video")
    yield Finding("codecs", "of PyAV", f"FFmpeg {av.ffmpeg_version_info}")


def _images() -> Iterator[Finding]:
    from PIL import features

    images = {name: features.check(feature) for feature, name in _IMAGE_FORMATS.items()}
    yield _codec("images", "Pillow", images, "image and thermal")


def _reinstall(package: str, error: Exception) -> str:
    return f"{error}; pip install --force-reinstall {package}"


def _decodes(name: str) -> bool:
    import av

    try:
        av.codec.Codec(name, "r")
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _codec(name: str, library: str, works: dict[str, bool | None], modality: str) -> Finding:
    lacking = [codec for codec, there in works.items() if not there]
    problem = f"no {', '.join(lacking)}: {modality} samples in it are unreadable" if lacking else ""
    return Finding("codecs", name, f"{library}: {', '.join(codec for codec, there in works.items() if there)}", problem)


def _extras() -> Iterator[Finding]:
    for name, purpose in EXTRAS.items():
        yield Finding("extras", name, _version(name) or f"not installed; only for {purpose}")


def _places(data_root: Path | None) -> Iterator[Finding]:
    yield Finding("places", "cache", str(cache_dir()))
    yield Finding("places", "data root", str(data_root) if data_root else "none; --data-root or IBENCH_DATA")


def _tasks(data_root: Path | None) -> Iterator[Finding]:
    """Which tasks find their data; those that do not are no problem of the installation."""
    from ibench.tasks import load_task, task_files

    try:
        from ibench.datasets import find_copy
    except _BROKEN as error:
        yield Finding("tasks", "broken", "all", str(error))
        return
    tasks_at: dict[str, list[str]] = {}
    broken: dict[str, list[str]] = {}
    for name in task_files():
        try:
            place = find_copy(load_task(name), data_root)
        except IbenchError:
            place = "no data"
        except ImportError as error:
            broken.setdefault(str(error), []).append(name)
            continue
        tasks_at.setdefault(place, []).append(name)
    for place, names in sorted(tasks_at.items(), key=lambda found: found[0] == "no data"):
        hint = "; `ibench data check NAME` says where to get it" if place == "no data" else ""
        yield Finding("tasks", place, ", ".join(names) + hint)
    for why, names in broken.items():
        yield Finding("tasks", "broken", ", ".join(names), why)
