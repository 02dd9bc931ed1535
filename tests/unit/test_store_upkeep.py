"""Indexes of before are brought up to date with nothing lost, and index and files agree again after whatever came
between them."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError
from engine.work.entries import Order, Share, Wanted
from engine.work.index import MIGRATIONS
from engine.work.store import Payload, Store

ROOT = Path(__file__).resolve().parents[2]
FACTS = {"eps": 1 / 255, "psnr": None}
SPEC = {"model": "phantom-cxr/resnet18", "attack": {"attack": "pgd"}, "weights": "a" * 64}
FIRST = ("create table results (key text primary key, kind text not null, title text not null, spec text not null, "
         "facts text not null, created real not null)")


def put(store: Store, key: str = "k") -> None:
    store.put(key, "explore", f"title of {key}", SPEC, Payload(FACTS, {"a": np.arange(9)}))


def starred(store: Store) -> list[str]:
    return [entry.key for entry in store.search(Wanted(starred=True)).entries]


def first_version(folder: Path, keys: list[str], described: bool = True) -> None:
    """A folder as the first version of the index left it; files that are not `described` say nothing of themselves."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as connection, connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute(FIRST)
        for created, key in enumerate(keys):
            row = key, "explore", f"title of {key}", json.dumps(SPEC), json.dumps(FACTS), float(created)
            connection.execute("insert into results values (?, ?, ?, ?, ?, ?)", row)
            about = {"#about": np.frombuffer(json.dumps(row).encode(), np.uint8)} if described else {}
            np.savez(folder / f"{key}.npz", a=np.arange(9), **about)
        connection.execute("pragma user_version = 1")


def weighed(folder: Path) -> Share:
    files = list(folder.glob("*.npz"))
    return Share(len(files), sum(file.stat().st_size for file in files))


@pytest.mark.parametrize("described", [True, False])
def test_an_index_of_the_first_version_loses_nothing(tmp_path, described: bool) -> None:
    first_version(tmp_path, ["a", "b", "c"], described)
    store = Store(tmp_path)
    found = store.search(Wanted(text="resnet18 pgd"))
    assert [entry.key for entry in found.entries] == ["c", "b", "a"]
    for created, entry in enumerate(reversed(found.entries)):
        assert (entry.kind, entry.title, entry.spec) == ("explore", f"title of {entry.key}", SPEC)
        assert entry.created == created and not entry.starred
        assert entry.bytes == (tmp_path / f"{entry.key}.npz").stat().st_size
        assert store.facts(entry.key) == FACTS and store.get(entry.key) is not None
    assert store.usage().all == weighed(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
        assert connection.execute("pragma user_version").fetchone() == (len(MIGRATIONS),) == (3,)
    put(store, "a")  # whose file says all about itself now
    assert store._index.ask(lambda index: index.execute("select 1 from earlier where key = 'a'").fetchall()) == []


def test_a_line_of_before_that_is_damaged_keeps_no_other_from_being_brought_along(tmp_path) -> None:
    first_version(tmp_path, ["a", "b", "c"])
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection, connection:
        connection.execute("update results set spec = '{' where key = 'a'")
        connection.execute("update results set title = cast(x'ff20ff' as text) where key = 'b'")
    assert [entry.key for entry in Store(tmp_path).recent()] == ["c", "b"]


def test_an_update_that_was_killed_before_the_files_were_weighed_goes_on(tmp_path) -> None:
    first_version(tmp_path, ["a", "b"])
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection, connection:
        MIGRATIONS[1](connection)
        connection.execute("pragma user_version = 2")
    assert Store(tmp_path).usage().all == weighed(tmp_path)


def test_a_store_in_use_notices_an_index_of_before(tmp_path) -> None:
    """As when somebody copies a backup over it."""
    put(store := Store(tmp_path))
    for path in tmp_path.iterdir():
        path.unlink()
    first_version(tmp_path, ["old"])
    assert store.usage().all == weighed(tmp_path) and [entry.key for entry in store.recent()] == ["old"]


# A process that does all this once it is told to.
AT_ONCE = """
import json, sys
from pathlib import Path
from engine.work.store import Payload, Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
listed = store.search(limit=1000)
usage = store.usage()
store.put(sys.argv[2], "explore", "new", {}, Payload({}, {}))
store.star(sys.argv[2])
print(json.dumps([listed.total, usage.all.bytes, store.notes]))
"""


def at_once(script: str, folder: Path, names: list[str]) -> list[str]:
    """The last lines of processes that begin together."""
    running = [subprocess.Popen([sys.executable, "-c", script, str(folder), name], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True, cwd=ROOT) for name in names]
    for process in running:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running)
    return said


