"""Clips of YouTube videos under the names that their downloaders give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibench.datasets._youtube import Clip, find_clips

SOUND = frozenset({".wav", ".flac", ".mp4"})


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.mark.parametrize("video", ["7fmOlUlwoNg", "-0jeONf82dE", "_iUVnLHxJd4", "Ya-Yb_Yc-Y1", "a_b_30_40_5"])
@pytest.mark.parametrize(
    "name",
    [
        "Y{id}.wav",
        "{id}.wav",
        "{id}_30.flac",
        "{id}_000030.mp4",
        "{id}_30.0.wav",
        "{id}_30000.wav",
        "{id}_30_40.wav",
        "{id}_000030_000040.wav",
        "{id}_30.000_40.000.wav",
        "{id}_30000_40000.flac",
        "Y{id}_30.WAV",
        "eval/{id}.wav",
        "test/playing hammond organ/{id}_000030.mp4",
    ],
)
def test_every_downloaders_name_is_known(tmp_path: Path, video: str, name: str) -> None:
    put(tmp_path, name.format(id=video))
    clip = Clip(video, 30, 40)
    assert find_clips(tmp_path, [clip], SOUND) == {clip: tmp_path / name.format(id=video)}


def test_a_link_to_nothing_is_no_file(tmp_path: Path) -> None:
    clip = Clip("7fmOlUlwoNg", 30, 40)
    (tmp_path / "Y7fmOlUlwoNg.wav").symlink_to(tmp_path / "gone.wav")
    assert find_clips(tmp_path, [clip], SOUND) == {}


@pytest.mark.parametrize(
    "name",
    [
        "{id}_20.wav",  # another clip of the video
        "{id}_30_35.wav",
        "{id}_030.wav",
        "x{id}.wav",
        "YY{id}.wav",
        "{id}.txt",
        "._{id}.wav",  # what macOS leaves in archives
        ".cache/{id}.wav",
        "a/b/c/d/{id}.wav",  # deeper than anyone sorts clips
    ],
)
def test_other_names_are_other_files(tmp_path: Path, name: str) -> None:
    put(tmp_path, name.format(id="7fmOlUlwoNg"))
    assert find_clips(tmp_path, [Clip("7fmOlUlwoNg", 30, 40)], SOUND) == {}


def test_a_name_without_start_tells_no_clip_of_a_video_with_two(tmp_path: Path) -> None:
    early, late = Clip("7fmOlUlwoNg", 0, 10), Clip("7fmOlUlwoNg", 30, 40)
    put(tmp_path, "7fmOlUlwoNg.wav", "Y7fmOlUlwoNg.wav", "7fmOlUlwoNg_30.wav")
    assert find_clips(tmp_path, [early, late], SOUND) == {late: tmp_path / "7fmOlUlwoNg_30.wav"}


@pytest.mark.parametrize("turn", [1, -1])
def test_seconds_come_before_milliseconds(tmp_path: Path, turn: int) -> None:
    """Of a video with clips from 2 s and from 2,000 s, ``_2000`` is the latter."""
    clips = [Clip("7fmOlUlwoNg", 2, 12), Clip("7fmOlUlwoNg", 2000, 2010)]
    put(tmp_path, "7fmOlUlwoNg_2000.wav")
    assert find_clips(tmp_path, clips[::turn], SOUND) == {clips[1]: tmp_path / "7fmOlUlwoNg_2000.wav"}


def test_of_several_files_the_same_is_chosen_whatever_the_folder_says_first(tmp_path: Path) -> None:
    clip = Clip("7fmOlUlwoNg", 30, 40)
    put(tmp_path, "a/7fmOlUlwoNg_30.mp4", "z/7fmOlUlwoNg.wav")
    assert find_clips(tmp_path, [clip], SOUND)[clip].name == "7fmOlUlwoNg.wav"  # sound alone needs no demuxing
    put(tmp_path, "z/7fmOlUlwoNg_30.flac")
    assert find_clips(tmp_path, [clip], SOUND)[clip].name == "7fmOlUlwoNg_30.flac"
    put(tmp_path, "b/7fmOlUlwoNg_30.flac")
    assert find_clips(tmp_path, [clip], SOUND)[clip].parent.name == "b"


def test_a_clip_is_called_as_vggsound_calls_it() -> None:
    assert Clip("-0jeONf82dE", 21, 31).id == "-0jeONf82dE_000021"
    assert Clip("-0jeONf82dE", 21.0, 31.0).id == "-0jeONf82dE_000021"
