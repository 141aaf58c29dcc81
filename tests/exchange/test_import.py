"""Results of other programs as published rows."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import RunIbench
from made_up import DEMO, esc50

from ibench.baseline import runs
from ibench.errors import IbenchError
from ibench.exchange.counterparts import counterparts
from ibench.exchange.incoming import import_results, read
from ibench.exchange.outgoing import export
from ibench.results import Published, published, published_in
from ibench.tasks import METRICS, load_task

SOURCE = "a run of ours, 2026"

MTEB: dict[str, Any] = {  # as TaskResult.to_disk of mteb 2.26.24 writes it
    "dataset_revision": "31ea534771aaf92c116698355e5cdc2ffda4bb6d",
    "task_name": "ESC50_Zeroshot",
    "mteb_version": "2.26.24",
    "scores": {
        "train": [
            {
                "accuracy": 0.18,
                "f1": 0.176604,
                "recall": 0.166667,
                "ap": None,
                "main_score": 0.18,
                "hf_subset": "default",
                "languages": ["zxx-Zxxx"],
                "mteb_version": "2.26.24",
            }
        ]
    },
    "evaluation_time": 1.5,
    "date": None,
}
CLIP: dict[str, Any] = {  # as the cli of CLIP_benchmark 1.6.1 dumps it
    "dataset": "wds/imagenet1k",
    "model": "ViT-B-32",
    "pretrained": "laion2b_s34b_b79k",
    "task": "zeroshot_classification",
    "metrics": {"acc1": 0.66556, "acc5": 0.89816, "mean_per_class_recall": 0.6654},
    "language": "en",
}
LM_EVAL: dict[str, Any] = {  # as lm-evaluation-harness 0.4.13 writes it
    "results": {
        "esc50": {"alias": "esc50", "acc,none": 0.5, "acc_stderr,none": 0.01, "acc_norm,none": 0.4},
        "coco_retrieval": {"recall@1,none": 0.25, "reverse_recall@5,none": 0.75},
        "hellaswag": {"acc,none": 0.3},
    },
    "n-shot": {"esc50": 0},
    "n-samples": {"esc50": {"original": 2000, "effective": 2000}},
    "config": {"model": "hf", "model_args": "pretrained=org/name,dtype=float", "limit": None},
    "model_name": "org/name",
}


def changed(data: dict[str, Any], *path: str, to: Any) -> dict[str, Any]:
    """A copy of nested data with another value at a path."""
    new = copy.deepcopy(data)
    at: Any = new
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return new


def written(data: object, folder: Path, name: str = "result.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(data))
    return path


def imported(data: object, folder: Path, model: str | None = None) -> list[tuple[Any, ...]]:
    done = import_results([written(data, folder)], SOURCE, model, folder / "rows")
    assert all(row.source == SOURCE for row in done.rows)
    return [(row.task, row.model, row.protocol, row.metric, row.value) for row in done.rows]


# the three forms ------------------------------------------------------------------------------------------------------


def test_mteb(tmp_path: Path) -> None:
    written({"name": "org/model"}, tmp_path, "model_meta.json")
    assert imported(MTEB, tmp_path) == [
        ("esc50", "org/model", "mteb", "top1", 18.0),
        ("esc50", "org/model", "mteb", "mean_per_class_recall", 16.6667),
    ]


def test_a_model_without_a_name_has_none(tmp_path: Path) -> None:
    written({"name": None}, tmp_path, "model_meta.json")
    with pytest.raises(IbenchError, match="name it with --model"):
        imported(MTEB, tmp_path)


def test_what_is_exported_to_mteb_comes_back_as_it_was(tmp_path: Path) -> None:
    record = esc50(tmp_path / "runs", right=30, n=40)
    path = export(runs(tmp_path / "runs"), "mteb", tmp_path / "out").text
    top1, _ = import_results([Path(path)], SOURCE, None, tmp_path / "rows").rows
    assert top1 == Published("esc50", "digits-bind", "mteb", "top1", 100 * record.score.value, SOURCE)


def test_clip_benchmark(tmp_path: Path) -> None:
    assert imported(CLIP, tmp_path) == [
        ("imagenet1k", "ViT-B-32 laion2b_s34b_b79k", "clip", "top1", 66.556),
        ("imagenet1k", "ViT-B-32 laion2b_s34b_b79k", "clip", "top5", 89.816),
        ("imagenet1k", "ViT-B-32 laion2b_s34b_b79k", "clip", "mean_per_class_recall", 66.54),
    ]


def test_clip_benchmark_finds_images_by_text_and_texts_by_image(tmp_path: Path) -> None:
    retrieval = {
        **CLIP,
        "dataset": "mscoco_captions",
        "task": "zeroshot_retrieval",
        "pretrained": "/runs/epoch_3.pt",
        "metrics": {"image_retrieval_recall@5": 0.25, "text_retrieval_recall@5": 0.5},
    }
    assert imported(retrieval, tmp_path) == [
        ("coco_retrieval", "ViT-B-32 epoch_3.pt", "clip-benchmark", "recall@5", 25.0),
        ("coco_retrieval", "ViT-B-32 epoch_3.pt", "clip-benchmark", "reverse_recall@5", 50.0),
    ]
    assert str(load_task("coco_retrieval").query) == "text"  # an image is found by a text


def test_lm_eval(tmp_path: Path) -> None:
    assert imported(LM_EVAL, tmp_path) == [
        ("esc50", "org/name", "own", "top1", 50.0),
        ("coco_retrieval", "org/name", "own", "recall@1", 25.0),
        ("coco_retrieval", "org/name", "own", "reverse_recall@5", 75.0),
    ]


@pytest.mark.parametrize(
    ("left", "name"),
    [
        ({"model_name": "a"}, "a"),
        ({}, "org/name"),
        ({"config": {"model": "Own"}}, "Own"),
        ({"config": {}}, None),
        ({"config": {"model_args": ["pretrained=a"], "model": "Own"}}, "Own"),
    ],
)
def test_lm_eval_names_its_model_in_one_of_three_places(left: dict[str, Any], name: str, tmp_path: Path) -> None:
    data = {**LM_EVAL, "model_name": None, **left}
    assert read(written(data, tmp_path)).model == name


def test_counterparts_are_tasks_and_metrics_of_ibench() -> None:
    table = counterparts()
    for theirs in table.clip_benchmark.tasks.values():
        known = METRICS[load_task(theirs.task).kind]
        named = set(table.clip_benchmark.metrics.values())
        assert named & set(known), theirs.task
        assert theirs.protocol.split(" (")[0] in load_task(theirs.task).protocols
    every = {metric for metrics in METRICS.values() for metric in metrics}
    assert {
        *table.mteb.metrics.values(),
        *table.clip_benchmark.metrics.values(),
        *table.lm_eval.metrics.values(),
    } <= every


# what is left out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (MTEB, "ESC50_Zeroshot: ibench has no ap, f1"),
        (changed(MTEB, "scores", "test", to=[{"main_score": 1}]), "split test is another"),
        (changed(CLIP, "metrics", "acc5", to=float("nan")), "acc5 is no fraction of 1 (nan)"),
        (changed(CLIP, "metrics", "acc5", to=89.8), "acc5 is no fraction of 1 (89.8)"),
        (changed(CLIP, "metrics", "acc5", to=True), "acc5 is no fraction of 1 (True)"),
        (LM_EVAL, "no tasks of ibench: hellaswag"),
        (LM_EVAL, "esc50: ibench has no acc_norm"),
        (changed(LM_EVAL, "n-shot", "esc50", to=5), "esc50: 5 examples in the prompt"),
        (changed(LM_EVAL, "n-samples", "esc50", "effective", to=10), "esc50: 10 of 2000 samples"),
    ],
)
def test_what_is_left_out_is_told(data: dict[str, Any], why: str, tmp_path: Path) -> None:
    done = import_results([written(data, tmp_path)], SOURCE, "a model", tmp_path / "rows")
    assert done.rows
    assert any(why in told for told in done.left_out), done.left_out


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (changed(MTEB, "task_name", to="UrbanSound8kZeroshot"), "takes a stratified sample"),
        (changed(MTEB, "task_name", to="STS12"), "STS12: no task of ibench is the same"),
        (changed(MTEB, "dataset_revision", to="other"), "is of revision other of mteb/esc50"),
        (changed(CLIP, "dataset", to="wds/food101"), "wds/food101: no task of ibench is the same"),
        (changed(CLIP, "task", to="linear_probe"), "linear_probe in 'en', where ibench has zeroshot_classification"),
        (changed(CLIP, "language", to="it"), "zeroshot_classification in 'it'"),
        (changed(LM_EVAL, "config", "limit", to=10), "a run of 10 samples (limit)"),
        ({"results": {}}, "empty files"),
        # no result at all
        ({}, "no result of mteb (task_name, scores), CLIP_benchmark (dataset, metrics) or lm-eval (results)"),
        ([1], "no result of mteb"),
        ({"task_name": "ESC50_Zeroshot", "scores": 1}, "not a result of mteb: dataset_revision: Field required"),
        ({"dataset": "x", "metrics": []}, "not a result of CLIP_benchmark: model: Field required"),
        ({"results": {"esc50": 1}}, "not a result of lm-eval: results.esc50"),
    ],
)
def test_a_file_without_a_row_is_refused_in_one_line(data: object, why: str, ibench: RunIbench, tmp_path: Path) -> None:
    done = ibench("import", written(data, tmp_path), "--source", SOURCE, "--model", "a model")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert why in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, None])
def test_what_is_no_json_is_refused_in_one_line(content: bytes | None, ibench: RunIbench, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    if content is not None:
        path.write_bytes(content)
    done = ibench("import", path, "--source", SOURCE)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "cannot be read as JSON" in done.stderr


def test_the_model_and_the_source_must_be_told(tmp_path: Path) -> None:
    with pytest.raises(IbenchError, match="name it with --model"):
        import_results([written(MTEB, tmp_path)], SOURCE, None, tmp_path)
    with pytest.raises(IbenchError, match="--source: say where"):
        import_results([written(MTEB, tmp_path)], "  ", "a model", tmp_path)


# rows that are there already ------------------------------------------------------------------------------------------


def test_a_row_is_imported_once_and_nothing_is_written_beside_a_repeated_one(tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    import_results([written(MTEB, tmp_path)], SOURCE, "a model", rows)
    before = (rows / "esc50.csv").read_bytes()
    files = [written(CLIP, tmp_path, "other.json"), written(MTEB, tmp_path)]
    with pytest.raises(IbenchError, match=r"a top1 of a model by mteb already: 18 \(a run of ours, 2026\)"):
        import_results(files, "another", "a model", rows)
    assert [path.name for path in rows.iterdir()] == ["esc50.csv"]
    assert (rows / "esc50.csv").read_bytes() == before


def test_numbers_that_come_with_ibench_are_not_imported_again(tmp_path: Path) -> None:
    known = next(row for row in published() if (row.task, row.protocol, row.metric) == ("cifar10", "clip", "top1"))
    with pytest.raises(IbenchError, match="already"):
        imported({**CLIP, "dataset": "cifar10"}, tmp_path, model=known.model)


def test_rows_are_added_below_what_a_person_wrote(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    own = 'task,model,protocol,metric,value,source\nesc50,"one, two",own,top1,99,by hand'
    (tmp_path / "rows" / "esc50.csv").write_text(own)
    imported(MTEB, tmp_path, model='a "model"')
    assert (tmp_path / "rows" / "esc50.csv").read_text().startswith(own + "\n")
    assert [(row.model, row.value) for row in published_in(tmp_path / "rows")] == [
        ("one, two", 99.0),
        ('a "model"', 18.0),
        ('a "model"', 16.6667),
    ]


# where they are shown -------------------------------------------------------------------------------------------------

OWN = "task,model,protocol,metric,value,source\ndigits,somebody's,ibench,top1,{value},their page\n"


def test_imported_rows_stand_beside_what_is_measured(
    ibench: RunIbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results" / "published").mkdir(parents=True)
    (tmp_path / "results" / "published" / "digits.csv").write_text(OWN.format(value=97))
    assert "97.0 (somebody's)" in ibench("demo").stdout
    assert ibench("leaderboard", DEMO, "--out", "board").returncode == 0
    assert "their page" in (tmp_path / "board" / "demo" / "README.md").read_text()
    assert "their page" in (tmp_path / "board" / "index.html").read_text()
    assert "their page" in ibench("compare", DEMO, DEMO).stdout
    monkeypatch.setenv("IBENCH_PUBLISHED", str(tmp_path / "elsewhere"))
    assert "somebody's" not in ibench("demo").stdout


def test_the_default_place_of_an_import_is_where_tables_look(ibench: RunIbench, tmp_path: Path) -> None:
    done = ibench("import", written(MTEB, tmp_path), "--source", SOURCE, "--model", "a model")
    assert done.stdout.splitlines()[0] == "results/published/esc50.csv: top1 18 of a model (mteb)"
    assert Published("esc50", "a model", "mteb", "top1", 18.0, SOURCE) in published()
    assert "left out: " in done.stderr


def test_each_row_that_comes_with_ibench_counts_once_in_its_own_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = published()
    monkeypatch.chdir(Path(__file__).parents[2])
    assert published() == shipped


def test_a_table_from_a_spreadsheet_begins_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "digits.csv").write_text("\ufeff" + OWN.format(value="91.5").replace("\n", "\r\n"))
    assert [row.value for row in published_in(tmp_path)] == [91.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task,model\nesc50,a\n", "digits.csv:1: expected the columns task,model,protocol,metric,value,source"),
        (OWN.format(value="high"), "digits.csv:2: value 'high' is no number"),
        (OWN.format(value="nan"), "digits.csv:2: value 'nan' is no number"),
        (OWN.format(value="inf"), "digits.csv:2: value 'inf' is no number"),
        (OWN.format(value="1,2"), "digits.csv:2: expected 6 values"),
        ("task,model,protocol,metric,value,source\ndigits\n", "digits.csv:2: expected 6 values"),
        ("", "digits.csv:1: expected the columns"),
    ],
)
def test_a_table_with_a_fault_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "digits.csv").write_text(text)
    with pytest.raises(IbenchError) as refused:
        published_in(tmp_path)
    assert said in str(refused.value)
