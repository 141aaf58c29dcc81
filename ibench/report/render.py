"""Tables in the forms that documents take (terminal, markdown, LaTeX, HTML), all escaped, and data as csv or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from ibench.errors import IbenchError, did_you_mean
from ibench.report import escape

_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem}"
    "table{border-collapse:collapse}th,td{padding:.2rem .8rem;text-align:left;white-space:nowrap}"
    "thead th{border-bottom:1px solid}.right{text-align:right;font-variant-numeric:tabular-nums}"
    "div{overflow-x:auto}"
)


@dataclass(frozen=True)
class Table:
    """A title, column headers and rows of text; the first ``words`` columns are words, the others numbers."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


def refuse_unknown(form: str) -> None:
    """Raise IbenchError for what is none of FORMATS."""
    if form not in FORMATS:
        raise IbenchError(f"no format '{form}'; {did_you_mean(form, FORMATS)}")


def document(tables: Sequence[Table], notes: Sequence[str], form: str) -> str:
    """Tables and the lines below them as one text; ``form`` is one of FORMATS for people."""
    shown = [table for table in tables if table.rows]
    return _RENDER[form](shown, notes)


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Rows of any columns, after those that are there in any case; what a row has not is empty."""
    text = io.StringIO()
    wanted = list(dict.fromkeys([*columns, *(column for row in rows for column in row)]))
    writer = csv.DictWriter(text, wanted, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def as_json(told: Any) -> str:
    return json.dumps(finite(told), indent=1, allow_nan=False)


def finite(value: Any) -> Any:
    """JSON knows no infinity: what nothing can be said of is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list | tuple) else value


def _terminal(tables: Sequence[Table], notes: Sequence[str]) -> str:
    parts = [(f"{escape.plain(table.title)}\n" if table.title else "") + _grid(table, "simple") for table in tables]
    return "\n\n".join([*parts, "\n".join(map(escape.plain, notes))]).rstrip("\n")


def _markdown(tables: Sequence[Table], notes: Sequence[str]) -> str:
    parts = [
        (f"**{escape.markdown(table.title)}**\n\n" if table.title else "") + _grid(table, "github") for table in tables
    ]
    return "\n\n".join([*parts, "\n".join(f"- {escape.markdown(note)}" for note in notes)]).rstrip("\n")


def _latex(tables: Sequence[Table], notes: Sequence[str]) -> str:
    parts = []
    for table in tables:
        columns = "l" * table.words + "r" * (len(table.headers) - table.words)
        lines = [" & ".join(map(escape.latex, row)) + r" \\" for row in table.rows]
        title = [rf"\textbf{{{escape.latex(table.title)}}}\par"] if table.title else []
        head = " & ".join(map(escape.latex, table.headers)) + r" \\"
        frame = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule"]
        parts.append("\n".join([*title, *frame, *lines, r"\bottomrule", r"\end{tabular}"]))
    return "\n\n".join([*parts, "\n".join(rf"{escape.latex(note)}\par" for note in notes)]).rstrip("\n")


def _html(tables: Sequence[Table], notes: Sequence[str]) -> str:
    parts = []
    for table in tables:
        title = f"<h2>{escape.html(table.title)}</h2>\n" if table.title else ""
        body = "\n".join(f"<tr>{_html_cells(table, 'td', row)}</tr>" for row in table.rows)
        head = f"<thead><tr>{_html_cells(table, 'th', table.headers)}</tr></thead>"
        parts.append(f"{title}<div><table>\n{head}\n<tbody>\n{body}\n</tbody>\n</table></div>")
    parts += [f"<p>{escape.html(note)}</p>" for note in notes]
    start = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>ibench compare</title>'
    view = '<meta name="viewport" content="width=device-width,initial-scale=1">'
    return f"{start}{view}<style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>"


def _html_cells(table: Table, tag: str, cells: Sequence[str]) -> str:
    sides = ("" if column < table.words else ' class="right"' for column in range(len(cells)))
    return "".join(f"<{tag}{side}>{escape.html(cell)}</{tag}>" for side, cell in zip(sides, cells, strict=True))


def _grid(table: Table, style: str) -> str:
    clean = escape.plain if style == "simple" else escape.markdown
    rows = [[clean(cell) for cell in row] for row in table.rows]
    aligned = ["left"] * table.words + ["right"] * (len(table.headers) - table.words)
    headers = [clean(header) for header in table.headers]
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True, colalign=aligned)


_RENDER: dict[str, Callable[[Sequence[Table], Sequence[str]], str]] = {
    "table": _terminal,
    "markdown": _markdown,
    "latex": _latex,
    "html": _html,
}
FORMATS = (*_RENDER, "csv", "json")
