"""Names as plain text of a page: whatever stands in them, nothing ends a cell, starts a tag or formats."""

from __future__ import annotations

import html as _html
import re

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "^": r"\textasciicircum{}",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "%": r"\%",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",  # \textquotedbl is not in the encoding that LaTeX begins with
    "*": "{*}",  # after a line's end it would be the starred form of that
    "[": "{[}",  # after a line's end it would begin an argument
    "]": "{]}",
    "◇": r"$\diamond$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\dots{}",
    "≤": r"$\leq$",
}


def plain(text: str) -> str:
    """One line without control characters, which a terminal obeys, and what is no character to XML."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+", " ", text)


def markdown(text: str) -> str:
    """A cell or a line of markdown."""
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)


def latex(text: str) -> str:
    """A cell of a LaTeX table; letters of any script are left to the document's encoding."""
    return "".join(_LATEX.get(letter, letter) for letter in plain(text))


def html(text: str) -> str:
    """Text or an attribute of HTML."""
    return _html.escape(plain(text))
