"""Each full-size ImageBind tower beside the reference implementation: how far apart, and how fast, in one run.

    python benchmarks/imagebind_parity.py --reference-python REFERENCE_ENV/bin/python

The reference environment is described in ``tests/parity/make_imagebind_goldens.py``. Weights are random and the same
on both sides. One tower at a time is in memory, here and in a reference process that waits between its turns, and
forward passes alternate between the two, so that whatever else the machine does falls on both alike. A time is the
fastest of the rounds. Same batch, same number of threads, front ends left out: both get the tensors ready.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "encoders"))
import imagebind_samples as samples

HUGE = {  # width, blocks, heads
    "vision": (1280, 32, 16),
    "text": (1024, 24, 16),
    "audio": (768, 12, 12),
    "depth": (384, 12, 8),
    "thermal": (768, 12, 12),
    "imu": (512, 6, 8),
}
BATCHES = {"vision": 2, "text": 16, "audio": 4, "depth": 8, "thermal": 4, "imu": 8}
SHAPES = {
    "vision": (3, 224, 224),
    "audio": (1, 128, 204),
    "depth": (1, 224, 224),
    "thermal": (1, 224, 224),
    "imu": (6, 2000),
}
TEMPLATES = ("a bad photo of a {}.", "a photo of many {}.", "a low resolution photo of the {}.", "itap of my {}.")
NAMES = ("dog", "church bells", "washing machine", "conference room")


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    if options.as_reference:
        serve_reference(options.as_reference, Path(options.folder))
        return
    columns = ("tower", "batch", "difference", "reference s", "fp32 s", "faster", "bf16 s", "over fp32", "bf16 cosine")
    print(" | ".join(columns), flush=True)
    for tower in options.towers:
        with tempfile.TemporaryDirectory() as folder:
            row = measure(tower, Path(folder), options)
        print(" | ".join(row[column] for column in columns), flush=True)


def measure(tower: str, folder: Path, options: argparse.Namespace) -> dict[str, str]:
    from ibench.encoders.imagebind import load
    from ibench.modalities import Modality

    modality = Modality.IMAGE if tower == "vision" else Modality(tower)
    batch = inputs(tower)
    save_file({"batch": batch}, folder / "batch.safetensors")
    with Reference(tower, folder, options) as reference:
        weights = load_file(folder / "weights.safetensors")
        common: dict[str, Any] = {"name": tower, "device": torch.device("cpu")}
        single = load(weights, dtype=torch.float32, **common)
        half = load(weights, dtype=torch.bfloat16, **common)
        turns: dict[str, Callable[[], object]] = {
            "reference s": reference.run,
            "fp32 s": lambda: single.embed(modality, batch),
            "bf16 s": lambda: half.embed(modality, batch),
        }
        times = {name: min(each) for name, each in alternate(turns, options.rounds).items()}
        ours, theirs = single.embed(modality, batch), reference.output()
        cosine = (half.embed(modality, batch) * ours).sum(dim=-1).min()
    return {name: f"{seconds:.3f}" for name, seconds in times.items()} | {
        "tower": tower,
        "batch": str(len(batch)),
        "difference": f"{float((ours - theirs).abs().max() / theirs.abs().max()):.1e}",
        "faster": f"{times['reference s'] / times['fp32 s']:.2f}x",
        "over fp32": f"{times['fp32 s'] / times['bf16 s']:.2f}x",
        "bf16 cosine": f"{float(cosine):.5f}",
    }


def alternate(turns: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each turn in each round, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, turn in turns.items():
            begin = time.perf_counter()
            turn()
            if number:
                times[name].append(time.perf_counter() - begin)
    return times


def inputs(tower: str) -> Tensor:
    if tower != "text":
        return samples.noise(f"{tower} benchmark", BATCHES[tower], *SHAPES[tower])
    from ibench.encoders.imagebind.frontends import TextIds

    prompts = [template.format(name) for template in TEMPLATES for name in NAMES]
    return torch.cat([TextIds(77)(prompt) for prompt in prompts[: BATCHES["text"]]])


class Reference:
    """The reference tower in a process of its own environment: it writes its weights, then answers each line."""

    def __init__(self, tower: str, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        command = [options.reference_python, __file__, "--as-reference", tower, "--folder", str(folder)]
        self.process = subprocess.Popen(
            [*command, "--threads", str(options.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if options.verbose else subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Reference:
        self._await()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def run(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        self._await()

    def output(self) -> Tensor:
        return torch.nn.functional.normalize(load_file(self.folder / "output.safetensors")["output"], dim=-1)

    def _await(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line == "ready\n":
                return
        raise SystemExit("the reference process ended; run again with --verbose to see why")


def serve_reference(tower: str, folder: Path) -> None:
    """In the reference's environment: build the tower, save its weights, then run once for every line read."""
    import torchvision.transforms._functional_tensor as functional_tensor

    sys.modules["torchvision.transforms.functional_tensor"] = functional_tensor  # what pytorchvideo asks for is gone
    from imagebind.models.imagebind_model import ImageBindModel

    sizes = {name: HUGE[name] if name == tower else (8 * HUGE[name][2], 1, HUGE[name][2]) for name in HUGE}
    settings = {f"{name}_embed_dim": width for name, (width, _, _) in sizes.items()}
    settings |= {f"{name}_num_blocks": blocks for name, (_, blocks, _) in sizes.items()}
    settings |= {f"{name}_num_heads": heads for name, (_, _, heads) in sizes.items()}
    model = ImageBindModel(out_embed_dim=1024, **settings).eval()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items() if f".{tower}." in key}
    weights = samples.random_weights(shapes)
    model.load_state_dict(weights, strict=False)  # strict=False: the other towers stay as they were built
    save_file(weights, folder / "weights.safetensors")
    del weights
    batch = load_file(folder / "batch.safetensors")["batch"]
    print("ready", flush=True)
    for turn, _ in enumerate(sys.stdin):
        with torch.inference_mode():
            output = model({tower: batch})[tower]
        if turn == 0:
            save_file({"output": output.clone()}, folder / "output.safetensors")
        print("ready", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference-python", default="python", help="the python of the reference environment")
    parser.add_argument("--towers", nargs="+", choices=list(HUGE), default=list(HUGE))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--verbose", action="store_true", help="show what the reference process writes to stderr")
    parser.add_argument("--as-reference", choices=list(HUGE), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
