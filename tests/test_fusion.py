"""A side of a search that is made of two modalities of the same scene."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tone
from PIL import Image
from pydantic import ValidationError
from toy_encoder import COLOURS, TONES_HZ, make_oracle

import ibench
from ibench.datasets import open_dataset
from ibench.encoders import Card
from ibench.encoders.embeddings import StoredEmbeddings, Table
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.report.tables import pair
from ibench.results import Record
from ibench.scoring import retrieval
from ibench.scoring.fusion import shared_rows, weighted_sum
from ibench.tasks import TaskSpec

PAIRS = list(product(COLOURS, TONES_HZ))


def spec_of(**more: Any) -> TaskSpec:
    fields = {
        "name": "seen-and-heard",
        "version": 1,
        "kind": "composition",
        "query": "text",
        "target": "image",
        "fuse": {"image": 0.5, "audio": 0.5},
        "relevant": "same_scene",
        "dataset": {"reader": "manifest", "path": "pairs.csv", "columns": {"image": "picture", "audio": "sound"}},
        "protocols": {"ibench": {}},
    }
    return TaskSpec.model_validate({**fields, **more})


def of_one(**more: Any) -> TaskSpec:
    """The same samples by one of their modalities."""
    return spec_of(kind="retrieval", fuse={}, relevant=None, **more)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A picture of each of three colours with a sound of each of three tones, and a caption that names both."""
    rows = ["id,picture,sound,caption"]
    for colour, rgb in COLOURS.items():
        Image.new("RGB", (8, 8), rgb).save(tmp_path / f"{colour}.png")
    for name, hertz in TONES_HZ.items():
        tone(hertz, 0.5, 16_000, tmp_path / f"{name}.wav")
    rows += [f"{colour}-{name},{colour}.png,{name}.wav,{colour} and {name}" for colour, name in PAIRS]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    return tmp_path


def run(spec: TaskSpec, root: Path, **more: Any) -> Record:
    (record,) = ibench.evaluate(make_oracle("cpu", "fp32"), [spec], data_root=root, **more)
    return record


def test_what_neither_part_tells_both_tell(pairs: Path) -> None:
    seen, heard, both = (
        run(of_one(), pairs),
        run(of_one(target="audio"), pairs),
        run(spec_of(), pairs),
    )
    assert (seen.score.value, heard.score.value) == (0, 0)  # three alike each: a tie is never a hit
    assert seen.metrics["recall@5"].value == heard.metrics["recall@5"].value == 1
    assert both.metrics["recall@1"].value == both.metrics["reverse_recall@1"].value == 1
    assert (both.metrics["first_recall@1"].value, both.metrics["second_recall@1"].value) == (0, 0)
    assert both.metrics["gain"].value == 1
    assert both.metrics["gain"].low < 1  # nine of nine are no certainty
    assert both.fuse == {"image": 0.5, "audio": 0.5}
    assert pair(both) == "text→image+audio"


def test_scores_are_weighted_sums_of_cosines() -> None:
    rng = np.random.default_rng(0)
    query, one, other = (unit(rng.standard_normal((7, 16))) for _ in range(3))
    fused = weighted_sum([one, other], [0.95, 0.05])
    assert query @ fused.T == pytest.approx(0.95 * query @ one.T + 0.05 * query @ other.T, abs=1e-6)
    assert fused.dtype == np.float32
    assert np.array_equal(weighted_sum([one], [1.0]), one)


@pytest.mark.parametrize("headline", ["recall@1", "reverse_mrr", "gain"])
def test_a_sweep_of_scenes_ends_at_the_parts(pairs: Path, headline: str) -> None:
    swept = run(spec_of(metrics=[headline]), pairs, sweep=3)
    (curve,) = swept.curves
    assert curve.metric == ("recall@1" if headline == "gain" else headline)
    heard, both, seen = (metric for _, metric in curve.points)
    assert both == swept.metrics[curve.metric]
    alone = {"image": seen, "audio": heard}
    for target, metric in alone.items():
        assert metric == run(of_one(target=target), pairs).metrics[curve.metric]


def test_a_scene_is_scored_as_a_retrieval_of_sums(pairs: Path) -> None:
    """To the last digit, with intervals: the kind adds the parts, and no more."""
    encoder = make_oracle("cpu", "fp32")
    data = open_dataset(spec_of(), pairs)
    vectors = {
        modality: np.concatenate(
            [encoder.encode(modality, encoder.preprocess(modality, {})(item.decode())).numpy() for item in items]
        ).astype(np.float32)
        for modality, items in data.items.items()
    }
    summed = weighted_sum([vectors[Modality.IMAGE], vectors[Modality.AUDIO]], [0.9, 0.1])
    texts, scenes = data.items[Modality.TEXT], data.items[Modality.IMAGE]
    expected, _ = retrieval.score(
        vectors[Modality.TEXT],
        summed,
        [item.group for item in texts],
        [item.group for item in scenes],
        [item.id for item in texts],
        [item.id for item in scenes],
        [item.cluster for item in texts],
        seed=0,
    )
    found = run(spec_of(fuse={"image": 0.9, "audio": 0.1}), pairs).metrics
    assert {name: found[name] for name in expected} == expected


