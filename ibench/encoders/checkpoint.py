"""From what ``--ckpt`` was given to an encoder: recognised by content, opened only when it has to run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from ibench.encoders.base import Card, Encoder
from ibench.errors import IbenchError
from ibench.hashing import file_digests, sha256_json
from ibench.resources import cache_dir

_LIBRARIES = ("torch", "open_clip_torch", "transformers")


@dataclass(frozen=True)
class Family:
    """A line of `ibench encoders`."""

    name: str
    modalities: str
    recognised_by: str
    example: str


FAMILIES = (
    Family("open_clip", "image, text", "keys and shapes of a built-in architecture", "logs/run/checkpoints/epoch_32.pt"),
    Family("open_clip", "image, text", "the name before @", "ViT-B-32@weights.safetensors"),
    Family("open_clip", "image, text", "open_clip_config.json in the folder", "path/to/folder"),
    Family("factory", "what it says", "file.py:function", "my_encoder.py:make_encoder"),
)


@dataclass(frozen=True)
class Checkpoint:
    """An encoder that may not have been opened yet: its card, and how to open it."""

    card: Card
    load: Callable[[], Encoder]


@dataclass(frozen=True)
class _Opening:
    """How one family opens what was recognised, and the files known beforehand to make it what it is."""

    load: Callable[[], Encoder]
    files: Callable[[], list[Path]]


def open_checkpoint(reference: str, device: str, dtype: str) -> Checkpoint:
    """The checkpoint that ``reference`` names: a file, a folder, ``NAME@file`` or ``file.py:function``.

    Its card is remembered beside the digests of all files it was made of. While those are unchanged the card is
    taken from there and nothing is opened; another file under the same name is opened and gets a card of its own.
    Raises IbenchError for what is not there or no family knows.
    """
    opening = _recognise(reference, device, dtype)
    note = _note(reference, device, dtype)
    remembered = _remembered(note)
    if remembered is not None:
        return Checkpoint(remembered, lambda: _identified(opening)[1])
    card, encoder = _identified(opening)
    _remember(note, card)
    return Checkpoint(card, lambda: encoder)


def _recognise(reference: str, device: str, dtype: str) -> _Opening:
    path = Path(reference)
    stem, _, function = reference.rpartition(":")
    if stem.endswith(".py"):
        return _factory(Path(stem), function, device, dtype)
    if reference.endswith(".py"):
        raise IbenchError(f"{reference}: name the function that makes the encoder: {reference}:make_encoder")
    name, _, weights = reference.partition("@")
    if weights and not path.exists():
        from ibench.encoders import open_clip

        file = _existing(Path(weights))
        return _Opening(partial(open_clip.load_named, name, file, device, dtype), lambda: [file])
    if path.is_dir():
        return _folder(path, device, dtype)
    file = _existing(path)
    return _Opening(partial(_open_file, file, device, dtype), lambda: [file])


def _factory(file: Path, function: str, device: str, dtype: str) -> _Opening:
    from ibench.encoders import factory

    _existing(file)
    return _Opening(partial(factory.load, file, function, device, dtype), partial(factory.sources, file))


def _folder(folder: Path, device: str, dtype: str) -> _Opening:
    if (folder / "open_clip_config.json").is_file():
        from ibench.encoders import open_clip

        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return _Opening(partial(open_clip.load_folder, folder, device, dtype), lambda: files)
    held = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
    raise IbenchError(f"{folder}: not a folder ibench knows (holds {held}); known: open_clip_config.json with weights")


def _open_file(path: Path, device: str, dtype: str) -> Encoder:
    from ibench.encoders import open_clip
    from ibench.encoders.weights import describe, read_weights

    weights = read_weights(path)
    encoder = open_clip.load_recognised(weights, path, device, dtype)
    if encoder is None:
        raise IbenchError(
            f"{path}: no known family has these keys: {describe(weights)}. Name the architecture (ViT-B-32@{path}) "
            "or write a factory (file.py:make_encoder); `ibench encoders` lists the families"
        )
    return encoder


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise IbenchError(
            f"checkpoint '{path}' not found; give a file, a folder, ARCHITECTURE@file or file.py:make_encoder "
            "(`ibench encoders` shows examples)"
        )
    return path


def _identified(opening: _Opening) -> tuple[Card, Encoder]:
    """Open an encoder, and complete its card with the digest of all files that make it what it is."""
    encoder = opening.load()
    files = [path.absolute() for path in dict.fromkeys([*opening.files(), *encoder.card.files])]
    digests = file_digests(files)
    # one file is its own digest, as users know it from sha256sum; several are hashed together, names apart
    sha256 = digests[0] if len(digests) == 1 else sha256_json(sorted(digests))
    return encoder.card.model_copy(update={"checkpoint_sha256": sha256, "files": tuple(files)}), encoder


def _note(reference: str, device: str, dtype: str) -> Path:
    """Where a checkpoint's card is remembered. Other libraries may build another front end: another note."""
    libraries = {name: version(name) for name in (*_LIBRARIES, "ibench-eval")}
    place = sha256_json([str(Path.cwd()), reference, device, dtype, libraries])
    return cache_dir() / "cards" / f"{place}.json"


def _remembered(note: Path) -> Card | None:
    try:
        saved = json.loads(note.read_text())
        card = Card.model_validate(saved["card"])
        unchanged = file_digests(card.files) == saved["digests"]
    except (OSError, ValueError, KeyError, ValidationError):  # no note yet, a damaged one, or a file that is gone
        return None
    return card if unchanged else None


def _remember(note: Path, card: Card) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    saved = {"card": card.model_dump(mode="json"), "digests": file_digests(card.files)}
    note.with_suffix(".part").write_text(json.dumps(saved))
    note.with_suffix(".part").replace(note)
