"""The page about a run: of the demo, and of miniatures of every modality's layout; in a browser and without."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import Browser
from conftest import RunIbench
from made_runs import write_run
from PIL import Image

from ibench.api import evaluate, report
from ibench.cells import bind
from ibench.datasets import open_dataset
from ibench.datasets.fakes import write_fake
from ibench.encoders import Card
from ibench.encoders.embeddings import StoredEmbeddings, Table
from ibench.modalities import DepthMap, ImuWindow, Modality, Waveform
from ibench.report.classes import curves, matrix, recalls
from ibench.report.thumbnails import MOST_BYTES, SIDE, thumbnail
from ibench.results import load_all, samples_of
from ibench.tasks import load_task

ROOT = Path(__file__).parents[2]
DEMO = next((ROOT / "results").glob("digits-bind-*"))


def of_a_miniature(task: str, place: Path, seed: int = 0) -> Path:
    """Records of random vectors on a miniature of a task's published layout under ``place``/data; their folder."""
    spec = load_task(task)
    write_fake(spec, place / "data")
    cell = bind(spec, open_dataset(spec, place / "data"), None, None, None)
    ids = {modality: [item.id for item in items] for modality, items in cell.dataset.items.items()}
    ids[Modality.TEXT] = cell.all_texts()
    rng = np.random.default_rng(seed)
    tables = {
        modality: Table(
            rng.standard_normal((len(names), 8)).astype(np.float32), {name: row for row, name in enumerate(names)}
        )
        for modality, names in ids.items()
    }
    card = Card(name="random", family="test", modalities=tuple(tables), by_id=True)
    evaluate(StoredEmbeddings(card, tables), [spec], data_root=place / "data", out=place / "runs", max_unreadable=100)
    return place / "runs"


@pytest.mark.parametrize(
    ("task", "seen"),
    [
        ("esc50", ["spectrogram up to", "waveform"]),
        ("nyu_depth", ["depth in false colour, near is bright"]),
        ("ego4d_scenario", ["accelerometer", "gyroscope"]),
        ("llvip", ["picture"]),
        ("msrvtt", ["frame 1 of 4", "<blockquote>"]),
        ("audioset", ["spectrogram up to", "Average precision"]),
        ("llvip_image", ["wanted", "picture"]),
        ("clotho", ["<blockquote>", "spectrogram up to", "found first"]),
        (
            "vggss",
            ["frame with the map of scores", "spectrogram up to", "✗ missed", "cIoU 0.", "query: ", "All classes"],
        ),
        ("flickr_soundnet", ["frame with the map of scores", "source white"]),
    ],
)
def test_samples_of_every_modality_are_shown(task: str, seen: list[str], tmp_path: Path) -> None:
    page = report(of_a_miniature(task, tmp_path), tmp_path / "page.html", data_root=tmp_path / "data", samples=3)
    text = page.read_text(encoding="utf-8")
    for words in seen:
        assert words in text
    assert "By their ids only" not in text
    assert "In no ranking: made of fake data" in text


def test_without_the_data_samples_have_their_ids(tmp_path: Path) -> None:
    runs = of_a_miniature("esc50", tmp_path)
    text = report(runs, tmp_path / "page.html", samples=3).read_text(encoding="utf-8")
    assert "By their ids only: " in text
    assert "<img" not in text
    assert sum(id in text for id in samples_of(next(runs.rglob("*.json")))["id"]) >= 3


def test_protocols_of_a_task_are_told_apart(tmp_path: Path) -> None:
    for protocol in ("ibench", "other"):
        write_run(tmp_path / "runs", {"a": np.arange(9) < 5}, "one", protocol=protocol)
    text = report(tmp_path / "runs", tmp_path / "page.html").read_text(encoding="utf-8")
    assert [text.count(f">{name}</a>") for name in ("a", "a (other)")] == [1, 1]


