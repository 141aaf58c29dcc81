"""Samples of several modalities as one: the weighted sum of what each of them says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ibench.errors import IbenchError
from ibench.scoring.similarity import Vectors


def weighted_sum(parts: Sequence[Vectors], weights: Sequence[float]) -> Vectors:
    """The sum over the parts of weight × unit vectors [n, dim], float32 [n, dim], not made unit length again.

    The product with a unit vector is therefore the weighted sum of its cosines with each part: scores are combined,
    not directions. That is the linear combination of ImageBind's text → video and audio retrieval (arXiv 2305.05665,
    Appendix D), and of its image + audio → image (Appendix B.4, 0.5 each); in a gallery made unit again, samples whose
    parts disagree would gain. Raises IbenchError for parts of different sizes.
    """
    sizes = [vectors.shape[1] for vectors in parts]
    if len(set(sizes)) > 1:
        raise IbenchError(
            f"the encoder gives vectors of {' and '.join(map(str, sizes))} numbers for what is to be added; a "
            "joint-embedding encoder gives the same for all modalities"
        )
    fused = np.zeros_like(parts[0])
    for vectors, weight in zip(parts, weights, strict=True):
        fused += np.float32(weight) * vectors
    return fused


def shared_rows(ids: Sequence[Sequence[str]]) -> list[tuple[int, ...]]:
    """For each id that all parts have, in the order of the first, its row in each of them."""
    rows = [{id: row for row, id in enumerate(part)} for part in ids]
    return [tuple(of[id] for of in rows) for id in ids[0] if all(id in of for of in rows)]
