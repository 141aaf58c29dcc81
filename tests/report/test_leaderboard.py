"""The committed page is what the committed records give."""

from __future__ import annotations

from pathlib import Path

from ibench.report.leaderboard import page_of
from ibench.results import load_all

ROOT = Path(__file__).parents[2]


def test_the_committed_leaderboard_is_up_to_date() -> None:
    """Stale? `make leaderboard`."""
    assert (ROOT / "leaderboards" / "README.md").read_text() == page_of(load_all(ROOT / "results"))
