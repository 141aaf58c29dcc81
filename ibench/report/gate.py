"""What a gate found: for a terminal, as JSON, as JUnit XML, and as the summary of a continuous-integration step."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from ibench.gate import Gate, State, Verdict
from ibench.report import escape
from ibench.report.render import Table, as_json, document
from ibench.report.tables import number, p_value, task_name
from ibench.results import Record
from ibench.tasks import points

_MARKS = {State.PASS: "✅", State.FAIL: "❌", State.INCONCLUSIVE: "❔"}
_HEADERS = ["task", "", "metric", "baseline", "run", "difference [95%]", "p worse", "detectable"]


def gate_table(gate: Gate) -> str:
    """For a terminal: a line for each task, then why."""
    return document(
        [Table("", _HEADERS, [_cells(one, str(one.state)) for one in gate.verdicts], 3)], _lines(gate), "table"
    )


def gate_summary(gate: Gate) -> str:
    """For people who read it on a web page, as markdown; the verdict first."""
    table = Table("", _HEADERS, [_cells(one, f"{_MARKS[one.state]} {one.state}") for one in gate.verdicts], 3)
    heading = f"### {_MARKS[gate.state]} ibench check: {gate.state}"
    return f"{heading}\n\n{document([table], _lines(gate), 'markdown')}\n"


def gate_json(gate: Gate, strict: bool) -> str:
    """For programs."""
    tasks = [
        {**vars(one), "difference": one.difference and {"value": one.difference.value, **vars(one.difference)}}
        for one in gate.verdicts
    ]
    told = {"state": gate.state, "exit_code": gate.exit_code(strict), "baseline": gate.baseline, "run": gate.run}
    return as_json({**told, "tasks": tasks, "beyond": gate.beyond})


def gate_junit(gate: Gate) -> str:
    """JUnit XML, a test case for each task: failed ones as failures, inconclusive ones as skipped."""
    counts = {state: sum(one.state is state for one in gate.verdicts) for state in State}
    numbers = {
        "tests": str(len(gate.verdicts)),
        "failures": str(counts[State.FAIL]),
        "errors": "0",
        "skipped": str(counts[State.INCONCLUSIVE]),
        "time": "0",
    }
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "ibench check", **numbers})
    for one in gate.verdicts:
        attributes = {"name": escape.plain(one.task), "classname": escape.plain(f"ibench.{one.protocol}"), "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        why = escape.plain("; ".join(one.reasons))
        if one.state is State.FAIL:
            ElementTree.SubElement(case, "failure", {"message": why, "type": "regression"}).text = _told(one)
        elif one.state is State.INCONCLUSIVE:
            ElementTree.SubElement(case, "skipped", {"message": f"inconclusive: {why}"})
        ElementTree.SubElement(case, "system-out").text = _told(one)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def accepted_table(before: Sequence[Record], after: Sequence[Record], place: str) -> str:
    """What a new baseline changes, a line for each task, for the review."""
    old = {(record.task, record.protocol): record for record in before}
    new = {(record.task, record.protocol): record for record in after}
    rows = [
        [
            task,
            protocol,
            *(number(one.headline, one.score.value) if one else "–" for one in (old.get(cell), new.get(cell))),
            "dropped" if cell not in new else "new" if cell not in old else "" if old[cell] == new[cell] else "changed",
        ]
        for cell in {**old, **new}
        for task, protocol in [cell]
    ]
    table = Table("", ["task", "protocol", "before", "now", ""], rows, 2)
    return document([table], [f"{place} holds {len(after)} tasks; commit it with the folder beside it"], "table")


def _told(one: Verdict) -> str:
    """A verdict as a line of its cells."""
    pairs = zip(_HEADERS, _cells(one, str(one.state)), strict=True)
    return escape.plain(", ".join(f"{header} {cell}".strip() for header, cell in pairs if cell))


def _cells(one: Verdict, state: str) -> list[str]:
    task = task_name(one.task, one.protocol)
    scores = ["–" if value is None else number(one.metric, value) for value in (one.baseline, one.value)]
    if one.difference is None or one.p is None:
        return [task, state, one.metric, *scores, "", "", ""]
    found, scale = one.difference, points(one.metric)
    change = f"{scale * found.value:+.2f} [{scale * found.low:+.2f}, {scale * found.high:+.2f}]"
    return [task, state, one.metric, *scores, change, p_value(one.p), f"{scale * found.detectable:.2f}"]


def _lines(gate: Gate) -> list[str]:
    """Why tasks do not pass, what is not gated, and whose runs these are."""
    why: Sequence[str] = [f"{one.task}: {reason}" for one in gate.verdicts for reason in one.reasons]
    beyond = [f"not in the baseline, and not judged: {', '.join(gate.beyond)}"] if gate.beyond else []
    count = sum(one.state is State.PASS for one in gate.verdicts)
    return [*why, *beyond, f"{count} of {len(gate.verdicts)} tasks pass; {gate.run} against {gate.baseline}"]
