"""CLIP_benchmark's own retrieval measure over ready embeddings, in its own environment; prints a line of JSON.

python _in_clip_benchmark.py EMBEDDINGS.npz
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np
import torch
from _measure import Peak, resident
from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k

BATCH_SIZE = 64  # the default of its command line


def main() -> None:
    arrays = np.load(sys.argv[1])
    queries, gallery = torch.from_numpy(arrays["queries"]), torch.from_numpy(arrays["gallery"])
    recalls(queries[:100], gallery[:100])  # what is built at first use
    before = resident(os.getpid())
    started = time.perf_counter()
    with Peak(os.getpid()) as peak:
        recall = recalls(queries, gallery)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "beyond": peak.bytes - before, "recall": recall}))


def recalls(queries: torch.Tensor, gallery: torch.Tensor) -> dict[str, float]:
    """As its `evaluate` goes on once it has the embeddings, in one of its two directions."""
    scores = queries @ gallery.t()
    positive_pairs = torch.zeros_like(scores, dtype=bool)
    positive_pairs[torch.arange(len(scores)), torch.arange(len(scores))] = True
    return {
        f"recall@{k}": (batchify(recall_at_k, scores, positive_pairs, BATCH_SIZE, "cpu", k=k) > 0).float().mean().item()
        for k in (1, 5, 10)
    }


if __name__ == "__main__":
    main()
