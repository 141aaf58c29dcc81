"""COCO Captions, Karpathy's test split: 5,000 pictures of ``val2014/`` with 25,010 captions.

The captions come as ``coco_test_karpathy.json`` in COCO's own format (github.com/mehdidc/retrieval_annotations, what
CLIP_benchmark reads) or as Karpathy's ``dataset_coco.json`` (cs.stanford.edu/people/karpathy/deepimagesent).
"""

from __future__ import annotations

from pathlib import Path

from ibench.datasets._captions import captioned, coco_json, karpathy_json
from ibench.datasets.base import Dataset
from ibench.tasks import TaskSpec

MARKER = ("coco_test_karpathy.json", "dataset_coco.json")


def read(spec: TaskSpec, root: Path) -> Dataset:
    """All captions of every test picture, of which a few have more than five. Raises IbenchError for unfit JSON."""
    table = root / "coco_test_karpathy.json"
    captions = coco_json(table) if table.is_file() else karpathy_json(root / "dataset_coco.json", "test")
    return captioned(spec, root / "val2014", captions, copy="COCO val2014 folder")
