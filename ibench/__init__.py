"""Zero-shot evaluation of joint-embedding encoders; see `evaluate`, `compare`, `check`, `load_task`, `load_encoder`."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ibench.api import compare, evaluate, load_encoder
    from ibench.encoders.base import Card, Encoder
    from ibench.encoders.functions import from_functions
    from ibench.errors import IbenchError, UnreadableSample
    from ibench.modalities import DepthMap, ImuWindow, Modality, Video, Waveform
    from ibench.rerun import check
    from ibench.results import Record
    from ibench.tasks import TaskSpec, load_task

# Looked up on first use: `import ibench` and the command line's help must not wait for torch.
_HOMES = {
    "check": "rerun",
    "compare": "api",
    "evaluate": "api",
    "load_encoder": "api",
    "Card": "encoders.base",
    "Encoder": "encoders.base",
    "from_functions": "encoders.functions",
    "IbenchError": "errors",
    "UnreadableSample": "errors",
    "DepthMap": "modalities",
    "ImuWindow": "modalities",
    "Modality": "modalities",
    "Video": "modalities",
    "Waveform": "modalities",
    "Record": "results",
    "TaskSpec": "tasks",
    "load_task": "tasks",
}

__all__ = [
    "Card",
    "DepthMap",
    "Encoder",
    "IbenchError",
    "ImuWindow",
    "Modality",
    "Record",
    "TaskSpec",
    "UnreadableSample",
    "Video",
    "Waveform",
    "check",
    "compare",
    "evaluate",
    "from_functions",
    "load_encoder",
    "load_task",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("ibench-eval")
    if name not in _HOMES:
        raise AttributeError(f"module 'ibench' has no attribute '{name}'")
    return getattr(import_module(f"ibench.{_HOMES[name]}"), name)
