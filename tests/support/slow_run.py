"""Encode 4,000 texts into a store: ``slow_run.py FOLDER SECONDS_PER_SAMPLE WORKERS``. For tests that kill it."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

from toy_encoder import make_random

from ibench.datasets import Item
from ibench.engine.encode import Means, encode_missing
from ibench.engine.plan import Job
from ibench.engine.store import EmbeddingStore
from ibench.modalities import Modality
from ibench.report.progress import Silent


def slowly(text: str, seconds: float) -> str:
    time.sleep(seconds)
    return text


if __name__ == "__main__":
    folder, seconds, workers = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    items = [Item(str(i), partial(slowly, f"text {i}", seconds), str(i)) for i in range(4000)]
    job = Job("slow", Modality.TEXT, {}, items, {"samples": "4000 texts"})
    encode_missing([job], EmbeddingStore(folder), lambda: make_random("cpu", "fp32"), Means(workers=workers), Silent())
