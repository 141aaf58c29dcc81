"""Checkpoints of every family that are damaged, hostile or half there: one line, exit 2, nothing run, never a score."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import re
import resource
import shlex
import shutil
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import RunIbench
from every_family import WRITERS, Ears, Written
from safetensors.torch import load_file, save_file
from torch import Tensor

from ibench.api import load_encoder
from ibench.encoders import open_checkpoint
from ibench.encoders.weights import read_weights
from ibench.errors import IbenchError
from ibench.modalities import Modality

# ALIGN, AltCLIP, Chinese-CLIP, SigLIP and X-CLIP are opened by the lines that open CLIP
FAMILIES = [
    name
    for name in WRITERS
    if name not in ("open_clip_file", "align", "altclip", "chinese_clip", "siglip", "siglip2", "xclip")
]
WITH_KEYS = [name for name in FAMILIES if name not in ("torchscript", "embeddings")]
WITH_CONFIG = [name for name in WITH_KEYS if name not in ("imagebind", "laion")]
IN_SHARDS = [name for name in WITH_CONFIG if name not in ("open_clip_folder", "languagebind_depth_lora")]

Copied = Callable[[str], Written]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Written]]:
    """The checkpoint of a family as its library writes it, made once."""
    made: dict[str, tuple[Path, Written]] = {}

    def make(name: str) -> tuple[Path, Written]:
        if name not in made:
            place = tmp_path_factory.mktemp(name)
            made[name] = place, WRITERS[name](place)
        return made[name]

    return make


@pytest.fixture
def copied(tmp_path: Path, written: Callable[[str], tuple[Path, Written]]) -> Copied:
    """A copy of it, to be spoiled."""

    def copy(name: str, folder: str = "copy") -> Written:
        place, files = written(name)
        shutil.copytree(place, tmp_path / folder)
        moved = [path and tmp_path / folder / path.relative_to(place) for path in vars(files).values()]
        return Written(*moved)

    return copy


def refused(checkpoint: Written, *told: str) -> str:
    """Opening raises what the command line ends with exit 2 for: one line that says all of ``told``."""
    with pytest.raises(IbenchError) as refusal:
        load_encoder(checkpoint.reference, "cpu")
    line = str(refusal.value)
    assert "\n" not in line
    assert len(line) < 900
    for words in told:
        assert words in line
    return line


def weights_of(file: Path) -> Any:
    return load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)


def change(file: Path, spoil: Callable[[dict[str, Tensor]], Any]) -> None:
    """Apply ``spoil`` to the flat state dict in a file of weights."""
    whole = weights_of(file)
    spoil(whole.get("state_dict", whole))
    if file.suffix == ".safetensors":
        save_file(whole, file, metadata={"format": "pt"})
    else:
        torch.save(whole, file)


def as_pickle(files: Written) -> Path:
    """Where the family looks for a pickle: the file itself, or in a folder the one for torch's format."""
    if files.weights.suffix != ".safetensors" or files.config is None:
        return files.weights
    files.weights.unlink()
    return files.weights.with_name(
        "open_clip_pytorch_model.bin" if "open_clip" in files.weights.name else "pytorch_model.bin"
    )


def matrix(weights: dict[str, Tensor]) -> str:
    """The last key, in order, of a matrix that embeddings depend on."""
    unused = re.compile(r".*(pooler|audio_branch\.(head|logmel|spectro|tscam)|_transform\.).*")
    return next(key for key in sorted(weights, reverse=True) if weights[key].ndim == 2 and not unused.match(key))


# Pickles


