"""Composition from files to records: a pool of pictures of one colour or two, and of tones that mean a colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import RunIbench, tone
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from toy_encoder import COLOURS, TONES_HZ, ToyEncoder, hear, see_image, see_text

import ibench as package
from ibench.api import report
from ibench.cells import bind
from ibench.datasets import open_dataset
from ibench.datasets.base import FAKE_MARKER
from ibench.datasets.fakes import write_fake
from ibench.encoders.base import Encoder
from ibench.errors import IbenchError
from ibench.modalities import Modality, RawSample
from ibench.report.leaderboard import write as write_leaderboard
from ibench.report.tables import pair
from ibench.results import Record, load_all, samples_of
from ibench.tasks import TaskSpec, load_task

SOUND_OF = dict(zip(COLOURS, TONES_HZ, strict=True))
"""The tone that stands for a colour, so that a sound and a picture can mean the same."""

DIGITS = "examples/digits_bind/digits_bind_encoder.py:make_encoder"
ROOT = Path(__file__).parents[1]


def hear_a_colour(sound: RawSample) -> Tensor:
    return torch.roll(hear(sound), 3, dims=1)


def oracle() -> Encoder:
    seen = {Modality.TEXT: see_text, Modality.IMAGE: see_image, Modality.AUDIO: hear_a_colour}
    return ToyEncoder("oracle", seen)


def shuffled(seed: int) -> Encoder:
    """What the oracle says, of another sample: it has three answers, dealt out by the digest of a sample."""

    def anything(raw: RawSample) -> Tensor:
        data = np.asarray(getattr(raw, "samples", raw)).tobytes()
        return torch.from_numpy(np.random.default_rng([seed, len(data), sum(data)]).standard_normal((1, 6)))

    return ToyEncoder("shuffled", {Modality.IMAGE: anything, Modality.AUDIO: anything})


def spec_of(**more: Any) -> TaskSpec:
    fields = {
        "name": "colour-and-tone",
        "version": 1,
        "kind": "composition",
        "query": "image",
        "target": "image",
        "fuse": ["image", "audio"],
        "relevant": "both",
        "dataset": {"reader": "manifest", "path": "pool.csv", "columns": {"image": "picture", "audio": "sound"}},
        "protocols": {"ibench": {}},
    }
    return TaskSpec.model_validate({**fields, **more})


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Five shades of each colour and each mixture of two, and two tones for each colour; rows have one or the other."""
    rng = np.random.default_rng(0)
    rows = ["id,picture,sound,label"]
    names = list(COLOURS)
    for labels in (*((name,) for name in names), *((names[at], names[(at + 1) % 3]) for at in range(3))):
        for shade in range(5):
            colour = np.mean([COLOURS[label] for label in labels], axis=0) * (0.6 + 0.1 * shade)
            pixels = np.clip(colour + rng.integers(0, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
            name = f"{'-'.join(labels)}-{shade}"
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
            rows.append(f'{name},{name}.png,,"{", ".join(labels)}"')
    for label in names:
        for take in range(2):
            tone(TONES_HZ[SOUND_OF[label]], 0.3 + 0.1 * take, 16_000, tmp_path / f"{label}-{take}.wav")
            rows.append(f"sound-{label}-{take},,{label}-{take}.wav,{label}")
    (tmp_path / "pool.csv").write_text("\n".join(rows))
    return tmp_path


def run(spec: TaskSpec, root: Path, encoder: Encoder | None = None, **more: Any) -> Record:
    (record,) = package.evaluate(encoder or oracle(), [spec], data_root=root, **more)
    return record


# oracle and chance ----------------------------------------------------------------------------------------------------


def test_an_oracle_finds_what_holds_both_and_neither_part_does_alone(pool: Path) -> None:
    record = run(spec_of(), pool)
    values = {name: metric.value for name, metric in record.metrics.items()}
    assert values == {
        **dict.fromkeys(("recall@1", "recall@5", "recall@10", "mrr", "median_rank"), 1),
        "first_recall@1": 0,
        "second_recall@1": 0,
        "gain": 1,
    }
    assert record.n == 6 * 5  # ordered pairs of three colours, each picture of the first in one query
    assert record.chance == pytest.approx(5 / 29)  # five of thirty hold both, and a query is not in its own gallery
    assert not record.emergent
    assert pair(record) == "image+audio→image"


def test_an_oracle_finds_the_one_without_the_other(pool: Path) -> None:
    record = run(spec_of(relevant="first_not_second", fuse={"image": 1, "audio": -0.5}), pool)
    assert record.metrics["recall@1"].value == 1
    assert record.metrics["second_recall@1"].value < 1  # away from green is as near to blue as to red


def test_a_shuffled_encoder_is_at_chance(pool: Path) -> None:
    records = [run(spec_of(), pool, shuffled(seed)) for seed in range(12)]
    assert np.mean([record.score.value for record in records]) == pytest.approx(records[0].chance, abs=0.06)
    assert abs(np.mean([record.metrics["gain"].value for record in records])) < 0.1


# which queries --------------------------------------------------------------------------------------------------------


def test_the_seed_of_the_run_moves_no_query_and_that_of_the_task_does(pool: Path, tmp_path: Path) -> None:
    def ids(out: str, **more: Any) -> list[str]:
        spec = spec_of(draw={"each": 2, "seed": more.pop("draw", 0)})
        run(spec, pool, out=tmp_path / out, **more)
        return list(samples_of(next((tmp_path / out).rglob("*.json")))["id"])

    assert ids("one") == ids("two", seed=7)
    assert ids("one") != ids("three", draw=1)
    assert len(ids("one")) == 12


def test_a_sample_that_cannot_be_read_takes_its_queries_with_it_and_no_others(pool: Path, tmp_path: Path) -> None:
    run(spec_of(), pool, out=tmp_path / "whole")
    (pool / "red-0.wav").write_bytes(b"no sound")
    with pytest.raises(IbenchError, match="1 of the samples cannot be read"):
        run(spec_of(), pool)
    record = run(spec_of(), pool, out=tmp_path / "damaged", max_unreadable=1)
    whole, damaged = (samples_of(next((tmp_path / out).rglob("*.json"))) for out in ("whole", "damaged"))
    assert set(damaged["id"]) == set(whole.loc[whole["second"] != "sound-red-0", "id"])
    assert 0 < len(damaged) < len(whole)
    assert (record.n, record.n_unreadable) == (len(damaged), 1)


def test_a_limit_takes_the_first_of_each_modality(pool: Path) -> None:
    rows = (pool / "pool.csv").read_text().splitlines()
    mixed = [rows[0], *sorted(rows[1:], key=lambda row: row.split(",")[0].rpartition("-")[2])]
    (pool / "pool.csv").write_text("\n".join(mixed))
    record = run(spec_of(), pool, limit=12)
    assert record.limited == 12
    assert not record.ranked
    with pytest.raises(IbenchError, match="in this pool under --limit 1: image, 1 of 1 of one label alone"):
        run(spec_of(), pool, limit=1)


def test_samples_of_a_recording_are_one_cluster(pool: Path) -> None:
    """Six sounds stand in thirty queries: an interval over thirty would be too narrow."""
    record = run(spec_of(), pool, shuffled(0))
    assert "cluster" in record.score.method


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"query": "audio", "fuse": ["image", "video"]}, "'query' is the modality of the first part"),
        ({"metrics": ["reverse_recall@1"]}, "asks in one direction"),
        ({"relevant": "first_not_second"}, "give it a weight below 0, not 0.5"),
        ({"relevant": "first_not_second", "fuse": {"image": 1, "audio": -1}}, r"\(1 and -1\) .* whose sum is above 0"),
        ({"fuse": {"image": 1, "audio": -0.5}}, "is for 'relevant: first_not_second'"),
        ({"fuse": {"image": 1e300, "audio": 1}}, "must be at most 1e\\+06"),
        ({"fuse": {"image": 1e-300, "audio": 1e-300}}, "their sum at least 1e-06"),
        ({"fuse": {"image": float("nan"), "audio": 1}}, "whose sum is above 0"),
        ({"chance": 1.5}, "'chance' is a share of 1, not 1.5"),
        ({"chance": float("nan")}, "chance"),
        ({"relevant": "neither"}, "relevant"),
        ({"draw": {"each": 0}}, "greater than 0"),
        ({"metrics": ["top1"]}, "composition has no metric 'top1'"),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        spec_of(**change)


