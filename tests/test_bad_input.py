"""What bad input gets: one line on stderr that says what, where and the way out; exit 2; never a traceback."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import RunIbench, tone, write_task
from PIL import Image
from safetensors.torch import save_file
from toy_encoder import make_oracle

from ibench.api import evaluate
from ibench.encoders.functions import from_functions
from ibench.errors import IbenchError
from ibench.modalities import Modality

Toy = Callable[[str], str]


def refused(done: subprocess.CompletedProcess[str], *told: str) -> None:
    """Exit 2, nothing on stdout, one line of error that says all of ``told``."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("ibench: error:")]
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for words in told:
        assert words in lines[0], lines[0]


def test_unknown_task(ibench: RunIbench, toy: Toy) -> None:
    refused(ibench("run", "--task", "esc5", "--ckpt", toy("oracle")), "no task 'esc5'", "did you mean esc50 or")


def test_a_task_that_is_a_file_is_found_by_its_whole_name_only(ibench: RunIbench, toy: Toy, colours: Path) -> None:
    done = ibench("run", "--task", "colours", "--ckpt", toy("oracle"))
    refused(done, "no task 'colours'; did you mean the file colours.yaml?")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--plan", "--batch-size", "0"), "--batch-size 0: a whole number from 1, or auto"),
        (("--plan", "--actors", "2"), "--actors and --shard-limit are for --engine ray"),
        (("--plan", "--shards", "0/2"), "--plan is of all shards: run it without --shards"),
        (("--store", ""), "store '': names no folder"),
        (("--store", "file://"), "store 'file://': names no folder"),
    ],
)
def test_options_without_a_meaning(
    ibench: RunIbench, toy: Toy, colours: Path, options: tuple[str, ...], told: str
) -> None:
    refused(ibench("run", "--task", colours, "--ckpt", toy("oracle"), *options), told)


@pytest.mark.parametrize("command", ["ls", "du", "gc"])
def test_a_store_that_is_not_there(ibench: RunIbench, command: str) -> None:
    refused(ibench("store", command, "--store", "nowhere"), "store nowhere: there is none")
    assert ibench("store", command).returncode == 0  # of the cache, where nothing was kept yet


def test_unknown_suite(ibench: RunIbench, toy: Toy) -> None:
    refused(ibench("run", "--suite", "demos", "--ckpt", toy("oracle")), "no suite 'demos'", "did you mean demo or")


def test_neither_task_nor_suite(ibench: RunIbench, toy: Toy) -> None:
    refused(ibench("run", "--ckpt", toy("oracle")), "--task", "--suite")


@pytest.mark.parametrize(
    ("change", "line", "told"),
    [
        (("kind: ", "knid: "), 3, "unknown key 'knid'; did you mean kind"),
        (("version: 1", "version: one"), 2, "version"),
        (("reader: folder", "reeder: folder"), 6, "dataset.reeder"),
        (("query: image", "query: smell"), 4, "query"),
        (("query: image", "query: text"), 1, "from a modality to text"),
        (("prompts: lb_sound", "prompt: lb_sound"), 7, "protocols.ibench.prompt"),
        (("path: colours", "path: ../colours"), 6, "inside the data root"),
        (("path: colours", "path: /etc"), 6, "inside the data root"),
        (("target: text", "target: [text"), 6, "not valid YAML"),
        (("version: 1", "version: 1\nversion: 2"), 3, "key 'version' twice"),
        (("version: 1", "version: 1\nchance: 33"), 1, "a share of 1, not 33"),
        (("version: 1", "version: 1\nmetrics: top1"), 3, "metrics: expected a list"),
        (("version: 1", "version: 1\nlabels: [yes, no]"), 3, "in quotes"),
        (("version: 1", "version: 1\nlabels: {red: []}"), 3, "'red' has no name"),
        (
            ("path: colours", "path: colours, columns: {lable: sort}"),
            6,
            "no column is for 'lable'; did you mean label?",
        ),
    ],
)
def test_a_task_file_that_does_not_fit(
    ibench: RunIbench, colours: Path, change: tuple[str, str], line: int, told: str
) -> None:
    colours.write_text(colours.read_text().replace(*change))
    refused(ibench("tasks", "validate", colours), f"{colours}:{line}:", told)


