"""A folder of embeddings scores as the encoder that made it, and says what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import RunIbench
from numpy.typing import NDArray
from safetensors.numpy import save_file
from toy_encoder import make_random

import ibench as package
from ibench.cells import bind
from ibench.datasets import open_dataset
from ibench.encoders import open_checkpoint
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.prompts import load_prompts
from ibench.tasks import load_task

Vectors = NDArray[np.float32]


def embedded(task: Path) -> dict[str, tuple[list[str], Vectors]]:
    """Ids and vectors of a task's samples and texts, as the random toy makes them; not of unit length."""
    encoder = make_random("cpu", "fp32")
    spec = load_task(task)
    cell = bind(spec, open_dataset(spec, task.parent), None, None, None)
    items = cell.dataset.items[spec.query]
    samples = {str(spec.query): ([item.id for item in items], [item.decode() for item in items])}
    samples["text"] = (cell.all_texts(), cell.all_texts())
    found = {}
    for name, (ids, raw) in samples.items():
        prepare = encoder.preprocess(Modality(name), {})
        found[name] = ids, np.concatenate([3 * prepare(one).numpy() for one in raw])
    return found


def write(folder: Path, name: str, ids: list[str], vectors: Vectors, suffix: str = ".npy") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "card.yaml").write_text("name: brought\ntrained_pairs: [[image, text]]\n")
    if suffix == ".parquet":
        pd.DataFrame({"id": ids, "embedding": list(vectors)}).to_parquet(folder / f"{name}.parquet")
        return
    (folder / f"{name}.ids.txt").write_text("\n".join(ids) + "\n")
    if suffix == ".npy":
        np.save(folder / f"{name}.npy", vectors)
    else:
        save_file({"embeddings": vectors}, folder / f"{name}.safetensors")


@pytest.fixture
def brought(tmp_path: Path, tones: Path) -> Path:
    for name, (ids, vectors) in embedded(tones).items():
        write(tmp_path / "brought", name, ids, vectors)
    return tmp_path / "brought"


def opened(folder: Path) -> Any:
    return open_checkpoint(str(folder), "cpu", "fp32").load()


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
def test_it_scores_as_the_encoder_that_made_it(
    tmp_path: Path, tones: Path, toy: Callable[[str], str], suffix: str
) -> None:
    for name, (ids, vectors) in embedded(tones).items():
        write(tmp_path / "brought", name, ids, vectors, suffix)
    (live,) = package.evaluate(toy("random"), [tones])
    (record,) = package.evaluate(tmp_path / "brought", [tones])
    assert {name: metric.value for name, metric in record.metrics.items()} == {
        name: metric.value for name, metric in live.metrics.items()
    }
    assert (record.encoder.name, record.encoder.family, record.emergent) == ("brought", "embeddings", True)