def test_a_predicate_that_matches_nothing_is_told(pool: Path) -> None:
    table = pool / "pool.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join(row for row in rows if ", " not in row))
    with pytest.raises(IbenchError, match=r"this pool: image, 15 of 15 .*; 15 image to search, 0 of them of several"):
        run(spec_of(), pool)
    table.write_text("\n".join(row for row in rows if "sound-" not in row or "-red-" in row))
    less = {"relevant": "first_not_second", "fuse": {"image": 1, "audio": -0.5}}
    assert run(spec_of(**less), pool).n == 2 * 5  # green and blue, without red


def test_parts_of_one_label_are_told(pool: Path) -> None:
    table = pool / "pool.csv"
    rows = [row for row in table.read_text().splitlines() if "green" not in row and "blue" not in row]
    table.write_text("\n".join(rows))
    with pytest.raises(IbenchError, match=r"image, 5 of 5 of one label alone \(red\); audio, 2 of 2 "):
        run(spec_of(relevant="first_not_second", fuse={"image": 1, "audio": -0.5}), pool)


def test_modalities_of_a_pool_have_columns_of_their_own(pool: Path) -> None:
    dataset = {"reader": "manifest", "path": "pool.csv"}
    with pytest.raises(IbenchError, match=r"name them, such as 'columns: \{image: image, audio: audio\}'"):
        run(spec_of(dataset=dataset), pool)
    with pytest.raises(IbenchError, match=r"pool\.csv:2: nothing in column 'pictures'; did you mean 'picture'"):
        run(spec_of(dataset={**dataset, "columns": {"image": "pictures", "audio": "sound"}}), pool)