def test_a_task_file_that_is_not_there(ibench: RunIbench, tmp_path: Path) -> None:
    refused(ibench("tasks", "validate", tmp_path / "no.yaml"), "no.yaml", "No such file")


def test_unknown_reader_prompts_protocol_and_format(ibench: RunIbench, toy: Toy, colours: Path, tmp_path: Path) -> None:
    other = write_task(tmp_path / "x.yaml", "x", "image", "{reader: foldr, path: colours}")
    refused(ibench("run", "--task", other, "--ckpt", toy("oracle")), "no reader 'foldr'", "folder")
    run = ("run", "--task", colours, "--ckpt", toy("oracle"))
    refused(ibench(*run, "--prompts", "clip8"), "no prompt set 'clip8'", "clip80")
    refused(ibench(*run, "--prompts", "mine.yaml"), "mine.yaml", "No such file")
    refused(ibench(*run, "--protocol", "paper"), "no protocol 'paper'", "ibench")
    refused(ibench(*run, "--device", "gpu"), "no device 'gpu'")
    refused(ibench(*run, "--dtype", "fp8"), "no dtype 'fp8'")
    assert ibench(*run).returncode == 0
    refused(ibench("compare", tmp_path / "results", "--format", "html5"), "no format 'html5'")


def test_a_task_file_with_an_unknown_reader_is_not_valid(ibench: RunIbench, tmp_path: Path) -> None:
    task = write_task(tmp_path / "x.yaml", "x", "image", "{reader: foldr, path: colours}")
    refused(ibench("tasks", "validate", task), "no reader 'foldr'", "folder")


def test_a_protocol_that_names_no_label_of_the_task(ibench: RunIbench, toy: Toy, colours: Path) -> None:
    colours.write_text(colours.read_text().replace("prompts: lb_sound", "prompts: lb_sound, names: {rad: crimson}"))
    refused(ibench("run", "--task", colours, "--ckpt", toy("oracle")), "names 'rad'", "did you mean red")


def test_retrieval_that_its_reader_cannot_give(ibench: RunIbench, toy: Toy, colours: Path) -> None:
    classified = colours.read_text()
    colours.write_text(classified.replace("kind: classification", "kind: retrieval"))
    refused(ibench("run", "--task", colours, "--ckpt", toy("oracle")), "'folder' reads image", "no text", "manifest")
    colours.write_text(colours.read_text().replace("target: text", "target: image"))
    refused(ibench("tasks", "validate", colours), "between two modalities", "both image")


def test_data_commands(ibench: RunIbench, tmp_path: Path) -> None:
    refused(ibench("data", "check"), "name tasks", "--suite")
    refused(ibench("data", "fake", "digits", "--out", "noise"), "no miniature", "digits_bind")
    (tmp_path / "real" / "ESC-50-master").mkdir(parents=True)
    (tmp_path / "real" / "ESC-50-master" / "LICENSE").write_text("real")
    refused(ibench("data", "fake", "esc50", "--out", "real"), "is not empty", "FAKE-DATA.txt")
    none = ibench("data", "check", "esc50", "--data-root", "real")
    assert none.returncode == 2
    assert "none that can be read" in none.stdout
    assert "github.com/karolpiczak/ESC-50" in none.stderr


def test_missing_data_root(ibench: RunIbench, toy: Toy, tmp_path: Path) -> None:
    run = ("run", "--task", "esc50", "--ckpt", toy("oracle"), "--data-root")
    refused(ibench(*run, tmp_path / "no"), "is not a folder", "github.com/karolpiczak/ESC-50")
    refused(ibench(*run, tmp_path), "ESC-50-master", "not found", "github.com/karolpiczak/ESC-50", "CC BY-NC 3.0")


def test_a_label_the_task_does_not_list(ibench: RunIbench, toy: Toy, colours: Path) -> None:
    colours.write_text(colours.read_text() + "labels: [red, green]\n")
    refused(
        ibench("run", "--task", colours, "--ckpt", toy("oracle")), "blue/blue 0.png", "label 'blue'", "does not list"
    )
    checked = ibench("data", "check", colours, "--workers", 0)  # what a run refuses is no whole copy
    assert checked.returncode == 2
    assert "label 'blue', which the task does not list" in checked.stderr


