"""Readers of video data sets on layouts as their publishers describe them, and on what copies make of these."""

from __future__ import annotations

import csv
import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ibench.api import check_data
from ibench.cells import bind
from ibench.datasets import Dataset, open_dataset
from ibench.datasets.fakes.noise import damaged, sound, video
from ibench.errors import IbenchError, UnreadableSample
from ibench.modalities import Modality
from ibench.prompts import load_prompts
from ibench.results import published
from ibench.tasks import METRICS, TaskSpec, load_task

TEXT, VIDEO, AUDIO = Modality.TEXT, Modality.VIDEO, Modality.AUDIO
RETRIEVAL = ("msrvtt", "msrvtt_audio", "msrvtt_av", "msrvtt_audio_video", "msvd", "didemo", "activitynet")
CLASSIFICATION = ("kinetics400", "kinetics600", "ucf101")


def film(path: Path, seed: int = 0, seconds: float = 0.5, with_sound: bool = False) -> None:
    video(path, np.random.default_rng(seed), seconds=seconds, with_sound=with_sound)


def ids(data: Dataset, modality: Modality) -> list[str]:
    return [item.id for item in data.items[modality]]


def texts(data: Dataset) -> dict[str, list[str]]:
    """The captions of each clip, by the group that matches them."""
    found: dict[str, list[str]] = {}
    for item in data.items[TEXT]:
        found.setdefault(item.group, []).append(item.decode())
    return found


def changed(spec: TaskSpec, **dataset: Any) -> TaskSpec:
    return spec.model_copy(update={"dataset": spec.dataset.model_copy(update=dataset)})


# MSR-VTT --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def msrvtt(tmp_path: Path) -> Path:
    """Four clips: with sound, silent, without a file, and with sound in a wav file."""
    root = tmp_path / "data" / "MSRVTT"
    film(root / "MSRVTT_Videos" / "video9770.mp4", 1, with_sound=True)
    film(root / "MSRVTT_Videos" / "video7020.mp4", 2)
    film(root / "MSRVTT_Videos" / "video7025.MP4", 3)
    sound(root / "audio" / "video7025.wav", np.random.default_rng(3), rate=8_000)
    (root / "MSRVTT_Videos" / "._video9770.mp4").write_bytes(b"what a Mac leaves in archives")
    write_msrvtt(root / "MSRVTT_JSFUSION_test.csv", ["video9770", "video7020", "video8", "video7025"])
    return root


def write_msrvtt(table: Path, clips: list[str], header: str = "key,vid_key,video_id,sentence") -> None:
    rows = [
        f'ret{number},{clip.replace("video", "msr")},{clip},"{clip}, ""it"" says"' for number, clip in enumerate(clips)
    ]
    table.write_text("\r\n".join([header, *rows]) + "\r\n")


def test_msrvtt_is_read_as_published(msrvtt: Path) -> None:
    for given in (msrvtt.parent, msrvtt):
        data = open_dataset(load_task("msrvtt"), given)
        assert ids(data, VIDEO) == ["video9770", "video7020", "video7025"]
        assert texts(data) == {clip: [f'{clip}, "it" says'] for clip in ids(data, VIDEO)}
        assert data.missing == ("video8",)
    frames = data.items[VIDEO][0].decode().frames([0.0])
    assert frames.shape == (1, 48, 64, 3)


def test_sound_is_a_file_or_the_track_of_the_video(msrvtt: Path) -> None:
    data = open_dataset(load_task("msrvtt_audio"), msrvtt)
    assert list(data.items) == [TEXT, AUDIO]
    assert ids(data, AUDIO) == list(texts(data)) == ["video9770", "video7025"]
    assert [item.decode().rate for item in data.items[AUDIO]] == [16_000, 8_000]
    assert data.missing == ("video7020 (no audio track)", "video8")