def test_nothing_is_decoded(brought: Path, tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a sample was decoded")

    monkeypatch.setattr("ibench.media.audio._read_soundfile", refuse)
    package.evaluate(brought, [tones])


def test_missing_ids_are_named_and_counted(brought: Path, tones: Path) -> None:
    ids, vectors = embedded(tones)["audio"]
    write(brought, "audio", ids[:-4], vectors[:-4])
    with pytest.raises(
        IbenchError, match=f"4 of {len(ids)} audio ids have no embedding in the folder, first '"
    ) as error:
        package.evaluate(brought, [tones])
    assert repr(ids[-4]) in str(error.value)


def test_missing_texts_are_named(brought: Path, tones: Path) -> None:
    prompt = load_prompts("lb_sound").resolved()[0].format("low")
    ids, vectors = embedded(tones)["text"]
    kept = [row for row, text in enumerate(ids) if text != prompt]
    write(brought, "text", [ids[row] for row in kept], vectors[kept])
    with pytest.raises(IbenchError, match="1 of 3 text ids") as error:
        package.evaluate(brought, [tones])
    assert prompt in str(error.value)


def test_samples_of_the_same_bytes_under_other_ids_are_others(brought: Path, tones: Path, tmp_path: Path) -> None:
    package.evaluate(brought, [tones])
    moved = tmp_path / "tones" / "low, moved.wav"
    shutil.move(tmp_path / "tones" / "low.wav", moved)
    table = tmp_path / "tones" / "tones.csv"
    table.write_text(table.read_text().replace("\nlow.wav", '\n"low, moved.wav"'))
    with pytest.raises(IbenchError, match="1 of 12 audio ids have no embedding"):
        package.evaluate(brought, [tones])


def test_changed_vectors_are_another_checkpoint(brought: Path, tones: Path) -> None:
    (first,) = package.evaluate(brought, [tones])
    ids, vectors = embedded(tones)["audio"]
    write(brought, "audio", ids[::-1], vectors)
    (second,) = package.evaluate(brought, [tones])
    assert first.encoder.checkpoint_sha256 != second.encoder.checkpoint_sha256
    assert first.metrics != second.metrics


def test_modalities_that_change_places_are_not_taken_for_each_other(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("audio", "image"):
        write(tmp_path / "folder", name, ["a", "b"], rng.standard_normal((2, 4)).astype(np.float32))
    before = open_checkpoint(str(tmp_path / "folder"), "cpu", "fp32").card
    shutil.move(tmp_path / "folder" / "audio.npy", tmp_path / "kept.npy")
    shutil.move(tmp_path / "folder" / "image.npy", tmp_path / "folder" / "audio.npy")
    shutil.move(tmp_path / "kept.npy", tmp_path / "folder" / "image.npy")
    after = open_checkpoint(str(tmp_path / "folder"), "cpu", "fp32").card
    assert before.preprocessing[Modality.AUDIO] != after.preprocessing[Modality.AUDIO]


@pytest.mark.parametrize("text", ["", "name: brought\n"])
def test_without_trained_pairs_it_says_what_to_write(brought: Path, text: str) -> None:
    (brought / "card.yaml").unlink()
    if text:
        (brought / "card.yaml").write_text(text)
    with pytest.raises(
        IbenchError, match=r"write name and trained_pairs, such as \[\[audio, text\]\], in .*card\.yaml"
    ):
        opened(brought)


def good() -> Vectors:
    return np.eye(3, 5, dtype=np.float32)


@pytest.mark.parametrize(
    ("ids", "vectors", "told"),
    [
        (["a", "b"], good(), "3 rows, but 2 ids"),
        (["a", "b", "a"], good(), "id 'a' is there more than once"),
        (["a", "b", "c"], good() * [[1], [0], [1]], "1 rows are zero or not finite, first that of 'b'"),
        (["a", "b", "c"], good() * np.nan, "3 rows are zero or not finite"),
        (["a", "b", "c"], np.eye(3, dtype=np.int64), "int64 of shape"),
        (["a", "b", "c"], np.zeros(3, np.float32), "of shape (3,)"),
        (["a"], np.array([{"a": 1}], dtype=object), "not a whole .npy file of numbers"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, ids: list[str], vectors: Any, told: str) -> None:
    write(tmp_path / "folder", "audio", ids, vectors)
    with pytest.raises(IbenchError) as error:
        opened(tmp_path / "folder")
    assert told in str(error.value)


def test_two_files_or_two_spaces_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(folder, "audio", ["a", "b", "c"], good())
    write(folder, "text", ["a", "b", "c"], good()[:, :4])
    with pytest.raises(IbenchError, match=r"not of one space, their dimensions differ \(text 4, audio 5\)"):
        opened(folder)
    write(folder, "audio", ["a", "b", "c"], good(), ".parquet")
    with pytest.raises(IbenchError, match=r"audio\.npy and audio\.parquet both hold audio"):
        opened(folder)


def test_the_command_line_runs_it_and_has_nothing_to_check(ibench: RunIbench, brought: Path, tones: Path) -> None:
    done = ibench("run", "--task", tones, "--ckpt", brought)
    assert done.returncode == 0, done.stderr
    assert "tones" in done.stdout
    checked = ibench("encoders", "check", brought)
    assert checked.returncode == 2
    assert "no front end or model to check" in checked.stderr
    assert len(checked.stderr.splitlines()) == 1
