"""A headless Chromium that sees a page as a visitor does, and notes what a page must not do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True)
class Browser:
    """Opens pages; a page that logs, fails or asks for anything makes the test fail when it is closed."""

    chromium: Any

    @contextmanager
    def open(self, file: Path, width: int = 1440, link: str = "", scheme: str = "light") -> Iterator[Any]:
        context = self.chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: problems.append(f"request: {request.url[:200]}"))
        address = file.absolute().as_uri()
        page.goto(address + link)
        yield page
        context.close()
        asked_for_itself = f"request: {address}"
        elsewhere = [one for one in problems if one != asked_for_itself and not one.startswith("request: data:image/")]
        assert not elsewhere


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of this machine; skips the test, with the reason, where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra 'dev')")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on PATH; Debian has it as the package 'chromium'")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=list(_FLAGS))
        yield Browser(running)
        running.close()
