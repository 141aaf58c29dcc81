"""Maps and their judgement: by hand, and by the published definitions pixel by pixel."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, jaccard_score

from ibench.scoring.intervals import codes_of
from ibench.scoring.localisation import (
    SIDE,
    UPPER_HALF,
    Box,
    Found,
    Tiling,
    area_under,
    consensus_iou,
    found_part,
    judge,
    judge_centre,
    judge_random,
    metrics_of,
    points_into,
    score_map,
    share,
    source_map,
    tiling,
)
from ibench.scoring.outcomes import outcome
from ibench.tasks import Search

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
LEFT: Box = (0.0, 0.0, 0.5, 1.0)
RIGHT: Box = (0.5, 0.0, 1.0, 1.0)
QUARTERS: tuple[Box, ...] = ((0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0))
GRID = Search(scales=(2, 3, 4)).windows


def image_of(scores: np.ndarray, windows: tuple[Box, ...], pool: str) -> np.ndarray:
    """The definition in loops: for each pixel the mean or highest of the windows that hold it, stretched to 0..1."""
    sums, counts, highest = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE)), np.full((SIDE, SIDE), -np.inf)
    for score, (left, top, right, bottom) in zip(scores, windows, strict=True):
        rows, columns = (slice(*np.rint(np.array(span) * SIDE).astype(int)) for span in ((top, bottom), (left, right)))
        sums[rows, columns] += float(score)
        counts[rows, columns] += 1
        highest[rows, columns] = np.maximum(highest[rows, columns], float(score))
    means = (sums / np.maximum(counts, 1) if pool == "mean" else highest)[counts > 0]
    image = np.zeros((SIDE, SIDE))
    image[counts > 0] = (means - means.min()) / (means.max() - means.min())
    return image


def random_windows(rng: np.random.Generator, number: int) -> tuple[Box, ...]:
    corners = np.sort(rng.random((number, 2, 2)), axis=1)
    return tuple((left, top, right, bottom) for (left, top), (right, bottom) in corners.tolist())


# the map --------------------------------------------------------------------------------------------------------------


def test_a_grid_has_the_windows_that_fit() -> None:
    assert Search(scales=(2,), steps=1).windows == tuple(QUARTERS)
    assert len(GRID) == 9 + 25 + 49
    for scale in (3, 4):
        own = Search(scales=(scale,)).windows
        assert {round(right - left, 12) for left, _, right, _ in own} == {round(1 / scale, 12)}
        assert sorted({left for left, *_ in own}) == pytest.approx([at / (2 * scale) for at in range(2 * scale - 1)])
    assert (min(box[0] for box in GRID), max(box[3] for box in GRID)) == (0, 1)


def test_a_pixel_has_the_mean_of_its_windows() -> None:
    tiles = tiling((LEFT, WHOLE))
    assert tiles.spread(score_map(np.array([0.2, 0.6]), tiles))[0, [0, 111, 112, 223]].tolist() == [0, 0, 1, 1]
    tiles = tiling((LEFT, RIGHT, WHOLE))
    assert score_map(np.array([1.0, 0.5, 0.0]), tiles).tolist() == [[1.0, 0.0]]  # means 0.5 and 0.25, stretched
    assert tiles.pixels.tolist() == [[SIDE * 112, SIDE * 112]]


@pytest.mark.parametrize("seed", range(5))
def test_maps_are_those_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for windows in (GRID, random_windows(rng, 30)):
        scores = rng.standard_normal(len(windows)).astype(np.float32)
        tiles = tiling(windows)
        for pool in ("mean", "max"):
            image = tiles.spread(score_map(scores, tiles, pool))
            assert image == pytest.approx(image_of(scores, windows, pool), abs=1e-12)


def test_pixels_of_the_same_windows_are_equal_to_the_bit() -> None:
    scores = np.random.default_rng(0).standard_normal(len(GRID)).astype(np.float32)
    tiles = tiling(GRID)
    values = tiles.spread(score_map(scores, tiles))
    assert len(np.unique(values)) <= tiles.pixels.size == (len(tiles.row_edges) - 1) ** 2


def test_where_no_window_is_nothing_scores() -> None:
    tiles = tiling((QUARTERS[0],))
    assert tiles.spread(score_map(np.array([-0.7]), tiles)).sum() == 112 * 112
    assert not score_map(np.array([0.3, 0.3]), tiling((LEFT, RIGHT))).any()
    assert not score_map(np.array([0.3]), tiling(((0.5, 0.5, 0.501, 0.501),))).any()  # no pixel is its nearest


# cIoU -----------------------------------------------------------------------------------------------------------------


def test_what_is_found_of_half_a_frame_by_hand() -> None:
    """The right half is found; of its own half that is all, of a quarter half, of the left nothing."""
    scores, windows = np.array([0.1, 0.9]), (LEFT, RIGHT)
    for threshold in (UPPER_HALF, 0.5):
        of = {box: judge(scores, windows, source_map([box], 1), threshold).ciou for box in (RIGHT, QUARTERS[1], LEFT)}
        assert of == {RIGHT: 1.0, QUARTERS[1]: 0.5, LEFT: 0.0}
    # a source of the upper half: 1/4 of the frame is shared, 3/4 is either
    assert judge(scores, windows, source_map([(0, 0, 1, 0.5)], 1), 0.5).ciou == pytest.approx(1 / 3)


def test_annotators_that_disagree_by_hand() -> None:
    """Two say left, one says all: left is the source in full, right by half."""
    source = source_map([LEFT, LEFT, WHOLE], 2)
    assert (source[0, 0], source[0, -1]) == (1.0, 0.5)
    left = judge(np.array([1.0, 0.0]), (LEFT, RIGHT), source, 0.5)
    assert left.ciou == pytest.approx(0.5 / 0.75)  # Σ g over the left half / Σ g over the frame
    right = judge(np.array([0.0, 1.0]), (LEFT, RIGHT), source, 0.5)
    assert right.ciou == pytest.approx(0.25 / 0.75)
    assert (left.pointing, right.pointing) == (True, False)  # only one annotator has the right
    only = source_map([LEFT, WHOLE], 2)
    assert only[0, [0, -1]].tolist() == [1.0, 0.5]


@pytest.mark.parametrize("seed", range(8))
def test_ciou_is_that_of_the_published_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    windows = GRID if seed % 2 else random_windows(rng, 12)
    scores = rng.standard_normal(len(windows)).astype(np.float32)
    boxes, agree = random_windows(rng, 3), 1 + seed % 3
    tiles, source = tiling(windows), source_map(boxes, agree)
    pool = ("mean", "max")[seed // 4]
    image = tiles.spread(score_map(scores, tiles, pool))
    for threshold in (UPPER_HALF, 0.3, 0.5):
        if threshold == UPPER_HALF:
            middle = np.sort(image.ravel())[SIDE * SIDE // 2]
            found = (image > middle) | (image == 1.0)
        else:
            found = image >= threshold
        expected = (found * source).sum() / (source.sum() + (found * (source == 0)).sum())
        assert judge(scores, windows, source, threshold, pool).ciou == pytest.approx(expected, abs=1e-12)
        if agree == 1:
            assert expected == pytest.approx(jaccard_score(source.ravel() > 0, found.ravel()))


def test_edges_of_boxes_are_cut_to_whole_pixels_within_the_frame() -> None:
    assert source_map([(0.2, 0.2, 0.4, 0.4)], 1).sum() == (89 - 44) ** 2  # 44.8 and 89.6 pixels
    assert source_map([(-0.5, 0.0, 0.5, 2.0)], 1).sum() == 112 * SIDE
    assert source_map([LEFT, QUARTERS[0]], 1).max() == 1.0  # boxes of one source are not added up


@pytest.mark.parametrize("boxes", [[], [(0.26875, 1.0, 0.753125, 1.0)], [(0.9, 0.1, 0.2, 0.5)]])
def test_a_source_of_no_pixel_is_not_found(boxes: list[Box]) -> None:
    """As M1P1xla8rg0_000000 of VGG-SS has it."""
    source = source_map(boxes, 1)
    assert judge(np.array([0.0, 1.0]), (LEFT, RIGHT), source, 0.5) == Found(0.0, False)
    assert judge(np.array([1.0, 1.0]), (LEFT, RIGHT), source, 0.5) == Found(0.0, False)  # nor anything else
    assert judge_centre(source) == Found(0.0, False)


def test_a_map_of_one_value_finds_nothing() -> None:
    for threshold in (UPPER_HALF, 0.1):
        assert judge(np.full(len(GRID), 0.7), GRID, source_map([WHOLE], 1), threshold) == Found(0.0, False)


def test_a_highest_place_of_more_than_half_is_found_whole() -> None:
    tiles = tiling(((0.0, 0.0, 0.25, 1.0), (0.25, 0.0, 1.0, 1.0)))
    found = found_part(score_map(np.array([0.0, 1.0]), tiles), tiles, UPPER_HALF)
    assert tiles.pixels[found].sum() == 0.75 * SIDE * SIDE


def test_no_more_than_half_is_found_of_a_map_of_many_values() -> None:
    rng = np.random.default_rng(1)
    tiles = tiling(GRID)
    shares = [
        tiles.pixels[found_part(score_map(rng.random(len(GRID)), tiles), tiles, UPPER_HALF)].sum() / SIDE**2
        for _ in range(50)
    ]
    assert max(shares) <= 0.5
    assert np.mean(shares) > 0.45


# the pointing game ----------------------------------------------------------------------------------------------------


def test_pointing_by_hand() -> None:
    tiles = tiling(QUARTERS)
    values = score_map(np.array([0.0, 0.2, 0.9, 0.4]), tiles)  # highest is the lower left: its middle is (55, 167)
    assert points_into(values, source_map([(0.0, 0.5, 0.5, 1.0)], 1), tiles)
    assert points_into(values, source_map([(55 / SIDE, 167 / SIDE, 56 / SIDE, 168 / SIDE)], 1), tiles)
    assert not points_into(values, source_map([(56 / SIDE, 0.5, 0.5, 1.0)], 1), tiles)


def test_of_equal_places_all_have_to_be_inside() -> None:
    tiles = tiling(QUARTERS)
    values = score_map(np.array([0.9, 0.2, 0.4, 0.9]), tiles)  # upper left and lower right, which do not touch
    assert points_into(values, source_map([QUARTERS[0], QUARTERS[3]], 1), tiles)
    assert not points_into(values, source_map([QUARTERS[0]], 1), tiles)
    values = score_map(np.array([0.9, 0.2, 0.9, 0.4]), tiles)  # the left half is one place: its middle is (55, 111)
    assert points_into(values, source_map([QUARTERS[0]], 1), tiles)
    assert not points_into(values, source_map([QUARTERS[2]], 1), tiles)


def test_the_best_window_points_to_its_middle() -> None:
    """Though other windows overlap it, and part it into rectangles."""
    scores = np.random.default_rng(0).random(len(GRID))
    best = GRID[int(scores.argmax())]
    tiles = tiling(GRID)
    across, down = (sum(int(np.rint(edge * SIDE)) for edge in best[at::2]) // 2 for at in (0, 1))
    exact = source_map([((across - 1) / SIDE, (down - 1) / SIDE, (across + 1) / SIDE, (down + 1) / SIDE)], 1)
    assert points_into(score_map(scores, tiles, "max"), exact, tiles)
    assert exact.sum() == 4


def test_the_centre_by_hand() -> None:
    side = 191 - 33  # 0.5 ± √½ / 2, in pixels
    assert judge_centre(source_map([WHOLE], 1)) == Found(side * side / SIDE**2, True)
    assert judge_centre(source_map([(0.4, 0.4, 0.6, 0.6)], 1)).pointing
    assert judge_centre(source_map([QUARTERS[0]], 1)).pointing  # the middle pixel above left is of it
    assert not judge_centre(source_map([QUARTERS[3]], 1)).pointing


# metrics and chance ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ciou = np.concatenate([rng.random(40), [0.0, 0.05, 0.35, 0.5, 1.0]])
    thresholds = [0.05 * step for step in range(21)]
    weights = rng.integers(0, 3, len(ciou)).astype(float)
    for of, own in ((np.ones(len(ciou)), ciou), (weights, ciou.repeat(weights.astype(int)))):
        assert area_under(ciou)(of) == pytest.approx(auc(thresholds, [np.mean(own >= at) for at in thresholds]))


def test_the_area_by_hand() -> None:
    """All at 0.5: the share is 1 up to 0.5, and falls to 0 at 0.55."""
    assert area_under(np.full(3, 0.5))(np.ones(3)) == pytest.approx(0.525)
    assert area_under(np.ones(2))(np.ones(2)) == pytest.approx(1.0)
    assert area_under(np.zeros(2))(np.ones(2)) == pytest.approx(0.025)


def test_metrics_come_out_of_their_rows_again() -> None:
    rng = np.random.default_rng(0)
    several = {
        prefix: [Found(float(ciou), bool(ciou > 0.6)) for ciou in rng.random(60)] for prefix in ("", "text_", "centre_")
    }
    rows = pd.DataFrame(
        {f"{prefix}{name}": [getattr(one, name) for one in found]
         for prefix, found in several.items() for name in Found._fields}
    )  # fmt: skip
    clusters = [f"c{row // 2}" for row in range(60)]
    for prefix, found in several.items():
        metrics = metrics_of(found, clusters, 0)
        for name, metric in metrics.items():
            made = outcome(f"{prefix}{name}", rows)
            value = np.mean(made) if isinstance(made, np.ndarray) else made(np.ones(60))
            assert value == pytest.approx(metric.value)
            assert metric.low <= metric.value <= metric.high
            assert metric.n == 60
    assert codes_of(clusters).max() == 29


def test_chance_is_what_random_scores_give() -> None:
    """Of halves that are found by turns: the whole source or nothing in three frames, half or nothing in one."""
    sources = [source_map([box], 1) for box in (LEFT, RIGHT, LEFT, QUARTERS[0])]
    whole, half = (area_under(np.array([ciou, 0.0]))(np.ones(2)) for ciou in (1.0, 0.5))
    for threshold in (UPPER_HALF, 0.5):
        rng = np.random.default_rng(0)
        found = [
            one
            for source in sources
            for one in judge_random((LEFT, RIGHT), source, threshold, "mean", len(sources), rng)
        ]
        assert len(found) == 5000
        assert share("ciou@0.5", found) == pytest.approx(0.5, abs=0.03)
        assert share("pointing", found) == pytest.approx(0.5, abs=0.03)
        assert share("auc", found) == pytest.approx((3 * whole + half) / 4, abs=0.03)
    assert len(judge_random((LEFT, RIGHT), sources[0], 0.5, "max", 6000, rng)) == 1


def test_a_tiling_knows_its_size() -> None:
    tiles = tiling(GRID)
    assert isinstance(tiles, Tiling)
    assert tiles.pixels.sum() == SIDE * SIDE
    image = np.random.default_rng(0).random((SIDE, SIDE))
    assert tiles.sums(image).sum() == pytest.approx(image.sum())
    everything = np.ones(tiles.pixels.shape, bool)
    assert consensus_iou(everything, np.ones((SIDE, SIDE)), tiles) == 1.0