def test_a_clip_that_lacks_its_sound_or_its_video_is_missing_and_has_no_caption(msrvtt: Path) -> None:
    (msrvtt / "MSRVTT_Videos" / "video7025.MP4").unlink()
    for name in ("msrvtt_av", "msrvtt_audio_video"):
        data = open_dataset(load_task(name), msrvtt)
        assert ids(data, VIDEO) == ["video9770", "video7020"]
        assert ids(data, AUDIO) == ["video9770", "video7025"]
        assert data.missing == ("video7020 (no audio track)", "video8", "video7025")
    assert list(texts(open_dataset(load_task("msrvtt_av"), msrvtt))) == ["video9770"]


def test_tasks_of_one_modality_and_of_both_share_their_samples(msrvtt: Path) -> None:
    video, audio, both, across = (
        open_dataset(load_task(name), msrvtt) for name in ("msrvtt", "msrvtt_audio", "msrvtt_av", "msrvtt_audio_video")
    )
    assert video.contents(VIDEO) == both.contents(VIDEO) == across.contents(VIDEO)
    assert audio.contents(AUDIO) == both.contents(AUDIO) == across.contents(AUDIO)


def test_languagebinds_list_is_taken_for_sound_alone(msrvtt: Path) -> None:
    write_msrvtt(msrvtt / "MSRVTT_AUDIO_test.csv", ["video7025"])
    assert ids(open_dataset(load_task("msrvtt_audio"), msrvtt), AUDIO) == ["video7025"]
    assert ids(open_dataset(load_task("msrvtt_av"), msrvtt), AUDIO) == ["video9770", "video7025"]


def test_whether_there_is_sound_is_remembered_of_content_not_of_a_name(msrvtt: Path) -> None:
    assert ids(open_dataset(load_task("msrvtt_audio"), msrvtt), AUDIO) == ["video9770", "video7025"]
    film(msrvtt / "MSRVTT_Videos" / "video7020.mp4", 2, with_sound=True)
    assert ids(open_dataset(load_task("msrvtt_audio"), msrvtt), AUDIO) == ["video9770", "video7020", "video7025"]


def test_a_damaged_clip_is_unreadable_not_missing(msrvtt: Path) -> None:
    damaged(msrvtt / "MSRVTT_Videos" / "video9770.mp4")
    for name, modality in (("msrvtt", VIDEO), ("msrvtt_audio", AUDIO)):
        item = open_dataset(load_task(name), msrvtt).items[modality][0]
        with pytest.raises(UnreadableSample, match=r"video9770\.mp4"):
            item.decode()


def test_a_clip_that_is_there_twice_is_told(msrvtt: Path) -> None:
    film(msrvtt / "compressed" / "video9770.mp4", 9)
    with pytest.raises(IbenchError, match=r"msrvtt: 'video9770' is there twice, .*video9770\.mp4 and .*; move one"):
        open_dataset(load_task("msrvtt"), msrvtt)


def test_linked_folders_are_looked_into_once_and_links_to_nothing_are_missing(msrvtt: Path, tmp_path: Path) -> None:
    (msrvtt / "MSRVTT_Videos").rename(tmp_path / "another disk")
    for name in ("MSRVTT_Videos", "the same again"):
        (msrvtt / name).symlink_to(tmp_path / "another disk")
    (tmp_path / "another disk" / "round").symlink_to(msrvtt)
    (tmp_path / "another disk" / "video8.mp4").symlink_to(tmp_path / "gone.mp4")
    data = open_dataset(load_task("msrvtt"), msrvtt)
    assert ids(data, VIDEO) == ["video9770", "video7020", "video7025"]
    assert data.missing == ("video8",)