def test_other_samples_than_those_measured_are_not_shown(tmp_path: Path) -> None:
    runs = of_a_miniature("esc50", tmp_path)
    (sound, *_) = sorted((tmp_path / "data").rglob("*.wav"))
    sound.write_bytes(sound.read_bytes()[:-2])
    text = report(runs, tmp_path / "page.html", data_root=tmp_path / "data").read_text(encoding="utf-8")
    assert "not those that were measured" in text
    assert "<img" not in text


def test_the_demo_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    page_file = report(DEMO, tmp_path / "page.html")
    assert page_file.stat().st_size < 3_000_000
    for width in (360, 1440):
        with browser.open(page_file, width=width) as page:
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.locator("section.run").count() == 5
            assert page.locator("img").count() > 30
            assert page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0 && one.alt)")
            page.locator("nav a").nth(1).click()
            assert page.locator("#r2").bounding_box()["y"] < 50
            assert "the digit zero." in page.locator("section.run").first.inner_text()


def test_a_script_as_a_name_is_text(browser: Browser, tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    (record,) = [one for one in load_all(DEMO) if one.task == "digits"]
    changed = record.model_copy(
        update={
            "encoder": record.encoder.model_copy(update={"name": hostile}),
            "title": hostile,
            "prompts": hostile,
            "task": "not bundled",
            "unreadable": {hostile: hostile},
        }
    )
    rows = samples_of(DEMO / "digits.ibench.json")
    rows.loc[0, ["id", "gold", "prediction"]] = hostile
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x.json").write_text(changed.model_dump_json())
    rows.to_parquet(tmp_path / "run" / "x.parquet")
    page_file = report(tmp_path / "run" / "x.json", tmp_path / "page.html")
    with browser.open(page_file) as page:
        assert page.locator("h1").inner_text() == hostile
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 2


def test_a_task_of_ones_own_needs_its_file(ibench: RunIbench, toy: Callable[[str], str], colours: Path) -> None:
    assert ibench("run", "--task", colours, "--ckpt", toy("random")).returncode == 0
    done = ibench("report", "results", "--out", "without.html")
    assert done.returncode == 0, done.stderr
    assert "name its file with --task" in Path("without.html").read_text()
    assert ibench("report", "results", "--task", colours, "--samples", 2).stdout == "report.html\n"
    assert Path("report.html").read_text().count("<img") == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "no records"),
        (["runs/broken.json"], "not an ibench record"),
        (["runs/alone.json"], "alone.parquet: cannot be read"),
        (["runs", "--samples", "-1"], "--samples"),
        ([str(DEMO), "--out", "/dev/null/page.html"], "cannot write to /dev/null"),
    ],
)
def test_what_cannot_be_reported_is_told(ibench: RunIbench, tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "broken.json").write_text("{}")
    (tmp_path / "runs" / "alone.json").write_text((DEMO / "digits.ibench.json").read_text())
    done = ibench("report", *arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_classes_of_several_labels_are_shown_without_the_data(tmp_path: Path) -> None:
    runs = of_a_miniature("audioset", tmp_path)
    text = report(runs, tmp_path / "page.html").read_text()
    assert "a report downloads nothing" in text or "no data root" in text
    assert "Average precision" in text
    assert "Furthest from right" in text
    assert "<img" not in text


# class by class -------------------------------------------------------------------------------------------------------


def rows_of(gold: list[str], prediction: list[str]) -> pd.DataFrame:
    rows = pd.DataFrame({"gold": gold, "prediction": prediction, "cluster": ""})
    return rows.assign(correct=rows["gold"] == rows["prediction"])


def test_the_matrix_counts_every_sample_once() -> None:
    rows = rows_of(["a", "a", "b", "c"], ["a", "b", "b", "a"])
    made = matrix(rows, ["c", "b", "a"])
    assert made is not None
    assert made.labels == ("c", "b", "a")
    assert made.counts == ((0, 0, 1), (0, 1, 0), (0, 1, 1))
    assert matrix(rows_of(["a"], ["a"]), []) is None


def test_of_many_classes_the_most_confused_are_drawn() -> None:
    names = [f"c{number:03d}" for number in range(60)]
    said = [*names[:50], "c050", *(["c000"] * 9)]
    made = matrix(rows_of(names, said), names)
    assert made is not None
    assert (len(made.labels), made.left_out) == (24, 36)
    assert {"c000", *names[51:]} <= set(made.labels)


def test_bars_are_the_shares_of_their_classes() -> None:
    rows = rows_of(["a"] * 4 + ["b"] * 2, ["a", "a", "a", "b", "b", "a"])
    (bars,) = recalls(rows, 0)
    assert [(bar.label, bar.metric.value, bar.n) for bar in bars.bars] == [("b", 0.5, 2), ("a", 0.75, 4)]
    assert all(bar.metric.low < bar.metric.value < bar.metric.high for bar in bars.bars)
    many = rows_of([f"c{number}" for number in range(100)], ["c0"] * 100)
    assert [len(part.bars) for part in recalls(many, 0)] == [15, 15]


def test_a_curve_of_recall_ends_at_all() -> None:
    rows = pd.DataFrame({"direction": "audio→text", "rank": [1, 1, 5, 10], "gallery": 10})
    (curve,) = curves(rows)
    points = [tuple(map(float, point.split())) for point in curve.path.removeprefix("M").split("L")]
    assert points[0] == (0.0, 75.0)  # half of the queries are found first
    assert points[-1] == (300.0, 0.0)


# thumbnails -----------------------------------------------------------------------------------------------------------


def decoded(source: str) -> Image.Image:
    kind, _, data = source.partition(";base64,")
    assert kind == "data:image/jpeg"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "I", "F", "CMYK"])
