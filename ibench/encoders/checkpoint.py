"""From what ``--ckpt`` was given to an encoder: recognised by content, opened only when it has to run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import distributions, version
from pathlib import Path

from pydantic import ValidationError

from ibench.encoders.base import Card, Encoder
from ibench.encoders.cardfile import card_path, with_card_file
from ibench.encoders.compiling import with_compiled_blocks
from ibench.encoders.factory import installed
from ibench.encoders.hub import fetched, hub_id
from ibench.encoders.source import Family, Opening, Source
from ibench.encoders.weights import describe
from ibench.errors import IbenchError, did_you_mean
from ibench.files import write_whole
from ibench.hashing import file_digests, sha256_json
from ibench.resources import CACHE_WAY_OUT, cache_dir

_FAMILIES = (
    "factory",
    "embeddings",
    "archive",
    "imagebind",
    "languagebind",
    "clap",
    "laion_clap",
    "ms_clap",
    "pe_av",
    "sentence_transformers_folder",
    "transformers_models",
    "open_clip",
)
"""The modules of this package that know a family each, in the order they are asked."""

_OF_FOLDERS = frozenset(
    {"embeddings", "languagebind", "clap", "pe_av", "sentence_transformers_folder", "transformers_models"}
)
_OF_FILES = frozenset({"archive", "imagebind", "laion_clap", "ms_clap"})
"""Who need not be asked of anything else. Most import all of transformers, which takes longer than opening a model."""

_LIBRARIES = ("torch", "open_clip_torch", "transformers", "ibench-eval")
_EXTRAS = ("sentence-transformers",)


@dataclass(frozen=True)
class Checkpoint:
    """An encoder that may not have been opened yet: its card, and how to open it."""

    card: Card
    load: Callable[[], Encoder]


def families() -> list[Family]:
    """All families, for people to read."""
    return [family for name in _FAMILIES for family in _module(name).FAMILIES]


def open_checkpoint(reference: str, device: str, dtype: str, compiled: bool = False) -> Checkpoint:
    """The checkpoint that ``reference`` names: a file, a folder, ``ARCHITECTURE@file``, ``file.py:function``, an
    installed factory's name, a hub id.

    Its card is remembered beside the digests of all files it was made of. While those are unchanged the card is
    taken from there and nothing is opened; another file under the same name is opened and gets a card of its own.
    With ``compiled``, torch compiles the blocks of its models.
    Raises IbenchError for what is not there or no family knows.
    """
    wanted = hub_id(reference)
    if wanted is None:
        return _at(Source(reference, device, dtype, compiled))
    found = _at(Source(str(fetched(wanted)), device, dtype, compiled))
    # in the hub's cache a folder is called by its revision
    return Checkpoint(found.card.model_copy(update={"name": str(wanted)}), found.load)


def _at(source: Source) -> Checkpoint:
    """The checkpoint at a place on this machine."""
    note = _note(source)
    remembered = _remembered(note)
    if remembered is not None:
        return Checkpoint(remembered, lambda: _opened(source)[1])
    card, encoder = _opened(source)
    _remember(note, card)
    return Checkpoint(card, lambda: encoder)


def _opened(source: Source) -> tuple[Card, Encoder]:
    """Open an encoder, and complete its card with the digest of all files that make it what it is."""
    opening = _recognised(source)
    encoder = with_compiled_blocks(opening.load, source.device) if source.compiled else opening.load()
    beside = card_path(source)
    card = encoder.card if beside is None else with_card_file(encoder.card, beside)
    made_of = [*opening.files(), *card.files, *([] if beside is None else [beside])]
    files = list(dict.fromkeys(path.absolute() for path in made_of))
    digests = file_digests(files)
    # one file is its own digest, as users know it from sha256sum; several are hashed together, names apart
    sha256 = digests[0] if len(digests) == 1 else sha256_json(sorted(digests))
    known = {"checkpoint_sha256": sha256, "files": tuple(files), "function": opening.function}
    return card.model_copy(update=known), encoder


def _recognised(source: Source) -> Opening:
    idle = _OF_FILES if source.path.is_dir() else _OF_FOLDERS if source.path.is_file() else _OF_FILES | _OF_FOLDERS
    for name in (name for name in _FAMILIES if name not in idle):
        opening: Opening | None = _module(name).recognise(source)
        if opening is not None:
            return opening
    raise IbenchError(_unknown(source))


def _unknown(source: Source) -> str:
    if source.path.is_dir():
        held = ", ".join(path.name for path in source.folder_files[:5]) or "nothing"
        return f"{source.reference}: no known family keeps such a folder (it holds {held}); see `ibench encoders`"
    if source.path.is_file():
        return (
            f"{source.reference}: no known family has these keys: {describe(source.weights)}. Name the architecture "
            f"(ViT-B-32@{source.reference}) or write a factory (file.py:make_encoder); see `ibench encoders`"
        )
    offered = installed()
    hint = f"{did_you_mean(source.reference, offered)} " if offered else ""
    return f"checkpoint '{source.reference}' not found; {hint}`ibench encoders` shows what --ckpt takes"


def _module(name: str):  # type: ignore[no-untyped-def]  # mypy has no type for a module with these two attributes
    return import_module(f"ibench.encoders.{name}")


def _note(source: Source) -> Path:
    """Where a checkpoint's card is remembered.

    Other libraries may build another front end, and a card file may come or go: another note.
    """
    present = [name for name in _EXTRAS if any(distributions(name=name))]
    libraries = {name: version(name) for name in (*_LIBRARIES, *present)}
    beside = str(card_path(source))
    here = [str(Path.cwd()), source.path.exists()]  # a name may come to mean a file, and a file go
    place = sha256_json([here, source.reference, source.device, source.dtype, libraries, beside])
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
    saved = {"card": card.model_dump(mode="json"), "digests": file_digests(card.files)}
    write_whole(note, json.dumps(saved), way_out=CACHE_WAY_OUT)