def test_a_list_without_any_of_its_clips_says_where_to_get_them(msrvtt: Path) -> None:
    for file in [*msrvtt.rglob("*.mp4"), *msrvtt.rglob("*.MP4")]:
        file.unlink()
    with pytest.raises(IbenchError, match=r"of the 4 clips listed, none .*first: video9770.*CLIP4Clip"):
        open_dataset(load_task("msrvtt"), msrvtt)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (b"key,vid_key,video,sentence\nret0,msr9770,video9770,a person", r"test\.csv:2: nothing in column video_id"),
        (b"key,vid_key,video_id,sentence\nret0,msr9770,video9770,", r"test\.csv:2: nothing in column sentence"),
        (b"key,vid_key,video_id,sentence\n", "no rows"),
        (b"", "no rows"),
        (b"\xff\xfe\x00", "cannot be read as csv"),
    ],
)
def test_a_csv_of_another_form_is_told(msrvtt: Path, table: bytes, told: str) -> None:
    (msrvtt / "MSRVTT_JSFUSION_test.csv").write_bytes(table)
    with pytest.raises(IbenchError, match=told):
        open_dataset(load_task("msrvtt"), msrvtt)


def test_no_csv_says_what_and_where(tmp_path: Path) -> None:
    with pytest.raises(IbenchError, match=r"MSRVTT_JSFUSION_test\.csv not found. Get the data from .*CLIP4Clip"):
        open_dataset(load_task("msrvtt"), tmp_path)


def test_the_copy_is_checked_with_reasons(msrvtt: Path) -> None:
    report = check_data("msrvtt_av", data_root=msrvtt)
    assert report.problem == "msrvtt_av: 2 missing"
    assert report.dataset is not None
    assert report.dataset.missing == ("video7020 (no audio track)", "video8")


# MSVD -----------------------------------------------------------------------------------------------------------------

MSVD_CAPTIONS = {
    "-4wsuPCjDBc_5_15": [["a", "squirrel", "eats"], ["an", "animal", "é", "nibbles"]],
    "-4wsuPCjDBc_20_30": [["a", "cat"]],
    "gone_1_2": [["nobody", "sees"]],
    "of-another-list_0_9": [["no", "query"]],
}


@pytest.fixture
def msvd(tmp_path: Path) -> Path:
    root = tmp_path / "MSVD"
    for number, name in enumerate(["-4wsuPCjDBc_20_30", "-4wsuPCjDBc_5_15", "of-another-list_0_9"]):
        film(root / "MSVD_Videos" / f"{name}.avi", number)
    (root / "test_list.txt").write_text("-4wsuPCjDBc_20_30\n-4wsuPCjDBc_5_15\ngone_1_2\n\n")
    (root / "raw-captions.pkl").write_bytes(pickle.dumps(MSVD_CAPTIONS, protocol=2))
    return root


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_msvd_makes_every_caption_a_query(msvd: Path, protocol: int) -> None:
    (msvd / "raw-captions.pkl").write_bytes(pickle.dumps(MSVD_CAPTIONS, protocol=protocol))
    data = open_dataset(load_task("msvd"), msvd)
    assert ids(data, VIDEO) == ["-4wsuPCjDBc_20_30", "-4wsuPCjDBc_5_15"]
    assert texts(data) == {
        "-4wsuPCjDBc_20_30": ["a cat"],
        "-4wsuPCjDBc_5_15": ["a squirrel eats", "an animal é nibbles"],
    }
    assert data.missing == ("gone_1_2",)
    assert {item.cluster for items in data.items.values() for item in items} == {"-4wsuPCjDBc"}  # one YouTube video


def test_captions_are_remembered_of_content(msvd: Path) -> None:
    before = texts(open_dataset(load_task("msvd"), msvd))
    (msvd / "raw-captions.pkl").write_bytes(pickle.dumps({**MSVD_CAPTIONS, "-4wsuPCjDBc_20_30": [["a", "dog"]]}))
    after = texts(open_dataset(load_task("msvd"), msvd))
    assert (before["-4wsuPCjDBc_20_30"], after["-4wsuPCjDBc_20_30"]) == (["a cat"], ["a dog"])


class Evil:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


def test_a_pickle_runs_nothing(msvd: Path, tmp_path: Path) -> None:
    (msvd / "raw-captions.pkl").write_bytes(pickle.dumps({**MSVD_CAPTIONS, "x": Evil(tmp_path / "owned")}))
    with pytest.raises(IbenchError, match=r"raw-captions\.pkl: no pickle of plain data, or not whole .*mkdir"):
        open_dataset(load_task("msvd"), msvd)
    assert not (tmp_path / "owned").exists()


