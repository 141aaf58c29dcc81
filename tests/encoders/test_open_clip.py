"""open_clip checkpoints as that library writes them, and the embeddings it gives itself."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms

from ibench.encoders import open_checkpoint
from ibench.encoders.base import Encoder
from ibench.encoders.open_clip import in_halves
from ibench.errors import IbenchError
from ibench.modalities import Modality


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return open_clip.create_model("ViT-S-32-alt", load_weights=False).eval()


@pytest.fixture(scope="module")
def files(model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model in every form: plain and training checkpoints, safetensors, and a folder."""
    root = tmp_path_factory.mktemp("open_clip")
    weights = model.state_dict()
    torch.save(weights, root / "plain.pt")
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, root / "plain.safetensors")
    training = {f"module.{key}": tensor for key, tensor in weights.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": training, "optimizer": {"state": {}}}, root / "epoch_3.pt")
    folder = root / "folder"
    folder.mkdir()
    look = {"mean": [0.5] * 3, "std": [0.5] * 3}
    config = {"model_cfg": open_clip.get_model_config("ViT-S-32-alt"), "preprocess_cfg": look}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, folder / "open_clip_model.safetensors")
    return root


def embed(encoder: Encoder, modality: Modality, sample: object) -> np.ndarray:
    prepare = pickle.loads(pickle.dumps(encoder.preprocess(modality, {})))
    with torch.no_grad():
        return encoder.encode(modality, prepare(sample)).numpy()


@pytest.mark.parametrize(
    "reference", ["plain.pt", "plain.safetensors", "epoch_3.pt", "folder", "ViT-S-32-alt@plain.pt"]
)
def test_every_form_gives_the_embeddings_of_open_clip(files: Path, model: torch.nn.Module, reference: str) -> None:
    name, _, file = reference.rpartition("@")
    checkpoint = open_checkpoint(f"{name}@{files / file}" if name else str(files / file), "cpu", "fp32")
    encoder = checkpoint.load()
    assert checkpoint.card.family == "open_clip"
    named = {"folder": "folder", "epoch_3.pt": "ViT-S-32-alt epoch_3"}
    assert checkpoint.card.name == named.get(reference, "ViT-S-32-alt")
    assert not checkpoint.card.emergent(Modality.TEXT, Modality.IMAGE)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (97, 130, 3), np.uint8))
    _, _, transform = open_clip.create_model_and_transforms("ViT-S-32-alt", load_weights=False)
    if reference == "folder":
        transform = open_clip.image_transform(224, is_train=False, mean=(0.5,) * 3, std=(0.5,) * 3)
    with torch.no_grad():
        seen = model.encode_image(transform(image)[None], normalize=True).numpy()
        read = model.encode_text(open_clip.get_tokenizer("ViT-S-32-alt")(["a photo of a dog"]), normalize=True).numpy()
    np.testing.assert_allclose(embed(encoder, Modality.IMAGE, image), seen, atol=1e-5)
    np.testing.assert_allclose(embed(encoder, Modality.TEXT, "a photo of a dog"), read, atol=1e-5)


def test_the_digest_is_that_of_the_file(files: Path) -> None:
    import hashlib

    card = open_checkpoint(str(files / "plain.pt"), "cpu", "fp32").card
    assert card.checkpoint_sha256 == hashlib.sha256((files / "plain.pt").read_bytes()).hexdigest()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16"])
def test_any_image_mode_is_seen(files: Path, mode: str) -> None:
    encoder = open_checkpoint(str(files / "plain.pt"), "cpu", "fp32").load()
    image = Image.new("L", (40, 60), 128).convert(mode)
    assert np.isfinite(embed(encoder, Modality.IMAGE, image)).all()