def test_two_tasks_of_one_name(ibench: RunIbench, toy: Toy, colours: Path) -> None:
    """The record of the second would be written over that of the first."""
    copy = colours.with_name("copy.yaml")
    copy.write_text(colours.read_text() + "metrics: [top5]\n")
    done = ibench("run", "--task", f"{colours},{copy}", "--ckpt", toy("oracle"), "--out", "runs")
    refused(done, "two tasks are called 'colours'", "name")
    assert ibench("run", "--task", f"{colours},{colours}", "--ckpt", toy("oracle"), "--out", "runs").returncode == 0


def test_a_label_listed_twice(ibench: RunIbench, colours: Path) -> None:
    colours.write_text(colours.read_text() + "labels: [red, green, red]\n")
    refused(ibench("tasks", "validate", colours), "listed twice: red")


def test_a_class_folder_without_files_is_told(toy: Toy, colours: Path, caplog: pytest.LogCaptureFixture) -> None:
    evaluate(toy("oracle"), [colours])
    assert not caplog.text
    (colours.parent / "colours" / "violet").mkdir()
    evaluate(toy("oracle"), [colours])
    assert caplog.text.count("no image files in 1 of 4 class folders (violet)") == 1


def test_an_empty_folder(ibench: RunIbench, toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "empty" / "red").mkdir(parents=True)
    task = write_task(tmp_path / "empty.yaml", "empty", "image", "{reader: folder, path: empty}")
    refused(ibench("run", "--task", task, "--ckpt", toy("oracle")), "no image files", "<label>/<file>")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("", "no rows"),
        ("path,label\n", "no rows"),
        ("file,label\nlow.wav,low\n", "nothing in column 'path'"),
        ("path,label\nlow.wav,\n", "nothing in column 'label'"),
        ("path,label\n../../etc/passwd,low\n", "leaves the data root"),
        ("path,label\n/etc/passwd,low\n", "leaves the data root"),
        ("path,label,start\nlow.wav,low,soon\n", "needs seconds"),
        ("path, label\nlow.wav,low\n", "did you mean ' label'?"),
        ("path,label\nlow.wav,low\n", "nothing in column 'recording', which the task names"),
        ("path,label\nlow.wav,low,high\n", "tones.csv:2: more cells than the header has columns"),
        ("path,label,recording\nlow.wav,low,a\nlow.wav,high,a\n", "tones.csv:3: 'low.wav' has another label"),
        ("path,label,id,recording\nlow.wav,low,1,a\nhigh.wav,low,1,a\n", "tones.csv:3: '1' has another file"),
    ],
)
def test_a_manifest_that_does_not_fit(ibench: RunIbench, toy: Toy, tones: Path, table: str, told: str) -> None:
    (tones.parent / "tones" / "tones.csv").write_text(table)
    refused(ibench("run", "--task", tones, "--ckpt", toy("oracle")), "tones.csv", told)


def test_a_multilabel_task_of_which_no_sample_has_a_label(ibench: RunIbench, toy: Toy, tones: Path) -> None:
    """There is no mAP of it, and nobody waits for its embeddings to hear so."""
    task = tones.with_name("tags.yaml")
    task.write_text(
        tones.read_text().replace("kind: classification", "kind: multilabel").replace("name: tones", "name: tags")
        + "labels: [low, middle, high]\n"
    )
    table = tones.parent / "tones" / "tones.csv"
    head, first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([head, first.replace(",low,", ',",",'), *rest]))
    assert ibench("run", "--task", task, "--ckpt", toy("oracle")).returncode == 0
    done = ibench("run", "--task", task, "--ckpt", toy("oracle"), "--limit", "1")
    refused(done, "tags: no sample of 1 in a run with --limit has a label")
    assert "to do" not in done.stderr


