"""TorchScript and torch.export archives, opened with the help of a card that says which method embeds what.

``model.pt.card.yaml`` beside ``model.pt``::

    name: my-encoder
    trained_pairs: [[image, text]]
    archive:
      image: {method: encode_image, size: 224, mean: [0.48, 0.46, 0.41], std: [0.27, 0.26, 0.28]}
      text: {method: encode_text, tokenizer: clip, context: 77}
      audio: {method: forward, file: audio_tower.pt2, rate: 16000, seconds: 10}

An archive of torch.export (``.pt2``) has the one method ``forward``, so that it takes one for each modality; they may
stand beside TorchScript ones. What either is, is told by its content.

**Safety.** A TorchScript archive is a program, and evaluating it runs that program. It is a restricted one: torch's
interpreter has no Python, no network and no system calls, and its reader makes no objects but its own. Two of its
operators touch files (``aten::save`` writes, ``aten::from_file`` maps), and an archive whose code names either is
refused before it is loaded. What is left computes; it can still take all memory and time. Native code in torch's
operators is trusted, as it is for weights.

torch's own loader of torch.export archives runs code from the file, so that it is not used: `ibench.encoders.exported`
reads their JSON and bytes and calls only operators on a list.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from ibench.encoders import exported
from ibench.encoders.base import DTYPES, Card, Preprocess, Views, to_device, unit_rows
from ibench.encoders.cardfile import CardFile, ImageTower, SoundTower, TextTower, card_path
from ibench.encoders.exported import is_exported
from ibench.encoders.pixels import as_bytes, normalised
from ibench.encoders.source import Family, Opening, Source
from ibench.errors import IbenchError, UnreadableSample
from ibench.media.audio import resample
from ibench.modalities import Modality, Waveform
from ibench.yamlfile import read_yaml

FAMILIES = (
    Family("archive", "image, thermal, audio, text", "TorchScript, with model.pt.card.yaml beside it", "model.pt"),
    Family("archive", "image, thermal, audio, text", "torch.export, with model.pt2.card.yaml beside it", "model.pt2"),
)

_TOUCHES_FILES = re.compile(rb"\.[\s\\]*(save|from_file)\b")
_Tower = ImageTower | SoundTower | TextTower


@dataclass(frozen=True)
class Pixels:
    """PIL image → uint8 [1, 3, size, size]: RGB, resized with antialiasing (bicubic).

    ``squash`` resizes both sides to ``size``; otherwise the short side is, and the centre is cut out. ``normalised``
    is the rest of it, for the device: 0..1, then mean and std.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    squash: bool

    def __call__(self, image: Image.Image) -> Tensor:
        if image.mode.startswith(("I", "F")):
            raise UnreadableSample(f"an image of mode {image.mode}: the archive's card is for 8 bits a pixel")
        shape = [self.size, self.size] if self.squash else [self.size]
        resized = TF.resize(image.convert("RGB"), shape, InterpolationMode.BICUBIC)
        return as_bytes(TF.center_crop(resized, [self.size, self.size]))[None]

    def normalised(self, pixels: Tensor) -> Tensor:
        """Bytes [n, 3, size, size], on any device → float32."""
        return normalised(pixels, self.mean, self.std)


@dataclass(frozen=True)
class Mono:
    """Waveform → float32 [1, samples]: mean of the channels at ``rate`` Hz, first ``seconds``, filled with 0."""

    rate: int
    seconds: float

    def __call__(self, waveform: Waveform) -> Tensor:
        mono = resample(waveform, self.rate).samples.mean(axis=0)
        length = round(self.rate * self.seconds)
        return torch.from_numpy(np.pad(mono[:length], (0, max(length - len(mono), 0))))[None]


@dataclass(frozen=True)
class TokenIds:
    """Text → int64 [1, context]; ``tokenizer`` is ``clip``, or a folder with a tokenizer of transformers."""

    tokenizer: str
    context: int

    def __call__(self, text: str) -> Tensor:
        if self.tokenizer == "clip":
            ids: Tensor = _tokenizer("clip")(text, context_length=self.context)
            return ids
        encoded = _tokenizer(self.tokenizer)(text, max_length=self.context, padding="max_length", truncation=True)
        return torch.tensor([encoded["input_ids"]])


