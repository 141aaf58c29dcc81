"""Spoken digits, synthesised: espeak-ng says the ten words, nobody does.

The voices and who hears them are data, in voices.yaml. What the test hears is kept as one FLAC file a voice and a
manifest, spoken.csv, of which segment of which file says what.
"""

from __future__ import annotations

import csv
import os
import random
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path

import numpy as np
import soundfile
import yaml
from digits_bind_model import RATE
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ibench.modalities import Waveform

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""The ten labels, in the order of the digits."""

TEST_SETTINGS = ((145, 60), (185, 40))
"""Speed (words per minute) and pitch (0-99) of the test set: every test voice says every word once with each."""

COLUMNS = ("path", "start", "end", "label", "id", "voice")
"""Of spoken.csv: start and end in seconds, path relative to the folder the manifest is in."""

SPEECH_LEVEL = 0.02
"""Share of the peak above which sound counts as speech when silence is cut off."""

MARGIN = RATE // 25
"""Samples (40 ms) kept on both sides of the speech, and put as silence after it in a FLAC file."""

STEP = 1 / 2**9
"""FLAC files hold 10 of 16 bits a sample, half the bytes: the error, 60 dB down, is far under the front end's floor."""


@dataclass(frozen=True)
class Utterance:
    """One word as one espeak-ng voice (accent+variant) says it; ``take`` counts from 1 within voice and word."""

    voice: str
    word: str
    take: int
    speed: int
    pitch: int

    @property
    def id(self) -> str:
        return f"{self.voice}/{self.word}/{self.take}"


@dataclass(frozen=True)
class Voices:
    """Voices of the three sides."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def read_voices(path: Path) -> Voices:
    """The split that voices.yaml writes down."""
    split = yaml.safe_load(path.read_text())
    train = product(split["train"]["accents"], split["train"]["variants"])
    return Voices(tuple("+".join(parts) for parts in train), tuple(split["validation"]), tuple(split["test"]))


def same_settings(voices: Iterable[str]) -> list[Utterance]:
    """Every voice says every word once with each of TEST_SETTINGS: how voices are tested and validated."""
    takes = list(enumerate(TEST_SETTINGS, start=1))
    return [Utterance(voice, word, take, *how) for voice, word, (take, how) in product(voices, WORDS, takes)]


def random_settings(voices: Iterable[str], takes: int, seed: int) -> list[Utterance]:
    """Every voice says every word ``takes`` times, at speeds and pitches drawn anew: what training hears."""
    draw = random.Random(seed)
    return [
        Utterance(voice, word, take, speed=draw.randint(120, 220), pitch=draw.randint(20, 80))
        for voice, word, take in product(voices, WORDS, range(1, takes + 1))
    ]


def cache_folder() -> Path:
    """Where what espeak-ng said is kept between runs, a folder for each of its versions."""
    answer = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True).stdout
    folder = Path(tempfile.gettempdir()) / f"digits-bind-espeak-ng-{answer.split('text-to-speech: ')[1].split()[0]}"
    folder.mkdir(exist_ok=True)
    return folder


def speak(utterance: Utterance, cache: Path) -> Waveform:
    """The utterance, mono at RATE, with peak 0.9 and the silence around it cut to MARGIN."""
    name = f"{utterance.voice}-{utterance.word}-{utterance.speed}-{utterance.pitch}.wav"
    if not (cache / name).exists():
        _synthesise(utterance, cache / name)
    samples, rate = soundfile.read(cache / name, dtype="float32")
    samples = resample_poly(samples, RATE, rate)
    samples *= 0.9 / np.abs(samples).max()
    speech = np.flatnonzero(np.abs(samples) > SPEECH_LEVEL)
    cut = samples[max(speech[0] - MARGIN, 0) : speech[-1] + MARGIN]
    return Waveform(cut[None], RATE)


def _synthesise(utterance: Utterance, path: Path) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    how = ["-v", utterance.voice, "-s", str(utterance.speed), "-p", str(utterance.pitch), "-w", str(unfinished)]
    subprocess.run(["espeak-ng", *how, utterance.word], check=True)
    unfinished.replace(path)  # an interrupted run leaves no half file under the final name


def write_spoken(folder: Path, utterances: Sequence[Utterance], cache: Path) -> None:
    """One FLAC file a voice in ``folder``/spoken, and ``folder``/spoken.csv."""
    (folder / "spoken").mkdir(parents=True, exist_ok=True)
    with (folder / "spoken.csv").open("w", newline="") as file:
        manifest = csv.writer(file, lineterminator="\n")
        manifest.writerow(COLUMNS)
        for voice, said in groupby(utterances, key=lambda utterance: utterance.voice):
            manifest.writerows(_write_voice(folder, f"spoken/{voice}.flac", list(said), cache))


def _write_voice(folder: Path, path: str, said: Sequence[Utterance], cache: Path) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    pieces: list[NDArray[np.float32]] = []
    at = 0
    for utterance in said:
        samples = np.pad(speak(utterance, cache).samples[0], (0, MARGIN))
        end = at + len(samples) - MARGIN
        rows.append((path, f"{at / RATE:.6f}", f"{end / RATE:.6f}", utterance.word, utterance.id, utterance.voice))
        pieces.append(samples)
        at += len(samples)
    coarse = np.round(np.concatenate(pieces) / STEP) * STEP
    soundfile.write(folder / path, coarse, RATE, subtype="PCM_16", format="FLAC", compression_level=1.0)
    return rows


def read_spoken(folder: Path) -> list[tuple[Waveform, str, str]]:
    """The segments that ``folder``/spoken.csv names: sound, word and voice of each."""
    with (folder / "spoken.csv").open(newline="") as file:
        return [(_segment(folder, row), row["label"], row["voice"]) for row in csv.DictReader(file)]


def _segment(folder: Path, row: dict[str, str]) -> Waveform:
    start, stop = (int(float(row[key]) * RATE) for key in ("start", "end"))
    samples, rate = soundfile.read(folder / row["path"], start=start, stop=stop, dtype="float32")
    return Waveform(samples[None], rate)
