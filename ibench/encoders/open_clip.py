"""open_clip models: a built-in architecture with local weights, a local folder, or a training checkpoint."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import Compose, Normalize, ToTensor

from ibench.encoders.base import Card, OneView, Preprocess, Views, to_device, unit_rows
from ibench.encoders.folder_weights import files_read, read_folder, weight_files
from ibench.encoders.open_clip_image import spare_unread_tokens
from ibench.encoders.open_clip_text import text_reader
from ibench.encoders.pixels import as_bytes, normalised
from ibench.encoders.sizes import built_within, refuse_absurd, refuse_absurd_views
from ibench.encoders.source import Family, Opening, Source
from ibench.encoders.weights import load_strictly, read_weights, undrawn
from ibench.errors import IbenchError, did_you_mean
from ibench.modalities import Modality

_LOG = logging.getLogger("ibench")

FAMILIES = (
    Family("open_clip", "image, text", "keys and shapes of a built-in architecture", "logs/checkpoints/epoch_32.pt"),
    Family("open_clip", "image, text", "the architecture before @", "ViT-B-32@weights.safetensors"),
    Family("open_clip", "image, text", "published weights after @, downloaded", "ViT-B-32@laion2b_s34b_b79k"),
    Family("open_clip", "image, text", "open_clip_config.json in the folder", "path/to/folder"),
)

_WEIGHT_NAMES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
_BUFFERS_OF_OLD_VERSIONS = frozenset({"text.transformer.embeddings.position_ids"})
_PRECISION = {"fp32": "fp32", "bf16": "pure_bf16", "fp16": "pure_fp16"}


@dataclass(frozen=True)
class OpenClipEncoder:
    """Image and text towers of one open_clip model."""

    card: Card
    model: nn.Module
    read: Callable[[Tensor], Tensor]
    front_ends: Mapping[Modality, Preprocess]
    look: Callable[[Tensor], Tensor]
    device: torch.device
    dtype: torch.dtype

    def preprocess(self, modality: Modality, views: Views) -> Preprocess:
        """open_clip's own transform, up to its floats, and its tokenizer: one view, whatever ``views`` says."""
        return self.front_ends[modality]

    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Token ids [n, context] or pixels [n, 3, H, W] as `preprocess` makes them → float32 [n, dim], unit rows."""
        batch = to_device(batch, self.device)
        if modality is Modality.TEXT:
            return unit_rows(self.read(batch))
        return unit_rows(self.model.encode_image(self.look(batch).to(self.dtype)))  # type: ignore[operator]


@dataclass(frozen=True)
class _PixelBytes:
    """PIL image → uint8 [1, 3, H, W], by those steps of a transform that are for PIL images."""

    steps: Compose

    def __call__(self, image: Image.Image) -> Tensor:
        return as_bytes(self.steps(image))[None]


def recognise(source: Source) -> Opening | None:
    """``ARCHITECTURE@file``, a folder with open_clip_config.json, or weights that fit a built-in architecture.

    Where several architectures fit, they differ in what weights do not show (the activation, the normalisation of
    images): the plain name is taken, and a warning names the others.
    """
    name, _, named = source.reference.partition("@")
    if named and not source.path.exists():
        return _named(name, Path(named), source)
    if (source.path / "open_clip_config.json").is_file():
        return _folder(source)
    fitting = fitting_architectures(source.weights)
    if not fitting:
        return None
    if len(fitting) > 1:
        _LOG.warning(
            "%s fits %s; taking the first. If it is another, name it: %s@%s",
            source.path.name, ", ".join(fitting), fitting[-1], source.path,
        )  # fmt: skip
    named = _with_step(fitting[0], source.path)
    return Opening(lambda: _load(fitting[0], named, source.weights, source), lambda: [source.path])


def fitting_architectures(weights: Mapping[str, Tensor]) -> list[str]:
    """Built-in architectures that a state dict fits in every key and shape, plain names first."""
    if not any(key.startswith("visual.") for key in weights):
        return []
    shapes = {key: tuple(tensor.shape) for key, tensor in weights.items() if key != "logit_bias"}
    likely = [name for name in open_clip.list_models() if _may_fit(open_clip.get_model_config(name), weights)]
    fitting = [name for name in likely if _shapes_of(name) == shapes]
    return sorted(fitting, key=lambda name: ("quickgelu" in name, len(name), name))


def _named(name: str, file: Path, source: Source) -> Opening:
    if name not in open_clip.list_models():
        raise IbenchError(f"open_clip has no model '{name}'; {did_you_mean(name, open_clip.list_models())}")
    if file.is_file():
        return Opening(lambda: _load(name, _with_step(name, file), read_weights(file), source), lambda: [file])
    if str(file) in open_clip.list_pretrained_tags_by_model(name):
        return _published(name, str(file), source)
    tags = open_clip.list_pretrained_tags_by_model(name)
    hint = did_you_mean(str(file), tags)
    raise IbenchError(f"'{file}' not found: neither a file nor published weights of {name}; {hint}")


def _with_step(architecture: str, file: Path) -> str:
    """The name of a file's model; of a training's epoch_3.pt it says which one, for the others have the same
    architecture."""
    of_training = re.search(r"(epoch|step)s?[\s_=-]*\d+k?$", file.stem, re.I)
    return f"{architecture} {file.stem}" if of_training else architecture


def _published(name: str, tag: str, source: Source) -> Opening:
    """Weights that open_clip lists for an architecture, downloaded once into the cache of the Hugging Face hub."""
    settings = open_clip.get_pretrained_cfg(name, tag)
    if bool(settings.get("quick_gelu")) != bool(open_clip.get_model_config(name).get("quick_gelu")):
        trained = "QuickGELU" if settings.get("quick_gelu") else "GELU"
        _LOG.warning(
            "%s@%s was trained with %s, this architecture has the other activation and loses points; use %s@%s",
            name, tag, trained, _other_activation(name), tag,
        )  # fmt: skip
    try:
        file = Path(open_clip.download_pretrained(settings))
    except (OSError, RuntimeError, ValueError) as error:
        raise IbenchError(f"{name}@{tag}: cannot be downloaded ({error}); give a local file: {name}@FILE") from error
    return Opening(lambda: _load(name, f"{name} {tag}", read_weights(file), source, tag), lambda: [file])


def _other_activation(name: str) -> str:
    return name.removesuffix("-quickgelu") if name.endswith("-quickgelu") else f"{name}-quickgelu"


def _folder(source: Source) -> Opening:
    """A folder as open_clip's push_to_hub writes it: config, weights, and tokenizer files if any."""
    weight_files(source.path, _WEIGHT_NAMES)  # an error that says what is missing, before anything is built
    return Opening(lambda: _load_folder(source), lambda: files_read(source, _WEIGHT_NAMES))


