"""Runs side by side: what is refused, what is significant, who shares a place, what a suite's mean asks for."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import RunIbench
from made_runs import flipped, record_of, rows_of, write_run
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from ibench.baseline import runs
from ibench.comparison import Comparison, comparison, over_suite
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.report.compare import comparison_table
from ibench.results import save
from ibench.scoring import intervals, multilabel, paired, retrieval
from ibench.scoring.intervals import Metric, proportion
from ibench.tasks import Kind

HALF = np.arange(400) % 2 == 0


def compared(*places: Path) -> Comparison:
    return comparison([one for place in places for one in runs(place)])


def test_differences_are_adjusted_over_all_tasks(tmp_path: Path) -> None:
    changes = {"easy": (4, 3), "middle": (22, 8), "hard": (40, 10)}
    a = write_run(tmp_path / "a", dict.fromkeys(changes, HALF), "one")
    b = write_run(tmp_path / "b", {task: flipped(HALF, *two) for task, two in changes.items()}, "two")
    table = compared(a, b)
    alone = [mcnemar([[0, lost], [won, 0]], exact=True).pvalue for lost, won in changes.values()]
    adjusted = dict(zip(changes, multipletests(alone, method="holm")[1], strict=True))
    assert table.encoders == ("one", "two")
    for row in table.rows:
        assert row.paired["two"].p == pytest.approx(adjusted[row.task])
        lost, won = changes[row.task]
        assert row.paired["two"].difference.value == pytest.approx((won - lost) / 400)
    marked = {row.task: row.paired["two"].significant for row in table.rows}
    assert marked == {"easy": False, "middle": True, "hard": True}


def test_places_are_shared_by_those_who_do_not_differ(tmp_path: Path) -> None:
    hits = {"best": HALF, "close": flipped(HALF, 4, 2), "far": flipped(HALF, 60, 0), "further": flipped(HALF, 62, 0)}
    places = [write_run(tmp_path / name, {"task": right}, name) for name, right in hits.items()]
    for order in (places, places[::-1]):
        (row,) = compared(*order).rows
        assert row.ranks == {"best": 1, "close": 1, "far": 3, "further": 3}


def test_records_alone_stand_side_by_side_without_a_comparison(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {"task": HALF}, "one")
    b = write_run(tmp_path / "b", {"task": ~HALF}, "two")
    next(b.rglob("*.parquet")).unlink()
    table = compared(a, b)
    assert (table.rows[0].paired, table.rows[0].ranks) == ({}, {})
    assert "not compared in pairs" in comparison_table(table, "table")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("dataset_fingerprint", "other", "samples"),
        ("task_version", 2, "task version"),
        ("task_fingerprint", "other", "task definition"),
        ("texts_fingerprint", "other", "prompts"),
        ("unreadable", {"s1": "broken"}, "unreadable"),
        ("limited", 5, "--limit"),
    ],
)
def test_what_was_measured_otherwise_is_refused(tmp_path: Path, field: str, value: object, told: str) -> None:
    a = write_run(tmp_path / "a", {"task": HALF}, "one")
    b = write_run(tmp_path / "b", {"task": HALF}, "two", **{field: value})
    with pytest.raises(IbenchError, match=told):
        compared(a, b)


def test_the_reason_why_a_sample_is_unreadable_may_be_told_otherwise(tmp_path: Path) -> None:
    """Another library, or another version of it, finds other words for the same damage."""
    a = write_run(tmp_path / "a", {"task": HALF}, "one", unreadable={"s1": "truncated"}, n_unreadable=1)
    b = write_run(tmp_path / "b", {"task": HALF}, "two", unreadable={"s1": "end of file"}, n_unreadable=1)
    assert compared(a, b).rows[0].paired


def test_rows_of_another_run_are_noticed(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {"task": HALF}, "one")
    b = write_run(tmp_path / "b", {"task": HALF}, "two")
    rows = next(b.rglob("*.parquet"))
    pd.read_parquet(rows).assign(rank=2, correct=False).to_parquet(rows)
    with pytest.raises(IbenchError, match="one of the two is of another run"):
        compared(a, b)
    rows.write_bytes(b"torn")
    with pytest.raises(IbenchError, match="cannot be read"):
        compared(a, b)


def test_of_one_cluster_no_table_claims_an_interval(tmp_path: Path, ibench: RunIbench) -> None:
    rows = rows_of(HALF, ["all"] * len(HALF))
    metrics = {"top1": proportion(HALF, list(rows["cluster"]), 0)}
    save(record_of("task", metrics, "one"), rows, tmp_path / "a")
    assert "50.0 [no interval]" in ibench("compare", "a").stdout
    ibench("leaderboard", "a", "--out", "board")
    assert "| **50.0** " in (tmp_path / "board" / "README.md").read_text()


def test_the_same_checkpoint_twice_is_told_apart_by_the_run(tmp_path: Path) -> None:
    old = write_run(tmp_path / "old", {"task": HALF, "other": HALF})
    new = write_run(tmp_path / "new", {"task": flipped(HALF, 30, 2)})
    table = compared(old, new)
    assert table.encoders == (f"one ({old})", f"one ({new})")
    differing = {row.task: row.paired for row in table.rows}
    assert differing["task"][f"one ({new})"].significant
    assert differing["other"] == {}


def test_one_column_for_records_named_one_by_one(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", {"first": HALF, "second": HALF})
    files = sorted(folder.rglob("*.json"))
    assert compared(*files).encoders == ("one",)


def test_the_same_checkpoint_twice_in_one_run_is_refused_unless_alike(tmp_path: Path) -> None:
    """One of the two would stand there, and nobody would know which."""
    write_run(tmp_path / "runs" / "old", {"task": HALF})
    write_run(tmp_path / "runs" / "same", {"task": HALF}, created="2026-02-02T00:00:00+00:00")
    assert compared(tmp_path / "runs").encoders == ("one",)
    write_run(tmp_path / "runs" / "new", {"task": flipped(HALF, 30, 2)})
    with pytest.raises(
        IbenchError, match=r"has task \(ibench\) of one twice, .*/new/.*/old/.*; name the folder of each"
    ):
        compared(tmp_path / "runs")


# suites ---------------------------------------------------------------------------------------------------------------


def test_a_mean_needs_every_member_whole(tmp_path: Path) -> None:
    hits = {"digits": HALF, "spoken_digits": flipped(HALF, 40, 0)}
    for name in ("whole", "limited", "lacking"):
        write_run(tmp_path / name, hits, name)
    recall = {"recall@1": Metric(value=0.9, low=0, high=1, n=400, method="")}
    for name in ("whole", "limited"):
        made = record_of("spoken_digits_retrieval", recall, name)
        save(made.model_copy(update={"fake": name == "limited"}), rows_of(HALF), tmp_path / name)
    for rows in tmp_path.rglob("*retrieval*.parquet"):
        rows.unlink()
    found = over_suite(compared(*(tmp_path / name for name in ("whole", "limited", "lacking"))), "demo")
    assert found["whole"].mean == pytest.approx((0.5 + 0.4 + 0.9) / 3)
    assert found["whole"].borda == 1
    assert found["limited"].mean is found["lacking"].mean is found["lacking"].borda is None
    assert found["lacking"].missing == ("spoken_digits_retrieval (ibench)",)


def test_borda_counts_who_is_beaten(tmp_path: Path) -> None:
    """One great lead does not outweigh two small ones, which is what sets it apart from the mean."""
    tasks = ("digits", "spoken_digits", "spoken_digits_retrieval")
    scores = {"even": (100, 100, 10), "uneven": (90, 90, 390)}
    for name, rights in scores.items():
        write_run(tmp_path / name, {t: np.arange(400) < r for t, r in zip(tasks, rights, strict=True)}, name)
    found = over_suite(compared(tmp_path / "even", tmp_path / "uneven"), "demo")
    assert found["uneven"].mean > found["even"].mean
    assert (found["even"].borda, found["uneven"].borda) == (1, 2)


# the documents --------------------------------------------------------------------------------------------------------


def test_emergent_pairs_and_published_numbers_stand_apart(tmp_path: Path, ibench: RunIbench) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / name, {"imagenet1k": HALF}, name)
        write_run(tmp_path / name, {"esc50": HALF}, name, emergent=True, query=Modality.AUDIO)
        write_run(tmp_path / name, {"mixed": HALF}, name, emergent=name == "two")
    text = ibench("compare", "one", "two").stdout
    titles = ["Trained pairs", "imagenet1k", "Emergent pairs", "esc50", "Emergent for some", "mixed", "Published, not"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)


class Checker(HTMLParser):
    """Fails on a tag that is not closed, and on any of those that do something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: object) -> None:
        assert tag not in ("script", "img", "b")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


