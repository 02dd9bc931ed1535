"""The catalogue of what is kept: one SQLite file that is made again where it is damaged."""

import contextlib
import itertools
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from engine.disk import make_writable, sqlite_code
from engine.errors import EngineError
from engine.work.entries import COLUMNS, words

T = TypeVar("T")
_LITTLE = 2**16  # bytes; what SQLite needs at least to write anything
PATIENCE = 10.0  # seconds to wait for another process that writes
log = logging.getLogger(__name__)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("""create table if not exists results (
        key text primary key, kind text not null, title text not null, spec text not null, facts text not null,
        created real not null)""")


def _lighten(connection: sqlite3.Connection) -> None:
    """Lines that are quickly read, whatever results say: their facts are in their files. `words` is what is searched,
    `bytes` the file's size, NULL until it is measured, and `used` when it was used last, as far as is known.

    The lines of before stay as they are, in `earlier`, for the facts of results whose files do not say them.
    """
    connection.execute("alter table results rename to earlier")
    connection.execute("""create table results (
        key text primary key, kind text not null, title text not null, spec text not null, created real not null,
        words text not null default '', bytes integer, used real not null, starred integer not null default 0)""")
    connection.execute("insert into results (key, kind, title, spec, created, used) "
                       "select key, kind, title, spec, created, created from earlier")
    connection.executemany("update results set words = ? where key = ?", (
        (words(title, spec), key) for key, title, spec in connection.execute("select key, title, spec from earlier")))
    connection.execute("create index results_created on results (created)")
    connection.execute("create index results_sizes on results (kind, starred, bytes)")
    connection.execute("create index results_unused on results (starred, used, created, key, bytes)")


def _label(connection: sqlite3.Connection) -> None:
    """What people call results, and what they note of them; it lies beside the files, from where it is listed."""
    for name in ("name", "note"):
        connection.execute(f"alter table results add column {name} text not null default ''")


# Number n leads from version n of the file to version n + 1; append, and never change one that was published.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_create, _lighten, _label)

# What a damaged file makes SQLite say; SQLITE_ERROR where it is sound but its tables are others.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_NO_ROOM = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)


class Index:
    """The file `path`. Safe to use from several threads and processes.

    `fill` puts into an index that is new, or new to this version, what it can find of that which ought to be in it; it
    is called for the first use in this process, too, makes its own transactions, and tells what it could do in one
    line, or "". `report` is told of every mended damage.
    """

    def __init__(self, path: Path, fill: Callable[[sqlite3.Connection], str], report: Callable[[str], None]) -> None:
        self.path = path
        self._fill = fill
        self._report = report
        self._filled = False

    def ask(self, work: Callable[[sqlite3.Connection], T], reads: bool = False) -> T:
        """What `work` makes of a connection, in one transaction. Raises sqlite3.Error, OSError, EngineError.

        Work that only `reads` is done on a disk that is full, too, where a write-ahead log has no room.
        """
        try:
            return self._attempt(work)
        except sqlite3.Error as error:
            code = sqlite_code(error)
            if reads and code in _NO_ROOM:
                with self._connection(plain=True) as connection:
                    return work(connection)
            if code == sqlite3.SQLITE_IOERR:
                make_writable(self.path.parent, _LITTLE)  # where the disk is full, this says so, and SQLite does not
            if code not in _DAMAGED or not self._mend(error):
                raise
        return self._attempt(work)

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._connection() as connection:
            if self._writable() and (self._prepared(connection) or not self._filled):
                self._fill(connection)
                self._filled = True
            with connection:
                return work(connection)

    @contextlib.contextmanager
    def _connection(self, plain: bool = False) -> Iterator[sqlite3.Connection]:
        # In a folder that is read-only the files that go with a write-ahead log cannot be made: do without.
        plain = plain or not self._writable()
        options = "?mode=ro&immutable=1" if plain else ""
        with contextlib.closing(_connect(self.path.absolute().as_uri() + options)) as connection:
            if not plain:
                yield connection
                return
            self._refuse_newer(connection)
            with _current(connection) as current:
                if current is not connection:
                    self._fill(current)
                yield current

    def _writable(self) -> bool:
        return os.access(self.path.parent, os.W_OK)

    def _prepared(self, connection: sqlite3.Connection) -> bool:
        """Bring the file to this version; whether it was of another."""
        self._refuse_newer(connection)
        older = _version(connection) < len(MIGRATIONS)
        if older:
            _migrate(connection)
        # Readers do not wait for a writer then. It is refused while others are at it: next time.
        if connection.execute("pragma journal_mode").fetchone() != ("wal",):
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("pragma journal_mode = wal")
        return older

    def _refuse_newer(self, connection: sqlite3.Connection) -> None:
        if _version(connection) > len(MIGRATIONS):
            raise EngineError(f"{self.path} was made by a newer Perturbscope; update this one, or set "
                              "PERTURBSCOPE_HOME to another folder")

    def _mend(self, error: sqlite3.Error) -> bool:
        """Set the file aside if it is really damaged, so that the next use makes a new one; whether to try again."""
        with FileLock(self.path.with_name(".mending.lock"), timeout=PATIENCE):
            if self._sound():
                # Another process has mended it meanwhile; or else the mistake is not the file's.
                return sqlite_code(error) != sqlite3.SQLITE_ERROR
            aside = self._free_name()
            for suffix in ("-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
            with self._connection() as connection:
                self._prepared(connection)
                found = self._fill(connection)
        self._filled = True
        line = (f"the list of kept results, {self.path.name}, was damaged ({error}); it was set aside as {aside.name} "
                f"and made again. {found}".strip())
        log.warning("%s", line)
        self._report(line)
        return True

    def _free_name(self) -> Path:
        """Where the damaged file goes; an earlier one is not overwritten."""
        stem = f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
        names = (self.path.with_name(f"{stem}-{number}") for number in itertools.count(1))
        return next(name for name in names if not name.exists())

    def _sound(self) -> bool:
        try:
            with self._connection() as connection:
                rows = connection.execute("pragma integrity_check").fetchall()
                self._refuse_newer(connection)
                with _current(connection) as current:
                    current.execute(f"select {COLUMNS} from results limit 1").fetchall()
                return rows == [("ok",)]
        except sqlite3.Error as error:
            if sqlite_code(error) not in _DAMAGED:
                raise
            return False


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, timeout=PATIENCE, uri=True)
    connection.text_factory = lambda text: text.decode(errors="replace")  # one bad line must not hide the others
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    with connection:
        connection.execute("begin immediate")
        for migrate in MIGRATIONS[_version(connection):]:  # another process may have been quicker
            migrate(connection)
        connection.execute(f"pragma user_version = {len(MIGRATIONS)}")


@contextlib.contextmanager
def _current(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """The index as this version has it: itself, or a copy in memory where it is older."""
    if _version(connection) == len(MIGRATIONS):
        yield connection
        return
    with contextlib.closing(_connect("file::memory:")) as copy:
        connection.backup(copy)
        _migrate(copy)
        yield copy


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("pragma user_version").fetchone()[0])