def test_a_text_may_be_a_part_or_what_is_searched(pool: Path) -> None:
    table = pool / "pool.csv"
    rows = [f"{row}," for row in table.read_text().splitlines()]
    rows[0] += "caption"
    rows += [f",,,{colour},something {colour}" for colour in COLOURS]
    rows += [',,,"red, blue",red on blue', ',,,"green,red",green and red']
    table.write_text("\n".join(rows))
    for spec in (spec_of(fuse=["image", "text"]), spec_of(target="text")):
        assert run(spec, pool).score.value == 1
    assert pair(run(spec_of(fuse=["image", "text"]), pool)) == "image+text→image"
    record = run(spec_of(target="text"), pool)
    assert record.n == 2 * 2 * 5  # what is green and blue has no text
    assert record.chance == pytest.approx(1 / 5)


# the sweep ------------------------------------------------------------------------------------------------------------


def test_a_sweep_ends_at_the_parts_and_changes_nothing_else(pool: Path) -> None:
    plain, swept = run(spec_of(), pool), run(spec_of(), pool, sweep=5)
    assert plain.curves == ()
    assert {**swept.measured(), "curves": []} == plain.measured()
    (curve,) = swept.curves
    assert (curve.metric, curve.over) == ("recall@1", "weight of image")
    values = [metric for _, metric in curve.points]
    assert (values[0], values[-1]) == (swept.metrics["second_recall@1"], swept.metrics["first_recall@1"])
    assert values[2] == swept.metrics["recall@1"]


def test_a_sweep_encodes_nothing_again(ibench: RunIbench) -> None:
    told = ("run", "--task", "two_digits", "--ckpt", ROOT / DIGITS, "--limit", "40", "--store", "store")
    assert ibench(*told).returncode == 0
    again = ibench(*told, "--sweep", "3", "--json")
    assert "all embeddings are in the store; the encoder was not opened" in again.stderr
    (record,) = json.loads(again.stdout)
    assert [weight for weight, _ in record["curves"][0]["points"]] == [0, 0.5, 1]


def test_a_sweep_of_no_composition_is_refused(ibench: RunIbench) -> None:
    done = ibench("run", "--task", "digits", "--ckpt", ROOT / DIGITS, "--sweep", "3")
    assert done.returncode == 2
    assert "none of these tasks is one" in done.stderr
    for weights in ("1", "1002"):
        assert ibench("run", "--task", "digits", "--ckpt", ROOT / DIGITS, "--sweep", weights).returncode == 2
    with pytest.raises(IbenchError, match="from 2"):
        package.evaluate(ROOT / DIGITS, ["two_digits"], sweep=1)
    with pytest.raises(IbenchError, match="a sweep of 100,000 weights: from 2, both parts alone, to 1,001"):
        package.evaluate(ROOT / DIGITS, ["two_digits"], sweep=100_000)


# whatever is done with runs -------------------------------------------------------------------------------------------


def test_two_runs_are_compared_and_checked(pool: Path, tmp_path: Path) -> None:
    task = tmp_path / "colour-and-tone.yaml"
    for headline in ("recall@1", "gain", "first_recall@1"):
        spec = spec_of(metrics=[headline])
        for name, encoder in (("good", oracle()), ("bad", shuffled(1))):
            run(spec, pool, encoder, out=tmp_path / headline / name, sweep=3 if name == "bad" else None)
        (row,) = package.compare([tmp_path / headline / "good", tmp_path / headline / "bad"]).rows
        (found,) = row.paired.values()
        records = list(row.records.values())
        assert found.difference.value == pytest.approx(records[1].score.value - records[0].score.value)
        gate = package.check(tmp_path / headline / "good", run=tmp_path / headline / "bad", tasks=[task])
        assert str(gate.state) == ("pass" if headline == "first_recall@1" else "fail")


