"""A report as one HTML file that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from html import escape

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

_CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; color: #182028;
  background: #fff; max-width: 70rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2rem 0 .6rem; border-bottom: 1px solid #cbd4dc; padding-bottom: .2rem;
  break-after: avoid; overflow-wrap: anywhere; }
p { white-space: pre-line; overflow-wrap: anywhere; } .sub { color: #5a6773; margin: 0 0 1rem; }
.loud { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .6rem .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #dfe5ea; padding: .25rem .4rem; text-align: left; vertical-align: top;
  overflow-wrap: break-word; max-width: 24rem; }
th { background: #eef2f5; } .n { text-align: right; } td.n { white-space: nowrap; }
pre { background: #eef2f5; padding: .7rem .9rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem; }
figure { margin: 1.2rem 0; break-inside: avoid; } figcaption { font-size: .85rem; color: #3d4852; margin-top: .3rem; }
figure img { max-width: 100%; height: auto; }
.row { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .9rem; break-inside: avoid; }
.row figure { margin: .5rem 0; } .row img { width: 100%; background: #000; image-rendering: pixelated; }
footer { margin-top: 2.5rem; border-top: 1px solid #cbd4dc; padding-top: .6rem; color: #3d4852; font-size: .85rem; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } }
"""
# A browser is told, too, that nothing is to be fetched or run.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def as_html(report: Report) -> bytes:
    """The report as a file."""
    body = "\n".join(_block(block) for block in report.blocks)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(report.title)}</title><style>{_CSS}</style></head><body>
<h1>{_text(report.title)}</h1><p class="sub">{_text(report.subtitle)}</p>
{body}
<footer>Made with Perturbscope. {_text(DISCLAIMER)}</footer>
</body></html>
""".encode()


def _text(text: str) -> str:
    """Text from anywhere as it is: no markup comes of it, and what cannot be seen is a replacement character."""
    seen = "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return escape(seen)


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{_text(text)}</h2>"
        case Words(text, loud):
            return f'<p class="loud">{_text(text)}</p>' if loud else f"<p>{_text(text)}</p>"
        case Points(lines):
            return f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>"
        case Table():
            return _table(block)
        case Code(text):
            return f"<pre>{_text(text)}</pre>"
        case Drawing(_, title, _, width):
            return _figure(title, "image/svg+xml", block.file("svg"), width)
        case Gallery(rows):
            return "".join(f'<div class="row">{"".join(map(_photo, row))}</div>' for row in rows)


def _photo(photo: Photo) -> str:
    return _figure(photo.caption, "image/png", photo.png)


def _figure(caption: str, kind: str, data: bytes, width: float = 1.0) -> str:
    said, source = _text(caption), f"data:{kind};base64,{b64encode(data).decode()}"
    return (f'<figure style="max-width:{width:.0%}"><img alt="{said}" src="{source}">'
            f"<figcaption>{said}</figcaption></figure>")


def _table(table: Table) -> str:
    head, rows = _cells("th", table.head, table), (_cells("td", row, table) for row in table.rows)
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _cells(tag: str, texts: Iterable[str], table: Table) -> str:
    return "<tr>" + "".join(f'<{tag}{" class=n" if place in table.numbers else ""}>{_text(text)}</{tag}>'
                            for place, text in enumerate(texts)) + "</tr>"