def test_a_folder_has_no_columns_and_is_no_file(ibench: RunIbench, toy: Toy, colours: Path) -> None:
    run, text = ("run", "--task", colours, "--ckpt", toy("oracle")), colours.read_text()
    colours.write_text(text + "cluster: writer\n")
    refused(ibench(*run), "reader 'folder' has no columns", "manifest")
    colours.write_text(text.replace("path: colours", "path: colours.yaml"))
    refused(ibench(*run), "colours.yaml is a file")
    colours.write_text(text.replace("path: colours", "path: colors"))
    refused(ibench(*run), "colors not found. Is 'path' in the task file right")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda vectors: None, "NoneType"),
        (lambda vectors: vectors.numpy(), "ndarray"),
        (lambda vectors: vectors[1:], r"a tensor \["),
        (lambda vectors: vectors[0], "a tensor"),
    ],
)
def test_an_encoder_that_gives_no_vector_for_each_view(
    colours: Path, given: Callable[[torch.Tensor], object], told: str
) -> None:
    spoilt = make_oracle("cpu", "fp32")
    encode = spoilt.encode
    spoilt.encode = lambda modality, batch: given(encode(modality, batch))
    with pytest.raises(IbenchError, match=f"'encode' gave {told}.*ibench encoders check"):
        evaluate(spoilt, [str(colours)])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda: None, "NoneType"),
        (lambda: torch.ones(6), r"shape \(6,\)"),
        (lambda: torch.ones(0, 6), r"shape \(0, 6\)"),
    ],
)
def test_a_front_end_that_gives_no_views(colours: Path, given: Callable[[], object], told: str) -> None:
    spoilt = make_oracle("cpu", "fp32")
    spoilt.functions = {**spoilt.functions, Modality.IMAGE: lambda image: given()}
    with pytest.raises(IbenchError, match=f"sample blue/blue 0.png: 'preprocess' gave {told}"):
        evaluate(spoilt, [str(colours)])


def test_a_live_function_that_gives_no_tensor(colours: Path) -> None:
    towers = {"image": (lambda image: torch.ones(6), lambda batch: (batch,)), "text": (lambda text: torch.ones(6), id)}
    with pytest.raises(IbenchError, match="live: its text function gave int, not a tensor"):
        evaluate(from_functions("live", towers, trained_pairs=()), [str(colours)])


def test_two_functions_of_a_factory_make_two_encoders(ibench: RunIbench, colours: Path, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "support" / "toy_encoder.py", tmp_path / "two_encoders.py")
    with (tmp_path / "two_encoders.py").open("a") as file:
        file.write("\n\ndef make_twin(device, dtype):\n    twin = make_oracle(device, dtype)\n")
        file.write("    twin.spoil = 'constant'\n    return twin\n")
    run = ("run", "--task", colours, "--json", "--ckpt")
    scores = [
        json.loads(ibench(*run, f"two_encoders.py:{name}", "--out", name).stdout)[0]["metrics"]["top1"]["value"]
        for name in ("make_oracle", "make_twin", "make_oracle")
    ]
    assert scores == [1.0, pytest.approx(1 / 3), 1.0]
    # one name, one file: the record of one would take the place of the other's
    other = ibench(*run, "two_encoders.py:make_twin", "--out", "make_oracle")
    refused(other, "records of 'make_oracle'", "give the cards different names")
    # they are two columns, however their runs lie
    assert "oracle make_twin," in ibench("compare", "make_oracle", "make_twin", "--format", "csv").stdout


def test_a_factory_that_returns_no_encoder(ibench: RunIbench, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong_factory.py").write_text(
        "class Tower:\n    card = {}\n    preprocess = encode = None\n\n\n"
        "def a_class(device, dtype):\n    return Tower\n\n\ndef no_card(device, dtype):\n    return Tower()\n"
    )
    run = ("run", "--task", colours, "--ckpt")
    refused(ibench(*run, "wrong_factory.py:a_class"), "returned the class Tower")
    refused(ibench(*run, "wrong_factory.py:no_card"), "its card is a dict, not an ibench.Card")


def test_a_checkpoint_that_is_not_there(ibench: RunIbench, colours: Path) -> None:
    for reference in ("no.pt", "no_such.py:make", "ViT-B-32@no.pt"):
        refused(ibench("run", "--task", colours, "--ckpt", reference), "not found")


