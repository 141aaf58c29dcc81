"""`ibench prompts`: every prompt set of a task at once, the range, the best, the protocol's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import RunIbench
from made_runs import write_run
from toy_encoder import make_random

from ibench import evaluate
from ibench.api import prompt_sensitivity
from ibench.baseline import runs
from ibench.comparison import comparison, prompt_spreads
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.prompts import load_prompt_sets
from ibench.results import load_all
from ibench.sensitivity import prompt_sets, spread
from ibench.tasks import load_task

SETS = """
sets:
  - name: bare
    source: this test
    templates: ["{}"]
  - name: shouted
    source: this test
    templates: ["{}!", "a {}!"]
"""


@pytest.fixture
def more(tmp_path: Path) -> Path:
    (tmp_path / "more.yaml").write_text(SETS)
    return tmp_path / "more.yaml"


def test_the_sets_are_those_of_the_protocols_and_of_files_each_once(more: Path, colours: Path) -> None:
    esc50 = load_task("esc50")
    names = [one.name for one in prompt_sets(esc50, None, ["lb_sound"])]
    assert names[0] == "clip80"
    assert sorted(names) == sorted({str(one.prompts) for one in esc50.protocols.values()})
    assert prompt_sets(esc50, "clap", [])[0].name == "laion_sound"
    assert [one.name for one in prompt_sets(load_task(colours), None, [str(more)])] == ["lb_sound", "bare", "shouted"]


def test_what_cannot_be_compared_is_refused(more: Path, colours: Path, tmp_path: Path) -> None:
    with pytest.raises(IbenchError, match="clotho: a retrieval is not scored by prompts"):
        prompt_sets(load_task("clotho"), None, [])
    with pytest.raises(IbenchError, match="colours has one prompt set, 'lb_sound'; name others with --prompts-from"):
        prompt_sets(load_task(colours), None, [])
    more.write_text(SETS.replace("shouted", "lb_sound"))
    with pytest.raises(IbenchError, match="two prompt sets are called 'lb_sound'"):
        prompt_sets(load_task(colours), None, [str(more)])
    more.write_text(SETS.replace("templates", "template", 1))
    with pytest.raises(IbenchError, match=r"more\.yaml:5: unknown key 'sets\.0\.template'"):
        load_prompt_sets(str(more))
    with pytest.raises(IbenchError, match="no prompt set 'nowhere'"):
        load_prompt_sets("nowhere")


def test_records_are_those_of_single_runs_and_every_text_is_encoded_once(more: Path, colours: Path) -> None:
    encoder = make_random("cpu", "fp32")
    found = prompt_sensitivity(encoder, colours, prompts_from=[str(more)], out=more.parent / "runs")
    assert encoder.encoded == 24 + 3 * 4  # samples; three names by four templates
    assert [one.record.protocol for one in found.sets] == ["ibench", "ibench+bare", "ibench+shouted"]
    (single,) = evaluate(make_random("cpu", "fp32"), [colours])
    assert found.own.record.measured() == single.measured()
    values = [one.record.score.value for one in found.sets]
    assert found.best.record.score.value == max(values)
    assert found.spread.value == pytest.approx(max(values) - min(values))
    assert found.spread.low <= found.spread.value <= found.spread.high
    assert len(load_all(more.parent / "runs")) == 3


def test_one_set_of_the_same_texts_is_as_good_as_another(tmp_path: Path) -> None:
    """The range of runs with equal outcomes is 0, and of a run that lost its hits the share of them."""
    right = np.arange(40) % 4 > 0
    write_run(tmp_path / "a", {"t": right}, texts_fingerprint="a")
    write_run(tmp_path / "b", {"t": right}, texts_fingerprint="b")
    write_run(tmp_path / "c", {"t": np.zeros(40, bool)}, texts_fingerprint="c")
    one, same, none = (runs(tmp_path / name)[0] for name in "abc")
    assert spread([one, same]).value == 0
    apart = spread([one, same, none])
    assert apart.value == pytest.approx(0.75)
    assert 0.5 < apart.low < 0.75 < apart.high < 0.95


def test_the_range_is_found_in_records_that_differ_in_prompts_alone(tmp_path: Path) -> None:
    some, all_ = np.arange(40) % 2 == 0, np.ones(40, bool)
    write_run(tmp_path, {"t": some}, protocol="p", texts_fingerprint="a")
    write_run(tmp_path, {"t": all_}, protocol="p+x", texts_fingerprint="b")
    write_run(tmp_path, {"t": ~all_}, protocol="q", texts_fingerprint="c", views={Modality.IMAGE: {"crops": 3}})
    write_run(tmp_path, {"u": some}, protocol="p", texts_fingerprint="a")
    (found,) = prompt_spreads(comparison(runs(tmp_path)))
    assert (found.task, found.protocols) == ("t", ("p", "p+x"))
    assert found.values == {"one": 0.5}


def test_the_command(ibench: RunIbench, toy: Callable[[str], str], colours: Path, more: Path) -> None:
    asked = ("prompts", "--ckpt", toy("random"), "--task", colours, "--prompts-from", more, "--prompts-from", "clip80")
    done = ibench(*asked)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert {"lb_sound", "bare", "shouted", "clip80"} <= set(rows)
    assert "the protocol's own" in rows["lb_sound"]
    assert "prompt sensitivity (the best less the worst, in points): " in done.stdout
    assert "an optimistic number" in done.stdout
    told = json.loads(ibench(*asked, "--json").stdout)
    assert [one["own"] for one in told["sets"]] == [True, False, False, False]
    values = [one["value"] for one in told["sets"]]
    assert sum(one["best"] for one in told["sets"]) == 1
    assert told["sensitivity"]["value"] == pytest.approx(max(values) - min(values))
    beside = ibench("compare", "results").stdout
    assert "Prompt sensitivity" in beside
    csv = ibench("compare", "results", "--format", "csv").stdout.splitlines()
    assert csv[0].endswith(",prompt_sensitivity")
    shown = {float(line.rsplit(",", 1)[1]) for line in csv[1:]}
    assert list(shown) == [pytest.approx(told["sensitivity"]["value"])]


def test_multilabel_has_a_range_without_an_interval(
    ibench: RunIbench, toy: Callable[[str], str], tones: Path, more: Path
) -> None:
    tags = tones.with_name("tags.yaml")
    tags.write_text(
        tones.read_text().replace("kind: classification", "kind: multilabel").replace("name: tones", "name: tags")
    )
    told = json.loads(
        ibench("prompts", "--ckpt", toy("random"), "--task", tags, "--prompts-from", more, "--json").stdout
    )
    assert told["metric"] == "mAP"
    assert told["sensitivity"]["method"] == "no interval"
