"""The emergence report: from records and rows to scores, what frames them, and shares of gains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import RunIbench
from made_runs import record_of, rows_of, write_run

from ibench.baseline import runs
from ibench.emergence import bridges, emergence
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.report.emergence import emergence_json, emergence_lines, emergence_text, picture
from ibench.results import Kept, Record, save
from ibench.scoring.intervals import Metric, proportion
from ibench.tasks import Kind

AUDIO, DEPTH, IMAGE, TEXT, VIDEO = (Modality(one) for one in ("audio", "depth", "image", "text", "video"))
DIGITS = Path(__file__).parents[1] / "examples" / "digits_bind" / "digits_bind_encoder.py"
TRAINED = ((AUDIO, IMAGE), (IMAGE, TEXT))


def hits(right: int, of: int = 90) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.arange(of) < right)


def made(
    task: str, right: np.ndarray, folder: Path, query: Modality, target: Modality = TEXT, **changed: object
) -> None:
    """A record with rows, of an encoder that saw images with sound and with text."""
    rows = rows_of(right)
    record = record_of(task, {"top1": proportion(right, list(rows["cluster"]), 0)}, "one")
    pairs = {frozenset(pair) for pair in TRAINED}
    told = {
        "query": query,
        "target": target,
        "emergent": frozenset((query, target)) not in pairs,
        "encoder": record.encoder.model_copy(update={"trained_pairs": TRAINED}),
        **changed,
    }
    save(record.model_copy(update=told), rows, folder)


@pytest.fixture
def framed(tmp_path: Path) -> Path:
    """Sounds named (60 of 90), pictures of the same classes named (80), sounds found by pictures (70)."""
    made("sounds", hits(60), tmp_path / "run", AUDIO)
    made("pictures", hits(80), tmp_path / "run", IMAGE)
    made("matched", hits(70), tmp_path / "run", AUDIO, IMAGE, texts_fingerprint=None)
    return tmp_path / "run"


def test_an_emergent_pair_is_framed_by_the_trained_pairs_of_the_run(framed: Path) -> None:
    report = emergence(runs(framed))
    (one,) = report.scores
    assert one.record.task == "sounds"
    assert [[leg.task for leg in side] for side in one.legs] == [["matched"], ["pictures"]]
    assert {record.task for record in report.trained} == {"matched", "pictures"}
    assert one.path is one.first_leg is one.trained is None


def test_without_a_bridge_the_share_is_of_the_same_classes_elsewhere(framed: Path) -> None:
    (one,) = emergence(runs(framed)).scores
    assert one.share is not None
    assert one.share.value == pytest.approx((60 / 90 - 1 / 3) / (80 / 90 - 1 / 3))
    assert one.share.low < one.share.value < one.share.high
    assert "two-sample" in one.share.method
    assert one.note == "of the gain of image→text in pictures, on other samples of the same classes"


def test_other_classes_or_another_metric_give_no_share(tmp_path: Path) -> None:
    made("sounds", hits(60), tmp_path, AUDIO)
    made("pictures", hits(80), tmp_path, IMAGE, texts_fingerprint="other classes")
    (one,) = emergence(runs(tmp_path)).scores
    assert one.share is None
    assert "`ibench run --bridge`" in one.note
    assert [leg.task for leg in one.legs[1]] == ["pictures"]


@pytest.mark.parametrize("kind", ["multilabel", "composition", "localisation"])
def test_a_path_is_not_promised_to_a_kind_without_one(tmp_path: Path, kind: str) -> None:
    made("sounds", hits(60), tmp_path, AUDIO, kind=kind)
    (one,) = emergence(runs(tmp_path)).scores
    assert one.note == "no share: no trained pair was asked the same here"


def test_protocols_of_a_task_are_told_apart(framed: Path) -> None:
    made("sounds", hits(30), framed, AUDIO, protocol="other")
    report = emergence(runs(framed))
    text = emergence_text(report, "table")
    assert "sounds: of the gain" in text
    assert "sounds (other): " in text
    (edge,) = [edge for edge in picture(report).edges if edge.emergent]
    assert set(edge.label) == {"sounds 66.7", "sounds (other) 33.3"}


def test_what_shots_add_is_no_emergence(framed: Path) -> None:
    """Of a pair that was never trained, nor of one that frames it."""
    made("few-sounds", hits(85), framed, AUDIO, kind="fewshot")
    made("few-pictures", hits(85), framed, IMAGE, kind="fewshot")
    report = emergence(runs(framed))
    assert [one.record.task for one in report.scores] == ["sounds"]
    assert [record.task for record in report.trained] == ["matched", "pictures"]
    assert "few-" not in emergence_text(report, "table")


def test_of_a_trained_pair_at_chance_there_is_no_share(tmp_path: Path) -> None:
    made("sounds", hits(60), tmp_path, AUDIO)
    made("pictures", hits(32), tmp_path, IMAGE)
    (one,) = emergence(runs(tmp_path)).scores
    assert one.share is None
    assert one.note == "no share: image→text of pictures is not above chance"


def test_without_rows_a_share_is_not_guessed(framed: Path) -> None:
    (one,) = emergence([Kept(kept.record) for kept in runs(framed)]).scores
    assert one.share is None
    assert "not kept" in one.note


def test_what_binds_a_pair_follows_from_the_trained_pairs() -> None:
    record = record_of("x", {"top1": Metric(value=0.5, low=0, high=1, n=2, method="")}, "one")

    def of(query: Modality, target: Modality, *pairs: tuple[Modality, Modality]) -> list[Modality]:
        told = {"query": query, "target": target, "encoder": record.encoder.model_copy(update={"trained_pairs": pairs})}
        return bridges(record.model_copy(update=told))

    assert of(AUDIO, TEXT, *TRAINED) == [IMAGE]
    assert of(AUDIO, TEXT, *TRAINED, (AUDIO, VIDEO), (TEXT, VIDEO)) == [IMAGE, VIDEO]
    assert of(DEPTH, TEXT, *TRAINED) == []


def test_records_of_several_checkpoints_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", {"a": hits(40)}, "one")
    write_run(tmp_path / "runs", {"a": hits(40)}, "two")
    with pytest.raises(IbenchError, match=r"records of 2: one 6f6e6500, two 74776f00"):
        emergence(runs(tmp_path / "runs"))


def test_a_task_that_is_there_twice_is_refused_with_what_differs(tmp_path: Path) -> None:
    made("sounds", hits(60), tmp_path, AUDIO)
    made("sounds", hits(60), tmp_path, AUDIO, limited=90)
    with pytest.raises(IbenchError, match=r"sounds \(ibench\) is there twice, with another limited"):
        emergence(runs(tmp_path))


def test_where_nothing_is_emergent_one_line_says_so(ibench: RunIbench, tmp_path: Path) -> None:
    made("pictures", hits(80), tmp_path / "run", IMAGE)
    done = ibench("emergence", "--run", tmp_path / "run")
    assert done.returncode == 0
    assert done.stdout == ("one: no emergent pair among these records (1); it was trained on audio–image, image–text\n")
    refused = ibench("emergence", "--run", tmp_path / "run", "--out", "page.html")
    assert refused.returncode == 2
    assert "no emergent pair" in refused.stderr


def test_shots_alone_are_no_emergence(ibench: RunIbench, tmp_path: Path) -> None:
    write_run(tmp_path / "shots", {"t": np.arange(30) % 3 != 0}, kind=Kind.FEWSHOT)
    assert ibench("emergence", "--run", "shots").stdout.startswith("one: few-shot records alone;")


def test_the_report_of_a_run_with_its_path(ibench: RunIbench, tmp_path: Path) -> None:
    done = ibench("run", "--suite", "demo", "--bridge", "--ckpt", f"{DIGITS}:make_encoder", "--out", "runs")
    assert done.returncode == 0, done.stderr
    told = json.loads(ibench("emergence", "--run", "runs", "--json").stdout)
    (one,) = told["emergent"]
    assert (one["task"], one["via"], one["bridge"]["modality"]) == ("spoken_digits", ["image"], "image")
    (record,) = [kept.record for kept in runs(tmp_path / "runs") if kept.record.emergent]
    assert one["path"] == record.metrics["bridge_top1"].model_dump()
    assert one["share"] == record.metrics["share_of_trained"].model_dump()
    assert [[leg["task"] for leg in side] for side in one["legs"]] == [["spoken_digits_retrieval"], ["digits"]]
    shown = ibench("emergence", "--run", "runs", "--out", "table.md")
    assert "audio→text ◇" in shown.stdout
    assert "| task" in (tmp_path / "table.md").read_text()
    files = sorted((tmp_path / "runs").rglob("*.json"))
    by_file = ibench("emergence", *(word for file in files for word in ("--run", file)), "--json")
    assert json.loads(by_file.stdout) == told


def test_the_demo_ends_with_emergence(ibench: RunIbench) -> None:
    *_, score, path, share = ibench("demo").stdout.splitlines()
    assert score.startswith("◇ spoken_digits, audio→text, never trained together: ")
    assert score.endswith("chance 10.0")
    assert path.startswith("  through image: ")
    assert "image→text, trained: " in path
    assert share.endswith("of the gain of image→text, on other samples of the same classes")


def test_the_forms_say_the_same(framed: Path) -> None:
    report = emergence(runs(framed))
    (told,) = json.loads(emergence_json(report))["emergent"]
    assert told["share"]["value"] == pytest.approx(0.6)
    for form in ("table", "markdown"):
        text = emergence_text(report, form)
        assert "66.7 " in text
        assert "60.0 " in text
        assert "is framed by audio→image 77.8 (matched, top1), image→text 88.9 (pictures, top1)" in text
    assert len(emergence_lines(report)) == 2


def test_a_record_with_its_path_comes_back_from_json(framed: Path) -> None:
    (record,) = [kept.record for kept in runs(framed) if kept.record.emergent]
    assert Record.model_validate_json(record.model_dump_json()) == record
