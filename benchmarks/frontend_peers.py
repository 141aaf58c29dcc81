"""Front ends beside those of the libraries: filter bank, images and video frames, one thread each, in one run.

    python benchmarks/frontend_peers.py --environments ENVIRONMENTS [--clips 160] [--images 200] [--videos 8]

- filter bank: ImageBind's log-mel spectrograms of 2-second clips at 16 kHz, beside torchaudio's Kaldi-compatible one.
- images: JPEG files of 500 × 375 to normalised squares of 224, beside the same steps of torchvision on PIL images, and
  beside its quick path, decoding and resizing tensors of bytes, which does not give the same pixels.
- video: five clips of 2 seconds, two frames of each, from 10-second H.264 files of 320 × 240, beside pytorchvideo, by
  which ImageBind's released code loads video. The first run installs pytorchvideo into ENVIRONMENTS.

A time is the median of the rounds; "difference" is the largest between the two outputs (normalised pixels, log
energies, bytes of frames).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch
import torchaudio
import torchvision
from _measure import HERE, machine, measured, python_of, table
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from ibench.encoders.filterbank import log_mel
from ibench.encoders.imagebind.frontends import CLIP_MEAN, CLIP_STD, ImageView
from ibench.encoders.pixels import normalised
from ibench.media.image import read_image
from ibench.media.video import read_video

RATE, BINS = 16_000, 128
SIDE = 224
VIDEO_SECONDS, FRAME_RATE = 10, 30
STARTS, CLIP_SECONDS, FRAMES = (0.0, 2.0, 4.0, 6.0, 8.0), 2.0, 2

normalise = v2.Normalize(CLIP_MEAN, CLIP_STD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--environments", type=Path, required=True, help="where pytorchvideo is, or is to be, installed"
    )
    parser.add_argument("--clips", type=int, default=160)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)  # as a decode worker has
    print(f"{machine()}; one thread, medians of {given.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            filter_bank(given.clips, given.rounds),
            *images(Path(folder), given.images, given.rounds),
            video(Path(folder), given.videos, given.rounds, python_of("pytorchvideo", given.environments)),
        ]
    print(table(["front end", "beside", "unit", "ibench /s", "peer /s", "ibench is faster", "difference"], rows))


def row(title: str, peer: str, unit: str, count: int, ours: float, theirs: float, difference: float) -> list[str]:
    return [
        title, peer, unit, f"{count / ours:.3g}", f"{count / theirs:.3g}", f"{theirs / ours:.2f}x", f"{difference:.1g}"
    ]  # fmt: skip


def seconds(*turns: Callable[[], object], rounds: int) -> list[float]:
    """The median time of each, run in turns so that whatever else the machine does falls on all of them."""
    times: list[list[float]] = [[] for _ in turns]
    for _ in range(rounds):
        for turn, taken in zip(turns, times, strict=True):
            started = time.perf_counter()
            turn()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


def filter_bank(count: int, rounds: int) -> list[str]:
    clips = torch.randn(count, 2 * RATE, generator=torch.Generator().manual_seed(0))

    def theirs() -> Tensor:
        return torch.stack([
            torchaudio.compliance.kaldi.fbank(
                clip[None], htk_compat=True, sample_frequency=RATE, use_energy=False, window_type="hanning",
                num_mel_bins=BINS, dither=0.0,
            )
            for clip in clips
        ])  # fmt: skip

    difference = float((log_mel(clips, RATE, BINS) - theirs()).abs().max())
    times = seconds(lambda: log_mel(clips, RATE, BINS), theirs, rounds=rounds)
    return row("filter bank", "torchaudio", "clips", count, *times, difference)


def images(folder: Path, count: int, rounds: int) -> list[list[str]]:
    files = [_photo(folder / f"{number:04d}.jpg", number) for number in range(count)]
    on_images = torchvision.transforms.Compose([
        torchvision.transforms.Resize(SIDE, torchvision.transforms.InterpolationMode.BICUBIC),
        torchvision.transforms.CenterCrop(SIDE),
        torchvision.transforms.ToTensor(),
        torchvision.transforms.Normalize(CLIP_MEAN, CLIP_STD),
    ])  # fmt: skip
    on_bytes = v2.Compose([
        v2.Resize(SIDE, v2.InterpolationMode.BICUBIC, antialias=True),
        v2.CenterCrop(SIDE),
        v2.ToDtype(torch.float32, scale=True),
        normalise,
    ])  # fmt: skip
    view = ImageView(SIDE)
    ways: dict[str, Callable[[Path], Tensor]] = {
        "ibench": lambda file: normalised(view(read_image(file)), CLIP_MEAN, CLIP_STD)[0],
        "torchvision on PIL": lambda file: on_images(Image.open(file).convert("RGB")),
        "torchvision on bytes": lambda file: on_bytes(torchvision.io.decode_image(str(file), mode="RGB")),
    }
    all_of = [partial(lambda way: [way(file) for file in files], way) for way in ways.values()]
    ours, *theirs = seconds(*all_of, rounds=rounds)
    same = ways["ibench"](files[0])
    return [
        row("images", peer, "files", count, ours, taken, float((ways[peer](files[0]) - same).abs().max()))
        for peer, taken in zip(list(ways)[1:], theirs, strict=True)
    ]


def _photo(file: Path, seed: int) -> Path:
    """A JPEG, smooth with some noise, as photographs are."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((500, 375))
    noise = rng.integers(0, 16, (375, 500, 3), dtype=np.uint8)
    Image.fromarray(np.asarray(coarse) // 16 * 15 + noise).save(file, quality=90)
    return file


def video(folder: Path, count: int, rounds: int, python: Path) -> list[str]:
    files = [_film(folder / f"{number:02d}.mp4", number) for number in range(count)]
    last = CLIP_SECONDS - 1 / FRAME_RATE
    times = [start + last * step / (FRAMES - 1) + 1e-6 for start in STARTS for step in range(FRAMES)]
    command = [python, HERE / "_in_pytorchvideo.py", folder, ",".join(map(str, STARTS)), str(CLIP_SECONDS), str(FRAMES)]
    own, theirs = [], []
    for _ in range(rounds):
        own += seconds(lambda: [read_video(file).frames(times) for file in files], rounds=1)
        theirs.append(json.loads(measured(command).output)["seconds"])
    difference = np.abs(
        read_video(files[0]).frames(times).astype(int) - np.load(folder / "frames.npy").astype(int)
    ).max()
    taken = statistics.median(own), statistics.median(theirs)
    return row("video frames", "pytorchvideo", "files", count, *taken, float(difference))


def _film(file: Path, seed: int) -> Path:
    """Smooth colours that drift, as H.264 with a key frame every two seconds."""
    rng = np.random.default_rng(seed)
    wide = np.asarray(Image.fromarray(rng.integers(0, 256, (6, 24, 3), dtype=np.uint8)).resize((960, 240)))
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE, options={"g": str(2 * FRAME_RATE)})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(VIDEO_SECONDS * FRAME_RATE):
            picture = np.ascontiguousarray(wide[:, 2 * number % 640 :][:, :320])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file


if __name__ == "__main__":
    main()