def test_a_pickle_that_claims_gigabytes_is_refused_at_once(msvd: Path) -> None:
    begun = time.process_time()
    (msvd / "raw-captions.pkl").write_bytes(b"\x80\x02Nr\xff\xff\xff\x7f.")  # memo entry 2,147,483,647
    with pytest.raises(IbenchError, match="expected a pickled dict"):
        open_dataset(load_task("msvd"), msvd)
    long = ["word"] * 2000
    (msvd / "raw-captions.pkl").write_bytes(pickle.dumps(dict.fromkeys(MSVD_CAPTIONS, [long] * 2000)))
    with pytest.raises(IbenchError, match="at most 1,000 of each"):
        open_dataset(load_task("msvd"), msvd)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no pickle"),
        (b"not a pickle at all", "no pickle"),
        (pickle.dumps(MSVD_CAPTIONS)[:-20], "no pickle"),
        (pickle.dumps([1, 2]), "expected a pickled dict, found list"),
        (pickle.dumps({}), "'-4wsuPCjDBc_20_30' needs a list of captions"),
        (pickle.dumps(dict.fromkeys(MSVD_CAPTIONS, "one text")), "needs a list of captions"),
        (pickle.dumps({name: [["a", 3]] for name in MSVD_CAPTIONS}), "each a list of words"),
        (pickle.dumps({name: [] for name in MSVD_CAPTIONS}), "needs a list of captions"),
    ],
)
def test_a_pickle_of_another_form_is_told(msvd: Path, content: bytes, told: str) -> None:
    (msvd / "raw-captions.pkl").write_bytes(content)
    with pytest.raises(IbenchError, match=told):
        open_dataset(load_task("msvd"), msvd)


def test_an_absent_or_empty_list_is_told(msvd: Path) -> None:
    (msvd / "test_list.txt").write_text("\n\n")
    with pytest.raises(IbenchError, match=r"test_list\.txt: empty"):
        open_dataset(load_task("msvd"), msvd)
    (msvd / "test_list.txt").unlink()
    with pytest.raises(IbenchError, match=r"test_list\.txt: No such file"):
        open_dataset(load_task("msvd"), msvd)


# DiDeMo ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def didemo(tmp_path: Path) -> Path:
    root = tmp_path / "DiDeMo"
    names = ["5432@N00_24_277c.avi", "1001@N08_36_de8b.mov", "77@N01_5_0.mp4", "88@N01_6_0.mp4"]
    entries = [
        {"description": text, "times": [[0, 0], [1, 2]], "video": names[at], "annotation_id": 9}
        for at, text in [
            (1, "a dog. "),
            (0, "first"),
            (1, "the dog runs"),
            (0, "then"),
            (0, "first"),
            (2, "x"),
            (3, "y"),
        ]
    ]
    entries.append({"description": "of the training list", "times": [], "video": "other.avi"})
    (root / "videos").mkdir(parents=True)
    (root / "test_list.txt").write_text("\n".join(names))
    (root / "test_data.json").write_text(json.dumps(entries))
    film(root / "videos" / "5432@N00_24_277c.avi", 1, seconds=33)
    film(root / "videos" / "1001@N08_36_de8b.mp4", 2)  # converted
    film(root / "videos" / "77@N01_5_0.mp4.mkv", 3)  # converted, the old suffix kept
    return root


def test_didemo_joins_the_descriptions_of_a_video(didemo: Path) -> None:
    data = open_dataset(load_task("didemo"), didemo)
    assert texts(data) == {
        "5432@N00_24_277c.avi": ["first then first"],
        "1001@N08_36_de8b.mov": ["a dog. the dog runs"],
        "77@N01_5_0.mp4": ["x"],
    }
    assert ids(data, VIDEO) == list(texts(data))
    assert data.missing == ("88@N01_6_0.mp4",)


