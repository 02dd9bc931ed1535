"""Tables as files for spreadsheets and papers, in which texts from outside stay texts. Does not import torch.

Spreadsheets take a cell that begins with one of a few characters for a formula and run it: an apostrophe before it says
that it is text. In LaTeX no command comes of any text. In both a text is one line, of what can be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

_FORMULA = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
            "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")


def as_csv(table: pandas.DataFrame, digits: str | None = None) -> str:
    """With commas; `digits` is how numbers are written (default: exactly)."""
    return str(_mapped(table, _inert).to_csv(index=False, float_format=digits))


def as_latex(table: pandas.DataFrame) -> str:
    """For LaTeX with the package booktabs; four significant digits, without columns that say nothing."""
    shown = _mapped(table.dropna(axis="columns", how="all"), _line)
    return str(shown.to_latex(index=False, escape=True, float_format="%.4g", na_rep="-"))


def _mapped(table: pandas.DataFrame, change: Any) -> pandas.DataFrame:
    """With every text changed, those of the head, too."""
    columns = {place: _column(table.iloc[:, place], change) for place in range(table.shape[1])}
    import pandas

    found = pandas.DataFrame(columns)
    found.columns = [change(str(name)) for name in table.columns]
    return found


def _column(values: pandas.Series, change: Any) -> pandas.Series:
    if values.dtype == "category":
        return values.astype(object).where(values.notna(), None).map(
            {name: change(name) if isinstance(name, str) else name for name in values.cat.categories})
    if values.dtype.kind in "biufcmM":
        return values
    return values.map(lambda value: change(value) if isinstance(value, str) else value)


def _inert(text: str) -> str:
    """A text that no spreadsheet takes for a formula, nor for two lines; a number stays one."""
    text = _line(text)
    return f"'{text}" if text.startswith(_FORMULA) and len(text) > 1 and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _line(text: str) -> str:
    """On one line, with a replacement character for what cannot be seen."""
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