EVIL = '*<script>alert(1)</script>|**b**\x1b[31m_&%$x$ "q" #{}~~y~~^\\ [x](y)'


@pytest.mark.parametrize("more", [(), ("--by", "class"), ("--samples",)])
def test_no_name_breaks_a_document(tmp_path: Path, ibench: RunIbench, more: tuple[str, ...]) -> None:
    a = write_run(tmp_path / "a", {"task": HALF}, "one")
    b = write_run(tmp_path / "b", {"task": flipped(HALF, 30, 2)}, EVIL)
    shown = {
        form: ibench("compare", a, b, *more, "--format", form).stdout
        for form in ("table", "markdown", "latex", "html", "csv", "json")
    }
    page = Checker()
    page.feed(shown["html"])
    assert page.open == []
    assert EVIL.replace("\x1b", " ") in page.text
    assert all("\x1b" not in shown[form] for form in ("table", "markdown", "latex", "html"))
    assert "<script" not in shown["markdown"]
    table_lines = [line for line in shown["markdown"].splitlines() if line.startswith("|")]
    counts = {line.replace("\\|", "").count("|") for line in table_lines}
    assert len(counts) == 1
    assert r"\$x\$" in shown["markdown"]
    assert r"\~\~y\~\~" in shown["markdown"]
    assert r"\textless{}script\textgreater{}" in shown["latex"]
    assert r"\textquotedbl" not in shown["latex"]  # pdflatex has it only with another fontenc
    assert not any(line.lstrip().startswith("*") for line in shown["latex"].splitlines())
    assert {row["encoder"] for row in csv.DictReader(io.StringIO(shown["csv"]))} - {"one"} == {EVIL}
    assert json.dumps(EVIL) in shown["json"]


