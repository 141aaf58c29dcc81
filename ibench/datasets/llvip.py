"""LLVIP as its authors publish it: ``LLVIP/{Annotations/*.xml, infrared/test/*.jpg, visible/test/*.jpg}``.

Source: bupt-ai-cz.github.io/LLVIP (arXiv 2108.10831). 3,463 test pairs of infrared and visible pictures, aligned,
of 1280 × 1024 pixels, with boxes of persons in Pascal VOC's format. A test picture is one that lies in a folder
``test``; the annotations of both splits lie in one folder.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from ibench.datasets._boxes import Box, crop
from ibench.datasets.base import Dataset, Item, shown
from ibench.errors import IbenchError, UnreadableSample
from ibench.media.image import image_size, read_image
from ibench.modalities import Modality
from ibench.tasks import Kind, TaskSpec

MARKER = "infrared/test"
PAIRED = (Modality.THERMAL, Modality.IMAGE)
PERSON, BACKGROUND = "person", "background"
MAX_XML_BYTES = 2**20
TRIES = 100
_SEED = "ibench-1"
_FOLDERS = {Modality.THERMAL: "infrared/test", Modality.IMAGE: "visible/test"}


def read(spec: TaskSpec, root: Path) -> Dataset:
    """For retrieval the aligned pictures of the two cameras, for classification the boxes of the query's camera.

    Pictures are those of either folder, so that one that only the other camera has is missing.
    """
    if unknown := {spec.query, *([spec.target] if spec.kind is Kind.RETRIEVAL else [])} - set(_FOLDERS):
        raise IbenchError(f"{spec.name}: LLVIP has thermal and image, not {', '.join(sorted(unknown))}")
    names = sorted({file.name for folder in _FOLDERS.values() for file in shown(root / folder, "*.jpg")})
    if not names:
        raise IbenchError(f"{spec.name}: no jpg in {root / MARKER}, nor in visible/test; get LLVIP again")
    return _pairs(spec, root, names) if spec.kind is Kind.RETRIEVAL else _boxes(spec, root, names)


def _pairs(spec: TaskSpec, root: Path, names: list[str]) -> Dataset:
    items: dict[Modality, list[Item]] = {}
    missing: list[str] = []
    for modality in (spec.query, spec.target):
        files = {name: root / _FOLDERS[modality] / name for name in names}
        items[modality] = [
            Item(id=name, decode=partial(read_image, file), content=file, group=name)
            for name, file in files.items()
            if file.is_file()
        ]
        missing += [f"{_FOLDERS[modality]}/{name}" for name, file in files.items() if not file.is_file()]
    return Dataset(items, missing=tuple(missing), copy="LLVIP folder")


def _boxes(spec: TaskSpec, root: Path, names: list[str]) -> Dataset:
    """Every person, and beside each a box of the same size without a person, drawn by `background_box`."""
    items: list[Item] = []
    missing: list[str] = []
    for name in names:
        file, annotation = root / _FOLDERS[spec.query] / name, root / "Annotations" / f"{Path(name).stem}.xml"
        absent = [path.relative_to(root).as_posix() for path in (file, annotation) if not path.is_file()]
        if absent:
            missing += absent
            continue
        items += _boxes_of(file, persons_in(annotation))
    labels = {PERSON: (PERSON,), BACKGROUND: (BACKGROUND,)}
    return Dataset({spec.query: items}, labels=labels, missing=tuple(missing), copy="LLVIP folder")


def _boxes_of(file: Path, annotated: list[Box]) -> list[Item]:
    try:
        size = image_size(file)
    except UnreadableSample:  # its persons are samples that cannot be read; there is nothing to draw others in
        size = None
    persons = [box.clipped(*size) if size else box for box in annotated]
    items = []
    for number, person in enumerate(persons):
        if not person.large_enough:
            continue
        items.append(crop(f"{file.stem}-person-{number}", file, person, PERSON, file.stem))
        background = background_box(file.stem, number, persons, *size) if size else None
        if background is not None:
            items.append(crop(f"{file.stem}-background-{number}", file, background, BACKGROUND, file.stem))
    return items


def background_box(picture: str, number: int, persons: list[Box], width: int, height: int) -> Box | None:
    """A box of the size of person ``number`` that overlaps none, at a place drawn at random.

    The draw is a digest of the seed, the picture's id, the person's number and the number of the try: the same on every
    machine, whatever was read before. None after TRIES tries: the picture then has fewer boxes of the background.
    ImageBind's appendix A draws boxes of the same size and aspect ratio too, but publishes neither rule nor seed.
    """
    wide, high = persons[number].right - persons[number].left, persons[number].bottom - persons[number].top
    for attempt in range(TRIES):
        digest = hashlib.sha256(f"{_SEED}/{picture}/{number}/{attempt}".encode()).digest()
        left = int.from_bytes(digest[:8], "big") % (width - wide + 1)
        top = int.from_bytes(digest[8:16], "big") % (height - high + 1)
        box = Box(left, top, left + wide, top + high)
        if not any(box.overlaps(person) for person in persons):
            return box
    return None


def persons_in(annotation: Path) -> list[Box]:
    """The boxes named ``person`` in a VOC file. Raises IbenchError for one that is no such file."""
    try:
        if annotation.stat().st_size > MAX_XML_BYTES:
            raise IbenchError(f"{annotation}: larger than {MAX_XML_BYTES:,} bytes, which no annotation of LLVIP is")
        tree = ElementTree.parse(annotation)
        return [_box(thing) for thing in tree.iter("object") if (thing.findtext("name") or "").strip() == PERSON]
    except (OSError, ValueError, OverflowError, ParseError, DefusedXmlException) as error:
        raise IbenchError(f"{annotation}: not an annotation in VOC's format ({error}); get LLVIP again") from error


def _box(thing: Element) -> Box:
    return Box(*(round(float(_edge(thing, name))) for name in ("xmin", "ymin", "xmax", "ymax")))


def _edge(thing: Element, name: str) -> str:
    text = thing.findtext(f"bndbox/{name}")
    if not text:
        raise ValueError(f"an object without {name}")
    return text
