"""The command line: arguments, one call of the API, a table. What is slow to import is imported where it is used."""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ibench import cli_binding, cli_compare, cli_registry
from ibench.cli_common import (
    BUG,
    AsJson,
    BatchSize,
    DataRoot,
    Device,
    Dtype,
    Quiet,
    Workers,
    batch_size_from,
    fail,
    listed,
    named,
    working,
    written_out,
)
from ibench.errors import IbenchError

if TYPE_CHECKING:
    from ibench.engine.plan import Share
    from ibench.results import Record

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich takes longer to import than all else that --help needs
    pretty_exceptions_enable=False,
)
app.add_typer(cli_registry.tasks_app, name="tasks")
app.add_typer(cli_registry.encoders_app, name="encoders")
app.add_typer(cli_registry.data_app, name="data")
app.add_typer(cli_registry.store_app, name="store")
baseline_app = typer.Typer(help="What later runs are held to: accept a run as the baseline.", rich_markup_mode=None)
app.add_typer(baseline_app, name="baseline")
baseline_app.command("accept")(cli_compare.accept)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"ibench {version('ibench-eval')}")
        raise typer.Exit


@app.callback()
def about(
    _: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Zero-shot evaluation of joint-embedding encoders over seven modalities."""


@app.command()
def run(
    ckpt: Annotated[str, typer.Option(help="A file, a folder, ARCHITECTURE@file, file.py:make_encoder, or a hub id.")],
    task: Annotated[Optional[str], typer.Option(help="Names or YAML files, separated by commas.")] = None,  # noqa: UP045
    suite: Annotated[Optional[str], typer.Option(help="A suite of tasks/suites.yaml.")] = None,  # noqa: UP045
    data_root: DataRoot = None,
    out: Annotated[Path, typer.Option(help="Where records go.")] = Path("results"),
    store: Annotated[Optional[str], typer.Option(help="Folder or URL of embeddings (default: the cache).")] = None,  # noqa: UP045
    device: Device = "auto",
    dtype: Dtype = "fp32",
    compile: Annotated[bool, typer.Option("--compile", help="Compile the model's blocks with torch.")] = False,
    batch_size: BatchSize = "64",
    workers: Workers = None,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Only the first samples; marks the record.")] = None,  # noqa: UP045
    drawn: Annotated[bool, typer.Option("--drawn", help="Draw the samples of --limit, the same everywhere.")] = False,
    protocol: Annotated[Optional[str], typer.Option(help="A protocol of the task; default: its first.")] = None,  # noqa: UP045
    prompts: Annotated[Optional[str], typer.Option(help="Another prompt set: a name or a YAML file.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap and of few-shot draws.")] = 0,
    max_unreadable: Annotated[int, typer.Option(min=0, help="Samples that may be unreadable.")] = 0,
    bridge: Annotated[bool, typer.Option("--bridge", help="Emergent pairs also through what binds them.")] = False,
    sweep: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=2, max=1001, help="Compositions at so many weights, as a curve."),
    ] = None,
    shards: Annotated[Optional[str], typer.Option(help="Encode the i-th of n shares only: i/n, i from 0.")] = None,  # noqa: UP045
    engine: Annotated[str, typer.Option(help="local, or ray: the processes of a Ray cluster encode.")] = "local",
    actors: Annotated[Optional[int], typer.Option(min=1, help="Processes on Ray; default: GPUs or nodes.")] = None,  # noqa: UP045
    shard_limit: Annotated[Optional[float], typer.Option(min=1, help="Seconds for a shard on Ray [3600].")] = None,  # noqa: UP045
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be encoded, and what is kept.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a checkpoint on tasks; interrupted, the same command continues."""
    what = {
        "encoder": ckpt,
        "tasks": named(task, suite, "--task"),
        "data_root": data_root,
        "store": store,
        "device": device,
        "dtype": dtype,
        "compile": compile,
        **_part(suite, limit, drawn),
        "protocol": protocol,
        "prompts": prompts,
        "skip_unavailable": suite is not None,
        "bridge": bridge,
    }
    how = {"batch_size": batch_size_from(batch_size), "workers": workers}
    share = _torchrun_share()
    if share is not None and shards is not None:
        raise IbenchError("torchrun gives each process its share: run it without --shards")
    if engine == "ray" and (share is not None or shards is not None):
        raise IbenchError("--engine ray gives out the shards by itself: run it without torchrun and without --shards")
    if engine == "local" and (actors is not None or shard_limit is not None):
        raise IbenchError("--actors and --shard-limit are for --engine ray, which has no --shards")
    if share is not None:
        what["device"] = _torchrun_device(device)
    if plan:
        if shards is not None:
            raise IbenchError("--plan is of all shards: run it without --shards")
        _plan(what, engine, as_json, quiet)
    elif shards is not None:
        _encode(what, _share(shards), "the command without --shards", quiet, **how)
    elif share is not None and share.index > 0:  # the first process waits for the others' shards, and scores
        _encode(what, share, "the first process", quiet, **how)
    else:
        told = {"out": out, "seed": seed, "max_unreadable": max_unreadable, **({"share": share} if share else {})}
        told |= {"engine": engine, "actors": actors, "shard_limit": shard_limit, "sweep": sweep}
        _evaluate(as_json, quiet, **what, **how, **told)


@app.command()
def demo(
    out: Annotated[Optional[Path], typer.Option(help="Also write the records here.")] = None,  # noqa: UP045
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """The bundled digits-bind checkpoint on bundled data, offline: a real zero-shot table in seconds."""
    from ibench.resources import bundled
    from ibench.tasks import suite_tasks

    checkpoint = bundled("digits_bind") / "digits_bind_encoder.py"
    what = {"encoder": f"{checkpoint}:make_encoder", "tasks": list(suite_tasks("demo")), "bridge": True}
    records = _evaluate(as_json, quiet, out=out, **what)
    if not as_json:
        from ibench.emergence import emergence
        from ibench.report.emergence import emergence_lines
        from ibench.results import Kept

        print("Images: scikit-learn's handwritten digits. Speech: synthesised, in voices not heard in training.\n")
        print(*emergence_lines(emergence([Kept(record) for record in records])), sep="\n")


app.command()(cli_compare.compare)
app.command()(cli_compare.check)
app.command()(cli_binding.emergence)
app.command()(cli_binding.diagnose)
app.command()(cli_compare.prompts)


@app.command()
def leaderboard(
    results: Annotated[Path, typer.Argument(help="A folder of records.")],
    out: Annotated[Path, typer.Option(help="Where the pages go.")] = Path("leaderboards"),
) -> None:
    """A leaderboard from records: a page for the browser, and the same in markdown."""
    from ibench.baseline import runs
    from ibench.report.leaderboard import write

    print(*write([kept.record for kept in runs(results)], out), sep="\n")


@app.command()
def export(
    results: Annotated[list[Path], typer.Argument(help="Record files or folders of records.")],
    to: Annotated[str, typer.Option(help="model-index, mteb, wandb or mlflow.")],
    out: Annotated[Optional[Path], typer.Option(help="The README.md, or the folder, to write to.")] = None,  # noqa: UP045
) -> None:
    """Records in the form of a model card, of mteb, or of an experiment tracker."""
    from ibench.baseline import runs
    from ibench.exchange.outgoing import export

    done = export([kept for place in results for kept in runs(place)], to, out)
    _tell_left_out(done.left_out)
    print(done.text)


@app.command("import")
def import_results(
    files: Annotated[list[Path], typer.Argument(help="Result files of mteb, CLIP_benchmark or lm-eval (JSON).")],
    source: Annotated[str, typer.Option(help="Where the numbers are from.")],
    model: Annotated[Optional[str], typer.Option(help="The model, where the file does not name it.")] = None,  # noqa: UP045
    out: Annotated[Optional[Path], typer.Option(help="A folder of CSVs (default: results/published).")] = None,  # noqa: UP045
) -> None:
    """Results of other programs as published numbers, for tables to show beside what is measured here."""
    from ibench.exchange.incoming import import_results
    from ibench.resources import published_dir

    folder = out or published_dir()
    done = import_results(files, source, model, folder)
    _tell_left_out(done.left_out)
    for row in done.rows:
        print(f"{folder / row.task}.csv: {row.metric} {row.value:g} of {row.model} ({row.protocol})")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A record file, or a folder of records.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    data_root: DataRoot = None,
    task: Annotated[Optional[str], typer.Option(help="YAML files of tasks of your own, separated by commas.")] = None,  # noqa: UP045
    samples: Annotated[int, typer.Option(min=0, help="Samples to show from the worst, and from the best.")] = 12,
) -> None:
    """One page about a run: confusions, classes, and samples to look at where the data is there."""
    from ibench.api import report

    print(report(run, out, data_root=data_root, tasks=listed(task), samples=samples))


@app.command()
def doctor(data_root: DataRoot = None) -> None:
    """What this installation can do, and what is missing for which task; exit 0 or 2."""
    from ibench.doctor import examine
    from ibench.report.tables import doctor_table
    from ibench.resources import usual_data_root

    findings = examine(data_root or usual_data_root())
    print(doctor_table(findings))
    if problems := [f"{one.name}: {one.problem}" for one in findings if one.problem]:
        raise IbenchError("; ".join(problems))


@app.command()
def convert(
    old: Annotated[Path, typer.Argument(help="A torch checkpoint.")],
    new: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    unsafe_pickle: Annotated[
        bool, typer.Option("--unsafe-pickle", help="Run the code in the pickle: only for files you trust.")
    ] = False,
) -> None:
    """Rewrite a checkpoint as safetensors, which holds no code."""
    from ibench.encoders.weights import convert

    print(f"{new}: {convert(old, new, unsafe_pickle=unsafe_pickle)} tensors")


def main() -> None:
    """Run the command line; IbenchErrors become one line on stderr and exit code 2."""
    # Importing torch makes a million objects that live as long as the process: to look through them for garbage on the
    # way, and again at the end, costs two seconds.
    gc.set_threshold(50_000, 20, 20)
    atexit.register(gc.freeze)
    try:
        _run()
    except SystemExit as end:
        # a reader of our output (head, less) that has seen enough is no failure; typer makes it 1, a regression
        unread = isinstance(end.__context__, BrokenPipeError)
        written_out()
        sys.exit(0 if unread else end.code)


def _run() -> None:
    """Run the app, which ends with SystemExit."""
    try:
        app()
    except IbenchError as error:
        fail(f"error: {' '.join(str(error).split())}", 2)
    except Exception:
        import traceback

        traceback.print_exc()
        fail("this is a bug in ibench or in the encoder's own code, see above", BUG)


def _tell_left_out(reasons: Sequence[str]) -> None:
    for reason in reasons:
        print(f"ibench: left out: {reason}", file=sys.stderr)


def _part(suite: str | None, limit: int | None, drawn: bool) -> dict[str, Any]:
    """Which part of the samples: as asked for, else as the suite says."""
    from ibench.tasks import load_suite

    if drawn and limit is None:
        raise IbenchError("--drawn says how the samples of --limit are taken; say how many: --limit 100 --drawn")
    if suite is None or limit is not None:
        return {"limit": limit, "drawn": drawn}
    samples = load_suite(suite).samples
    return {"limit": samples, "drawn": samples is not None}


def _plan(what: Mapping[str, Any], engine: str, as_json: bool, quiet: bool) -> None:
    """Print the jobs of a run that is not made."""
    from dataclasses import asdict

    with working(quiet) as progress:
        from ibench.api import Request, plan
        from ibench.report.tables import plan_table

        jobs = plan(Request(**what), progress, engine)
    print(json.dumps([asdict(job) for job in jobs], indent=1) if as_json else plan_table(jobs))


def _encode(what: Mapping[str, Any], share: Share, scorer: str, quiet: bool, **how: Any) -> None:
    """Encode a share of a run, for another process to score."""
    with working(quiet) as progress:
        from ibench.api import Request, encode

        encoded = encode(Request(**what), share, progress=progress, **how)
        progress.note(f"share {share.index}/{share.of}: {encoded} samples encoded; {scorer} scores")


def _evaluate(as_json: bool, quiet: bool, **options: Any) -> list[Record]:
    """Run tasks, print the table or the records, and return them."""
    with working(quiet) as progress:
        from ibench.api import evaluate
        from ibench.report.curves import curve_lines
        from ibench.report.tables import run_table

        records = evaluate(progress=progress, **options)
    if as_json:
        print(json.dumps([record.model_dump(mode="json") for record in records], indent=1))
    else:
        print(run_table(records), *curve_lines(records), sep="\n")
    return records


def _share(shards: str, given: str = "--shards") -> Share:
    """``i/n`` as a share, from what it was ``given`` with."""
    from ibench.engine.plan import Share

    index, _, of = shards.partition("/")
    if not (index.isdecimal() and of.isdecimal() and int(index) < int(of)):
        raise IbenchError(f"{given} {shards}: i/n with i from 0 to n-1, such as 0/4")
    return Share(int(index), int(of))


def _torchrun_share() -> Share | None:
    """Which of torchrun's processes this is, if it is one of several."""
    rank, ranks = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    if "LOCAL_RANK" not in os.environ or ranks in ("", "1"):
        return None
    return _share(f"{rank}/{ranks}", "RANK/WORLD_SIZE")


def _torchrun_device(asked: str) -> str:
    """A device for each process, and on a CPU the threads that torch takes in one process alone.

    Sums in another number of threads would round otherwise. torchrun asks for one thread in each process, which torch
    reads when it is imported.
    """
    if os.environ.get("OMP_NUM_THREADS") == "1":
        del os.environ["OMP_NUM_THREADS"]
    import torch

    return f"cuda:{os.environ['LOCAL_RANK']}" if asked == "auto" and torch.cuda.is_available() else asked
