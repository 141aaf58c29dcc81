"""What a task's fingerprint covers: all that can move a score by the protocol at hand, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from ibench.tasks import TaskSpec, load_task


def changed(**changes: Any) -> TaskSpec:
    data = load_task("esc50").model_dump(mode="json", exclude_unset=True)
    for key, value in changes.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) else value
    return TaskSpec.model_validate(data)


def fingerprint(spec: TaskSpec, protocol: str | None = None) -> str:
    return spec.fingerprint(spec.protocol(protocol)[1])


@pytest.mark.parametrize(
    "change",
    [
        {"title": "another title"},
        {"dataset": {"licence": "another", "source": "elsewhere", "classes": 7}},
        {"protocols": {"new": {"prompts": "clip80"}}},
        {"protocols": {"clap": {"prompts": "clip80"}}},
    ],
)
def test_what_moves_no_score_leaves_it_alone(change: dict[str, Any]) -> None:
    assert fingerprint(changed(**change)) == fingerprint(changed())


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"dataset": {"split": "fold1"}},
        {"metrics": ["top5"]},
        {"protocols": {"imagebind-paper": {"prompts": "lb_sound"}}},
        {"protocols": {"imagebind-paper": {"prompts": "clip80", "names": {"dog": "hound"}}}},
        {"labels": ["dog", "cat"]},
    ],
)
def test_what_moves_a_score_makes_another(change: dict[str, Any]) -> None:
    assert fingerprint(changed(**change)) != fingerprint(changed())


def test_protocols_have_their_own() -> None:
    spec = load_task("esc50")
    assert len({fingerprint(spec, name) for name in spec.protocols}) == len(
        {protocol.model_dump_json() for protocol in spec.protocols.values()}
    )
