"""The path of an emergent pair through what binds it: on the demo, on miniatures of layouts, on a task of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import RunIbench
from numpy.typing import NDArray
from PIL import Image

from ibench.api import Request, evaluate, plan
from ibench.bridge import binding_modalities, bridged
from ibench.cells import Cell, bind
from ibench.datasets import open_dataset, paired_modalities
from ibench.datasets.fakes import write_fake
from ibench.encoders import Card
from ibench.encoders.embeddings import StoredEmbeddings, Table
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.results import Record, folder_of, samples_of
from ibench.tasks import TaskSpec, load_task

AUDIO, DEPTH, IMAGE, TEXT, THERMAL, VIDEO = (
    Modality(one) for one in ("audio", "depth", "image", "text", "thermal", "video")
)
LAYOUTS = {"nyu_depth": IMAGE, "sun_rgbd": IMAGE, "vggsound": VIDEO, "llvip": IMAGE, "msrvtt_audio": VIDEO}
"""Tasks of pairs that ImageBind never saw, and through what the same samples are bound in their data sets."""

DIGITS = Path(__file__).parents[1] / "examples" / "digits_bind" / "digits_bind_encoder.py"


@dataclass(frozen=True)
class Prepared:
    spec: TaskSpec
    root: Path
    cell: Cell


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Prepared]:
    @cache
    def of(name: str) -> Prepared:
        spec, root = load_task(name), tmp_path_factory.mktemp(name)
        write_fake(spec, root)
        cell = bind(spec, open_dataset(spec, root), None, None, None)
        return Prepared(spec, root, bridged(cell, card(LAYOUTS[name], spec), root, open_dataset))

    class Layouts(dict):  # type: ignore[type-arg]
        def __missing__(self, name: str) -> Prepared:
            return of(name)

    return Layouts()


def card(bridge: Modality, spec: TaskSpec) -> Card:
    """Of an encoder that saw the bridge with either modality of a task, and never those two together."""
    pairs = ((spec.query, bridge), (bridge, spec.target))
    modalities = tuple(dict.fromkeys((spec.query, spec.target, bridge)))
    return Card(name="by id", family="test", modalities=modalities, trained_pairs=pairs, by_id=True)


def encoder(task: Prepared, vectors: Mapping[Modality, Mapping[str, NDArray[np.float32]]]) -> StoredEmbeddings:
    tables = {
        modality: Table(np.stack(list(rows.values())), {id: row for row, id in enumerate(rows)})
        for modality, rows in vectors.items()
    }
    return StoredEmbeddings(card(LAYOUTS[task.spec.name], task.spec), tables)


def ids_of(cell: Cell) -> dict[Modality, list[str]]:
    ids = {one: [item.id for item in items] for one, items in cell.dataset.items.items() if one is not TEXT}
    return ids | {TEXT: list(dict.fromkeys(cell.all_texts()))}


def at_random(task: Prepared, seed: int = 0) -> StoredEmbeddings:
    rng = np.random.default_rng(seed)
    found = {one: {id: unit(rng.standard_normal(8)) for id in ids} for one, ids in ids_of(task.cell).items()}
    return encoder(task, found)


def oracle(task: Prepared) -> StoredEmbeddings:
    """Every class is an axis, and every sample leans a little to one of its own, the same in all modalities."""
    cell = task.cell
    items = [item for several in cell.dataset.items.values() for item in several]
    names = [*cell.classes, *dict.fromkeys(item.group for item in items)]
    axis = dict(zip(names, np.eye(len(names), dtype=np.float32), strict=True))
    vectors = {
        one: {
            item.id if one is not TEXT else item.decode(): unit(
                sum((axis[label] for label in item.labels if cell.classes), 0.2 * axis[item.group])
            )
            for item in items
        }
        for one, items in cell.dataset.items.items()
    }
    for label, of in zip(cell.classes, cell.names_of, strict=True):
        vectors.setdefault(TEXT, {}).update({text: axis[label] for name in of for text in cell.texts[name]})
    return encoder(task, vectors)


def unit(vector: NDArray[np.floating]) -> NDArray[np.float32]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def run(task: Prepared, by: StoredEmbeddings, out: Path | None = None, bridge: bool = True) -> Record:
    (record,) = evaluate(by, [task.spec], data_root=task.root, out=out, bridge=bridge)
    return record


# laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_reader_gives_the_same_samples_in_the_modality_that_binds(name: str, layouts: Mapping[str, Prepared]) -> None:
    task = layouts[name]
    assert task.cell.bridge is LAYOUTS[name]
    own = {item.group for item in task.cell.dataset.items[task.spec.query]}
    between = {item.group for item in task.cell.dataset.items[LAYOUTS[name]]}
    assert between <= own
    assert len(between) > 0.7 * len(own)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_oracle_has_all_and_reaches_the_whole_gain(name: str, layouts: Mapping[str, Prepared]) -> None:
    task = layouts[name]
    record = run(task, oracle(task))
    headline = record.headline
    assert record.emergent
    assert record.bridge is not None
    assert record.bridge.paired
    for metric in (headline, f"trained_{headline}", "first_leg_recall@1", "share_of_trained"):
        assert record.metrics[metric].value == 1.0, metric
    # a sample that has no own in the bridge may still reach one of its class, or none of its captions
    missing = len(task.cell.dataset.items[task.spec.query]) - record.metrics["first_leg_recall@1"].n
    assert record.metrics[f"bridge_{headline}"].value >= 1 - missing / record.n


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_random_encoder_takes_the_path_that_plain_numpy_takes(
    name: str, layouts: Mapping[str, Prepared], tmp_path: Path
) -> None:
    task = layouts[name]
    by = at_random(task)
    record = run(task, by, tmp_path)
    rows = rows_of(record, tmp_path)
    start, middle, answers, right = by_hand(task, by)
    nearest = (start @ middle.T).argmax(axis=1)
    hits = [bool(right(i, (middle[j] @ answers.T).argmax())) for i, j in enumerate(nearest)]
    assert record.metrics[f"bridge_{record.headline}"].value == pytest.approx(np.mean(hits))
    between = [item.id for item in task.cell.dataset.items[LAYOUTS[name]]]
    assert rows["bridge"].to_list() == [between[j] for j in nearest]
    assert (rows["bridge_rank"] == 1).to_list() == hits


def by_hand(task: Prepared, by: StoredEmbeddings):  # type: ignore[no-untyped-def]
    """Vectors of what asks, of what is between, of the answers; and whether answer j is right for i."""
    cell, spec = task.cell, task.spec
    table = by.tables
    items = cell.dataset.items[spec.query]
    key = (lambda item: item.decode()) if spec.query is TEXT else (lambda item: item.id)
    start = np.stack([table[spec.query].vectors[table[spec.query].row_of[key(item)]] for item in items])
    middle = table[LAYOUTS[spec.name]].vectors
    if cell.classes:
        prompts = [[table[TEXT].vectors[table[TEXT].row_of[text]] for text in texts] for texts in cell.texts]
        answers = np.stack([unit(np.mean(vectors, axis=0)) for vectors in prompts])
        class_of = {row: label for label, of in zip(cell.classes, cell.names_of, strict=True) for row in of}
        return start, middle, answers, lambda i, j: class_of[j] == items[i].labels[0]
    gallery = cell.dataset.items[spec.target]
    return start, middle, table[spec.target].vectors, lambda i, j: gallery[j].group == items[i].group


def rows_of(record: Record, out: Path) -> pd.DataFrame:
    rows = samples_of(folder_of(record, out) / f"{record.stem()}.json")
    return rows[rows["bridge"].notna()]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_rows_hold_what_the_metrics_are_made_of(name: str, layouts: Mapping[str, Prepared], tmp_path: Path) -> None:
    task = layouts[name]
    record = run(task, at_random(task), tmp_path)
    rows = rows_of(record, tmp_path)
    assert len(rows) == record.score.n
    assert (rows["rank"] == 1).mean() == record.score.value
    assert (rows["bridge_rank"] == 1).mean() == record.metrics[f"bridge_{record.headline}"].value
    first = rows["first_leg_rank"].dropna()
    assert (first == 1).mean() == record.metrics["first_leg_recall@1"].value
    own = rows["trained_rank"].dropna()
    if own.index.is_unique and len(own) == record.metrics[f"trained_{record.headline}"].n:
        assert (own == 1).mean() == record.metrics[f"trained_{record.headline}"].value


@pytest.mark.parametrize("name", ["nyu_depth", "msrvtt_audio"])
def test_a_bridge_changes_nothing_of_the_rest(name: str, layouts: Mapping[str, Prepared], tmp_path: Path) -> None:
    task = layouts[name]
    plain, with_path = (run(task, at_random(task), tmp_path / str(bridge), bridge=bridge) for bridge in (False, True))
    assert plain.bridge is None
    assert {key: with_path.metrics[key] for key in plain.metrics} == plain.metrics
    for field in ("dataset_fingerprint", "chance", "n", "n_missing", "n_unreadable", "unreadable", "confusions"):
        assert getattr(plain, field) == getattr(with_path, field), field
    before, after = (
        samples_of(folder_of(one, tmp_path / str(bridge)) / f"{one.stem()}.json")
        for bridge, one in ((False, plain), (True, with_path))
    )
    pd.testing.assert_frame_equal(after[before.columns], before)


@pytest.mark.parametrize("name", ["sun_rgbd", "vggsound"])
def test_random_vectors_gain_no_share(name: str, layouts: Mapping[str, Prepared]) -> None:
    task = layouts[name]
    shares = [run(task, at_random(task, seed)).metrics.get("share_of_trained") for seed in range(8)]
    assert sum(one is None for one in shares) >= 6


# which modality binds -------------------------------------------------------------------------------------------------


def test_what_was_trained_with_both_binds_and_images_come_first() -> None:
    pairs = ((AUDIO, VIDEO), (VIDEO, TEXT), (AUDIO, IMAGE), (IMAGE, TEXT), (AUDIO, DEPTH), (DEPTH, TEXT))
    both = Card(name="x", family="test", modalities=(TEXT, VIDEO, DEPTH, AUDIO, IMAGE), trained_pairs=pairs)
    assert binding_modalities(both, AUDIO, TEXT) == [IMAGE, VIDEO, DEPTH]
    assert binding_modalities(both, IMAGE, VIDEO) == [AUDIO]  # and text, which is no bridge of samples
    assert binding_modalities(both.model_copy(update={"modalities": (TEXT, VIDEO, AUDIO)}), AUDIO, TEXT) == [VIDEO]


def test_which_modalities_a_copy_pairs() -> None:
    assert paired_modalities(load_task("spoken_digits"), None) == (IMAGE, AUDIO)
    esc50 = load_task("esc50")
    assert esc50.dataset.hub is not None
    assert paired_modalities(esc50, None) == tuple(
        one for one in Modality if one is not TEXT and one.value in esc50.dataset.hub.columns
    )


def test_a_pair_that_was_trained_takes_no_path(layouts: Mapping[str, Prepared]) -> None:
    task = layouts["nyu_depth"]
    by = at_random(task)
    pairs = ((DEPTH, IMAGE), (IMAGE, TEXT), (DEPTH, TEXT))
    trained = StoredEmbeddings(by.card.model_copy(update={"trained_pairs": pairs}), by.tables)
    record = run(task, trained)
    assert not record.emergent
    assert record.bridge is None
    assert "bridge_top1" not in record.metrics


@pytest.mark.parametrize(
    ("task", "pairs", "says"),
    [
        ("spoken_digits", ((IMAGE, AUDIO),), "no modality was trained with audio and with text"),
        ("spoken_digits", ((THERMAL, AUDIO), (THERMAL, TEXT)), "reader 'digits_bind' has no thermal of these samples"),
    ],
)
def test_why_there_is_no_bridge(task: str, pairs: tuple[tuple[Modality, Modality], ...], says: str) -> None:
    spec = load_task(task)
    cell = bind(spec, open_dataset(spec, None), None, None, None)
    known = Card(name="x", family="test", modalities=(TEXT, AUDIO, IMAGE, THERMAL), trained_pairs=pairs)
    with pytest.raises(IbenchError, match=says):
        bridged(cell, known, None, open_dataset)


# the demo -------------------------------------------------------------------------------------------------------------


def test_the_demo_takes_the_path_that_plain_numpy_takes(tmp_path: Path) -> None:
    (record,) = evaluate(f"{DIGITS}:make_encoder", ["spoken_digits"], bridge=True, out=tmp_path)
    assert record.bridge is not None
    assert record.bridge.modality is IMAGE
    assert not record.bridge.paired
    assert record.bridge.trained_chance == pytest.approx(0.1)
    assert record.bridge.first_leg_chance == pytest.approx(0.1, abs=0.005)  # any image of the digit is right
    rows = rows_of(record, tmp_path)
    cell = bind(load_task("digits"), open_dataset(load_task("digits"), None), None, None, None)
    digit = {item.id: item.labels[0] for item in cell.dataset.items[IMAGE]}
    (images,) = evaluate(f"{DIGITS}:make_encoder", ["digits"], out=tmp_path)
    said = samples_of(folder_of(images, tmp_path) / "digits.ibench.json").set_index("id")["prediction"]
    assert (rows["bridge_prediction"].to_numpy() == said[rows["bridge"]].to_numpy()).all()
    assert (said[rows["bridge"]].to_numpy() == rows["gold"].to_numpy()).mean() == record.metrics["bridge_top1"].value
    reached = np.array([digit[id] for id in rows["bridge"]])
    assert (reached == rows["gold"].to_numpy()).mean() == record.metrics["first_leg_recall@1"].value
    assert record.metrics["trained_top1"] == images.score
    assert rows["trained_rank"].isna().all()
    direct, trained = record.score.value - 0.1, images.score.value - 0.1
    assert record.metrics["share_of_trained"].value == pytest.approx(direct / trained)


def test_what_is_between_is_an_ordinary_job_and_kept(ibench: RunIbench) -> None:
    what = Request(f"{DIGITS}:make_encoder", ["spoken_digits"], bridge=True)
    assert {str(job.modality) for job in plan(what)} == {"text", "audio", "image"}
    run = ("run", "--task", "spoken_digits", "--bridge", "--ckpt", f"{DIGITS}:make_encoder")
    assert ibench(*run).returncode == 0
    assert {job.held for job in plan(what)} == {job.samples for job in plan(what)}
    again = ibench(*run)
    assert "all embeddings are in the store" in again.stderr
    limited = ibench(*run, "--limit", 40)
    assert limited.returncode == 0, limited.stderr


# tasks of one's own ---------------------------------------------------------------------------------------------------


@pytest.fixture
def colours_that_sound(tmp_path: Path) -> Path:
    """A manifest of tones with a picture each: a low one is red, a high one blue, and one of them is wrong."""
    rng = np.random.default_rng(0)
    lines = ["id,audio,image,label"]
    for number, (hertz, colour, label) in enumerate(
        [(200, "red", "low"), (3000, "blue", "high")] * 6 + [(200, "blue", "low")]
    ):
        wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(8000) / 16000) + 0.01 * rng.standard_normal(8000)
        soundfile.write(tmp_path / f"{number}.wav", wave, 16000)
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{number}.png")
        lines.append(f"s{number},{number}.wav,{number}.png,{label}")
    (tmp_path / "tones.csv").write_text("\n".join(lines) + "\n")
    task = tmp_path / "both.yaml"
    task.write_text(
        "name: both\nversion: 1\nkind: classification\nquery: audio\ntarget: text\n"
        "dataset: {reader: manifest, path: tones.csv, columns: {audio: audio, image: image}}\n"
        "protocols: {ibench: {prompts: lb_sound}}\n"
    )
    return task


ENCODER = """
import numpy as np, torch
from ibench import Card, Modality

