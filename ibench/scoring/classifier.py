"""Class embeddings from prompts, and scores of samples against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ibench.errors import IbenchError
from ibench.scoring.similarity import Vectors, similarity_rows


def class_embeddings(texts: Sequence[Sequence[str]], embedding_of: Mapping[str, Vectors]) -> Vectors:
    """One unit vector per name: the mean of its templates' unit embeddings, made unit length again.

    ``texts[i]`` are the prompts of name i; returns float32 [len(texts), dim]. The construction of CLIP's notebook
    (arXiv 2103.00020, section 3.1.4), open_clip's build_zero_shot_classifier, LanguageBind and ViT-Lens. Raises
    IbenchError where that mean is zero, which points nowhere.
    """
    means = np.stack([np.mean([embedding_of[text] for text in prompts], axis=0) for prompts in texts])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    if not lengths.all():
        example = texts[int(lengths.argmin())][0]
        raise IbenchError(
            f"the embeddings of the prompts of one class, '{example}' and the like, are zero or add up to it; see what "
            "'ibench encoders check' says of the encoder"
        )
    return np.asarray(means / lengths, dtype=np.float32)


def name_scores(queries: Vectors, names: Vectors, names_of: Sequence[Sequence[int]]) -> Iterator[tuple[slice, Vectors]]:
    """Cosines of slices of the queries with each class, [rows, classes]; a class of several names scores by its best.

    ``names_of[c]`` are the rows of ``names`` that class c goes by; the maximum is ImageBind's rule for the class
    "other" of NYU-D (arXiv 2305.05665, appendix A).
    """
    if [tuple(rows) for rows in names_of] == [(row,) for row in range(len(names))]:
        yield from similarity_rows(queries, names)
        return
    columns = [row for rows in names_of for row in rows]
    first = np.cumsum([0, *(len(rows) for rows in names_of[:-1])])
    for chunk, scores in similarity_rows(queries, names):
        yield chunk, np.maximum.reduceat(scores.take(columns, axis=1), first, axis=1)
