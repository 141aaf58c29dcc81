"""Readers of sound data sets on small layouts, written as their publishers describe them."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import tone

from ibench.api import check_data
from ibench.cells import bind
from ibench.datasets import Dataset, open_dataset
from ibench.datasets.fakes import write_fake
from ibench.datasets.fakes.noise import video as write_video
from ibench.errors import IbenchError, UnreadableSample
from ibench.modalities import Modality, Waveform
from ibench.tasks import load_task

Build = Callable[[Path], Path]


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def put(path: Path, hertz: int = 440, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone(hertz, 0.1, rate, path)


def sounds(data: Dataset) -> Mapping[str, tuple[str, ...]]:
    return {item.id: item.labels for item in data.items[Modality.AUDIO]}


def audioset(root: Path) -> Path:
    """Comments, a space after each comma, machine ids in quotes; ids that begin with - and _."""
    folder = root / "AudioSet"
    write(
        folder / "eval_segments.csv",
        "# Segments csv created Sun Mar  5 10:54:25 2017\n"
        "# num_ytids=20371, num_segs=20371, num_unique_labels=527, num_positive_labels=51804\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/05zppz"\n'
        '_iUVnLHxJd4, 20.000, 30.000, "/m/09x0r"\n'
        'Zzz1-xyz_8g, 420.000, 430.000, "/m/05zppz"\n',
    )
    write(
        folder / "class_labels_indices.csv",
        "index,mid,display_name\n"
        '0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n73,/m/068hy,"Domestic animals, pets"\n',
    )
    put(folder / "eval_segments" / "Y--4gqARaEJE.wav")
    put(folder / "eval_segments" / "_iUVnLHxJd4_20.flac")
    return folder


def vggsound(root: Path) -> Path:
    """No header, labels with commas in quotes, clips of both splits."""
    folder = root / "VGGSound"
    write(
        folder / "vggsound.csv",
        "---g-f_I2yQ,1,people marching,train\n"
        'glLQrEijrKg,300,"bee, wasp, etc. buzzing",test\n'
        "-0jeONf82dE,21,horse clip-clop,test\n"
        "_q1ZwTsEfJ0,30,playing hammond organ,test\n",
    )
    with_sound = folder / "video"
    for name in ("glLQrEijrKg_000300", "-0jeONf82dE_000021", "---g-f_I2yQ_000001"):
        write_video(with_sound / f"{name}.mp4", np.random.default_rng(0), with_sound=True)
    return folder


def fsd50k(root: Path) -> Path:
    folder = root / "FSD50K"
    write(
        folder / "FSD50K.ground_truth" / "eval.csv",
        "fname,labels,mids\n"
        '37199,"Electric_guitar,Guitar,Musical_instrument,Music","/m/02sgy,/m/0342h,/m/04szw,/m/04rlf"\n'
        '175151,"Gunshot_and_gunfire",/m/032s66\n'
        "253463,Music,/m/04rlf\n",
    )
    labels = ["Gunshot_and_gunfire", "Electric_guitar", "Guitar", "Musical_instrument", "Music"]
    write(
        folder / "FSD50K.ground_truth" / "vocabulary.csv",
        "".join(f"{index},{label},/m/{index}\n" for index, label in enumerate(labels)),
    )
    for name in ("37199", "175151"):
        put(folder / "FSD50K.eval_audio" / f"{name}.wav", rate=44_100)
    put(folder / "FSD50K.dev_audio" / "253463.wav", rate=44_100)  # another split
    return folder


def urbansound8k(root: Path) -> Path:
    folder = root / "UrbanSound8K"
    write(
        folder / "metadata" / "UrbanSound8K.csv",
        "slice_file_name,fsID,start,end,salience,fold,classID,class\n"
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark\n"
        "100263-2-0-117.wav,100263,58.5,62.5,1,10,2,children_playing\n"
        "100263-2-0-121.wav,100263,60.5,64.5,1,10,2,children_playing\n"
        "7061-6-0-0.wav,7061,0.0,1.0,1,1,6,gun_shot\n",
    )
    put(folder / "audio" / "fold5" / "100032-3-0-0.wav", rate=8_000)
    for name in ("117", "121"):
        put(folder / "audio" / "fold10" / f"100263-2-0-{name}.wav", rate=96_000)
    return folder


def clotho(root: Path) -> Path:
    """Freesound's names; captions with quotes and commas in UTF-8, metadata in Latin-1."""
    folder = root / "Clotho"
    names = ["Santa Motor.wav", "Fabric, Zipper 'x'.wav", "Café.wav", "gone.wav"]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["file_name", *(f"caption_{number}" for number in range(1, 6))])
    for name in names:
        writer.writerow([name, *(f'{name[:4]}, "loud", {number} – done.' for number in range(1, 6))])
    write(folder / "clotho_captions_evaluation.csv", table.getvalue())
    write(folder / "clotho_metadata_evaluation.csv", "file_name,keywords\nCafé.wav,bar\n", "latin-1")
    for name in names[:3]:
        put(folder / "evaluation" / name, rate=44_100)
    return folder


