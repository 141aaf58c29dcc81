"""sentence-transformers folders: opened where the package is installed, and an error with the way out elsewhere."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from languagebind_folder import config_of, write_folder
from PIL import Image

from ibench.encoders import Encoder, open_checkpoint
from ibench.encoders.contract import check
from ibench.errors import IbenchError
from ibench.modalities import Modality

INSTALLED = find_spec("sentence_transformers") is not None
needs_the_package = pytest.mark.skipif(not INSTALLED, reason="sentence-transformers is an optional extra")


def opened(folder: Path) -> Encoder:
    return open_checkpoint(str(folder), "cpu", "fp32").load()


def folder_naming(folder: Path, *types: str) -> Path:
    folder.mkdir()
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": one} for one in types])
    )
    return folder


@pytest.mark.skipif(INSTALLED, reason="the package is installed")
def test_without_the_package_it_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(IbenchError, match=r'pip install "ibench-eval\[sentence-transformers\]"'):
        opened(folder_naming(tmp_path / "folder", "sentence_transformers.models.Transformer"))


@needs_the_package
def test_modules_of_others_are_not_imported(tmp_path: Path) -> None:
    folder = folder_naming(tmp_path / "folder", "sentence_transformers.models.Transformer", "my_code.Model")
    with pytest.raises(IbenchError, match=r"loading 'my_code\.Model' would run code"):
        opened(folder)


@needs_the_package
@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "not valid JSON"), ('[{"path": ""}]', "not a list of modules"), ('{"type": 1}', "not a list of modules")],
)
def test_a_damaged_list_of_modules_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    folder = folder_naming(tmp_path / "folder")
    (folder / "modules.json").write_text(text)
    with pytest.raises(IbenchError, match=told):
        opened(folder)


@needs_the_package
def test_text_is_what_the_package_makes_of_it(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["[UNK]", "a", "photo", "of", "dog", "the", "sound", "rain"]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    torch.manual_seed(0)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    model.save(str(tmp_path / "static"), create_model_card=False)
    encoder = opened(tmp_path / "static")
    assert (encoder.card.modalities, encoder.card.dim, encoder.card.trained_pairs) == (("text",), 8, ())
    texts = ["a photo of a dog", "the sound of rain", "a Döner"]
    batch = torch.cat([encoder.preprocess(Modality.TEXT, {})(text) for text in texts])
    expected = torch.from_numpy(model.encode(texts, normalize_embeddings=True))
    torch.testing.assert_close(encoder.encode(Modality.TEXT, batch), expected)
    (outcome,) = check(encoder, "fp32")
    assert outcome.faults == ()


@needs_the_package
def test_images_are_what_the_package_makes_of_them(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

    config: dict[str, Any] = config_of("image")
    text = {**config["text_config"], "bos_token_id": 522, "eos_token_id": 523}
    torch.manual_seed(0)
    place = write_folder(tmp_path / "clip", config, {})
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=config["vision_config"], projection_dim=8))
    clip.save_pretrained(place)
    pixels = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    tokenizer = CLIPTokenizerFast.from_pretrained(place, model_max_length=12)
    CLIPProcessor(pixels, tokenizer).save_pretrained(place)
    model = SentenceTransformer(modules=[Transformer(str(place))], device="cpu")
    model.save(str(tmp_path / "saved"), create_model_card=False)
    encoder = opened(tmp_path / "saved")
    assert set(encoder.card.modalities) == {"image", "text"}
    assert encoder.card.trained_pairs == (("image", "text"),)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    expected = torch.from_numpy(model.encode([image], normalize_embeddings=True))
    vectors = encoder.encode(Modality.IMAGE, encoder.preprocess(Modality.IMAGE, {})(image))
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-5)
    for outcome in check(encoder, "fp32"):
        assert outcome.faults == ()
