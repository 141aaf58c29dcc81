"""The documentation is true: its commands run, its Python runs, its tables are what the code has.

Fenced blocks of README.md, CONTRIBUTING.md and docs/*.md, by language: ``sh`` and ``console`` are run (the lines of a
``console`` block that are no commands must be what is printed, ``…`` stands for any lines), ``python`` is run, blocks
with a ``title`` are files, ``yaml`` must parse, ``text`` is left alone. Each document runs from top to bottom in a
scratch folder of its own, which holds the small data and checkpoints that the documents speak of.
"""

from __future__ import annotations

import html
import importlib.util
import inspect
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest
import torch
import typer
import yaml
from conftest import RunIbench, tone
from PIL import Image
from safetensors.torch import save_file

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
EXAMPLES = {"photos.yaml", "fruit.yaml", "my_encoder.py"}
"""Files that the README shows and other documents use."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it stands for if any, its text, and the line it begins at."""

    language: str
    title: str
    text: str
    line: int


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    fence = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
    found = [
        Block(match[1], match[2] or "", match[3], text.count("\n", 0, match.start()) + 1)
        for match in fence.finditer(text)
    ]
    assert text.count("\n```") + text.startswith("```") == 2 * len(found), f"{document.name}: a fence is not closed"
    return found


# the scratch folder ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the documents speak of, small: pictures, sounds, a hub data set, ESC-50's layout, checkpoints."""
    place = tmp_path_factory.mktemp("prepared")
    _pictures(place / "photos")
    for name, hertz in {"low": 200.0, "high": 3000.0}.items():
        (place / "sounds").mkdir(exist_ok=True)
        tone(hertz, 1.0, 16000, place / "sounds" / f"{name}.wav")
    tone(900.0, 2.0, 16000, place / "sounds" / "both.wav")
    _hub_data_set(place / "pets")
    _esc50(place / "data" / "ESC-50-master")
    for number in (1, 2):
        _open_clip(place / "checkpoints" / f"epoch_{number}", seed=number)
    torch.save({"state_dict": {"layer.weight": torch.ones(2, 2)}, "epoch": 3}, place / "plain.pt")
    torch.save({"state_dict": {"layer.weight": torch.ones(2, 2)}, "args": Settings()}, place / "old.pt")
    for block in blocks(ROOT / "README.md"):
        if block.title in EXAMPLES:
            (place / block.title).write_text(block.text)
    return place


class Settings:
    """What training scripts leave in a checkpoint: a pickle of it runs code when loaded."""

    learning_rate = 0.1


@pytest.fixture(autouse=True)
def _own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Factories that other tests loaded are set aside, and those that this one loads are forgotten."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    aside = _forget_factories(tmp_path)
    yield
    _forget_factories(tmp_path)
    sys.modules.update(aside)


def _forget_factories(scratch: Path) -> dict[str, ModuleType]:
    """Forget the modules of the scratch folder and the examples, as a new process would; returns them."""
    ours = (str(scratch), str(ROOT / "examples"))
    sys.path[:] = [folder for folder in sys.path if not folder.startswith(ours)]
    loaded = list(sys.modules.items())
    forgotten = {name: module for name, module in loaded if str(getattr(module, "__file__", "")).startswith(ours)}
    for name in forgotten:
        del sys.modules[name]
    return forgotten


