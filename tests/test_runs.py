"""Laws of a whole run: known encoders get known scores, and how a run is made changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SUPPORT, RunIbench, write_task
from toy_encoder import make_oracle

import ibench as package
from ibench.api import Request, encode, plan
from ibench.datasets import Item
from ibench.engine.encode import Means
from ibench.engine.plan import Job, Share
from ibench.errors import IbenchError
from ibench.evaluation import Settings
from ibench.modalities import Modality
from ibench.results import load_all, samples_of
from ibench.running import Run, cores, means_of

Toy = Callable[[str], str]

CRASHING = """
import faulthandler, os, signal
from toy_encoder import ToyEncoder, noise
from ibench.modalities import Modality

def see(image):
    if image.size == (11, 9) and image.getpixel((0, 0))[0] > 150:
        faulthandler.disable()  # pytest's, in a forked worker
        os.kill(os.getpid(), signal.SIGSEGV)
    return noise(image)

def make(device, dtype):
    return ToyEncoder("crashing", {Modality.TEXT: noise, Modality.IMAGE: see})
"""


def test_an_oracle_scores_100_and_a_constant_scores_chance(
    toy: Toy, colours: Path, tones: Path, tmp_path: Path
) -> None:
    for record in package.evaluate(toy("oracle"), [colours, tones]):
        assert record.score.value == 1
    for record in package.evaluate(toy("constant"), [colours, tones]):
        assert record.score.value == pytest.approx(1 / 3)
        assert record.chance == pytest.approx(1 / 3)


def test_only_pairs_never_trained_are_emergent(toy: Toy, colours: Path, tones: Path) -> None:
    seen, heard = package.evaluate(toy("oracle"), [colours, tones])
    assert (seen.emergent, heard.emergent) == (False, True)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 0), (64, 2)])
def test_batch_size_and_workers_change_nothing(
    toy: Toy, colours: Path, tones: Path, tmp_path: Path, batch_size: int, workers: int
) -> None:
    plain = run_into(tmp_path / "plain", toy, [colours, tones], batch_size=64, workers=0)
    other = run_into(tmp_path / "other", toy, [colours, tones], batch_size=batch_size, workers=workers)
    for name, samples in plain.items():
        pd.testing.assert_frame_equal(samples, other[name])


def run_into(place: Path, toy: Toy, tasks: list[Path], **options: int) -> dict[str, pd.DataFrame]:
    package.evaluate(toy("random"), tasks, out=place / "results", store=place / "store", **options)
    return {path.name: samples_of(path) for path in sorted((place / "results").rglob("*.json"))}


def test_the_metrics_are_those_of_the_parquet(toy: Toy, tones: Path, tmp_path: Path) -> None:
    (record,) = package.evaluate(toy("random"), [tones], out=tmp_path / "results")
    samples = samples_of(next((tmp_path / "results").rglob("*.json")))
    assert record.metrics["top1"].value == (samples["gold"] == samples["prediction"]).mean()
    assert record.metrics["top5"].value == (samples["rank"] <= 5).mean()
    by_class = samples.groupby("gold")["correct"].mean()
    assert record.metrics["mean_per_class_recall"].value == pytest.approx(by_class.mean())
    assert len(samples) == record.n == 12
    assert set(samples.columns) == {"id", "gold", "prediction", "score", "rank", "correct", "cluster"}


def test_asked_again_nothing_is_decoded_or_encoded(toy: Toy, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = package.evaluate(toy("oracle"), [colours])

    def refuse(*_: object) -> None:
        raise AssertionError("the encoder was opened again")

    monkeypatch.setattr("ibench.encoders.factory.load", refuse)
    again = package.evaluate(toy("oracle"), [colours])
    assert [record.measured() for record in again] == [record.measured() for record in first]


def test_another_checkpoint_under_the_same_name_gets_its_own_numbers(colours: Path, tmp_path: Path) -> None:
    file = tmp_path / "brought.py"
    good = (SUPPORT / "toy_encoder.py").read_text()
    file.write_text(good)
    command = [sys.executable, "-m", "ibench", "run", "--task", str(colours), "--ckpt", f"{file}:make_oracle", "--json"]
    first = json.loads(subprocess.run(command, capture_output=True, check=True, cwd=tmp_path).stdout)[0]
    stamp = file.stat()
    file.write_text(good.replace('"red", "green"', '"green", "red"'))
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as if it were as old
    second = json.loads(subprocess.run(command, capture_output=True, check=True, cwd=tmp_path).stdout)[0]
    assert first["metrics"]["top1"]["value"] == 1
    assert second["metrics"]["top1"]["value"] < 1
    assert first["encoder"]["checkpoint_sha256"] != second["encoder"]["checkpoint_sha256"]


def test_an_edited_sample_is_encoded_again(toy: Toy, colours: Path, tmp_path: Path) -> None:
    (first,) = package.evaluate(toy("oracle"), [colours])
    shutil.copy(next((tmp_path / "colours" / "red").iterdir()), next((tmp_path / "colours" / "blue").iterdir()))
    (second,) = package.evaluate(toy("oracle"), [colours])
    assert first.dataset_fingerprint != second.dataset_fingerprint
    assert second.score.value == pytest.approx(23 / 24)


def test_the_fingerprint_covers_content_and_not_the_place(toy: Toy, colours: Path, tmp_path: Path) -> None:
    (here,) = package.evaluate(toy("oracle"), [colours])
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.copytree(tmp_path / "colours", moved / "colours")
    (there,) = package.evaluate(toy("oracle"), [colours], data_root=moved)
    assert here.dataset_fingerprint == there.dataset_fingerprint


def test_texts_of_all_tasks_are_encoded_once(colours: Path, tones: Path) -> None:
    encoder = make_oracle("cpu", "fp32")
    package.evaluate(encoder, [colours, colours, tones, tones])
    assert encoder.encoded == 24 + 12 + 6  # type: ignore[attr-defined]


def test_tasks_that_share_samples_share_the_embeddings(tmp_path: Path, colours: Path) -> None:
    other = write_task(tmp_path / "again.yaml", "again", "image", "{reader: folder, path: colours}")
    other.write_text(other.read_text().replace("lb_sound", "laion_sound"))
    encoder = make_oracle("cpu", "fp32")
    package.evaluate(encoder, [colours, other])
    assert encoder.encoded == 24 + 3 + 3  # type: ignore[attr-defined]


def test_a_limit_marks_the_record_and_only_when_it_limits(toy: Toy, colours: Path) -> None:
    (limited,) = package.evaluate(toy("oracle"), [colours], limit=5)
    assert (limited.n, limited.limited, limited.ranked) == (5, 5, False)
    (whole,) = package.evaluate(toy("oracle"), [colours], limit=500)
    assert (whole.n, whole.limited, whole.ranked) == (24, None, True)


def test_other_prompts_make_another_record(toy: Toy, colours: Path) -> None:
    (plain,) = package.evaluate(toy("oracle"), [colours])
    (other,) = package.evaluate(toy("oracle"), [colours], prompts="laion_sound")
    assert (plain.protocol, other.protocol) == ("ibench", "ibench+laion_sound")
    assert plain.texts_fingerprint != other.texts_fingerprint


def test_a_live_model_is_evaluated_in_eval_mode_and_left_training(colours: Path) -> None:
    import torch
    from toy_encoder import see_image, see_text

    model = torch.nn.Sequential(torch.nn.Dropout(0.9), torch.nn.Identity())
    model.train()
    encoder = package.from_functions(
        "live",
        {"image": (lambda raw: see_image(raw)[0], model), "text": (lambda raw: see_text(raw)[0] + 1e-3, model)},
        trained_pairs=(("image", "text"),),
        module=model,
    )
    (record,) = package.evaluate(encoder, [colours])
    assert record.score.value == 1
    assert all(part.training for part in model.modules())


def _heed_interrupts() -> None:
    """A shell starts what it puts in the background deaf to Ctrl-C, and the test may be below such a process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("workers", [[], ["--workers", "0"], ["--workers", "1"]])
