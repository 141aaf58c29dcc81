"""`ibench diagnose`: which pairs it takes, what it reads from the store, and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RunIbench
from scipy import special
from sklearn.metrics import log_loss

from ibench.api import Request, diagnose, evaluate
from ibench.cells import bind
from ibench.datasets import open_dataset
from ibench.datasets.fakes import write_fake
from ibench.diagnosis import Diagnosis
from ibench.encoders import Card
from ibench.encoders.embeddings import StoredEmbeddings, Table
from ibench.engine.store import EmbeddingStore
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.resources import store_dir
from ibench.tasks import load_task

FOLDER = Path(__file__).parents[1] / "examples" / "digits_bind"
DIGITS = f"{FOLDER / 'digits_bind_encoder.py'}:make_encoder"


def read(task: str | Path, **options: object) -> Diagnosis:
    (found,) = diagnose(Request(DIGITS, [task]), **options)  # type: ignore[arg-type]
    return found


def values(found: Diagnosis) -> dict[str, float]:
    return {one.name.partition("@")[0]: one.value for one in found.readings}


def test_a_classification_pairs_samples_with_the_texts_of_their_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    from digits_bind_encoder import make_encoder

    found = read("digits", temperature=0.1)
    assert (found.queries, found.targets, found.groups, found.emergent) == (797, 10, 10, False)
    encoder = make_encoder()
    cell = bind(load_task("digits"), open_dataset(load_task("digits"), None), None, None, None)
    items = cell.dataset.items[Modality.IMAGE]
    see, hear = (encoder.preprocess(one, {}) for one in (Modality.IMAGE, Modality.TEXT))
    images = encoder.encode(Modality.IMAGE, torch.cat([see(item.decode()) for item in items])).double().numpy()
    texts = [encoder.encode(Modality.TEXT, torch.cat([hear(text) for text in several])) for several in cell.texts]
    classes = np.stack([text.double().numpy().mean(axis=0) for text in texts])
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    gold = np.array([cell.classes.index(item.labels[0]) for item in items])
    loss = log_loss(gold, special.softmax(images @ classes.T / 0.1, axis=1), labels=np.arange(10))
    told = values(found)
    assert told["infonce_query_to_target"] == pytest.approx(loss, abs=1e-4)
    assert told["alignment"] == pytest.approx(np.mean(np.sum((images - classes[gold]) ** 2, axis=1)), abs=1e-4)
    assert told["modality_gap"] == pytest.approx(np.linalg.norm((images - classes[gold]).mean(axis=0)), abs=1e-4)


def test_a_retrieval_pairs_the_items_of_a_group() -> None:
    found = read("spoken_digits_retrieval")
    assert (found.queries, found.targets, found.groups) == (500, 797, 10)
    told = values(found)
    assert 0 < told["infonce"] < next(one.uninformed for one in found.readings if one.name == "infonce")


def test_what_is_in_the_store_is_not_encoded_again() -> None:
    evaluate(DIGITS, ["spoken_digits"])
    store = EmbeddingStore(store_dir())
    before = {entry.key for entry in store.entries()}
    assert read("spoken_digits").emergent
    assert {entry.key for entry in store.entries()} == before
    read("digits")
    assert len(store.entries()) == len(before) + 1  # the images; the texts are there


def test_in_a_terminal_and_as_json(ibench: RunIbench) -> None:
    asked = ("diagnose", "--ckpt", DIGITS, "--task", "digits,spoken_digits", "--limit", 200)
    shown = ibench(*asked)
    assert shown.returncode == 0, shown.stderr
    for words in ("digits, image→text:", "spoken_digits, audio→text ◇:", "τ = 0.07", "overlap@5", "how evenly image"):
        assert words in shown.stdout
    told = json.loads(ibench(*asked, "--temperature", 0.2, "--json").stdout)
    assert [one["task"] for one in told] == ["digits", "spoken_digits"]
    assert told[0]["temperature"] == 0.2
    assert set(told[0]["readings"]["infonce"]) == {"name", "value", "uninformed", "ideal"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--task", "digits", "--temperature", "0"), "temperature 0: a number above 0"),
        (("--task", "nothing"), "no task 'nothing'"),
        (("--task", "digits", "--limit", "1"), "at least two samples or classes"),
    ],
)
def test_what_cannot_be_read_is_refused(ibench: RunIbench, arguments: tuple[str, ...], says: str) -> None:
    done = ibench("diagnose", "--ckpt", DIGITS, *arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_what_is_no_temperature_is_told_before_anything_is_embedded() -> None:
    with pytest.raises(IbenchError, match="temperature nan: a number above 0"):
        diagnose(Request("no encoder is opened for it", ["digits"]), float("nan"))


@pytest.mark.parametrize(("name", "says"), [("fsd50k", "is a multilabel task"), ("msrvtt_av", "fuses modalities")])
def test_tasks_that_pair_no_two_modalities_are_refused(name: str, says: str, tmp_path: Path) -> None:
    spec = load_task(name)
    write_fake(spec, tmp_path)
    modalities = tuple(dict.fromkeys((*spec.sample_modalities, spec.target)))
    nothing = {one: Table(np.zeros((0, 4), np.float32), {}) for one in modalities}
    by = StoredEmbeddings(Card(name="x", family="test", modalities=modalities, by_id=True), nothing)
    with pytest.raises(IbenchError, match=says):
        diagnose(Request(by, [spec], data_root=tmp_path))


def test_unreadable_samples_are_refused(ibench: RunIbench, colours: Path, toy: Callable[[str], str]) -> None:
    (colours.parent / "colours" / "red" / "red 0.png").write_bytes(b"nothing")
    done = ibench("diagnose", "--ckpt", toy("oracle"), "--task", colours)
    assert done.returncode == 2
    assert "red 0.png" in done.stderr
