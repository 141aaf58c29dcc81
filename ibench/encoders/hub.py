"""A repository of the Hugging Face hub as ``--ckpt``: fetched once at one revision, then opened as a folder or file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]

from ibench.errors import IbenchError

_READ = ("*.json", "*.txt", "*.model", "*.yaml", "*.safetensors")
"""What an encoder may be made of. Programs (``*.py``) are never fetched."""
_PICKLES = ("*.bin", "*.pt", "*.pth")
"""Fetched only from a repository without safetensors; they are read as weights only."""

_PATIENCE = 20.0  # seconds for the hub's first answer

_ID = re.compile(
    r"(?:hf-hub:)?(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:/(?P<file>[\w][\w./-]*))?(?:@(?P<revision>[\w.-]+))?"
)


@dataclass(frozen=True)
class HubId:
    """``org/name``, ``org/name/file.pt`` or either with ``@revision``; ``hf-hub:`` may stand before it."""

    repo: str
    file: str | None
    revision: str | None

    def __str__(self) -> str:
        name = "/".join(part for part in (self.repo, self.file) if part)
        return f"{name}@{self.revision[:12]}" if self.revision else name


def hub_id(reference: str) -> HubId | None:
    """What the hub would call ``reference``, or None for one that means something on this machine.

    A path below a folder that exists is a mistyped path, not an id.
    """
    found = _ID.fullmatch(reference)
    if found is None or Path(reference).exists():
        return None
    if not reference.startswith("hf-hub:") and Path(Path(reference).parts[0]).is_dir():
        return None
    return HubId(found["repo"], found["file"], found["revision"])


def fetched(wanted: HubId) -> Path:
    """The folder or file of a repository, from the hub or, where that cannot be reached, from its cache.

    Raises IbenchError for a repository, file or revision that is not there or not open to this user, and when the
    hub cannot be reached and its cache has nothing of it.
    """
    try:
        return _fetched(wanted, cached_only=False)
    except (HfHubHTTPError, HFValidationError) as error:
        raise IbenchError(
            f"'{wanted}': no such file or folder here, and the Hugging Face hub does not give it ({_first_line(error)})"
        ) from error
    except (HTTPError, OSError) as unreachable:  # of whatever client the hub's library uses
        try:
            return _fetched(wanted, cached_only=True)
        except LocalEntryNotFoundError:
            raise IbenchError(
                f"'{wanted}': no such file or folder here, and the Hugging Face hub, where it may be a repository, "
                f"cannot be reached ({_first_line(unreachable)})"
            ) from unreachable


def _fetched(wanted: HubId, cached_only: bool) -> Path:
    if wanted.file:
        file = hf_hub_download(wanted.repo, wanted.file, revision=wanted.revision, local_files_only=cached_only)
        return Path(file)
    patterns = None if cached_only else _worth_fetching(wanted)  # in the cache lies what was once chosen
    folder = snapshot_download(
        wanted.repo, revision=wanted.revision, allow_patterns=patterns, local_files_only=cached_only
    )
    return Path(folder)


def _worth_fetching(wanted: HubId) -> list[str]:
    about = HfApi().model_info(wanted.repo, revision=wanted.revision, timeout=_PATIENCE)
    safe = any(one.rfilename.endswith(".safetensors") for one in about.siblings or ())
    return [*_READ, *(() if safe else _PICKLES)]


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
