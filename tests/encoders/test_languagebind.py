"""LanguageBind against transformers' CLIP and against an explicit reference, and the laws it keeps."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from languagebind_folder import CONTEXT, DIM, HEADS, VISION, VOCABULARY, WIDTH, config_of, weights_of, write_folder
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ibench.encoders import Encoder, open_checkpoint
from ibench.encoders.languagebind.frontends import CLIP_MEAN, CLIP_STD, DepthView, ImageView, Spectrogram, VideoFrames
from ibench.errors import IbenchError, UnreadableSample
from ibench.modalities import DepthMap, Modality, Waveform

SHAPES = {
    "video": (8, 3, 28, 28),
    "audio": (1, 3, 28, 112),
    "depth": (1, 3, 28, 28),
    "thermal": (1, 3, 28, 28),
    "image": (1, 3, 28, 28),
}


class Frames:
    """A video whose frames are already in memory."""

    def __init__(self, count: int, height: int = 40, width: int = 60) -> None:
        rng = np.random.default_rng(count)
        self.stack = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        self.seconds = count / 25
        self.frame_times = [number / 25 for number in range(count)]

    def frames(self, times: list[float]) -> NDArray[np.uint8]:
        return self.stack[[self.frame_times.index(time) for time in times]]


def opened(folder: Path) -> Encoder:
    return open_checkpoint(str(folder), "cpu", "fp32").load()


def folder_of(place: Path, modality: str, **vision: Any) -> Path:
    config = config_of(modality, **vision)
    return write_folder(place / f"LanguageBind_{modality.capitalize()}", config, weights_of(config))


def views_of(modality: str, count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, *SHAPES[modality], generator=torch.Generator().manual_seed(seed))


def token_ids(lengths: list[int]) -> Tensor:
    ids = torch.full((len(lengths), CONTEXT), VOCABULARY - 1)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.arange(length) + row
    return ids


# Recognising and opening


@pytest.mark.parametrize("modality", VISION)
def test_a_folder_is_opened_for_the_modality_its_config_names(tmp_path: Path, modality: str) -> None:
    encoder = opened(folder_of(tmp_path, modality))
    assert encoder.card.family == "languagebind"
    assert set(encoder.card.modalities) == {modality, "text"}
    assert encoder.card.trained_pairs == (tuple(sorted((Modality(modality), Modality.TEXT))),)
    vectors = encoder.encode(Modality(modality), views_of(modality, 3))
    assert vectors.shape == (3, DIM)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_without_a_name_the_config_tells_video_and_audio(tmp_path: Path, modality: str) -> None:
    folder = folder_of(tmp_path, modality)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": None, "architectures": None}))
    assert modality in opened(folder).card.modalities


def test_other_folders_are_left_to_others(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "image")
    (folder / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    with pytest.raises(IbenchError, match="no known family"):
        opened(folder)


def test_half_a_checkpoint_is_refused_with_its_keys(tmp_path: Path) -> None:
    config = config_of("image")
    weights = weights_of(config)
    del weights["visual_projection.weight"]
    weights["text_projection.bias"] = torch.zeros(DIM)
    weights["vision_model.embeddings.class_embedding"] = torch.zeros(WIDTH + 1)
    with pytest.raises(IbenchError) as error:
        opened(write_folder(tmp_path / "folder", config, weights))
    for told in (
        "1 missing (visual_projection.weight)",
        "1 unexpected (text_projection.bias)",
        "1 misshapen (vision_model.embeddings.class_embedding (17,) instead of (16,))",
    ):
        assert told in str(error.value)


def test_positions_are_taken_as_stored_and_never_resized(tmp_path: Path) -> None:
    config = config_of("audio")
    weights = weights_of(config)
    weights["vision_model.embeddings.position_embedding.weight"] = torch.zeros(257, WIDTH)  # 16 × 16, as in CLIP
    with pytest.raises(IbenchError, match=r"position_embedding.weight \(257, 16\) instead of \(17, 16\)"):
        opened(write_folder(tmp_path / "folder", config, weights))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"add_time_attn": True}, "add_time_attn is only known for video"),
        ({"hidden_size": "wide"}, "vision_config.hidden_size"),
    ],
)
def test_a_config_that_does_not_fit_is_one_line(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    config = config_of("depth")
    weights = weights_of(config)
    config["vision_config"] |= change
    with pytest.raises(IbenchError, match=told):
        opened(write_folder(tmp_path / "folder", config, weights))


def test_a_folder_without_weights_or_tokenizer_says_so(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "image")
    (folder / "vocab.json").unlink()
    with pytest.raises(IbenchError, match="has no tokenizer"):
        opened(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(IbenchError, match=r"no weights: none of model\.safetensors"):
        opened(folder)


# The towers


def test_without_time_the_towers_are_clip(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    config = config_of("image")
    folder = write_folder(tmp_path / "folder", config, weights_of(config))
    ends = {"bos_token_id": VOCABULARY - 2, "eos_token_id": VOCABULARY - 1}
    text = {**config["text_config"], **ends}
    reference = CLIPModel(CLIPConfig(text_config=text, vision_config=config["vision_config"], projection_dim=DIM))
    weights = {key: value for key, value in weights_of(config).items() if not key.endswith("position_ids")}
    assert not reference.load_state_dict(weights, strict=False).missing_keys
    reference.eval()
    ids, pixels = token_ids([3, 7, CONTEXT - 1]), views_of("image", 3)
    with torch.no_grad():
        expected = reference(input_ids=ids, pixel_values=pixels[:, 0])
    encoder = opened(folder)
    torch.testing.assert_close(encoder.encode(Modality.TEXT, ids), expected.text_embeds, rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.encode(Modality.IMAGE, pixels), expected.image_embeds, rtol=0, atol=1e-5)


def test_quick_gelu_is_what_the_config_says(tmp_path: Path) -> None:
    exact, quick = config_of("image"), config_of("image", hidden_act="quick_gelu")
    first = opened(write_folder(tmp_path / "exact", exact, weights_of(exact)))
    second = opened(write_folder(tmp_path / "quick", quick, weights_of(quick)))
    views = views_of("image", 2)
    assert not torch.allclose(first.encode(Modality.IMAGE, views), second.encode(Modality.IMAGE, views), atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 8])
def test_attention_over_time_equals_an_explicit_reference(tmp_path: Path, frames: int) -> None:
    config = config_of("video", num_frames=frames)
    weights = weights_of(config)
    views = torch.randn(2, frames, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    encoder = opened(write_folder(tmp_path / "folder", config, weights))
    expected = F.normalize(torch.stack([reference_video(clip, weights) for clip in views]), dim=-1)
    torch.testing.assert_close(encoder.encode(Modality.VIDEO, views), expected, rtol=0, atol=1e-5)


def reference_video(clip: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """One clip [T, 3, H, W] through the tower, written out place by place."""
    w = {key.removeprefix("vision_model."): value for key, value in weights.items()}
    patches = F.conv2d(clip, w["embeddings.patch_embedding.weight"], stride=14).flatten(2).transpose(1, 2)
    classes = w["embeddings.class_embedding"].expand(len(clip), 1, -1)
    tokens = torch.cat([classes, patches], dim=1) + w["embeddings.position_embedding.weight"]
    tokens = norm(tokens, w, "pre_layrnorm")
    for layer in ("encoder.layers.0", "encoder.layers.1"):
        for place in range(tokens.shape[1]):
            series = tokens[:, place] + (w[f"{layer}.temporal_embedding"][0] if len(clip) > 1 else 0)
            attended = attention(norm(series, w, f"{layer}.temporal_layer_norm1"), w, f"{layer}.temporal_attn")
            tokens = torch.cat(
                [tokens[:, :place], (series + attended)[:, None], tokens[:, place + 1 :]], dim=1
            )  # this place is done
        frames = [
            frame + attention(norm(frame, w, f"{layer}.layer_norm1"), w, f"{layer}.self_attn") for frame in tokens
        ]
        tokens = torch.stack(frames)
        hidden = F.gelu(linear(norm(tokens, w, f"{layer}.layer_norm2"), w, f"{layer}.mlp.fc1"))
        tokens = tokens + linear(hidden, w, f"{layer}.mlp.fc2")
    pooled = norm(tokens[:, 0], w, "post_layernorm").mean(dim=0)
    return w["visual_projection.weight"] @ pooled


def attention(tokens: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    """Over tokens [l, width], head by head."""
    query, key, value = (linear(tokens, w, f"{name}.{part}_proj").chunk(HEADS, dim=-1) for part in "qkv")
    heads = [
        torch.softmax(q @ k.T / (WIDTH / HEADS) ** 0.5, dim=-1) @ v for q, k, v in zip(query, key, value, strict=True)
    ]
    return linear(torch.cat(heads, dim=-1), w, f"{name}.out_proj")


def norm(tokens: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return F.layer_norm(tokens, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)


def linear(tokens: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return F.linear(tokens, w[f"{name}.weight"], w[f"{name}.bias"])


@pytest.mark.parametrize(("modality", "adapted"), [("depth", "self_attn"), ("video", "temporal_attn")])
def test_merged_lora_equals_base_and_branch(tmp_path: Path, modality: str, adapted: str) -> None:
    config = config_of(modality, lora_r=2)
    weights = weights_of(config)
    encoder = opened(write_folder(tmp_path / "folder", config, weights))
    base = {key.replace("base_model.model.", ""): value for key, value in weights.items() if "lora_" not in key}
    branched = opened(write_folder(tmp_path / "base", config_of(modality), base))
    for layer in range(2):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            key = f"vision_model.encoder.base_model.model.layers.{layer}.{adapted}.{name}"
            down, up = (weights[f"{key}.lora_{half}.default.weight"] for half in "AB")
            module = branched.towers.get_submodule(f"vision_model.encoder.layers.{layer}.{adapted}.{name}")  # type: ignore[attr-defined]
            module.register_forward_hook(Branch(down, up, 16 / 2))
    views = views_of(modality, 3)
    merged = encoder.encode(Modality(modality), views)
    torch.testing.assert_close(merged, branched.encode(Modality(modality), views), rtol=0, atol=1e-5)
    unadapted = opened(tmp_path / "base").encode(Modality(modality), views)
    assert not torch.allclose(merged, unadapted, atol=1e-3)


class Branch:
    """Adds what peft's LoRA layer adds: alpha / r · B · (A · x)."""

    def __init__(self, down: Tensor, up: Tensor, scale: float) -> None:
        self.down, self.up, self.scale = down, up, scale

    def __call__(self, module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + self.scale * F.linear(F.linear(inputs[0], self.down), self.up)


def test_a_lora_factor_without_its_other_half_is_refused(tmp_path: Path) -> None:
    config = config_of("thermal", lora_r=2)
    weights = weights_of(config)
    del weights["vision_model.encoder.base_model.model.layers.1.self_attn.k_proj.lora_B.default.weight"]
    with pytest.raises(IbenchError, match=r"LoRA of .*k_proj: .*lora_B\.default\.weight is not in the checkpoint"):
        opened(write_folder(tmp_path / "folder", config, weights))


@pytest.mark.parametrize("modality", VISION)
def test_a_batch_changes_nothing(tmp_path: Path, modality: str) -> None:
    encoder, views = opened(folder_of(tmp_path, modality)), views_of(modality, 5)
    whole = encoder.encode(Modality(modality), views)
    alone = torch.cat([encoder.encode(Modality(modality), one[None]) for one in views])
    torch.testing.assert_close(whole, alone, rtol=0, atol=1e-6)


def test_a_batch_of_longer_texts_changes_no_shorter_one(tmp_path: Path) -> None:
    encoder, ids = opened(folder_of(tmp_path, "image")), token_ids([2, 11, 5])
    alone = torch.cat([encoder.encode(Modality.TEXT, one[None]) for one in ids])
    torch.testing.assert_close(encoder.encode(Modality.TEXT, ids), alone, rtol=0, atol=1e-6)


# The front ends


def test_the_tokenizer_is_the_folders_and_keeps_the_end_token(tmp_path: Path) -> None:
    prepare = opened(folder_of(tmp_path, "image")).preprocess(Modality.TEXT, {})
    short, long = prepare("ab"), prepare("a very long text that does not fit")
    assert short.shape == long.shape == (1, CONTEXT)
    assert short[0, 0] == VOCABULARY - 2
    assert long[0, -1] == VOCABULARY - 1
    assert int(short.argmax()) == 3


def test_an_image_is_resized_as_a_tensor_without_antialiasing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 81, 3), dtype=np.uint8)
    unit = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    resized = F.interpolate(unit[None], (28, int(28 * 81 / 50)), mode="bicubic", align_corners=False)[0]
    left = round((resized.shape[2] - 28) / 2)
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    expected = (resized[:, :, left : left + 28] - mean) / std
    torch.testing.assert_close(ImageView(28)(Image.fromarray(pixels))[0, 0], expected, rtol=0, atol=1e-5)