class Runs:
    """Unpickling makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def torch_zip(data: Any, file: Path) -> None:
    torch.save(data, file)


def torch_legacy(data: Any, file: Path) -> None:
    torch.save(data, file, _use_new_zipfile_serialization=False)


def bare(data: Any, file: Path) -> None:
    file.write_bytes(pickle.dumps(data, protocol=2))


def bare_newest(data: Any, file: Path) -> None:
    file.write_bytes(pickle.dumps(data, protocol=5))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "embeddings"])
def test_a_pickle_that_would_run_code_is_refused_by_name(family: str, copied: Copied, tmp_path: Path) -> None:
    files = copied(family)
    file, ran = as_pickle(files), tmp_path / "ran"
    for write in (torch_zip, torch_legacy, bare, bare_newest):
        write({"state_dict": {"weight": Runs(ran)}}, file)
        refused(files, str(file), "posix.mkdir", "ibench never does", "ibench convert", "--unsafe-pickle")
    assert not ran.exists()


@pytest.mark.parametrize("family", ["clip", "languagebind_depth_lora", "imagebind"])
def test_the_way_out_leads_out(family: str, copied: Copied, ibench: RunIbench) -> None:
    """Arguments beside the weights are what training scripts leave: the offered command makes the folder open."""
    files = copied(family)
    weights = weights_of(files.weights)
    torch.save({"args": argparse.Namespace(lr=0.1), "state_dict": weights}, as_pickle(files))
    done = ibench("encoders", "check", files.reference)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
    told = refused(files, "argparse.Namespace")
    assert f"ibench: error: {told}" in done.stderr
    command = re.search(r"ibench (convert \S+ (\S+) --unsafe-pickle)", told)
    assert command
    assert ibench(*shlex.split(command[1])).returncode == 0
    opens = files.reference if files.reference.is_dir() else command[2]
    assert open_checkpoint(str(opens), "cpu", "fp32").card.modalities


# Damage


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda data: data[: len(data) // 2],
    "without its tail": lambda data: data[:-10],
    "only its head": lambda data: data[:100],
    "empty": lambda data: b"",
    "noise": lambda data: bytes((31 * place + 7) % 251 for place in range(4096)),
    "a header longer than the file": lambda data: (1 << 62).to_bytes(8, "little") + b"{" + b" " * 64,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_damaged_weights_are_told(family: str, copied: Copied) -> None:
    files = copied(family)
    whole = files.weights.read_bytes()
    for damage in DAMAGES.values():
        files.weights.write_bytes(damage(whole))
        refused(files, str(files.weights))


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_weights_are_told(family: str, copied: Copied) -> None:
    files = copied(family)
    files.weights.unlink()
    refused(files, str(files.reference))
    files.weights.symlink_to(files.weights.name)
    refused(files, str(files.reference))
    files.weights.unlink()
    os.mkfifo(files.weights)
    refused(files, str(files.reference))
    files.weights.unlink()
    files.weights.mkdir()
    refused(files, str(files.reference))


@pytest.mark.parametrize("family", WITH_CONFIG)
def test_a_damaged_config_is_told(family: str, copied: Copied) -> None:
    files = copied(family)
    assert files.config
    for text in ("", '{"model_type": ', "[" * 100_000, "\x00\x01", "[1]", "null"):
        files.config.write_text(text)
        refused(files, str(files.reference))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_damaged_files_beside_the_weights_are_told(name: str, text: str, copied: Copied) -> None:
    files = copied("clip")
    (files.reference / name).write_text(text)
    refused(files, str(files.reference))


# Half-loaded weights


def lose_some(weights: dict[str, Tensor]) -> None:
    for key in [key for key in sorted(weights) if key.endswith(".bias")][::3]:
        del weights[key]


def lose_one(weights: dict[str, Tensor]) -> None:
    del weights[matrix(weights)]


def add(weights: dict[str, Tensor]) -> None:
    prefix = next(iter(weights)).partition(".")[0]
    weights.update({f"{prefix}.surplus.{number}.weight": torch.zeros(2) for number in range(7)})


def reshape(weights: dict[str, Tensor]) -> None:
    weights[matrix(weights)] = torch.zeros(3, 3)


def quantise(weights: dict[str, Tensor]) -> None:
    key = matrix(weights)
    weights[key] = (weights[key] * 100).to(torch.int8)


@pytest.mark.parametrize("family", WITH_KEYS)
def test_half_loaded_weights_are_refused(family: str, copied: Copied) -> None:
    files = copied(family)
    whole = files.weights.read_bytes()
    for spoil, told in (
        (lose_some, "missing"),
        (lose_one, "missing"),
        (add, "7 unexpected"),
        (reshape, "(3, 3)"),
        (quantise, "int8"),
    ):
        files.weights.write_bytes(whole)
        change(files.weights, spoil)
        assert refused(files, told).count("surplus") in (0, 5), "the first five"


@pytest.mark.parametrize("family", ["clip", "open_clip_folder", "languagebind_video"])
def test_weights_that_are_not_numbers_get_no_score(family: str, copied: Copied, ibench: RunIbench) -> None:
    def spoil(weights: dict[str, Tensor]) -> None:
        for key in weights:
            if weights[key].is_floating_point():
                weights[key] = torch.full_like(weights[key], torch.nan)

    files = copied(family)
    change(files.weights, spoil)
    done = ibench("encoders", "check", files.reference)
    assert done.returncode == 2
    assert "NaN" in done.stderr


def test_a_run_on_weights_that_are_not_numbers_leaves_no_record(
    copied: Copied, ibench: RunIbench, colours: Path, tmp_path: Path
) -> None:
    files = copied("clip")
    change(files.weights, lambda weights: [tensor.fill_(torch.nan) for tensor in weights.values()])
    done = ibench("run", "--task", colours, "--ckpt", files.reference, "--out", tmp_path / "out", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert not list(tmp_path.glob("out/**/*.json"))


# Files of weights that claim more than they hold


def test_numbers_that_the_file_does_not_hold_are_refused(tmp_path: Path) -> None:
    for claimed in (torch.zeros(1).expand(10**6, 10**6), torch.zeros(10**6, 10**6, device="meta")):
        torch.save({"weight": claimed}, tmp_path / "hollow.pt")
        with pytest.raises(IbenchError, match=r"1 tensors are not plain numbers \(weight\)"):
            read_weights(tmp_path / "hollow.pt")
    torch.save({"weight": torch.sparse_coo_tensor(size=(10**6, 10**6))}, tmp_path / "hollow.pt")
    with pytest.raises(IbenchError, match="not plain numbers"):
        read_weights(tmp_path / "hollow.pt")


def test_a_file_that_unpacks_to_far_more_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(10**7)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "bomb.pt", "w", 8) as bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    assert read_weights(tmp_path / "plain.pt").keys() == {"weight"}
    with pytest.raises(IbenchError, match=r"unpacks to 40,\d{3},\d{3} bytes"):
        read_weights(tmp_path / "bomb.pt")


def test_a_key_may_not_ask_for_a_billion_blocks(copied: Copied) -> None:
    def renumber(weights: dict[str, Tensor]) -> None:
        for key in [key for key in weights if ".imu.blocks.1." in key]:
            weights[key.replace(".1.", ".999999999.")] = weights.pop(key)

    files = copied("imagebind")
    change(files.weights, renumber)
    refused(files, "14 missing (modality_trunks.imu.blocks.1.", "14 unexpected")


# Configs that claim the absurd


WIDTHS = ("hidden_size", "width", "embed_dim", "patch_embeds_hidden_size")
LAYERS = ("num_hidden_layers", "layers")
CLAIMS: list[tuple[tuple[str, ...], Any]] = [
    *((WIDTHS, value) for value in (10**9, 40_960, 0, -3, 16.5, "wide")),
    (LAYERS, 10**7),
    (("vocab_size",), 10**9),
    (("max_position_embeddings", "context_length"), 10**9),
    (("num_attention_heads", "heads"), 0),
]


def claim(settings: Any, keys: tuple[str, ...], value: Any) -> None:
    for key in settings:
        if key in keys:
            settings[key] = value
        elif isinstance(settings[key], dict):
            claim(settings[key], keys, value)


@pytest.mark.parametrize("family", WITH_CONFIG)
def test_absurd_sizes_cost_one_line_and_no_memory(family: str, copied: Copied) -> None:
    files = copied(family)
    assert files.config
    text = files.config.read_text()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for keys, value in CLAIMS:
        config = json.loads(text)
        claim(config, keys, value)
        files.config.write_text(json.dumps(config))
        refused(files, str(files.reference))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1 << 20, f"{grown / 1024:.0f} MiB"


@pytest.mark.parametrize("family", ["clip", "clap", "pe_av", "open_clip_folder", "languagebind_video"])
def test_views_too_large_for_memory_are_refused(family: str, copied: Copied) -> None:
    files = copied(family)
    for file in [*files.reference.glob("*processor_config.json"), *files.reference.glob("*config.json")]:
        settings = json.loads(file.read_text())
        claim(settings, ("shortest_edge", "height", "width", "max_length_s", "num_frames", "max_num_patches"), 10**7)
        file.write_text(json.dumps(settings))
    refused(files, "is 10,000,000, the limit is 10,000")


def test_a_config_cannot_lead_elsewhere(copied: Copied) -> None:
    """To quantised kernels, to kernels of the hub, or to another file of weights."""
    files = copied("clip")
    assert files.config
    config = json.loads(files.config.read_text())
    for more, told in (
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised"),
        ({"text_config": {**config["text_config"], "attn_implementation": "someone/attention"}}, "code on the hub"),
    ):
        files.config.write_text(json.dumps({**config, **more}))
        refused(files, told)
    save_file({"other": torch.zeros(2)}, files.reference.parent / "other.safetensors")
    files.config.write_text(json.dumps({**config, "transformers_weights": "../other.safetensors"}))
    assert open_checkpoint(str(files.reference), "cpu", "fp32").card.family == "CLIP"


# Shards and links


def in_shards(files: Written, move: Callable[[str], str] = str) -> None:
    """The weights in two files and their index, ``move`` applied to the names in the index."""
    weights = weights_of(files.weights)
    files.weights.unlink()
    keys = sorted(weights)
    placed = {}
    for number, part in enumerate((keys[::2], keys[1::2])):
        name = f"model-{number + 1:05}-of-00002.safetensors"
        save_file({key: weights[key] for key in part}, files.weights.with_name(name), metadata={"format": "pt"})
        placed |= {key: move(name) for key in part}
    index = {"metadata": {"total_size": 1}, "weight_map": placed}
    files.weights.with_name("model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("family", IN_SHARDS)
def test_shards_are_the_same_model(family: str, copied: Copied) -> None:
    whole, parts = copied(family), copied(family, "parts")
    in_shards(parts)
    one, other = (open_checkpoint(str(files.reference), "cpu", "fp32") for files in (whole, parts))
    assert {path.name for path in other.card.files} >= {f"model-{part:05}-of-00002.safetensors" for part in (1, 2)}
    words = one.load().preprocess(Modality.TEXT, {})("a dog")
    read = [checkpoint.load().encode(Modality.TEXT, words) for checkpoint in (one, other)]
    torch.testing.assert_close(*read, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", IN_SHARDS)
@pytest.mark.parametrize("where", ["../", "{root}/"])
def test_an_index_cannot_name_files_outside(family: str, where: str, copied: Copied) -> None:
    files = copied(family)
    in_shards(files, lambda name: where.format(root=files.reference.parent) + name)
    for shard in files.reference.glob("model-*"):
        shard.rename(files.reference.parent / shard.name)
    refused(files, "model.safetensors.index.json", "is not a file of this folder")


@pytest.mark.parametrize("family", IN_SHARDS)
def test_a_missing_shard_is_told(family: str, copied: Copied) -> None:
    files = copied(family)
    in_shards(files)
    files.weights.with_name("model-00002-of-00002.safetensors").unlink()
    refused(files, "lists 2 files, 1 are not there, first model-00002-of-00002.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_link_is_what_it_points_at(family: str, copied: Copied) -> None:
    """The hub's cache is made of links."""
    plain, linked = copied(family), copied(family, "linked")
    linked.weights.rename(linked.weights.parent.parent / "blob")
    linked.weights.symlink_to(linked.weights.parent.parent / "blob")
    cards = [open_checkpoint(str(files.reference), "cpu", "fp32").card for files in (plain, linked)]
    assert cards[0].checkpoint_sha256 == cards[1].checkpoint_sha256


