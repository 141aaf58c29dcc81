"""Where in a frame a query's source is: a map of window scores, held to the boxes that people drew.

The map and its judgement follow the published evaluation of VGG-SS and Flickr-SoundNet: maps of 224 × 224 pixels, the
consensus of annotators and cIoU of Senocak et al. (Learning to Localize Sound Source in Visual Scenes, CVPR 2018), as
`utils.py` and `test.py` of github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way (arXiv 2104.02691) compute them. The
pointing game is that of Zhang et al. (Top-down Neural Attention by Excitation Backprop, ECCV 2016), without its
tolerance of 15 pixels: a point is in the source or it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ibench.scoring.intervals import Metric, bootstrap, proportion

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the frame's sides."""

Floats = NDArray[np.float64]

TIES = "of several places with the highest score all have to be in the source; a map of one value finds nothing"
SIDE = 224
UPPER_HALF = "upper-half"
_THRESHOLDS = np.array([0.05 * step for step in range(21)])  # as the published code writes them, in floats
_CHANCE_MAPS = 5000


@dataclass(frozen=True)
class Tiling:
    """The rectangles of a map within which every pixel is covered by the same windows.

    ``row_edges`` [R + 1] and ``column_edges`` [C + 1] are in pixels, ``rows`` [R, windows] and ``columns`` [C, windows]
    are 1 where a window reaches over a row or column of rectangles, else 0; ``spans`` are the rows and columns of each
    window. A map is one value a rectangle, [R, C]: the pixels of one are equal to the bit.
    """

    row_edges: NDArray[np.intp]
    column_edges: NDArray[np.intp]
    rows: Floats
    columns: Floats
    spans: tuple[tuple[slice, slice], ...]

    @property
    def pixels(self) -> Floats:
        """How many pixels each rectangle has, [R, C]."""
        return np.outer(np.diff(self.row_edges), np.diff(self.column_edges)).astype(np.float64)

    def sums(self, image: Floats) -> Floats:
        """The sum of an image [SIDE, SIDE] over each rectangle, [R, C]."""
        by_row = np.add.reduceat(image, self.row_edges[:-1], axis=0)
        return np.asarray(np.add.reduceat(by_row, self.column_edges[:-1], axis=1))

    def spread(self, values: Floats) -> Floats:
        """A map [R, C] as an image [SIDE, SIDE]."""
        return values.repeat(np.diff(self.row_edges), axis=0).repeat(np.diff(self.column_edges), axis=1)


class Found(NamedTuple):
    """How one frame was searched: the consensus IoU, and whether the map's highest point is in the source."""

    ciou: float
    pointing: bool


@lru_cache(maxsize=8)  # all frames share one grid; proposals are of one frame, which is asked for a few times in a row
def tiling(windows: Sequence[Box]) -> Tiling:
    """The rectangles that windows make of a frame; their edges go to the nearest of SIDE pixels."""
    left, top, right, bottom = np.rint(np.array(windows) * SIDE).astype(np.intp).T
    row_edges = np.unique([0, SIDE, *top, *bottom])
    column_edges = np.unique([0, SIDE, *left, *right])
    down, across = _spans(row_edges, top, bottom), _spans(column_edges, left, right)
    return Tiling(
        row_edges,
        column_edges,
        _reach(len(row_edges) - 1, down),
        _reach(len(column_edges) - 1, across),
        tuple(zip(down, across, strict=True)),
    )


def _spans(edges: NDArray[np.intp], low: NDArray[np.intp], high: NDArray[np.intp]) -> list[slice]:
    first, last = np.searchsorted(edges, low).tolist(), np.searchsorted(edges, high).tolist()
    return [slice(start, end) for start, end in zip(first, last, strict=True)]


def _reach(number: int, spans: Sequence[slice]) -> Floats:
    reach = np.zeros((number, len(spans)))
    for window, span in enumerate(spans):
        reach[span, window] = 1
    return reach


def score_map(scores: NDArray[np.floating], tiles: Tiling, pool: str = "mean") -> Floats:
    """The ``mean`` or ``max`` score of the windows that cover each rectangle, stretched to 0..1 over the frame;
    [windows] → [R, C].

    Where no window is, it is 0. A frame covered all over by one score says nothing, and is 0 everywhere.
    """
    covered = tiles.rows @ tiles.columns.T
    known = covered > 0
    pooled = (_highest(scores, tiles) if pool == "max" else _sums(scores, tiles) / np.maximum(covered, 1))[known]
    values = np.zeros(covered.shape)
    if pooled.size:  # else every proposal is smaller than a pixel
        low, high = pooled.min(), pooled.max()
        values[known] = (pooled - low) / (high - low) if high > low else float(not known.all())
    return values


def _sums(scores: NDArray[np.floating], tiles: Tiling) -> Floats:
    """The sum over the windows of each rectangle; of float32 it is not rounded, so that equal sums are equal."""
    exact = scores.astype(np.float32).astype(np.float64)
    return np.asarray((tiles.rows * exact) @ tiles.columns.T)


def _highest(scores: NDArray[np.floating], tiles: Tiling) -> Floats:
    """Painted window over window, the highest last."""
    values = np.zeros((tiles.rows.shape[0], tiles.columns.shape[0]))
    for window in np.argsort(scores, kind="stable").tolist():
        values[tiles.spans[window]] = scores[window]
    return values