def audiocaps(root: Path) -> Path:
    """A clip is a video and a start; its captions stand apart."""
    folder = root / "AudioCaps"
    write(
        folder / "dataset" / "test.csv",
        "audiocap_id,youtube_id,start_time,caption\n"
        "103549,7fmOlUlwoNg,20,Constant rattling noise and sharp vibrations\n"
        "103548,6BJ455B1aAs,0,A rocket flies by followed by a loud explosion\n"
        '103541,7fmOlUlwoNg,20,"A ""rattle"", vibrating"\n'
        "103999,-AAAAAAAAA_,440,Wind blows\n",
    )
    put(folder / "audio" / "Y7fmOlUlwoNg.wav")
    put(folder / "audio" / "6BJ455B1aAs_0.wav")
    return folder


def gtzan(root: Path) -> Path:
    for genre in load_task("gtzan").labels or ():
        put(root / "GTZAN" / "genres" / genre / f"{genre}.00000.wav", rate=22_050)
    write(root / "GTZAN" / "genres" / "jazz" / "jazz.00054.wav", "")
    write(root / "GTZAN" / "genres" / "jazz" / "._jazz.00000.wav", "left by macOS")
    return root / "GTZAN"


LAYOUTS: dict[str, Build] = {
    build.__name__: build for build in (audioset, vggsound, fsd50k, urbansound8k, clotho, audiocaps, gtzan)
}
TABLES = {
    "audioset": ["eval_segments.csv", "class_labels_indices.csv"],
    "vggsound": ["vggsound.csv"],
    "fsd50k": ["FSD50K.ground_truth/eval.csv", "FSD50K.ground_truth/vocabulary.csv"],
    "urbansound8k": ["metadata/UrbanSound8K.csv"],
    "clotho": ["clotho_captions_evaluation.csv"],
    "audiocaps": ["dataset/test.csv"],
}
EVERY_TABLE = [(name, table) for name, tables in TABLES.items() for table in tables]


# what each one reads --------------------------------------------------------------------------------------------------


def test_audioset_labels_are_machine_ids_in_the_order_of_the_index(tmp_path: Path) -> None:
    audioset(tmp_path)
    data = open_dataset(load_task("audioset"), tmp_path)
    assert sounds(data) == {"--4gqARaEJE_000000": ("/m/068hy", "/m/05zppz"), "_iUVnLHxJd4_000020": ("/m/09x0r",)}
    assert data.missing == ("Zzz1-xyz_8g_000420",)
    assert list((data.labels or {}).values()) == [
        ("Speech",),
        ("Male speech, man speaking",),
        ("Domestic animals, pets",),
    ]
    cell = bind(load_task("audioset"), data, "languagebind", None, None)
    assert cell.texts[1] == ("a sound of Male speech, man speaking.",)


def test_vggsound_reads_the_test_clips_and_every_class(tmp_path: Path) -> None:
    vggsound(tmp_path)
    data = open_dataset(load_task("vggsound"), tmp_path)
    assert sounds(data) == {
        "glLQrEijrKg_000300": ("bee, wasp, etc. buzzing",),
        "-0jeONf82dE_000021": ("horse clip-clop",),
    }
    assert data.missing == ("_q1ZwTsEfJ0_000030",)
    everything = ["bee, wasp, etc. buzzing", "horse clip-clop", "people marching", "playing hammond organ"]
    assert list(data.labels or {}) == everything
    assert isinstance(data.items[Modality.AUDIO][0].decode(), Waveform)  # out of the mp4