# Identity


@pytest.mark.parametrize("family", FAMILIES)
def test_another_checkpoint_under_the_same_name_is_another(family: str, copied: Copied) -> None:
    """Beside it, and in its place with the size and the time of the first."""
    one, other = copied(family), copied(family, "other")
    before = open_checkpoint(str(one.reference), "cpu", "fp32").card
    data = bytearray(other.weights.read_bytes())
    if family == "torchscript":
        torch.manual_seed(1)
        torch.jit.script(Ears()).save(str(other.weights))
        data = bytearray(other.weights.read_bytes())
    elif other.weights.suffix == ".safetensors":
        data[-2] ^= 1
    else:
        change(other.weights, lambda weights: weights[matrix(weights)].add_(1))
        data = bytearray(other.weights.read_bytes())
    other.weights.write_bytes(data)
    assert open_checkpoint(str(other.reference), "cpu", "fp32").card.checkpoint_sha256 != before.checkpoint_sha256
    stat = one.weights.stat()
    if len(data) == stat.st_size:
        one.weights.write_bytes(data)
        os.utime(one.weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert open_checkpoint(str(one.reference), "cpu", "fp32").card.checkpoint_sha256 != before.checkpoint_sha256


@pytest.mark.parametrize("family", ["clip", "open_clip_folder", "languagebind_video"])
def test_what_a_downloader_notes_is_no_part_of_a_checkpoint(family: str, copied: Copied) -> None:
    one, other = copied(family), copied(family, "other")
    notes = other.reference / ".cache" / "huggingface" / "download" / "config.json.metadata"
    notes.parent.mkdir(parents=True)
    notes.write_text("1700000000.0\n")
    cards = [open_checkpoint(str(files.reference), "cpu", "fp32").card for files in (one, other)]
    assert cards[0].checkpoint_sha256 == cards[1].checkpoint_sha256


# Code and the network


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked of the network, which does not answer; the hub's library has not been told to stay offline."""
    asked: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        asked.append(arguments)
        raise OSError("no network here")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


@pytest.mark.parametrize("family", FAMILIES)
def test_a_local_checkpoint_asks_no_network(family: str, copied: Copied, network: list[Any]) -> None:
    encoder = open_checkpoint(str(copied(family).reference), "cpu", "fp32").load()
    if Modality.TEXT in encoder.card.modalities:
        encoder.preprocess(Modality.TEXT, {})("a dog")
    assert network == []


@pytest.mark.parametrize("place", ["mine.Mine", "someone/model--mine.Mine"])
@pytest.mark.parametrize("family", WITH_CONFIG)
def test_code_that_comes_along_is_never_run(
    family: str, place: str, copied: Copied, network: list[Any], tmp_path: Path
) -> None:
    files = copied(family)
    ran = tmp_path / "ran"
    (files.reference / "mine.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Mine: pass\n")
    kinds = ("AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor", "AutoFeatureExtractor")
    code = {**dict.fromkeys(kinds, place), "AutoTokenizer": [place, place]}
    for file in files.reference.glob("*config.json"):
        settings = json.loads(file.read_text())
        settings |= {"auto_map": code, "trust_remote_code": True}
        if "tokenizer_class" in settings:
            settings["tokenizer_class"] = "Mine"
        file.write_text(json.dumps(settings))
    with contextlib.suppress(IbenchError):  # a folder that opens all the same has not needed it
        load_encoder(files.reference, "cpu")
    assert not ran.exists()
    assert network == []


@pytest.mark.parametrize(
    ("part", "more"),
    [
        ("text_cfg", {"hf_tokenizer_name": "someone/words", "tokenizer_kwargs": {"trust_remote_code": True}}),
        ("text_cfg", {"hf_model_name": "someone/model"}),
        ("vision_cfg", {"timm_model_name": "hf-hub:someone/model", "timm_model_pretrained": True}),
    ],
)
def test_an_open_clip_folder_cannot_send_for_more(
    part: str, more: dict[str, Any], copied: Copied, network: list[Any], tmp_path: Path
) -> None:
    files = copied("open_clip_folder")
    assert files.config
    config = json.loads(files.config.read_text())
    config["model_cfg"][part] |= more
    files.config.write_text(json.dumps(config))
    ran = tmp_path / "ran"
    (files.reference / "mine.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Mine: pass\n")
    code = {"auto_map": {"AutoTokenizer": ["mine.Mine", "mine.Mine"], "AutoConfig": "mine.Mine"}}
    (files.reference / "tokenizer_config.json").write_text(json.dumps({**code, "tokenizer_class": "Mine"}))
    (files.reference / "config.json").write_text(json.dumps({**code, "model_type": "mine"}))
    refused(files, str(files.reference))
    assert not ran.exists()
    assert network == []


@pytest.mark.skipif("sentence_transformers" not in WRITERS, reason="sentence-transformers is an optional extra")
def test_sentence_transformers_stays_in_its_folder(copied: Copied) -> None:
    files = copied("sentence_transformers")
    modules = json.loads((files.reference / "modules.json").read_text())
    (files.reference / "modules.json").write_text(json.dumps([{**modules[0], "path": "../bert"}, *modules[1:]]))
    refused(files, "'../bert', outside the folder")
    (files.reference / "modules.json").write_text(json.dumps(modules))
    (files.reference / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/model"}))
    refused(files, "an adapter of another model")


@pytest.mark.skipif("sentence_transformers" not in WRITERS, reason="sentence-transformers is an optional extra")
def test_a_head_that_no_sentence_needs_may_be_missing(copied: Copied) -> None:
    files = copied("sentence_transformers")
    change(files.weights, lambda weights: [weights.pop(key) for key in list(weights) if "pooler" in key])
    assert open_checkpoint(str(files.reference), "cpu", "fp32").card.modalities == ("text",)
