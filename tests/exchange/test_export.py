"""Records in the forms of other programs, read back by those programs' own readers where they are at hand."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import RunIbench
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from made_up import DEMO, demo, esc50

from ibench.baseline import runs
from ibench.errors import IbenchError
from ibench.exchange import mteb, tracking
from ibench.exchange.counterparts import counterparts
from ibench.exchange.model_index import block, into_card
from ibench.exchange.outgoing import export
from ibench.results import Kept, Record, load_all
from ibench.tasks import load_task

# model cards ----------------------------------------------------------------------------------------------------------


def results_of(text: str) -> list[EvalResult]:
    name, results = model_index_to_eval_results(yaml.safe_load(text)["model-index"])
    assert name == "digits-bind"
    return results


def test_the_hub_reads_every_metric_of_every_record_in_percent_with_its_interval() -> None:
    records = load_all(DEMO)
    found = {(one.dataset_type, one.metric_name): one for one in results_of(block(records))}
    assert len(found) == sum(len(record.own_metrics) for record in records)
    for record in records:
        for name, metric in record.own_metrics.items():
            one = found[record.task, f"{name} ({record.protocol})"]
            scale = 1 if "rank" in name else 100
            told = [one.metric_value, one.metric_args["low"], one.metric_args["high"]]
            assert told == pytest.approx([scale * end for end in (metric.value, metric.low, metric.high)], abs=1e-2)
            assert one.metric_args["emergent"] == record.emergent


def test_the_data_set_of_the_hub_is_named_only_where_its_copy_was_read() -> None:
    (local, *_) = results_of(block([demo()]))
    (hub, *_) = results_of(block([demo(dataset_copy="hub mteb/esc50@31ea534771aa")]))
    assert (local.dataset_type, local.dataset_revision) == ("digits", None)
    assert (hub.dataset_type, hub.dataset_revision) == ("mteb/esc50", "31ea534771aa")


CARD = """---
license: mit
model-index:
- name: digits-bind
  results:
  - task:
      type: zero-shot-image-classification
    dataset:
      name: Somebody's digits
      type: somebody/digits
    metrics:
    - type: accuracy
      value: 12.5
tags:
- digits
---
# A model

The first `---` of its own text:

