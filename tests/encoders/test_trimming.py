"""Trimmed prompts embed as padded ones do, in every text tower that open_clip builds."""

from __future__ import annotations

import open_clip
import pytest
import torch

from ibench.encoders.trimming import open_clip_reader

SMALL = {"width": 32, "heads": 2, "layers": 2}
TEXTS = ["a", "a photo of a dog.", "", "\U0001f415 " * 12, "word " * 200]


def model_of(name: str, custom: bool = False, **text: object) -> torch.nn.Module:
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
def test_a_causal_tower_is_trimmed_and_exact(name: str, custom: bool) -> None:
    model, tokenizer = model_of(name, custom), open_clip.get_tokenizer(name)
    seen: list[int] = []
    embedding = getattr(model, "text", model).token_embedding
    embedding.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    read = open_clip_reader(model)
    for texts in (TEXTS, TEXTS[:2], TEXTS[:1]):
        ids = tokenizer(texts)
        expected = torch.nn.functional.normalize(model.encode_text(ids), dim=-1)
        got = torch.nn.functional.normalize(read(ids), dim=-1)
        assert torch.allclose(got, expected, atol=1e-5)
        assert seen[-2:] == [ids.shape[1], int((ids.argmax(dim=-1)).max()) + 1]


@torch.no_grad()
def test_a_tower_read_elsewhere_is_left_alone() -> None:
    siglip = model_of("ViT-B-16-SigLIP", custom=True, vocab_size=100, no_causal_mask=True, pool_type="last")
    ids = torch.ones(3, siglip.text.context_length, dtype=torch.long)
    assert open_clip_reader(siglip) == siglip.encode_text
    assert torch.equal(open_clip_reader(siglip)(ids), siglip.encode_text(ids))
    assert open_clip_reader(model_of("ViT-B-32", custom=True, embed_cls=True, pad_id=0)).__name__ == "encode_text"
