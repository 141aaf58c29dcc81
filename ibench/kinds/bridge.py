"""The path of an emergent pair through the modality that binds it, beside the direct score.

From a to b through m: every sample of a goes to the sample of m nearest to it, whatever that is, and has the answer
that this one gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibench.cells import Cell
from ibench.datasets import Item
from ibench.engine.store import Embeddings
from ibench.kinds import classification, retrieval
from ibench.kinds.base import Ask, Scored, readable, side
from ibench.modalities import Modality
from ibench.results import FIRST_LEG, SHARE, Bridge
from ibench.scoring.outcomes import asked, outcome
from ibench.scoring.retrieval import chance
from ibench.scoring.share import Part, share
from ibench.scoring.similarity import Vectors, similarity_rows
from ibench.tasks import Kind, lower_is_better


def add_bridge(
    cell: Cell,
    scored: Scored,
    embeddings: Mapping[Modality, Embeddings],
    embedding_of: Mapping[str, Vectors],
    seed: int,
) -> tuple[Scored, Bridge]:
    """A task's scores with those of its path, and what they are of: see `ibench.results.Bridge`.

    The rows behind the headline metric get columns: ``bridge`` (the id of the sample that the path leads through),
    ``bridge_prediction``, ``bridge_rank``, ``first_leg_rank`` (of the sample's own in the bridge modality) and
    ``trained_rank`` (what that one has; both empty for a sample that has not exactly one).
    """
    assert cell.bridge is not None
    headline = cell.spec.headline
    name = headline.removeprefix("reverse_")
    vectors, items, ask = _asking(cell, embeddings, embedding_of, seed)
    middle, bridges = readable(cell, cell.bridge, embeddings)
    nearest = _nearest(vectors, middle)
    path, path_rows = ask(middle[nearest], items)
    trained, trained_rows = ask(middle, bridges)
    first, first_rows = retrieval.asking(middle, _matchable(bridges, items), seed)(vectors, _matchable(items, bridges))
    rows = asked(headline, scored.samples)
    own = _own_rows(rows, items, trained_rows, bridges)
    told = Bridge(
        modality=cell.bridge,
        paired=bool((own >= 0).any()),
        trained_chance=_chance(cell, name, trained_rows),
        first_leg_chance=chance("recall@1", first_rows),
    )
    metrics = {f"bridge_{headline}": path[name], f"trained_{headline}": trained[name], FIRST_LEG: first["recall@1"]}
    gained = share(
        *_parts(cell, name, rows, trained_rows, own),
        paired=told.paired,
        lower_is_better=lower_is_better(headline),
        seed=seed,
    )
    if gained is not None:
        metrics[SHARE] = gained
    through = pd.Series([bridges[row].id for row in nearest.tolist()], index=[item.id for item in items])
    columns = {
        "bridge": through.loc[rows["id"]].to_numpy(),
        "bridge_prediction": path_rows["prediction"].to_numpy(),
        "bridge_rank": path_rows["rank"].to_numpy(),
        "first_leg_rank": first_rows.set_index("id")["rank"].reindex(rows["id"]).to_numpy(),
        "trained_rank": np.where(own >= 0, trained_rows["rank"].to_numpy(np.float64)[own], np.nan),
    }
    samples = scored.samples.join(pd.DataFrame(columns, index=rows.index))
    return scored._replace(metrics=scored.metrics | metrics, samples=samples), told


def _asking(
    cell: Cell, embeddings: Mapping[Modality, Embeddings], embedding_of: Mapping[str, Vectors], seed: int
) -> tuple[Vectors, Sequence[Item], Ask]:
    """The vectors and items of the side that asks for the headline metric, and its question."""
    spec = cell.spec
    if spec.kind is Kind.CLASSIFICATION:
        return *readable(cell, spec.query, embeddings), classification.asking(cell, embedding_of, seed)
    ends = (spec.target, spec.query) if spec.headline.startswith("reverse_") else (spec.query, spec.target)
    (vectors, items), gallery = (side(cell, one, embeddings, embedding_of) for one in ends)
    return vectors, items, retrieval.asking(*gallery, seed)


def _nearest(vectors: Vectors, gallery: Vectors) -> NDArray[np.intp]:
    """The row of the gallery nearest to each vector; of equal ones the first."""
    return np.concatenate([scores.argmax(axis=1) for _, scores in similarity_rows(vectors, gallery)])


def _matchable(items: Sequence[Item], others: Sequence[Item]) -> Sequence[Item]:
    """The items in groups that both sides have; where none is shared, a label is a group: any of it will do."""
    if {item.group for item in items} & {item.group for item in others}:
        return items
    return [replace(item, group=item.labels[0] if item.labels else "") for item in items]


def _own_rows(
    rows: pd.DataFrame, items: Sequence[Item], trained_rows: pd.DataFrame, bridges: Sequence[Item]
) -> NDArray[np.intp]:
    """For each row the row of its own sample in the bridge modality, -1 where there is not exactly one."""
    of_group = pd.Series([item.id for item in bridges], index=[item.group for item in bridges])
    of_group = of_group[~of_group.index.duplicated(keep=False)]
    group = pd.Series([item.group for item in items], index=[item.id for item in items])
    ids = of_group.reindex(group.loc[rows["id"]])
    return np.asarray(pd.Index(trained_rows["id"]).get_indexer(pd.Index(ids)), np.intp)


def _chance(cell: Cell, name: str, rows: pd.DataFrame) -> float:
    if cell.spec.chance is not None:
        return cell.spec.chance
    return 1 / len(cell.classes) if cell.classes else chance(name, rows)


def _parts(
    cell: Cell, name: str, rows: pd.DataFrame, trained_rows: pd.DataFrame, own: NDArray[np.intp]
) -> tuple[Part, Part]:
    """The direct and the trained score: over the same samples where any has its own in the bridge modality."""
    if (own >= 0).any():
        rows, trained_rows = rows[own >= 0], trained_rows.iloc[own[own >= 0]]
    direct, trained = (
        Part(outcome(name, part), _chance(cell, name, part), part["cluster"].to_list()) for part in (rows, trained_rows)
    )
    return direct, trained