def test_processes_that_begin_together_bring_an_index_up_to_date_once(tmp_path) -> None:
    old = [f"old{number:03}" for number in range(150)]
    first_version(tmp_path, old)
    size = weighed(tmp_path).bytes
    for said in at_once(AT_ONCE, tmp_path, ["x", "y", "z"]):
        total, known, notes = json.loads(said)
        assert notes == [] and 150 <= total <= 153 and size <= known < size + 10_000
    store = Store(tmp_path)
    assert store.usage().all == weighed(tmp_path) and store.search().total == 153
    assert sorted(starred(store)) == ["x", "y", "z"] and not list(tmp_path.glob("*.damaged-*"))
    assert all(store.facts(key) == FACTS for key in old[::50])


KEEP_MANY = """
import sys
from pathlib import Path
import numpy as np
from engine.work.store import Payload, Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(15):
    key = f"{sys.argv[2]}{number}"
    store.put(key, "explore", "t", {}, Payload({}, {"a": np.zeros(10_000, np.uint8)}))
    if number == 3:
        store.star(key)
print(store.notes)
"""


def test_processes_that_keep_results_together_share_the_limit(tmp_path) -> None:
    Store(tmp_path).set_limit(100_000)
    assert at_once(KEEP_MANY, tmp_path, ["x", "y"]) == ["[]\n"] * 2
    store = Store(tmp_path)
    assert store.usage().all == weighed(tmp_path) and 80_000 < weighed(tmp_path).bytes <= 100_000
    assert {"x3", "y3"} == set(starred(store))


# ---- a process that is killed between the file and the index

KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from engine.work import entries
from engine.work.index import Index
from engine.work.store import Payload, Store
store = Store(Path(sys.argv[1]))
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def put():
    store.put("b", "explore", "b", {"attack": "pgd"}, Payload({"n": 1}, {"a": np.zeros(5000)}))
def killed(place, name):
    setattr(place, name, kill)
exec(sys.argv[2])
"""


def killed(folder: Path, steps: str) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED, str(folder), steps], capture_output=True, text=True, cwd=ROOT,
                         check=False)
    assert run.returncode == -9, run.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of Unix")
@pytest.mark.parametrize(("steps", "left", "stars"), [
    ("killed(Index, 'ask'); put()", {"a", "b"}, []),
    ("put(); killed(Index, 'ask'); store.star('b')", {"a", "b"}, ["b"]),
    ("put(); store.star('b'); killed(Index, 'ask'); store.star('b', False)", {"a", "b"}, []),
    ("put(); store.star('b'); killed(Index, 'ask'); store.delete('b')", {"a"}, []),
    ("store.set_limit(100); killed(entries, 'remove'); put()", {"b"}, []),
])
def test_what_a_killed_process_left_undone_is_put_right_at_the_next_start(tmp_path, steps: str, left: set[str],
                                                                         stars: list[str]) -> None:
    put(Store(tmp_path), "a")
    killed(tmp_path, steps)
    store = Store(tmp_path)
    assert store.usage().all == weighed(tmp_path) and store.notes == []
    assert {entry.key for entry in store.search().entries} == left and starred(store) == stars
    if "b" in left:
        entry = store.entry("b")
        assert entry.bytes == (tmp_path / "b.npz").stat().st_size > 40_000 and entry.spec == {"attack": "pgd"}
        assert store.search(Wanted(text="pgd", order=Order.LARGEST)).entries[0].key == "b"


# ---- stars and damage


def overwritten(path: Path) -> None:
    path.write_bytes(b"x" * 4096)


@pytest.mark.parametrize("damage", [overwritten, Path.unlink])
@pytest.mark.parametrize("restarted", [True, False])
def test_stars_outlive_the_process_and_the_index(tmp_path, damage: Callable[[Path], None], restarted: bool) -> None:
    store = Store(tmp_path)
    for key in "abc":
        put(store, key)
    store.star("a")
    store.star("c")
    store.star("c", False)
    store.star("c", False)
    assert starred(Store(tmp_path)) == ["a"]
    damage(tmp_path / "index.sqlite")
    if restarted:
        store = Store(tmp_path)
    assert starred(store) == ["a"] and store.search().total == 3
    put(store, "a")  # computed again
    assert starred(store) == ["a"] == starred(Store(tmp_path))


def test_a_starred_result_that_is_damaged_is_starred_again_once_it_is_computed_again(tmp_path) -> None:
    put(store := Store(tmp_path))
    store.star("k")
    (tmp_path / "k.npz").write_bytes(b"no zip")
    assert store.get("k") is None and store.search().total == 0
    put(store)
    assert starred(store) == ["k"]


def test_what_is_not_kept_cannot_be_starred(tmp_path) -> None:
    with pytest.raises(EngineError, match="there is no kept result k"):
        Store(tmp_path).star("k")
    assert list(tmp_path.iterdir()) == []


# ---- disks that cannot be written

AS_NOBODY = """
import os, sys
from pathlib import Path
from engine.errors import EngineError
from engine.work.entries import Wanted
from engine.work.files import Files
from engine.work.store import Store
Files(Path(sys.argv[1])).read("a", ())  # imports what nobody may not, perhaps
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = Store(Path(sys.argv[1]))
assert [entry.key for entry in store.search(Wanted(text="pgd")).entries] == ["b", "a"]
assert store.facts("a") and store.get("a") and store.entry("a").bytes == store.usage().all.bytes // 2 > 0
for change in (lambda: store.star("a"), lambda: store.delete("a"), lambda: store.set_limit(10)):
    try:
        change()
    except EngineError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions are those of Unix")
