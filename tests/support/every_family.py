"""A tiny checkpoint of every family with random weights, saved the way its library or its publisher saves it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import languagebind_folder
import numpy as np
import open_clip
import tiny_models
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

ENCODER_TESTS = Path(__file__).parent.parent / "encoders"


@dataclass(frozen=True)
class Written:
    """A checkpoint on disk: what ``--ckpt`` takes, its file of weights, and the JSON that says its sizes, if any."""

    reference: Path
    weights: Path
    config: Path | None = None


def imagebind(place: Path) -> Written:
    """All towers but text, whose front end takes CLIP's whole vocabulary only."""
    sys.path.insert(0, str(ENCODER_TESTS))
    import imagebind_samples

    with safe_open(ENCODER_TESTS / "goldens" / "imagebind.safetensors", "pt") as file:
        shapes = {key: tuple(shape) for key, shape in json.loads(file.metadata()["shapes"]).items()}
    shapes = {key: shape for key, shape in shapes.items() if key.split(".")[1] in ("audio", "imu")}
    torch.save(imagebind_samples.random_weights(shapes), place / "imagebind.pth")
    return Written(place / "imagebind.pth", place / "imagebind.pth")


def imagebind_text(place: Path) -> Written:
    """The text tower alone, with CLIP's whole vocabulary."""
    sys.path.insert(0, str(ENCODER_TESTS))
    import imagebind_samples

    with safe_open(ENCODER_TESTS / "goldens" / "imagebind.safetensors", "pt") as file:
        shapes = {key: tuple(shape) for key, shape in json.loads(file.metadata()["shapes"]).items() if ".text." in key}
    words = "modality_preprocessors.text.token_embedding.weight"
    shapes[words] = (49_408, *shapes[words][1:])
    torch.save(imagebind_samples.random_weights(shapes), place / "imagebind.pth")
    return Written(place / "imagebind.pth", place / "imagebind.pth")


def ms_clap(release: str) -> Callable[[Path], Written]:
    """With its tokenizer beside it."""

    def write(place: Path) -> Written:
        sys.path.insert(0, str(ENCODER_TESTS))
        import test_ms_clap

        test_ms_clap.FILES[release](place)
        torch.save({"model": test_ms_clap.state(release)}, place / "msclap.pth")
        return Written(place / "msclap.pth", place / "msclap.pth")

    return write


TINY_OPEN_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def open_clip_folder(place: Path) -> Written:
    """As push_to_hub writes it."""
    folder = place / "open_clip"
    folder.mkdir()
    torch.manual_seed(0)
    config = {"model_cfg": TINY_OPEN_CLIP, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    weights = open_clip.CLIP(**TINY_OPEN_CLIP).state_dict()
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, folder / "open_clip_model.safetensors")
    return Written(folder, folder / "open_clip_model.safetensors", folder / "open_clip_config.json")


def open_clip_file(place: Path) -> Written:
    """A training checkpoint of a built-in architecture."""
    torch.manual_seed(0)
    weights = open_clip.create_model("ViT-S-32-alt", load_weights=False).state_dict()
    training = {f"module.{key}": tensor for key, tensor in weights.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": training, "optimizer": {"state": {}}}, place / "epoch_3.pt")
    return Written(place / "epoch_3.pt", place / "epoch_3.pt")


def of_transformers(name: str) -> Callable[[Path], Written]:
    def write(place: Path) -> Written:
        folder = place / name
        getattr(tiny_models, name)(folder)
        return Written(folder, folder / "model.safetensors", folder / "config.json")

    return write


def laion(place: Path) -> Written:
    sys.path.insert(0, str(ENCODER_TESTS))
    from test_clap import _laion

    file = _laion(tiny_models.clap(place / "model"), place)
    return Written(file, file)


def languagebind(modality: str, lora: int) -> Callable[[Path], Written]:
    def write(place: Path) -> Written:
        config = languagebind_folder.config_of(modality, lora_r=lora)
        folder = place / f"LanguageBind_{modality.capitalize()}"
        languagebind_folder.write_folder(folder, config, languagebind_folder.weights_of(config))
        name = "pytorch_model.bin" if lora else "model.safetensors"
        return Written(folder, folder / name, folder / "config.json")

    return write


def sentence_transformers(place: Path) -> Written:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel

    tokenizer = tiny_models.bert_tokenizer()
    words = place / "bert"
    config = BertConfig(**tiny_models.TOWER, vocab_size=len(tokenizer), max_position_embeddings=40)
    tiny_models.save(words, BertModel(config), tokenizer)
    folder = place / "sentences"
    modules = [Transformer(str(words)), Pooling(tiny_models.TOWER["hidden_size"])]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return Written(folder, folder / "model.safetensors", folder / "config.json")


class Ears(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hear = nn.Linear(4000, 4)

    def forward(self, sound: Tensor) -> Tensor:
        return self.hear(sound)  # type: ignore[no-any-return]


def torchscript(place: Path) -> Written:
    torch.manual_seed(0)
    file = place / "ears.pt"
    torch.jit.script(Ears()).save(str(file))
    card = "trained_pairs: [[audio, text]]\narchive: {audio: {rate: 8000, seconds: 0.5}}\n"
    file.with_name("ears.pt.card.yaml").write_text(card)
    return Written(file, file)


def embeddings(place: Path) -> Written:
    folder = place / "brought"
    folder.mkdir()
    (folder / "card.yaml").write_text("name: brought\ntrained_pairs: [[image, text]]\n")
    rows = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    save_file({"embeddings": torch.from_numpy(rows)}, folder / "image.safetensors")
    (folder / "image.ids.txt").write_text("a\nb\nc\n")
    return Written(folder, folder / "image.safetensors")


WRITERS: dict[str, Callable[[Path], Written]] = {
    "imagebind": imagebind,
    "open_clip_file": open_clip_file,
    "open_clip_folder": open_clip_folder,
    **{
        name: of_transformers(name)
        for name in ("clip", "align", "altclip", "chinese_clip", "siglip", "siglip2", "xclip", "clap", "pe_av")
    },
    "laion": laion,
    "languagebind_video": languagebind("video", lora=0),
    "languagebind_depth_lora": languagebind("depth", lora=2),
    "torchscript": torchscript,
    "embeddings": embeddings,
}
if find_spec("sentence_transformers"):
    WRITERS["sentence_transformers"] = sentence_transformers

READERS: dict[str, Callable[[Path], Written]] = {
    **{name: write for name, write in WRITERS.items() if name not in ("imagebind", "torchscript", "embeddings")},
    "imagebind_text": imagebind_text,
    "ms_clap_2022": ms_clap("2022"),
    "ms_clap_2023": ms_clap("2023"),
}
"""Those that embed text."""
