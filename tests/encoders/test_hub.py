"""Hub ids as --ckpt: what is one, and what the cache gives where the hub cannot be reached. Nothing is downloaded."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi, constants

from ibench.encoders import hub, open_checkpoint
from ibench.encoders.hub import HubId, fetched, hub_id
from ibench.errors import IbenchError

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
import tiny_models

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache as its library lays it out: blobs, and snapshots of links to them. The hub is out of reach."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repo = folder / "models--a-lab--tiny-clip"
    written = tmp_path / "written"
    tiny_models.clip(written)
    (repo / "blobs").mkdir(parents=True)
    snapshot = repo / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    for file in written.iterdir():
        shutil.copy(file, repo / "blobs" / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(REVISION)
    return snapshot


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("laion/clap-htsat-unfused", HubId("laion/clap-htsat-unfused", None, None)),
        ("lukewys/laion_clap/630k-best.pt", HubId("lukewys/laion_clap", "630k-best.pt", None)),
        (f"a/b@{REVISION}", HubId("a/b", None, REVISION)),
        ("hf-hub:a/b", HubId("a/b", None, None)),
        ("ViT-B-32@laion2b_s34b_b79k", None),
        ("ViT-B-32@weights/epoch_1.pt", None),
        ("my_encoder.py:make", None),
        ("encoders/mine.py:make", None),
        ("/absolute/path", None),
        ("./relative/path", None),
        ("../relative/path", None),
        ("weights.pt", None),
        ("tests/no_such_folder", None),  # below a folder that is there: a mistyped path
    ],
)
def test_what_is_an_id(reference: str, expected: HubId | None) -> None:
    assert hub_id(reference) == expected


def test_what_is_here_is_no_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_id("runs/best") is not None
    (tmp_path / "runs" / "best").mkdir(parents=True)
    assert hub_id("runs/best") is None


@pytest.mark.parametrize("reference", ["a-lab/tiny-clip", f"a-lab/tiny-clip@{REVISION}", "hf-hub:a-lab/tiny-clip"])
def test_the_cache_is_read_where_the_hub_is_out_of_reach(cache: Path, reference: str) -> None:
    by_id, by_path = open_checkpoint(reference, "cpu", "fp32"), open_checkpoint(str(cache), "cpu", "fp32")
    assert by_id.card.name == str(hub_id(reference))
    assert by_id.card.checkpoint_sha256 == by_path.card.checkpoint_sha256
    assert by_id.load().card.modalities == by_path.card.modalities


def test_one_file_of_a_repository(cache: Path) -> None:
    assert fetched(HubId("a-lab/tiny-clip", "config.json", None)).read_text() == (cache / "config.json").read_text()


def test_what_is_neither_here_nor_there_is_said_in_a_line(cache: Path) -> None:
    with pytest.raises(IbenchError, match="'a-lab/another': no such file or folder here, and the Hugging Face hub"):
        open_checkpoint("a-lab/another", "cpu", "fp32")


@pytest.mark.parametrize(
    ("names", "pickles"), [(["a.safetensors", "a.bin", "modeling.py"], False), (["a.bin", "modeling.py"], True)]
)
def test_programs_are_never_fetched_and_pickles_only_for_want_of_better(
    monkeypatch: pytest.MonkeyPatch, names: list[str], pickles: bool
) -> None:
    about = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])
    monkeypatch.setattr(HfApi, "model_info", lambda *arguments, **settings: about)
    asked: dict[str, object] = {}
    monkeypatch.setattr(hub, "snapshot_download", lambda repo, **settings: asked.update(settings) or "folder")
    assert fetched(HubId("a/b", None, None)) == Path("folder")
    assert ("*.bin" in asked["allow_patterns"]) == pickles
    assert not any("py" in pattern or pattern == "*" for pattern in asked["allow_patterns"])
