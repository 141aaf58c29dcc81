"""What transformers' folders have in common: opened offline, whole or not at all, and never running their code."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import torch
import transformers
from PIL import Image
from torch import Tensor

from ibench.encoders.base import DTYPES, Card, Preprocess, Views, to_device, unit_rows
from ibench.encoders.folder_weights import read_folder
from ibench.encoders.sizes import built_within, refuse_absurd, refuse_absurd_views
from ibench.encoders.source import Source
from ibench.encoders.weights import mistyped, refuse_faults
from ibench.errors import IbenchError
from ibench.modalities import Modality, RawSample

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
_COUNTERS = re.compile(r".*(position_ids|token_type_ids|relative_position_index)")
"""Buffers whose values follow from the config alone; releases of transformers differ in whether they are saved."""

_FROM_PRETRAINED = transformers.PreTrainedModel.from_pretrained.__func__
"""As the library has it: sentence_transformers_folder puts `load_whole` in its place for a while."""


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
        return unit_rows(self.towers[modality](to_device(batch, self.device)))


def as_rgb(image: Image.Image) -> Image.Image:
    """RGB at 8 bits, what is transparent laid on white: as transformers' own processors convert (release 5.23).

    Done here, so that a release that converts in another way gives the same embeddings, and for the processors that
    do not convert at all.
    """
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")


@dataclass(frozen=True)
class ImageSteps:
    """An image processor of transformers in two halves: ``early`` in decode workers, ``late`` on the device.

    Between them pixels are bytes, where the processor's steps are the library's common ones, as CLIP's are: those end
    in rescaling and normalising. A processor with steps of its own, such as ALIGN's, does all of them early.
    """

    processor: Any

    def early(self, images: Any) -> Tensor:
        """One image or several of one size → [n, 3, H, W]: bytes, or floats that are ready."""
        left = {"do_rescale": False, "do_normalize": False} if self._in_halves else {}
        return self.processor(images=images, return_tensors="pt", **left)["pixel_values"]  # type: ignore[no-any-return]

    def late(self, pixels: Tensor) -> Tensor:
        """Bytes [..., 3, H, W], on any device → float32 that the model takes; floats are ready."""
        if pixels.is_floating_point():
            return pixels
        its = self.processor
        mean, std = (tuple(one) if isinstance(one, list) else one for one in (its.image_mean, its.image_std))
        return its.rescale_and_normalize(  # type: ignore[no-any-return]
            pixels, its.do_rescale, its.rescale_factor, its.do_normalize, mean, std
        )

    @property
    def _in_halves(self) -> bool:
        common, own = transformers.CLIPImageProcessor, type(self.processor)
        steps = ("_preprocess", "rescale_and_normalize")
        return not getattr(self.processor, "do_pad", None) and all(
            hasattr(own, step) and getattr(own, step) is getattr(common, step, None) for step in steps
        )


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


def load_model(source: Source, class_name: str) -> Any:
    """The model of a folder, in the dtype and on the device asked for, in eval mode.

    Raises IbenchError when transformers lacks the class, when a file is damaged, when the config describes a model
    out of all proportion to the weights, and with the first five missing, unexpected, misshapen and mistyped keys
    when they do not fit each other.
    """
    model_class = class_named(class_name)
    config = load_config(source, model_class.config_class)
    model = load_whole(model_class, config, source.path, DTYPES[source.dtype])
    return model.requires_grad_(False).to(source.device).eval()


def load_config(source: Source, config_class: Any) -> Any:
    """The folder's config.json as one of transformers' classes. Raises IbenchError for one that claims the absurd."""
    refuse_foreign(source.config() or {}, source.path / "config.json")
    with opening(source.path):
        return config_class.from_pretrained(source.path, local_files_only=True)


def load_whole(
    model_class: Any, config: Any, folder: Path, dtype: torch.dtype, unused: re.Pattern[str] = _COUNTERS
) -> Any:
    """A model of transformers with all its weights, on the CPU; ibench reads them, transformers only renames the keys.

    Its own reader follows an index of shards out of the folder and a config to other files, does not name the globals
    of a pickle, and fills what a checkpoint lacks with random numbers. Keys that match ``unused``, which no embedding
    depends on, may be missing or too many. Raises IbenchError as `load_model` does.
    """
    weights = read_folder(folder)
    with opening(folder):
        built_within(lambda: model_class(config), weights, folder)
        model, loading = _FROM_PRETRAINED(
            model_class,
            None,
            config=config,
            state_dict=weights,
            dtype=dtype,
            ignore_mismatched_sizes=True,  # told below, with all other faults
            output_loading_info=True,
        )
    _refuse_half_loaded(folder, model, loading, weights, unused)
    return model


def refuse_foreign(config: Mapping[str, Any], where: Path) -> None:
    """Raises IbenchError for a config of absurd numbers, of quantised weights, or that names code on the hub."""
    refuse_absurd(config, where)
    for key, value in config.items():
        if key == "quantization_config":
            raise IbenchError(f"{where}: its weights are quantised; ibench opens fp32, bf16 and fp16")
        if "attn_implementation" in key and "/" in str(value):
            raise IbenchError(
                f"{where}: {key} names code on the hub, '{value}', and ibench never runs it; remove the key"
            )
        if isinstance(value, Mapping):
            refuse_foreign(value, where)


def class_named(name: str) -> Any:
    """A class of transformers; IbenchError where the installed release does not have it."""
    if not hasattr(transformers, name):
        raise IbenchError(f"transformers {transformers.__version__} has no {name}; install a newer one")
    return getattr(transformers, name)


def load_tokenizer(folder: Path, vocabulary: int, tokenizer_class: Any = transformers.AutoTokenizer) -> Any:
    """The folder's own tokenizer; ``vocabulary`` is how many tokens the text tower knows.

    Name the class where the folder does not. Raises IbenchError when there is none, when it has no padding token, or
    when it has more tokens than the tower.
    """
    refuse_lacking_tokenizer(folder)
    with opening(folder):
        tokenizer = tokenizer_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return fitting_tokenizer(tokenizer, vocabulary, folder)


def refuse_lacking_tokenizer(folder: Path) -> None:
    """IbenchError unless the folder has a vocabulary: transformers 5 makes an empty tokenizer where it has none."""
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise IbenchError(f"{folder}: has no tokenizer; add tokenizer.json from the model's own repository")


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

    Raises IbenchError saying that ``what`` is missing: a processor made of defaults would be some other model's; and
    for views too large for memory.
    """
    refuse_lacking(folder, what)
    with opening(folder):
        processor = auto_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        refuse_absurd_views(processor.to_dict(), folder / what)
    return processor


