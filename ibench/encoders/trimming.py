"""Prompts cut to the longest of their batch before a text tower sees them: equal embeddings for a fraction of the work.

Class prompts have about ten tokens and towers are fed 77. Padding changes nothing where a mask hides it and the tower
is read at tokens that the mask shows (BERT's kin). Causal towers need no padding at all: see `prefixes`. Of any other
tower, such as SigLIP's, which sees its padding and is read at its last position, nothing is cut.
"""

from __future__ import annotations

import torch
from torch import Tensor


def without_padding(tokens: Tensor, read_at: Tensor | None = None) -> Tensor:
    """Ids over their attention mask, int64 [n, 2, L], cut behind the last token that is shown or read.

    Exact where the tower hides what the mask does not show, and is read at ``read_at`` [n]; None: at the first token,
    or at the tokens shown.
    """
    length = shown(tokens[:, 1].bool())
    if read_at is not None:
        length = max(length, int(read_at.max()) + 1)
    return tokens[..., :length]


def shown(mask: Tensor) -> int:
    """How many places of a mask bool [n, L] are needed: up to the last one that any row shows.

    All, where a row shows none: such a text attends to its padding.
    """
    if not bool(mask.any(dim=1).all()):
        return mask.shape[1]
    return int(torch.nonzero(mask.any(dim=0)).max()) + 1
