"""Commands that hold runs against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ibench.errors import IbenchError

_BEHIND = ("class",)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of records, records, baselines; the first is reference.")],
    format: Annotated[str, typer.Option(help="table, markdown, latex, html, csv or json.")] = "table",
    suite: Annotated[Optional[str], typer.Option(help="Only a suite's tasks, with their mean.")] = None,  # noqa: UP045
    by: Annotated[Optional[str], typer.Option(help="class: which classes moved.")] = None,  # noqa: UP045
    samples: Annotated[bool, typer.Option("--samples", help="Which samples flipped, both ways.")] = False,
) -> None:
    """Runs side by side: scores, paired differences with intervals and p, shared places."""
    from ibench.baseline import runs as kept_in
    from ibench.comparison import comparison, of_suite
    from ibench.report.compare import comparison_table
    from ibench.report.moved import class_table, sample_table

    if by not in (None, *_BEHIND):
        raise IbenchError(f"--by {by}: known is {', '.join(_BEHIND)}")
    if by and samples:
        raise IbenchError("--by and --samples are two tables; ask for one at a time")
    kept = [one for run in runs for one in kept_in(run)]
    table = comparison(kept if suite is None else of_suite(kept, suite))
    if by:
        print(class_table(table, format))
    elif samples:
        print(sample_table(table, format))
    else:
        print(comparison_table(table, format, suite))
