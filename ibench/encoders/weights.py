"""Weight files: read without running code from them, described when unknown, loaded whole or not at all."""

from __future__ import annotations

import pickle
import pickletools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from ibench.errors import IbenchError
from ibench.files import WAY_OUT

_WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts keep the weights, beside epoch and optimizer."""


_OF_TENSORS = re.compile(r"torch\._utils\._rebuild_\w+|torch\.\w+Storage|collections\.OrderedDict")
"""What every file of weights names."""

_MAKE_SCALAR: Any = np.float64().__reduce__()[0]  # not public under a name of its own

_NUMPY_SCALARS: list[Any] = [
    np.dtype,
    *(type(np.dtype(code)) for code in "?bhilqBHILQefd"),
    *((_MAKE_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""Numbers that training scripts of LAION-CLAP and open_clip keep beside the weights; making one runs no code."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The flat state dict of a .safetensors or torch file, wrappers and ``module.`` prefixes removed, on the CPU.

    Raises IbenchError for a file that is truncated, holds no tensors, or is a pickle that would run code.
    """
    if not path.stat().st_size:
        raise IbenchError(f"{path}: is empty; copy or download it again")
    data = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)
    weights = _unwrapped(data)
    if not weights:
        held = ", ".join(map(str, list(data)[:5])) if isinstance(data, Mapping) else type(data).__name__
        raise IbenchError(f"{path}: holds no state dict of tensors (found: {held})")
    hollow = [key for key, tensor in weights.items() if _is_hollow(tensor)]
    if hollow:
        raise IbenchError(f"{path}: {len(hollow)} tensors are not plain numbers ({_first(hollow)}); save them dense")
    return weights


