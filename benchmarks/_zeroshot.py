"""Four zero-shot tasks over the same images, written as ibench, mteb and CLIP_benchmark each read them."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import yaml
from PIL import Image

TEMPLATES = ("a photo of a {}.", "a blurry photo of a {}.", "a drawing of a {}.", "itap of my {}.")
_SIDE = 256
_SHARDS = 4  # as many as CLIP_benchmark's default of loader processes, each of which needs one


@dataclass(frozen=True)
class Workload:
    """A folder with images, labels, a random ViT-B-32 (``checkpoint``) and each program's files for each task."""

    folder: Path
    images: int
    tasks: tuple[str, ...]

    @property
    def checkpoint(self) -> Path:
        return self.folder / "vit_b_32.pt"


def make(folder: Path, images: int, classes: int, tasks: int = len(TEMPLATES), seed: int = 0) -> Workload:
    """Draw ``images`` PNGs, and give each task ``classes`` of ImageNet's names, labels and a template of its own.

    ibench reads a table (``labels.csv``) through one YAML file for each task; CLIP_benchmark its own layout of tar
    files; mteb's side reads ``labels.csv`` and ``tasks.json``.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    files = [_draw(rng, folder / "images" / f"{number:05d}.png") for number in range(images)]
    titles = tuple(f"task{number}" for number in range(tasks))
    names = {
        task: sorted(open_clip.IMAGENET_CLASSNAMES[number * classes : (number + 1) * classes])
        for number, task in enumerate(titles)
    }
    gold = {task: rng.permutation(np.arange(images) % classes).tolist() for task in titles}
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", *titles])
        table.writerows(
            [f"images/{files[row].name}", *(names[task][gold[task][row]] for task in titles)] for row in range(images)
        )
    described = {task: {"classes": names[task], "template": TEMPLATES[number]} for number, task in enumerate(titles)}
    (folder / "tasks.json").write_text(json.dumps(described))
    for number, task in enumerate(titles):
        _for_ibench(folder, task, TEMPLATES[number])
        _for_clip_benchmark(folder / "clip-benchmark" / task, files, gold[task], names[task], TEMPLATES[number])
    torch.manual_seed(seed)
    torch.save(open_clip.create_model("ViT-B-32", load_weights=False).state_dict(), folder / "vit_b_32.pt")
    return Workload(folder, images, titles)


def _draw(rng: np.random.Generator, file: Path) -> Path:
    """Coarse random colours with some noise: about as long to decode as a photo of this size."""
    file.parent.mkdir(exist_ok=True)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(
        (_SIDE, _SIDE), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(coarse, dtype=np.int16) + rng.integers(-8, 9, (_SIDE, _SIDE, 3), dtype=np.int16)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file)
    return file


def _for_ibench(folder: Path, task: str, template: str) -> None:
    prompts = {"name": task, "source": "benchmarks/_zeroshot.py", "templates": [template]}
    spec = {
        "name": task,
        "version": 1,
        "kind": "classification",
        "query": "image",
        "target": "text",
        "dataset": {"reader": "manifest", "path": "labels.csv", "columns": {"label": task}},
        "protocols": {"plain": {"prompts": f"prompts_{task}.yaml"}},
    }
    (folder / f"prompts_{task}.yaml").write_text(yaml.safe_dump(prompts))
    (folder / f"{task}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


def _for_clip_benchmark(folder: Path, files: list[Path], gold: list[int], names: list[str], template: str) -> None:
    (folder / "test").mkdir(parents=True, exist_ok=True)
    (folder / "test" / "nshards.txt").write_text(str(_SHARDS))
    (folder / "classnames.txt").write_text("\n".join(names))
    (folder / "zeroshot_classification_templates.txt").write_text(template.replace("{}", "{c}"))
    for shard, rows in enumerate(np.array_split(np.arange(len(files)), _SHARDS)):
        with tarfile.open(folder / "test" / f"{shard}.tar", "w") as tar:
            for row in rows.tolist():
                tar.add(files[row], files[row].name)
                label = str(gold[row]).encode()
                member = tarfile.TarInfo(f"{files[row].stem}.cls")
                member.size = len(label)
                tar.addfile(member, io.BytesIO(label))
