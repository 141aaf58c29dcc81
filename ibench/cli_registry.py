"""The commands about what there is: tasks, data sets, families of encoders, kept embeddings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ibench.cli_common import AsJson, DataRoot, Device, Dtype, StoreFolder, named
from ibench.errors import IbenchError

if TYPE_CHECKING:
    from ibench.engine.store import EmbeddingStore

tasks_app = typer.Typer(help="The task registry: list, show, validate.", rich_markup_mode=None)
encoders_app = typer.Typer(help="The families of encoders: list them, check an encoder.", rich_markup_mode=None)
data_app = typer.Typer(help="Data sets on disk: check a copy, write a miniature of noise.", rich_markup_mode=None)
store_app = typer.Typer(help="The embeddings that are kept: list, measure, tidy.", rich_markup_mode=None)


@tasks_app.callback(invoke_without_command=True)
def list_tasks(
    context: typer.Context,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The documentation's list of tasks.")] = False,
) -> None:
    """List the tasks and suites."""
    if context.invoked_subcommand:
        return
    from ibench.prompts import load_prompts, prompt_names
    from ibench.report.registry import task_page, task_table
    from ibench.tasks import load_suites, load_task, task_files

    specs = [load_task(name) for name in task_files()]
    if as_json:
        print(json.dumps([spec.model_dump(mode="json", exclude={"labels"}) for spec in specs], indent=1))
    elif markdown:
        print(task_page(specs, [load_prompts(name) for name in prompt_names()]))
    else:
        print(task_table(specs, load_suites(), shutil.get_terminal_size((100, 24)).columns))


@tasks_app.command("show")
def show_task(name: Annotated[str, typer.Argument(help="A task's name or YAML file.")]) -> None:
    """A task as its file has it."""
    from ibench.tasks import load_task, task_path

    load_task(name)
    print(task_path(name).read_text(encoding="utf-8").rstrip())


@tasks_app.command("validate")
def validate_task(file: Annotated[Path, typer.Argument(help="A task's YAML file.")]) -> None:
    """Check a task file: keys, types, reader, prompts; exit 0 or 2."""
    from ibench.datasets import refuse_unknown_reader
    from ibench.prompts import load_prompts
    from ibench.tasks import load_task

    spec = load_task(file)
    refuse_unknown_reader(spec)
    for protocol in spec.protocols.values():
        if protocol.prompts:
            load_prompts(protocol.prompts, spec.folder)
    print(f"{file}: {spec.name} version {spec.version} is valid")


@data_app.command("check")
def check_data(
    task: Annotated[Optional[str], typer.Argument(help="Names or YAML files, separated by commas.")] = None,  # noqa: UP045
    suite: Annotated[Optional[str], typer.Option(help="Every task of a suite.")] = None,  # noqa: UP045
    data_root: DataRoot = None,
    workers: Annotated[Optional[int], typer.Option(min=0, help="Decode processes; default: by cores.")] = None,  # noqa: UP045
    no_decode: Annotated[bool, typer.Option("--no-decode", help="Only look whether the files are there.")] = False,
) -> None:
    """Whether a local copy is whole: found, missing, unreadable, and where to get it; exit 0 or 2."""
    from ibench.report.progress import progress_for_stderr

    problems = []
    for number, name in enumerate(named(task, suite, "a task")):
        with progress_for_stderr() as progress:
            from ibench.api import check_data
            from ibench.report.tables import data_table

            report = check_data(name, data_root=data_root, workers=workers, decode=not no_decode, progress=progress)
        print(("\n" if number else "") + data_table(report))
        problems += [report.problem] if report.problem else []
    if problems:
        raise IbenchError("; ".join(problems))


@data_app.command("fake")
def fake_data(
    out: Annotated[Path, typer.Option(help="The data root to write under.")],
    task: Annotated[Optional[str], typer.Argument(help="Names or YAML files, separated by commas.")] = None,  # noqa: UP045
    suite: Annotated[Optional[str], typer.Option(help="Every task of a suite.")] = None,  # noqa: UP045
) -> None:
    """Write a miniature of a data set's published layout, of seeded noise, to try a task without its data."""
    from ibench.datasets.fakes import write_fake
    from ibench.tasks import load_task

    for name in named(task, suite, "a task"):
        print(write_fake(load_task(name), out))


@encoders_app.callback(invoke_without_command=True)
def list_encoders(context: typer.Context) -> None:
    """The families of encoders, and how --ckpt finds them."""
    if context.invoked_subcommand:
        return
    from tabulate import tabulate

    from ibench.encoders.checkpoint import families
    from ibench.encoders.factory import installed

    rows = [[family.name, family.modalities, family.recognised_by, family.example] for family in families()]
    print(tabulate(rows, ["family", "modalities", "recognised by", "--ckpt"], tablefmt="simple"))
    for name, point in sorted(installed().items()):
        print(f"installed: {name} ({point.value})")


@encoders_app.command("check")
def check_encoder(
    ckpt: Annotated[str, typer.Argument(help="What --ckpt takes.")],
    device: Device = "auto",
    dtype: Dtype = "fp32",
    compile: Annotated[bool, typer.Option("--compile", help="Compile the model's blocks with torch.")] = False,
) -> None:
    """Whether an encoder keeps its contract, on made-up samples; exit 0 or 2."""
    from ibench.api import load_encoder
    from ibench.encoders.contract import check
    from ibench.report.tables import contract_table

    outcomes = check(load_encoder(ckpt, device, dtype, compile=compile), dtype)
    print(contract_table(outcomes))
    broken = [f"{one.modality}: {fault}" for one in outcomes for fault in one.faults]
    if broken:
        raise IbenchError(f"{ckpt} breaks the contract of an encoder; {'; '.join(broken)}")


@store_app.command("ls")
def list_store(store: StoreFolder = None) -> None:
    """What the store holds, the job used last first."""
    from ibench.report.tables import store_table

    print(store_table(_opened_store(store).entries()))


@store_app.command("du")
def store_usage(store: StoreFolder = None) -> None:
    """How much the embeddings of each encoder take."""
    from ibench.report.tables import usage_table

    print(usage_table(_opened_store(store).entries()))


@store_app.command("gc")
def collect_store(
    store: StoreFolder = None,
    older_than: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0, help="Also what was not used for so many days."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove what killed runs left behind, and embeddings that nobody asked for in a while."""
    import time

    opened = _opened_store(store)
    for name in opened.collect(time.time() - older_than * 86400 if older_than is not None else 0.0):
        print(f"{opened.place}/{name}")
        if not dry_run:
            opened.remove(name)


def _opened_store(place: str | None) -> EmbeddingStore:
    from ibench.engine.places import Folder
    from ibench.engine.store import EmbeddingStore
    from ibench.resources import store_dir

    store = EmbeddingStore(place if place is not None else store_dir())
    if place is not None and isinstance(store.place, Folder) and not store.place.root.is_dir():
        raise IbenchError(f"store {place}: there is none; `ibench run --store {place}` would make it")
    return store
