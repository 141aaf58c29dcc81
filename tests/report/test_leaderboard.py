"""Who is ranked and who is not, the markdown, and that what is committed is what the committed records give."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from many_records import many, record, training

from ibench.report.html import island
from ibench.report.leaderboard import pages_of, write
from ibench.report.page import leaderboard_data, training_step
from ibench.report.standing import standing
from ibench.results import Record, load_all

ROOT = Path(__file__).parents[2]


def test_the_committed_leaderboards_are_up_to_date() -> None:
    """Stale? `make leaderboard`."""
    committed = {
        str(path.relative_to(ROOT / "leaderboards")): path.read_text(encoding="utf-8")
        for path in (ROOT / "leaderboards").rglob("*")
        if path.is_file()
    }
    made = pages_of(load_all(ROOT / "results"))
    assert sorted(committed) == sorted(made)
    for name, text in made.items():
        assert committed[name] == text, f"leaderboards/{name}: make leaderboard"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fake": True}, "made of fake data"),
        ({"limited": 10, "n": 10}, "limited to 10 samples"),
        ({"n": 1999}, "partial: 1,999 of 2,000 samples"),
        ({"n_missing": 3, "n": 1997}, "partial: 1,997 of 2,000 samples"),
        ({"n_expected": None, "n_missing": 3, "n": 50}, "partial: 50 of 53 samples"),
        ({"n_unreadable": 2, "n": 1998}, "2 samples unreadable"),
    ],
)
def test_what_is_no_whole_run_on_real_data_is_listed_and_not_ranked(changes: dict[str, object], reason: str) -> None:
    made = standing([record("esc50", "whole", 0.5), record("esc50", "other", 0.99).model_copy(update=changes)])
    assert made.encoders == ["whole"]
    assert [(left.encoder.name, why) for left, why in made.left_out] == [("other", reason)]
    pages = pages_of([record("esc50", "whole", 0.5), record("esc50", "other", 0.99).model_copy(update=changes)])
    assert f"- other on esc50 (imagebind-paper): {reason}" in pages["README.md"]
    assert f"- other on esc50 (imagebind-paper): {reason}" in pages["audio/README.md"]
    assert "99.0" not in pages["audio/README.md"].split("## Not ranked")[0]


def test_a_score_that_is_no_number_is_not_ranked() -> None:
    broken = record("esc50", "broken", 0.5)
    score = broken.score.model_copy(update={"value": math.nan})
    broken = broken.model_copy(update={"metrics": {broken.headline: score}})
    made = standing([broken])
    assert (made.encoders, made.left_out[0][1]) == ([], "its score is not a number")
    assert json.loads(island(leaderboard_data(made, {})))["leftOut"][0]["score"] is None


def test_of_runs_that_do_not_compare_the_newest_version_and_then_the_most_are_ranked() -> None:
    old = [record("esc50", f"old {number}", 0.5, task_version=0) for number in range(3)]
    new = [record("esc50", f"new {number}", 0.5) for number in range(2)]
    alone = record("esc50", "alone", 0.5, dataset_fingerprint="another")
    made = standing([alone, *old, *new])
    assert made.encoders == ["new 0", "new 1"]
    assert {why for left, why in made.left_out if left.encoder.name == "alone"} == {
        "differs from the ranked runs in samples"
    }
    assert len(made.left_out) == 4


def test_of_one_checkpoint_measured_twice_the_newest_is_ranked() -> None:
    old, new = record("esc50", "one", 0.9), record("esc50", "one", 0.5, created="2026-11-25T00:00:00+00:00")
    again = new.model_copy(update={"created": "2026-11-24T23:00:00+00:00"})
    for several in ([old, again, new], [new, again, old]):
        made = standing(several)
        assert made.columns[0].records == {"one": new}
        assert made.left_out == ((old, "measured again since"),)


def test_what_others_wrote_beside_the_pages_stays(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "README.md").write_bytes("caf\u00e9".encode("latin-1"))
    write([record("esc50", "one", 0.5)], tmp_path)
    assert (tmp_path / "src" / "README.md").exists()


def test_a_name_may_be_a_long_number() -> None:
    names = ["step_" + "9" * 5000, "9" * 5000, "step_2"]
    assert pages_of([record("esc50", name, 0.5) for name in names])
    assert training_step(names[0]) is None


def test_a_mean_needs_every_task() -> None:
    records = [record("esc50", "both", 0.6), record("nyu_depth", "both", 0.4), record("esc50", "one", 0.9)]
    made = standing(records)
    assert made.mean("both") == pytest.approx(0.5)
    assert made.mean("one") is None
    assert made.encoders == ["both", "one"]
    assert "No mean: not measured here: audioset" in pages_of(records)["audio/README.md"]


def test_another_protocol_does_not_count_twice() -> None:
    other = [record("esc50", "one", 0.1, protocol="other"), record("esc50", "two", 0.1, protocol="other")]
    made = standing([record("esc50", "one", 0.6), record("nyu_depth", "one", 0.4), *other])
    assert made.mean("one") == pytest.approx(0.5)
    assert [column.principal for column in made.columns] == [True, False, True]


def test_encoders_of_one_name_and_of_two_precisions_are_told_apart() -> None:
    first = record("esc50", "same", 0.5)
    second = first.model_copy(
        update={"encoder": first.encoder.model_copy(update={"checkpoint_sha256": "0" * 64}), "dtype": "bf16"}
    )
    digest = str(first.encoder.checkpoint_sha256)[:8]
    assert sorted(standing([first, second]).encoders) == sorted([f"same {digest}", "same 00000000 bf16"])


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("epoch_12", ("", "epoch", 12)),
        ("ViT-B-32 epoch_3", ("ViT-B-32", "epoch", 3)),
        ("two-towers step 400", ("two-towers", "step", 400)),
        ("run/epoch=3-step=1200", ("run", "step", 1200)),
        ("big step_20k", ("big", "step", 20000)),
        ("checkpoint-500", ("", "step", 500)),
        ("checkpoint_best_2", None),
        ("ViT-B-32", None),
        ("epoch", None),
        ("step 4 of many", None),
    ],
)
def test_names_tell_where_in_training_a_checkpoint_stands(name: str, step: tuple[str, str, int] | None) -> None:
    found = training_step(name)
    assert (None if found is None else tuple(found.values())) == step


def test_a_checkpoint_folder_is_one_run() -> None:
    data = leaderboard_data(standing(training(20)), {})
    assert {encoder["training"]["run"] for encoder in data["encoders"]} == {"two-towers"}
    assert sorted(encoder["training"]["at"] for encoder in data["encoders"]) == list(range(1, 21))


HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "x | y\n# z",
    "\u2028\u2029'\"&amp;`",
)


def test_data_in_a_script_element_cannot_end_it() -> None:
    text = island({"names": [*HOSTILE, "\ud800"], "score": math.inf})
    assert re.fullmatch(r"[\x20-\x7e]*", text)
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"names": [*HOSTILE, "\ud800"], "score": None}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_cannot_break_the_markdown(name: str) -> None:
    hostile = record("esc50", name, 0.5)
    left = record("esc50", name, 0.5, fake=True)
    for page, text in pages_of([hostile, left]).items():
        if page.endswith(".md"):
            assert not re.search("<script|<!--<|\n# z", text)
            rows = [line for line in text.splitlines() if line.startswith("|")]
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows if "chance" in row or "esc50" in row}) <= 2


def test_the_page_forbids_what_it_does_not_hold(tmp_path: Path) -> None:
    (page, *_) = write([record("esc50", "<script>alert(1)</script>", 0.5)], tmp_path)
    text = page.read_text(encoding="utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src &#39;none&#39;" in policy
    assert "unsafe" not in policy
    assert text.count("<script") == 2
    assert not re.search(r"(?:src|href)=[\"']?https?:", text)


def test_what_stands_in_the_page_is_what_the_records_say() -> None:
    records = many(3, ["esc50", "nyu_depth"])
    data = leaderboard_data(standing(records), {})
    shown = {
        (data["encoders"][one["encoder"]]["name"], data["columns"][one["column"]]["task"]): one["score"]
        for one in data["records"]
    }
    assert shown == {(one.encoder.name, one.task): _rounded(one) for one in records}


def _rounded(one: Record) -> list[float]:
    return [round(end, 6) for end in (one.score.value, one.score.low, one.score.high)]
