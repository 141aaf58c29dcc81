"""Commands that hold runs against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

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
    refuse_unwritable,
    show,
    working,
    write_text,
)
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


def check(
    baseline: Annotated[Path, typer.Option(help="An accepted baseline (main.json), or a folder of records.")],
    run: Annotated[Optional[Path], typer.Option(help="The run to judge: a folder of records, or a record.")] = None,  # noqa: UP045
    ckpt: Annotated[Optional[str], typer.Option(help="Run this checkpoint first, as the baseline was run.")] = None,  # noqa: UP045
    policy: Annotated[Optional[Path], typer.Option(help="YAML: min_effect, margin, floors, limits of tasks.")] = None,  # noqa: UP045
    exact: Annotated[bool, typer.Option("--exact", help="The same checkpoint has to give the same outcomes.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 where the data is too little to tell.")] = False,
    junit: Annotated[Optional[Path], typer.Option(help="Write JUnit XML here.")] = None,  # noqa: UP045
    summary: Annotated[Optional[Path], typer.Option(help="Append a markdown summary here.")] = None,  # noqa: UP045
    task: Annotated[Optional[str], typer.Option(help="With --ckpt: YAML files of tasks of your own.")] = None,  # noqa: UP045
    data_root: DataRoot = None,
    out: Annotated[Path, typer.Option(help="With --ckpt: where records go.")] = Path("results"),
    store: StoreFolder = None,
    device: Device = "auto",
    batch_size: BatchSize = "64",
    workers: Workers = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Whether a checkpoint has become worse than the baseline; exit 0, 1 if it has, 3 if --strict and unclear."""
    from ibench.report.gate import gate_json, gate_junit, gate_summary, gate_table
    from ibench.rerun import check

    if task is not None and ckpt is None:
        raise IbenchError("--task is for --ckpt: files of tasks to run; of a run every task of the baseline is judged")
    refuse_unwritable(junit)
    refuse_unwritable(summary)
    asked: dict[str, Any] = {"run": run, "policy": policy, "exact": exact}
    if ckpt is None:
        gate = check(baseline, **asked)
    else:
        asked |= {
            "encoder": ckpt,
            "tasks": listed(task),
            "data_root": data_root,
            "out": out,
            "store": store,
            "device": device,
        }
        asked |= {"batch_size": batch_size_from(batch_size), "workers": workers}
        with working(quiet) as progress:
            gate = check(baseline, **asked, progress=progress)
    show(gate_json(gate, strict) if as_json else gate_table(gate))
    if junit is not None:
        write_text(junit, gate_junit(gate), "w")
    if summary is not None:
        write_text(summary, gate_summary(gate), "a")
    raise typer.Exit(gate.exit_code(strict))


def prompts(
    ckpt: Annotated[str, typer.Option(help="What `ibench run --ckpt` takes.")],
    task: Annotated[str, typer.Option(help="A classification or multilabel task: a name or a YAML file.")],
    prompts_from: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="More prompt sets: a name, or a YAML file of one or several; may be repeated."),
    ] = None,
    protocol: Annotated[Optional[str], typer.Option(help="What all but the prompts is by; default: the first.")] = None,  # noqa: UP045
    data_root: DataRoot = None,
    out: Annotated[Path, typer.Option(help="Where records go.")] = Path("results"),
    store: StoreFolder = None,
    device: Device = "auto",
    dtype: Dtype = "fp32",
    batch_size: BatchSize = "64",
    workers: Workers = None,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Only the first samples; marks the records.")] = None,  # noqa: UP045
    max_unreadable: Annotated[int, typer.Option(min=0, help="Samples that may be unreadable.")] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score a task with every prompt set of its protocols, and others: the range, the best, the protocol's own."""
    options: dict[str, Any] = {"protocol": protocol, "data_root": data_root, "out": out, "store": store}
    options |= {"device": device, "dtype": dtype, "batch_size": batch_size_from(batch_size), "workers": workers}
    options |= {"limit": limit, "max_unreadable": max_unreadable}
    with working(quiet) as progress:
        from ibench.api import prompt_sensitivity
        from ibench.report.prompts import prompt_json, prompt_table

        found = prompt_sensitivity(ckpt, task, prompts_from=prompts_from or [], progress=progress, **options)
    print(prompt_json(found) if as_json else prompt_table(found))


def accept(
    run: Annotated[Path, typer.Argument(help="The run to accept: a folder of records of one checkpoint.")],
    out: Annotated[Path, typer.Option(help="The baseline's file; rows of samples go in a folder beside it.")],
    note: Annotated[str, typer.Option(help="Why, for whoever reviews it.")] = "",
) -> None:
    """Write a run as the baseline that later ones are held to, and say what moved since the last."""
    from ibench.baseline import accept, runs, the_one
    from ibench.report.gate import accepted_table

    before = runs(out) if out.is_file() else []
    baseline = accept(the_one(run), out, note)
    print(accepted_table([one.record for one in before], baseline.records, str(out)))
