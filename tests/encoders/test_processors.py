"""Front ends of transformers' folders equal the library's own processors, on odd inputs as well."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image

from ibench.encoders import Encoder, open_checkpoint
from ibench.modalities import Modality

RNG = np.random.default_rng(0)
SIGHTED = ["align", "altclip", "chinese_clip", "clip", "siglip", "siglip2"]
WHOLE = ["align", "siglip2"]
"""Those whose processors have steps of their own, all taken in the worker; of the others it gives bytes."""
READING = ["align", "altclip", "chinese_clip", "clip", "xclip", "clap"]
"""Those whose tokenizers end a text with a token of their own."""


def noise(height: int, width: int, bands: int = 3) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, bands), dtype=np.uint8).squeeze())


def half_clear() -> Image.Image:
    picture = noise(50, 70)
    picture.putalpha(noise(50, 70, 1))
    return picture


def clear_palette() -> Image.Image:
    """A palette image of which one colour is transparent, read back as from a PNG."""
    file = io.BytesIO()
    noise(50, 70).quantize(16).save(file, "PNG", transparency=3)
    return Image.open(io.BytesIO(file.getvalue()))


def turned() -> Image.Image:
    """A JPEG whose EXIF says that it lies on its side; processors do not turn it."""
    file, picture = io.BytesIO(), noise(50, 70)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(file, "JPEG", exif=exif)
    return Image.open(io.BytesIO(file.getvalue()))


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "grey": lambda: noise(50, 70, 1),
    "two colours": lambda: noise(50, 70, 1).convert("1"),
    "palette": lambda: noise(50, 70).quantize(16),
    "palette, one colour clear": clear_palette,
    "half clear": half_clear,
    "grey, half clear": lambda: half_clear().convert("LA"),
    "cyan, magenta, yellow, black": lambda: noise(50, 70).convert("CMYK"),
    "one row": lambda: noise(1, 300),
    "one column": lambda: noise(300, 1),
    "one pixel": lambda: noise(1, 1),
    "turned by EXIF": turned,
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Encoder]]:
    made: dict[str, tuple[Path, Encoder]] = {}

    def make(name: str) -> tuple[Path, Encoder]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name) / name
            getattr(tiny_models, name)(folder)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("IBENCH_CACHE", str(folder.parent / "cache"))
                made[name] = folder, open_checkpoint(str(folder), "cpu", "fp32").load()
        return made[name]

    return make


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("name", SIGHTED)
def test_odd_images_are_seen_as_the_library_sees_them(
    name: str, picture: str, opened: Callable[[str], tuple[Path, Encoder]]
) -> None:
    """The library's processor is told to convert to RGB, which those of ALIGN and SigLIP 2 leave to their users."""
    from transformers import AutoImageProcessor

    folder, encoder = opened(name)
    image = PICTURES[picture]()
    processor = AutoImageProcessor.from_pretrained(folder, do_convert_rgb=True)
    theirs = processor(images=image, return_tensors="pt")
    front_end: Any = encoder.preprocess(Modality.IMAGE, {})
    ours = front_end(image)
    assert (ours.dtype == torch.uint8) == (name not in WHOLE)
    if name == "siglip2":
        assert torch.equal(ours[:, -1, :2].long(), torch.as_tensor(theirs["spatial_shapes"]))
        ours = ours[:, :-1]
    else:
        ours = front_end.steps.late(ours)
    torch.testing.assert_close(ours, theirs["pixel_values"], rtol=0, atol=0)


@pytest.mark.parametrize("name", READING)
def test_a_long_text_keeps_its_end(name: str, opened: Callable[[str], tuple[Path, Encoder]]) -> None:
    read = opened(name)[1].preprocess(Modality.TEXT, {})
    short, long = (read("a dog " * count)[0] for count in (2, 300))
    end = short[0, int(short[1].sum()) - 1]
    assert long[1].all()
    assert long[0, -1] == end
    assert long.shape == short.shape


@pytest.mark.parametrize("name", [*READING, "siglip", "siglip2"])
@pytest.mark.parametrize("text", ["", "🐕 a wet dog 🌧️", "犬が吠える", "Naïve café\nand\ttabs", "A DOG"])
def test_odd_texts_are_read_as_the_library_reads_them(
    name: str, text: str, opened: Callable[[str], tuple[Path, Encoder]]
) -> None:
    """Padded to one length; SigLIP was trained on that without a mask, and on lower case."""
    from transformers import AutoTokenizer

    folder, encoder = opened(name)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    ours = encoder.preprocess(Modality.TEXT, {})(text)[0]
    length = ours.shape[-1]
    lowered = text.lower() if name.startswith("siglip") else text
    theirs = tokenizer(lowered, padding="max_length", truncation=True, max_length=length, return_attention_mask=True)
    assert ours.tolist() == [theirs["input_ids"], theirs["attention_mask"]]
    vector = encoder.encode(Modality.TEXT, ours[None])
    assert torch.isfinite(vector).all()
    torch.testing.assert_close(vector.norm(), torch.tensor(1.0))
