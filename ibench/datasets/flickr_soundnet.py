"""Flickr-SoundNet's test pairs: an annotation of three people for each frame and its sound.

Source: github.com/ardasnck/learning_to_localize_sound_source (Senocak et al., CVPR 2018), a frame of 256 × 256 pixels
with a sound of 20 s. ``Annotations/{id}.xml`` holds an element for each annotator, in it a ``bbox`` for each box: five
elements, of which the first says something else and the others are left, top, right and bottom in pixels (so reads it
``utils.py`` of github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way). Files lie in ``frames/{id}.jpg`` and
``audio/{id}.wav``, as that repository and github.com/stoneMo/EZ-VSL have them, or in a folder of ``Data``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from ibench.datasets._listed import read_table
from ibench.datasets._sounding import Annotated, pairs
from ibench.datasets.base import Dataset, shown
from ibench.errors import IbenchError
from ibench.modalities import Region
from ibench.tasks import TaskSpec

MARKER = "Annotations"
MAX_XML_BYTES = 2**20
PIXELS = 256
"""The side of the frames that were annotated."""

_LISTS = ("flickr_test.csv", "metadata/flickr_test.csv", "test_list.txt")


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The test pairs whose annotation, frame and sound are there, in the list's order; they have no classes.

    The list is ``flickr_test.csv`` (ids in the first column) or ``test_list.txt`` (names of frames), beside the folders
    or in ``metadata``; without one the pairs are those that are annotated, and the 5,000 of the authors' copy are no
    test set. Raises IbenchError for an annotation that is none.
    """
    annotations = {file.stem: file for file in shown(root / MARKER, "*.xml")}
    listed = _listed(root, f"get it from {spec.dataset.source}") or list(annotations)
    missing = tuple(f"{MARKER}/{id}.xml" for id in listed if id not in annotations)
    found = (Annotated(id, tuple(_boxes(annotations[id]))) for id in listed if id in annotations)
    return pairs(found, root, copy="Flickr-SoundNet folder", missing=missing)


def _listed(root: Path, hint: str) -> list[str]:
    table = next((root / name for name in _LISTS if (root / name).is_file()), None)
    if table is None:
        return []
    return [Path(row["name"]).stem for row in read_table(table, ("name",), hint, header=False)]


def _boxes(annotation: Path) -> Iterator[Region]:
    try:
        if annotation.stat().st_size > MAX_XML_BYTES:
            raise IbenchError(f"{annotation}: larger than {MAX_XML_BYTES:,} bytes, which no annotation here is")
        for box in ElementTree.parse(annotation).iter("bbox"):
            yield _region(box)
    except (OSError, ValueError, ParseError, DefusedXmlException) as error:
        raise IbenchError(f"{annotation}: not an annotation of Flickr-SoundNet ({error}); get it again") from error


def _region(box: Element) -> Region:
    if len(box) != 5:
        raise ValueError(f"a bbox of {len(box)} elements, where five are expected")
    left, top, right, bottom = (int(edge.text or "") / PIXELS for edge in box[1:])
    return left, top, right, bottom
