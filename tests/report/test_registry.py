"""The list of tasks, for a terminal and for the documentation."""

from __future__ import annotations

import pytest
from conftest import RunIbench

from ibench.prompts import PromptSet
from ibench.report.registry import task_page, task_table
from ibench.tasks import Suite, TaskSpec, load_suites, load_task, task_files


def spec_of(name: str, **more: object) -> TaskSpec:
    fields = {
        "name": name,
        "version": 1,
        "title": "A title that | has to be cut somewhere, since a terminal is only so wide",
        "kind": "classification",
        "query": "thermal",
        "target": "text",
        "dataset": {"reader": "folder", "path": "some/place", "count": 1234567, "licence": "CC0"},
        "protocols": {"one": {"prompts": "clip80"}, "other": {"prompts": "clip80"}},
    }
    return TaskSpec.model_validate({**fields, **more})


@pytest.mark.parametrize("width", [80, 100, 120])
def test_all_tasks_fit_the_terminal(width: int) -> None:
    specs = [load_task(name) for name in task_files()]
    suites = {**load_suites(), "everything": Suite(about="", tasks=tuple(spec.name for spec in specs) * 3)}
    lines = task_table(specs, suites, width).splitlines()
    assert max(map(len, lines)) <= width
    for spec in specs:
        assert any(line.split()[:2] == [spec.name, spec.pair] for line in lines)


def test_a_long_title_is_cut_between_words() -> None:
    table = task_table([spec_of("short"), spec_of("brief", title="Whole")], {"all": Suite(about="", tasks=("a",))}, 80)
    assert "A title that | has to be cut somewhere…\n" in table
    assert "Whole" in table


def test_the_page_tells_classes_protocols_licence_and_layout() -> None:
    listed = spec_of("listed", labels=["a", "b"])
    counted = spec_of("counted", dataset={"reader": "folder", "path": "other", "classes": 7})
    prompts = [PromptSet(name="two", source="here", templates=("a {}", "b {}"), replace=("a", "the"))]
    page = task_page([listed, counted], prompts)
    title = listed.title.replace("|", "\\|")
    assert (
        f"| `listed`: {title} | thermal→text | 2 | 1234567 | top1 | one, other | CC0 | folder, `some/place` |" in page
    )
    assert f"| `counted`: {title} | thermal→text | 7 |  | top1 |" in page
    assert "| `two` | 2, *a* → *the* | here |" in page


def test_tasks_are_parted_by_subject(ibench: RunIbench) -> None:
    """A blank line stands between the folders of tasks/, and before the suites."""
    parts = ibench("tasks").stdout.split("\n\n")
    folders = {load_task(name).folder.name for name in task_files()}
    assert len([part for part in parts if part.strip()]) == len(folders) + 1