---
"""


def test_a_model_card_keeps_all_else_and_takes_the_same_records_once() -> None:
    once = into_card(CARD, [demo()])
    assert into_card(once, [demo()]) == once
    card, before = ModelCard(once), ModelCard(CARD)
    assert card.text == before.text
    assert (card.data.license, card.data.tags) == ("mit", ["digits"])
    assert card.data.eval_results[0] == before.data.eval_results[0]
    assert len(card.data.eval_results) == 1 + len(demo().metrics)


def test_what_is_measured_again_replaces_what_stood_there() -> None:
    better = demo(metrics={"top1": demo().score.model_copy(update={"value": 0.5})})
    results = ModelCard(into_card(into_card(CARD, [demo()]), [better])).data.eval_results
    assert [one.metric_value for one in results] == [12.5, 50.0]


def test_a_text_without_front_matter_gets_one() -> None:
    assert ModelCard(into_card("# A model\n", [demo()])).text.endswith("# A model\n")
    assert len(ModelCard(into_card("", [demo()])).data.eval_results) == 3


@pytest.mark.parametrize("front", ["a: [", "model-index: [{name: x}]", "- a list"])
def test_front_matter_that_cannot_be_read_is_refused(front: str) -> None:
    with pytest.raises(IbenchError, match="front matter of the model card cannot be read"):
        into_card(f"---\n{front}\n---\n", [demo()])


def test_a_card_is_of_one_model() -> None:
    other = demo(encoder=demo().encoder.model_copy(update={"name": "other"}))
    with pytest.raises(IbenchError, match=r"records of 2: digits-bind 698e99bc, other 698e99bc"):
        export([Kept(demo()), Kept(other)], "model-index", None)


# what is not published ------------------------------------------------------------------------------------------------

UNFIT: dict[str, dict[str, Any]] = {
    "fake data": {"fake": True},
    "limited to 10 samples": {"limited": 10},
    "3 samples unreadable": {"n_unreadable": 3, "n": 794},
    "partial": {"n": 700},
    "not a number": {"metrics": {"top1": demo().score.model_copy(update={"value": float("nan")})}},
}


@pytest.mark.parametrize("why", UNFIT)
def test_what_no_ranking_takes_is_left_out_with_the_reason(why: str) -> None:
    done = export([Kept(demo(**UNFIT[why])), Kept(demo("spoken_digits"))], "model-index", None)
    assert [one.dataset_type for one in results_of(done.text)] == ["spoken_digits"] * 3
    (told,) = done.left_out
    assert told.startswith("digits-bind on digits (ibench): ")
    assert why in told


@pytest.mark.parametrize("to", ["model-index", "mteb"])
def test_when_all_are_left_out_nothing_is_written(to: str, tmp_path: Path) -> None:
    with pytest.raises(IbenchError, match=r"nothing to export: .*fake data"):
        export([Kept(demo(fake=True))], to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# mteb -----------------------------------------------------------------------------------------------------------------


def test_counterparts_are_what_the_task_files_say() -> None:
    for theirs in counterparts().mteb.tasks.values():
        spec = load_task(theirs.task)
        hub = spec.dataset.hub
        assert hub is not None
        assert (hub.id, hub.revision, hub.split) == (theirs.dataset, theirs.revision, theirs.split)
        assert theirs.protocol in spec.protocols
    for near in counterparts().mteb.near.values():
        load_task(near.task)


def test_a_result_of_mteb_has_the_shape_and_the_scores_that_mteb_gives(tmp_path: Path) -> None:
    record = esc50(tmp_path / "runs", right=30, n=40)
    done = export(runs(tmp_path / "runs"), "mteb", tmp_path / "out")
    path = Path(done.text)
    assert path == tmp_path / "out" / "digits-bind" / str(record.encoder.checkpoint_sha256) / "ESC50_Zeroshot.json"
    result = json.loads(path.read_text())
    ((split, (scores,)),) = result["scores"].items()
    assert (result["task_name"], split) == ("ESC50_Zeroshot", "train")
    assert (scores["hf_subset"], scores["languages"]) == ("default", ["zxx-Zxxx"])
    # ten samples of each class; of the last ten, one more is wrong where two classes have three and two have two
    wrong = [2, 2, 3, 3]  # 30 to 39 by class: 2, 3, 0, 1, 2, 3, 0, 1, 2, 3
    assert scores["main_score"] == scores["accuracy"] == 0.75
    assert scores["recall"] == pytest.approx(sum(1 - one / 10 for one in wrong) / 4)
    precision = [(10 - own) / (10 - own + before) for own, before in zip(wrong, [3, 2, 2, 3], strict=True)]
    assert scores["precision"] == pytest.approx(sum(precision) / 4)
    assert json.loads((path.parent / "model_meta.json").read_text())["name"] == "digits-bind"


def test_mteb_itself_reads_it(tmp_path: Path) -> None:
    task_result = pytest.importorskip("mteb.results").TaskResult
    esc50(tmp_path / "runs", right=30, n=40)
    path = Path(export(runs(tmp_path / "runs"), "mteb", tmp_path / "out").text)
    assert task_result.from_disk(path, load_historic_data=False).get_score() == 0.75


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"protocol": "clap"}, "mteb's ESC50_Zeroshot is by another protocol; run it with --protocol mteb"),
        ({"dataset_copy": "ESC-50 folder"}, "this of another copy (ESC-50 folder); run it without --data-root"),
        ({"task": "urbansound8k"}, "another task: it takes a stratified sample of 2,048 of the 8,732 sounds"),
        ({"task": "nyu_depth"}, "mteb has no task of the same samples, prompts and metric"),
    ],
)
def test_one_line_says_why_a_record_is_no_result_of_mteb(changes: dict[str, Any], why: str) -> None:
    told: dict[str, Any] = {"task": "esc50", "protocol": "mteb", "dataset_copy": "hub mteb/esc50@31ea534771aa"}
    assert mteb.why_not(demo(**told)) is None
    assert why in str(mteb.why_not(demo(**{**told, **changes})))


def test_two_records_of_one_file_are_refused(tmp_path: Path) -> None:
    esc50(tmp_path / "runs")
    esc50(tmp_path / "runs", dtype="bf16")
    with pytest.raises(IbenchError, match="two records would be"):
        export(runs(tmp_path / "runs"), "mteb", tmp_path / "out")


# trackers -------------------------------------------------------------------------------------------------------------


def fake_wandb(told: dict[str, Any]) -> ModuleType:
    """What is used of W&B, keeping what it is told."""
    run = SimpleNamespace(offline=True, dir="there/files", url=None, log=told.update, finish=lambda: None)
    module = ModuleType("wandb")
    module.Error = type("Error", (Exception,), {})  # type: ignore[attr-defined]
    module.Settings = SimpleNamespace  # type: ignore[attr-defined]
    module.init = lambda **options: told.update(options=options) or run  # type: ignore[attr-defined, func-returns-value]
    return module


def fake_mlflow(told: dict[str, Any]) -> ModuleType:
    """What is used of MLflow, keeping what it is told."""
    module = ModuleType("mlflow")

    @contextmanager
    def start_run(run_name: str) -> Any:
        told["run"] = run_name
        yield SimpleNamespace(info=SimpleNamespace(run_id="7"))

    used: dict[str, Any] = {
        "exceptions": SimpleNamespace(MlflowException=type("MlflowException", (Exception,), {})),
        "set_experiment": lambda name: told.update(experiment=name),
        "start_run": start_run,
        "log_params": lambda params: told.update(params=params),
        "log_metrics": told.update,
        "log_dict": lambda data, path: told.update({path: data}),
        "set_tag": lambda key, value: told.update({key: value}),
        "get_tracking_uri": lambda: "somewhere",
    }
    for name, value in used.items():
        setattr(module, name, value)
    return module


def exported(module: ModuleType, records: list[Record], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return export([Kept(record) for record in records], module.__name__, None).text


def test_wandb_is_told_all_numbers_and_where_they_are_from(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    record = demo(limited=10)
    assert exported(fake_wandb(told), [record, demo("spoken_digits")], monkeypatch) == "there"
    assert told["digits.ibench.limit10/top1"] == record.score.value
    assert told["digits.ibench.limit10/top1_low"] == record.score.low
    assert told["spoken_digits.ibench/top5_high"] == demo("spoken_digits").metrics["top5"].high
    config = told["options"]["config"]
    assert config["encoder"]["checkpoint_sha256"] == record.encoder.checkpoint_sha256
    assert config["records"]["digits.ibench.limit10"]["dataset_fingerprint"] == record.dataset_fingerprint
    assert config["records"]["digits.ibench.limit10"]["not_ranked"] == ["limited to 10 samples"]
    assert told["options"]["tags"] == ["not ranked"]


def test_mlflow_is_told_all_numbers_and_keeps_the_records_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    record = demo("spoken_digits_retrieval", fake=True)
    assert exported(fake_mlflow(told), [record], monkeypatch) == "run 7 in somewhere"
    assert told["spoken_digits_retrieval.ibench/recall_at_5"] == record.metrics["recall@5"].value
    assert told["params"]["checkpoint_sha256"] == record.encoder.checkpoint_sha256
    assert Record.model_validate(told["records/spoken_digits_retrieval.ibench.json"]) == record
    assert told["not_ranked.spoken_digits_retrieval.ibench"] == "made of fake data"


def test_a_run_for_each_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    other = demo(encoder=demo().encoder.model_copy(update={"name": "other"}))
    text = exported(fake_mlflow({}), [demo(), other, demo("spoken_digits")], monkeypatch)
    assert text.splitlines() == ["run 7 in somewhere"] * 2


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(IbenchError, match=rf"pip install 'ibench-eval\[{name}\]'"):
        tracking.tracker(name)


def test_what_the_tracker_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_wandb({})

    def refuse(**options: Any) -> None:
        raise module.Error("no API key")

    module.init = refuse  # type: ignore[attr-defined]
    with pytest.raises(IbenchError, match="W&B: no API key"):
        exported(module, [demo()], monkeypatch)


@pytest.mark.slow
def test_wandb_itself_writes_a_run_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    done = export(runs(DEMO), "wandb", tmp_path / "wandb")
    (log,) = Path(done.text).glob("*.wandb")
    assert b"digits.ibench/top1_low" in log.read_bytes()


@pytest.mark.slow
def test_mlflow_itself_writes_a_run_into_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    export(runs(DEMO), "mlflow", tmp_path / "mlflow")
    (run,) = mlflow.search_runs(experiment_names=["ibench"], output_format="list")
    assert run.data.metrics["digits.ibench/top1"] == demo().score.value
    assert len(list((tmp_path / "mlflow" / "artifacts").rglob("*.ibench.json"))) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow"]


# the command ----------------------------------------------------------------------------------------------------------


def test_the_command_prints_a_block_or_writes_a_card(ibench: RunIbench, tmp_path: Path) -> None:
    printed = ibench("export", DEMO, "--to", "model-index")
    assert printed.returncode == 0
    written = ibench("export", DEMO, "--to", "model-index", "--out", "README.md")
    assert written.stdout == "README.md\n"
    card = ModelCard((tmp_path / "README.md").read_text())
    assert yaml.safe_load(printed.stdout) == {"model-index": card.data.to_dict()["model-index"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "model-indx"], "did you mean model-index"),
        (["--to", "mteb"], "name a folder for them with --out"),
        (["nowhere", "--to", "mteb"], "nowhere: no such file or folder"),
        (["--to", "model-index", "--out", "."], ".: no model card, such as README.md"),
        (["--to", "model-index", "--out", DEMO / "digits.ibench.parquet"], "parquet: no model card"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], said: str, ibench: RunIbench) -> None:
    done = ibench("export", DEMO, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
