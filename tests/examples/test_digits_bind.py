"""digits-bind as committed: its size, its split of voices, its contract, and the scores its README gives."""

from __future__ import annotations

import csv
import pickle
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from ibench.errors import IbenchError
from ibench.modalities import Modality, Waveform
from ibench.prompts import load_prompts

FOLDER = Path(__file__).parents[2] / "examples" / "digits_bind"
sys.path.insert(0, str(FOLDER))  # as ibench's loader does for a factory

from digits_bind_encoder import DigitsBind, make_encoder  # noqa: E402
from digits_bind_speech import WORDS, read_spoken, read_voices  # noqa: E402

TEMPLATES = load_prompts("digits").resolved()


@pytest.fixture(scope="module")
def encoder() -> DigitsBind:
    return make_encoder()


@pytest.fixture(scope="module")
def manifest() -> list[dict[str, str]]:
    with (FOLDER / "spoken.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def embed(encoder: DigitsBind, modality: Modality, samples: list[object]) -> NDArray[np.float32]:
    front_end = encoder.preprocess(modality, {})
    return encoder.encode(modality, torch.cat([front_end(sample) for sample in samples])).numpy()


def some_inputs(modality: Modality) -> torch.Tensor:
    torch.manual_seed(0)
    shapes = {Modality.IMAGE: (7, 1, 8, 8), Modality.AUDIO: (7, 10_240)}
    if modality is Modality.TEXT:
        return torch.cat([make_encoder().preprocess(modality, {})("a seven " * count) for count in range(7)])
    return torch.rand(shapes[modality])


def test_weights_and_audio_are_small() -> None:
    assert (FOLDER / "digits_bind.safetensors").stat().st_size <= 3_000_000
    assert sum(path.stat().st_size for path in (FOLDER / "spoken").iterdir()) <= 2_000_000


def test_nobody_in_the_test_was_heard_before(manifest: list[dict[str, str]]) -> None:
    voices = read_voices(FOLDER / "voices.yaml")
    variants = [{voice.split("+")[1] for voice in side} for side in (voices.train, voices.validation, voices.test)]
    assert sum(map(len, variants)) == len(set.union(*variants))
    assert {row["voice"] for row in manifest} == set(voices.test)


def test_every_segment_lies_in_its_file_after_the_one_before(manifest: list[dict[str, str]]) -> None:
    at: Counter[str] = Counter()
    for row in manifest:
        assert at[row["path"]] <= float(row["start"]) < float(row["end"])
        at[row["path"]] = float(row["end"])  # type: ignore[assignment]
    assert set(at) == {path.relative_to(FOLDER).as_posix() for path in (FOLDER / "spoken").iterdir()}
    assert all(end <= soundfile.info(FOLDER / path).duration for path, end in at.items())


def test_every_label_appears_equally_often_and_ids_are_unique(manifest: list[dict[str, str]]) -> None:
    assert Counter(row["label"] for row in manifest) == {word: len(manifest) // 10 for word in WORDS}
    assert len({row["id"] for row in manifest}) == len(manifest) >= 300


def test_no_evaluation_template_can_be_a_training_caption() -> None:
    from train import CLOSINGS, OPENINGS

    captions = {f"{opening} {{}}{closing}" for opening in OPENINGS for closing in CLOSINGS}
    assert captions.isdisjoint(TEMPLATES)


def test_scores_are_those_of_the_readme(encoder: DigitsBind) -> None:
    texts = embed(encoder, Modality.TEXT, [template.format(word) for word in WORDS for template in TEMPLATES])
    classes = texts.reshape(10, len(TEMPLATES), -1).mean(axis=1)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)

    def top1(queries: NDArray[np.float32], gold: list[int]) -> tuple[int, float]:
        return len(gold), 100 * float(np.mean((queries @ classes.T).argmax(axis=1) == gold))

    spoken = read_spoken(FOLDER)
    data = load_digits()
    scans = [Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)) for pixels in data.images[1000:]]
    measured = {
        "digits": top1(embed(encoder, Modality.IMAGE, scans), list(data.target[1000:])),
        "spoken_digits": top1(
            embed(encoder, Modality.AUDIO, [sound for sound, _, _ in spoken]),
            [WORDS.index(word) for _, word, _ in spoken],
        ),
    }
    rows = re.findall(r"^\| `(\w+)` \|.*\| test \| (\d+) \| ([\d.]+) \|$", (FOLDER / "README.md").read_text(), re.M)
    stated = {task: (int(count), float(score)) for task, count, score in rows}
    assert {task: count for task, (count, _) in stated.items()} == {"digits": 797, "spoken_digits": len(spoken)}
    for task, (_, score) in stated.items():
        assert measured[task][1] == pytest.approx(score, abs=0.3), task


