"""The tasks, suites and prompt sets there are: for a terminal, and as the documentation's list of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from tabulate import tabulate

from ibench.prompts import PromptSet
from ibench.tasks import Suite, TaskSpec

_PAGE = """# Task list

The bundled tasks, by subject, as `ibench tasks --markdown` prints them. What the keys mean is said under
[Tasks](tasks.md); `ibench tasks show NAME` prints a task's file with the sources of its choices, and
`ibench data check NAME` where its data is to be had. *n* is how many samples (in retrieval: queries) the publisher's
copy has; the first protocol is the default.
"""


def task_table(specs: Sequence[TaskSpec], suites: Mapping[str, Suite], width: int) -> str:
    """The tasks by subject and the suites, in lines of ``width`` characters; longer titles are cut."""
    rows: list[list[str]] = []
    for _, group in groupby(specs, key=_subject):
        rows += [[""] * 4] if rows else []
        rows += [[spec.name, spec.pair, spec.headline, _number(spec.dataset.count)] for spec in group]
    headers = ["task", "pair", "metric", "n"]
    taken = sum(max(len(row[column]) for row in [headers, *rows]) + 2 for column in range(4))
    titles = {spec.name: _cut(spec.title, max(width - taken, 16)) for spec in specs}
    lines = tabulate(
        [[*row, titles.get(row[0], "")] for row in rows],
        [*headers, "title"],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "left", "left", "right", "left"),
    )
    room = max(width - max(map(len, suites)) - 2, 20)
    named = [[name, ", ".join(suite.tasks)] for name, suite in suites.items()]
    return f"{lines}\n\n{tabulate(named, ['suite', 'tasks'], maxcolwidths=[None, room])}"


def task_page(specs: Sequence[TaskSpec], prompts: Sequence[PromptSet]) -> str:
    """The page of the documentation that lists what is bundled, in markdown."""
    parts = [_PAGE]
    for subject, group in groupby(specs, key=_subject):
        rows = [
            [
                f"`{spec.name}`: {spec.title}",
                spec.pair,
                _classes(spec),
                _number(spec.dataset.count),
                spec.headline,
                ", ".join(spec.protocols),
                spec.dataset.licence,
                _layout(spec),
            ]
            for spec in group
        ]
        headers = ["task", "pair", "classes", "n", "metric", "protocols", "licence of the data", "reader, folder"]
        parts.append(f"## {'IMU' if subject == 'imu' else subject.capitalize()}\n\n{_markdown(rows, headers)}\n")
    sets = [[f"`{one.name}`", _templates(one), one.source] for one in prompts]
    parts.append(f"## Prompt sets\n\n{_markdown(sets, ['name', 'templates', 'source'])}")
    return "\n".join(parts)


def _subject(spec: TaskSpec) -> str:
    return spec.folder.name


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _classes(spec: TaskSpec) -> str:
    return _number(len(spec.labels) if spec.labels else spec.dataset.classes)


def _layout(spec: TaskSpec) -> str:
    """The reader and the folder under the data root; bundled data has none."""
    where = "" if spec.dataset.path == "." else f", `{spec.dataset.path}`"
    return f"{spec.dataset.reader}{where}{'; or the hub' if spec.dataset.hub else ''}"


def _templates(one: PromptSet) -> str:
    """The template where there is one, else how many, or whose list they are."""
    replaced = f", *{one.replace[0]}* → *{one.replace[1]}*" if one.replace else ""
    if one.from_open_clip:
        return f"open_clip's `{one.from_open_clip}`{replaced}"
    return (f"`{one.templates[0]}`" if len(one.templates) == 1 else str(len(one.templates))) + replaced


def _markdown(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    lines = [headers, ["---"] * len(headers), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cut(text: str, width: int) -> str:
    """At most ``width`` characters, ended with … where words are left out."""
    if len(text) <= width:
        return text
    whole, _, rest = text[:width].rpartition(" ")
    return f"{(whole or rest)[: width - 1].rstrip(' ,;:(')}…"
