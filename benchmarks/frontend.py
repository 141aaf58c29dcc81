"""What it brings to make floats of pixels, and spectrograms of clips, beside the encoder instead of in the workers.

Images: the same JPEG files through one decode worker into one small ViT (random weights), as bytes and as floats, in
turns. Floats are what the worker would send if it took the last two steps, ToTensor and Normalize, as well. The
embeddings have to be equal bit by bit.

Sound: the parts of ImageBind's audio front end, on one thread as in a worker, beside the audio tower of the published
size (random weights) on all threads. The tower's time on a GPU is an estimate from its multiplications.

    python benchmarks/frontend.py [--images 512] [--batch-size 64] [--rounds 5] [--model ViT-S-32-alt]
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from ibench.datasets import Item
from ibench.encoders.base import Preprocess
from ibench.encoders.filterbank import log_mel
from ibench.encoders.imagebind.audio import BINS, RATE, AudioClips, spectrograms
from ibench.encoders.imagebind.towers import TowerShape, build_tower
from ibench.encoders.open_clip import in_halves
from ibench.engine.local import DecodePool, Piece
from ibench.media.audio import resample
from ibench.media.image import read_image
from ibench.modalities import Waveform

AUDIO_TOWER = TowerShape("audio", (768, 1, 16, 16), 10, 229, 768, 3072, 12, 12, 1024, True, False, True)
GPU_FLOPS = 400e12
"""What an H100 gives to a transformer in bf16, about 40% of its peak."""


@dataclass(frozen=True)
class Floats:
    """The whole of a front end in the worker."""

    see: Preprocess
    look: Callable[[Tensor], Tensor]

    def __call__(self, image: Image.Image) -> Tensor:
        return self.look(self.see(image))


def write_photos(folder: Path, count: int) -> list[Item]:
    """JPEG files of 500 × 375, smooth with some noise, as photographs are."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((500, 375))
        noise = rng.integers(0, 16, (375, 500, 3), dtype=np.uint8)
        Image.fromarray(np.asarray(coarse) // 16 * 15 + noise).save(folder / f"{number}.jpg", quality=90)
        items.append(Item(str(number), partial(read_image, folder / f"{number}.jpg"), str(number)))
    return items


@torch.inference_mode()
def through_the_pool(
    pool: DecodePool, items: list[Item], prepare: Preprocess, encode: Callable[[Tensor], Tensor] | None, batch_size: int
) -> tuple[float, Tensor]:
    """Seconds for all items, and their vectors; without an encoder what came out of the pool is dropped."""
    started = time.perf_counter()
    waiting: list[Tensor] = []
    vectors = [torch.zeros(0)]
    for view in pool.stream([Piece(items, prepare)]):
        assert isinstance(view, Tensor)
        waiting.append(view)
        if len(waiting) == batch_size:
            batch = torch.cat(waiting)
            vectors += [encode(batch)] if encode else []
            waiting = []
    vectors += [encode(torch.cat(waiting))] if encode and waiting else []
    return time.perf_counter() - started, torch.cat(vectors[1:]) if encode else vectors[0]


def processor_time(items: list[Item], prepare: Preprocess, look: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """Milliseconds of one processor for an image, in the worker and beside the encoder: waiting is not in it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.process_time()
    sent = [pickle.dumps(np.asarray(prepare(item.decode())), pickle.HIGHEST_PROTOCOL) for item in items]
    between = time.process_time()
    look(torch.cat([torch.from_numpy(pickle.loads(view)) for view in sent]))
    ended = time.process_time()
    torch.set_num_threads(threads)
    return 1000 * (between - started) / len(items), 1000 * (ended - between) / len(items)


def images(options: argparse.Namespace) -> None:
    tower = open_clip.create_model(options.model, load_weights=False).visual.eval()
    see, look = in_halves(image_transform_v2(PreprocessCfg(), is_train=False))
    ways: dict[str, Preprocess] = {"floats": Floats(see, look), "bytes": see}
    seconds: dict[tuple[str, bool], list[float]] = {(way, whole): [] for way in ways for whole in (False, True)}
    embedded: dict[str, Tensor] = {}
    with tempfile.TemporaryDirectory() as folder, DecodePool(1) as pool:
        items = write_photos(Path(folder), options.images)
        through_the_pool(pool, items[:64], see, None, options.batch_size)  # warm
        for number in range(options.rounds):
            for way in list(ways)[:: 1 if number % 2 else -1]:
                for whole in (False, True):
                    encode = (lambda pixels: tower(look(pixels))) if whole else None
                    taken, vectors = through_the_pool(pool, items, ways[way], encode, options.batch_size)
                    seconds[way, whole].append(taken)
                    embedded |= {way: vectors} if whole else {}
        sample = items[0].decode()
        sent = {way: prepare(sample).nbytes for way, prepare in ways.items()}
        costs = {way: processor_time(items[:64], prepare, look) for way, prepare in ways.items()}
    assert torch.equal(embedded["bytes"], embedded["floats"])
    print(f"{options.images} JPEGs, 1 worker, {options.model}, batches of {options.batch_size}; median (fastest)")
    print("pixels sent   bytes/image   decoded images/s   decoded and encoded images/s")
    for way in ways:
        rates = [[options.images / one for one in seconds[way, whole]] for whole in (False, True)]
        columns = [f"{statistics.median(rate):.1f} ({max(rate):.1f})" for rate in rates]
        print(f"{way:>11}   {sent[way]:11,}   {columns[0]:>16}   {columns[1]:>28}")
    print(
        "processor time, ms/image: to decode, prepare and send in the worker; to receive and finish beside the encoder"
    )
    for way, (worker, encoder) in costs.items():
        print(f"{way:>11}   {worker:6.2f}   {encoder:6.2f}")
    for whole, title in ((False, "decoded"), (True, "decoded and encoded")):
        gain = statistics.median(
            slow / fast for slow, fast in zip(seconds["floats", whole], seconds["bytes", whole], strict=True)
        )
        print(f"bytes over floats, {title}: {gain:.2f}x (median of the rounds)")


@torch.inference_mode()
def sound(options: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    waveform = Waveform(0.1 * rng.standard_normal((1, 5 * 44_100)).astype(np.float32), 44_100)
    packed = AudioClips(None)(waveform)  # three clips
    tower = build_tower(AUDIO_TOWER).eval()
    for parameter in tower.parameters():
        parameter.normal_(std=0.02)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    parts = {
        "resampled from 44.1 kHz": lambda: resample(waveform, RATE),
        "resampled, cut, centred: what workers do": lambda: AudioClips(None)(waveform),
        "filter bank": lambda: log_mel(packed[:, :-1], RATE, BINS),
        "filter bank, filled, normalised: beside the encoder": lambda: spectrograms(packed, 204),
    }
    costs = {title: _milliseconds(part, 30) / len(packed) for title, part in parts.items()}
    torch.set_num_threads(threads)
    mel = spectrograms(packed, 204)
    on_cpu = _milliseconds(lambda: tower(mel), options.rounds) / len(packed)
    weights = sum(parameter.numel() for parameter in tower.blocks.parameters())
    flops = 2 * weights * AUDIO_TOWER.positions
    on_gpu = 1000 * flops / GPU_FLOPS
    print(
        f"\nImageBind audio, ms a clip; the tower ({flops / 1e9:.0f} GFLOP a clip) takes {on_cpu:.0f} ms on {threads} ",
        end="",
    )
    print(f"threads here, about {on_gpu:.2f} ms on a GPU of {GPU_FLOPS / 1e12:.0f} TFLOP/s")
    for title, cost in costs.items():
        print(f"{title:52} {cost:6.2f}   {cost / on_cpu:7.2%} of the tower here, {cost / on_gpu:5.1f}x it on a GPU")
    print(f"a clip on its way: {packed[0].nbytes:,} bytes as sound, {mel[0].nbytes:,} as a spectrogram")


def _milliseconds(part: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times + 1):
        started = time.perf_counter()
        part()
        taken.append(time.perf_counter() - started)
    return 1000 * statistics.median(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="ViT-S-32-alt")
    options = parser.parse_args()
    images(options)
    sound(options)


if __name__ == "__main__":
    main()