def _load_folder(source: Source) -> OpenClipEncoder:
    """Opened offline, its config believed no further than its weights go, and never asked for code."""
    from ibench.encoders.hf_folder import opening  # with all of transformers, which a single file does without

    file = source.path / "open_clip_config.json"
    config = source.config(file.name) or {}
    model_config = config.get("model_cfg")
    model_config = model_config if isinstance(model_config, dict) else {}
    vision, text = (model_config.get(part) for part in ("vision_cfg", "text_cfg"))
    if not isinstance(vision, dict) or not isinstance(text, dict):
        raise IbenchError(f"{file}: has no model_cfg with vision_cfg and text_cfg")
    refuse_absurd(config, file)
    refuse_absurd_views({**vision, **(config.get("preprocess_cfg") or {})}, file)
    weights = read_folder(source.path, _WEIGHT_NAMES)
    reference = f"local-dir:{source.path}"
    with opening(source.path, "open_clip"):
        built_within(lambda: _created(reference, "meta", "fp32"), weights, source.path)
        return _load(reference, source.path.absolute().name, weights, source)


def _load(
    config: str, name: str, weights: Mapping[str, Tensor], source: Source, tag: str | None = None
) -> OpenClipEncoder:
    with undrawn():
        model = _created(config, source.device, source.dtype, force_preprocess_cfg=_preprocessing_of(config, tag))
    load_strictly(model, _fitted(model, weights), source.reference)
    model.eval()
    spare_unread_tokens(model)
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    see, look = in_halves(transform)
    tokenizer = _tokenizer_of(config)
    card = Card(
        name=name,
        family="open_clip",
        modalities=(Modality.IMAGE, Modality.TEXT),
        trained_pairs=((Modality.IMAGE, Modality.TEXT),),
        preprocessing={
            Modality.IMAGE: re.sub(r"\s+", " ", re.sub(r" at 0x[0-9a-f]+", "", repr(transform))),
            Modality.TEXT: f"{type(tokenizer).__name__}, context {tokenizer.context_length}",
        },
        licence="see the checkpoint's own card",
    )
    device, precision = torch.device(source.device), next(model.parameters()).dtype
    front_ends = {Modality.IMAGE: see, Modality.TEXT: tokenizer}
    return OpenClipEncoder(card, model, text_reader(model), front_ends, look, device, precision)


