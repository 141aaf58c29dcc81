"""The kind fewshot, from a task file to records: by a training split, by folds, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import RunIbench
from PIL import Image
from pydantic import ValidationError
from toy_encoder import COLOURS, make_oracle

import ibench
from ibench.api import Request, plan
from ibench.datasets import open_dataset
from ibench.datasets.base import TRAINING
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.results import Record, load_all, samples_of
from ibench.tasks import METRICS, Kind, TaskSpec, load_task

ROOT = Path(__file__).parents[1]
DEMO = f"{ROOT / 'examples' / 'digits_bind' / 'digits_bind_encoder.py'}:make_encoder"
SHOTS = {"shots": [1, 2], "draws": 3}


def spec_of(**more: Any) -> TaskSpec:
    fields: dict[str, Any] = {
        "name": "few-colours",
        "version": 1,
        "kind": "fewshot",
        "query": "image",
        "target": "text",
        "dataset": {"reader": "folder", "path": "colours", "split": "test", "train": "train"},
        "protocols": {"ibench": {"prompts": "lb_sound"}},
        **SHOTS,
    }
    return TaskSpec.model_validate({key: value for key, value in {**fields, **more}.items() if value is not None})


@pytest.fixture
def colours_apart(tmp_path: Path) -> Path:
    """``colours/{train,test}/<colour>/<number>.png``: four and three noisy squares of each colour."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 3)):
        for name, colour in COLOURS.items():
            (tmp_path / "colours" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(np.array(colour) * 0.8 + rng.integers(0, 40, (9, 11, 3)), 0, 255)
                file = tmp_path / "colours" / split / name / f"{number}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(file)
    return tmp_path


def run(spec: TaskSpec, root: Path, **more: Any) -> Record:
    (record,) = ibench.evaluate(make_oracle("cpu", "fp32"), [spec], data_root=root, **more)
    return record


def test_an_oracle_needs_no_shot(colours_apart: Path) -> None:
    record = run(spec_of(), colours_apart)
    assert {name: metric.value for name, metric in record.metrics.items()} == dict.fromkeys(
        ["top1@2", "top1@1", "top1@0", "top1@all"], 1.0
    )
    assert (record.headline, record.n, record.kind) == ("top1@2", 9, "fewshot")
    assert record.metrics["top1@1"].method == "t over 3 draws"
    assert record.metrics["top1@0"].method == record.metrics["top1@all"].method == "Wilson"
    (curve,) = record.curves
    assert (curve.metric, curve.over, [value for value, _ in curve.points]) == ("top1", "shots", [0, 1, 2])
    assert [metric for _, metric in curve.points] == [record.metrics[f"top1@{k}"] for k in (0, 1, 2)]
    assert "scikit-learn" in record.versions


def test_without_a_shot_it_is_the_classification_and_what_is_tested_is_embedded_once(colours_apart: Path) -> None:
    dataset = {"reader": "folder", "path": "colours", "split": "test"}
    plain = spec_of(name="colours", kind="classification", dataset=dataset, shots=None, draws=None)
    store = colours_apart / "store"
    told = Notes()
    reference = f"{ROOT / 'tests' / 'support' / 'toy_encoder.py'}:make_random"
    classified, few = (
        ibench.evaluate(reference, [spec], data_root=colours_apart, store=store, progress=told)[0]
        for spec in (plain, spec_of())
    )
    assert few.metrics["top1@0"] == classified.metrics["top1"]
    assert told.encoded == {"colours image": 9, "few-colours image for training": 12}
    assert few.dataset_fingerprint != classified.dataset_fingerprint


class Notes:
    """Counts what is encoded of each job."""

    def __init__(self) -> None:
        self.encoded: dict[str, int] = {}

    def plan(self, jobs: int, samples: int) -> None: ...

    def start(self, title: str, total: int) -> None:
        if "prompts" not in title:
            self.encoded[title] = total

    def advance(self, samples: int) -> None: ...

    def note(self, text: str) -> None: ...


@pytest.mark.parametrize("name", ["digits", "spoken_digits"])
def test_folds_test_every_sample_and_no_shot_is_the_zero_shot_score(name: str) -> None:
    plain = load_task(name)
    few = load_task(f"{name}_fewshot").model_copy(update={"shots": (1,), "draws": 2})
    records = {record.task: record for record in ibench.evaluate(DEMO, [plain, few])}
    record = records[f"{name}_fewshot"]
    assert record.metrics["top1@0"] == records[name].metrics["top1"]
    assert record.n == records[name].n
    assert record.metrics["top1@all"].value > 0.9
    items = open_dataset(few, None).items[few.query]
    assert {item.fold for item in items} == {"1", "2", "3", "4", "5"}
    folds_of: dict[str, set[str]] = {}
    for item in items:
        folds_of.setdefault(item.cluster or item.id, set()).add(item.fold)
    assert all(len(folds) == 1 for folds in folds_of.values())


def test_existing_tasks_have_no_folds_and_their_fingerprints() -> None:
    digits = open_dataset(load_task("digits"), None)
    (kept,) = [one for one in load_all(ROOT / "results" / "digits-bind-698e99bc") if one.task == "digits"]
    assert digits.fingerprint() == kept.dataset_fingerprint
    assert load_task("digits").fingerprint(load_task("digits").protocol(None)[1]) == kept.task_fingerprint
    assert {item.fold for item in digits.items[Modality.IMAGE]} == {""}


def test_a_manifest_has_splits_or_folds(colours_apart: Path) -> None:
    files = sorted((colours_apart / "colours").rglob("*.png"))
    rows = [
        (file.relative_to(colours_apart), file.parent.name, file.parts[-3], number % 2)
        for number, file in enumerate(files)
    ]
    lines = [",".join(map(str, row)) for row in [("path", "label", "split", "half"), *rows]]
    (colours_apart / "all.csv").write_text("\n".join(lines))
    split = spec_of(dataset={"reader": "manifest", "path": "all.csv", "split": "test", "train": "train"})
    record = run(split, colours_apart)
    assert (record.n, record.score.value) == (9, 1.0)
    folds = spec_of(dataset={"reader": "manifest", "path": "all.csv", "columns": {"fold": "half"}})
    record = run(folds, colours_apart)
    assert (record.n, record.score.value) == (21, 1.0)
    wrong = spec_of(dataset={"reader": "manifest", "path": "all.csv", "split": "test", "train": "dev"})
    with pytest.raises(IbenchError, match="no row has 'dev' in column 'split'; it has test, train"):
        run(wrong, colours_apart)


def test_ids_that_are_in_both_splits_are_told_apart(colours_apart: Path) -> None:
    rows = [
        f"{file.relative_to(colours_apart)},{file.parent.name},{file.parts[-3]},{file.parent.name}-{file.stem}"
        for file in sorted((colours_apart / "colours").rglob("*.png"))
    ]
    (colours_apart / "all.csv").write_text("\n".join(["path,label,split,id", *rows]))
    spec = spec_of(dataset={"reader": "manifest", "path": "all.csv", "split": "test", "train": "train"})
    items = open_dataset(spec, colours_apart).items[Modality.IMAGE]
    assert len({item.id for item in items}) == 21
    assert {item.id.startswith("train/") for item in items if item.fold == TRAINING} == {True}
    assert run(spec, colours_apart).score.value == 1.0


def test_a_limit_is_of_what_is_tested(colours_apart: Path) -> None:
    record = run(spec_of(), colours_apart, limit=4)
    assert (record.n, record.limited) == (4, 4)
    assert run(spec_of(), colours_apart, limit=9).limited is None


def test_a_limit_of_folds_may_leave_too_little_to_train_on() -> None:
    with pytest.raises(IbenchError, match=r"beside fold 1 in a run with --limit, of which 8 shots"):
        ibench.evaluate(DEMO, ["digits_fewshot"], limit=10)


def test_the_copy_is_checked_on_both_sides(colours_apart: Path, ibench: RunIbench) -> None:
    file = colours_apart / "few.yaml"
    file.write_text(yaml.safe_dump(spec_of().model_dump(mode="json", exclude_defaults=True)))
    (colours_apart / "colours" / "train" / "red" / "0.png").write_bytes(b"no picture")
    done = ibench("data", "check", file, "--workers", 0)
    assert "few-colours: 1 unreadable" in done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("image")]
    assert rows == [["image", "9", "0"], ["image", "for", "training", "12", "1"]]