def test_didemo_shows_the_first_31_seconds(didemo: Path) -> None:
    whole, short, _ = open_dataset(load_task("didemo"), didemo).items[VIDEO]
    assert whole.decode().seconds == pytest.approx(31.0)
    assert short.decode().seconds == pytest.approx(0.5)
    assert whole.part == "0-31"  # another cut is another sample


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ('[{"video": "5432@N00_24_277c.avi"}]', r"test_data\.json: entry 0 has no 'video' and 'description'"),
        ('{"a": 1}', "entry 0 has no"),
        ("[1]", "entry 0 has no"),
        ("[]", "no description of '5432@N00_24_277c.avi'"),
        ("[{", r"test_data\.json: not valid JSON"),
        ("[" * 100_000, r"test_data\.json: not valid JSON"),
    ],
)
def test_descriptions_of_another_form_are_told(didemo: Path, entries: str, told: str) -> None:
    (didemo / "test_data.json").write_text(entries)
    with pytest.raises(IbenchError, match=told):
        open_dataset(load_task("didemo"), didemo)


# ActivityNet Captions -------------------------------------------------------------------------------------------------


@pytest.fixture
def activitynet(tmp_path: Path) -> Path:
    root = tmp_path / "ActivityNet"
    film(root / "Videos" / "Activity_Videos" / "v_-uJnucdW6DY.mp4", 1)
    film(root / "Videos" / "Activity_Videos" / "bXdq2zI1Ms0.mkv", 2)
    described = {
        f"v_{id}": {"duration": 82.7, "timestamps": [[0.8, 19.8]], "sentences": [f"{id} one. ", " Two. "]}
        for id in ("bXdq2zI1Ms0", "-uJnucdW6DY", "FsS_NCZEfaI")
    }
    (root / "val_1.json").write_text(json.dumps(described))
    (root / "val_ids.json").write_text(
        json.dumps(["v_-uJnucdW6DY", "v_in_val_2_only", "v_bXdq2zI1Ms0", "v_FsS_NCZEfaI"])
    )
    return root


