"""ImageBind against golden outputs of the reference (tests/parity), and the laws it keeps."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from ibench.api import evaluate
from ibench.encoders.filterbank import log_mel
from ibench.encoders.imagebind import ImageBind, load
from ibench.encoders.imagebind.clips import clip_starts, clips_to_cover
from ibench.encoders.imagebind.frontends import CLIP_MEAN, CLIP_STD
from ibench.encoders.imagebind.layout import has_towers
from ibench.errors import IbenchError, UnreadableSample
from ibench.modalities import DepthMap, ImuWindow, Modality, Waveform

sys.path.insert(0, str(Path(__file__).parent))
import imagebind_samples as samples

GOLDENS = Path(__file__).parent / "goldens" / "imagebind.safetensors"
INPUTS = {
    "image": lambda: samples.noise("image", 3, 3, 224, 224),
    "video": lambda: samples.noise("video", 2, 3, 2, 224, 224),
    "text": samples.token_ids,
    "audio": lambda: samples.noise("audio", 3, 1, 128, 204),
    "depth": lambda: samples.noise("depth", 3, 1, 224, 224),
    "thermal": lambda: samples.noise("thermal", 3, 1, 224, 224),
    "imu": lambda: samples.noise("imu", 3, 6, 2000),
}
CPU = torch.device("cpu")


def golden(name: str) -> Tensor:
    with safe_open(GOLDENS, "pt") as file:
        return file.get_tensor(name)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def opened(state_dict: Mapping[str, Tensor], **options: object) -> ImageBind:
    settings: dict[str, object] = {"name": "small", "device": CPU, "dtype": torch.float32}
    return load(state_dict, **(settings | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    with safe_open(GOLDENS, "pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
    return samples.random_weights({key: tuple(shape) for key, shape in shapes.items()})


@pytest.fixture(scope="module")
def encoder(weights: dict[str, Tensor]) -> ImageBind:
    return opened(weights)


class Frames:
    """A video whose frames are already in memory."""

    def __init__(self, frames: NDArray[np.uint8], rate: float) -> None:
        self.stack, self.seconds = frames, len(frames) / rate
        self.frame_times = [number / rate for number in range(len(frames))]
        self.asked: list[float] = []

    def frames(self, times: list[float]) -> NDArray[np.uint8]:
        self.asked += times
        return self.stack[[self.frame_times.index(time) for time in times]]


# Parity with the reference


@pytest.mark.parametrize("name", INPUTS)
def test_a_tower_equals_the_reference(encoder: ImageBind, name: str) -> None:
    assert difference(encoder.embed(Modality(name), INPUTS[name]()), golden(f"tower/{name}")) <= 1e-5


@pytest.mark.parametrize("name", samples.PICTURES)
def test_the_image_front_end_equals_the_reference(encoder: ImageBind, name: str) -> None:
    view = encoder.preprocess(Modality.IMAGE, {})(samples.picture(name))
    seen = encoder.inputs(Modality.IMAGE, view)
    assert (view.dtype, seen.dtype, seen.shape) == (torch.uint8, torch.float32, (1, 3, 224, 224))
    assert difference(samples.sample(seen), golden(f"front/image/{name}")) <= 1e-5


@pytest.mark.parametrize("rule", ["3", "cover"])
@pytest.mark.parametrize("name", samples.SOUNDS)
def test_the_audio_front_end_equals_the_reference(encoder: ImageBind, name: str, rule: str) -> None:
    front_end = encoder.preprocess(Modality.AUDIO, {"clips": 3} if rule == "3" else {})
    heard = encoder.inputs(Modality.AUDIO, front_end(Waveform(*samples.sound(name))))
    assert heard.shape[1:] == (1, 128, 204)
    ours, theirs = samples.sample(heard), golden(f"front/audio/{name}/{rule}")
    # A bin 60 dB below the loudest of its frame holds what the transform rounded off there, which another processor
    # rounds otherwise, and the logarithm shows it: single values may differ by more than the whole does.
    assert (ours - theirs).norm() <= 1e-5 * theirs.norm()
    assert difference(ours, theirs) <= 1e-3


@pytest.mark.parametrize("name", samples.VIDEOS)
def test_the_video_front_end_equals_the_reference(encoder: ImageBind, name: str) -> None:
    views = encoder.preprocess(Modality.VIDEO, {})(Frames(samples.video_frames(name), samples.VIDEOS[name][1]))
    assert views.shape == (15, 3, 2, 224, 224)
    assert difference(samples.sample(views, step=997), golden(f"front/video/{name}")) <= 1e-5


def test_token_ids_equal_the_reference(weights: dict[str, Tensor]) -> None:
    front_end = opened(_with_the_vocabulary_of_clip(weights)).preprocess(Modality.TEXT, {})
    assert torch.equal(torch.cat([front_end(text) for text in samples.TEXTS]), golden("front/text").long())


# Laws of the towers


@pytest.mark.parametrize("name", INPUTS)
def test_embeddings_are_unit_vectors_whatever_the_batch(encoder: ImageBind, name: str) -> None:
    batch = INPUTS[name]()
    together = encoder.embed(Modality(name), batch)
    alone = torch.cat([encoder.embed(Modality(name), view.unsqueeze(0)) for view in batch])
    assert together.dtype == torch.float32
    assert torch.allclose(together.norm(dim=-1), torch.ones(len(batch)), atol=1e-6)
    assert difference(alone, together) <= 1e-5


def test_a_still_image_is_a_clip_of_two_equal_frames(encoder: ImageBind) -> None:
    image = INPUTS["image"]()
    clip = image.unsqueeze(2).repeat(1, 1, 2, 1, 1)
    assert difference(encoder.encode(Modality.IMAGE, image), encoder.encode(Modality.VIDEO, clip)) <= 1e-5


def test_padding_after_the_end_token_changes_nothing(encoder: ImageBind) -> None:
    ids = samples.token_ids()
    padded = encoder.encode(Modality.TEXT, ids)  # its last prompt fills the context, so nothing is trimmed
    assert difference(encoder.encode(Modality.TEXT, ids[:1]), padded[:1]) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_single(weights: dict[str, Tensor], encoder: ImageBind, dtype: torch.dtype) -> None:
    halved = opened(weights, dtype=dtype)
    for name, batch in INPUTS.items():
        vectors = halved.embed(Modality(name), batch())
        assert vectors.dtype == torch.float32
        cosines = (vectors * encoder.embed(Modality(name), batch())).sum(dim=-1)
        assert cosines.min() > 0.998, name


def test_a_batch_of_another_shape_is_refused(encoder: ImageBind) -> None:
    with pytest.raises(
        IbenchError, match=r"ImageBind audio: a batch of shape \(2, 1, 128, 204\), each view is \(32001,\)"
    ):
        encoder.encode(Modality.AUDIO, torch.zeros(2, 1, 128, 204))


# Checkpoints


def test_a_checkpoint_is_recognised_by_its_keys(weights: dict[str, Tensor]) -> None:
    assert has_towers({key: tuple(value.shape) for key, value in weights.items()})
    assert not has_towers({"visual.conv1.weight": (768, 3, 16, 16), "modality_trunks.touch.blocks.0.norm_1.bias": (8,)})


def test_the_card_says_what_was_trained(encoder: ImageBind) -> None:
    card = encoder.card
    assert (card.family, card.dim, card.licence) == ("imagebind", samples.DIM, "CC BY-NC 4.0")
    assert set(card.modalities) == set(Modality) == set(card.preprocessing)
    assert not card.emergent(Modality.AUDIO, Modality.VIDEO)
    assert not card.emergent(Modality.TEXT, Modality.IMAGE)
    assert card.emergent(Modality.AUDIO, Modality.TEXT)
    assert card.emergent(Modality.DEPTH, Modality.THERMAL)


def test_a_checkpoint_may_hold_some_of_the_towers(weights: dict[str, Tensor], encoder: ImageBind) -> None:
    part = opened({key: value for key, value in weights.items() if ".audio." in key or ".text." in key})
    assert part.card.modalities == (Modality.TEXT, Modality.AUDIO)
    assert part.card.trained_pairs == ()
    batch = INPUTS["audio"]()
    assert torch.equal(part.embed(Modality.AUDIO, batch), encoder.embed(Modality.AUDIO, batch))
    with pytest.raises(IbenchError, match="has no vision tower, so no video; it has text, audio"):
        part.preprocess(Modality.VIDEO, {})


def test_missing_unexpected_and_misshapen_keys_are_named(weights: dict[str, Tensor]) -> None:
    broken = dict(weights)
    for key in [key for key in weights if key.startswith("modality_trunks.imu.blocks.1.")]:
        broken[key.replace("modality_trunks.imu", "modality_trunks.smell")] = broken.pop(key)
    broken["modality_trunks.imu.blocks.1.norm_1.bias"] = torch.zeros(3)
    with pytest.raises(IbenchError) as caught:
        opened(broken)
    message = str(caught.value)
    assert message.startswith("small: not a whole ImageBind checkpoint: ")
    assert "13 missing (modality_trunks.imu.blocks.1.norm_1.weight, modality_trunks.imu.blocks.1." in message
    assert "14 unexpected (modality_trunks.smell.blocks.1." in message
    assert "1 misshapen (modality_trunks.imu.blocks.1.norm_1.bias (3,) instead of (128,)" in message
    assert message.count("modality_trunks.smell") == 5


def test_sizes_cannot_be_read_off_a_missing_key(weights: dict[str, Tensor]) -> None:
    broken = weights_without(weights, "modality_heads.vision.2.weight")
    with pytest.raises(IbenchError, match=r"1 missing \(modality_heads\.vision\.2\.weight"):
        opened(broken)


def test_keys_no_embedding_depends_on_may_be_absent(weights: dict[str, Tensor]) -> None:
    opened(weights_without(weights, "text.mask", "log_logit_scale"))


def test_other_sizes_need_the_number_of_heads(weights: dict[str, Tensor]) -> None:
    audio = {key: value for key, value in weights.items() if ".audio." in key}
    assert opened(audio).shapes["audio"].heads == 2
    assert opened(audio, heads={"audio": 8}).shapes["audio"].heads == 8
    with pytest.raises(IbenchError, match="7 heads do not divide its width 128"):
        opened(audio, heads={"audio": 7})
    with pytest.raises(IbenchError, match="did you mean audio"):
        opened(audio, heads={"audi": 2})
    audio["modality_heads.audio.2.weight"] = torch.zeros(samples.DIM, 100)
    with pytest.raises(IbenchError, match="100 is no multiple of the published head width 64"):
        opened(audio)


def test_towers_of_different_spaces_are_refused(weights: dict[str, Tensor]) -> None:
    split = dict(weights)
    split["modality_heads.imu.3.weight"] = weights["modality_heads.imu.3.weight"][:16]
    with pytest.raises(IbenchError, match=r"its towers embed in \[16, 32\] dimensions"):
        opened(split)


# Laws of the front ends


def test_front_ends_are_picklable(encoder: ImageBind) -> None:
    for modality in set(Modality) - {Modality.TEXT}:
        front_end = encoder.preprocess(modality, {})
        assert pickle.loads(pickle.dumps(front_end)) == front_end


@pytest.mark.parametrize(("seconds", "clips"), [(0.7, 1), (2.0, 1), (2.1, 2), (5.0, 3), (10.0, 5), (30.0, 15)])
def test_clips_cover_the_recording(encoder: ImageBind, seconds: float, clips: int) -> None:
    waveform = Waveform(np.zeros((1, round(seconds * 16_000)), np.float32), 16_000)
    assert clips_to_cover(seconds) == clips
    assert len(encoder.preprocess(Modality.AUDIO, {})(waveform)) == clips


def test_clips_are_spread_to_the_end() -> None:
    assert clip_starts(5.0, 3) == [0, 1.5, 3]
    assert clip_starts(10.0, 3) == [0, 4, 8]
    assert clip_starts(0.7, 3) == [0, 0, 0]
    assert clip_starts(5.0, 1) == [0]


@pytest.mark.parametrize(
    ("modality", "views", "message"),
    [
        (Modality.AUDIO, {"clip": 3}, "unknown 'clip'; did you mean clips?"),
        (Modality.AUDIO, {"clips": 0}, "clips is 0, must be cover or a whole number from 1"),
        (Modality.AUDIO, {"clips": True}, "clips is True"),
        (Modality.VIDEO, {"crops": 2}, "crops is 2, must be 1 or 3"),
        (Modality.VIDEO, {"clips": "cover"}, "clips is 'cover'"),
        (Modality.DEPTH, {"variant": "metres"}, "unknown 'variant'; known: statistics, units"),
        (Modality.DEPTH, {"units": 1}, "units is 1, must be a name"),
        (Modality.IMAGE, {"crops": 3}, "ImageBind image views: unknown 'crops'"),
    ],
)
def test_unknown_views_are_refused(
    encoder: ImageBind, modality: Modality, views: dict[str, object], message: str
) -> None:
    with pytest.raises(IbenchError) as caught:
        encoder.preprocess(modality, views)
    assert message in str(caught.value)


def test_sound_shorter_than_a_frame_is_unreadable(encoder: ImageBind) -> None:
    with pytest.raises(UnreadableSample, match=r"20\.0 ms of sound"):
        encoder.preprocess(Modality.AUDIO, {})(Waveform(np.zeros((1, 320), np.float32), 16_000))


def test_the_audio_front_end_leaves_its_sample_alone(encoder: ImageBind) -> None:
    waveform = Waveform(*samples.sound("mono-16k-5s"))
    before = waveform.samples.copy()
    encoder.preprocess(Modality.AUDIO, {})(waveform)
    assert np.array_equal(waveform.samples, before)


def test_images_are_those_of_torchvision_bit_by_bit(encoder: ImageBind) -> None:
    """Resize, CenterCrop, ToTensor and Normalize in one process, as in the released ``data.py``."""
    picture = samples.picture(next(iter(samples.PICTURES)))
    resized = transforms.Compose([transforms.Resize(224, InterpolationMode.BICUBIC), transforms.CenterCrop(224)])
    whole = transforms.Compose([resized, transforms.ToTensor(), transforms.Normalize(CLIP_MEAN, CLIP_STD)])
    seen = encoder.inputs(Modality.IMAGE, encoder.preprocess(Modality.IMAGE, {})(picture))
    assert torch.equal(seen[0], whole(picture.convert("RGB")))
    warm = encoder.inputs(Modality.THERMAL, encoder.preprocess(Modality.THERMAL, {})(picture))
    assert torch.equal(warm[0], transforms.ToTensor()(resized(picture.convert("L"))))


def test_clips_of_any_length_share_a_batch(encoder: ImageBind) -> None:
    """What is filled up on the way to the device is not heard: each clip is as if it had come alone, and unfilled."""
    rng = np.random.default_rng(0)
    sounds = [0.1 * rng.standard_normal((2, length)).astype(np.float32) for length in (400, 559, 560, 31_999, 70_000)]
    front_end = encoder.preprocess(Modality.AUDIO, {})
    views = [front_end(Waveform(sound, 16_000)) for sound in sounds]
    together = encoder.inputs(Modality.AUDIO, torch.cat(views))
    for sound, heard in zip(sounds, torch.split(together, [len(view) for view in views]), strict=True):
        first = torch.from_numpy(sound[:, :32_000])
        mel = log_mel((first - first.mean())[:1], 16_000, 128)[0].T
        filled = torch.nn.functional.pad(mel, (0, 204 - mel.shape[1]))
        torch.testing.assert_close(heard[0, 0], (filled + 4.268) / 9.138, rtol=0, atol=1e-5)


def test_only_the_frames_needed_are_decoded(encoder: ImageBind) -> None:
    video = Frames(samples.video_frames("short"), 10.0)  # 0.9 s: five times the same clip
    views = encoder.preprocess(Modality.VIDEO, {"crops": 1})(video)
    assert video.asked == [0.0, 0.8]
    assert torch.equal(views, views[:1].expand(5, -1, -1, -1, -1))


def test_disparity_of_flat_depth_is_known(encoder: ImageBind) -> None:
    front_end = encoder.preprocess(Modality.DEPTH, {})
    view = front_end(DepthMap(np.full((530, 730), 2.0, np.float32), focal=530.0, baseline=0.075))
    expected = (0.075 * 530 / 16 / 75 - 0.0418) / 0.0295
    assert view.shape == (1, 1, 224, 224)
    assert torch.allclose(view, torch.full_like(view, expected), atol=1e-5)
    missing = front_end(DepthMap(np.array([[0.0, np.nan]] * 2, np.float32), focal=530.0, baseline=0.075))
    assert torch.allclose(missing, torch.full_like(missing, (1 - 0.0418) / 0.0295), atol=1e-4)


PAIRS = "these do: units: raw, statistics: omnivore; units: metres, statistics: codebind-sun; units: metres, "


@pytest.mark.parametrize(
    "views",
    [
        {"units": "metres"},  # half of a pair: the other half's default belongs to other units
        {"statistics": "codebind-sun"},
        {"units": "metres", "statistics": "omnivore"},
        {"units": "raw", "statistics": "codebind-nyu"},
        {"units": "feet", "statistics": "omnivore"},
        {"units": "metres", "statistics": "codebind"},
    ],
)
def test_statistics_of_other_units_are_refused(encoder: ImageBind, views: dict[str, str]) -> None:
    with pytest.raises(IbenchError, match=PAIRS):
        encoder.preprocess(Modality.DEPTH, views)


@pytest.mark.parametrize(
    ("views", "distance", "mean", "std"),
    [
        ({"units": "raw", "statistics": "omnivore"}, 16, 0.0418, 0.0295),
        ({"units": "metres", "statistics": "codebind-sun"}, 2, 0.318441, 0.11506188),
        ({"units": "metres", "statistics": "codebind-nyu"}, 2, 0.23207855, 0.11506188),
    ],
)
def test_each_convention_has_its_units_and_statistics(
    encoder: ImageBind, views: dict[str, str], distance: float, mean: float, std: float
) -> None:
    """The formula of Omnivore's issue 12 and of CodeBind's code on a wall two metres away."""
    wall = DepthMap(np.full((530, 730), 2.0, np.float32), focal=530.0, baseline=0.075)
    view = encoder.preprocess(Modality.DEPTH, views)(wall)
    expected = (0.075 * 530 / distance / 75 - mean) / std
    assert torch.allclose(view, torch.full_like(view, expected), atol=1e-4)
    assert str(mean) in encoder.card.preprocessing[Modality.DEPTH]


def test_conventions_see_the_same_room_alike(encoder: ImageBind) -> None:
    """Both put what they were computed from near 0: eight times the depth with an eighth of the mean."""
    room = DepthMap(1 + 4 * np.random.default_rng(0).random((60, 80), np.float32), focal=518.857901, baseline=0.075)
    raw = encoder.preprocess(Modality.DEPTH, {})(room)
    metres = encoder.preprocess(Modality.DEPTH, {"units": "metres", "statistics": "codebind-nyu"})(room)
    mixed = (0.0295 * raw + 0.0418) * 8  # disparity in metres, with Omnivore's statistics
    assert raw.mean().abs() < 1
    assert metres.mean().abs() < 1
    assert ((mixed - 0.0418) / 0.0295).mean() > 4


def test_thermal_images_are_grey_and_not_normalised(encoder: ImageBind) -> None:
    front_end = encoder.preprocess(Modality.THERMAL, {})
    white = front_end(Image.new("RGB", (300, 500), "white"))
    assert torch.equal(encoder.inputs(Modality.THERMAL, white), torch.ones(1, 1, 224, 224))
    with pytest.raises(UnreadableSample, match="8-bit"):
        front_end(Image.new("I;16", (300, 500)))


def test_imu_windows_are_resampled_in_time(encoder: ImageBind) -> None:
    front_end = encoder.preprocess(Modality.IMU, {})
    ready = samples.noise("imu", 6, 2000).numpy()
    assert np.array_equal(front_end(ImuWindow(ready, 400.0)).numpy()[0], ready)
    doubled = front_end(ImuWindow(ready[:, ::2], 200.0)).numpy()[0]
    assert np.allclose(doubled[:, ::2], ready[:, ::2])
    assert not front_end(ImuWindow(np.full((6, 10), np.nan, np.float32), 200.0)).any()
    with pytest.raises(UnreadableSample, match=r"\(3, 10\)"):
        front_end(ImuWindow(np.zeros((3, 10), np.float32), 200.0))


def test_a_foreign_vocabulary_has_no_text_front_end(encoder: ImageBind) -> None:
    with pytest.raises(IbenchError, match="a text tower of 600 tokens"):
        encoder.preprocess(Modality.TEXT, {})


def weights_without(weights: Mapping[str, Tensor], *endings: str) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if not key.endswith(endings)}


def _with_the_vocabulary_of_clip(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    text = {key: value for key, value in weights.items() if ".text." in key}
    words = "modality_preprocessors.text.token_embedding.weight"
    return text | {words: torch.zeros(49_408, text[words].shape[1])}


def test_a_file_of_that_layout_runs(weights: dict[str, Tensor], tmp_path: Path, tones: Path) -> None:
    """What `ibench run --ckpt imagebind_huge.pth` does, in small: recognised by its keys, emergence computed."""
    whole = weights | _with_the_vocabulary_of_clip(weights)
    whole["modality_preprocessors.text.token_embedding.weight"].normal_(generator=torch.Generator().manual_seed(0))
    file = tmp_path / "any name.pth"
    torch.save(whole, file)
    (record,) = evaluate(file, [tones])
    assert (record.encoder.family, record.encoder.name, record.emergent) == ("imagebind", "any name", True)
    assert record.encoder.checkpoint_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert 0 <= record.score.value <= 1
    del whole["modality_trunks.audio.blocks.0.norm_1.bias"]
    torch.save(whole, file)
    with pytest.raises(IbenchError, match=r"modality_trunks\.audio\.blocks\.0\.norm_1\.bias"):
        evaluate(file, [tones])