def test_a_checkpoint_of_an_unknown_kind(ibench: RunIbench, colours: Path, tmp_path: Path) -> None:
    save_file({"blocks.0.weight": torch.zeros(3, 2), "head.bias": torch.zeros(2)}, tmp_path / "odd.safetensors")
    refused(
        ibench("run", "--task", colours, "--ckpt", "odd.safetensors"),
        "blocks.0.weight (3, 2)", "head.bias (2,)", "ibench encoders",
    )  # fmt: skip
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("x")
    refused(ibench("run", "--task", colours, "--ckpt", "folder"), "notes.txt", "ibench encoders")


def test_an_architecture_that_does_not_exist(ibench: RunIbench, colours: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    refused(ibench("run", "--task", colours, "--ckpt", "ViT-B-33@w.safetensors"), "no model 'ViT-B-33'", "ViT-B-32")


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch attacked",)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_pickle_that_would_run_code_is_refused(ibench: RunIbench, colours: Path, tmp_path: Path, form: str) -> None:
    if form == "torch":
        torch.save({"state_dict": {"a": torch.zeros(1)}, "args": Attack()}, tmp_path / "evil.pt")
    else:
        (tmp_path / "evil.pt").write_bytes(pickle.dumps({"a": Attack()}))
    told = ("would run code", "system", "ibench convert") if form == "torch" else ("evil.pt",)
    refused(ibench("run", "--task", colours, "--ckpt", "evil.pt"), *told)
    refused(ibench("convert", "evil.pt", "new.safetensors"), "evil.pt")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("name", ["cut.pt", "cut.safetensors"])
def test_a_truncated_checkpoint(ibench: RunIbench, colours: Path, tmp_path: Path, name: str) -> None:
    weights = {"layer.weight": torch.randn(64, 64)}
    if name.endswith("pt"):
        torch.save(weights, tmp_path / name)
    else:
        save_file(weights, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    refused(ibench("run", "--task", colours, "--ckpt", name), name, "not a whole")


def test_a_text_file_as_checkpoint(ibench: RunIbench, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.pt").write_text("this is no checkpoint")
    refused(ibench("run", "--task", colours, "--ckpt", "notes.pt"), "notes.pt")
    (tmp_path / "none.pt").write_bytes(b"")
    refused(ibench("run", "--task", colours, "--ckpt", "none.pt"), "none.pt")


def test_a_factory_without_its_function(ibench: RunIbench, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def make(device, dtype):\n    return 3\n")
    run = ("run", "--task", colours, "--ckpt")
    refused(ibench(*run, "mine.py"), "name the function")
    refused(ibench(*run, "mine.py:build"), "no function 'build'")
    refused(ibench(*run, "mine.py:make"), "returned int", "lacks card")


def test_unreadable_samples_are_listed_and_the_rest_is_kept(
    ibench: RunIbench, toy: Toy, colours: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "colours" / "red" / "red 3.png"
    broken.write_bytes(broken.read_bytes()[:150])
    run = ("run", "--task", colours, "--ckpt", toy("oracle"))
    refused(ibench(*run), "1 of the samples cannot be read", "red/red 3.png", "--max-unreadable is 0", "are kept")
    allowed = ibench(*run, "--max-unreadable", 1)
    assert allowed.returncode == 0, allowed.stderr
    assert "the encoder was not opened" in allowed.stderr
    assert "23 (of 24, 1 unreadable)" in allowed.stdout


def test_a_sample_unreadable_in_two_modalities_is_one_sample(tmp_path: Path) -> None:
    spec = tmp_path / "clips.yaml"
    spec.write_text(
        "name: clips\nversion: 1\nkind: retrieval\nquery: image\ntarget: audio\n"
        "dataset: {reader: manifest, path: clips.csv, columns: {image: image, audio: audio}}\n"
        "protocols: {ibench: {}}\n"
    )
    rows = ["id,image,audio"]
    for name in ("a", "b", "c"):
        Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / f"{name}.png")
        tone(440, 1.0, 16000, tmp_path / f"{name}.wav")
        rows.append(f"{name},{name}.png,{name}.wav")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    for suffix in ("png", "wav"):
        (tmp_path / f"b.{suffix}").write_bytes(b"neither")
    (record,) = evaluate(make_oracle("cpu", "fp32"), [spec], max_unreadable=1)
    assert record.n_unreadable == 1


def test_a_task_with_unreadable_samples_costs_no_other_task_its_score(
    toy: Toy, colours: Path, tones: Path, tmp_path: Path
) -> None:
    (tmp_path / "colours" / "red" / "red 3.png").write_bytes(b"no picture")
    tasks, out = [colours, tones], tmp_path / "records"
    with pytest.raises(IbenchError, match="colours: 1 of the samples cannot be read"):
        evaluate(toy("oracle"), tasks, out=out)
    assert [path.stem for path in out.rglob("*.json")] == ["tones.ibench"]
    (record,) = evaluate(toy("oracle"), tasks, skip_unavailable=True)  # as a suite does
    assert record.task == "tones"
    with pytest.raises(IbenchError, match="colours: 1 of the samples cannot be read"):
        evaluate(toy("oracle"), [colours], skip_unavailable=True)


def test_a_sound_of_zero_length(ibench: RunIbench, toy: Toy, tones: Path) -> None:
    soundfile.write(tones.parent / "tones" / "low.wav", np.zeros(0), 16000)
    refused(ibench("run", "--task", tones, "--ckpt", toy("oracle")), "low.wav", "zero length")
    (tones.parent / "tones" / "low.wav").write_bytes(b"")
    refused(ibench("run", "--task", tones, "--ckpt", toy("oracle")), "low.wav")


def test_a_segment_beyond_the_end(ibench: RunIbench, toy: Toy, tones: Path) -> None:
    table = tones.parent / "tones" / "tones.csv"
    table.write_text(table.read_text().replace(",0,1,all", ",7,8,all"))
    refused(ibench("run", "--task", tones, "--ckpt", toy("oracle")), "no sound from 7 to 8 s")


def test_missing_files_are_counted(ibench: RunIbench, toy: Toy, tones: Path) -> None:
    (tones.parent / "tones" / "high.ogg").unlink()
    done = ibench("run", "--task", tones, "--ckpt", toy("oracle"))
    assert done.returncode == 0, done.stderr
    assert "11 (1 missing)" in done.stdout


def test_nan_embeddings_name_the_sample(ibench: RunIbench, toy: Toy, colours: Path) -> None:
    refused(ibench("run", "--task", colours, "--ckpt", toy("nan")), "NaN", "colours image", ".png'")


def test_a_modality_the_encoder_has_not(ibench: RunIbench, colours: Path, tmp_path: Path) -> None:
    task = tmp_path / "depth.yaml"
    task.write_text(colours.read_text().replace("query: image", "query: depth"))
    from conftest import SUPPORT

    run = ("--ckpt", f"{SUPPORT / 'toy_encoder.py'}:make_oracle")
    refused(ibench("run", "--task", task, *run), "needs depth", "oracle has not")
    suite = ibench("run", "--suite", "audio", "--task", colours, *run, "--data-root", tmp_path)
    assert suite.returncode == 0, suite.stderr
    assert "skipped: esc50" in suite.stderr
    assert "colours" in suite.stdout


def test_records_that_do_not_compare(ibench: RunIbench, toy: Toy, colours: Path, tmp_path: Path) -> None:
    run = ("run", "--task", colours, "--out")
    assert ibench(*run, "a", "--ckpt", toy("oracle")).returncode == 0
    next((tmp_path / "colours" / "red").iterdir()).unlink()
    assert ibench(*run, "b", "--ckpt", toy("random")).returncode == 0
    refused(ibench("compare", "a", "b"), "differ in samples", "n 23 and 24")
    refused(ibench("compare", "nothing"), "no such file or folder")
    (tmp_path / "empty").mkdir()
    refused(ibench("compare", "empty"), "no records")
    (tmp_path / "other.json").write_text("{}")
    refused(ibench("compare", "other.json"), "neither an ibench record nor a baseline")
