"""What transformers' folders have in common: opened offline, whole or not at all, and never running their code."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor

from ibench.encoders.base import DTYPES, Card, Preprocess, Views, unit_rows
from ibench.encoders.source import Source
from ibench.errors import IbenchError
from ibench.modalities import Modality, RawSample

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
_READ_BY_TRANSFORMERS = (".json", ".txt", ".model")
_COUNTERS = ("position_ids", "token_type_ids", "relative_position_index")
"""Buffers whose values follow from the config alone; releases of transformers differ in whether they are saved."""

_REFUSALS = (
    OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError,
    pickle.UnpicklingError, SafetensorError,
)  # fmt: skip
"""What transformers raises for a folder that it cannot open."""


@dataclass(frozen=True)
class TowersEncoder:
    """An encoder of one front end and one tower per modality; satisfies the Encoder protocol.

    A tower takes a batch [n, ...] of what the front end gives, on ``device``, and returns [n, dim].
    """

    card: Card
    fronts: Mapping[Modality, Preprocess]
    towers: Mapping[Modality, Callable[[Tensor], Tensor]]
    device: torch.device

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        return self.fronts[modality]

    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Batch [n, ...] of views → float32 [n, dim], unit rows."""
        return unit_rows(self.towers[modality](batch.to(self.device)))


@dataclass(frozen=True)
class Tokenize:
    """Text → int64 [1, 2, length]: token ids, and below them the attention mask; padded and cut on the right.

    Every text has the same length, so that what a text is batched with cannot change it. The mask travels along
    because it cannot be told from the ids: CLIP pads with its end of text.
    """

    tokenizer: Any
    length: int
    lower: bool = False

    def __call__(self, raw: RawSample) -> Tensor:
        tokens = self.tokenizer(
            raw.lower() if self.lower else raw,
            padding="max_length",
            truncation=True,
            max_length=self.length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return torch.stack([tokens["input_ids"], tokens["attention_mask"]], dim=1)

    def __str__(self) -> str:
        case = "lower case, " if self.lower else ""
        return f"{type(self.tokenizer).__name__}, {case}padded and cut to {self.length} tokens"


def model_type(source: Source) -> str | None:
    """The ``model_type`` that the folder's config.json states, or None."""
    config = source.config() or {}
    return config.get("model_type")


def files_read(source: Source) -> list[Path]:
    """The folder's files that make the encoder: configs, vocabularies, and the weights that transformers prefers."""
    files = [path for path in source.folder_files if path.parent == source.path]
    weights = [path for path in files if path.suffix == ".safetensors"]
    return sorted(
        [path for path in files if path.suffix in _READ_BY_TRANSFORMERS]
        + (weights or [path for path in files if path.suffix == ".bin"])
    )


def load_model(source: Source, class_name: str) -> Any:
    """The model of a folder, in the dtype and on the device asked for, in eval mode.

    Raises IbenchError when transformers lacks the class, when a file is damaged, and with the first five missing,
    unexpected and misshapen keys when the weights do not fit the config.
    """
    with opening(source.path):
        model, loading = class_named(class_name).from_pretrained(
            source.path,
            dtype=DTYPES[source.dtype],
            local_files_only=True,
            weights_only=True,
            ignore_mismatched_sizes=True,  # told below, with all other faults
            output_loading_info=True,
        )
    _refuse_half_loaded(source.path, class_name, loading)
    return model.requires_grad_(False).to(source.device).eval()


def class_named(name: str) -> Any:
    """A class of transformers; IbenchError where the installed release does not have it."""
    if not hasattr(transformers, name):
        raise IbenchError(f"transformers {transformers.__version__} has no {name}; install a newer one")
    return getattr(transformers, name)


def load_tokenizer(folder: Path, vocabulary: int) -> Any:
    """The folder's own tokenizer; ``vocabulary`` is how many tokens the text tower knows.

    Raises IbenchError when there is none, when it has no padding token, or when it has more tokens than the tower.
    """
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise IbenchError(f"{folder}: has no tokenizer; add tokenizer.json from the model's own repository")
    with opening(folder):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return fitting_tokenizer(tokenizer, vocabulary, folder)


def fitting_tokenizer(tokenizer: Any, vocabulary: int, where: Path) -> Any:
    """``tokenizer``, if it can pad and the text tower knows all its tokens; IbenchError otherwise."""
    if tokenizer.pad_token_id is None:
        raise IbenchError(f"{where}: its tokenizer has no padding token; name one in tokenizer_config.json")
    if len(tokenizer) > vocabulary:
        raise IbenchError(
            f"{where}: its tokenizer has {len(tokenizer)} tokens, the text tower {vocabulary}; it is another model's"
        )
    return tokenizer


def load_processor(folder: Path, auto_class: Any, what: str) -> Any:
    """The folder's own processor, through one of transformers' Auto classes.

    Raises IbenchError saying that ``what`` is missing: a processor made of defaults would be some other model's.
    """
    refuse_lacking(folder, what)
    with opening(folder):
        return auto_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def refuse_lacking(folder: Path, what: str) -> None:
    """IbenchError unless the folder has the processor's file ``what``, or the one in which transformers 5 keeps all."""
    if not any((folder / name).is_file() for name in (what, "processor_config.json")):
        raise IbenchError(f"{folder}: has no {what}; add it from the model's own repository")


def settings_of(processor: Any) -> str:
    """A processor's class and settings in one line, to tell two front ends apart."""
    settings = {key: value for key, value in processor.to_dict().items() if value is not None}
    return f"{type(processor).__name__} {json.dumps(settings, sort_keys=True, default=str)}"


def pooled(output: Any) -> Tensor:
    """The embeddings in what ``get_*_features`` returns: a tensor in transformers 4, an output object in 5."""
    return output if isinstance(output, Tensor) else output.pooler_output


@contextmanager
def opening(where: Path) -> Iterator[None]:
    """Tell in one line what transformers found wrong with ``where``, and nothing else."""
    try:
        with _quiet(), redirect_stdout(sys.stderr):  # it also prints; stdout is for results
            yield
    except _REFUSALS as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise IbenchError(f"{where}: transformers cannot open it: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers tells what it loads in tables and progress bars of its own; ibench tells what is wrong with it."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


def _refuse_half_loaded(folder: Path, class_name: str, loading: Mapping[str, Any]) -> None:
    misshapen = {
        key: f"{key} {tuple(found)} instead of {tuple(wanted)}" for key, found, wanted in loading["mismatched_keys"]
    }
    faults = {
        "missing": [key for key in loading["missing_keys"] if not key.endswith(_COUNTERS) and key not in misshapen],
        "unexpected": [key for key in loading["unexpected_keys"] if not key.endswith(_COUNTERS)],
        "misshapen": list(misshapen.values()),
    }
    told = [f"{len(keys)} {what} ({_first(keys)})" for what, keys in faults.items() if keys]
    if told:
        raise IbenchError(f"{folder}: its weights do not fit {class_name}: {'; '.join(told)}")


def _first(keys: list[str]) -> str:
    return ", ".join(sorted(keys)[:5]) + (", …" if len(keys) > 5 else "")
