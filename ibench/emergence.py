"""What an encoder does with pairs it was never trained on, from its records: beside chance and the trained pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.results import FIRST_LEG, SHARE, EncoderIdentity, Kept, Record, checkpoints
from ibench.scoring.intervals import Metric
from ibench.scoring.outcomes import asked, outcome
from ibench.scoring.share import Part, share
from ibench.tasks import PAIRING, Kind, lower_is_better

Pair = frozenset[Modality]


@dataclass(frozen=True)
class Score:
    """An emergent pair on one task: the direct score is the record's, the path is there where it was run.

    ``legs`` are the records of the run that frame it, of the trained pairs (a, m) and (m, b). ``share`` is how much of
    the trained pair's gain over chance the direct score reaches, ``note`` says of what, or why there is none.
    """

    record: Record
    legs: tuple[tuple[Record, ...], tuple[Record, ...]]
    share: Metric | None
    note: str

    @property
    def path(self) -> Metric | None:
        """a answered through the bridge."""
        return self.record.metrics.get(f"bridge_{self.record.headline}")

    @property
    def trained(self) -> Metric | None:
        """The bridge's own samples, answered by the trained pair."""
        return self.record.metrics.get(f"trained_{self.record.headline}")

    @property
    def first_leg(self) -> Metric | None:
        """Whether a finds its own sample in the bridge."""
        return self.record.metrics.get(FIRST_LEG)


@dataclass(frozen=True)
class Emergence:
    """The emergent scores of one checkpoint, and the records of its trained pairs."""

    encoder: EncoderIdentity
    scores: tuple[Score, ...]
    trained: tuple[Record, ...]


def emergence(run: Sequence[Kept]) -> Emergence:
    """The emergence of the one checkpoint that records are of, without its few shots: what they add is learned.

    Raises IbenchError for records of several checkpoints, and for two of one task and protocol.
    """
    several = checkpoints(one.record for one in run)
    if len(several) != 1:
        raise IbenchError(f"emergence is of one checkpoint, these are records of {len(several)}: {', '.join(several)}")
    zero_shot = [one for one in run if one.record.kind != Kind.FEWSHOT]
    _refuse_twice([one.record for one in zero_shot])
    trained = [one for one in zero_shot if not one.record.emergent]
    scores = tuple(_score(one, trained) for one in zero_shot if one.record.emergent)
    return Emergence(run[0].record.encoder, scores, tuple(one.record for one in trained))


def bridges(record: Record) -> list[Modality]:
    """Through what an emergent pair is bound: the bridge of the run, else all that was trained with both."""
    if record.bridge is not None:
        return [record.bridge.modality]
    pairs = {frozenset(pair) for pair in record.encoder.trained_pairs}
    return [
        one
        for one in Modality
        if one not in (record.query, record.target) and {Pair((record.query, one)), Pair((one, record.target))} <= pairs
    ]


def pair_of(record: Record) -> Pair:
    return Pair((record.query, record.target))


def answer(record: Record) -> Modality:
    """What the headline metric looks for."""
    return record.query if record.headline.startswith("reverse_") else record.target


def _refuse_twice(records: Sequence[Record]) -> None:
    first: dict[tuple[str, str], Record] = {}
    for record in records:
        other = first.setdefault((record.task, record.protocol), record)
        if other is not record:
            what = ("dtype", "compiled", "limited", "bridge", "dataset_fingerprint")
            differing = [name for name in what if getattr(record, name) != getattr(other, name)]
            raise IbenchError(
                f"{record.task} ({record.protocol}) is there twice"
                + (f", with another {' and '.join(differing)}" if differing else "")
                + "; name the records of one run"
            )


def _score(one: Kept, trained: Sequence[Kept]) -> Score:
    record = one.record
    legs = tuple(
        [
            other
            for other in trained
            if not other.record.fuse and pair_of(other.record) in {Pair((side, middle)) for middle in bridges(record)}
        ]
        for side in (record.query, record.target)
    )
    found, note = _share(one, legs[1])
    first, second = (tuple(leg.record for leg in side) for side in legs)
    return Score(record, (first, second), found, note)


def _share(one: Kept, second_legs: Sequence[Kept]) -> tuple[Metric | None, str]:
    record = one.record
    if record.bridge is not None:
        middle = f"{record.bridge.modality}→{answer(record)}"
        if SHARE in record.metrics:
            gained = record.metrics[SHARE]
            n = gained.n
            same = "the same samples" if n == record.n else f"the {n} of {record.n} samples that have their own"
            on = same if record.bridge.paired else "other samples of the same classes"
            return gained, f"of the gain of {middle}, on {on}"
        return None, f"no share: {middle} is not above chance on these samples"
    comparable = [leg for leg in second_legs if _same_question(record, leg.record)]
    if not comparable:
        may = "; `ibench run --bridge` may do that" if record.kind in PAIRING else ""
        return None, f"no share: no trained pair was asked the same here{may}"
    leg = comparable[0]
    if one.rows is None or leg.rows is None:
        return None, f"no share of {leg.record.task}: the rows of the samples are not kept"
    found = share(
        _part(one), _part(leg), paired=False, lower_is_better=lower_is_better(record.headline), seed=record.seed
    )
    pair = f"{leg.record.query}→{leg.record.target}"
    if found is None:
        return None, f"no share: {pair} of {leg.record.task} is not above chance"
    return found, f"of the gain of {pair} in {leg.record.task}, on other samples of the same classes"


def _same_question(record: Record, leg: Record) -> bool:
    """Whether a trained pair was asked for the same classes in the same words, to be scored by the same metric."""
    return record.kind == leg.kind == Kind.CLASSIFICATION and (record.headline, record.texts_fingerprint) == (
        leg.headline,
        leg.texts_fingerprint,
    )


def _part(one: Kept) -> Part:
    rows = asked(one.record.headline, one.samples())
    return Part(outcome(one.record.headline, rows), one.record.chance, rows["cluster"].to_list())
