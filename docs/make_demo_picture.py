"""Draw what `ibench demo` prints: python docs/make_demo_picture.py writes docs/assets/demo.svg.

The picture asks nothing of the network: rich's template names a web font, which is left out.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).parent / "assets" / "demo.svg"
TEMPLATE = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def draw(printed: str) -> str:
    """The command and what it printed, as an SVG of a terminal."""
    lines = ["$ ibench demo", *printed.splitlines()]
    console = Console(record=True, file=io.StringIO(), width=max(map(len, lines)) + 1)
    for number, line in enumerate(lines):
        text = Text(line, style="bold" if number in (0, 1) else "")
        text.highlight_regex(r"◇", "bold yellow")
        text.highlight_regex(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", "green")
        console.print(text)
    svg = console.export_svg(title="ibench demo", theme=MONOKAI, code_format=TEMPLATE, unique_id="demo")
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


if __name__ == "__main__":
    demo = subprocess.run([sys.executable, "-m", "ibench", "demo"], check=True, stdout=subprocess.PIPE, text=True)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(demo.stdout), encoding="utf-8")