@pytest.mark.parametrize(("encoder", "at"), [("slow", "prompts and captions: 3 to do"), ("stuck", "image: 24 to do")])
def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, toy: Toy, colours: Path, encoder: str, at: str, workers: list[str]
) -> None:
    """While the encoder computes, and while it waits for a decoder that hangs. And nothing else is said: a terminal
    sends it to the decode processes as well."""
    command = [sys.executable, "-m", "ibench", "run", "--task", str(colours), "--ckpt", toy(encoder)]
    process = subprocess.Popen(
        [*command, *workers],
        cwd=tmp_path,
        env={**os.environ, "TOY_SECONDS_PER_BATCH": "60"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if at in line:
            break
    time.sleep(0.2)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=10) == 130
    assert time.monotonic() - started < 10, "far sooner than a batch of a minute, on a busy machine too"
    assert rest == "ibench: interrupted; the same command continues where this one stopped\n"


def test_json_is_the_record(ibench: RunIbench, toy: Toy, colours: Path, tmp_path: Path) -> None:
    done = ibench("run", "--task", colours, "--ckpt", toy("oracle"), "--json")
    assert done.returncode == 0, done.stderr
    (written,) = load_all(tmp_path / "results")
    assert [written.model_dump(mode="json")] == json.loads(done.stdout)
    assert np.isclose(written.timings["encode"], json.loads(done.stdout)[0]["timings"]["encode"])


def test_a_measurement_repeated_leaves_the_record_as_it_was(
    ibench: RunIbench, toy: Toy, colours: Path, tmp_path: Path
) -> None:
    command = ("run", "--task", colours, "--ckpt", toy("oracle"))
    ibench(*command)
    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()}
    ibench(*command)
    assert before == {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()}


