"""Texts embed as padded ones do without the work of padding; a tower that sees its padding gets all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import pytest
import tiny_models
import torch
import transformers
from every_family import READERS
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from ibench.encoders import open_checkpoint
from ibench.encoders.open_clip_text import text_reader
from ibench.encoders.trimming import without_padding
from ibench.modalities import Modality

SMALL = {"width": 32, "heads": 2, "layers": 2}
DOGS = [f"a photo of a {dog}" for dog in ("dog.", "dog", "dog house.", "dog.", "dingo.")]
TEXTS = ["a", *DOGS, "", "\U0001f415 " * 12, "word " * 200]
SHORT = ["a", "a!", "", "Dog!"]
FILLING = "a dog barks " * 500
SEES_PADDING = ("siglip", "siglip2")


@contextmanager
def tokens_seen() -> Iterator[list[int]]:
    """How many token ids text towers look up, at each of their passes."""
    seen: list[int] = []

    def see(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, nn.Embedding) and inputs:
            seen.append(inputs[0].numel())

    hook = register_module_forward_hook(see)
    try:
        yield seen
    finally:
        hook.remove()


@pytest.mark.parametrize("name", READERS)
def test_a_text_embeds_alike_alone_and_beside_one_that_fills_the_context(name: str, tmp_path: Path) -> None:
    """Nothing can be cut of a batch whose longest text fills the context: that is the tower as it was trained."""
    encoder = open_checkpoint(str(READERS[name](tmp_path).reference), "cpu", "fp32").load()
    tokenize = encoder.preprocess(Modality.TEXT, {})
    short, filling = torch.cat([tokenize(text) for text in SHORT]), tokenize(FILLING)
    expected = encoder.encode(Modality.TEXT, torch.cat([short, filling]))[:-1]
    with tokens_seen() as seen:
        together = encoder.encode(Modality.TEXT, short)
    alone = torch.cat([encoder.encode(Modality.TEXT, text[None]) for text in short])
    assert (together - expected).abs().max() <= 1e-5
    assert (alone - expected).abs().max() <= 1e-5
    assert (expected[0] - expected[1]).abs().max() > 1e-3, "no tower to see a difference in"
    padded = len(short) * short.shape[-1]
    assert max(seen) == padded if name in SEES_PADDING else max(seen) < padded


def test_what_is_shown_or_read_is_kept() -> None:
    tokens = torch.zeros(2, 2, 9, dtype=torch.long)
    tokens[0, 1, :3] = 1
    tokens[1, 1, 1:5] = 1
    assert without_padding(tokens).shape == (2, 2, 5)
    assert without_padding(tokens, torch.tensor([6, 2])).shape == (2, 2, 7)
    tokens[0, 1] = 0
    assert without_padding(tokens).shape == (2, 2, 9), "a text that is hidden whole attends to all padding alike"


@pytest.mark.parametrize("in_padding", [False, True])
@torch.no_grad()
def test_a_clip_whose_config_says_2_is_read_at_the_largest_id(in_padding: bool, tmp_path: Path) -> None:
    """As configs made before July 2023 do; where the largest id is one of padding, the tower gets all of it."""
    model = tiny_models.clip(tmp_path / "clip")
    model.config.text_config.eos_token_id = 2
    model.save_pretrained(tmp_path / "clip")
    encoder = open_checkpoint(str(tmp_path / "clip"), "cpu", "fp32").load()
    tokens = torch.cat([encoder.preprocess(Modality.TEXT, {})(text) for text in ("a", "a dog")])
    ids, mask = tokens[:, 0], tokens[:, 1]
    if in_padding:
        end = len(tiny_models.clip_tokenizer()) - 1
        ids[(mask == 1) & (ids == end)] = end - 1
    output = transformers.CLIPModel.from_pretrained(tmp_path / "clip").get_text_features(ids, mask)
    expected = torch.nn.functional.normalize(getattr(output, "pooler_output", output), dim=-1)
    with tokens_seen() as seen:
        assert (encoder.encode(Modality.TEXT, tokens) - expected).abs().max() <= 1e-5
    assert (max(seen) == ids.numel()) == in_padding


def model_of(name: str, custom: bool = False, **text: object) -> nn.Module:
    """A reduced model: the named one's way of reading texts, with few and small layers."""
    config = open_clip.get_model_config(name)
    torch.manual_seed(0)
    shapes = {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}}
    kept = {key: value for key, value in config["text_cfg"].items() if key not in ("width", "heads", "layers")}
    kept = {key: value for key, value in kept.items() if not key.startswith("hf_")}
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**shapes, text_cfg={**kept, **SMALL, **text})
    for parameter in model.parameters():  # as initialised, positions are next to nothing
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "custom"),
    [("ViT-B-32", False), ("ViT-B-32-quickgelu", False), ("ViT-B-32", True), ("PE-Core-B-16", True)],
)
@torch.no_grad()
def test_a_causal_tower_of_open_clip_reads_beginnings_once_and_exactly(name: str, custom: bool) -> None:
    model, tokenizer = model_of(name, custom), open_clip.get_tokenizer(name)
    read = text_reader(model)
    for texts in (TEXTS, DOGS, TEXTS[:1]):
        ids = tokenizer(texts)
        with tokens_seen() as seen:
            assert_equal_directions(read(ids), model.encode_text(ids))
        whole = [tuple(text[: end + 1]) for text, end in zip(ids.tolist(), ids.argmax(dim=-1).tolist(), strict=True)]
        beginnings = {text[:stop] for text in whole for stop in range(1, len(text) + 1)}
        assert seen == [len(beginnings), ids.numel()]


