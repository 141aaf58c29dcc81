"""The ``model-index`` block of a model card on the Hugging Face hub, through `huggingface_hub`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ibench.errors import IbenchError
from ibench.modalities import pair_name
from ibench.results import Record
from ibench.scoring.intervals import Metric
from ibench.tasks import MATCHING, Kind, lower_is_better, points

_ACCURACY = {"top1": "accuracy"}  # the hub's name; the others go by ibench's
_BY = "ibench"


def block(records: Sequence[Record]) -> str:
    """The records of one encoder as the YAML of a ``model-index``."""
    return ModelCardData(model_name=_name(records), eval_results=_results(records)).to_yaml()


def into_card(card: str, records: Sequence[Record]) -> str:
    """A model card (the text of a README.md) with the records in its front matter.

    What else is there stays, results of others included; what ibench wrote before of the same data is replaced.
    Comments in the front matter are lost. Raises IbenchError for front matter that cannot be read.
    """
    if not re.match(r"\s*---\s*$", card, re.MULTILINE):
        card = f"---\n\n---\n{card}"
    try:
        parsed = ModelCard(card)
    except Exception as error:  # YAML's, or what the library finds in a model-index that is none
        reason = str(error).splitlines()[0]
        raise IbenchError(f"the front matter of the model card cannot be read: {reason}") from error
    data = parsed.data
    assert isinstance(data, ModelCardData)
    ours = _results(records)
    replaced = {one.unique_identifier for one in ours}
    others = [one for one in data.eval_results or [] if not (_is_ours(one) and one.unique_identifier in replaced)]
    data.model_name = data.model_name or _name(records)
    data.eval_results = others + ours
    return str(parsed)


def _results(records: Sequence[Record]) -> list[EvalResult]:
    return [
        _result(record, name, metric)
        for record in records
        for name, metric in sorted(record.own_metrics.items(), key=lambda one: one[0] != record.headline)
    ]


def _result(record: Record, name: str, metric: Metric) -> EvalResult:
    """One metric: shares in percent; the protocol in its name, for the hub shows no more."""
    scale, digits = points(name), 2 if lower_is_better(name) else 4
    low, high = (round(scale * end, digits) for end in (metric.low, metric.high))
    hub = re.fullmatch(r"hub (?P<id>\S+)@(?P<revision>[0-9a-f]+)", record.dataset_copy)
    told = {
        "protocol": record.protocol,
        "low": low,
        "high": high,
        "confidence": 0.95,
        "samples": metric.n,
        "emergent": record.emergent,
        "task_version": record.task_version,
        "measured_by": f"{_BY} {record.versions.get('ibench-eval', '')}".strip(),
    }
    how = ", ".join(part for part in (record.protocol, record.arithmetic) if part)
    return EvalResult(
        task_type=_task_type(record),
        task_name=f"{record.kind}, {pair_name(record.query, record.target, record.fuse).replace('→', ' to ')}",
        dataset_type=hub["id"] if hub else record.task,
        dataset_name=record.title or record.task,
        dataset_revision=hub["revision"] if hub else None,
        metric_type=_ACCURACY.get(name, name),
        metric_name=f"{name} ({how})",
        metric_value=round(scale * metric.value, digits),
        metric_args=told,
    )


def _task_type(record: Record) -> str:
    """As the hub names such tasks: zero-shot-image-classification, zero-shot-text-to-audio-retrieval."""
    if record.kind == Kind.FEWSHOT:
        return f"few-shot-{record.query}-classification"
    if record.kind in MATCHING:
        return f"zero-shot-{record.query}-to-{record.target}-retrieval"
    return f"zero-shot-{record.query}-{record.kind}"


def _name(records: Sequence[Record]) -> str:
    return records[0].encoder.name


def _is_ours(result: EvalResult) -> bool:
    return str((result.metric_args or {}).get("measured_by", "")).split(" ")[0] == _BY
