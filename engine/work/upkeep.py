"""The index brought in line with the files: after damage, an update, or a crash between the two."""

import contextlib
import sqlite3
from collections.abc import Collection, Sequence

from engine.work import entries
from engine.work.files import Files

_BATCH = 50  # results listed in one transaction: others wait no longer than for that


def fill(index: sqlite3.Connection, files: Files) -> str:
    """List what is kept, as it is, and nothing else; tells what could be listed in one line."""
    listed = {key for (key,) in index.execute("select key from results")}
    kept = files.results()
    unlisted = sorted(kept - listed)
    adopted = sum(adopt(index, files, unlisted[at:at + _BATCH]) for at in range(0, len(unlisted), _BATCH))
    _forget_gone(index, files, listed - kept)
    _measure(index, files)
    _mark_starred(index, files, kept)
    _call(index, files, kept)
    lost = len(unlisted) - adopted
    missed = f"; {lost} could not be, and are computed again when asked for" if lost else ""
    return f"Results listed again: {adopted}{missed}."


def adopt(index: sqlite3.Connection, files: Files, keys: Sequence[str]) -> int:
    """List these results as their files describe them; how many do."""
    found = [described for key in keys if (described := files.described(key)) is not None]
    if found:
        with index:
            for about, file in found:
                entries.enter(index, about, file, files.starred(about.key), files.label(about.key))
    return len(found)


def _forget_gone(index: sqlite3.Connection, files: Files, keys: Collection[str]) -> None:
    if keys:
        with index:
            index.execute("begin immediate")  # another process that keeps one of them now lists it afterwards
            entries.remove(index, [key for key in keys if not files.has(key)])


def _measure(index: sqlite3.Connection, files: Files) -> None:
    """Note the size and the time of files that were listed before indexes knew of either."""
    measured = []
    for (key,) in index.execute("select key from results where bytes is null"):
        with contextlib.suppress(OSError):
            file = files.result(key).stat()
            measured.append((file.st_size, file.st_mtime, key))
    if measured:
        with index:
            index.executemany("update results set bytes = ?, used = ? where key = ?", measured)


def _mark_starred(index: sqlite3.Connection, files: Files, kept: Collection[str]) -> None:
    marked = {key for (key,) in index.execute("select key from results where starred")}
    if changed := (marked ^ files.stars()).intersection(kept):
        with index:
            for key in changed:
                entries.mark(index, key, files.starred(key))


def _call(index: sqlite3.Connection, files: Files, kept: Collection[str]) -> None:
    listed = entries.labels(index)
    lying = {key: files.label(key) for key in (files.labelled() | listed.keys()) & set(kept)}
    if changed := {key: label for key, label in lying.items() if listed.get(key, entries.Label()) != label}:
        with index:
            for key, label in changed.items():
                entries.call(index, key, label)