def test_a_picture_of_any_mode_is_small(mode: str) -> None:
    (picture,) = thumbnail(Image.new(mode, (900, 300))).pictures
    assert (picture.width, picture.height) == (SIDE, 53)
    assert decoded(picture.source).size == (SIDE, 53)


def test_noise_is_still_small_enough() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), np.uint8)
    (picture,) = thumbnail(Image.fromarray(noise)).pictures
    assert len(base64.b64decode(picture.source.partition(",")[2])) <= MOST_BYTES


def test_near_is_bright_and_what_is_missing_is_grey() -> None:
    metres = np.linspace(1, 5, 100, dtype=np.float32)[None].repeat(100, axis=0)
    metres[:20] = 0
    picture = np.asarray(decoded(thumbnail(DepthMap(metres, 500.0, 0.075)).pictures[0].source).convert("L"), float)
    assert picture[-1, 2] > picture[-1, 50] > picture[-1, -3]
    assert abs(picture[2, 50] - 128) < 10
    nothing = thumbnail(DepthMap(np.zeros((4, 4), np.float32), 500.0, 0.075))
    assert (nothing.pictures, nothing.note) == ((), "no depth known")


def test_a_tone_is_a_line_at_its_height() -> None:
    rate, hertz = 16000, 3000
    tone = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
    wave, spectrum = thumbnail(Waveform(tone[None], rate)).pictures
    assert wave.lines[0].startswith("M0.0 ")
    rows = np.asarray(decoded(spectrum.source).convert("L"), float).mean(axis=1)
    assert abs(1 - rows.argmax() / len(rows) - hertz / (rate / 2)) < 0.05
    assert thumbnail(Waveform(np.zeros((1, 0), np.float32), rate)).pictures == ()
    assert thumbnail(Waveform(np.zeros((1, 30), np.float32), rate)).pictures


def test_motion_is_six_lines() -> None:
    readings = np.random.default_rng(0).standard_normal((6, 1000)).astype(np.float32)
    drawn = thumbnail(ImuWindow(readings, 200.0)).pictures
    assert [len(picture.lines) for picture in drawn] == [3, 3]
    numbers = [float(number) for line in drawn[0].lines for number in re.findall(r"-?[\d.]+", line)]
    assert min(numbers) >= 0
    assert max(numbers) <= 240
