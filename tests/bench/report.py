"""A Markdown file (BENCHMARKS.md) in which every section can be renewed alone."""

import re
from pathlib import Path

FILE = Path(__file__).parents[2] / "BENCHMARKS.md"
HEAD = """# Benchmarks

Written by `make bench` (`python -m tests.bench`). Every table is one run on one machine; within a table the candidates
take turns. Times on other machines differ, ratios less so.
"""


def write(name: str, text: str, file: Path = FILE, head: str = HEAD) -> None:
    """Put `text` where section `name` was, or at the end; a new file begins with `head`."""
    whole = file.read_text() if file.exists() else head
    section = f"<!-- {name} -->\n{text.strip()}\n<!-- /{name} -->"
    pattern = re.compile(rf"<!-- {re.escape(name)} -->.*?<!-- /{re.escape(name)} -->", re.DOTALL)
    renewed, found = pattern.subn(lambda _: section, whole)
    file.write_text(renewed if found else f"{whole.rstrip()}\n\n{section}\n")