def test_a_class_with_fewer_samples_than_shots_is_named(colours_apart: Path) -> None:
    (colours_apart / "colours" / "train" / "green" / "0.png").unlink()
    assert run(spec_of(shots=[3]), colours_apart).headline == "top1@3"
    with pytest.raises(IbenchError, match=r"few-colours: class 'green' has 3 samples to train on, .*4 shots"):
        run(spec_of(shots=[1, 4]), colours_apart)


def test_too_few_samples_are_told_before_any_is_embedded(colours_apart: Path) -> None:
    with pytest.raises(IbenchError, match=r"class 'blue' has 4 samples to train on, of which 5 shots"):
        plan(Request(make_oracle("cpu", "fp32"), [spec_of(shots=[5])], data_root=colours_apart))


def test_where_no_training_sample_can_be_read_that_is_said(colours_apart: Path) -> None:
    """Nothing of theirs was encoded, so that the size of a vector is known from those that are tested alone."""
    for number, file in enumerate((colours_apart / "colours" / "train").rglob("*.png")):
        file.write_bytes(f"no picture {number}".encode())
    with pytest.raises(IbenchError, match="12 of the samples cannot be read"):
        run(spec_of(), colours_apart)
    with pytest.raises(IbenchError, match="class 'blue' has 0 samples to train on"):
        run(spec_of(), colours_apart, max_unreadable=12)