@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("updated", [True, False])
def test_a_folder_that_is_read_only_is_searched_whatever_its_version(described: bool, updated: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are closed to others
        folder = Path(name)
        first_version(folder, ["a", "b"], described)
        if updated:
            Store(folder).recent()
        before = (folder / "index.sqlite").read_bytes()
        folder.chmod(0o555)
        run = subprocess.run([sys.executable, "-c", AS_NOBODY, name], capture_output=True, text=True, cwd=ROOT,
                             check=False)
        folder.chmod(0o755)
        assert run.returncode == 0, run.stderr
        assert (folder / "index.sqlite").read_bytes() == before
    lines = run.stdout.splitlines()
    assert len(lines) == 3 and all("PERTURBSCOPE_HOME to a folder you can write to" in line for line in lines)


ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from engine.errors import EngineError
from engine.work.store import Payload, Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
store = Store(Path(sys.argv[1]))
assert [entry.key for entry in store.search(limit=100).entries][-2:] == ["b", "a"]
assert store.facts("a") and store.usage().all.bytes > 0 and store.notes == []
try:
    store.put("c", "explore", "c", {}, Payload({}, {}))
except EngineError as error:
    print(error)
assert [entry.key for entry in store.search(limit=100).entries][-2:] == ["b", "a"]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits are those of Unix")
@pytest.mark.parametrize("room", [100, 10_000, 33_000])
def test_on_a_full_disk_an_index_of_before_is_searched_as_well(tmp_path, room: int) -> None:
    first_version(tmp_path, ["a", "b", *map(str, range(60))])
    run = subprocess.run([sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path), str(room)], capture_output=True,
                         text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    assert "free some space" in run.stdout and len(run.stdout.splitlines()) == 1
    assert not list(tmp_path.glob("*.damaged-*"))
    assert Store(tmp_path).usage().all == weighed(tmp_path)


def test_an_index_of_a_newer_version_is_refused_for_searching_too_and_left_alone(tmp_path) -> None:
    put(Store(tmp_path))
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection, connection:
        connection.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
        connection.execute("pragma wal_checkpoint(truncate)")
    before = (tmp_path / "index.sqlite").read_bytes()
    store = Store(tmp_path)
    for question in (store.search, store.usage, lambda: store.entry("k"), lambda: store.star("k"),
                     lambda: store.delete("other")):
        with pytest.raises(EngineError, match="newer Perturbscope; update this one"):
            question()
    assert (tmp_path / "index.sqlite").read_bytes() == before and not list(tmp_path.glob("*.damaged-*"))


def about(**changes: object) -> list[object]:
    said = {"key": "odd", "kind": "explore", "title": "t", "spec": "{}", "facts": "{}", "created": 1.0} | changes
    return list(said.values())


@pytest.mark.parametrize("said", [
    [], {}, None, 5, about(key="k"), about(kind=None), about(title=None), about(title=7), about(spec=None),
    about(spec="[]"), about(facts="[]"), about(spec="["), about(created=None), about(created="now"),
    about(created=float("nan")), about(created=float("inf")), about(created=10**400),
    about(spec='{"a":' * 50_000), [*about(), 1],
])
def test_a_file_that_says_odd_things_of_itself_hides_no_other(tmp_path, said: object) -> None:
    put(Store(tmp_path), "k")
    np.savez(tmp_path / "odd.npz", **{"#about": np.frombuffer(json.dumps(said).encode(), np.uint8)})
    (tmp_path / "index.sqlite").unlink()
    store = Store(tmp_path)
    assert [entry.key for entry in store.search().entries] == ["k"] and store.usage().all.results == 1
    assert store.get("odd") is None


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names there are always text")
def test_a_file_whose_name_is_no_text_hides_no_other(tmp_path) -> None:
    put(Store(tmp_path), "k")
    said = np.frombuffer(json.dumps(about(key="\udcff")).encode(), np.uint8)
    np.savez(tmp_path / "\udcff.npz", **{"#about": said})
    (tmp_path / "\udcff.star").touch()
    assert [entry.key for entry in Store(tmp_path).search().entries] == ["k"]