@pytest.mark.parametrize("size", [40, (40, 24)])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "I;16"])
def test_the_two_halves_are_the_librarys_transform_bit_by_bit(mode: str, resize_mode: str, size: Any) -> None:
    settings = PreprocessCfg(size=size, resize_mode=resize_mode, fill_color=77)
    transform = image_transform_v2(settings, is_train=False)
    see, look = in_halves(transform)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 71, 3), np.uint8))
    image = Image.new("I;16", (71, 50), 300) if mode == "I;16" else noise.convert(mode)
    pixels = pickle.loads(pickle.dumps(see))(image)
    assert pixels.dtype == torch.uint8
    assert torch.equal(look(pixels)[0], transform(image))


def test_a_transform_of_other_steps_stays_whole() -> None:
    squash = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5), transforms.Resize((8, 8))])
    see, look = in_halves(squash)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 71, 3), np.uint8))
    assert torch.equal(look(see(image))[0], squash(image))


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_is_close_and_float32_comes_out(files: Path, dtype: str) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))
    whole = embed(open_checkpoint(str(files / "plain.pt"), "cpu", "fp32").load(), Modality.IMAGE, image)
    half = embed(open_checkpoint(str(files / "plain.pt"), "cpu", dtype).load(), Modality.IMAGE, image)
    assert half.dtype == np.float32
    assert float((whole * half).sum()) > 0.99


def test_weights_that_do_not_fit_are_refused_with_the_keys(files: Path, model: torch.nn.Module, tmp_path: Path) -> None:
    weights = dict(model.state_dict())
    weights["visual.proj"] = weights["visual.proj"][:, :7]
    weights["extra.key"] = torch.zeros(1)
    del weights["ln_final.bias"]
    torch.save(weights, tmp_path / "odd.pt")
    with pytest.raises(IbenchError) as refused:
        open_checkpoint(f"ViT-S-32-alt@{tmp_path / 'odd.pt'}", "cpu", "fp32")
    for told in ("1 missing (ln_final.bias)", "1 unexpected (extra.key)", "1 misshapen (visual.proj", "does not fit"):
        assert told in str(refused.value)
    with pytest.raises(IbenchError, match="no known family"):
        open_checkpoint(str(tmp_path / "odd.pt"), "cpu", "fp32")


def test_an_ambiguous_activation_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    big = open_clip.create_model("ViT-B-32", load_weights=False)
    torch.save(big.state_dict(), tmp_path / "b32.pt")
    assert open_checkpoint(str(tmp_path / "b32.pt"), "cpu", "fp32").card.name == "ViT-B-32"
    assert "ViT-B-32-quickgelu" in caplog.text


def test_siglip_gets_its_own_normalisation() -> None:
    from ibench.encoders.open_clip import _preprocessing_of

    settings = _preprocessing_of("ViT-B-16-SigLIP", None)
    assert settings is not None
    assert settings["mean"] == (0.5, 0.5, 0.5)
    assert settings["resize_mode"] == "squash"


def test_convert_writes_weights_that_open_the_same(files: Path, tmp_path: Path) -> None:
    from ibench.encoders.weights import convert

    assert convert(files / "epoch_3.pt", tmp_path / "new.safetensors") > 100
    old = open_checkpoint(str(files / "epoch_3.pt"), "cpu", "fp32").load()
    new = open_checkpoint(str(tmp_path / "new.safetensors"), "cpu", "fp32").load()
    np.testing.assert_array_equal(embed(old, Modality.TEXT, "hello"), embed(new, Modality.TEXT, "hello"))


def test_published_weights_warn_of_the_activation_and_say_when_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def offline(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    with pytest.raises(IbenchError, match=r"no network.*give a local file"):
        open_checkpoint("ViT-B-32@laion2b_s34b_b79k", "cpu", "fp32")
    assert not caplog.text
    with pytest.raises(IbenchError, match="no network"):
        open_checkpoint("ViT-B-32@openai", "cpu", "fp32")
    assert "trained with QuickGELU" in caplog.text
    assert "use ViT-B-32-quickgelu@openai" in caplog.text
    with pytest.raises(IbenchError, match="did you mean laion2b_s34b_b79k"):
        open_checkpoint("ViT-B-32@laion2b_s34b_b79", "cpu", "fp32")