@pytest.mark.parametrize("where", ["", "data/"])
def test_vggsound_test_csv_and_stat_csv_say_the_same(tmp_path: Path, where: str) -> None:
    """test.csv names files and has no training clips; stat.csv lists the classes, in its order, with counts."""
    full = open_dataset(load_task("vggsound"), vggsound(tmp_path))
    (tmp_path / "VGGSound" / "vggsound.csv").unlink()
    write(
        tmp_path / "VGGSound" / where / "test.csv",
        'glLQrEijrKg_000300.mp4,"bee, wasp, etc. buzzing"\n'
        "-0jeONf82dE_000021.mp4,horse clip-clop\n"
        "_q1ZwTsEfJ0_000030.mp4,playing hammond organ\n",
    )
    write(
        tmp_path / "VGGSound" / where / "stat.csv",
        'playing hammond organ,1049\npeople marching,817\n"bee, wasp, etc. buzzing",551\nhorse clip-clop,882\n',
    )
    for root in (tmp_path, tmp_path / "VGGSound"):
        short = open_dataset(load_task("vggsound"), root)
        assert (sounds(short), short.missing, short.labels) == (sounds(full), full.missing, full.labels)
        assert short.fingerprint() == full.fingerprint()


def test_vggsound_sound_and_video_come_from_one_file(tmp_path: Path) -> None:
    folder = vggsound(tmp_path)
    put(folder / "audio" / "_q1ZwTsEfJ0_000030.wav")  # a sound without its picture is no pair
    data = open_dataset(load_task("vggsound_audio_video"), tmp_path)
    heard, seen = data.items[Modality.AUDIO], data.items[Modality.VIDEO]
    assert [item.id for item in heard] == [item.id for item in seen]
    assert [item.content for item in heard] == [item.content for item in seen]
    assert [item.group for item in heard] == [item.group for item in seen] == [item.id for item in seen]
    assert data.missing == ("_q1ZwTsEfJ0_000030",)
    assert heard[0].decode().seconds == pytest.approx(1, abs=0.2)  # type: ignore[union-attr]
    assert len(seen[0].decode().frame_times) == 8  # type: ignore[union-attr]


def test_vggsound_without_a_sound_track_is_unreadable(tmp_path: Path) -> None:
    folder = vggsound(tmp_path)
    write_video(folder / "video" / "_q1ZwTsEfJ0_000030.mp4", np.random.default_rng(0), with_sound=False)
    for task in ("vggsound", "vggsound_audio_video"):
        mute = open_dataset(load_task(task), tmp_path).items[Modality.AUDIO][-1]
        with pytest.raises(UnreadableSample, match="no audio track"):
            mute.decode()


def test_fsd50k_reads_the_evaluation_split(tmp_path: Path) -> None:
    fsd50k(tmp_path)
    data = open_dataset(load_task("fsd50k"), tmp_path)
    assert sounds(data) == {
        "37199": ("Electric_guitar", "Guitar", "Musical_instrument", "Music"),
        "175151": ("Gunshot_and_gunfire",),
    }
    assert data.missing == ("253463",)
    assert list(data.labels or {})[:2] == ["Gunshot_and_gunfire", "Electric_guitar"]  # not sorted


def test_a_list_of_classes_that_is_cut_off_is_told_by_the_check(tmp_path: Path) -> None:
    vocabulary = fsd50k(tmp_path) / "FSD50K.ground_truth" / "vocabulary.csv"
    vocabulary.write_text("".join(vocabulary.read_text().splitlines(keepends=True)[:4]))
    report = check_data("fsd50k", data_root=tmp_path)
    assert report.problem.startswith("fsd50k: 1 missing; fsd50k: sample '37199' has label 'Music', which")


def test_fsd50k_names_of_laion_are_those_of_audioset(tmp_path: Path) -> None:
    """Zenodo record 4060432: labels are AudioSet's names with ", " written "_and_", other spaces "_"."""
    named = {label: one for label, (one,) in load_task("fsd50k").protocols["clap"].names.items()}
    assert len(named) == 37
    for label, name in named.items():
        assert name.replace(", and ", ", ").replace(", ", "_and_").replace(" ", "_") == label
    folder = fsd50k(tmp_path)
    labels = ["Guitar", "Electric_guitar", "Musical_instrument", "Music", *named]
    write(
        folder / "FSD50K.ground_truth" / "vocabulary.csv",
        "".join(f"{index},{label},/m/{index}\n" for index, label in enumerate(labels)),
    )
    data = open_dataset(load_task("fsd50k"), tmp_path)
    place = labels.index("Gunshot_and_gunfire")
    texts = {name: bind(load_task("fsd50k"), data, name, None, None).texts[place] for name in ("msclap", "clap")}
    assert texts == {
        "msclap": ("this is the sound of Gunshot and gunfire",),
        "clap": ("This is a sound of Gunshot, gunfire.",),
    }


