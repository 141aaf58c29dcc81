"""Writes tests/encoders/goldens/imagebind.safetensors: what the reference implementation of ImageBind computes.

Run it in an environment of the reference's own, never in ibench's:

    pip install torch==2.12.1 torchvision==0.27.1 torchaudio==2.11.0 "setuptools<81" safetensors
    pip install ftfy regex timm einops iopath fvcore pandas av
    pip install --no-deps imagebind-unofficial==0.1.1 pytorchvideo==0.1.5
    python tests/parity/make_imagebind_goldens.py

The towers are the reference's classes at reduced sizes, with the weights and inputs of
``tests/encoders/imagebind_samples.py``; the front ends are its loaders as they are, with four stand-ins:

- torchvision.transforms.functional_tensor, gone from torchvision, is its successor of the same content;
- torchaudio.load, which needs torchcodec, and the decord video reader give the samples directly; the reader chooses
  frames as pytorchvideo's decord reader does (from ceil(rate · start) to ceil(rate · end) - 1);
- the clip sampler spreads clips up to the last possible start, as in the pytorchvideo commit that ImageBind's
  requirements name (6cdc929); the release on the package index stops one step earlier.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import torch
import torchaudio
import torchvision.transforms._functional_tensor as functional_tensor
from safetensors.torch import save_file

sys.modules["torchvision.transforms.functional_tensor"] = functional_tensor
TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "encoders"))

import imagebind_samples as samples  # noqa: E402
from imagebind import data as reference  # noqa: E402
from imagebind.models.imagebind_model import ImageBindModel  # noqa: E402
from imagebind.models.multimodal_preprocessors import TextPreprocessor  # noqa: E402


def main() -> None:
    torch.set_grad_enabled(False)
    model = small_model()
    goldens = tower_outputs(model) | image_outputs() | sound_outputs() | video_outputs()
    goldens["front/text"] = reference.load_and_transform_text(samples.TEXTS, "cpu").to(torch.int32)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    path = TESTS / "encoders" / "goldens" / "imagebind.safetensors"
    save_file({name: value.contiguous() for name, value in goldens.items()}, path, {"shapes": json.dumps(shapes)})
    print(f"{path.name}: {len(goldens)} tensors, {path.stat().st_size / 1e6:.2f} MB")


def small_model() -> ImageBindModel:
    widths = {f"{tower}_embed_dim": width for tower, width in samples.WIDTHS.items()}
    blocks = {f"{tower}_num_blocks": samples.BLOCKS for tower in samples.WIDTHS}
    heads = {f"{tower}_num_heads": 2 for tower in samples.WIDTHS}
    model = ImageBindModel(out_embed_dim=samples.DIM, **widths, **blocks, **heads)
    model.modality_preprocessors["text"] = TextPreprocessor(
        context_length=77, vocab_size=samples.VOCABULARY, embed_dim=samples.WIDTHS["text"], causal_masking=True
    )
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(samples.random_weights(shapes), strict=True)
    return model.eval()


def tower_outputs(model: ImageBindModel) -> dict[str, torch.Tensor]:
    inputs = {
        "image": ("vision", samples.noise("image", 3, 3, 224, 224)),
        "video": ("vision", samples.noise("video", 2, 3, 2, 224, 224).unsqueeze(1)),
        "text": ("text", samples.token_ids()),
        "audio": ("audio", samples.noise("audio", 3, 1, 128, 204)),
        "depth": ("depth", samples.noise("depth", 3, 1, 224, 224)),
        "thermal": ("thermal", samples.noise("thermal", 3, 1, 224, 224)),
        "imu": ("imu", samples.noise("imu", 3, 6, 2000)),
    }
    outputs = {name: model({tower: batch})[tower] for name, (tower, batch) in inputs.items()}
    return {f"tower/{name}": torch.nn.functional.normalize(output, dim=-1) for name, output in outputs.items()}


def image_outputs() -> dict[str, torch.Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        outputs = {}
        for name in samples.PICTURES:
            path = Path(folder) / f"{name}.png"
            samples.picture(name).save(path)
            outputs[f"front/image/{name}"] = samples.sample(reference.load_and_transform_vision_data([path], "cpu"))
    return outputs


def sound_outputs() -> dict[str, torch.Tensor]:
    reference.ConstantClipsPerVideoSampler = ClipSampler
    torchaudio.load = lambda name: (torch.from_numpy(samples.sound(name)[0]), samples.sound(name)[1])
    outputs = {}
    for name, (_, _, seconds) in samples.SOUNDS.items():
        for rule, clips in {"3": 3, "cover": math.ceil(seconds / 2)}.items():
            output = reference.load_and_transform_audio_data([name], "cpu", clips_per_video=clips)
            outputs[f"front/audio/{name}/{rule}"] = samples.sample(output)
    return outputs


def video_outputs() -> dict[str, torch.Tensor]:
    reference.ConstantClipsPerVideoSampler = ClipSampler
    reference.EncodedVideo = FrameReader
    return {
        f"front/video/{name}": samples.sample(reference.load_and_transform_video_data([name], "cpu"), step=997)
        for name in samples.VIDEOS
    }


class ClipSampler:
    """``clips_per_video`` clips from 0 to the last possible start."""

    def __init__(self, clip_duration: int, clips_per_video: int) -> None:
        self.span, self.clips, self.index = clip_duration, clips_per_video, 0

    def __call__(self, last_end, duration, annotation):
        latest = Fraction(max(duration - self.span, 0))
        start = Fraction(latest, max(self.clips - 1, 1)) * self.index
        self.index = (self.index + 1) % self.clips
        return start, start + self.span, 0, 0, self.index == 0


class FrameReader:
    """Stands where pytorchvideo's decord reader stands, over frames in memory."""

    def __init__(self, name: str) -> None:
        self.frames, self.rate = samples.video_frames(name), samples.VIDEOS[name][1]
        self.duration = len(self.frames) / self.rate

    @classmethod
    def from_path(cls, name: str, **settings) -> FrameReader:
        return cls(name)

    def get_clip(self, start: Fraction, end: Fraction) -> dict[str, torch.Tensor]:
        first, stop = math.ceil(self.rate * start), min(math.ceil(self.rate * end), len(self.frames))
        return {"video": torch.from_numpy(self.frames[first:stop]).float().permute(3, 0, 1, 2)}


if __name__ == "__main__":
    main()
