"""Weights go into a model that was built for them without being drawn or held twice."""

from __future__ import annotations

import torch
from torch import nn

from ibench.encoders.weights import load_strictly, undrawn


def test_a_model_built_undrawn_takes_no_random_numbers_and_init_works_again_after() -> None:
    before = torch.get_rng_state()
    with undrawn():
        model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Embedding(9, 4), nn.Conv2d(3, 4, 2))
        nn.init.normal_(model[0].weight)
    assert torch.equal(torch.get_rng_state(), before)
    assert nn.init.constant_(torch.empty(3), 7.0).tolist() == [7.0] * 3


def test_init_works_again_after_an_error() -> None:
    try:
        with undrawn():
            raise ValueError
    except ValueError:
        pass
    assert nn.init.ones_(torch.empty(1)).item() == 1


def test_weights_of_the_models_own_kind_are_not_copied_and_others_are() -> None:
    weights = nn.Linear(3, 2).state_dict()
    single, half = nn.Linear(3, 2), nn.Linear(3, 2, dtype=torch.bfloat16)
    load_strictly(single, weights, "file")
    load_strictly(half, weights, "file")
    assert single.weight.data_ptr() == weights["weight"].data_ptr()
    assert half.weight.dtype == torch.bfloat16
    assert torch.equal(half.weight, weights["weight"].bfloat16())