def source_map(boxes: Sequence[Box], agree: int) -> Floats:
    """How surely each pixel is of the source, [SIDE, SIDE]: the share of ``agree`` boxes that hold it, at most 1.

    Edges are cut to whole pixels within the frame, as the published code cuts them; a box of no pixel, of which VGG-SS
    has some, holds none.
    """
    votes = np.zeros((SIDE, SIDE))
    for left, top, right, bottom in (np.clip(boxes, 0, 1) * SIDE).astype(int) if len(boxes) else ():
        votes[top:bottom, left:right] += 1
    return np.minimum(votes / agree, 1.0)


def found_part(values: Floats, tiles: Tiling, threshold: str | float) -> NDArray[np.bool_]:
    """Which rectangles of a map are found, [R, C].

    With UPPER_HALF those above the median of the pixels (the value that half of them, rounded up, do not exceed), and
    those at the maximum, which may fill more than half; else those of at least ``threshold``. A map of one value finds
    nothing.
    """
    if not isinstance(threshold, str):
        return np.asarray(values >= threshold)
    order = np.argsort(values, axis=None, kind="stable")
    upto = np.cumsum(tiles.pixels.ravel()[order])
    median = values.ravel()[order[np.searchsorted(upto, SIDE * SIDE // 2, side="right")]]
    return np.asarray((values > median) | (values == 1.0))


def consensus_iou(found: NDArray[np.bool_], source: Floats, tiles: Tiling) -> float:
    """What is found of the source, over the source and what is found beside it; 0 where neither is anything.

    Σ source over the found pixels, divided by Σ source over all + the found pixels where the source is 0. For a source
    of 0 and 1 it is the IoU.
    """
    inside = float(tiles.sums(source)[found].sum())
    union = float(source.sum() + tiles.sums((source == 0).astype(np.float64))[found].sum())
    return inside / union if union else 0.0


def points_into(values: Floats, source: Floats, tiles: Tiling) -> bool:
    """Whether the map's highest point is in the source, where as many boxes as have to agree hold it.

    The point is the middle of the place that has the highest value, as a window has it whose score is the map's; of
    several places that do not touch, all have to be inside. A map of one value points nowhere.
    """
    if not values.any():
        return False
    places, _ = ndimage.label(values == values.max())
    for rows, columns in ndimage.find_objects(places):
        row, column = _middle(tiles.row_edges, rows), _middle(tiles.column_edges, columns)
        if source[row, column] < 1.0:
            return False
    return True


def _middle(edges: NDArray[np.intp], span: slice) -> int:
    """The middle pixel of some rows or columns of rectangles."""
    return int(edges[span.start] + edges[span.stop] - 1) // 2


def judge(
    scores: NDArray[np.floating],
    windows: Sequence[Box],
    source: Floats,
    threshold: str | float,
    pool: str = "mean",
) -> Found:
    """One query's scores [windows] of a frame, held to its source [SIDE, SIDE]."""
    tiles = tiling(tuple(windows))
    values = score_map(scores, tiles, pool)
    return Found(consensus_iou(found_part(values, tiles, threshold), source, tiles), points_into(values, source, tiles))


def judge_random(
    windows: Sequence[Box],
    source: Floats,
    threshold: str | float,
    pool: str,
    frames: int,
    rng: np.random.Generator,
) -> list[Found]:
    """What is found by chance, with an independent random score for each window: as many times as it takes for 5,000
    maps of so many ``frames``, at least once."""
    times = -(-_CHANCE_MAPS // frames)
    return [judge(rng.random(len(windows)), windows, source, threshold, pool) for _ in range(times)]


def judge_centre(source: Floats) -> Found:
    """The box in the middle that is half of the frame, as much as the upper half of a map, held to a source."""
    half = 0.5**0.5 / 2
    box = (0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half)
    return judge(np.ones(1), (box,), source, 0.5)


def metrics_of(found: Sequence[Found], clusters: Sequence[str], seed: int) -> dict[str, Metric]:
    """The share of frames with a cIoU of at least 0.5, the area under that share over the cIoU, and the pointing game's
    accuracy."""
    ciou = np.array([one.ciou for one in found])
    return {
        "ciou@0.5": proportion(ciou >= 0.5, clusters, seed),
        "auc": bootstrap(area_under(ciou), clusters, seed),
        "pointing": proportion(np.array([one.pointing for one in found]), clusters, seed),
    }


def area_under(ciou: Floats) -> Callable[[Floats], float]:
    """The area under the share of samples whose cIoU reaches a threshold, over thresholds from 0 to 1 in steps of 0.05
    by the trapezoidal rule, as a function of the samples' weights.

    It is a mean over samples, as the area under a sum is the sum of the areas.
    """
    areas = np.trapezoid((ciou[:, None] >= _THRESHOLDS).astype(np.float64), _THRESHOLDS, axis=1)
    return lambda weights: float(areas @ weights / weights.sum())


def share(metric: str, found: Sequence[Found]) -> float:
    """One of the three metrics, without an interval."""
    ciou = np.array([one.ciou for one in found])
    if metric == "auc":
        return area_under(ciou)(np.ones(len(ciou)))
    return float(np.mean(ciou >= 0.5 if metric == "ciou@0.5" else [one.pointing for one in found]))