def test_grey_is_rgb_and_deeper_pixels_are_refused() -> None:
    grey = Image.fromarray(np.full((40, 40), 100, np.uint8))
    torch.testing.assert_close(ImageView(28)(grey), ImageView(28)(grey.convert("RGB")))
    with pytest.raises(UnreadableSample, match="8 bits"):
        ImageView(28)(Image.fromarray(np.full((40, 40), 40_000, np.uint16)))


def test_depth_is_metres_over_ten_clipped() -> None:
    metres = np.full((28, 28), 5.0, np.float32)
    metres[0, :4] = (0.0, np.nan, 12.0, 0.005)
    view = DepthView(28, 10.0)(DepthMap(metres, 500.0, 0.1))[0, 0]
    unit = view * torch.tensor(CLIP_STD)[:, None, None] + torch.tensor(CLIP_MEAN)[:, None, None]
    expected = torch.full((28, 28), 0.5)
    expected[0, :4] = torch.tensor([0.001, 0.001, 1.0, 0.001])
    torch.testing.assert_close(unit, expected.expand(3, -1, -1), rtol=0, atol=1e-5)


def test_without_a_farthest_depth_each_map_has_its_own() -> None:
    """``max_depth: 0``, as the released DepthNorm reads it; a map without any depth is all nearest, and finite."""
    metres = np.linspace(0.0, 4.0, 28 * 28, dtype=np.float32).reshape(28, 28)
    torch.testing.assert_close(
        DepthView(28, 0.0)(DepthMap(metres, 500.0, 0.1)), DepthView(28, 4.0)(DepthMap(metres, 500.0, 0.1))
    )
    assert torch.isfinite(DepthView(28, 0.0)(DepthMap(np.zeros((28, 28), np.float32), 500.0, 0.1))).all()