def test_activitynet_joins_the_sentences_of_a_video(activitynet: Path) -> None:
    data = open_dataset(load_task("activitynet"), activitynet)
    assert texts(data) == {"v_-uJnucdW6DY": ["-uJnucdW6DY one. Two."], "v_bXdq2zI1Ms0": ["bXdq2zI1Ms0 one. Two."]}
    assert ids(data, VIDEO) == list(texts(data))  # v_<id> or <id>, in the order of val_ids.json
    assert data.missing == ("v_FsS_NCZEfaI",)
    assert data.items[VIDEO][1].decode().frames([0.0]).shape == (1, 48, 64, 3)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("val_1.json", "[]", "should be an object"),
        ("val_ids.json", "{}", "a list of their names"),
        ("val_ids.json", "[]", "describes no video that val_ids.json names"),
        ("val_1.json", '{"v_-uJnucdW6DY": {"duration": 3}}', "'v_-uJnucdW6DY' has no 'sentences'"),
        ("val_1.json", '{"v_-uJnucdW6DY": {"sentences": []}}', "'v_-uJnucdW6DY' has no 'sentences'"),
        ("val_ids.json", None, r"val_ids\.json: No such file"),
        ("val_ids.json", "\udcff", r"val_ids\.json: not UTF-8"),
    ],
)
def test_captions_of_another_form_are_told(activitynet: Path, file: str, content: str | None, told: str) -> None:
    (activitynet / file).unlink()
    if content is not None:
        (activitynet / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(IbenchError, match=told):
        open_dataset(load_task("activitynet"), activitynet)


# Kinetics -------------------------------------------------------------------------------------------------------------

KINETICS_ROWS = [
    ("passing American football (in game)", "-3B32lodo2M", 59, 69),
    ("hurling (sport)", "0hpOx2e5W2I", 1001, 1011),
    ("massaging person's head", "abc_de-fghi", 0, 10),
    ("yoga", "gone0000000", 5, 15),
]


@pytest.fixture
def kinetics(tmp_path: Path) -> Path:
    """Two clips flat in the folder of the split, one in a class folder, one that is gone."""
    root = tmp_path / "kinetics400"
    write_kinetics(root / "annotations" / "val.csv", KINETICS_ROWS)
    film(root / "val" / "-3B32lodo2M_000059_000069.mp4", 1)
    film(root / "val" / "massaging person's head" / "abc_de-fghi_000000_000010.mkv", 2)
    film(root / "val" / "0hpOx2e5W2I_001001_001011.mp4", 3)
    film(root / "train" / "0hpOx2e5W2I_001001_001011.mp4", 4)  # not looked at
    return root


def write_kinetics(table: Path, rows: list[tuple[Any, ...]]) -> None:
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        header = ("label", "youtube_id", "time_start", "time_end", "split", "is_cc")
        csv.writer(file).writerows([header, *((*row, "val", "0") for row in rows)])


def test_kinetics_is_read_as_published(kinetics: Path) -> None:
    data = open_dataset(load_task("kinetics400"), kinetics.parent)
    assert [item.labels for item in data.items[VIDEO]] == [(row[0],) for row in KINETICS_ROWS[:3]]
    assert data.missing == ("gone0000000_000005_000015",)
    assert data.items[VIDEO][2].decode().frames([0.0]).shape == (1, 48, 64, 3)
    assert data.items[VIDEO][1].content == kinetics / "val" / "0hpOx2e5W2I_001001_001011.mp4"


@pytest.mark.parametrize("name", ["val.csv", "annotations/validate.csv", "validate.csv", "validation.csv"])
def test_the_list_may_have_the_names_publishers_gave_it(kinetics: Path, name: str) -> None:
    (kinetics / "annotations" / "val.csv").rename(kinetics / name)
    assert len(open_dataset(load_task("kinetics400"), kinetics.parent).items[VIDEO]) == 3


def test_a_label_may_differ_in_case(kinetics: Path) -> None:
    rows = [(row[0].upper() if number == 0 else row[0], *row[1:]) for number, row in enumerate(KINETICS_ROWS)]
    write_kinetics(kinetics / "annotations" / "val.csv", rows)
    data = open_dataset(load_task("kinetics400"), kinetics.parent)
    assert data.items[VIDEO][0].labels == ("passing American football (in game)",)


def test_a_label_that_is_no_class_is_told(kinetics: Path) -> None:
    write_kinetics(kinetics / "annotations" / "val.csv", [("hurling sport", *KINETICS_ROWS[1][1:])])
    spec = load_task("kinetics400")
    with pytest.raises(IbenchError, match=r"label 'hurling sport', which the task does not list; did you mean hurling"):
        bind(spec, open_dataset(spec, kinetics.parent), None, None, None)


def test_lines_that_say_the_same_are_one(kinetics: Path) -> None:
    write_kinetics(
        kinetics / "annotations" / "val.csv", [*KINETICS_ROWS, KINETICS_ROWS[0], ("yoga", *KINETICS_ROWS[0][1:])]
    )
    found = ids(open_dataset(load_task("kinetics400"), kinetics.parent), VIDEO)
    assert len(found) == len(set(found)) == 4  # the same clip under another label is another line


def test_a_list_of_paths_and_numbers(kinetics: Path) -> None:
    """VideoMAE's form: no header, a space before the number, and spaces and commas in paths as well."""
    film(kinetics / "val" / "air drumming" / "a, b 12.mp4", 5)
    (kinetics / "annotations" / "val.csv").write_text(
        "val/-3B32lodo2M_000059_000069.mp4 208\nval/air drumming/a, b 12.mp4 1\nval/gone away.mp4 0\n"
        "val/massaging person's head/abc_de-fghi_000000_000010.mkv,196\n"
    )
    data = open_dataset(load_task("kinetics400"), kinetics.parent)
    assert [item.labels[0] for item in data.items[VIDEO]] == [
        "passing American football (in game)",
        "air drumming",
        "massaging person's head",
    ]
    assert data.missing == ("val/gone away.mp4",)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("val/a.mp4", r"val\.csv:2: expected a path, a space and a class number from 0 to 399, found 'val/a\.mp4'"),
        ("val/a.mp4 400", "number from 0 to 399"),
        ("val/a.mp4 -1", "number from 0 to 399"),
        ("../secret/a.mp4 3", "leaves the data root"),
        ("/etc/a.mp4 3", "leaves the data root"),
    ],
)
def test_a_line_of_another_form_is_told(kinetics: Path, line: str, told: str) -> None:
    (kinetics / "annotations" / "val.csv").write_text(f"val/-3B32lodo2M_000059_000069.mp4 1\n{line}\n")
    with pytest.raises(IbenchError, match=told):
        open_dataset(load_task("kinetics400"), kinetics.parent)


