"""A report as PDF, written without a browser; its fonts are those that come with Matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import WrapMode, XPos, YPos
from fpdf.fonts import FontFace

from engine.experiments.reports.blocks import (
    DISCLAIMER,
    Block,
    Code,
    Drawing,
    Gallery,
    Heading,
    Photo,
    Points,
    Report,
    Table,
    Words,
)

_FONT, _MONO = "DejaVu", "DejaVu Mono"
_MARGIN, _SIZE = 15.0, 9.5  # millimetres, points
_GAP = 3.0  # millimetres between images of a row
_NEEDED = 45.0  # millimetres that a heading and what comes first below it take


class _Pages(FPDF):
    """A4 with the disclaimer and the page's number below each."""

    def footer(self) -> None:
        self.set_y(-14)
        self.set_font(_FONT, size=7)
        self.set_text_color(90)
        self.cell(0, 4, DISCLAIMER.split(". ")[0] + ".", align="L")
        self.set_x(_MARGIN)
        self.cell(0, 4, f"Perturbscope, page {self.page_no()}", align="R")
        self.set_text_color(0)


def as_pdf(report: Report) -> bytes:
    """The report as a file."""
    pages = _Pages(format="A4")
    _fonts(pages)
    pages.set_margins(_MARGIN, _MARGIN, _MARGIN)
    pages.set_auto_page_break(True, margin=20)
    pages.set_title(_text(report.title))
    pages.add_page()
    _words(pages, report.title, 17, bold=True)
    pages.set_text_color(90)
    _words(pages, report.subtitle, 8.5)
    pages.set_text_color(0)
    pages.ln(2)
    for block in report.blocks:
        _block(pages, block)
    return bytes(pages.output())


def _fonts(pages: FPDF) -> None:
    from matplotlib import get_data_path

    folder = Path(get_data_path()) / "fonts" / "ttf"
    pages.add_font(_FONT, "", folder / "DejaVuSans.ttf")
    pages.add_font(_FONT, "B", folder / "DejaVuSans-Bold.ttf")
    pages.add_font(_MONO, "", folder / "DejaVuSansMono.ttf")


def _text(text: str) -> str:
    """Text from anywhere: what cannot be seen is a replacement character, and so is what is no text."""
    seen = "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return seen.encode(errors="replace").decode()


def _words(pages: FPDF, text: str, size: float = _SIZE, bold: bool = False, font: str = _FONT, fill: bool = False
           ) -> None:
    pages.set_font(font, "B" if bold else "", size)
    pages.multi_cell(0, size * 0.5, _text(text) or " ", align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT, fill=fill,
                     wrapmode=WrapMode.CHAR if font == _MONO else WrapMode.WORD)


def _block(pages: FPDF, block: Block) -> None:
    match block:
        case Heading(text):
            if pages.will_page_break(_NEEDED):
                pages.add_page()
            pages.ln(3)
            _words(pages, text, 12, bold=True)
            pages.ln(1)
        case Words(text, loud):
            pages.set_fill_color(253, 243, 236)
            _words(pages, text, fill=loud)
            pages.ln(1.5)
        case Points(lines):
            for line in lines:
                _words(pages, f"• {line}")
                pages.ln(0.6)
        case Table():
            _table(pages, block)
        case Code(text):
            pages.set_fill_color(238, 242, 245)
            _words(pages, text, 8, font=_MONO, fill=True)
        case Drawing():
            _drawing(pages, block)
        case Gallery(rows):
            for row in rows:
                _row(pages, row)


def _table(pages: FPDF, table: Table) -> None:
    longest = [min(max([len(head), *(len(row[place]) for row in table.rows)]), 40)
               for place, head in enumerate(table.head)]
    pages.set_font(_FONT, size=6.6 if len(table.head) > 5 else 8)
    pages.set_draw_color(200)
    pages.set_fill_color(255)
    align = tuple("RIGHT" if place in table.numbers else "LEFT" for place in range(len(table.head)))
    with pages.table(borders_layout="HORIZONTAL_LINES", col_widths=tuple(max(each, 9) for each in longest),
                     text_align=align, padding=0.8,
                     headings_style=FontFace(emphasis="BOLD", fill_color=(238, 242, 245))) as drawn:
        for texts in (table.head, *table.rows):
            row = drawn.row()
            for text in texts:
                row.cell(_text(text))
    pages.ln(2)


def _drawing(pages: FPDF, block: Drawing) -> None:
    _figure(pages, [Photo(block.file("png"), block.title)], 1, block.width)


def _row(pages: FPDF, row: Sequence[Photo]) -> None:
    _figure(pages, row, 3)


def _figure(pages: FPDF, row: Sequence[Photo], columns: int, share: float = 1.0) -> None:
    """Images beside each other, all of a row on one page, each with its caption below it."""
    from PIL import Image

    width = share * (pages.epw - _GAP * (columns - 1)) / columns
    heights = []
    for photo in row:
        with Image.open(io.BytesIO(photo.png)) as image:
            heights.append(width * image.height / image.width)
    if pages.will_page_break(max(heights) + 14):
        pages.add_page()
    top, below = pages.get_y(), []
    for place, (photo, height) in enumerate(zip(row, heights, strict=True)):
        left = _MARGIN + place * (width + _GAP)
        pages.image(io.BytesIO(photo.png), x=left, y=top, w=width, alt_text=_text(photo.caption))
        pages.set_xy(left, top + height + 1)
        pages.set_font(_FONT, size=7.5)
        pages.multi_cell(width, 3.6, _text(photo.caption), align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)
        below.append(pages.get_y())
    pages.set_xy(_MARGIN, max(below) + 2)
