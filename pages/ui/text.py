"""Text from outside, shown as it is: addresses, file names, class names, model cards and messages made of them.

Streamlit renders nearly every text as Markdown: st.error, st.caption, labels, help. Plotly renders a little HTML.
"""

import re

from engine.papers import Paper

_JOINER = "\u2060"  # WORD JOINER: takes no room, breaks nothing, and ends a word for whoever looks for words
# What Markdown and Streamlit's additions to it begin anything with, wherever in a line it stands. An underscore between
# letters begins nothing, and is in many names.
_MARKS = re.compile(r"[\\`*\[\]<>|~$&{}]|:(?=\S)|(?<![^\W_])_|_(?![^\W_])")
# What begins a heading, a list or a line under a title where a line begins with it.
_OPENER = re.compile(r"[#+\-=]|(?<=\d)[.)]")
_LEADS = re.compile(r"\d{1,9}[.)]|[#+\-=]")
# What is looked for in the finished text, where nothing can be escaped any more: addresses that become links, emoji,
# and the arrows and dashes that are drawn for their look-alikes.
_WORDS = re.compile(r"(?<=https:)(?=//)|(?<=http:)(?=//)|(?<=www)(?=\.)|(?<=[\w.+-])(?=@[\w-])|(?<=:)(?=[\w+-]+:)"
                    r"|(?<=mailto:)(?=\S)|(?<=xmpp:)(?=\S)|(?<=(?<!\S)[<\->~])(?=[\->=]+(?!\S))", re.IGNORECASE)
_UNSEEN = re.compile(r"\s+")


def plain(text: object) -> str:
    """Markdown that shows `text` as it is, on one line: no format, link, picture, formula or emoji comes of it.

    What cannot be seen (controls, and marks that turn the direction of writing) is shown as a replacement character.
    """
    line = _seen(text)
    marked = _WORDS.sub(_JOINER, line)
    first = _LEADS.match(marked)
    head = marked[:first.end()] if first else ""
    return _OPENER.sub(_reference, head) + _MARKS.sub(_reference, marked[len(head):])


def source(paper: Paper) -> str:
    """A paper as it is cited, with a link where it can be read."""
    title = f"[{paper.title}]({paper.url})" if paper.url else paper.title
    return ", ".join([f"{paper.authors}: {title}", *filter(None, (paper.where, paper.year and str(paper.year)))]) + "."


def in_archive(name: str, split: str) -> str | None:
    """What there is to say of a picture's name that is a path, and may tell of another split than the chosen one."""
    if "/" not in name or name.startswith(f"{split}/"):
        return None
    return (f"The path in the data set's own archive, whose folders may be called train or test whatever the split: "
            f"these pictures are of the split {plain(split)}.")


def capital(text: object) -> str:
    """An error's line as a sentence begins."""
    line = str(text)
    return line[:1].upper() + line[1:]


def literal(text: object) -> str:
    """The same for Plotly, in labels, names and templates."""
    return re.sub(r"[<>&%{}$]", _reference, _seen(text))


def _seen(text: object) -> str:
    line = _UNSEEN.sub(" ", str(text)).strip()
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def _reference(mark: re.Match[str]) -> str:
    return f"&#{ord(mark[0])};"