def test_a_table_of_another_form_is_told(kinetics: Path) -> None:
    table = kinetics / "annotations" / "val.csv"
    table.write_text("youtube_id,time_start,time_end,split\n-3B32lodo2M,59,69,test\n")  # as of the unlabelled test set
    with pytest.raises(IbenchError, match=r"val\.csv:2: nothing in column label"):
        open_dataset(load_task("kinetics400"), kinetics.parent)
    write_kinetics(table, [("yoga", "-3B32lodo2M", "soon", 69)])
    with pytest.raises(IbenchError, match=r"val\.csv:2: time_start and time_end should be seconds"):
        open_dataset(load_task("kinetics400"), kinetics.parent)
    table.unlink()
    with pytest.raises(IbenchError, match=r"kinetics400: no list of clips; .*annotations/val\.csv and .*cvdfoundation"):
        open_dataset(load_task("kinetics400"), kinetics.parent)


def test_kinetics_without_a_clip_is_told(kinetics: Path) -> None:
    write_kinetics(kinetics / "annotations" / "val.csv", KINETICS_ROWS[3:])
    with pytest.raises(IbenchError, match="of the 1 clips listed, none"):
        open_dataset(load_task("kinetics400"), kinetics.parent)


# UCF101 ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ucf101(tmp_path: Path) -> Path:
    """Two classes in two groups; Windows line ends, and the spelling of Handstand that the lists have."""
    root = tmp_path / "UCF101"
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_bytes(b"1 ApplyEyeMakeup\r\n37 HandstandPushups\r\n2 ApplyLipstick\r\n")
    makeup, pushups = "ApplyEyeMakeup/v_ApplyEyeMakeup", "HandstandPushups/v_HandStandPushups"
    (lists / "trainlist01.txt").write_bytes(f"{makeup}_g08_c01.avi 1\r\n{pushups}_g08_c01.avi 37\r\n".encode())
    (lists / "testlist01.txt").write_bytes(f"{makeup}_g01_c01.avi\r\n{makeup}_g01_c02.avi\r\n".encode())
    (lists / "testlist02.txt").write_bytes(f"{pushups}_g08_c01.avi\r\n".encode())
    for number, clip in enumerate(
        [f"{makeup}_g08_c01", f"{makeup}_g01_c01", f"{makeup}_g01_c02", f"{pushups}_g08_c01"]
    ):
        film(root / "UCF-101" / f"{clip}.avi", number)
    return root


def test_ucf101_is_read_as_published(ucf101: Path) -> None:
    for given in (ucf101, ucf101.parent):
        data = open_dataset(load_task("ucf101"), given)
        assert list(data.labels or {}) == ["ApplyEyeMakeup", "ApplyLipstick", "HandstandPushups"]
        assert [(item.labels[0], item.cluster) for item in data.items[VIDEO]] == [
            ("ApplyEyeMakeup", "v_ApplyEyeMakeup_g08"),
            ("HandstandPushups", "v_HandStandPushups_g08"),
            ("ApplyEyeMakeup", "v_ApplyEyeMakeup_g01"),
            ("ApplyEyeMakeup", "v_ApplyEyeMakeup_g01"),
        ]
        assert data.missing == ()