def test_by_class_and_by_sample(tmp_path: Path, ibench: RunIbench) -> None:
    after = HALF.copy()
    after[0::6] = False  # cats that were right
    after[[1, 5]] = True  # a dog and an owl that were wrong
    a, b = write_run(tmp_path / "a", {"task": HALF}, "one"), write_run(tmp_path / "b", {"task": after}, "two")
    classes = json.loads(ibench("compare", a, b, "--by", "class", "--format", "json").stdout)
    assert [row["class"] for row in classes] == ["cat", "dog", "owl"]
    assert classes[0]["after"] == 0
    assert classes[0]["p_holm"] < 1e-9
    assert classes[1]["difference"] == pytest.approx(1 / 133, rel=0.01)
    samples = json.loads(ibench("compare", a, b, "--samples", "--format", "json").stdout)
    assert len(samples) == len(HALF[0::6]) + 2
    won = [row for row in samples if row["now"] == "right"]
    assert [(row["id"], row["gold"], row["prediction_before"], row["prediction_after"]) for row in won] == [
        ("s1", "dog", "owl", "dog"),
        ("s5", "owl", "cat", "owl"),
    ]
    same = write_run(tmp_path / "same", {"task": HALF}, "three")
    assert "no sample came out otherwise" in ibench("compare", a, same, "--samples").stdout
    assert "nothing to compare" in ibench("compare", a, a, "--samples").stdout
    assert "no classification in common" in ibench("compare", a, a, "--by", "class").stdout


