"""Cosine similarities in chunks, equal for equal vectors."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ibench.errors import IbenchError

Vectors = NDArray[np.float32]

_CHUNK_CELLS = 1 << 25  # scores held at once: 128 MiB of float32, whatever the gallery
_CHUNK_ROWS = 2048  # more of them multiply no faster
_BLOCK_CELLS = 1 << 18  # scores handed out at once: what is made of them one after the other stays in the cache


def similarity_rows(queries: Vectors, gallery: Vectors) -> Iterator[tuple[slice, Vectors]]:
    """Scores [rows, gallery] of consecutive slices of the queries; unit vectors in, cosines out.

    The caller may overwrite them, and has to be done with them before it asks for the next.

    Equal gallery vectors are scored once: a matrix product may round two equal columns differently, by where they
    stand, and a tie would then be decided by chance. Raises IbenchError when the two have different sizes.
    """
    if queries.shape[1] != gallery.shape[1]:
        raise IbenchError(
            f"the encoder gives {queries.shape[1]} numbers for the queries and {gallery.shape[1]} for what they are "
            "compared with; a joint-embedding encoder gives the same for all modalities"
        )
    distinct, position = _distinct_rows(gallery)
    rows = max(1, min(_CHUNK_CELLS // len(gallery), _CHUNK_ROWS, len(queries)))
    block = max(1, _BLOCK_CELLS // len(gallery))
    scores = np.empty((rows, len(distinct)), np.float32)
    for start in range(0, len(queries), rows):
        chunk = queries[start : start + rows]
        np.matmul(chunk, distinct.T, out=scores[: len(chunk)])
        for first in range(0, len(chunk), block):
            part = scores[first : min(first + block, len(chunk))]
            own = slice(start + first, start + first + len(part))
            yield own, part if len(distinct) == len(gallery) else part.take(position, axis=1)


def _distinct_rows(vectors: Vectors) -> tuple[Vectors, NDArray[np.intp]]:
    """The rows that differ, and for each row which of them it is; told apart by digests, which are small."""
    first: dict[bytes, int] = {}
    digests = (blake2b(row.tobytes(), digest_size=16).digest() for row in vectors)
    position = np.array([first.setdefault(digest, len(first)) for digest in digests], dtype=np.intp)
    if len(first) == len(vectors):
        return vectors, position
    _, keep = np.unique(position, return_index=True)
    return vectors[keep], position