class Sees:
    card = Card(name="sees and hears", family="own", modalities=("text", "image", "audio"), dim=2,
                trained_pairs=(("image", "text"), ("image", "audio")))
    def preprocess(self, modality, views):
        return {"text": text, "image": image, "audio": audio}[modality.value]
    def encode(self, modality, batch):
        return torch.nn.functional.normalize(batch.float() + 1e-3, dim=-1)

def text(raw):
    return torch.tensor([[float("low" in raw), float("high" in raw)]])

def image(raw):
    red, _, blue = np.asarray(raw.convert("RGB"), np.float32).mean(axis=(0, 1)) / 255
    return torch.tensor([[red, blue]])

def audio(raw):
    low = abs(np.fft.rfft(raw.samples[0]))[:len(raw.samples[0]) // 16].max() > 100
    return torch.tensor([[float(low), 1 - float(low)]])

def make_encoder(device, dtype):
    return Sees()
"""


def test_a_manifest_that_names_a_column_of_the_bridge_has_the_path(
    ibench: RunIbench, colours_that_sound: Path, tmp_path: Path
) -> None:
    (tmp_path / "sees.py").write_text(ENCODER)
    done = ibench("run", "--task", colours_that_sound, "--ckpt", "sees.py:make_encoder", "--bridge", "--out", "runs")
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "runs").rglob("*.json")
    record = Record.model_validate_json(file.read_text())
    assert record.bridge is not None
    assert record.bridge.paired
    assert record.score.value == 1.0
    assert record.metrics["trained_top1"].value == pytest.approx(12 / 13)  # the blue one that sounds low
    assert record.metrics["bridge_top1"].value == 1.0  # nearest pictures, never by label
    share = record.metrics["share_of_trained"]
    assert share.value == pytest.approx((1 - 0.5) / (12 / 13 - 0.5))


def test_what_cannot_be_read_between_counts_and_is_left_out(
    ibench: RunIbench, colours_that_sound: Path, tmp_path: Path
) -> None:
    (tmp_path / "sees.py").write_text(ENCODER)
    (tmp_path / "3.png").write_bytes(b"nothing")
    run = ("run", "--task", colours_that_sound, "--ckpt", "sees.py:make_encoder", "--bridge", "--out", "runs")
    refused = ibench(*run)
    assert refused.returncode == 2
    assert "s3 (" in refused.stderr
    done = ibench(*run, "--max-unreadable", 1)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "runs").rglob("*.json")
    record = Record.model_validate_json(file.read_text())
    assert (record.n, record.n_unreadable) == (13, 0)  # the sounds are all there
    assert record.metrics["trained_top1"].n == record.metrics["first_leg_recall@1"].n == 12
    assert record.metrics["share_of_trained"].n == 12
    told = ibench("emergence", "--run", "runs").stdout
    assert "of the gain of image→text, on the 12 of 13 samples that have their own" in told
    rows = samples_of(file).set_index("id")
    assert rows.loc[["s3"], ["trained_rank", "first_leg_rank"]].isna().all(axis=None)
    assert rows["bridge"].notna().all()


def test_without_a_bridge_a_note_says_why(ibench: RunIbench, tones: Path, toy) -> None:  # type: ignore[no-untyped-def]
    done = ibench("run", "--task", tones, "--ckpt", toy("oracle"), "--bridge")
    assert done.returncode == 0, done.stderr
    assert "tones: no path from audio to text: no modality was trained with audio and with text" in done.stderr