def test_urbansound8k_reads_all_folds_in_the_order_of_its_classes(tmp_path: Path) -> None:
    urbansound8k(tmp_path)
    data = open_dataset(load_task("urbansound8k"), tmp_path)
    assert list(data.labels or {}) == ["children_playing", "dog_bark", "gun_shot"]
    assert data.missing == ("7061-6-0-0.wav",)
    assert [item.cluster for item in data.items[Modality.AUDIO]] == ["100032", "100263", "100263"]
    assert [item.decode().rate for item in data.items[Modality.AUDIO]] == [8_000, 96_000, 96_000]  # type: ignore[union-attr]
    texts = bind(load_task("urbansound8k"), data, "mteb", None, None).texts
    assert texts[1] == ("This is a sound of dog bark",)  # mteb's candidate labels


@pytest.mark.parametrize("unpacked", ["evaluation", "clotho_audio_evaluation/evaluation", "clotho_audio_evaluation"])
def test_clotho_captions_are_queries_of_their_own(tmp_path: Path, unpacked: str) -> None:
    folder = clotho(tmp_path)
    if unpacked != "evaluation":
        (folder / unpacked).parent.mkdir(exist_ok=True)
        (folder / "evaluation").rename(folder / unpacked)
    data = open_dataset(load_task("clotho"), tmp_path)
    texts, heard = data.items[Modality.TEXT], data.items[Modality.AUDIO]
    assert [item.id for item in heard] == ["Santa Motor.wav", "Fabric, Zipper 'x'.wav", "Café.wav"]
    assert data.missing == ("gone.wav",)
    assert [item.group for item in texts] == [item.id for item in heard for _ in range(5)]
    assert {item.cluster for item in texts} == {item.id for item in heard}
    assert texts[6].decode() == 'Fabr, "loud", 2 – done.'
    assert len({item.id for item in texts}) == 15


def test_clotho_names_are_found_with_accents_taken_apart(tmp_path: Path) -> None:
    folder = clotho(tmp_path)
    file = folder / "evaluation" / "Café.wav"
    file.rename(file.with_name(unicodedata.normalize("NFD", file.name)))
    assert open_dataset(load_task("clotho"), tmp_path).missing == ("gone.wav",)


@pytest.mark.parametrize("where", ["dataset", "."])
def test_audiocaps_groups_captions_by_video_and_start(tmp_path: Path, where: str) -> None:
    folder = audiocaps(tmp_path)
    (folder / "dataset" / "test.csv").rename(folder / where / "test.csv")
    data = open_dataset(load_task("audiocaps"), tmp_path)
    found = {item.decode(): item.group for item in data.items[Modality.TEXT]}
    assert found == {
        "Constant rattling noise and sharp vibrations": "7fmOlUlwoNg_000020",
        'A "rattle", vibrating': "7fmOlUlwoNg_000020",
        "A rocket flies by followed by a loud explosion": "6BJ455B1aAs_000000",
    }  # and none of the clip that is not there
    assert [item.id for item in data.items[Modality.AUDIO]] == ["7fmOlUlwoNg_000020", "6BJ455B1aAs_000000"]
    assert data.missing == ("-AAAAAAAAA__000440",)


@pytest.mark.parametrize("unpacked", ["genres", "genres_original", "Data/genres_original"])
def test_gtzan_is_its_folders(tmp_path: Path, unpacked: str) -> None:
    folder = gtzan(tmp_path)
    if unpacked != "genres":
        (folder / unpacked).parent.mkdir(exist_ok=True)
        (folder / "genres").rename(folder / unpacked)
    for root in (tmp_path, folder):
        data = open_dataset(load_task("gtzan"), root)
        assert len(data.items[Modality.AUDIO]) == 11  # without what macOS left
        assert sounds(data)["hiphop/hiphop.00000.wav"] == ("hiphop",)
    damaged = next(item for item in data.items[Modality.AUDIO] if item.id == "jazz/jazz.00054.wav")
    with pytest.raises(UnreadableSample, match=r"jazz\.00054"):
        damaged.decode()
    texts = bind(load_task("gtzan"), data, None, None, None).texts
    assert texts[4] == ("This audio is a hiphop song.",)


