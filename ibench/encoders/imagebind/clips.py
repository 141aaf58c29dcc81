"""Where the clips of a long recording begin."""

from __future__ import annotations

import math
from fractions import Fraction

CLIP_SECONDS = 2
"""ImageBind sees sound and video in clips of two seconds (arXiv 2305.05665, Appendix B.1)."""


def clip_starts(seconds: float, clips: int) -> list[Fraction]:
    """Start times of ``clips`` clips spread evenly from 0 to ``seconds`` - 2; all 0 for a shorter recording.

    Exact fractions of the floating-point duration, because the released loader (``data.py``, through pytorchvideo's
    ``ConstantClipsPerVideoSampler``) turns such fractions into sample and frame numbers: a rounding would move a
    clip by a sample.
    """
    latest = Fraction(max(seconds - CLIP_SECONDS, 0))
    return [latest * index / max(clips - 1, 1) for index in range(clips)]


def clips_to_cover(seconds: float) -> int:
    """How many 2-s clips cover a recording: ceil(seconds / 2), at least one (arXiv 2305.05665, Appendix B.1)."""
    return max(math.ceil(seconds / CLIP_SECONDS), 1)
