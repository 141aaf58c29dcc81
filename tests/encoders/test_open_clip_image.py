"""Image towers that are spared work give the embeddings that they would give without."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from ibench.encoders.open_clip_image import spare_unread_tokens

SMALL = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 3, "heads": 4, "mlp_ratio": 2.0, "output_dim": 16}


class Model(nn.Module):
    def __init__(self, **more: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.visual = VisionTransformer(**{**SMALL, **more})


def tokens_of_last_block(model: Model) -> list[int]:
    """How many tokens the last block's MLP is given, at each call from now on."""
    seen: list[int] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].shape[1])

    last: Any = model.visual.transformer.resblocks[-1]
    last.mlp.register_forward_pre_hook(note)
    return seen


@pytest.mark.parametrize("more", [{}, {"no_ln_pre": True}, {"final_ln_after_pool": True}, {"ls_init_value": 0.5}])
def test_a_class_token_alone_goes_through_the_last_block(more: dict[str, Any]) -> None:
    model = Model(**more).eval()
    images = torch.randn(5, 3, 32, 32)
    with torch.inference_mode():
        whole = model.visual(images)
        spare_unread_tokens(model)
        seen = tokens_of_last_block(model)
        torch.testing.assert_close(model.visual(images), whole, atol=1e-6, rtol=1e-6)
    assert seen == [1]


@pytest.mark.parametrize(
    "more",
    [
        {"pool_type": "avg"},
        {"output_tokens": True},
        {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 4},
        {"block_type": "custom", "qk_norm": True},
    ],
)
def test_towers_that_read_more_or_have_other_blocks_stay_as_they_are(more: dict[str, Any]) -> None:
    model = Model(**more).eval()
    spare_unread_tokens(model)
    seen = tokens_of_last_block(model)
    with torch.inference_mode():
        model.visual(torch.randn(2, 3, 32, 32))
    assert seen == [17]


def test_models_without_such_a_tower_are_left_alone() -> None:
    spare_unread_tokens(nn.Linear(2, 2))