def test_rows_that_were_damaged_are_mended_by_running_again(
    ibench: RunIbench, toy: Toy, colours: Path, tmp_path: Path
) -> None:
    """The way out that `ibench compare` gives."""
    command = ("run", "--task", colours, "--ckpt", toy("oracle"))
    ibench(*command)
    rows = next((tmp_path / "results").rglob("*.parquet"))
    whole = rows.read_bytes()
    rows.write_bytes(whole[:100])
    assert "run the task again" in ibench("report", "results", "--task", colours).stderr
    ibench(*command)
    assert rows.read_bytes() == whole


def test_prompts_beside_a_task_are_found_from_anywhere(ibench: RunIbench, toy: Toy, colours: Path) -> None:
    (colours.parent / "elsewhere").mkdir()
    moved = colours.parent / "elsewhere" / "colours.yaml"
    (moved.parent / "own.yaml").write_text("name: own\nsource: here\ntemplates: ['a {} thing']\n")
    moved.write_text(colours.read_text().replace("lb_sound", "own.yaml"))
    (colours.parent / "colours").rename(moved.parent / "colours")
    assert ibench("tasks", "validate", moved).returncode == 0
    done = ibench("run", "--task", moved, "--ckpt", toy("oracle"), "--json")
    assert json.loads(done.stdout)[0]["prompts"] == "own"


def test_a_protocol_names_a_class_its_own_way(toy: Toy, colours: Path) -> None:
    text = colours.read_text()
    colours.write_text(
        text.replace("prompts: lb_sound", "prompts: lb_sound, names: {red: [crimson, red], green: blue}")
    )
    (record,) = package.evaluate(toy("oracle"), [colours])
    assert record.metrics["top1"].value == pytest.approx(2 / 3)  # red by its best name; green asked for as blue