def test_gtzan_with_a_folder_that_is_no_genre_is_refused(tmp_path: Path) -> None:
    put(gtzan(tmp_path) / "genres" / "polka" / "polka.00000.wav")
    data = open_dataset(load_task("gtzan"), tmp_path)
    with pytest.raises(IbenchError, match="label 'polka', which the task does not list"):
        bind(load_task("gtzan"), data, None, None, None)


# what all of them refuse ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_folder_itself_may_be_the_root(tmp_path: Path, name: str) -> None:
    folder = LAYOUTS[name](tmp_path)
    inside, above = (open_dataset(load_task(name), root) for root in (folder, tmp_path))
    assert inside.fingerprint() == above.fingerprint()


@pytest.mark.parametrize("name", LAYOUTS)
def test_without_a_copy_it_is_said_where_to_get_one(tmp_path: Path, name: str) -> None:
    spec = load_task(name)
    with pytest.raises(IbenchError) as refusal:
        open_dataset(spec, tmp_path)
    assert "not found" in str(refusal.value)
    assert spec.dataset.source in str(refusal.value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_damaged_file_costs_its_sample(tmp_path: Path, name: str) -> None:
    LAYOUTS[name](tmp_path)
    item = open_dataset(load_task(name), tmp_path).items[Modality.AUDIO][0]
    assert isinstance(item.content, Path)
    item.content.write_bytes(b"RIFF and no more")
    with pytest.raises(UnreadableSample, match="neither soundfile"):
        item.decode()


@pytest.mark.parametrize("name", ["audioset", "audiocaps", "vggsound_audio_video", "urbansound8k"])
def test_a_copy_of_the_lists_without_any_sound_cannot_be_run(tmp_path: Path, name: str) -> None:
    folder = LAYOUTS[name.removesuffix("_audio_video")](tmp_path)
    for file in folder.rglob("*"):
        if file.suffix in (".wav", ".flac", ".mp4"):
            file.unlink()
    data = open_dataset(load_task(name), tmp_path)  # data check lists what is missing
    assert len(data.missing) == 3 + (name == "urbansound8k")
    with pytest.raises(IbenchError, match=f"{name}: this copy holds no sample to read"):
        bind(load_task(name), data, None, None, None)


@pytest.mark.parametrize(("name", "table"), EVERY_TABLE)
def test_a_table_that_is_cut_short_is_refused(tmp_path: Path, name: str, table: str) -> None:
    """Its rows but not all of the cells, as an interrupted download leaves it; and no rows at all."""
    file = LAYOUTS[name](tmp_path) / table
    whole = file.read_text(encoding="utf-8").rstrip("\n")
    write(file, whole.rpartition("\n")[0] + "\n" + whole.rpartition("\n")[2].split(",")[0] + ",")
    with pytest.raises(IbenchError, match=f"{file.name}: (row|cannot be read)"):
        open_dataset(load_task(name), tmp_path)
    write(file, "\n")
    with pytest.raises(IbenchError, match=f"{file.name}: no (rows|column)"):
        open_dataset(load_task(name), tmp_path)


@pytest.mark.parametrize(("name", "table"), EVERY_TABLE)
def test_a_table_that_is_no_text_is_refused(tmp_path: Path, name: str, table: str) -> None:
    file = LAYOUTS[name](tmp_path) / table
    file.write_bytes(b"\xff\xfe\x00PK\x03\x04")
    with pytest.raises(IbenchError, match=f"{file.name}: cannot be read as csv"):
        open_dataset(load_task(name), tmp_path)


@pytest.mark.parametrize(
    ("name", "table", "column"),
    [
        ("audioset", "class_labels_indices.csv", "mid"),
        ("fsd50k", "FSD50K.ground_truth/eval.csv", "labels"),
        ("urbansound8k", "metadata/UrbanSound8K.csv", "classID"),
        ("clotho", "clotho_captions_evaluation.csv", "caption_5"),
        ("audiocaps", "dataset/test.csv", "start_time"),
    ],
)
def test_a_table_without_a_column_is_refused(tmp_path: Path, name: str, table: str, column: str) -> None:
    file = LAYOUTS[name](tmp_path) / table
    write(file, file.read_text(encoding="utf-8").replace(column, "other", 1))
    with pytest.raises(IbenchError, match=f"no column {column}"):
        open_dataset(load_task(name), tmp_path)


@pytest.mark.parametrize(
    ("name", "table", "was", "becomes", "told"),
    [
        ("audioset", "eval_segments.csv", "20.000, 30.000", "20.000, later", "start and end are seconds"),
        ("audioset", "class_labels_indices.csv", "73,", "many,", "index needs whole numbers"),
        ("vggsound", "vggsound.csv", "glLQrEijrKg,300", "glLQrEijrKg,5 min", "expected a YouTube id and whole seconds"),
        ("fsd50k", "FSD50K.ground_truth/vocabulary.csv", "1,E", "one,E", "index needs whole numbers"),
        ("urbansound8k", "metadata/UrbanSound8K.csv", "5,3,dog", "5,third,dog", "classID needs whole numbers"),
        ("audiocaps", "dataset/test.csv", "6BJ455B1aAs,0", "6BJ455B1aAs,soon", "expected seconds"),
    ],
)
def test_a_cell_that_is_no_number_is_refused(
    tmp_path: Path, name: str, table: str, was: str, becomes: str, told: str
) -> None:
    file = LAYOUTS[name](tmp_path) / table
    text = file.read_text(encoding="utf-8")
    assert was in text
    write(file, text.replace(was, becomes))
    with pytest.raises(IbenchError, match=told):
        open_dataset(load_task(name), tmp_path)


@pytest.mark.parametrize(
    ("name", "table", "was", "becomes"),
    [
        ("fsd50k", "FSD50K.ground_truth/eval.csv", "175151", "../../../secret"),
        ("fsd50k", "FSD50K.ground_truth/eval.csv", "175151", "/etc/passwd"),
        ("urbansound8k", "metadata/UrbanSound8K.csv", "100032-3-0-0.wav", "../../../secret.wav"),
        ("urbansound8k", "metadata/UrbanSound8K.csv", ",5,3,", ",/../../..,3,"),
    ],
)
def test_a_name_that_leaves_the_folder_is_refused(
    tmp_path: Path, name: str, table: str, was: str, becomes: str
) -> None:
    file = LAYOUTS[name](tmp_path) / table
    text = file.read_text(encoding="utf-8")
    assert was in text
    write(file, text.replace(was, becomes))
    with pytest.raises(IbenchError, match="leaves the data root"):
        open_dataset(load_task(name), tmp_path)


@pytest.mark.parametrize("name", ["clotho", "audiocaps"])
def test_a_name_that_leaves_the_folder_finds_nothing(tmp_path: Path, name: str) -> None:
    """These look names up in what the folder holds, so no name opens anything else."""
    folder = LAYOUTS[name](tmp_path)
    put(tmp_path / "secret.wav")
    table, was = {
        "clotho": ("clotho_captions_evaluation.csv", "Santa Motor.wav"),
        "audiocaps": ("dataset/test.csv", "6BJ455B1aAs"),
    }[name]
    text = (folder / table).read_text(encoding="utf-8")
    write(folder / table, text.replace(was, "../../secret.wav" if name == "clotho" else "../../secret"))
    data = open_dataset(load_task(name), tmp_path)
    assert any("secret" in missing for missing in data.missing)
    assert all(folder in item.content.parents for item in data.items[Modality.AUDIO])  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [*LAYOUTS, "vggsound_audio_video", "esc50"])
def test_every_protocol_fits_the_data(tmp_path: Path, name: str) -> None:
    """Prompts exist, and every label that a protocol renames is one."""
    spec = load_task(name)
    write_fake(spec, tmp_path)
    data = open_dataset(spec, tmp_path)
    for protocol in spec.protocols:
        texts = bind(spec, data, protocol, None, None).all_texts()
        assert bool(texts) == (Modality.TEXT in (spec.query, spec.target))
        assert not any("{}" in text for text in texts)


def test_soundfile_writes_the_depths_of_urbansound8k(tmp_path: Path) -> None:
    """Slices of any depth decode to the same scale."""
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(4800) / 48_000)
    folder = urbansound8k(tmp_path)
    for depth in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "MS_ADPCM"):
        soundfile.write(folder / "audio" / "fold5" / "100032-3-0-0.wav", wave, 48_000, subtype=depth)
        heard = open_dataset(load_task("urbansound8k"), tmp_path).items[Modality.AUDIO][0].decode()
        assert isinstance(heard, Waveform)
        assert np.abs(heard.samples).max() == pytest.approx(0.5, abs=0.03)
