"""Where the store's files are: a folder of this machine, or what fsspec reaches by a URL. A file is whole or absent."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ibench.errors import IbenchError, did_you_mean
from ibench.files import write_whole

_WAY_OUT = "make room there or name another store with --store. What was finished is kept"


class Place(Protocol):
    """Files by names such as ``folder/file``, below a root."""

    def __str__(self) -> str:
        """The root, as people write it."""
        ...

    def names(self, folder: str) -> set[str]:
        """What lies directly in a folder; nothing where there is none."""
        ...

    def sizes(self) -> dict[str, int]:
        """All files, with their bytes."""
        ...

    def holds(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None where it is not there; for a folder in its place, no bytes."""
        ...

    def write(self, name: str, data: bytes, replace: bool = True) -> None:
        """Killed at any moment, the file is whole or absent; unless ``replace``, one that is there already stays."""
        ...

    def remove(self, name: str) -> None:
        """A file, or a folder with all that is in it."""
        ...

    def changed(self, name: str) -> float:
        """When a file was last written or touched, in seconds since 1970; of one that has just gone, now."""
        ...

    def touch(self, name: str) -> None: ...


def place_of(root: str | Path) -> Place:
    """The place at a path or a URL. Raises IbenchError for a file, for no name at all, and for a URL that cannot be
    reached with what is installed."""
    if root in ("", "file://"):  # else the current folder, as an unset variable of a script would have it
        raise IbenchError(f"store '{root}': names no folder; name one with --store, such as --store embeddings")
    if isinstance(root, Path) or "://" not in root:
        return _folder(Path(root))
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    try:
        files, path = fsspec.core.url_to_fs(root)
    except ImportError as error:  # its text names the package
        raise IbenchError(f"store {root}: {error}") from error
    except ValueError as error:
        known = did_you_mean(root.partition("://")[0], fsspec.available_protocols())
        raise IbenchError(f"store {root}: {error}; {known}") from error
    return _folder(Path(path)) if isinstance(files, LocalFileSystem) else Remote(root, files, path.rstrip("/"))


def _folder(root: Path) -> Folder:
    if root.is_file():
        raise IbenchError(f"store {root}: this is a file, and a store is a folder; name another: --store")
    return Folder(root)


@dataclass(frozen=True)
class Folder:
    """A folder of this machine. Files are written under a temporary name, synced and renamed."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def names(self, folder: str) -> set[str]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return set(os.listdir(self.root / folder))
        return set()

    def sizes(self) -> dict[str, int]:
        found = {}
        for folder, _, files in os.walk(self.root):
            for path in (Path(folder, name) for name in files):
                with suppress(FileNotFoundError):  # another run's temporary file, finished this moment
                    found[path.relative_to(self.root).as_posix()] = path.stat().st_size
        return found

    def holds(self, name: str) -> bool:
        return (self.root / name).exists()

    def read(self, name: str) -> bytes | None:
        path = self.root / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except IsADirectoryError:
            return b""
        except OSError as error:
            raise IbenchError(
                f"cannot read {path}: {error.strerror}; mend that or name another store: --store"
            ) from error

    def write(self, name: str, data: bytes, replace: bool = True) -> None:
        write_whole(self.root / name, data, replace=replace, way_out=_WAY_OUT)

    def remove(self, name: str) -> None:
        path = self.root / name
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except FileNotFoundError:  # another process removes it too
            return
        except OSError as error:
            raise IbenchError(f"cannot remove {path}: {error.strerror}") from error

    def changed(self, name: str) -> float:
        with suppress(FileNotFoundError):
            return (self.root / name).stat().st_mtime
        return time.time()

    def touch(self, name: str) -> None:
        with suppress(FileNotFoundError):  # tidied away this moment
            os.utime(self.root / name)


@dataclass(frozen=True)
class Remote:
    """What fsspec reaches. Objects are put whole by the stores it speaks to, and listed anew each time."""

    url: str
    files: Any
    root: str

    def __str__(self) -> str:
        return self.url.rstrip("/")

    def names(self, folder: str) -> set[str]:
        with self._told(), suppress(FileNotFoundError):
            self.files.invalidate_cache()
            return {path.rstrip("/").rpartition("/")[2] for path in self.files.ls(self._path(folder), detail=False)}
        return set()

    def sizes(self) -> dict[str, int]:
        with self._told():
            self.files.invalidate_cache()
            found = self.files.find(self.root, detail=True)
        return {path.removeprefix(f"{self.root}/"): about["size"] for path, about in found.items()}

    def holds(self, name: str) -> bool:
        with self._told():
            return bool(self.files.exists(self._path(name)))

    def read(self, name: str) -> bytes | None:
        with self._told(), suppress(FileNotFoundError):
            return bytes(self.files.cat_file(self._path(name)))
        return None

    def write(self, name: str, data: bytes, replace: bool = True) -> None:
        with self._told(), suppress(FileExistsError):
            self.files.pipe_file(self._path(name), data, mode="overwrite" if replace else "create")

    def remove(self, name: str) -> None:
        with self._told(), suppress(FileNotFoundError):
            self.files.rm(self._path(name), recursive=True)

    def changed(self, name: str) -> float:
        with self._told(), suppress(FileNotFoundError):
            return float(self.files.modified(self._path(name)).timestamp())
        return time.time()

    def touch(self, name: str) -> None:
        data = self.read(name)  # an object has no time of its own but that of its last writing
        if data is not None:
            self.write(name, data)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever a driver raises, of classes of its own: no way there, no right to it, no such bucket."""
        try:
            yield
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise IbenchError(
                f"store {self.url}: {reason}; look at its name and at your rights to it. What was finished is kept"
            ) from error
