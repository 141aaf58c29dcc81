"""sentence-transformers folders (``modules.json``) with text, images or both. The package is an optional extra.

Its loader imports the classes that ``modules.json`` names. Only those of sentence-transformers itself are let in, and
remote code is never trusted, which the package honours for local folders since release 6.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from PIL import Image
from torch import Tensor

from ibench.encoders.base import DTYPES, Card, Preprocess, Views, to_device, unit_rows
from ibench.encoders.hf_folder import (
    ImageSteps,
    as_rgb,
    load_whole,
    opening,
    refuse_foreign,
    refuse_lacking_tokenizer,
)
from ibench.encoders.source import Family, Opening, Source, read_json
from ibench.errors import IbenchError, UnreadableSample
from ibench.modalities import Modality

FAMILIES = (Family("sentence-transformers", "text, image", "modules.json in the folder", "path/to/folder"),)

TEXT_BYTES = 8192
_UNUSED = re.compile(r".*position_ids|cls\..*|lm_head\..*")
"""Keys that no sentence's vector depends on: counters, and the heads that guess a masked word."""

_UNUSED_WHERE_POOLED = re.compile(rf"{_UNUSED.pattern}|(.*\.)?pooler\.dense\.(weight|bias)")
"""Where the vectors of all words are pooled, the one that BERT makes of its first word is not looked at either."""

_SEEN = (Modality.TEXT, Modality.IMAGE)


@dataclass(frozen=True)
class TextBytes:
    """Text → uint8 [1, TEXT_BYTES], its UTF-8 filled with 0.

    The model's own pipeline (prompts, lower case, tokenizer) takes text, not ids, so text is what travels. Raises
    UnreadableSample for a text that is longer.
    """

    def __call__(self, text: str) -> Tensor:
        data = text.encode()
        if len(data) > TEXT_BYTES:
            raise UnreadableSample(f"a text of {len(data):,} bytes, the limit is {TEXT_BYTES:,}")
        return torch.tensor([list(data.ljust(TEXT_BYTES, b"\0"))], dtype=torch.uint8)


@dataclass(frozen=True)
class ModelPixels:
    """PIL image → [1, 3, H, W] by the early steps of the model's own image processor, as RGB on white."""

    steps: ImageSteps

    def __call__(self, image: Image.Image) -> Tensor:
        return self.steps.early(as_rgb(image))


