"""Where benchmarks are written: BENCHMARKS.md, in which every section can be renewed alone."""

from pathlib import Path

from engine.cli.sections import renew

FILE = Path(__file__).parents[2] / "BENCHMARKS.md"
HEAD = """# Benchmarks

Written by `make bench` (`python -m tests.bench`). Every table is one run on one machine; within a table the candidates
take turns. Times on other machines differ, ratios less so.
"""


def write(name: str, text: str, file: Path = FILE) -> None:
    """Put `text` where section `name` was, or at the end."""
    renew(file, name, text, HEAD)