@pytest.mark.parametrize(
    ("config", "pooler"),
    [
        (transformers.RobertaConfig(**tiny_models.TOWER, vocab_size=50, max_position_embeddings=40), "mean_pooler"),
        (transformers.BertConfig(**tiny_models.TOWER, vocab_size=50, max_position_embeddings=40), "cls_pooler"),
        (transformers.MT5Config(d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, vocab_size=50), "mean_pooler"),
        (
            transformers.M2M100Config(
                d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48, decoder_layers=1,
                decoder_attention_heads=2, decoder_ffn_dim=48, vocab_size=50, max_position_embeddings=40,
            ),
            "cls_pooler",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value.model_type,
)  # fmt: skip
@torch.no_grad()
def test_a_tower_of_transformers_within_open_clip_is_trimmed_and_exact(
    config: Any, pooler: str, tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path)
    torch.manual_seed(0)
    text = {
        "hf_model_name": str(tmp_path),
        "hf_model_pretrained": False,
        "hf_pooler_type": pooler,
        "hf_proj_type": "linear",
    }
    sight = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    model = open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=sight, text_cfg={**text, "hf_proj_type": "linear"}).eval()
    ids = torch.full((2, 30), config.pad_token_id)
    ids[0, :4], ids[1, :7] = torch.arange(5, 9), torch.arange(10, 17)
    with tokens_seen() as seen:
        assert_equal_directions(text_reader(model)(ids), model.encode_text(ids))
    assert 2 * 7 in seen
    assert 2 * 30 in seen


@torch.no_grad()
def test_a_tower_of_open_clip_read_elsewhere_is_left_alone() -> None:
    siglip = model_of("ViT-B-16-SigLIP", custom=True, vocab_size=100, no_causal_mask=True, pool_type="last")
    ids = torch.ones(3, siglip.text.context_length, dtype=torch.long)
    assert text_reader(siglip) == siglip.encode_text
    assert torch.equal(text_reader(siglip)(ids), siglip.encode_text(ids))
    assert text_reader(model_of("ViT-B-32", custom=True, embed_cls=True, pad_id=0)).__name__ == "encode_text"


def assert_equal_directions(ours: Tensor, theirs: Tensor) -> None:
    ours, theirs = (torch.nn.functional.normalize(vectors, dim=-1) for vectors in (ours, theirs))
    assert (ours - theirs).abs().max() <= 1e-5
