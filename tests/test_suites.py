"""Suites name tasks that are there, and hold what their names promise."""

from __future__ import annotations

import pytest

from ibench.encoders.imagebind.encoder import TRAINED_PAIRS
from ibench.modalities import Modality
from ibench.tasks import Kind, load_suites, load_task, suite_tasks, task_files


@pytest.mark.parametrize("suite", load_suites())
def test_a_suite_names_tasks_that_are_there_once(suite: str) -> None:
    tasks = suite_tasks(suite)
    assert set(tasks) <= set(task_files())
    assert len(set(tasks)) == len(tasks)


def test_every_task_is_in_a_suite_of_its_own_subject_or_in_the_papers() -> None:
    in_suites = {task for suite in load_suites() for task in suite_tasks(suite)}
    assert set(task_files()) == in_suites


def test_the_retrieval_suite_has_every_retrieval() -> None:
    specs = {name: load_task(name) for name in task_files()}
    retrievals = {
        name
        for name, spec in specs.items()
        if spec.kind is Kind.RETRIEVAL or (spec.kind is Kind.COMPOSITION and not spec.pooled)
    }
    assert set(suite_tasks("retrieval")) == retrievals - set(suite_tasks("demo"))


def test_what_the_emergent_suite_asks_imagebind_never_saw() -> None:
    trained = {frozenset(pair) for pair in TRAINED_PAIRS}
    for name in suite_tasks("emergent"):
        spec = load_task(name)
        assert frozenset((spec.query, spec.target)) not in trained, name
        assert Modality.TEXT in (spec.query, spec.target)
