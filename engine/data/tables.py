"""Tables of labels as CSV: read as text, with the columns that are needed, or one line that says what is wrong."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from engine.errors import EngineError

MOST_BYTES = 256 * 2**20


def rows(path: Path, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file with a heading, stripped; names of columns are taken without regard to capitals, and each
    row has at least those that are `needed`. Raises EngineError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise EngineError(f"{path.name} has more than {MOST_BYTES // 2**20} MiB; split it")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            heading = [name.strip().lower() for name in next(reader, [])]
            if missing := [name for name in needed if name.lower() not in heading]:
                raise EngineError(f"{path.name} has no column {' and no column '.join(missing)}; its first line must "
                                  "name the columns")
            for row in reader:
                if row:
                    given = zip(heading, (cell.strip() for cell in row), strict=False)
                    yield {**dict.fromkeys(heading, ""), **dict(given)}
    except OSError as error:
        raise EngineError(f"{path.name} cannot be read ({error.strerror}); change its permissions, or choose another"
                          ) from None
    except (csv.Error, UnicodeDecodeError, MemoryError) as error:
        raise EngineError(f"{path.name} is no CSV file in UTF-8 ({error}); save it as one") from None


def numbers(cells: Iterable[str]) -> tuple[float, ...] | None:
    """Some cells as numbers, or None where one is none that a picture's pixels can be counted with."""
    try:
        found = tuple(map(float, cells))
    except ValueError:
        return None
    return found if all(abs(number) < 1e9 for number in found) else None