@pytest.mark.parametrize("modality", [Modality.TEXT, Modality.IMAGE, Modality.AUDIO])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_embeddings_are_float32_unit_rows_that_do_not_know_their_batch(modality: Modality, dtype: str) -> None:
    encoder, batch = make_encoder(dtype=dtype), some_inputs(modality)
    together = encoder.encode(modality, batch)
    alone = torch.cat([encoder.encode(modality, row[None]) for row in batch])
    assert together.dtype == torch.float32
    torch.testing.assert_close(together.norm(dim=1), torch.ones(7))
    torch.testing.assert_close(together, alone, atol=1e-5 if dtype == "fp32" else 3e-2, rtol=0)


def test_front_ends_travel_into_spawned_workers(encoder: DigitsBind) -> None:
    front_ends = [encoder.preprocess(modality, {}) for modality in encoder.card.modalities]
    code = f"import pickle, sys; sys.path.insert(0, {str(FOLDER)!r}); print(pickle.load(sys.stdin.buffer)[0]('seven'))"
    worker = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(front_ends),
        cwd=FOLDER.parents[1],
        capture_output=True,
        check=True,
    )
    assert worker.stdout.decode().startswith("tensor([[ 32, 115")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_any_picture_is_taken(encoder: DigitsBind, mode: str) -> None:
    pixels = encoder.preprocess(Modality.IMAGE, {})(Image.new(mode, (37, 21)))
    assert pixels.shape == (1, 1, 8, 8)
    assert 0 <= pixels.min() <= pixels.max() <= 1


def test_paper_and_blackboard_look_the_same(encoder: DigitsBind) -> None:
    drawing = np.zeros((64, 64), np.uint8)
    drawing[8:56, 28:36] = 255
    chalk, ink = (encoder.preprocess(Modality.IMAGE, {})(Image.fromarray(side)) for side in (drawing, 255 - drawing))
    torch.testing.assert_close(chalk, ink, atol=0.005, rtol=0)  # one level of 255: means are rounded


@pytest.mark.parametrize("text", ["", "SEVEN", "sieben – 七", "a" * 1_000])
def test_any_string_is_taken(encoder: DigitsBind, text: str) -> None:
    assert np.isfinite(embed(encoder, Modality.TEXT, [text])).all()


@pytest.mark.parametrize("length", [1, 10_239, 10_240, 10_241, 50_000])
def test_sound_of_any_length_and_silence_are_taken(encoder: DigitsBind, length: int) -> None:
    silence = Waveform(np.zeros((2, length), np.float32), 8_000)
    assert np.isfinite(embed(encoder, Modality.AUDIO, [silence])).all()


def test_what_it_does_not_know_is_refused_in_one_line(encoder: DigitsBind) -> None:
    with pytest.raises(IbenchError, match="no depth tower"):
        encoder.preprocess(Modality.DEPTH, {})
    with pytest.raises(IbenchError, match="no imu tower"):
        encoder.encode(Modality.IMU, torch.zeros(1, 6, 10))
    with pytest.raises(IbenchError, match="no dtype 'int8'"):
        make_encoder(dtype="int8")


def test_audio_to_text_is_emergent_by_the_card(encoder: DigitsBind) -> None:
    assert encoder.card.emergent(Modality.AUDIO, Modality.TEXT)
    assert not encoder.card.emergent(Modality.IMAGE, Modality.AUDIO)
    assert encoder.card.checkpoint_sha256 is None
    assert all(path.is_file() for path in encoder.card.files)