@pytest.fixture
def scratch(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that a document needs, as the working directory."""
    for source in prepared.iterdir():
        if source.is_file():
            (tmp_path / source.name).write_bytes(source.read_bytes())
        elif source.name == "sounds":
            (tmp_path / "sounds").mkdir()
            for file in source.iterdir():
                (tmp_path / "sounds" / file.name).symlink_to(file)
        else:
            (tmp_path / source.name).symlink_to(source)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _pictures(place: Path) -> None:
    rng = np.random.default_rng(0)
    for label, colour in {"apple": (255, 0, 0), "lime": (0, 255, 0), "plum": (0, 0, 255)}.items():
        (place / label).mkdir(parents=True)
        for number in range(1, 5):
            pixels = np.clip(np.array(colour) * 0.8 + rng.integers(0, 40, (16, 20, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(place / label / f"{number}.jpg")


def _hub_data_set(place: Path) -> None:
    import datasets

    pictures = [Image.new("RGB", (12, 12), colour) for colour in ("red", "blue", "green", "gold")]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    table = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 0, 1]}, features=features)
    datasets.DatasetDict({"test": table}).save_to_disk(place)


def _esc50(place: Path) -> None:
    (place / "audio").mkdir(parents=True)
    (place / "meta").mkdir()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for number, category in enumerate(("dog", "chirping_birds", "sea_waves")):
        name = f"1-10003{number}-A-{number}.wav"
        tone(300.0 + 500 * number, 1.0, 44100, place / "audio" / name)
        rows.append(f"{name},1,{number},{category},False,10003{number},A")
    (place / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")


def _open_clip(place: Path, seed: int) -> None:
    """A folder as open_clip writes it, of a model so small that it fits in three megabytes."""
    import open_clip

    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    }
    place.mkdir(parents=True)
    (place / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{place}", load_weights=False, pretrained_text=False)
    weights = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    save_file(weights, place / "open_clip_model.safetensors")


# the commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_shows_runs(
    document: Path, scratch: Path, ibench: RunIbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = blocks(document)
    for block in shown:
        if block.title:
            (scratch / block.title).parent.mkdir(exist_ok=True)
            (scratch / block.title).write_text(block.text)
    names: dict[str, object] = {"__name__": "documented"}
    for block in shown:
        where = f"{document.name}:{block.line}"
        if block.language in ("sh", "console"):
            for command, printed in commands(block):
                _run(command, printed, where, scratch, ibench, monkeypatch)
                _forget_factories(scratch)
        elif block.language == "python":
            exec(compile(block.text, where, "exec"), names)
        elif block.language == "yaml":
            yaml.safe_load(block.text)
        else:
            assert block.language == "text" or block.title, f"{where}: a block of '{block.language}' is not checked"
        _forget_factories(scratch)


def commands(block: Block) -> Iterator[tuple[str, list[str] | None]]:
    """The commands of a block, and for ``console`` the lines that they are said to print."""
    text = block.text.replace("\\\n", " ")
    if block.language == "sh":
        yield from ((line, None) for line in text.splitlines() if line.strip() and not line.startswith("#"))
        return
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *printed = part.splitlines()
        yield command, printed


def _run(
    command: str,
    printed: list[str] | None,
    where: str,
    scratch: Path,
    ibench: RunIbench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = shlex.split(command, comments=True)
    program, arguments = words[0], words[1:]
    if program == "ibench":
        into = arguments.pop() if ">" in arguments else None
        if into:
            assert arguments.pop() == ">", f"{where}: {command}"
        done = ibench(*arguments)
        assert done.returncode == 0, f"{where}: {command}\n{done.stderr}"
        if into:
            (scratch / into).write_text(done.stdout)
        if printed is not None:
            assert matches(printed, done.stdout.splitlines()), f"{where}: {command} now prints\n{done.stdout}"
    elif program == "export":
        name, _, value = arguments[0].partition("=")
        monkeypatch.setenv(name, value)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert arguments[0] in targets, f"{where}: the Makefile has no target {arguments[0]}"
    elif words[:2] == ["pip", "install"]:
        _, _, project_table = (ROOT / "pyproject.toml").read_text().partition("[project]\n")
        project = dict(re.findall(r'^(name|version) = "(.+)"', project_table.partition("\n[")[0], re.MULTILINE))
        wheel = f"dist/{project['name'].replace('-', '_')}-{project['version']}-py3-none-any.whl"
        assert words[2:] in (["."], [wheel]), f"{where}: {command}"
    elif words[:3] == ["python", "-m", "build"]:
        assert importlib.util.find_spec("build"), f"{where}: {command}"
    elif program == "python":
        assert (ROOT / arguments[0]).is_file(), f"{where}: no {arguments[0]}"  # run by a test of its own
    else:
        raise AssertionError(f"{where}: no rule for {command}")


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether lines are as expected, spacing and rules aside; a line ``…`` stands for any lines."""
    told = "\n".join(".*" if line == "…" else re.escape(_plain(line)) for line in expected if _plain(line))
    said = "\n".join(_plain(line) for line in printed if _plain(line))
    return re.fullmatch(told.replace(".*\n", "(?:.*\n)?").replace("\n.*", "(?:\n.*)?"), said, re.DOTALL) is not None


def _plain(line: str) -> str:
    return " ".join(line.split()) if line.strip(" -") else ""


def test_the_matcher_tells_what_differs() -> None:
    assert matches(["a  b", "…", "z"], ["a b", "---", "x", "y", "z"])
    assert matches(["…", "z", "…"], ["z"])
    assert not matches(["a 1"], ["a 2"])
    assert not matches(["a", "…"], ["b", "a"])
    assert not matches(["a"], ["a", "b"])


# what the tables of the documentation say -----------------------------------------------------------------------------


def test_the_demo_prints_what_the_readme_and_its_picture_show(ibench: RunIbench) -> None:
    printed = ibench("demo").stdout
    (shown,) = (block for block in blocks(ROOT / "README.md") if block.text.startswith("$ ibench demo"))
    assert shown.text.removeprefix("$ ibench demo\n") == printed
    svg = (ROOT / "docs" / "assets" / "demo.svg").read_text(encoding="utf-8")
    drawn = " ".join(html.unescape(re.sub(r"<[^>]+>", "", svg)).split())
    for line in filter(str.strip, printed.splitlines()):
        assert " ".join(line.split()) in drawn, "draw it again: python docs/make_demo_picture.py"
    assert "url(" not in svg.replace("url(#", ""), "the picture asks for something from elsewhere"


def _commands_of(group: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, group
    for child, command in getattr(group, "commands", {}).items():
        yield from _commands_of(command, f"{name} {child}")


def test_the_command_line_page_has_every_command_and_option_and_no_other() -> None:
    from ibench.cli import app

    sections = re.split(r"^## ", (ROOT / "docs" / "command-line.md").read_text(), flags=re.MULTILINE)
    documented = {
        section.splitlines()[0]: set(re.findall(r"^\| `(--[\w-]+)`", section, re.MULTILINE))
        for section in sections
        if section.startswith("ibench ")
    }
    has = {
        name: {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        - {"--help"}
        for name, command in _commands_of(typer.main.get_command(app), "ibench")
    }
    del has["ibench"], has["ibench baseline"], has["ibench data"], has["ibench store"]  # these only hold commands
    assert documented == has


def test_the_options_used_anywhere_exist(ibench: RunIbench) -> None:
    from ibench.cli import app
    from ibench.pytest_plugin import OPTIONS, STRICT

    known = {
        option
        for _, command in _commands_of(typer.main.get_command(app), "ibench")
        for parameter in command.params
        for option in parameter.opts
    } | {"--help", "--wheel", "--nproc-per-node", *OPTIONS, STRICT}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        scripts = "".join((ROOT / script).read_text() for script in re.findall(r"python (benchmarks/\w+\.py)", text))
        theirs = set(re.findall(r'add_argument\("(--[\w-]+)"', scripts))
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", text):
            assert option in known | theirs, f"{document.name}: no option {option}"


def _fields() -> Iterator[tuple[str, str]]:
    import ibench as package
    from ibench.encoders.cardfile import CardFile
    from ibench.results import EncoderIdentity
    from ibench.tasks import METRICS, DatasetSpec, HubCopy, Protocol

    for page, names in {
        "tasks.md": [*package.TaskSpec.model_fields, *DatasetSpec.model_fields, *Protocol.model_fields],
        "results.md": [*package.Record.model_fields, *EncoderIdentity.model_fields],
        "encoders.md": [*package.Card.model_fields, *CardFile.model_fields],
        "python-api.md": [*package.__all__, *inspect.signature(package.evaluate).parameters],
    }.items():
        yield from ((page, f"`{name}`") for name in names)
    yield from (("tasks.md", f"  {name}:") for name in HubCopy.model_fields)
    for metrics in METRICS.values():
        yield from (("tasks.md", f"`{name}`") for name in metrics if not name.startswith("reverse_"))


def test_every_key_field_and_argument_is_documented() -> None:
    pages = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    missing = [f"{page}: {name}" for page, name in _fields() if name not in pages[page]]
    assert not missing


def test_the_task_list_is_what_there_is(ibench: RunIbench) -> None:
    written = (ROOT / "docs" / "task-list.md").read_text(encoding="utf-8")
    assert written == ibench("tasks", "--markdown").stdout, "ibench tasks --markdown > docs/task-list.md"


def test_every_protocol_is_documented() -> None:
    from ibench.tasks import load_task

    protocols = (ROOT / "docs" / "protocols.md").read_text()
    assert [name for name in load_task("esc50").protocols if f"`{name}`" not in protocols] == []


# links and pages ------------------------------------------------------------------------------------------------------


def test_links_between_files_lead_somewhere() -> None:
    for document in [*DOCUMENTS, ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_site_builds_and_asks_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        assert not re.findall(r'<(?:script|img|link|iframe)\b[^>]*?(?:src|href)="(https?:[^"]+)"', page.read_text())


# the training loop ----------------------------------------------------------------------------------------------------


def _example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_score_rises_in_the_training_loop() -> None:
    scores = _example("train_loop").train(steps=60, every=30)
    assert [step for step, _ in scores] == [0, 30, 60]
    first, middle, last = (record.metrics["top1"] for _, record in scores)
    assert first.value < middle.value < last.value
    assert last.low > first.high
    assert len({record.encoder.checkpoint_sha256 for _, record in scores}) == 3


def test_the_training_loop_runs_as_a_script(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_loop.py", "--steps", "2", "--every", "1"])
    runpy.run_path(str(ROOT / "examples" / "train_loop.py"), run_name="__main__")
    assert len(re.findall(r"^step +\d+   top-1 .*%   95%", capsys.readouterr().out, re.MULTILINE)) == 3
