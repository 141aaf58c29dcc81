"""Prompts cut to the longest of their batch before a text tower sees them: equal embeddings for a fraction of the work.

Class prompts have about ten tokens and towers are fed 77. Padding changes nothing where no token sees those behind it
and the tower is read at the end token (CLIP and its kin), nor where a mask hides it and the tower is read at tokens
that the mask shows (BERT's kin). In any other tower, such as SigLIP's, which sees its padding and is read at its last
position, nothing is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Read = Callable[[Tensor], Tensor]


def end_places(ids: Tensor, end: int | None) -> Tensor:
    """Where CLIP's towers are read, [n] for ids [n, L]: at the first token ``end``; None: at the largest id."""
    return (ids if end is None else ids.eq(end).int()).argmax(dim=-1)


def without_padding(tokens: Tensor, read_at: Tensor | None = None) -> Tensor:
    """Ids over their attention mask, int64 [n, 2, L], cut behind the last token that is shown or read.

    Exact where the tower hides what the mask does not show, and is read at ``read_at`` [n]; None: at the first token,
    or at the tokens shown. A text of which nothing is shown attends to its padding: a batch with one is left whole.
    """
    length = _shown(tokens[:, 1].bool())
    if read_at is not None:
        length = max(length, int(read_at.max()) + 1)
    return tokens[..., :length]


def open_clip_reader(model: nn.Module) -> Read:
    """How an open_clip model reads token ids [n, context] → [n, dim]; trimmed where that is exact.

    CLIP keeps its text tower's parts itself, other models keep it whole as ``text``. A tower with a class token after
    the text (CoCa's) has it at a fixed position, and is not trimmed.
    """
    whole: Any = model
    tower: Any = getattr(model, "text", model)
    if hasattr(tower, "config"):  # a tower of transformers, which masks its padding and pools what is left
        return _without(tower.config.pad_token_id, whole.encode_text)
    pool = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
    causal = getattr(tower, "attn_mask", None) is not None
    if not causal or pool not in ("argmax", "eos") or getattr(tower, "cls_emb", None) is not None:
        return whole.encode_text  # type: ignore[no-any-return]
    end = None if pool == "argmax" else getattr(tower, "eos_id", getattr(tower, "text_eos_id", None))

    def read(ids: Tensor) -> Tensor:
        length = int(end_places(ids, end).max()) + 1
        cut = {"attn_mask": tower.attn_mask[:length, :length]}
        if tower is whole:
            cut["positional_embedding"] = tower.positional_embedding[:length]
            outputs = functional_call(whole, cut, kwargs={"text": ids[:, :length]})
            return outputs["text_features"] if isinstance(outputs, dict) else outputs[1]  # type: ignore[no-any-return]
        output = functional_call(tower, cut, (ids[:, :length],))
        return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]

    return read


def _without(padding: int, read: Read) -> Read:
    """``read``, given ids cut behind the last that is not ``padding``."""
    return lambda ids: read(ids[:, : _shown(ids.ne(padding))])


def _shown(mask: Tensor) -> int:
    """How many places any row of a mask bool [n, L] needs: up to the last one shown; all, where a row shows none."""
    if not bool(mask.any(dim=1).all()):
        return mask.shape[1]
    return int(torch.nonzero(mask.any(dim=0)).max()) + 1
