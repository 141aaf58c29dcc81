"""sentence-transformers folders (``modules.json``) with text, images or both. The package is an optional extra.

Its loader imports the classes that ``modules.json`` names. Only those of sentence-transformers itself are let in, and
remote code is never trusted, which the package honours for local folders since release 6.0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ibench.encoders.base import DTYPES, Card, Preprocess, Views, unit_rows
from ibench.encoders.source import Family, Opening, Source
from ibench.errors import IbenchError, UnreadableSample
from ibench.modalities import Modality

FAMILIES = (Family("sentence-transformers", "text, image", "modules.json in the folder", "path/to/folder"),)

TEXT_BYTES = 8192
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
    """PIL image → float32 [1, 3, H, W] by the model's own image processor, as RGB."""

    processor: Any

    def __call__(self, image: Image.Image) -> Tensor:
        pixels: Tensor = self.processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"]
        return pixels


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
        """Text bytes [n, TEXT_BYTES] or pixels [n, 3, H, W] → float32 [n, dim], unit rows."""
        if modality is Modality.TEXT:
            texts = [bytes(row).rstrip(b"\0").decode() for row in batch.tolist()]
            return unit_rows(self.model.encode(texts, batch_size=len(texts), convert_to_tensor=True))
        pixels = {"pixel_values": batch.to(self.model.device, self.dtype), "modality": "image"}
        return unit_rows(self.model(pixels)["sentence_embedding"])


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
    _refuse_foreign_modules(source)
    from sentence_transformers import SentenceTransformer

    dtype = DTYPES[source.dtype]
    try:
        model = SentenceTransformer(
            str(source.path), device=source.device, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
        raise IbenchError(f"{source.path}: sentence-transformers {installed} cannot open it ({error})") from error
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


def _refuse_foreign_modules(source: Source) -> None:
    file = source.path / "modules.json"
    try:
        types = [str(module["type"]) for module in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IbenchError(f"{file}: not a list of modules with a type each ({error})") from error
    foreign = [name for name in types if not name.startswith("sentence_transformers.")]
    if foreign:
        raise IbenchError(
            f"{file}: loading '{foreign[0]}' would run code that is not of sentence-transformers, and ibench never "
            "does; if you trust it, open the model in a factory (file.py:make_encoder)"
        )


def _front_ends(model: Any) -> dict[Modality, Preprocess]:
    """The front ends of what the model takes. Images need a processor that gives pixels of one shape."""
    front_ends: dict[Modality, Preprocess] = {}
    if model.supports("text"):
        front_ends[Modality.TEXT] = TextBytes()
    processor = getattr(getattr(model[0], "processor", None), "image_processor", None)
    if "image" in model.modalities and processor is not None:
        front_ends[Modality.IMAGE] = ModelPixels(processor)
    return front_ends
