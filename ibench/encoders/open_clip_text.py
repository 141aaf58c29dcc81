"""How the text towers of open_clip's models read, each at the least cost that gives the same embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ibench.encoders.prefixes import Tree, end_places, in_trees
from ibench.encoders.trimming import shown

Read = Callable[[Tensor], Tensor]


def text_reader(model: nn.Module) -> Read:
    """What reads token ids [n, context] → [n, dim].

    CLIP keeps its text tower's parts itself, other models keep it whole as ``text``. A causal one that is read at the
    end token reads prompts as trees, one of transformers is not shown the padding that it would mask. All others read
    as they are: those without a causal mask (SigLIP's), and those with a class token after the text (CoCa's), which has
    a fixed position.
    """
    whole: Any = model
    tower: Any = getattr(model, "text", model)
    if hasattr(tower, "config"):
        return _without(tower.config.pad_token_id, whole.encode_text)
    pool = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
    causal = getattr(tower, "attn_mask", None) is not None
    if not causal or pool not in ("argmax", "eos") or getattr(tower, "cls_emb", None) is not None:
        return whole.encode_text  # type: ignore[no-any-return]
    end = None if pool == "argmax" else getattr(tower, "eos_id", getattr(tower, "text_eos_id", None))
    return lambda ids: in_trees(ids, end_places(ids, end), lambda tree: _read(tower, tree))


def _read(tower: Any, tree: Tree) -> Tensor:
    """As CLIP.encode_text and TextTransformer.forward do (open_clip 3.3)."""
    dtype = tower.transformer.get_cast_dtype()
    tokens = tower.token_embedding(tree.ids).to(dtype) + tower.positional_embedding[tree.places].to(dtype)
    tokens = tower.transformer(tokens.unsqueeze(0), attn_mask=tree.additive(dtype))
    vectors: Tensor = tower.ln_final(tokens)[0, tree.ends]
    projection = tower.text_projection
    if projection is None:
        return vectors
    return projection(vectors) if isinstance(projection, nn.Linear) else vectors @ projection  # type: ignore[no-any-return]


def _without(padding: int, read: Read) -> Read:
    """``read``, given ids cut behind the last that is not ``padding``."""
    return lambda ids: read(ids[:, : shown(ids.ne(padding))])
