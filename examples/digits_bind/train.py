"""Train digits-bind: one space for handwritten digits, captions and spoken digits, with the image as the bridge.

    python examples/digits_bind/train.py --out DIR [--seed 0]    train, write weights and test audio, print the scores
    python examples/digits_bind/train.py --validate              the same on less data; what choices were made on

Stage 1 pulls images and their captions together, both towers learn. Stage 2 freezes the image tower and pulls
spoken words to images of the same digit. Text and audio never meet in training: that one finds the other is emergent.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from digits_bind_model import (
    FRAMES,
    MELS,
    RATE,
    SIDE,
    WINDOW,
    audio_tensor,
    image_tensor,
    log_mel,
    text_tensor,
    towers,
)
from digits_bind_speech import (
    WORDS,
    cache_folder,
    random_settings,
    read_spoken,
    read_voices,
    same_settings,
    speak,
    write_spoken,
)
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, grid_sample, normalize

from ibench.prompts import load_prompts

HERE = Path(__file__).parent

TRAINING_IMAGES = 1_000
"""The first images in the stored order; all that follow are the test."""

VALIDATION_IMAGES = 150
"""The last of the training images, which ``--validate`` holds out."""

TAKES = 2
"""Times every training voice says every word."""

GROUPS = 12
"""Groups in a batch. A group is ten pairs, one of each digit, so that no negative in it is a false one."""

TEMPERATURE = 0.1
"""Of InfoNCE, fixed."""

STAGE1_STEPS, STAGE2_STEPS = 1_000, 700

OPENINGS = (
    "", "a", "the", "a photo of", "a picture of the number", "an image of a", "the numeral", "a small grey",
    "here is the figure", "handwriting:", "a pen wrote", "written by hand, the", "my", "look, a", "number",
    "a blurry drawing of a", "we see the symbol", "the next character is", "an example of class", "that says",
)  # fmt: skip
CLOSINGS = ("", ".", "!", " in ink.", " on paper.", " by hand", ", written.", " from a form", ", enlarged.", " again.")
"""A training caption is an opening, a digit word and a closing: 200 kinds, none of them a prompt of the tasks."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Train digits-bind and print its scores.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="folder for digits_bind.safetensors, spoken.csv and spoken/")
    what.add_argument("--validate", action="store_true", help="hold out 150 training images; never touch the test")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.perf_counter()
    random.seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # the same sums however many cores there are, and no waiting where they are shared

    images, digits = digit_images()
    last = TRAINING_IMAGES - VALIDATION_IMAGES if arguments.validate else TRAINING_IMAGES
    voices, cache = read_voices(HERE / "voices.yaml"), cache_folder()
    heard = random_settings(voices.train, TAKES, arguments.seed)
    clips = torch.cat([audio_tensor(speak(utterance, cache)) for utterance in heard])
    words = torch.tensor([WORDS.index(utterance.word) for utterance in heard])
    print(f"{time.perf_counter() - started:.0f} s: {len(clips):,} training utterances of {len(voices.train)} voices")

    model = towers()
    train_image_text(model, images[:last], digits[:last])
    print(f"{time.perf_counter() - started:.0f} s: stage 1, image and text")
    train_image_audio(model, images[:last], digits[:last], clips, words)
    print(f"{time.perf_counter() - started:.0f} s: stage 2, image and audio")

    check = same_settings(voices.validation)
    spoken = torch.cat([audio_tensor(speak(utterance, cache)) for utterance in check])
    said = torch.tensor([WORDS.index(utterance.word) for utterance in check])
    report("validation", model, "audio", log_mel(spoken), said)
    if arguments.validate:
        report("validation", model, "image", images[last:TRAINING_IMAGES], digits[last:TRAINING_IMAGES])
        return

    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), arguments.out / "digits_bind.safetensors")
    write_spoken(arguments.out, same_settings(voices.test), cache)
    kept = read_spoken(arguments.out)
    spoken = torch.cat([audio_tensor(waveform) for waveform, _, _ in kept])
    said = torch.tensor([WORDS.index(word) for _, word, _ in kept])
    report("test", model, "audio", log_mel(spoken), said)
    report("test", model, "image", images[TRAINING_IMAGES:], digits[TRAINING_IMAGES:])