def test_a_task_of_ones_own_reaches_its_copy_on_the_hub(
    toy: Toy, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ibench.datasets import hub

    asked = []
    copy = "{reader: hub, hub: {id: a/b, revision: " + 40 * "a" + ", split: test}}"
    task = write_task(colours.parent / "far.yaml", "far", "image", copy)

    def read_pinned(spec: object, copy: object) -> object:
        asked.append(copy)
        raise package.IbenchError("no network")

    monkeypatch.setattr(hub, "read_pinned", read_pinned)
    with pytest.raises(package.IbenchError, match="no network"):
        package.evaluate(toy("oracle"), [task])
    assert len(asked) == 1


def test_a_copy_is_checked_and_a_miniature_makes_fake_records(ibench: RunIbench, toy: Toy, tmp_path: Path) -> None:
    assert ibench("data", "fake", "esc50", "--out", "noise").returncode == 0
    checked = ibench("data", "check", "esc50", "--data-root", "noise", "--workers", "0")
    assert checked.returncode == 2
    assert "1 missing, 1 unreadable" in checked.stderr
    assert "fake data" in checked.stdout
    listed = ibench("data", "check", "esc50", "--data-root", "noise", "--no-decode")
    assert "not looked at" in listed.stdout
    run = ("run", "--task", "esc50", "--data-root", "noise", "--ckpt", toy("oracle"), "--max-unreadable", "1", "--json")
    (record,) = json.loads(ibench(*run).stdout)
    assert record["fake"]
    (copy,) = (tmp_path / "noise").iterdir()
    (copy / "FAKE-DATA.txt").rename(tmp_path / "noise" / "FAKE-DATA.txt")  # above the copy, inside the root
    (record,) = json.loads(ibench(*run).stdout)
    assert record["fake"]
    assert ibench("data", "check", "--suite", "demo", "--workers", "0").returncode == 0


def test_tasks_over_the_same_samples_read_them_once(
    toy: Toy, colours: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folder is listed once, and a shard is opened once, however many tasks share them."""
    from ibench.datasets import folder
    from ibench.engine.store import EmbeddingStore

    tasks = [colours]
    for name in ("second", "third"):
        tasks.append(write_task(tmp_path / f"{name}.yaml", name, "image", "{reader: folder, path: colours, count: 24}"))
    package.evaluate(toy("oracle"), tasks)
    listed, loaded = [], []
    read, load = folder.read, EmbeddingStore.load
    monkeypatch.setattr(folder, "read", lambda *a: listed.append(a) or read(*a))
    monkeypatch.setattr(EmbeddingStore, "load", lambda store, job: loaded.append(job.title) or load(store, job))
    again = package.evaluate(toy("oracle"), tasks)
    assert [record.score.value for record in again] == [1, 1, 1]
    assert len(listed) == 1
    assert sorted(loaded) == ["3 prompts and captions", "colours image"]


def test_texts_that_another_run_has_encoded_are_not_encoded_again(
    toy: Toy, colours: Path, tones: Path, tmp_path: Path
) -> None:
    """Whichever tasks ask for them: only what is new is, and the scores are those of a store of their own."""
    both = package.evaluate(toy("random"), [colours, tones], store=tmp_path / "fresh")
    store = tmp_path / "used"
    package.evaluate(toy("random"), [colours], store=store)
    jobs = plan(Request(toy("random"), [colours, tones], store=store))
    assert jobs[0].title == "3 prompts and captions (3 more are in the store)"
    after = package.evaluate(toy("random"), [colours, tones], store=store)
    assert [record.measured() for record in after] == [record.measured() for record in both]
    assert [one.held for one in plan(Request(toy("random"), [tones], store=store))] == [3, 12]


def test_a_run_that_found_texts_and_was_cut_short_goes_on_as_if_it_was_not(
    toy: Toy, colours: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every shard has the bytes of an undisturbed run, and none stands there for texts that were held already."""
    monkeypatch.setattr("ibench.engine.plan.SHARD_SIZE", 2)

    def shards(store: Path) -> dict[str, bytes]:
        return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*.safetensors")}

    for place in ("undisturbed", "cut"):
        package.evaluate(toy("random"), [colours], store=tmp_path / place)
    package.evaluate(toy("random"), [colours, tones], store=tmp_path / "undisturbed")
    request = Request(toy("random"), [colours, tones], store=tmp_path / "cut")
    encode(request, Share(1, 3))
    before = shards(tmp_path / "cut")
    assert before.items() < shards(tmp_path / "undisturbed").items()
    package.evaluate(toy("random"), [colours, tones], store=tmp_path / "cut")
    assert shards(tmp_path / "cut") == shards(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("samples", "modality", "pays"),
    [(1999, "image", False), (2000, "image", True), (59, "video", False), (60, "video", True)],
)
def test_workers_are_started_where_they_pay(
    monkeypatch: pytest.MonkeyPatch, samples: int, modality: str, pays: bool
) -> None:
    """What others would import for longer than it decodes is decoded by one that is forked."""
    job = Job("made", Modality(modality), {}, [Item(str(number), str, "") for number in range(samples)], {})
    run = Run(None, [(None, [job])], None)  # type: ignore[arg-type, list-item]
    settings = Settings("cpu", "fp32", 64, 0)
    for system, workers in (("linux", 1), ("darwin", 0)):
        monkeypatch.setattr("sys.platform", system)
        means = means_of(run, settings, None)
        assert (means.workers, means.forked) == ((cores(), False) if pays else (workers, workers == 1))
        assert means_of(run, settings, 0) == Means(workers=0)


def test_no_number_of_workers_is_below_zero(toy: Toy, colours: Path, ibench: RunIbench) -> None:
    with pytest.raises(IbenchError, match="-1 decode processes: at least 0"):
        package.evaluate(toy("random"), [colours], workers=-1)
    assert ibench("run", "--ckpt", toy("random"), "--task", colours, "--workers", -1).returncode == 2


def test_a_decoder_that_crashes_costs_its_sample_where_nobody_says_how_many_workers(
    colours: Path, tmp_path: Path
) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING)
    (record,) = package.evaluate(
        f"{tmp_path / 'crashing.py'}:make", [colours], store=tmp_path / "store", workers=None, max_unreadable=1
    )
    assert list(record.unreadable.values()) == ["decoding crashed its process"]


def test_shards_are_given_out_in_one_way(
    ibench: RunIbench, toy: Toy, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("run", "--ckpt", toy("random"), "--task", colours, "--shards", "0/2")
    done = ibench(*command, "--actors", 2)
    assert (done.returncode, "--actors and --shard-limit are for --engine ray" in done.stderr) == (2, True)
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    done = ibench(*command)
    assert (done.returncode, "run it without --shards" in done.stderr) == (2, True)


@pytest.mark.parametrize(("rank", "ranks"), [("5", "2"), ("", "2"), ("0", "two")])
def test_what_is_no_rank_of_torchrun_is_told(
    ibench: RunIbench, toy: Toy, colours: Path, monkeypatch: pytest.MonkeyPatch, rank: str, ranks: str
) -> None:
    for name, value in (("WORLD_SIZE", ranks), ("RANK", rank), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    done = ibench("run", "--ckpt", toy("random"), "--task", colours)
    assert (done.returncode, f"RANK/WORLD_SIZE {rank}/{ranks}: i/n" in done.stderr) == (2, True)