def test_a_portrait_video_keeps_its_width_and_loses_above_and_below() -> None:
    video = Frames(8, height=60, width=40)
    pixels = torch.from_numpy(video.stack).permute(0, 3, 1, 2).float() / 255
    scaled = F.interpolate(pixels, (42, 28), mode="bilinear", align_corners=False)[..., 7:35, :]
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    torch.testing.assert_close(VideoFrames(28, 8)(video)[0], (scaled - mean) / std, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("count", "numbers"), [(100, [0, 14, 28, 42, 56, 70, 84, 99]), (3, [0, 0, 0, 0, 1, 1, 1, 2])])
def test_video_frames_are_evenly_spread(count: int, numbers: list[int]) -> None:
    video = Frames(count)
    view = VideoFrames(28, 8)(video)
    assert view.shape == (1, 8, 3, 28, 28)
    pixels = torch.from_numpy(video.stack[numbers]).permute(0, 3, 1, 2).float() / 255
    scaled = F.interpolate(pixels, (28, 42), mode="bilinear", align_corners=False)[..., 7:35]
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    torch.testing.assert_close(view[0], (scaled - mean) / std, rtol=0, atol=1e-4)


def test_sound_becomes_three_stretches_from_fixed_starts() -> None:
    from ibench.encoders.filterbank import log_mel

    samples = np.random.default_rng(0).standard_normal((2, 32_000)).astype(np.float32) * 0.1
    view = Spectrogram(16_000, 28, 112, -4.0, 2.0)(Waveform(samples, 16_000))
    energies = (log_mel(torch.from_numpy(samples[:1]), 16_000, 28)[0] + 4.0) / 4.0
    assert len(energies) == 198  # so 87 starts, 29 in each third
    for colour, start in enumerate((0, 29, 58)):
        torch.testing.assert_close(view[0, 0, colour], energies[start : start + 112].T)


