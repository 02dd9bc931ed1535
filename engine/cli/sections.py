"""A Markdown file in which every section can be renewed alone."""

from __future__ import annotations

import re
from pathlib import Path

from engine import disk


def renew(file: Path, name: str, text: str, head: str) -> None:
    """Put `text` where the section `name` was, or at the end; a new file begins with `head`. The rest stays as it is.
    Raises OSError."""
    whole = file.read_text(encoding="utf-8") if file.exists() else head
    section = f"<!-- {name} -->\n{text.strip()}\n<!-- /{name} -->"
    pattern = re.compile(rf"<!-- {re.escape(name)} -->.*?<!-- /{re.escape(name)} -->", re.DOTALL)
    renewed, found = pattern.subn(lambda _: section, whole)
    with disk.replacing(file) as aside:
        aside.write_text(renewed if found else f"{whole.rstrip()}\n\n{section}\n", encoding="utf-8")
