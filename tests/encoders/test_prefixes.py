"""A tree of prompts holds each beginning once, and shows each token its own beginning and nothing else."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ibench.encoders.prefixes import end_places, trees

END = 9
TEXTS = st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=20)


def padded(texts: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids [n, 10], each text followed by an end token and by padding that is none of its tokens, and their ends."""
    ids = torch.full((len(texts), 10), 7)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text) + 1] = torch.tensor([*text, END])
    return ids, end_places(ids, END)


@given(TEXTS)
@settings(deadline=None)
def test_each_text_is_what_its_end_sees(texts: list[list[int]]) -> None:
    ids, ends = padded(texts)
    found = []
    for tree in trees(ids, ends, largest=12):
        for end in tree.ends:
            (seen,) = tree.visible[end].nonzero(as_tuple=True)
            seen = seen[tree.places[seen].argsort()]
            assert tree.places[seen].tolist() == list(range(len(seen)))
            found.append(tree.ids[seen].tolist())
    assert found == [[*text, END] for text in texts]


@given(TEXTS)
@settings(deadline=None)
def test_a_beginning_is_there_once_and_a_tree_is_no_larger_than_allowed(texts: list[list[int]]) -> None:
    whole = [(*text, END) for text in texts]
    (tree,) = trees(*padded(texts), largest=1000)
    assert len(tree.ids) == len({text[:stop] for text in whole for stop in range(1, len(text) + 1)})
    assert all(len(tree.ids) <= 12 for tree in trees(*padded(texts), largest=12))
    assert len(list(trees(*padded(texts), largest=1))) == len(texts), "one that is longer is a tree by itself"


@given(TEXTS)
@settings(deadline=None)
def test_a_token_sees_its_beginning_and_itself(texts: list[list[int]]) -> None:
    (tree,) = trees(*padded(texts), largest=1000)
    assert tree.visible.sum(dim=1).tolist() == (tree.places + 1).tolist()
    assert torch.equal(tree.visible, tree.visible.tril()), "in order: what comes before stands before"
    assert torch.equal(tree.additive(torch.float32).isfinite(), tree.visible)


def test_a_clip_is_read_at_its_first_end_or_its_largest_id() -> None:
    ids = torch.tensor([[5, 7, 9, 7, 9], [9, 5, 5, 5, 5], [5, 5, 5, 5, 5]])
    assert end_places(ids, 7).tolist() == [1, 0, 0]
    assert end_places(ids, None).tolist() == [2, 0, 0]
