"""Scores made in chunks of any size give what the whole table of scores gives, ties included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ibench.scoring import classification, multilabel, retrieval, similarity

seeds = st.integers(0, 10_000)
sizes = st.integers(1, 37)
cells = st.integers(1, 300)


@contextmanager
def chunks_of(cells: int) -> Iterator[None]:
    whole = similarity._CHUNK_CELLS, similarity._BLOCK_CELLS
    similarity._CHUNK_CELLS, similarity._BLOCK_CELLS = cells, max(1, cells // 3)
    try:
        yield
    finally:
        similarity._CHUNK_CELLS, similarity._BLOCK_CELLS = whole


def few_directions(rng: np.random.Generator, n: int) -> np.ndarray:
    """Vectors of small whole numbers: most scores tie, many vectors repeat, and every product is exact."""
    return rng.integers(-1, 2, (n, 3)).astype(np.float32)


def strings(rng: np.random.Generator, n: int, of: int) -> list[str]:
    return [str(code) for code in rng.integers(0, of, n)]


def labels(n: int) -> list[str]:
    return [f"class {number}" for number in range(n)]


def rank_by_sorting(scores: np.ndarray, relevant: np.ndarray) -> tuple[int, int]:
    """Rank of the first relevant item and the first item of all: by score, then irrelevant first, then in order."""
    ranking = np.lexsort((np.arange(len(scores)), relevant, -scores))
    return 1 + int(np.argmax(relevant[ranking])), int(ranking[0])


@given(seed=seeds, asked=sizes, offered=sizes, groups=st.integers(1, 12), cells=cells)
@settings(max_examples=150, deadline=None)
def test_retrieval_in_chunks_equals_sorting_every_row(
    seed: int, asked: int, offered: int, groups: int, cells: int
) -> None:
    rng = np.random.default_rng(seed)
    queries, gallery = few_directions(rng, asked), few_directions(rng, offered)
    query_groups = strings(rng, asked, groups)
    gallery_groups = [query_groups[0], *strings(rng, offered - 1, groups)]
    ids = [str(row) for row in range(max(asked, offered))]
    clusters = [f"{row // 2}" for row in range(asked)]
    with chunks_of(cells):
        _, samples = retrieval.score(
            queries, gallery, query_groups, gallery_groups, ids[:asked], ids[:offered], clusters, 0
        )
    assert list(samples["id"]) == [ids[row] for row in range(asked) if query_groups[row] in gallery_groups]
    for sample in samples.itertuples():
        scores = gallery @ queries[int(sample.id)]
        relevant = np.array(gallery_groups) == sample.gold
        rank, first = rank_by_sorting(scores, relevant)
        assert (sample.rank, sample.prediction) == (rank, ids[first])
        assert (sample.score, sample.relevant) == (scores.max(), relevant.sum())


@given(seed=seeds, n=sizes, classes=st.integers(1, 12), aliases=st.integers(0, 4), cells=cells)
@settings(max_examples=80, deadline=None)
def test_classification_in_chunks_equals_sorting_every_row(
    seed: int, n: int, classes: int, aliases: int, cells: int
) -> None:
    rng = np.random.default_rng(seed)
    queries, names = few_directions(rng, n), few_directions(rng, classes + aliases)
    names_of = [[row] for row in rng.permutation(classes)]
    names_of[0] += range(classes, classes + aliases)
    gold = rng.integers(0, classes, n)
    ids = [str(row) for row in range(n)]
    with chunks_of(cells):
        _, samples = classification.score(queries, names, names_of, gold, labels(classes), ids, [""] * n, 0)
    scores = np.stack([(queries @ names[rows].T).max(axis=1) for rows in names_of], axis=1)
    ranking = np.argsort(-scores, axis=1, kind="stable")
    assert list(samples["rank"]) == [1 + list(row).index(own) for row, own in zip(ranking, gold, strict=True)]
    assert list(samples["correct"]) == list(ranking[:, 0] == gold)
    assert list(samples["score"]) == list(scores.max(axis=1))


@given(seed=seeds, n=sizes, classes=st.integers(1, 5), cells=cells)
@settings(max_examples=40, deadline=None)
def test_multilabel_in_chunks_equals_scikit_learn_under_ties(seed: int, n: int, classes: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    queries, names = few_directions(rng, n), few_directions(rng, classes)
    positive = rng.random((n, classes)) < 0.3
    positive[rng.integers(n, size=classes), range(classes)] = True
    gold = [np.flatnonzero(row).tolist() for row in positive]
    ids = [str(row) for row in range(n)]
    with chunks_of(cells):
        metrics, _ = multilabel.score(
            queries, names, [[c] for c in range(classes)], gold, labels(classes), ids, ["one"] * n, 0
        )
    expected = average_precision_score(positive, queries @ names.T, average="macro")
    assert abs(metrics["mAP"].value - expected) < 1e-12


@given(seed=seeds, n=sizes, dim=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_equal_vectors_are_scored_once_and_the_others_apart(seed: int, n: int, dim: int) -> None:
    vectors = np.random.default_rng(seed).integers(0, 2, (n, dim)).astype(np.float32)
    distinct, position = similarity._distinct_rows(vectors)
    np.testing.assert_array_equal(distinct[position], vectors)
    assert len(distinct) == len(np.unique(vectors, axis=0))


def test_equal_items_get_equal_scores_wherever_they_stand() -> None:
    """A matrix product alone rounds equal columns differently by position; then a copy of the right item is a tie
    or not by chance."""
    rng = np.random.default_rng(0)
    items = rng.standard_normal((61, 515)).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    gallery = np.concatenate([items, items[rng.permutation(61)], items])
    groups = [str(row) for row in range(61)]
    with chunks_of(5 * len(gallery)):
        _, samples = retrieval.score(
            items, gallery, groups, [*groups, *["copy"] * 122], groups, [str(row) for row in range(183)], [""] * 61, 0
        )
    assert set(samples["rank"]) == {3}, "the two copies of the right item are irrelevant and tie with it"