def refuse_lacking(folder: Path, what: str) -> None:
    """IbenchError unless the folder has the processor's file ``what``, or the one in which transformers 5 keeps all."""
    if not any((folder / name).is_file() for name in (what, "processor_config.json")):
        raise IbenchError(f"{folder}: has no {what}; add it from the model's own repository")


def settings_of(processor: Any) -> str:
    """A processor's class and settings in one line, to tell two front ends apart."""
    settings = {key: value for key, value in processor.to_dict().items() if value is not None}
    return f"{type(processor).__name__} {json.dumps(settings, sort_keys=True, default=str)}"


def pooled(output: Any) -> Tensor:
    """The embeddings in what ``get_*_features`` returns."""
    return output.pooler_output  # type: ignore[no-any-return]


@contextmanager
def opening(where: Path, library: str = "transformers") -> Iterator[None]:
    """Keep ``library`` off the network, and tell in one line what it found wrong with ``where``, and nothing else."""
    try:
        with _offline(), _quiet(), redirect_stdout(sys.stderr):  # it also prints; stdout is for results
            yield
    except IbenchError:
        raise
    except Exception as error:  # a damaged folder makes these libraries fail in any way, with types of their own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
        raise IbenchError(
            f"{where}: {library} cannot open it: {reason} (if a file is damaged, copy or download it again)"
        ) from error


@contextmanager
def _offline() -> Iterator[None]:
    """As if HF_HUB_OFFLINE were set: a folder has all it needs, whatever its files say of the hub."""
    constants = huggingface_hub.constants
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


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


def _refuse_half_loaded(
    folder: Path, model: Any, loading: Mapping[str, Any], weights: Mapping[str, Tensor], unused: re.Pattern[str]
) -> None:
    misshapen = {
        key: f"{key} {tuple(found)} instead of {tuple(wanted)}" for key, found, wanted in loading["mismatched_keys"]
    }
    own = {key: tensor for key, tensor in model.state_dict().items() if key in weights}
    refuse_faults(
        f"{folder}: its weights do not fit {type(model).__name__}",
        missing=sorted(key for key in loading["missing_keys"] if not unused.fullmatch(key) and key not in misshapen),
        unexpected=sorted(key for key in loading["unexpected_keys"] if not unused.fullmatch(key)),
        misshapen=sorted(misshapen.values()),
        mistyped=sorted(mistyped(own, weights)),
    )
