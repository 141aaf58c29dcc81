"""Sums of two parts: what they find, beside loops over plain arrays, and which queries a pool gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ibench.scoring import composition, outcomes, retrieval
from ibench.scoring.composition import Labels, Query, Search, Weights, draw, relevance, score, sweep
from ibench.scoring.fusion import weighted_sum
from ibench.scoring.paired import tango
from ibench.tasks import FOUND, Draw, Relevant

NO_OWN = -1


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.standard_normal(shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def search_of(
    first: np.ndarray,
    second: np.ndarray,
    gallery: np.ndarray,
    relevant: Sequence[Sequence[int]],
    own: Sequence[int] | None = None,
    clusters: Sequence[str] | None = None,
) -> Search:
    count = len(first)
    about = pd.DataFrame(
        {
            "id": [f"q{row}" for row in range(count)],
            "gold": "",
            "cluster": clusters or [""] * count,
        }
    )
    return Search(
        lambda weights: (weighted_sum([first, second], weights), gallery),
        retrieval.of_lists(relevant, range(count)),
        np.array(own if own is not None else [NO_OWN] * count, np.intp),
        about,
        [f"g{row}" for row in range(len(gallery))],
    )


def made_up(seed: int = 0, queries: int = 60, gallery: int = 40) -> Search:
    """A query shows something of a relevant item in either part."""
    rng = np.random.default_rng(seed)
    offered = unit(rng, gallery, 8)
    relevant = [rng.choice(gallery, size=rng.integers(1, 4), replace=False).tolist() for _ in range(queries)]
    own = [
        int(rng.choice([row for row in range(gallery) if row not in rows])) if number % 3 else NO_OWN
        for number, rows in enumerate(relevant)
    ]
    shown = np.stack([offered[rows[0]] for rows in relevant])
    first, second = (shown + 0.5 * rng.standard_normal(shown.shape) for _ in range(2))
    first, second = (
        (part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32) for part in (first, second)
    )
    return search_of(first, second, offered, relevant, own, [f"c{number % 20}" for number in range(queries)])


# what is found --------------------------------------------------------------------------------------------------------


def test_a_sum_finds_what_neither_part_does_by_hand() -> None:
    """Red plus green. The gallery: red (cosine 1 and 0), green (0 and 1), both (0.707 and 0.707), neither."""
    red, green, both, blue = (1, 0, 0), (0, 1, 0), (0.5**0.5, 0.5**0.5, 0), (0, 0, 1)
    gallery = np.array([red, green, both, blue], np.float32)
    search = search_of(np.array([red], np.float32), np.array([green], np.float32), gallery, [[2]])
    metrics, rows = score(search, (0.5, 0.5), seed=0)
    assert rows.loc[0, "score"] == pytest.approx(0.5 * 0.5**0.5 * 2)  # 0.707; red and green have 0.5 each
    assert (rows.loc[0, "rank"], rows.loc[0, "first_rank"], rows.loc[0, "second_rank"]) == (1, 2, 2)
    assert (rows.loc[0, "prediction"], rows.loc[0, "wanted"]) == ("g2", "g2")
    assert metrics["gain"].value == 1
    weighted, _ = score(search, (0.8, 0.2), seed=0)  # red alone has 0.8, both 0.707
    assert (weighted["recall@1"].value, weighted["mrr"].value) == (0, 0.5)


def test_what_is_taken_away_by_hand() -> None:
    """Red without green. The gallery: red with blue (0.707 - 0), red with green (0.707 - 0.354), green (0 - 0.5)."""
    red, green, blue = np.eye(3, dtype=np.float32)
    gallery = np.stack([(red + green) / 2**0.5, (red + blue) / 2**0.5, green])
    search = search_of(red[None], green[None], gallery, [[1]])
    metrics, rows = score(search, (1.0, -0.5), seed=0)
    assert rows.loc[0, "score"] == pytest.approx(0.5**0.5)
    assert (rows.loc[0, "rank"], rows.loc[0, "first_rank"]) == (1, 2)  # alone, red and green stand equal: a tie is lost
    assert rows.loc[0, "second_rank"] == 1  # away from green
    assert metrics["gain"].value == 0


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.9, 0.1), (1.0, -0.5)])
def test_ranks_equal_a_loop(weights: Weights) -> None:
    search = made_up()
    _, rows = score(search, weights, seed=0)
    expected = {"rank": weights, "first_rank": (1.0, 0.0), "second_rank": (0.0, np.sign(weights[1]))}
    for column, used in expected.items():
        queries, gallery = search.at(used)
        for row, value in enumerate(rows[column]):
            members = search.relevance.members[search.relevance.begin[row] : search.relevance.end[row]].tolist()
            others = [item for item in range(len(gallery)) if item not in members and item != search.own[row]]
            cosines = gallery @ queries[row]
            assert value == 1 + sum(cosines[other] >= cosines[members].max() for other in others)
    assert rows["gallery"].tolist() == [40 - (one >= 0) for one in search.own]


def test_a_query_never_finds_itself() -> None:
    rng = np.random.default_rng(0)
    gallery = unit(rng, 20, 8)
    search = search_of(gallery, gallery, gallery, [[(row + 1) % 20] for row in range(20)], own=range(20))
    _, rows = score(search, (0.5, 0.5), seed=0)
    assert (rows["prediction"] != [f"g{row}" for row in range(20)]).all()
    assert rows["rank"].max() <= 19


def test_the_ends_of_a_sweep_are_the_parts_to_the_bit() -> None:
    search = made_up()
    metrics, _ = score(search, (0.5, 0.5), seed=3)
    curve = sweep(search, (0.5, 0.5), "recall@1", "weight of image", 5, seed=3)
    assert [share for share, _ in curve.points] == [0, 0.25, 0.5, 0.75, 1]
    assert curve.points[0][1] == metrics["second_recall@1"]
    assert curve.points[2][1] == metrics["recall@1"]
    assert curve.points[-1][1] == metrics["first_recall@1"]
    assert metrics["recall@1"].value > metrics["first_recall@1"].value > 0


def test_the_ends_of_a_sweep_are_the_parts_when_one_is_taken_away() -> None:
    search = made_up()
    metrics, _ = score(search, (1.0, -0.5), seed=0)
    curve = sweep(search, (1.0, -0.5), "recall@1", "weight of image", 4, seed=0)
    assert curve.points[0][1] == metrics["second_recall@1"]
    assert curve.points[-1][1] == metrics["first_recall@1"]
    (share, middle) = curve.points[2]
    again, _ = score(search, (share, share - 1), seed=0)
    assert middle == again["recall@1"]


# the gain -------------------------------------------------------------------------------------------------------------


def test_the_gain_is_against_the_better_part() -> None:
    metrics, _ = score(made_up(), (0.5, 0.5), seed=0)
    better = max(metrics["first_recall@1"].value, metrics["second_recall@1"].value)
    assert metrics["gain"].value == pytest.approx(metrics["recall@1"].value - better)
    assert metrics["gain"].low < metrics["gain"].value < metrics["gain"].high


def test_the_interval_of_the_gain_is_scipys_paired_bootstrap() -> None:
    rng = np.random.default_rng(0)
    hits = rng.random((3, 300)) < np.array([[0.7], [0.5], [0.3]])
    rows = pd.DataFrame(dict(zip(("rank", "first_rank", "second_rank"), 2 - hits, strict=True)))
    found = composition._gain(rows, [""] * 300, seed=0)

    def gain(together: np.ndarray, first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        return together.mean(axis) - np.maximum(first.mean(axis), second.mean(axis))

    data = tuple(hits.astype(float))
    theirs = stats.bootstrap(data, gain, paired=True, vectorized=True, n_resamples=4000, rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


@pytest.mark.parametrize("clusters", [[""] * 12, [f"c{row // 3}" for row in range(12)]])
def test_a_gain_in_every_query_or_in_none_is_not_certainty(clusters: list[str]) -> None:
    units = len(set(clusters)) if clusters[0] else 12
    ones, twos = np.ones(12, int), np.full(12, 2)
    every = composition._gain(pd.DataFrame({"rank": ones, "first_rank": twos, "second_rank": twos}), clusters, 0)
    none = composition._gain(pd.DataFrame({"rank": ones, "first_rank": ones, "second_rank": twos}), clusters, 0)
    assert (every.value, none.value) == (1, 0)
    assert (every.low, every.high) == tango(0, units, units, 0.95)
    assert (none.low, none.high) == tango(0, 0, units, 0.95)
    assert every.low < 1
    assert none.low < 0 < none.high
    assert every.method.startswith("Tango")


def test_every_metric_can_be_made_from_the_rows_again() -> None:
    metrics, rows = score(made_up(), (0.5, 0.5), seed=0)
    weights = np.ones(len(rows))
    for name, metric in metrics.items():
        made = outcomes.outcome(name, rows)
        assert (made.mean() if isinstance(made, np.ndarray) else made(weights)) == pytest.approx(metric.value), name


def test_shuffled_queries_find_by_chance() -> None:
    shares, expected = [], []
    for seed in range(30):
        search = made_up(seed)
        order = np.random.default_rng(seed).permutation(60)
        shuffled = Search(
            lambda weights, search=search, order=order: (search.at(weights)[0][order], search.at(weights)[1]),
            search.relevance,
            search.own,
            search.about,
            search.gallery_ids,
        )
        metrics, rows = score(shuffled, (0.5, 0.5), seed=0)
        shares.append(metrics["recall@5"].value)
        expected.append(composition.chance("recall@5", rows))
    assert np.mean(shares) == pytest.approx(np.mean(expected), abs=0.02)
    assert composition.chance("gain", rows) == 0
    assert composition.chance("first_recall@1", rows) == composition.chance("recall@1", rows)


def test_the_metrics_are_those_of_the_kind() -> None:
    metrics, _ = score(made_up(), (0.5, 0.5), seed=0)
    assert list(metrics) == [*FOUND, "first_recall@1", "second_recall@1", "gain"]


# the queries of a pool ------------------------------------------------------------------------------------------------

PICTURES: Labels = {
    **{f"{label}{number}": (label,) for label in "abc" for number in range(4)},
    "ab0": ("a", "b"),
    "ab1": ("b", "a"),
    "bc0": ("b", "c"),
    "abc0": ("a", "b", "c"),
    "none": (),
}
SOUNDS: Labels = {f"{label}-{number}": (label,) for label in "abd" for number in range(2)}


POOLED = (Relevant.BOTH, Relevant.FIRST_NOT_SECOND)


def drawn(relevant: Relevant, each: int = 3, seed: int = 0, own: int | None = 0) -> list[Query]:
    return draw(relevant, (PICTURES, SOUNDS), PICTURES, own, Draw(each=each, seed=seed))


def test_pairs_of_labels_are_those_that_something_answers() -> None:
    pairs = {relevant: {query.labels for query in drawn(relevant)} for relevant in POOLED}
    assert pairs[Relevant.BOTH] == {("a", "b"), ("b", "a"), ("c", "a"), ("c", "b")}  # c has no sound, d no picture
    assert pairs[Relevant.FIRST_NOT_SECOND] == {(one, other) for one in "abc" for other in "abd" if one != other}


@pytest.mark.parametrize("relevant", POOLED)
def test_a_part_has_its_label_alone_and_no_query_comes_twice(relevant: Relevant) -> None:
    queries = drawn(relevant, each=4)
    assert len({query.parts for query in queries}) == len(queries)
    for query in queries:
        assert (PICTURES[query.parts[0]], SOUNDS[query.parts[1]]) == ((query.labels[0],), (query.labels[1],))
        assert query.own == query.parts[0]
    assert set(Counter(query.labels for query in queries).values()) == {4}


def test_a_pair_has_no_more_queries_than_asked_for_or_than_samples() -> None:
    assert set(Counter(query.labels for query in drawn(Relevant.BOTH, each=1)).values()) == {1}
    assert set(Counter(query.labels for query in drawn(Relevant.BOTH, each=100)).values()) == {4}


def test_samples_are_asked_for_evenly() -> None:
    sounds: Labels = {f"{label}-{number}": (label,) for label in "abcdefgh" for number in range(7)}
    pictures: Labels = {f"{label}{number}": (label,) for label in "abcdefgh" for number in range(5)}
    queries = draw(Relevant.FIRST_NOT_SECOND, (pictures, sounds), pictures, 0, Draw(each=3))
    for part in (0, 1):
        times = Counter(query.parts[part] for query in queries)
        assert max(times.values()) - min(times.values()) <= 2, times
        assert len(times) == len((pictures, sounds)[part])


def test_the_seed_and_nothing_else_changes_the_queries() -> None:
    backwards = dict(reversed(PICTURES.items()))
    again = draw(Relevant.BOTH, (backwards, SOUNDS), PICTURES, 0, Draw(each=3))
    assert {query.parts for query in again} == {query.parts for query in drawn(Relevant.BOTH)}
    assert drawn(Relevant.BOTH, seed=1) != drawn(Relevant.BOTH)


def test_what_only_its_own_sample_would_answer_is_no_query() -> None:
    pictures: Labels = {"a0": ("a",), "b0": ("b",), "b1": ("b",)}
    sounds: Labels = {"a-0": ("a",), "b-0": ("b",)}
    queries = draw(Relevant.FIRST_NOT_SECOND, (pictures, sounds), pictures, 0, Draw())
    assert {query.labels for query in queries} == {("b", "a")}
    elsewhere = draw(Relevant.FIRST_NOT_SECOND, (pictures, sounds), pictures, None, Draw())
    assert {query.labels for query in elsewhere} == {("a", "b"), ("b", "a")}


def test_relevance_is_the_predicate_without_the_query_itself() -> None:
    queries = drawn(Relevant.FIRST_NOT_SECOND)
    found, own = relevance(Relevant.FIRST_NOT_SECOND, queries, PICTURES)
    ids = list(PICTURES)
    for row, query in enumerate(queries):
        members = [ids[item] for item in found.members[found.begin[row] : found.end[row]]]
        one, other = query.labels
        expected = [
            id for id, labels in PICTURES.items() if one in labels and other not in labels and id != query.parts[0]
        ]
        assert members == expected
        assert ids[own[row]] == query.parts[0]
