"""The lines of the index: what is known of a kept result without opening it, and how results are looked for."""

import json
import math
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Row = tuple[Any, ...]  # a line, of these columns
COLUMNS = "key, kind, title, spec, created, bytes, starred, name, note"
_MOST = 2**62  # SQLite counts no further
_LONG = 300  # characters of a text in a spec by which it can be found; what is longer is data, such as a drawn mask
_DIGEST = re.compile(r"[0-9a-f]{32,}")  # by which nobody looks, and in which "fab" is found now and then


@dataclass(frozen=True)
class Label:
    """What somebody calls a result, and what they noted of it; empty: nothing."""

    name: str = ""
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """What the index knows of a result; its facts and arrays are in its file."""

    key: str
    kind: str
    title: str
    spec: dict[str, Any]
    created: float
    bytes: int
    starred: bool
    label: Label = Label()

    @property
    def called(self) -> str:
        """Its name where somebody gave it one, else its title."""
        return self.label.name or self.title

    @classmethod
    def of_row(cls, row: Row) -> "Entry":
        """The entry of a line of the index; raises ValueError."""
        key, kind, title, spec, created, size, starred, name, note = row
        return cls(key, kind, title, json.loads(spec), created, size or 0, bool(starred), Label(name, note))


@dataclass(frozen=True)
class About:
    """What a file says of its result: everything but its arrays."""

    key: str
    kind: str
    title: str
    spec: dict[str, Any]
    facts: dict[str, Any]
    created: float

    def row(self) -> tuple[str, str, str, str, str, float]:
        return self.key, self.kind, self.title, json.dumps(self.spec), json.dumps(self.facts), self.created

    @classmethod
    def of_row(cls, row: list[Any]) -> "About":
        """What the row says; raises ValueError and TypeError where that is nothing that `row` gives."""
        key, kind, title, spec, facts, created = row
        about = cls(key, kind, title, json.loads(spec), json.loads(facts), float(created))
        texts, objects = (key, kind, title), (about.spec, about.facts)
        if not (all(isinstance(text, str) for text in texts) and all(isinstance(each, dict) for each in objects)
                and math.isfinite(about.created)):
            raise ValueError("it says other things than results do")
        return about


class Order(Enum):
    """Which results come first."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LARGEST = "largest"


_SORTED = {Order.NEWEST: "created desc, key", Order.OLDEST: "created, key", Order.LARGEST: "bytes desc, key"}


@dataclass(frozen=True)
class Wanted:
    """Which results are looked for: of one kind, or of one `among` some, with all words of a text in their title, name,
    note or their spec's values, starred ones alone, or of these `keys`; by default all."""

    kind: str | None = None
    text: str = ""
    starred: bool = False
    order: Order = Order.NEWEST
    among: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None


ALL = Wanted()


@dataclass(frozen=True)
class Page:
    """Some of the results that were looked for, and how many there are in all."""

    entries: list[Entry]
    total: int


@dataclass(frozen=True)
class Share:
    """So many results, and what their files weigh."""

    results: int = 0
    bytes: int = 0

    def __add__(self, other: "Share") -> "Share":
        return Share(self.results + other.results, self.bytes + other.bytes)


@dataclass(frozen=True)
class Usage:
    """What the kept results take of the disk, and what is free there (None where the disk does not say)."""

    all: Share = Share()
    starred: Share = Share()
    kinds: dict[str, Share] = field(default_factory=dict)
    free: int | None = None


def enter(connection: sqlite3.Connection, about: About, file: os.stat_result, starred: bool, label: Label) -> None:
    """List a result, in place of what was listed under its key."""
    spec = json.dumps(about.spec)
    connection.execute(
        "insert or replace into results (key, kind, title, spec, created, words, bytes, used, starred, name, note) "
        "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (about.key, encodable(about.kind), encodable(about.title), spec, about.created, words(about.title, spec, label),
         file.st_size, file.st_mtime, starred, label.name, label.note))
    connection.execute("delete from earlier where key = ?", (about.key,))