@dataclass(frozen=True)
class SentenceTransformersEncoder:
    """A SentenceTransformer and the front ends of what it takes."""

    card: Card
    model: Any
    front_ends: Mapping[Modality, Preprocess]
    dtype: torch.dtype

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        """One view of each sample, made by the model's own rules."""
        return self.front_ends[modality]

    @torch.no_grad()
    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Text bytes [n, TEXT_BYTES] or pixels [n, 3, H, W], as `preprocess` has them → float32 [n, dim], unit rows."""
        front_end = self.front_ends[modality]
        if not isinstance(front_end, ModelPixels):
            texts = [bytes(row).rstrip(b"\0").decode() for row in batch.tolist()]
            return unit_rows(self.model.encode(texts, batch_size=len(texts), convert_to_tensor=True))
        pixels = front_end.steps.late(to_device(batch, self.model.device)).to(self.dtype)
        return unit_rows(self.model({"pixel_values": pixels, "modality": "image"})["sentence_embedding"])


def recognise(source: Source) -> Opening | None:
    """A folder with modules.json."""
    if not (source.path / "modules.json").is_file():
        return None
    return Opening(partial(load, source), lambda: source.folder_files)


def load(source: Source) -> SentenceTransformersEncoder:
    """Open the folder, offline.

    Raises IbenchError when the package is not installed or too old, for a module that is not of the package, and for
    a folder that it cannot open.
    """
    installed = _installed()
    modules = _modules(source)
    for _, folder in modules:
        _refuse_foreign_settings(folder)
    pooled = any(kind.endswith(".Pooling") for kind, _ in modules)
    whole = _whole_models(_UNUSED_WHERE_POOLED if pooled else _UNUSED)
    dtype = DTYPES[source.dtype]
    with opening(source.path, f"sentence-transformers {installed}"), whole:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(
            str(source.path), device=source.device, trust_remote_code=False, local_files_only=True
        )
    model = model.to(dtype).eval()
    front_ends = _front_ends(model)
    if not front_ends:
        raise IbenchError(f"{source.path}: takes neither text nor images alone (it takes {model.modalities})")
    card = Card(
        name=source.path.name,
        family="sentence-transformers",
        modalities=tuple(front_ends),
        dim=model.get_embedding_dimension(),
        trained_pairs=((Modality.IMAGE, Modality.TEXT),) if len(front_ends) == len(_SEEN) else (),
        preprocessing=dict.fromkeys(front_ends, f"the folder's own, by sentence-transformers {installed}"),
        licence="see the checkpoint's own card",
    )
    return SentenceTransformersEncoder(card, model, front_ends, dtype)


def _installed() -> str:
    """The release of sentence-transformers that is installed."""
    try:
        release = version("sentence-transformers")
    except PackageNotFoundError as error:
        raise IbenchError(
            'sentence-transformers is not installed; pip install "ibench-eval[sentence-transformers]"'
        ) from error
    if int(release.split(".")[0]) < 6:
        raise IbenchError(
            f"sentence-transformers {release} runs code found in local folders, 6.0 and later do not; "
            'pip install -U "ibench-eval[sentence-transformers]"'
        )
    return release


def _modules(source: Source) -> list[tuple[str, Path]]:
    """The class and the place of each module. Raises IbenchError for one of other code, or outside the folder."""
    file = source.path / "modules.json"
    try:
        modules = [(str(module["type"]), str(module["path"])) for module in read_json(file)]
    except (KeyError, TypeError) as error:
        raise IbenchError(f"{file}: not a list of modules with a type and a path each ({error})") from error
    foreign = [kind for kind, _ in modules if not kind.startswith("sentence_transformers.")]
    if foreign:
        raise IbenchError(
            f"{file}: loading '{foreign[0]}' would run code that is not of sentence-transformers, and ibench never "
            "does; if you trust it, open the model in a factory (file.py:make_encoder)"
        )
    outside = [place for _, place in modules if Path(place).is_absolute() or ".." in Path(place).parts]
    if outside:
        raise IbenchError(f"{file}: places a module at '{outside[0]}', outside the folder; ibench does not read it")
    return [(kind, source.path / place) for kind, place in modules]


def _refuse_foreign_settings(folder: Path) -> None:
    """What transformers would follow out of a module's folder, or take for granted when it is missing."""
    if (folder / "adapter_config.json").is_file():
        raise IbenchError(f"{folder}: is an adapter of another model; merge it into that (peft) and save the whole")
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else None
    if isinstance(config, dict) and "model_type" in config:
        refuse_foreign(config, folder / "config.json")
        refuse_lacking_tokenizer(folder)


@contextmanager
def _whole_models(unused: re.Pattern[str]) -> Iterator[None]:
    """transformers' models that sentence-transformers asks for come from `load_whole`: whole, or not at all."""

    def whole(model_class: Any, folder: str, /, config: Any = None, dtype: Any = None, **_: Any) -> Any:
        return load_whole(model_class, config, Path(folder), dtype or torch.float32, unused)

    with patch.object(transformers.PreTrainedModel, "from_pretrained", classmethod(whole)):
        yield


def _front_ends(model: Any) -> dict[Modality, Preprocess]:
    """The front ends of what the model takes. Images need a processor that gives pixels of one shape."""
    front_ends: dict[Modality, Preprocess] = {}
    if model.supports("text"):
        front_ends[Modality.TEXT] = TextBytes()
    processor = getattr(getattr(model[0], "processor", None), "image_processor", None)
    if "image" in model.modalities and processor is not None:
        front_ends[Modality.IMAGE] = ModelPixels(ImageSteps(processor))
    return front_ends
