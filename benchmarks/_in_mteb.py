"""What the benchmarks run of mteb, in mteb's own environment; each prints a line of JSON.

python _in_mteb.py WORKLOAD zeroshot [--dtype bf16] [--workers N] [--cache DIR]
python _in_mteb.py retrieval EMBEDDINGS.npz
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Peak, resident


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("given", type=Path)
    parser.add_argument("what", choices=["zeroshot", "retrieval"])
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="keep embeddings with mteb's cached wrapper")
    parser.add_argument(
        "--k", type=int, nargs="+", default=[1, 3, 5, 10, 20, 100, 1000], help="as mteb's own tasks have"
    )
    given = parser.parse_args()
    print(json.dumps({"zeroshot": zeroshot, "retrieval": retrieval}[given.what](given)))


def zeroshot(given: argparse.Namespace) -> dict[str, Any]:
    """All tasks in one call of `mteb.evaluate`: accuracy of each, and the seconds after the imports."""
    import mteb
    from mteb.models.cache_wrappers import CachedEmbeddingWrapper

    started = time.perf_counter()
    model = _model(given.given / "vit_b_32.pt", given.dtype)
    if given.cache:
        model = CachedEmbeddingWrapper(model, given.cache)
    tasks = _tasks(given.given)
    results = mteb.evaluate(
        model,
        tasks,
        encode_kwargs={"batch_size": given.batch_size, "show_progress_bar": False},
        cache=None,
        num_proc=given.workers or None,
        co2_tracker=False,
        show_progress_bar=False,
    )
    scores = {result.task_name: result.get_score() for result in results}
    return {"accuracies": scores, "seconds": time.perf_counter() - started}


def _model(checkpoint: Path, dtype: str) -> Any:
    """mteb's own open_clip model over a local checkpoint: mteb knows names on the hub only, and no dtype."""
    import open_clip
    import torch
    from mteb.models.model_implementations import openclip_models

    create, tokenizer = open_clip.create_model_and_transforms, open_clip.get_tokenizer
    precision, floats = {"fp32": ("fp32", torch.float32), "bf16": ("pure_bf16", torch.bfloat16)}[dtype]

    def local(name: str, **settings: Any) -> Any:
        made, train, transform = create("ViT-B-32", pretrained=str(checkpoint), precision=precision, **settings)
        return made, train, lambda image: transform(image).to(floats)

    open_clip.create_model_and_transforms, open_clip.get_tokenizer = local, lambda name: tokenizer("ViT-B-32")
    return openclip_models.CLIP_ViT_B_32_laion2B_s34B_b79K.load_model(device="cpu")


def _tasks(folder: Path) -> list[Any]:
    from datasets import Dataset, DatasetDict, Image
    from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification

    rows = list(csv.DictReader((folder / "labels.csv").open()))
    paths = [str(folder / row["path"]) for row in rows]

    def task(name: str, classes: list[str], template: str) -> Any:
        class Local(AbsTaskZeroShotClassification):
            metadata = _metadata(name, "ZeroShotClassification", "i2t", ["text", "image"], "accuracy")

            def load_data(self, **_: Any) -> None:
                labels = [classes.index(row[name]) for row in rows]
                table = Dataset.from_dict({"image": paths, "label": labels}).cast_column("image", Image())
                self.dataset = DatasetDict({"test": table})
                self.data_loaded = True

            def get_candidate_labels(self) -> list[str]:
                return [template.format(name) for name in classes]

        return Local()

    described = json.loads((folder / "tasks.json").read_text())
    return [task(name, about["classes"], about["template"]) for name, about in described.items()]


def retrieval(given: argparse.Namespace) -> dict[str, Any]:
    """mteb's search and measures over embeddings that are there already: recall@k, seconds, and bytes held for it."""
    arrays = np.load(given.given)
    queries, gallery = arrays["queries"], arrays["gallery"]
    _recall(queries[:100], gallery[:100], [1, 5, 10])  # what is imported or built at first use
    before = resident(os.getpid())
    started = time.perf_counter()
    with Peak(os.getpid()) as peak:
        recall = _recall(queries, gallery, given.k)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "beyond": peak.bytes - before, "recall": recall}


def _recall(queries: Any, gallery: Any, k: list[int]) -> dict[str, float]:
    from datasets import Dataset
    from mteb._evaluators import RetrievalEvaluator
    from mteb.models.search_wrappers import SearchEncoderWrapper
    from mteb.similarity_functions import cos_sim
    from mteb.timing import TimingStack
    from mteb.types import PromptType

    vectors = {PromptType.query: queries, PromptType.document: gallery}

    class Ready:
        """An encoder that has the vectors already."""

        mteb_model_meta = None
        similarity = similarity_pairwise = staticmethod(cos_sim)

        def encode(self, inputs: Any, *, prompt_type: PromptType, **_: Any) -> Any:
            return vectors[prompt_type]

    asked, corpus = (
        Dataset.from_dict({"id": names, "text": names})
        for names in ([str(row) for row in range(len(side))] for side in (queries, gallery))
    )
    evaluator = RetrievalEvaluator(
        corpus,
        asked,
        task_metadata=_metadata("retrieval", "Retrieval", "t2t", ["text"], "recall_at_1"),
        hf_split="test",
        hf_subset="default",
        top_k=max(k),
        timer=TimingStack(),
    )
    found = evaluator(SearchEncoderWrapper(Ready()), {"batch_size": 64, "show_progress_bar": False})
    scores = evaluator.evaluate({name: {name: 1} for name in asked["id"]}, found, k)
    return {f"recall@{at}": scores.recall[f"Recall@{at}"] for at in (1, 5, 10)}


def _metadata(name: str, kind: str, category: str, modalities: list[str], score: str) -> Any:
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        dataset={"path": "local", "revision": "1"},
        name=name,
        description=name,
        type=kind,
        category=category,
        modalities=modalities,
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=score,
    )


if __name__ == "__main__":
    main()