@pytest.mark.parametrize(
    "name", ["v_HandstandPushups_g08_c01.avi", "v_HandStandPushups_g08_c01.mp4", "v_handstandpushups_g08_c01.AVI"]
)
def test_handstand_may_be_written_either_way_on_disk(ucf101: Path, name: str) -> None:
    folder = ucf101 / "UCF-101" / "HandstandPushups"
    (folder / "v_HandStandPushups_g08_c01.avi").rename(folder / name)
    data = open_dataset(load_task("ucf101"), ucf101)
    assert data.items[VIDEO][1].id == "HandstandPushups/v_HandStandPushups_g08_c01.avi"
    assert data.missing == ()


def test_ucf101_has_three_splits(ucf101: Path) -> None:
    spec = load_task("ucf101")
    assert len(open_dataset(changed(spec, split="split1"), ucf101).items[VIDEO]) == 2
    assert ids(open_dataset(changed(spec, split="split2"), ucf101), VIDEO) == [
        "HandstandPushups/v_HandStandPushups_g08_c01.avi"
    ]
    with pytest.raises(IbenchError, match=r"no split 'split4'; did you mean"):
        open_dataset(changed(spec, split="split4"), ucf101)
    with pytest.raises(IbenchError, match=r"testlist03\.txt: No such file"):
        open_dataset(changed(spec, split="split3"), ucf101)


def test_ucf101_names_are_clips(ucf101: Path) -> None:
    spec = load_task("ucf101")
    cell = bind(spec, open_dataset(spec, ucf101), None, None, None)
    assert len(cell.classes) == 101
    assert cell.texts[cell.classes.index("HandstandPushups")][0] == "a photo of a person Hand Stand Pushups."
    assert cell.classes.index("HandstandPushups") == 36  # 37 in classInd.txt


def test_missing_clips_and_unknown_classes_are_told(ucf101: Path) -> None:
    (ucf101 / "UCF-101" / "ApplyEyeMakeup" / "v_ApplyEyeMakeup_g01_c02.avi").unlink()
    assert open_dataset(load_task("ucf101"), ucf101).missing == ("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi",)
    lists = ucf101 / "ucfTrainTestlist"
    (lists / "testlist01.txt").write_text("ApplyEyeMakeUp/v_ApplyEyeMakeup_g01_c01.avi\n")
    with pytest.raises(
        IbenchError, match=r"testlist01\.txt:1: 'ApplyEyeMakeUp' is no class; did you mean ApplyEyeMakeup"
    ):
        open_dataset(load_task("ucf101"), ucf101)
    (lists / "classInd.txt").write_text("ApplyEyeMakeup\n")
    with pytest.raises(IbenchError, match=r"classInd\.txt:1: expected a number and a class"):
        open_dataset(load_task("ucf101"), ucf101)


# the task files -------------------------------------------------------------------------------------------------------


def test_class_lists_have_their_published_sizes() -> None:
    sizes = {name: len(load_task(name).labels or ()) for name in CLASSIFICATION}
    assert sizes == {"kinetics400": 400, "kinetics600": 600, "ucf101": 101}
    for name in ("kinetics400", "kinetics600"):
        labels = list(load_task(name).labels or ())
        assert labels == sorted(labels)


def test_prompts_have_their_published_sizes() -> None:
    sizes = {name: len(set(load_prompts(name).resolved())) for name in ("kinetics28", "ucf48", "clip80_video")}
    assert sizes == {"kinetics28": 28, "ucf48": 48, "clip80_video": 80}
    assert not [text for text in load_prompts("clip80_video").resolved() if "photo" in text]


@pytest.mark.parametrize("name", [*RETRIEVAL, *CLASSIFICATION])
def test_published_numbers_are_of_the_tasks_metrics(name: str) -> None:
    spec = load_task(name)
    rows = [row for row in published() if row.task == name]
    assert all(row.metric in METRICS[spec.kind] and 0 < row.value < 100 and row.source for row in rows)
    assert bool(rows) == (name not in ("ucf101", "msrvtt_audio_video"))  # nobody published a comparable one


@pytest.mark.parametrize("name", RETRIEVAL)
def test_the_headline_is_the_share_found_first(name: str) -> None:
    assert load_task(name).headline == "recall@1"