@pytest.mark.parametrize("bins", [112, 126])
@pytest.mark.parametrize("seconds", [0.7, 10.385, 10.4, 25.0])
def test_a_spectrogram_is_that_of_the_released_steps(bins: int, seconds: float) -> None:
    """torchaudio's filter bank and the released AudioTransform's steps, its draws fixed to the first of each third."""
    from torchaudio.compliance.kaldi import fbank

    noise = np.random.default_rng(1).standard_normal((2, round(16_000 * seconds))).astype(np.float32) * 0.1 + 0.05
    sound = torch.from_numpy(noise) - float(noise.mean())  # the mean over both channels, of which the first is heard
    mel = fbank(
        sound, htk_compat=True, sample_frequency=16_000, use_energy=False, window_type="hanning", num_mel_bins=bins,
        dither=0.0, frame_length=25, frame_shift=10,
    )  # fmt: skip
    if len(mel) > 1036:
        thirds = np.array_split(list(range(len(mel) - 1036 + 1)), 3)
        cut = [mel[start : start + 1036] for start in (int(third[0]) if len(third) else 0 for third in thirds)]
    else:
        cut = [torch.cat([mel] * 200)[:1036]] * 3
    expected = (torch.stack(cut).transpose(1, 2) + 4.2677393) / (4.5689974 * 2)
    view = Spectrogram(16_000, bins, 1036, -4.2677393, 4.5689974)(Waveform(noise, 16_000))
    torch.testing.assert_close(view[0, 0], expected, rtol=0, atol=1e-3)