def digit_images() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 handwritten digits through the front end: images [n, 1, 8, 8] in 0..1, digits [n]."""
    data = load_digits()
    grey = np.round(data.images * (255 / 16)).astype(np.uint8)
    return torch.cat([image_tensor(Image.fromarray(pixels)) for pixels in grey]), torch.from_numpy(data.target)


def train_image_text(model: nn.ModuleDict, images: Tensor, digits: Tensor) -> None:
    """Stage 1: image and text towers, both from scratch."""
    of_digit = positions(digits)

    def loss() -> Tensor:
        drawn = draw(of_digit)
        captions = torch.cat([text_tensor(caption(WORDS[digit])) for digit in digits[drawn].tolist()])
        return info_nce(model["image"](moved(images[drawn])), model["text"](captions))

    optimise([model["image"], model["text"]], loss, STAGE1_STEPS)


def train_image_audio(model: nn.ModuleDict, images: Tensor, digits: Tensor, clips: Tensor, words: Tensor) -> None:
    """Stage 2: the audio tower alone, towards the image tower as stage 1 left it."""
    seen, heard = positions(digits), positions(words)
    model["image"].eval()

    def loss() -> Tensor:
        with torch.no_grad():
            targets = model["image"](moved(images[draw(seen)]))
        return info_nce(targets, model["audio"](masked(log_mel(roughened(clips[draw(heard)])))))

    optimise([model["audio"]], loss, STAGE2_STEPS)


def positions(labels: Tensor) -> list[Tensor]:
    """For each of the ten digits, where it is in ``labels``."""
    return [torch.nonzero(labels == digit).flatten() for digit in range(10)]


def draw(of_digit: Sequence[Tensor]) -> Tensor:
    """Indices [GROUPS * 10] of a batch: groups of one zero, one one, ... one nine, drawn with replacement."""
    return torch.stack([where[torch.randint(len(where), (GROUPS,))] for where in of_digit], dim=1).flatten()


def info_nce(left: Tensor, right: Tensor) -> Tensor:
    """Symmetric InfoNCE within each group of ten; both sides [GROUPS * 10, DIM], in the order of `draw`."""
    left, right = (normalize(side, dim=1).reshape(GROUPS, 10, -1) for side in (left, right))
    logits = left @ right.mT / TEMPERATURE
    partner = torch.arange(10).expand(GROUPS, 10)
    return (cross_entropy(logits, partner) + cross_entropy(logits.mT, partner)) / 2


def optimise(modules: Iterable[nn.Module], loss: Callable[[], Tensor], steps: int) -> None:
    """AdamW for ``steps`` batches, its rate up and down in one cycle; leaves the modules ready for use."""
    weights = [weight for module in modules for weight in module.train().parameters()]
    optimiser = torch.optim.AdamW(weights, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.autograd.backward(loss())
        optimiser.step()
        schedule.step()
    for module in modules:
        module.eval()


def caption(word: str) -> str:
    """A training caption for a digit word."""
    return f"{random.choice(OPENINGS)} {word}{random.choice(CLOSINGS)}"


def moved(images: Tensor) -> Tensor:
    """Images [n, 1, 8, 8], each turned, scaled, slanted and shifted (up to about a pixel) in its own way."""
    turn = torch.eye(2) + 0.12 * torch.randn(len(images), 2, 2)
    shift = (2 * torch.rand(len(images), 2, 1) - 1) * 2 / SIDE
    grid = nn.functional.affine_grid(torch.cat([turn, shift], dim=2), list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)


def roughened(clips: Tensor) -> Tensor:
    """Clips [n, WINDOW], each shifted up to 0.2 s, played up to 15% faster or slower, under noise at 10 to 50 dB.

    There is no change of volume: `log_mel` would undo it.
    """
    count = len(clips)
    speed = 0.85 + 0.3 * torch.rand(count, 1)
    shift = (2 * torch.rand(count, 1) - 1) * 0.2 * RATE
    at = (torch.arange(WINDOW) - WINDOW / 2) * speed + WINDOW / 2 + shift
    inside = (at >= 0) & (at < WINDOW - 1)
    at = at.clamp(0, WINDOW - 1.001)
    before, share = at.long(), at.frac()
    played = (clips.gather(1, before) * (1 - share) + clips.gather(1, before + 1) * share) * inside
    decibels = 10 + 40 * torch.rand(count, 1)
    level = played.square().mean(dim=1, keepdim=True).sqrt() * 10 ** (-decibels / 20)
    return played + level * torch.randn_like(played)


def masked(spectrograms: Tensor) -> Tensor:
    """Spectrograms [n, 1, MELS, FRAMES] tilted as by another microphone, with a band and a moment silenced in each."""
    count = len(spectrograms)
    tilt = 0.2 * torch.randn(count, 1, 1, 1) * torch.linspace(-1, 1, MELS)[:, None]
    tilted = (spectrograms + tilt).clamp(-1, 1)
    return tilted.masked_fill(_span(count, MELS, 8)[:, None, :, None] | _span(count, FRAMES, 10)[:, None, None, :], -1)


def _span(count: int, length: int, widest: int) -> Tensor:
    """Boolean [count, length], a span of 0 to ``widest`` somewhere in each row."""
    width = torch.randint(widest + 1, (count, 1))
    first = torch.randint(length - widest, (count, 1))
    place = torch.arange(length)
    return (place >= first) & (place < first + width)


@torch.no_grad()
def report(side: str, model: nn.ModuleDict, query: str, inputs: Tensor, labels: Tensor) -> None:
    """Print the zero-shot top-1 of ``query`` → text, with the mean of ibench's digits prompts for each word."""
    templates = load_prompts("digits").resolved()
    texts = torch.cat([text_tensor(template.format(word)) for word in WORDS for template in templates])
    classes = normalize(normalize(model["text"](texts), dim=1).reshape(10, len(templates), -1).mean(dim=1), dim=1)
    queries = torch.cat([normalize(model[query](part), dim=1) for part in torch.split(inputs, 256)])
    right = (queries @ classes.T).argmax(dim=1).eq(labels)
    print(f"{side}: {query} → text top-1 {100 * right.float().mean():.2f}% ({right.sum()} of {len(right)})")


if __name__ == "__main__":
    main()