def test_no_fold_is_called_as_what_is_only_trained_on(colours_apart: Path) -> None:
    """It would never be tested."""
    files = sorted((colours_apart / "colours").rglob("*.png"))
    rows = [
        f"{file.relative_to(colours_apart)},{file.parent.name},{('training', 'test')[i % 2]}"
        for i, file in enumerate(files)
    ]
    (colours_apart / "all.csv").write_text("\n".join(["path,label,half", *rows]))
    spec = spec_of(dataset={"reader": "manifest", "path": "all.csv", "columns": {"fold": "half"}})
    with pytest.raises(IbenchError, match="a fold is called 'training'"):
        run(spec, colours_apart)


def test_a_sample_on_both_sides_is_refused_whatever_its_name(colours_apart: Path) -> None:
    known = colours_apart / "colours" / "train" / "red" / "2.png"
    (colours_apart / "colours" / "test" / "red" / "other.png").write_bytes(known.read_bytes())
    with pytest.raises(IbenchError, match=r"'test/red/other\.png' and 'train/red/2\.png' are the same sample"):
        run(spec_of(), colours_apart)


def test_nothing_to_train_on_is_told(colours_apart: Path) -> None:
    alone = spec_of(dataset={"reader": "folder", "path": "colours", "split": "test"})
    with pytest.raises(IbenchError, match=r"nothing to train on, .* is of no fold; name a training split"):
        run(alone, colours_apart)
    absent = spec_of(dataset={"reader": "folder", "path": "colours", "split": "test", "train": "training"})
    with pytest.raises(IbenchError, match="colours/training not found, the folder of split 'training'"):
        run(absent, colours_apart)
    one_fold = load_task("esc50_fewshot")
    assert one_fold.dataset.train is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"shots": [0, 1]}, "whole numbers from 1"),
        ({"shots": [2, 2]}, "whole numbers from 1"),
        ({"draws": 1}, "greater than or equal to 2"),
        ({"metrics": ["top1@16"]}, "no metric 'top1@16'"),
        ({"target": "audio"}, "from a modality to text"),
        ({"kind": "classification"}, "'shots' is for fewshot, this task is of kind classification"),
    ],
)
def test_bad_specifications_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        spec_of(**wrong)


def test_a_training_split_is_for_fewshot() -> None:
    fields = spec_of().model_dump(exclude={"shots", "draws"}) | {"kind": "classification"}
    with pytest.raises(ValidationError, match="'train' is for fewshot"):
        TaskSpec.model_validate(fields)


def test_the_metrics_are_those_of_the_shots() -> None:
    assert load_task("esc50_fewshot").computed == METRICS[Kind.FEWSHOT]
    assert METRICS[Kind.FEWSHOT] == ("top1@8", "top1@4", "top1@2", "top1@1", "top1@0", "top1@all")
    assert spec_of(metrics=["top1@all"]).headline == "top1@all"


def test_runs_are_compared_and_checked_in_pairs(
    colours_apart: Path, ibench: RunIbench, toy: Callable[[str], str]
) -> None:
    file = colours_apart / "few.yaml"
    file.write_text(yaml.safe_dump(spec_of().model_dump(mode="json", exclude_defaults=True)))
    for name in ("oracle", "random"):
        done = ibench("run", "--task", file, "--ckpt", toy(name), "--out", name)
        assert done.returncode == 0, done.stderr
        assert "few-colours:\n" in done.stdout
        assert "shots" in done.stdout
    told = ibench("compare", "oracle", "random").stdout
    assert "difference" in told
    assert "paired bootstrap" in told
    flipped = ibench("compare", "oracle", "random", "--samples")
    assert "lost by random" in flipped.stdout, flipped.stderr
    same = ibench("check", "--baseline", "oracle", "--run", "oracle")
    assert same.returncode == 0, same.stderr
    assert ibench("check", "--baseline", "oracle", "--run", "random").returncode == 1
    assert ibench("check", "--baseline", "oracle", "--run", "oracle", "--exact").returncode == 0
    page = ibench("report", "random", "--task", file)
    assert page.returncode == 0, page.stderr
    text = Path("report.html").read_text()
    assert "top1 over shots" in text
    assert "of the draws; right in" in text


def test_the_rows_hold_every_metric(colours_apart: Path) -> None:
    record = run(spec_of(), colours_apart, out=colours_apart / "runs")
    rows = samples_of(next((colours_apart / "runs").rglob("*.json")))
    assert len(rows) == 9
    for name, metric in record.metrics.items():
        assert rows[name].mean() == pytest.approx(metric.value), name
    assert rows["top1@0"].dtype == bool