def remove(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    for key in keys:
        connection.execute("delete from results where key = ?", (key,))
        connection.execute("delete from earlier where key = ?", (key,))


def mark(connection: sqlite3.Connection, key: str, starred: bool) -> None:
    connection.execute("update results set starred = ?1 where key = ?2", (starred, key))


def call(connection: sqlite3.Connection, key: str, label: Label) -> None:
    """Give a listed result this label, by which it is found from now on."""
    for title, spec in connection.execute("select title, spec from results where key = ?", (key,)).fetchall():
        connection.execute("update results set name = ?, note = ?, words = ? where key = ?",
                           (label.name, label.note, words(title, spec, label), key))


def labels(connection: sqlite3.Connection) -> dict[str, Label]:
    """The labels that are listed, by key."""
    lines = connection.execute("select key, name, note from results where name <> '' or note <> ''")
    return {key: Label(name, note) for key, name, note in lines}


def note_use(connection: sqlite3.Connection, key: str, used: float) -> None:
    connection.execute("update results set used = ? where key = ?", (used, key))


def find(connection: sqlite3.Connection, wanted: Wanted, limit: int, offset: int) -> tuple[list[Row], int]:
    """The lines from the one at `offset` on, at most `limit`, and how many there are in all."""
    which = ("from results where (?1 is null or kind = ?1) and (starred or not ?2) and not exists "
             "(select 1 from json_each(?3) where instr(results.words, value) = 0) "
             "and (?4 is null or kind in (select value from json_each(?4))) "
             "and (?5 is null or key in (select value from json_each(?5)))")
    kind = None if wanted.kind is None else encodable(wanted.kind)
    among, keys = (None if some is None else json.dumps(some) for some in (wanted.among, wanted.keys))
    values = kind, wanted.starred, json.dumps(encodable(wanted.text).casefold().split()), among, keys
    (total,) = connection.execute(f"select count(*) {which}", values).fetchone()
    rows = connection.execute(f"select {COLUMNS} {which} order by {_SORTED[wanted.order]} limit ?6 offset ?7",
                              (*values, min(limit, _MOST), min(offset, _MOST))).fetchall()
    return rows, total


def beginning_with(connection: sqlite3.Connection, beginning: str, most: int) -> list[Row]:
    """The line of the key `beginning`, or else those whose keys begin so, at most `most`."""
    return connection.execute(f"select {COLUMNS} from results where substr(key, 1, length(?1)) = ?1 "
                              "order by key <> ?1, key limit ?2", (encodable(beginning), most)).fetchall()


def usage(connection: sqlite3.Connection) -> Usage:
    every, starred = Share(), Share()
    kinds: dict[str, Share] = {}
    for kind, star, *counted in connection.execute(
            "select kind, starred, count(*), coalesce(sum(bytes), 0) from results group by kind, starred"):
        share = Share(*counted)
        every += share
        kinds[kind] = kinds.get(kind, Share()) + share
        if star:
            starred += share
    return Usage(every, starred, kinds)


def unstarred(connection: sqlite3.Connection) -> list[tuple[float, float, str, int]]:
    """When they were used (as far as the index knows) and made, their keys and sizes; the longest unused first."""
    return connection.execute("select used, created, key, coalesce(bytes, 0) from results where not starred "
                              "order by used, created, key").fetchall()


def encodable(text: str) -> str:
    """The text as a database can keep it: a file's name may hold bytes that are no text."""
    return text.encode(errors="backslashreplace").decode()


def words(title: str, spec: str, label: Label = Label()) -> str:
    """By what a result of this title, spec (as JSON) and label is found."""
    try:
        values = json.loads(spec)
    except (ValueError, RecursionError):  # a damaged line; it is found out when it is listed
        values = None
    said = [title, label.name, label.note, *(text[:_LONG] for text in _texts(values))]
    return encodable("\n".join(filter(None, said)).casefold())


def _texts(values: object) -> Iterator[str]:
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and value and not _DIGEST.fullmatch(value):
            yield value