@dataclass(frozen=True)
class ArchiveEncoder:
    """Methods of TorchScript modules and programs of torch.export, one for each modality."""

    card: Card
    front_ends: Mapping[Modality, Preprocess]
    methods: Mapping[Modality, Any]
    device: torch.device
    dtype: torch.dtype

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        """The front end that the card describes: one view, whatever ``views`` says."""
        return self.front_ends[modality]

    @torch.no_grad()
    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Token ids [n, context], pixels [n, 3, H, W] or sound [n, samples] → float32 [n, dim], unit rows.

        All as `preprocess` makes them. Raises IbenchError for a method that gives anything but a tensor [n, dim], or
        fails.
        """
        batch, front_end = to_device(batch, self.device), self.front_ends[modality]
        batch = front_end.normalised(batch) if isinstance(front_end, Pixels) else batch
        batch = batch.to(self.dtype) if batch.is_floating_point() else batch
        try:
            vectors = self.methods[modality](batch)
        except RuntimeError as error:
            raise IbenchError(f"{self.card.name}: its {modality} method failed: {_last_line(error)}") from error
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != len(batch):
            given = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise IbenchError(
                f"{self.card.name}: its {modality} method gives {given}, not a tensor [{len(batch)}, dim]"
            )
        return unit_rows(vectors)


def recognise(source: Source) -> Opening | None:
    """A TorchScript or torch.export archive with a card beside it; without one, an error that says so."""
    members = _members(source.path)
    if not is_exported(members) and not any(name.endswith("/constants.pkl") for name in members):
        return None
    card = card_path(source)
    said = read_yaml(card, CardFile) if card else None
    if card is None or said is None or said.archive is None:
        raise IbenchError(
            f"{source.path}: an archive does not say what its methods take; "
            f"describe them under 'archive' in {source.path.name}.card.yaml (see ibench/encoders/archive.py)"
        )
    towers = said.archive.towers()
    files = {modality: _file_of(tower, source.path) for modality, tower in towers.items()}
    tokenizers = [path for tower in towers.values() for path in _tokenizer_files(tower, source.path)]
    return Opening(partial(load, source, towers, files), lambda: [source.path, *files.values(), *tokenizers])


def load(source: Source, towers: Mapping[Modality, _Tower], files: Mapping[Modality, Path]) -> ArchiveEncoder:
    """Open the archives a card names. Raises IbenchError for one that is damaged, touches files, or lacks a method."""
    device, dtype = torch.device(source.device), DTYPES[source.dtype]
    modules = {file: _module(file, device, dtype) for file in dict.fromkeys(files.values())}
    front_ends = {modality: _front_end(tower, source.path.parent) for modality, tower in towers.items()}
    card = Card(
        name=source.path.stem,
        family="archive",
        modalities=tuple(towers),
        preprocessing={
            modality: f"{tower.method} of {files[modality].name}: {front_ends[modality]!r}"
            for modality, tower in towers.items()
        },
    )
    methods = {modality: _method(modules[files[modality]], files[modality], one) for modality, one in towers.items()}
    return ArchiveEncoder(card, front_ends, methods, device, dtype)


def _members(path: Path) -> list[str]:
    """The names in a zip file; none for anything else."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []


def _module(file: Path, device: torch.device, dtype: torch.dtype) -> Any:
    if is_exported(_members(file)):
        return exported.load(file, device, dtype)
    try:
        with zipfile.ZipFile(file) as archive:
            code = [name for name in archive.namelist() if "code/" in name and name.endswith(".py")]
            named = next((found for name in code if (found := _TOUCHES_FILES.search(archive.read(name)))), None)
    except (OSError, zipfile.BadZipFile) as error:
        raise IbenchError(f"{file}: not a TorchScript archive ({error})") from error
    if named:
        raise IbenchError(f"{file}: its code names '{named[1].decode()}', which touches files; ibench does not run it")
    try:
        return torch.jit.load(file, map_location=device).to(dtype).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise IbenchError(f"{file}: not a whole TorchScript archive ({_last_line(error)})") from error


def _method(module: Any, file: Path, tower: _Tower) -> Any:
    """A scripted method, and none of what Python's module class has under the same name; or an exported program."""
    if isinstance(module, exported.Program):
        if tower.method != "forward":
            raise IbenchError(f"{file}: has 'forward' only, not '{tower.method}'; export one archive for each modality")
        return module
    if not module._c._has_method(tower.method):
        raise IbenchError(f"{file}: has no scripted method '{tower.method}'")
    return getattr(module, tower.method)


def _front_end(tower: _Tower, folder: Path) -> Preprocess:
    if isinstance(tower, ImageTower):
        return Pixels(tower.size, tower.mean, tower.std, tower.resize == "squash")
    if isinstance(tower, SoundTower):
        return Mono(tower.rate, tower.seconds)
    if tower.tokenizer == "clip":
        return TokenIds("clip", tower.context)
    place = folder / tower.tokenizer
    if not place.is_dir():
        raise IbenchError(f"{place}: no such tokenizer folder; the card's tokenizer is 'clip' or a folder beside it")
    return TokenIds(str(place), tower.context)


def _file_of(tower: _Tower, archive: Path) -> Path:
    return archive if tower.file is None else archive.parent / tower.file


def _tokenizer_files(tower: _Tower, archive: Path) -> list[Path]:
    if not isinstance(tower, TextTower) or tower.tokenizer == "clip":
        return []
    return sorted(path for path in (archive.parent / tower.tokenizer).rglob("*") if path.is_file())


def _last_line(error: Exception) -> str:
    """Where the interpreter says what went wrong, after its own traceback."""
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__


@cache
def _tokenizer(name: str) -> Any:
    """A tokenizer, once in each process."""
    if name == "clip":
        from open_clip.tokenizer import SimpleTokenizer

        return SimpleTokenizer()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
