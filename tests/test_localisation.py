"""Localisation from files to records: what is found, by which query, and what runs of it have in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser
from conftest import RunIbench, tone
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from toy_encoder import COLOURS, TONES_HZ, ToyEncoder, hear, make_oracle, see_text

import ibench
from ibench.api import Request, plan
from ibench.baseline import runs
from ibench.encoders.base import Encoder
from ibench.errors import IbenchError
from ibench.gate import Policy, State, judge
from ibench.modalities import Modality, RawSample
from ibench.pairs import flipped_samples, paired
from ibench.results import Record, samples_of
from ibench.tasks import TaskSpec, load_task

PLACES = {(0.0, 0.0): "red", (0.5, 0.0): "green", (0.0, 0.5): "blue", (0.5, 0.5): "red"}
SOUND_OF = dict(zip(COLOURS, TONES_HZ, strict=True))
"""Red sounds low, green middle, blue high."""


def spec_of(search: dict[str, Any] | None = None, **more: Any) -> TaskSpec:
    fields = {
        "name": "patches",
        "version": 1,
        "kind": "localisation",
        "query": "audio",
        "target": "image",
        "dataset": {"reader": "vggss", "path": "patches"},
        "protocols": {"ibench": {"prompts": "lb_sound", "search": search or {"scales": [2, 4]}}},
    }
    return TaskSpec.model_validate({**fields, **more})


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    """Twelve black frames with a patch of one colour each, a quarter of the frame, and the tone of that colour."""
    root = tmp_path / "patches"
    for folder in ("frames", "audio"):
        (root / folder).mkdir(parents=True)
    clips = []
    for number in range(12):
        (left, top), colour = list(PLACES.items())[number % 4]
        frame = Image.new("RGB", (64, 32))
        frame.paste(COLOURS[colour], (int(left * 64), int(top * 32), int(left * 64) + 32, int(top * 32) + 16))
        frame.save(root / "frames" / f"f{number}.jpg", "PNG")
        tone(TONES_HZ[SOUND_OF[colour]], 0.25, 16_000, root / "audio" / f"f{number}.wav")
        clips.append({"file": f"f{number}", "class": colour, "bbox": [[left, top, left + 0.5, top + 0.5]]})
    (root / "vggss.json").write_text(json.dumps(clips))
    return tmp_path


def see_colour(image: RawSample) -> Tensor:
    """Red, green or blue where there is nothing else in the picture, else a fourth axis."""
    pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    pure = [float((pixels == colour).all()) for colour in COLOURS.values()]
    return torch.tensor([[*pure, 1.0 - sum(pure), 0.0, 0.0]])


def hear_colour(sound: RawSample) -> Tensor:
    return torch.roll(hear(sound), 3, dims=1)


def hear_another(sound: RawSample) -> Tensor:
    """The tone of another colour than the one that is there: as an encoder whose pairs were mixed up."""
    heard = hear_colour(sound)
    return torch.cat([torch.roll(heard[:, :3], 1, dims=1), heard[:, 3:]], dim=1)


def bound_by_colour(hearing: Callable[[RawSample], Tensor] = hear_colour, with_text: bool = True) -> Encoder:
    seen = {Modality.IMAGE: see_colour, Modality.AUDIO: hearing}
    return ToyEncoder("bound", {**seen, Modality.TEXT: see_text} if with_text else seen)


def run(encoder: Encoder, root: Path, spec: TaskSpec | None = None, **more: Any) -> Record:
    (record,) = ibench.evaluate(encoder, [spec or spec_of()], data_root=root, **more)
    return record


def values(record: Record) -> dict[str, float]:
    return {name: metric.value for name, metric in record.metrics.items()}


def test_an_oracle_finds_every_source_by_sound_and_by_name(patches: Path) -> None:
    record = run(bound_by_colour(), patches)
    found = values(record)
    assert list(found) == [
        f"{prefix}{name}" for prefix in ("", "text_", "centre_") for name in ("ciou@0.5", "auc", "pointing")
    ]
    assert {value for name, value in found.items() if not name.startswith("centre_")} == {1.0}
    assert found["centre_ciou@0.5"] == 0.0  # a quarter in the corner: 0.25 of 0.25 + 0.5
    assert found["centre_pointing"] == pytest.approx(0.25)  # the pixel above left of the middle
    assert (record.n, record.headline, record.emergent) == (12, "ciou@0.5", True)
    assert 0 < record.chance < 0.5


def test_an_encoder_of_mixed_up_pairs_finds_what_does_not_sound(patches: Path) -> None:
    record = run(bound_by_colour(hear_another), patches)
    assert record.score.value == record.metrics["pointing"].value == 0
    assert record.metrics["text_ciou@0.5"].value == 1


def test_a_random_encoder_is_near_chance() -> None:
    """On the digits, whose frames are many: within three standard errors of chance."""
    rng = np.random.default_rng(0)
    noise = {one: lambda raw: torch.from_numpy(rng.standard_normal((1, 16)).astype(np.float32)) for one in Modality}
    spec = load_task("digits_localisation").model_copy(update={"metrics": ("pointing",)})
    (record,) = ibench.evaluate(ToyEncoder("random", noise), [spec], limit=150)
    n, expected = record.n, record.chance
    assert abs(record.score.value - expected) < 3 * np.sqrt(expected * (1 - expected) / n)
    assert 0.01 < expected < 0.2


def test_an_encoder_of_one_vector_finds_nothing(patches: Path) -> None:
    constant = bound_by_colour()
    constant.spoil = "constant"  # type: ignore[attr-defined]
    record = run(constant, patches)
    assert record.score.value == record.metrics["pointing"].value == 0 < record.chance


def test_an_encoder_without_text_is_asked_by_sound_alone(patches: Path) -> None:
    record = run(bound_by_colour(with_text=False), patches)
    assert record.score.value == 1
    assert not any(name.startswith("text_") for name in record.metrics)
    assert (record.prompts, record.texts_fingerprint) == (None, None)
    with pytest.raises(IbenchError, match=r"there is no text_ciou@0\.5"):
        run(bound_by_colour(with_text=False), patches, spec_of(metrics=["text_ciou@0.5"]))


def test_the_batch_size_changes_nothing(patches: Path) -> None:
    first, *others = (run(bound_by_colour(), patches, batch_size=size) for size in (64, 1, 7))
    for other in others:
        assert other.measured() == first.measured()


@pytest.mark.slow
def test_workers_change_nothing(patches: Path) -> None:
    here, there = (run(bound_by_colour(), patches, batch_size=7, workers=workers) for workers in (0, 2))
    assert there.measured() == here.measured()


def test_another_grid_or_threshold_is_another_task(patches: Path) -> None:
    searches = (
        {"scales": [2, 4]},
        {"scales": [2]},
        {"scales": [2, 4], "steps": 1},
        {"scales": [2, 4], "threshold": 0.5},
    )
    specs = [spec_of(search) for search in searches]
    assert len({spec.fingerprint(spec.protocol(None)[1]) for spec in specs}) == 4
    records = [run(bound_by_colour(), patches, spec) for spec in specs]
    assert len({record.dataset_fingerprint for record in records}) == 3  # a threshold looks at the same windows
    assert all(record.score.value == 1 for record in records)


def test_rows_say_what_was_found(patches: Path) -> None:
    record = run(bound_by_colour(), patches, out=patches / "runs")
    rows = samples_of(next((patches / "runs").rglob("*.json")))
    assert rows["id"].tolist() == [f"f{number}" for number in range(12)]
    assert rows["gold"].tolist() == [PLACES[place] for place in PLACES] * 3
    assert {len(cosines) for cosines in rows["scores"]} == {9 + 49}
    for row in rows.itertuples():
        assert row.prediction == f"{row.id}#{int(np.argmax(row.scores))}"
        assert row.score == max(row.scores)
        ((left, _, right, _),) = row.boxes
        assert right - left == 0.5
    assert set(rows["ciou"]) == {1.0}
    assert rows["correct"].mean() == record.score.value


def test_a_frame_that_cannot_be_read_counts_once(patches: Path) -> None:
    (patches / "patches" / "frames" / "f3.jpg").write_bytes(b"no picture")
    (patches / "patches" / "audio" / "f4.wav").write_bytes(b"no sound")
    with pytest.raises(IbenchError, match="2 of the samples cannot be read"):
        run(bound_by_colour(), patches)
    record = run(bound_by_colour(), patches, max_unreadable=2)
    assert (record.n, record.n_unreadable, sorted(record.unreadable)) == (10, 2, ["f3", "f4"])
    assert record.score.value == 1


def test_a_limit_takes_frames_and_their_sounds(patches: Path) -> None:
    record = run(bound_by_colour(), patches, limit=5)
    assert (record.n, record.limited) == (5, 5)


def test_missing_frames_are_told(patches: Path, ibench: RunIbench) -> None:
    (patches / "patches" / "frames" / "f3.jpg").unlink()
    (patches / "patches.yaml").write_text(spec_of().model_dump_json(exclude_unset=True))
    done = ibench("data", "check", "patches.yaml")
    assert done.returncode == 2
    assert "1 missing: frames/f3.jpg" in done.stdout.replace("\n", " ") or "frames/f3.jpg" in done.stdout
    assert "patches: 1 missing" in done.stderr


def test_proposals_are_searched(patches: Path) -> None:
    """What is not proposed is not found."""
    clips = json.loads((patches / "patches" / "vggss.json").read_text())
    spec = spec_of({"threshold": 0.5}, dataset={"reader": "vggss", "path": "patches", "proposals": "boxes.json"})
    for own, found in (([clip["bbox"][0] for clip in clips], 1), ([[0.4, 0.0, 0.6, 0.1]] * 12, 0)):
        boxes = {clip["file"]: [box, [0.4, 0.4, 0.6, 0.6]] for clip, box in zip(clips, own, strict=True)}
        (patches / "patches" / "boxes.json").write_text(json.dumps(boxes))
        assert run(bound_by_colour(), patches, spec).score.value == found


# two runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_runs(patches: Path) -> tuple[Path, Path]:
    for name, hearing in (("good", hear_colour), ("bad", hear_another)):
        encoder = bound_by_colour(hearing)
        encoder.card = encoder.card.model_copy(update={"name": name})  # type: ignore[misc]
        run(encoder, patches, out=patches / name)
    return patches / "good", patches / "bad"


def test_runs_are_compared_sound_by_sound(two_runs: tuple[Path, Path], ibench: RunIbench) -> None:
    (good,), (bad,) = (runs(place) for place in two_runs)
    found = paired(good, bad)
    assert (found.first, found.second, found.changed, found.n) == (1.0, 0.0, 12, 12)
    assert found.test == "exact McNemar"
    assert found.p == pytest.approx(2 * 0.5**12)
    lost = flipped_samples(good, bad)
    assert list(lost.columns) == ["id", "gold", "now", "prediction_before", "prediction_after"]
    assert set(lost["now"]) == {"wrong"}
    done = ibench("compare", *two_runs, "--samples")
    assert done.returncode == 0, done.stderr
    assert "12 samples lost by bad against good" in done.stdout
    assert "patches" in ibench("compare", *two_runs).stdout


@pytest.mark.parametrize("metric", ["auc", "pointing", "text_auc", "centre_ciou@0.5"])
def test_any_metric_may_be_the_headline_that_is_compared(patches: Path, metric: str) -> None:
    for name, hearing in (("good", hear_colour), ("bad", hear_another)):
        encoder = bound_by_colour(hearing)
        encoder.card = encoder.card.model_copy(update={"name": name})  # type: ignore[misc]
        record = run(encoder, patches, spec_of(metrics=[metric]), out=patches / metric / name)
        assert record.headline == metric
        assert 0 <= record.chance <= 1
    (good,), (bad,) = (runs(patches / metric / name) for name in ("good", "bad"))
    found = paired(good, bad)
    assert found.value < 0 if "_" not in metric else found.value == 0


def test_the_gate_tells_what_became_worse(two_runs: tuple[Path, Path]) -> None:
    (good,), (bad,) = (runs(place) for place in two_runs)
    assert judge([good], [bad], Policy(), {}).state is State.FAIL
    assert judge([good], [good], Policy(), {}).state is State.PASS


def test_an_exact_gate_looks_at_every_window(two_runs: tuple[Path, Path]) -> None:
    (good,) = runs(two_runs[0])
    assert judge([good], [good], Policy(), {}, exact=True).state is State.PASS
    rows = good.samples()
    moved = [scores.copy() for scores in rows["scores"]]
    moved[3][7] -= 0.01  # a window that is not the best
    rows.assign(scores=moved).to_parquet(two_runs[0] / "moved.parquet")
    gate = judge([good], [replace(good, rows=two_runs[0] / "moved.parquet")], Policy(), {}, exact=True)
    assert gate.state is State.FAIL
    assert "a cosine moved by 0.01" in gate.verdicts[0].reasons[0]


# the page -------------------------------------------------------------------------------------------------------------


def test_hits_and_misses_are_shown_with_their_frames(patches: Path, browser: Browser) -> None:
    run(bound_by_colour(), patches, out=patches / "runs")
    (patches / "patches.yaml").write_text(spec_of().model_dump_json(exclude_unset=True))
    page_file = ibench.api.report(
        patches / "runs", patches / "page.html", data_root=patches, tasks=[patches / "patches.yaml"], samples=3
    )
    with browser.open(page_file) as page:
        assert page.locator(".look.right").count() == 3
        assert page.locator(".look.wrong").count() == 0
        shown = page.locator("img[alt^='frame with the map']")
        assert shown.count() == 3
        assert page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
        assert "cIoU 1.00, points into it" in page.locator(".look").first.inner_text()


# specifications -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"protocols": {"ibench": {}}}, "protocol 'ibench' needs 'search'"),
        ({"protocols": {"ibench": {"search": {}}}}, "give 'scales', or 'proposals'"),
        ({"dataset": {"reader": "vggss", "proposals": "boxes.json"}}, "not both or neither"),
        ({"dataset": {"reader": "vggss", "proposals": "../boxes.json"}}, "inside the data root"),
        ({"protocols": {"ibench": {"search": {"scales": [0]}}}}, "from 1 to 16"),
        ({"protocols": {"ibench": {"search": {"scales": [2, 2]}}}}, "different whole numbers"),
        ({"protocols": {"ibench": {"search": {"scales": [1]}}}}, "finds nothing"),
        ({"protocols": {"ibench": {"search": {"scales": [16], "steps": 8}}}}, "14,641 windows a frame"),
        ({"protocols": {"ibench": {"search": {"scales": [2], "threshold": 1.0}}}}, "between 0 and 1"),
        ({"protocols": {"ibench": {"search": {"scales": [2], "threshold": float("nan")}}}}, "between 0 and 1"),
        ({"protocols": {"ibench": {"search": {"scales": [2], "threshold": "median"}}}}, "upper-half"),
        ({"protocols": {"ibench": {"search": {"scales": [2], "agree": 0}}}}, "agree"),
        ({"protocols": {"ibench": {"search": {"scale": [2]}}}}, "scale"),
        ({"query": "text"}, "set 'query: audio' and 'target: image'"),
        ({"target": "video"}, "set 'query: audio' and 'target: image'"),
        ({"metrics": ["top1"]}, "localisation has no metric 'top1'"),
        ({"kind": "retrieval"}, "are for localisation"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        spec_of(**change)


def test_data_without_boxes_is_refused(patches: Path) -> None:
    (patches / "pairs.csv").write_text("id,image,audio,label\na,patches/frames/f0.jpg,patches/audio/f0.wav,red\n")
    spec = spec_of(
        dataset={"reader": "manifest", "path": "pairs.csv", "columns": {"image": "image", "audio": "audio"}},
        protocols={"ibench": {"search": {"scales": [2]}}},
    )
    with pytest.raises(IbenchError, match="reader 'manifest' says of no audio where its source is"):
        run(bound_by_colour(), patches, spec)


def test_a_headline_of_text_without_text_is_refused_before_anything_is_embedded(patches: Path) -> None:
    spec = spec_of(metrics=["text_pointing"])
    with pytest.raises(IbenchError, match="without class names or text there is no text_pointing"):
        plan(Request(bound_by_colour(with_text=False), [spec], data_root=patches))
    unnamed = spec_of(metrics=["text_pointing"], protocols={"ibench": {"search": {"scales": [2]}}})
    with pytest.raises(IbenchError, match="without class names or text there is no text_pointing"):
        plan(Request(bound_by_colour(), [unnamed], data_root=patches))
    assert run(bound_by_colour(), patches, spec).score.value == 1


def test_an_encoder_without_sound_is_told(patches: Path) -> None:
    encoder = make_oracle("cpu", "fp32")
    encoder.card = encoder.card.model_copy(update={"modalities": (Modality.TEXT, Modality.IMAGE)})  # type: ignore[misc]
    with pytest.raises(IbenchError, match="needs audio, which oracle has not"):
        run(encoder, patches)


def test_prompts_need_classes(tmp_path: Path) -> None:
    from ibench.datasets.fakes import write_fake

    spec = load_task("flickr_soundnet")
    write_fake(spec, tmp_path)
    with pytest.raises(IbenchError, match="no classes that prompts could name"):
        run(bound_by_colour(), tmp_path, spec, prompts="lb_sound")
