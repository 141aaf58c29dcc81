"""Commands that look at how an encoder binds modalities: emergence, and diagnostics of its space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ibench.cli_common import (
    AsJson,
    BatchSize,
    DataRoot,
    Device,
    Dtype,
    Quiet,
    StoreFolder,
    Workers,
    batch_size_from,
    listed,
    working,
)


def emergence(
    run: Annotated[list[Path], typer.Option(help="Records of one checkpoint: a folder, or a file; may be repeated.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time on Python 3.10
        typer.Option(help="Also write a page (.html), a picture (.svg) or a table (.md)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Pairs never trained together: scores, the path through what binds them, the share of the trained gain."""
    from ibench.baseline import runs
    from ibench.emergence import emergence
    from ibench.report.emergence import emergence_json, emergence_text, write

    report = emergence([kept for place in run for kept in runs(place)])
    if out is not None:
        write(report, out)
    print(emergence_json(report) if as_json else emergence_text(report, "table"))


def diagnose(
    ckpt: Annotated[str, typer.Option(help="What --ckpt of `ibench run` takes.")],
    task: Annotated[str, typer.Option(help="Names or YAML files of tasks that pair two modalities, by commas.")],
    temperature: Annotated[float, typer.Option(help="Of InfoNCE.")] = 0.07,
    data_root: DataRoot = None,
    store: StoreFolder = None,
    device: Device = "auto",
    dtype: Dtype = "fp32",
    batch_size: BatchSize = "64",
    workers: Workers = None,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Only the first samples.")] = None,  # noqa: UP045
    protocol: Annotated[Optional[str], typer.Option(help="A protocol of the task; default: its first.")] = None,  # noqa: UP045
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """How two modalities lie in the space: InfoNCE, alignment, uniformity, gap, hubness, shared neighbours."""
    with working(quiet) as progress:
        from ibench.api import Request, diagnose
        from ibench.report.diagnosis import diagnosis_json, diagnosis_table

        request = Request(
            ckpt,
            listed(task),
            data_root=data_root,
            store=store,
            device=device,
            dtype=dtype,
            limit=limit,
            protocol=protocol,
        )
        size = batch_size_from(batch_size)
        found = diagnose(request, temperature, batch_size=size, workers=workers, progress=progress)
    print(diagnosis_json(found) if as_json else diagnosis_table(found))