def test_the_page_shows_both_parts(pool: Path, tmp_path: Path) -> None:
    task = tmp_path / "task.yaml"
    task.write_text(spec_of().model_dump_json(exclude_defaults=True))
    run(spec_of(), pool, shuffled(0), out=tmp_path / "runs")
    text = report(tmp_path / "runs", tmp_path / "page.html", data_root=pool, tasks=[task]).read_text()
    assert "<em>plus</em>" in text
    assert "spectrogram up to" in text
    assert "image+audio→image: furthest from right" in text
    assert "red and green" in text


@pytest.mark.parametrize("name", ["msrvtt_av", "coco_esc50", "two_digits"])
def test_the_bundled_tasks_are_listed_checked_and_ranked(name: str, ibench: RunIbench, tmp_path: Path) -> None:
    spec = load_task(name)
    assert name in ibench("tasks").stdout
    assert ibench("tasks", "validate", ROOT / "tasks" / spec.folder.name / f"{name}.yaml").returncode == 0
    if name == "two_digits":
        assert ibench("data", "check", name, "--workers", "0").returncode == 0
        ibench("run", "--task", name, "--ckpt", ROOT / DIGITS, "--out", "runs")
        pages = write_leaderboard(load_all(tmp_path / "runs"), tmp_path / "board")
        assert any(name in page.read_text() for page in pages)


# the demo -------------------------------------------------------------------------------------------------------------


def test_the_demo_shows_that_adding_gains() -> None:
    """No part of what is asked with is in a picture of two digits, so nothing is found by its pixels."""
    (record,) = package.evaluate(ROOT / DIGITS, ["two_digits"])
    assert record.score.low > 20 * record.chance
    assert record.metrics["gain"].low > 0.3
    assert max(record.metrics[f"{part}_recall@1"].high for part in ("first", "second")) < 0.03
    cell = bind(load_task("two_digits"), open_dataset(load_task("two_digits"), None), None, None, None)
    double = [item for item in cell.dataset.items[Modality.IMAGE] if len(item.labels) == 2]
    made_of = {number for item in double for number in item.id.removeprefix("digit-").split("+")}
    asked_with = {query.parts[0].removeprefix("digit-") for query in cell.queries}
    assert len(double) == 450
    assert not made_of & asked_with
    assert len({item.content for item in double}) == 450


# the pool of COCO and ESC-50 ------------------------------------------------------------------------------------------


@pytest.fixture
def coco_esc50(tmp_path: Path) -> Path:
    return write_fake(load_task("coco_esc50"), tmp_path)


def test_pictures_have_their_objects_and_sounds_those_they_are_of(coco_esc50: Path) -> None:
    spec = load_task("coco_esc50")
    dataset = open_dataset(spec, coco_esc50)
    pictures, sounds = dataset.items[Modality.IMAGE], dataset.items[Modality.AUDIO]
    assert {item.labels for item in sounds} == {(label,) for label in spec.labels or ()}
    assert () in {item.labels for item in pictures}
    assert {item.labels for item in pictures} >= {("person",), ("airplane",), ("airplane", "bird", "person")}
    assert len(dataset.missing) == 2
    assert all(len(query.labels) == 2 for query in bind(spec, dataset, None, None, None).queries)
    assert (coco_esc50 / FAKE_MARKER).is_file()
    assert dataset.fake


def test_a_sound_is_of_one_category() -> None:
    sounds = [sound for several in (load_task("coco_esc50").labels or {}).values() for sound in several]
    assert len(set(sounds)) == len(sounds)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"labels": {"dog": ["dog"], "dgo": ["cat"]}},
            "label 'dgo' is no category of .*instances_val2017",
        ),
        ({"labels": {"dog": ["dgo"]}}, "'dgo', the sound of 'dog', is no category of ESC-50; did you mean dog"),
        ({"labels": None}, "'labels' say which of ESC-50's categories"),
    ],
)
def test_categories_that_neither_has_are_told(coco_esc50: Path, change: dict[str, Any], told: str) -> None:
    spec = load_task("coco_esc50")
    changed = TaskSpec.model_validate({**spec.model_dump(exclude={"labels"}), **change})
    with pytest.raises(IbenchError, match=told):
        bind(changed, open_dataset(changed, coco_esc50), None, None, None)


def test_a_damaged_annotation_file_is_told(coco_esc50: Path) -> None:
    table = coco_esc50 / "annotations" / "instances_val2017.json"
    instances = json.loads(table.read_text())
    instances["annotations"][0]["image_id"] = 1
    table.write_text(json.dumps(instances))
    with pytest.raises(IbenchError, match="annotation 0 is of picture 1 and category"):
        open_dataset(load_task("coco_esc50"), coco_esc50)
    instances["images"][0]["file_name"] = "../../secret.jpg"
    table.write_text(json.dumps({**instances, "annotations": []}))
    with pytest.raises(IbenchError, match="leaves the data root"):
        open_dataset(load_task("coco_esc50"), coco_esc50)