def test_short_sound_is_repeated_and_none_is_refused() -> None:
    noise = np.random.default_rng(0).standard_normal((1, 8_000)).astype(np.float32)
    view = Spectrogram(16_000, 28, 112, 0.0, 0.5)(Waveform(noise, 16_000))[0, 0]
    assert view.shape == (3, 28, 112)
    torch.testing.assert_close(view[0, :, :48], view[2, :, 48:96])
    with pytest.raises(UnreadableSample, match="less than one frame"):
        Spectrogram(16_000, 28, 112, 0.0, 0.5)(Waveform(noise[:, :300], 16_000))


@pytest.mark.parametrize("bins", [112, 126])
def test_the_published_spectrograms_give_the_published_positions(bins: int) -> None:
    from ibench.encoders.languagebind.towers import VisionConfig

    config = VisionConfig(patch_size=14, num_mel_bins=bins, target_length=1036)
    rows, columns = (side // config.patch_size for side in config.input_size)
    assert rows * columns + 1 == {112: 593, 126: 667}[bins]


@pytest.mark.parametrize("modality", [*VISION, "text"])
def test_front_ends_travel_to_workers_and_give_the_same_twice(tmp_path: Path, modality: str) -> None:
    encoder = opened(folder_of(tmp_path, "image" if modality == "text" else modality))
    prepare = encoder.preprocess(Modality(modality), {})
    noise = np.random.default_rng(0)
    raw: Any = {
        "text": "a text",
        "video": Frames(11),
        "audio": Waveform(noise.standard_normal((1, 50_000)).astype(np.float32), 22_050),
        "depth": DepthMap(noise.random((40, 50), np.float32) * 8, 500.0, 0.1),
    }.get(modality, Image.fromarray(noise.integers(0, 256, (40, 50, 3), dtype=np.uint8)))
    first, second = prepare(raw), pickle.loads(pickle.dumps(prepare))(raw)
    assert torch.equal(first, second)
    assert torch.equal(encoder.encode(Modality(modality), first), encoder.encode(Modality(modality), second))
