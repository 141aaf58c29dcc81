"""MSR-VTT 1k-A: ``MSRVTT_JSFUSION_test.csv`` and ``MSRVTT_Videos/video0.mp4`` …, as CLIP4Clip packs them.

Source: github.com/ArrowLuo/CLIP4Clip (msrvtt_data.zip); videos of 10 to 30 s, 320 × 240. 1,000 test clips with one
caption each. LanguageBind adds ``MSRVTT_AUDIO_test.csv``, the clips of its text → audio test, and wav files.
"""

from __future__ import annotations

from pathlib import Path

from ibench.datasets._metadata import table_of
from ibench.datasets._videos import Clip, captioned
from ibench.datasets.base import Dataset
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

MARKER = "MSRVTT_JSFUSION_test.csv"
PAIRED = (Modality.AUDIO, Modality.VIDEO)
SOUND_LIST = "MSRVTT_AUDIO_test.csv"


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The clips of the csv (columns ``video_id``, ``sentence``) with what the task asks for: video, sound or both.

    Tasks of sound without video take the list ``MSRVTT_AUDIO_test.csv`` where it is. Files, mp4 or other, and wav for
    sound, are found by stem anywhere below the folder. A clip whose mp4 has no audio track is missing where sound is
    asked for, with its caption; its video stays in the gallery. Raises IbenchError when the csv lacks a column, and
    when no clip is there.
    """
    heard_only = Modality.AUDIO in spec.sample_modalities and Modality.VIDEO not in spec.sample_modalities
    table = root / (SOUND_LIST if heard_only and (root / SOUND_LIST).is_file() else MARKER)
    captions: dict[str, list[str]] = {}
    for row in table_of(table, ("video_id", "sentence")):
        captions.setdefault(row["video_id"], []).append(row["sentence"])
    clips = [Clip(id, tuple(sentences), (id,)) for id, sentences in captions.items()]
    return captioned(spec, clips, root, "MSR-VTT folder")