def test_parts_that_disagree_gain_nothing() -> None:
    """Made unit length, the second sample, whose parts point apart, would overtake the first."""
    query = np.array([[1, 0, 0]], np.float32)
    picture = np.array([[0.8, 0.6, 0], [0.7, 0.71414284, 0]], np.float32)
    sound = np.array([[0.8, 0.6, 0], [0.7, -0.71414284, 0]], np.float32)
    fused = weighted_sum([picture, sound], [0.5, 0.5])
    assert (query @ fused.T).tolist() == [pytest.approx([0.8, 0.7])]
    assert (query @ unit(fused).T).argmax() == 1


def test_parts_of_other_sizes_are_told() -> None:
    with pytest.raises(IbenchError, match="vectors of 3 and 2 numbers"):
        weighted_sum([np.ones((1, 3), np.float32), np.ones((1, 2), np.float32)], [0.5, 0.5])


def test_parts_meet_by_id() -> None:
    assert shared_rows([["a", "b", "c"], ["c", "x", "a"]]) == [(0, 2), (2, 0)]


def test_a_fused_pair_is_emergent_only_if_every_part_is(pairs: Path) -> None:
    trained: list[tuple[tuple[str, str], ...]] = [
        (),
        (("image", "text"),),
        (("audio", "text"),),
        (("image", "audio"),),
        (("image", "text"), ("audio", "text")),
    ]
    found = [emergent(pairs, pairs_seen) for pairs_seen in trained]
    assert found == [True, False, False, True, False]


def emergent(root: Path, trained: tuple[tuple[str, str], ...]) -> bool:
    """Of an encoder that has its vectors by id and says what it was trained on."""
    data = open_dataset(spec_of(), root)
    rng = np.random.default_rng(0)
    tables = {}
    for modality, items in data.items.items():
        ids = [item.decode() if modality is Modality.TEXT else item.id for item in items]
        tables[modality] = Table(unit(rng.standard_normal((len(ids), 4))), {id: row for row, id in enumerate(ids)})
    pairs_of = tuple((Modality(one), Modality(other)) for one, other in trained)
    card = Card(name="by id", family="test", modalities=tuple(tables), trained_pairs=pairs_of, by_id=True)
    (record,) = ibench.evaluate(StoredEmbeddings(card, tables), [spec_of()], data_root=root)
    return record.emergent


def test_a_sample_with_an_unreadable_part_is_left_out(pairs: Path) -> None:
    (pairs / "low.wav").write_bytes(b"no sound")
    with pytest.raises(IbenchError, match="3 of the samples cannot be read"):
        run(spec_of(), pairs)
    record = run(spec_of(), pairs, max_unreadable=3)
    assert (record.n, record.n_unreadable) == (6, 3)
    assert record.score.value == 1
    assert record.metrics["reverse_recall@1"].n == 6


def test_parts_without_a_shared_id_are_told(pairs: Path) -> None:
    table = pairs / "pairs.csv"
    table.write_text("\n".join(line.split(",", 1)[1] for line in table.read_text().splitlines()))
    with pytest.raises(IbenchError, match="no sample has image and audio; the parts of one need the same id"):
        run(spec_of(), pairs)


def test_an_encoder_without_a_part_is_told(pairs: Path) -> None:
    encoder = make_oracle("cpu", "fp32")
    encoder.card = encoder.card.model_copy(update={"modalities": (Modality.TEXT, Modality.IMAGE)})  # type: ignore[misc]
    with pytest.raises(IbenchError, match="needs audio, which oracle has not"):
        ibench.evaluate(encoder, [spec_of()], data_root=pairs)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fuse": {"image": 0.0, "audio": 0.0}}, "sum is above 0"),
        ({"fuse": {"image": 1.5, "audio": -0.5}}, "below 0 in 'fuse' is for 'relevant: first_not_second'"),
        ({"fuse": {"image": float("nan"), "audio": 0.5}}, "must be numbers"),
        ({"fuse": {"image": float("inf"), "audio": 0.5}}, "must be numbers"),
        ({"fuse": {"image": 1.0}}, "has two parts"),
        ({"fuse": {}}, "has two parts"),
        ({"fuse": ["image", "image"]}, "has two parts"),
        ({"fuse": {"image": 0.4, "audio": 0.4, "video": 0.2}}, "has two parts"),
        ({"fuse": {"video": 0.5, "audio": 0.5}}, "'query' or 'target'"),
        ({"fuse": {"text": 0.5, "image": 0.5}}, "no text"),
        ({"query": "audio"}, "not both"),
        ({"relevant": None}, "says what is 'relevant': same_scene, both, first_not_second"),
        ({"draw": {"each": 3}}, "'draw' is for a labelled pool"),
        ({"kind": "retrieval"}, "for kind composition; a retrieval .* 'relevant: same_scene'"),
        ({"kind": "classification", "query": "image", "target": "text"}, "for kind composition"),
    ],
)
def test_what_cannot_be_added_is_refused(change: dict[str, Any], told: str) -> None:
    prompts = {"protocols": {"ibench": {"prompts": "lb_sound"}}}
    with pytest.raises(ValidationError, match=told):
        spec_of(**prompts, **change)


def test_parts_without_weights_count_half_each() -> None:
    assert spec_of(fuse=["image", "audio"]) == spec_of()


def test_a_change_of_a_weight_is_another_task() -> None:
    weights = [spec_of(fuse={"image": weight, "audio": 1 - weight}) for weight in (0.5, 0.75)]
    tasks = (of_one(), *weights)
    assert len({task.fingerprint(task.protocol(None)[1]) for task in tasks}) == 3


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
