"""One HTML file that needs nothing else: style, script and data inside, and a policy that forbids everything else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ibench.report.render import finite


def page(
    template: str,
    *,
    title: str,
    scripts: Sequence[str],
    styles: Sequence[str] = (),
    data: object = None,
    **context: Any,
) -> str:
    """Render a template of ``web/`` with ``page.css`` and the named styles, the named scripts, and ``data`` as JSON.

    Whatever the context holds is escaped. The Content-Security-Policy names this style and this script by their
    digests, so that no other script runs and nothing is fetched, whatever stands in the data.
    """
    style = "\n".join(_file(name) for name in ("page.css", *styles))
    script = "\n".join(_file(name) for name in scripts)
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        )
    )
    return (
        _environment()
        .get_template(template)
        .render(
            title=title,
            policy=policy,
            style=Markup(style),
            script=Markup(script),
            data=island(data),
            **context,
        )
    )


def svg(template: str, *, styles: Sequence[str], **context: Any) -> str:
    """Render a template of ``web/`` as a picture by itself: the colours of ``page.css`` and the named styles inside."""
    colours, end, _ = _file("page.css").partition("}")  # its first rule
    style = "\n".join((colours + end, *(_file(name) for name in styles)))
    return _environment().get_template(template).render(own_style=Markup(style), **context)


def island(data: object) -> Markup:
    """Data as JSON that may stand in a ``<script>`` element: plain ASCII without ``<``, ``>`` and ``&``.

    What is not a number becomes null, for JSON has no word for it.
    """
    text = json.dumps(finite(data), separators=(",", ":"), allow_nan=False)  # ASCII: no U+2028, no lone surrogate
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _file(name: str) -> str:
    return (files("ibench.report") / "web" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ibench.report", "web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
