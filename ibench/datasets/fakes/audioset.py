"""AudioSet in little: 24 segments of twelve classes under four downloaders' names, one damaged, two not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, sound, video_id
from ibench.tasks import TaskSpec

_CLASSES = (
    ("/m/09x0r", "Speech"),
    ("/m/05zppz", "Male speech, man speaking"),
    ("/m/02zsn", "Female speech, woman speaking"),
    ("/m/0ytgt", "Child speech, kid speaking"),
    ("/m/01h8n0", "Conversation"),
    ("/m/02qldy", "Narration, monologue"),
    ("/m/0261r1", "Babbling"),
    ("/m/0brhx", "Speech synthesizer"),
    ("/m/07p6fty", "Shout"),
    ("/m/07q4ntr", "Bellow"),
    ("/t/dd00002", "Baby cry, infant cry"),
    ("/m/04rlf", "Music"),
)
_NAMES = ("Y{id}.wav", "{id}.wav", "{id}_{start}.flac", "{id}_{ms}_{end_ms}.wav")


def write(spec: TaskSpec, place: Path) -> None:
    """``eval_segments.csv`` with its comments and spaces, ``class_labels_indices.csv``, and sounds."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        video, start = video_id(rng, number), 10 * (number % 7)
        labels = sorted({_CLASSES[number % 12][0], _CLASSES[(5 * number + 1) % 12][0]})
        rows.append(f'{video}, {start}.000, {start + 10}.000, "{",".join(labels)}"')
        name = _NAMES[number % 4].format(id=video, start=start, ms=1000 * start, end_ms=1000 * start + 10_000)
        if number == 3:
            damaged(place / "eval_segments" / name)
        elif number not in (7, 11):  # no longer to be had
            sound(place / "eval_segments" / name, rng)
    head = [
        "# Segments csv created Sun Mar  5 10:54:25 2017",
        f"# num_ytids={len(rows)}, num_segs={len(rows)}, num_unique_labels={len(_CLASSES)}, num_positive_labels=48",
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    (place / "eval_segments.csv").write_text("\n".join([*head, *rows, ""]), encoding="utf-8")
    classes = [f'{index},{mid},"{name}"' for index, (mid, name) in enumerate(_CLASSES)]
    (place / "class_labels_indices.csv").write_text(
        "\n".join(["index,mid,display_name", *classes, ""]), encoding="utf-8"
    )