@contextmanager
def undrawn() -> Iterator[None]:
    """Inside, what torch.nn.init would fill stays as it was allocated, which takes neither time nor, untouched, memory.

    For building a model that `load_strictly` gives a value for every parameter.
    """
    fillers = [name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")]
    own = {name: getattr(nn.init, name) for name in fillers}
    try:
        for name in fillers:
            setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        yield
    finally:
        for name, fill in own.items():
            setattr(nn.init, name, fill)


def load_strictly(model: nn.Module, weights: Mapping[str, Tensor], path: str, *, assign: bool = False) -> None:
    """Load a state dict that fits in every key, shape and kind of number.

    ``assign`` puts the tensors themselves into the model, as one that was built without memory needs; unasked, that is
    done where they are of the model's dtype and on its device, and else they are copied. Raises IbenchError with the
    first five missing, unexpected, misshapen and mistyped keys: half-loaded weights never score.
    """
    wanted = model.state_dict()
    refuse_misfit(f"{path}: does not fit {type(model).__name__}", wanted, weights)
    alike = all(weights[key].dtype == own.dtype and weights[key].device == own.device for key, own in wanted.items())
    model.load_state_dict(dict(weights), assign=assign or alike)


def refuse_misfit(what: str, wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raises IbenchError unless ``weights`` have the keys of ``wanted``, in the same shapes and kinds of numbers."""
    held = {key: tensor for key, tensor in weights.items() if key in wanted}
    refuse_faults(
        what,
        missing=[key for key in wanted if key not in held],
        unexpected=[key for key in weights if key not in wanted],
        misshapen=[
            f"{key} {tuple(tensor.shape)} instead of {tuple(wanted[key].shape)}"
            for key, tensor in held.items()
            if tensor.shape != wanted[key].shape
        ],
        mistyped=mistyped(wanted, held),
    )


def mistyped(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """Keys of ``weights`` that hold no real numbers where ``wanted`` does, as those of a quantised checkpoint."""
    return [
        f"{key} {str(tensor.dtype).removeprefix('torch.')}"
        for key, tensor in weights.items()
        if key in wanted and wanted[key].is_floating_point() and not tensor.is_floating_point()
    ]


def refuse_faults(what: str, **faults: Sequence[str]) -> None:
    """Raises IbenchError with how many keys are at fault and the first five, if any kind of ``faults`` has some."""
    told = [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in faults.items() if keys]
    if told:
        raise IbenchError(f"{what}: {'; '.join(told)}")


@dataclass(frozen=True)
class Shapes:
    """The tensors whose keys begin with ``prefix``, to read the sizes of a model from."""

    weights: Mapping[str, Tensor]
    prefix: str

    def of(self, key: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor. Raises IbenchError when it is missing, empty or of other than ``dimensions``."""
        whole = self.prefix + key
        if whole not in self.weights:
            raise IbenchError(f"the sizes of the model cannot be read: {whole} is missing")
        shape = tuple(self.weights[whole].shape)
        if len(shape) != dimensions or not all(shape):
            raise IbenchError(f"the sizes of the model cannot be read: {whole} has the shape {shape}")
        return shape

    def counts(self, pattern: str) -> list[int]:
        """How many keys there are for each first group of ``pattern``, in order of the group."""
        groups = [
            match.group(1) for key in self.weights if (match := re.fullmatch(re.escape(self.prefix) + pattern, key))
        ]
        return [groups.count(group) for group in sorted(set(groups), key=lambda group: (len(group), group))]


def part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose keys begin with ``prefix``, by the rest of the key."""
    return {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the path of a checkpoint before what is wrong with it."""
    try:
        yield
    except IbenchError as error:
        raise IbenchError(f"{path}: {error}") from error


def describe(weights: Mapping[str, Tensor]) -> str:
    """The first keys of a state dict with their shapes, for a message about one that no family knows."""
    return _first(f"{key} {tuple(tensor.shape)}" for key, tensor in weights.items())


def convert(old: Path, new: Path, *, unsafe_pickle: bool = False) -> int:
    """Rewrite a torch file as safetensors; returns the number of tensors.

    With ``unsafe_pickle`` a pickle that weights_only refuses is loaded all the same, which runs the code in it: for
    files whose origin is trusted, in an environment that may be lost.
    """
    if not old.is_file():
        raise IbenchError(f"{old}: no such file")
    if new.suffix != ".safetensors" or not new.absolute().parent.is_dir():
        raise IbenchError(f"{new}: the new file must end in .safetensors, in a folder that exists")
    if unsafe_pickle:
        try:
            weights = _unwrapped(torch.load(old, map_location="cpu", weights_only=False))
        except Exception as error:  # the file's own code runs here, and may raise anything
            raise IbenchError(f"{old}: cannot be loaded ({type(error).__name__}: {error})") from error
        if not weights:
            raise IbenchError(f"{old}: holds no state dict of tensors")
    else:
        weights = read_weights(old)
    # safetensors refuses tensors that share memory, as tied weights do
    try:
        save_file({key: tensor.detach().clone().contiguous() for key, tensor in weights.items()}, new)
    except SafetensorError as error:
        raise IbenchError(f"{new}: cannot be written ({error}); {WAY_OUT}") from error
    return len(weights)


def _is_safetensors(path: Path) -> bool:
    """By content: an 8-byte header length, then the header's opening brace."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise IbenchError(f"{path}: not a whole safetensors file ({error}); copy or download it again") from error


def _read_torch(path: Path) -> Any:
    _refuse_bomb(path)
    try:
        with safe_globals(_NUMPY_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise IbenchError(_refusal(path)) from error
    except Exception as error:  # arbitrary bytes make an unpickler fail in any way; all of them mean this
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise IbenchError(f"{path}: not a whole torch file ({reason}); copy or download it again") from error


def _refuse_bomb(path: Path) -> None:
    """torch stores without compression, but its reader also unpacks what is compressed, to any size."""
    try:
        with ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (BadZipFile, OSError, ValueError, NotImplementedError):
        return  # no zip file, or not a whole one: torch says so
    if unpacked > 2 * path.stat().st_size + (1 << 20):
        raise IbenchError(f"{path}: unpacks to {unpacked:,} bytes, and torch never compresses; ibench does not load it")


def _is_hollow(tensor: Tensor) -> bool:
    """Whether a tensor claims more numbers than the file has for it: sparse, on no device, or one number repeated."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return True
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes() + (1 << 20)


def _refusal(path: Path) -> str:
    wanted = _globals_wanted(path)
    if not wanted and not is_zipfile(path):
        return f"{path}: neither safetensors nor a torch checkpoint"
    reason = (
        f"run code ({_first(wanted)})" if wanted else "need a reader that can run code (its protocol is newer than 2)"
    )
    return (
        f"{path}: loading this pickle would {reason}, and ibench never does; if you trust the "
        f"file: ibench convert {path} {_converted_name(path)} --unsafe-pickle"
    )


def _converted_name(path: Path) -> Path:
    """A name for what replaces ``path``; in a folder, one that is looked at before ``path`` itself."""
    if path.name == "pytorch_model.bin":
        return path.with_name("model.safetensors")
    new = path.with_suffix(".safetensors")
    return new if new != path else path.with_name(f"{path.stem}.converted.safetensors")


def _globals_wanted(path: Path) -> list[str]:
    try:
        return list(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # a file that is no zip archive, or of a newer protocol, fails here in any way it likes
        return _globals_in_pickle(path)


def _globals_in_pickle(path: Path) -> list[str]:
    """The globals that a bare pickle names, but for torch's own; nothing is called. Empty for what is no pickle."""
    named, texts = [], [""]
    try:
        with path.open("rb") as file:
            while file.peek(1):  # torch's old format is several pickles in a row
                for code, value, _ in pickletools.genops(file):
                    if code.name == "GLOBAL":
                        named.append(str(value).replace(" ", "."))
                    elif code.name == "STACK_GLOBAL":  # of the two texts before it, unless they were used before
                        named.append(".".join(texts[-2:]))
                    elif isinstance(value, str):
                        texts.append(value)
    except Exception:  # what follows the pickles is numbers; arbitrary bytes fail in any way they like
        pass
    return [name for name in dict.fromkeys(named) if not _OF_TENSORS.fullmatch(name)]


def _unwrapped(data: Any) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(data, Mapping) and isinstance(data.get(wrapper), Mapping):
            data = data[wrapper]
    if not isinstance(data, Mapping):
        return {}
    weights = {str(key): value for key, value in data.items() if isinstance(value, Tensor)}
    if weights and all(key.startswith("module.") for key in weights):
        weights = {key.removeprefix("module."): value for key, value in weights.items()}
    return weights


def _first(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
