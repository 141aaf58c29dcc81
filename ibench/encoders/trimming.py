"""Prompts cut to the longest of their batch before a text tower sees them: equal embeddings for a fraction of the work.

Class prompts have about ten tokens and towers are fed 77. What stands after the end token changes nothing where no
token sees those behind it (causal attention, read at the end token). In any other tower, such as SigLIP's, which is
read at its last position, nothing is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

Read = Callable[[Tensor], Tensor]


def open_clip_reader(model: nn.Module) -> Read:
    """How an open_clip model reads token ids [n, context] → [n, dim]; trimmed where that is exact.

    CLIP keeps its text tower's parts itself, other models keep it whole as ``text``. A tower with a class token after
    the text (CoCa's) has it at a fixed position, and is not trimmed.
    """
    whole: Any = model
    tower: Any = getattr(model, "text", model)
    pool = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
    causal = getattr(tower, "attn_mask", None) is not None
    if not causal or pool not in ("argmax", "eos") or getattr(tower, "cls_emb", None) is not None:
        return whole.encode_text  # type: ignore[no-any-return]
    end_id: Any = getattr(tower, "eos_id", getattr(tower, "text_eos_id", None))

    def read(ids: Tensor) -> Tensor:
        ends = (ids if pool == "argmax" else ids.eq(end_id).int()).argmax(dim=-1)
        length = int(ends.max()) + 1
        cut = {"attn_mask": tower.attn_mask[:length, :length]}
        if tower is whole:
            cut["positional_embedding"] = tower.positional_embedding[:length]
            outputs = functional_call(whole, cut, kwargs={"text": ids[:, :length]})
            return outputs["text_features"] if isinstance(outputs, dict) else outputs[1]  # type: ignore[no-any-return]
        output = functional_call(tower, cut, (ids[:, :length],))
        return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]

    return read