def in_halves(transform: Compose) -> tuple[Preprocess, Callable[[Tensor], Tensor]]:
    """open_clip's image transform as a front end that gives bytes, and what is left of it to do on the device.

    All it has so far work on PIL images and end in ToTensor and Normalize; any other stays whole.
    """
    *steps, to_tensor, normalise = transform.transforms
    if not isinstance(to_tensor, ToTensor) or not isinstance(normalise, Normalize):
        return OneView(transform), lambda pixels: pixels
    look = partial(normalised, mean=tuple(normalise.mean), std=tuple(normalise.std))
    return _PixelBytes(Compose(steps)), look


def _created(config: str, device: str, dtype: str, **more: Any) -> Any:
    """The model of a config with random weights; never a download: the checkpoint brings all of them."""
    return open_clip.create_model(
        config, load_weights=False, pretrained_text=False, device=device, precision=_PRECISION[dtype], **more
    )


def _tokenizer_of(config: str) -> Any:
    """The tokenizer of a config. What the config says of trusting code that comes along is overruled."""
    from_the_hub = open_clip.get_model_config(config)["text_cfg"].get("hf_tokenizer_name")
    return open_clip.get_tokenizer(config, **({"trust_remote_code": False} if from_the_hub else {}))


def _fitted(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Layouts of other releases brought to open_clip's own, as its loader does, but never resized."""
    converted = dict(convert_state_dict(model, dict(weights)))
    own = model.state_dict()
    for scalar in ("logit_scale", "logit_bias"):
        if scalar in converted and scalar in own and converted[scalar].numel() == own[scalar].numel():
            converted[scalar] = converted[scalar].reshape(own[scalar].shape)
    return {key: tensor for key, tensor in converted.items() if key not in _BUFFERS_OF_OLD_VERSIONS}


def _preprocessing_of(config: str, tag: str | None) -> dict[str, Any] | None:
    """Normalisation and resizing: of published weights, or of an architecture whose published weights all agree.

    A name alone says neither: SigLIP's mean and squashing stand only in open_clip's table of published weights.
    """
    tags = [tag] if tag else open_clip.list_pretrained_tags_by_model(config)
    asked = ("mean", "std", "interpolation", "resize_mode")
    known = [open_clip.get_pretrained_cfg(config, tag) for tag in tags]
    settings = [{key: cfg[key] for key in asked if cfg.get(key)} for cfg in known]
    return settings[0] if settings and all(one == settings[0] for one in settings) and settings[0] else None


def _may_fit(config: dict[str, Any], weights: Mapping[str, Tensor]) -> bool:
    """A cheap test before a model is built to compare shapes: the sizes that a config states."""
    text, vision = config["text_cfg"], config["vision_cfg"]
    if "hf_model_name" in text:
        return False  # its sizes stand in a hub repository; such a model has to be named
    table = weights.get("token_embedding.weight", weights.get("text.token_embedding.weight"))
    if table is None or tuple(table.shape) != (text.get("vocab_size", 49408), text.get("width", 512)):
        return False
    if ("multimodal_cfg" in config) != any(key.startswith("text_decoder.") for key in weights):
        return False
    patches = weights.get("visual.conv1.weight")
    if patches is None or isinstance(vision.get("layers"), list):
        return "timm_model_name" in vision or isinstance(vision.get("layers"), list)
    depth = sum(key.startswith("visual.transformer.") and key.endswith(".ln_1.weight") for key in weights)
    sizes = (vision.get("width", 768), vision.get("patch_size", 16), vision.get("layers", 12))
    return (patches.shape[0], patches.shape[-1], depth) == sizes


def _shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):  # shapes without memory
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False, device="meta")
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if key != "logit_bias"}
