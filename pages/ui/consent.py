"""Which paths on this machine are opened without a question, whoever wrote the link or the run that names them.

Folders that whoever runs the dashboard has named, and what this visitor has opened before. A path that was typed into
a control is consent; about any other the page asks, and until it is answered nothing on disk is looked at: a mere look
can wake a network drive, and its answer tells what is there.
"""

import os
from collections.abc import Iterable
from pathlib import PurePath

import streamlit as st

from engine.errors import EngineError
from engine.home import home

FOLDERS = "PERTURBSCOPE_FOLDERS"
_OPENED = "opened paths"


class Unopened(EngineError):
    """A path that somebody else chose; `path` is that path, made absolute as far as that goes without a look at it."""

    def __init__(self, path: str) -> None:
        super().__init__(f"'{path}' was not opened here before; choose it yourself, or name its folder in {FOLDERS}")
        self.path = path


def named() -> list[str]:
    """The folders named by whoever runs the dashboard, and that of the models trained here."""
    chosen = [*os.environ.get(FOLDERS, "").split(os.pathsep), os.environ.get("PERTURBSCOPE_DATA", "")]
    return [*filter(None, chosen), str(home() / "models")]


def check(path: str) -> None:
    """Raises Unopened for a path that may not be opened without a question."""
    opened: set[str] = st.session_state.get(_OPENED, set())
    if path not in opened and not within(path, [*named(), *opened]):
        raise Unopened(written(path))


def give(path: str) -> None:
    """This visitor wants the path opened, and what lies below it."""
    st.session_state.setdefault(_OPENED, set()).update((path, os.path.abspath(os.path.expanduser(path))))


def within(path: str, folders: Iterable[str]) -> bool:
    """Whether `path` is one of the folders or lies in one, as it is written and with symbolic links followed.

    Links are followed only where the writing has led into a folder.
    """
    asked, trusted = written(path), [(written(f), _real(f)) for f in folders if not _of_another(f)]
    if _of_another(path) or not any(_inside(asked, name) for names in trusted for name in names):
        return False
    return any(_inside(_real(path), place) for _, place in trusted)


def written(path: str) -> str:
    """The path from the root down, without '.' and '..', by its letters alone."""
    return os.path.normcase(os.path.abspath(_expanded(path)))


def _real(path: str) -> str:
    try:
        return os.path.normcase(os.path.realpath(_expanded(path)))
    except (OSError, ValueError):  # bytes that no name has, a loop of links: whoever opens it says what is wrong
        return written(path)


def _expanded(path: str) -> str:
    """As the engine reads it: './~' is the own home, too."""
    text = str(PurePath(path))
    return text if _of_another(path) else os.path.expanduser(text)


def _of_another(path: str) -> bool:
    """Whether the path begins with '~name', somebody's home: where that is, only the system's accounts know."""
    first = PurePath(path).parts[:1]
    return first != ("~",) and "".join(first).startswith("~")


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
