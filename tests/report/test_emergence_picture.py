"""The picture of emergence, by itself and on its page: what stands where, and in a browser."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from browser import Browser
from made_runs import record_of

from ibench.emergence import Emergence, emergence
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.report.emergence import Edge, emergence_page, emergence_svg, picture, write
from ibench.results import Kept, Record
from ibench.scoring.intervals import Metric

TEXT, IMAGE, VIDEO, AUDIO = Modality.TEXT, Modality.IMAGE, Modality.VIDEO, Modality.AUDIO
IMAGEBIND = tuple((hub, other) for hub in (IMAGE, VIDEO) for other in Modality if other not in (IMAGE, VIDEO))
HOSTILE = "</text><script>alert(1)</script> & \x07"


def made(task: str, query: Modality, target: Modality, pairs: tuple[tuple[Modality, Modality], ...]) -> Record:
    record = record_of(task, {"top1": Metric(value=0.5, low=0.4, high=0.6, n=50, method="made")}, "made")
    told = {
        "query": query,
        "target": target,
        "emergent": {query, target} not in [set(pair) for pair in pairs],
        "encoder": record.encoder.model_copy(update={"trained_pairs": pairs, "name": HOSTILE}),
    }
    return record.model_copy(update=told)


def report_of(*tasks: tuple[str, Modality, Modality], pairs: tuple[tuple[Modality, Modality], ...]) -> Emergence:
    return emergence([Kept(made(task, query, target, pairs)) for task, query, target in tasks])


@pytest.fixture
def imagebind() -> Emergence:
    """Seven modalities, every emergent pair with text, and more tasks of one pair than a label has lines."""
    emergent = [(f"{one} task", one, TEXT) for one in Modality if one not in (TEXT, IMAGE, VIDEO)]
    more = [(f"sound {number}", AUDIO, TEXT) for number in range(4)]
    hostile = [(HOSTILE, IMAGE, TEXT)]
    return report_of(*emergent, *more, *hostile, pairs=IMAGEBIND)


def test_what_binds_stands_in_the_middle_and_the_others_around_it(imagebind: Emergence) -> None:
    drawn = picture(imagebind)
    places = {node.name: (node.place.x, node.place.y) for node in drawn.nodes}
    assert [node.name for node in drawn.nodes if node.hub] == ["image"]
    assert places.pop("image") == (0, 0)
    assert len(places) == 6
    assert {round(math.hypot(*place)) for place in places.values()} == {280}


def test_where_images_bind_nothing_something_else_stands_in_the_middle() -> None:
    by_text = report_of(("a", AUDIO, VIDEO), pairs=((AUDIO, TEXT), (TEXT, VIDEO)))
    assert [node.name for node in picture(by_text).nodes if node.hub] == ["text"]
    by_nothing = report_of(("a", AUDIO, VIDEO), pairs=((AUDIO, TEXT),))
    assert not [node.name for node in picture(by_nothing).nodes if node.hub]


def test_trained_pairs_are_solid_and_emergent_ones_dashed_with_their_scores(imagebind: Emergence) -> None:
    drawn = picture(imagebind)
    assert len([edge for edge in drawn.edges if not edge.emergent]) == len(IMAGEBIND)
    labels = {edge.title.partition(",")[0]: edge.label for edge in drawn.edges if edge.emergent}
    assert set(labels) == {"text–audio", "text–depth", "text–thermal", "text–imu"}
    assert labels["text–depth"] == ("depth task 50.0",)
    assert labels["text–audio"][-1] == "and 2 more"


@pytest.mark.parametrize(
    "pairs", [IMAGEBIND, ((IMAGE, TEXT), (IMAGE, AUDIO)), ((IMAGE, TEXT),)], ids=["seven", "three", "no hub"]
)
def test_no_edge_runs_through_a_node_that_it_does_not_join(pairs: tuple[tuple[Modality, Modality], ...]) -> None:
    modalities = sorted({one for pair in pairs for one in pair} | {AUDIO}, key=list(Modality).index)
    tasks = [
        (f"{one} {other}", one, other)
        for one, other in combinations(modalities, 2)
        if {one, other} not in [set(pair) for pair in pairs]
    ]
    drawn = picture(report_of(*tasks, pairs=pairs))
    for edge in drawn.edges:
        joined = set(edge.title.partition(",")[0].split("–"))
        for node in drawn.nodes:
            if node.name not in joined:
                assert distance(edge, complex(node.place.x, node.place.y)) > 45, (edge.title, node.name)


def distance(edge: Edge, point: complex) -> float:
    """Of a curve from a point, by walking along it."""
    (a, b, c) = edge.curve
    steps = [step / 100 for step in range(101)]
    return min(abs((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t * t * c - point) for t in steps)


def test_labels_cover_nothing_and_all_is_seen(imagebind: Emergence) -> None:
    drawn = picture(imagebind)
    places = [one.place for one in (*drawn.nodes, *(edge for edge in drawn.edges if edge.label))]
    for one, other in combinations(places, 2):
        assert one.overlap(other) == 0
    x, y, width, height = drawn.box
    for place in places:
        assert x < place.x - place.width / 2 < place.x + place.width / 2 < x + width
        assert y < place.y - place.height / 2 < place.y + place.height / 2 < y + height


def test_the_picture_is_xml_whatever_the_names(imagebind: Emergence) -> None:
    tree = ElementTree.fromstring(emergence_svg(imagebind))
    assert not [one for one in tree.iter() if one.tag.endswith("script")]
    texts = [one.text for one in tree.iter() if one.tag.endswith("}text")]
    assert f"{HOSTILE[:-1]}  50.0" in texts


def test_only_pages_pictures_and_tables_are_written(imagebind: Emergence, tmp_path: Path) -> None:
    for name in ("page.html", "in/a/folder.svg", "table.md"):
        assert write(imagebind, tmp_path / name).stat().st_size > 500
    with pytest.raises(IbenchError, match=r"a page \(\.html\), a picture \(\.svg\) or a table"):
        write(imagebind, tmp_path / "picture.png")
    with pytest.raises(IbenchError, match="cannot write to"):
        write(imagebind, tmp_path / "page.html" / "below.svg")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(browser: Browser, imagebind: Emergence, scheme: str, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(emergence_page(imagebind), encoding="utf-8")
    for width in (360, 1200):
        with browser.open(file, width=width, scheme=scheme) as page:
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.locator("svg.binding .node").count() == 7
            dashed = "getComputedStyle(document.querySelector('.binding .edge.{}')).strokeDasharray"
            assert page.evaluate(dashed.format("trained")) == "none"
            assert page.evaluate(dashed.format("emergent")) != "none"
            assert page.locator("tbody tr").count() == 8
            assert page.locator("script").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_by_itself_has_its_colours(
    browser: Browser, imagebind: Emergence, scheme: str, tmp_path: Path
) -> None:
    file = tmp_path / "picture.svg"
    file.write_text(emergence_svg(imagebind), encoding="utf-8")
    with browser.open(file, scheme=scheme) as page:
        ground = page.evaluate("getComputedStyle(document.querySelector('.ground')).fill")
        assert ground == {"light": "rgb(252, 252, 250)", "dark": "rgb(19, 21, 25)"}[scheme]
