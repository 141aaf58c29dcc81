"""Which files make a factory what it is: those that its import statements reach in its own folder, in any process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ibench.encoders.factory import sources


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "make.py"


def names(file: Path) -> set[str]:
    return {str(path.relative_to(file.parent)) for path in sources(file)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import numpy, other", {"other.py"}),
        ("def make():\n    from other import tower", {"other.py"}),
        ("try:\n    import other\nexcept ImportError:\n    other = None", {"other.py"}),
        ("import towers.image as seen", {"towers/__init__.py", "towers/image.py", "towers/sizes.py"}),
        ("from towers import image", {"towers/__init__.py", "towers/image.py", "towers/sizes.py"}),
        ("from towers.text import Tower", {"towers/__init__.py", "towers/text.py", "other.py"}),
        ("x = 'import other'", set()),
    ],
)
def test_import_statements_are_followed_wherever_they_stand(tmp_path: Path, text: str, found: set[str]) -> None:
    make = written(
        tmp_path,
        make=text,
        other="import make",
        unused="",
        towers__image="from . import sizes",
        towers__text="from other import *",
        towers__sizes="from .. import too_far",
    )
    (tmp_path / "towers" / "__init__.py").touch()
    assert names(make) == {"make.py", *found}


def test_what_other_factories_of_the_folder_import_is_not_of_this_one(tmp_path: Path) -> None:
    make = written(tmp_path, make="import other", other="", another="import heavy", heavy="")
    before = names(make)
    sys.path.insert(0, str(tmp_path))
    try:
        __import__("another")
    finally:
        sys.path.remove(str(tmp_path))
        for name in ("another", "heavy"):
            sys.modules.pop(name, None)
    assert names(make) == before == {"make.py", "other.py"}


def test_a_module_that_is_no_python_is_a_file_all_the_same(tmp_path: Path) -> None:
    assert names(written(tmp_path, make="import broken", broken="def (")) == {"make.py", "broken.py"}