def test_one_difference_and_none_are_told_as_such(tmp_path: Path, ibench: RunIbench) -> None:
    right = np.arange(30) % 3 != 0
    for name in ("one", "two"):
        write_run(tmp_path / name, {"t": right}, name)
    assert "(Holm) for 1 difference; " in ibench("compare", "one", "two").stdout
    for how, columns in ((("--by", "class"), "difference,low,high,p,p_holm"), (("--samples",), "prediction_after")):
        told = ibench("compare", "one", "two", *how, "--format", "csv").stdout
        assert told.startswith("task,protocol,reference,encoder,")
        assert told.endswith(f"{columns}\n")


def test_samples_of_tasks_with_and_without_ranks_make_one_csv(tmp_path: Path, ibench: RunIbench) -> None:
    for name, right in (("one", HALF), ("two", ~HALF)):
        write_run(tmp_path / name, {"said": right}, name)
        more = {"frame": "f", "boxes": [[]] * len(right), "scores": [[0.0]] * len(right), "ciou": 0.0}
        rows = rows_of(right).drop(columns="rank").assign(pointing=right, **more)
        metrics = {"pointing": proportion(right, list(rows["cluster"]), 0)}
        found = record_of("found", metrics, name).model_copy(update={"kind": Kind.LOCALISATION})
        save(found, rows, tmp_path / name)
    for order in (("one", "two"), ("two", "one")):
        text = ibench("compare", *order, "--samples", "--format", "csv").stdout
        ranks = {(row["task"], row["rank_before"]) for row in csv.DictReader(io.StringIO(text))}
        assert ranks == {("said", "1"), ("said", "2"), ("found", "")}


def test_retrieval_and_several_labels_are_compared_in_pairs(
    tmp_path: Path, ibench: RunIbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "RESAMPLES", 100)
    monkeypatch.setattr(intervals, "RESAMPLES", 100)
    rng = np.random.default_rng(0)
    axes, gold = np.eye(6, dtype=np.float32), rng.integers(0, 6, 90)
    ids, alone, each = [str(row) for row in range(90)], [""] * 90, [[c] for c in range(6)]
    several = [[int(one), (int(one) + 1) % 6] for one in gold]
    for name, noise in (("good", 0.1), ("bad", 0.9)):
        queries = axes[gold] + noise * rng.standard_normal((90, 6)).astype(np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        groups = [f"g{one}" for one in gold]
        found, rows = retrieval.score(queries, axes, groups, [f"g{c}" for c in range(6)], ids, ids[:6], alone, 0)
        made = record_of("finding", {"mrr": found["mrr"]}, name)
        save(made.model_copy(update={"kind": Kind.RETRIEVAL}), rows.assign(direction="a→b", gallery=6), tmp_path / name)
        found, rows = multilabel.score(queries, axes, each, several, list("abcdef"), ids, alone, 0)
        save(record_of("tags", found, name).model_copy(update={"kind": Kind.MULTILABEL}), rows, tmp_path / name)
    told = json.loads(ibench("compare", "good", "bad", "--format", "json").stdout)
    for row in told["rows"]:
        bad = row["encoders"]["bad"]
        assert bad["significant"], row["task"]
        assert bad["difference"] == pytest.approx(bad["value"] - row["encoders"]["good"]["value"])
        assert bad["difference_low"] < bad["difference"] < bad["difference_high"] < 0
        assert bad["test"] == "paired bootstrap, 100 draws"
    flips = json.loads(ibench("compare", "good", "bad", "--samples", "--format", "json").stdout)
    assert {row["task"] for row in flips} == {"finding"}  # several labels are neither right nor wrong


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--format", "tabel"], "did you mean table"),
        (["--by", "colour"], "known is class"),
        (["--by", "class", "--samples"], "one at a time"),
        (["--suite", "audio"], "none of the records"),
        (["nowhere"], "no such file or folder"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, ibench: RunIbench, arguments: list[str], told: str) -> None:
    write_run(tmp_path / "a", {"task": HALF})
    done = ibench("compare", "a", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
