"""python -m engine runs: the kept results of long work, by name: found, compared, given away and taken in."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import disk
from engine.cli.output import print_json, printable
from engine.cli.parser import Commands
from engine.cli.store import action, add_search, kept_store, known, print_span, searched, starred, when
from engine.errors import EngineError, UnknownName, shortened
from engine.home import expanded

if TYPE_CHECKING:
    from engine.experiments.runs.kept import Kept
    from engine.work.entries import Entry
    from engine.work.store import Store

_SHORT, _WIDE = 12, 100  # characters of a key and of a title in a list


def add(commands: Commands) -> None:
    parser = commands.add_parser("runs", help="kept runs of evaluate, curve, transfer, query-curve: list, show, name, "
                                              "compare, report, export, import")
    actions = parser.add_subparsers(dest="action", required=True)

    listing = action(actions, "list", _list, "runs, a line each")
    add_search(listing, "such as evaluation or transfer", "name, note, title or spec")

    _of_one(actions, "show", _show, "what a run found: a line for every attack, budget and model")
    for name, run, text in (("delete", _delete, "delete runs; `runs restore` undoes it for a moment"),
                            ("star", _star, "never remove these runs to make room for others"),
                            ("unstar", _star, "take the stars away"),
                            ("compare", _compare, "what differs in what was asked for, and in what came of it")):
        action(actions, name, run, text).add_argument("keys", nargs="+", metavar="KEY",
                                                      help="as in the list; the beginning is enough")
    action(actions, "restore", _restore, "undo the last deletion")
    for name, run in (("name", _name), ("note", _note)):
        labelled = _of_one(actions, name, run, f"give a run a {name}; without a text, take it away")
        labelled.add_argument("text", nargs="*", help=f"the {name}")

    _of_one(actions, "repeat", _repeat, "compute a run once more, from nothing, and tell whether the same comes of it")
    export = _of_one(actions, "export", _export, "a run as one file: spec, rows, figures, versions")
    export.add_argument("--out", metavar="FILE", help="where to (default: the key with the ending of such files, here)")
    export.add_argument("--images", action="store_true", help="with the perturbed images that are kept")
    report = _of_one(actions, "report", _report, "a report that opens anywhere: HTML or PDF, with everything in it")
    report.add_argument("--out", metavar="FILE", required=True, help="where to; it ends in .html or .pdf")
    report.add_argument("--quick", action="store_true", help="of what is kept alone: no sample images, and no "
                                                             "comparison with the eye or of gradients, are computed")
    taken = action(actions, "import", _import, "take in files that `runs export` wrote; nothing in them is believed")
    taken.add_argument("files", nargs="+", metavar="FILE")


def _of_one(actions: Commands, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser = action(actions, name, run, text)
    parser.add_argument("key", metavar="KEY", help="as in the list; the beginning is enough")
    return parser


# ---- to look at


def _list(arguments: argparse.Namespace) -> None:
    from engine.experiments.runs.kept import run_kinds
    from engine.work.room import size_text

    store, kinds = kept_store(), run_kinds()
    if arguments.kind is not None and arguments.kind not in kinds:
        raise UnknownName("kind of run", arguments.kind, kinds)
    page = searched(arguments, store, kinds)
    if arguments.json:
        return print_json({"runs": [facts_of(entry) for entry in page.entries], "total": page.total,
                           "offset": arguments.offset})
    width = max((len(entry.kind) for entry in page.entries), default=0)
    for entry in page.entries:
        print(f"{entry.key[:_SHORT]}  {'*' if entry.starred else ' '} {entry.kind:{width}}  {when(entry.created)}  "
              f"{size_text(entry.bytes):>7}  {_called(entry)}")
    print_span(page, arguments.offset, f"no such runs are kept in {printable(str(store.folder))}")


def facts_of(entry: Entry) -> dict[str, Any]:
    """What is known of a run without opening it, JSON-able."""
    from engine.experiments.runs.kept import is_imported

    return {**asdict(entry.label), **known(entry), "imported": is_imported(entry.key)}


def _called(entry: Entry) -> str:
    from engine.experiments.runs.kept import is_imported

    return f"{shortened(entry.called, _WIDE)}{' (imported)' if is_imported(entry.key) else ''}"


def _show(arguments: argparse.Namespace) -> None:
    from engine.experiments.runs.kept import device_of
    from engine.experiments.runs.pictures import spec_of
    from engine.experiments.runs.repeating import command

    kept = _read(arguments.key)
    if arguments.json:
        return print_json({**facts_of(kept.entry), "runs": [rows.facts() for rows in kept.runs]})
    entry = kept.entry
    print(_called(entry))
    if entry.label.name:
        print(f"  title    {shortened(entry.title, _WIDE)}")
    for line in entry.label.note.splitlines():
        print(f"  note     {printable(line)}")
    print(f"  key      {shortened(entry.key, 80)}")
    print(f"  kind     {entry.kind}{', starred' if entry.starred else ''}")
    print(f"  kept     {when(entry.created)}")
    _print_runs(kept)
    for line in command(entry.kind, spec_of(kept), kept.runs[0].classes, device_of(kept.runs[0])).splitlines():
        print(f"  {printable(line)}")


def _print_runs(kept: Kept) -> None:
    from engine.experiments.runs.comparison import overview

    for _, line in overview(kept.runs, kept.readings).iterrows():
        reached = "" if line["success_of"] == 0 else f"   success {line['success']:6.1%} of {line['success_of']}"
        settings = ", ".join(f"{name} {shortened(line[name])}"
                             for name in ("reading", "surrogate", "defenses", "attacker", "mask") if line[name])
        print(f"  {shortened(line['model'])}  {line['attack']:10} {line['eps']:>10}  seed {line['seed']}  "
              f"n {line['n']}   accuracy {line['accuracy_clean']:6.1%} -> {line['accuracy_adversarial']:6.1%} "
              f"({line['low']:.1%} to {line['high']:.1%}){reached}{'   ' if settings else ''}{settings}")


def _compare(arguments: argparse.Namespace) -> None:
    from engine.experiments.runs.comparison import differences, pairs, subtracted

    store = kept_store()
    runs = [_read(key, store) for key in arguments.keys]
    if len({kept.entry.key for kept in runs}) < 2:
        raise EngineError("name at least two runs to compare")
    rows = differences([kept.entry.spec for kept in runs])
    moved = []
    if len(runs) == 2 and runs[0].entry.kind == runs[1].entry.kind:
        moved = [(one, subtracted(one, other)) for one, other in pairs(runs[0].runs, runs[1].runs)
                 if one.classes == other.classes]
    if arguments.json:
        return print_json({
            "runs": [facts_of(kept.entry) for kept in runs],
            "differences": [{"setting": row.setting, "values": row.values} for row in rows],
            "found": [_records(kept) for kept in runs],
            "matrices": [{"model": one.provenance.model, "attack": one.spec.attack, "eps": one.spec.eps,
                          "classes": change.classes, "columns": change.columns, "same_images": change.same,
                          "change": change.values.tolist()} for one, change in moved]})
    for number, kept in enumerate(runs, 1):
        print(f"{number}  {kept.entry.key[:_SHORT]}  {_called(kept.entry)}")
        _print_runs(kept)
    print("what differs in what was asked for:" if rows else "the same was asked for")
    for row in rows:
        print(f"  {shortened(row.setting)}: {' | '.join(shortened(value) or '-' for value in row.values)}")


def _records(kept: Kept) -> list[dict[str, Any]]:
    """The overview, JSON-able: what is of nothing is null."""
    from engine.experiments.runs.comparison import overview

    table = overview(kept.runs, kept.readings).astype(object)
    return table.where(table.notna(), None).to_dict("records")


def _read(key: str, store: Store | None = None) -> Kept:
    from engine.experiments.runs.kept import read

    return read(store or kept_store(), key)


# ---- to change


def _found(arguments: argparse.Namespace) -> tuple[Store, list[Entry]]:
    """All runs that are named, before anything is done to one."""
    store = kept_store()
    keys = dict.fromkeys(_entry(store, key).key for key in arguments.keys)
    return store, [store.entry(key) for key in keys]


def _entry(store: Store, key: str) -> Entry:
    from engine.experiments.runs.kept import checked

    return checked(store.entry(key))


def _tell(arguments: argparse.Namespace, done: str, found: list[Entry], **more: Any) -> None:
    if arguments.json:
        return print_json({done: [entry.key for entry in found], **more})
    for entry in found:
        print(f"{done} {entry.key[:_SHORT]}  {_called(entry)}")


def _delete(arguments: argparse.Namespace) -> None:
    store, found = _found(arguments)
    deletion = store.discard(*(entry.key for entry in found))
    _tell(arguments, "deleted", found, undo=deletion is not None)
    if not arguments.json:
        print("`python -m engine runs restore` undoes it for a quarter of an hour" if deletion else
              "it was too large to be had back")


def _restore(arguments: argparse.Namespace) -> None:
    store = kept_store()
    deletions = store.deletions()
    if not deletions:
        raise EngineError("nothing was deleted in the last quarter of an hour that could be had back")
    _tell(arguments, "restored", [store.entry(key) for key in store.restore(deletions[0].name)])


def _star(arguments: argparse.Namespace) -> None:
    store, found = _found(arguments)
    _tell(arguments, starred(store, found, arguments.action), found)


def _name(arguments: argparse.Namespace) -> None:
    _label(arguments, name=" ".join(arguments.text))


def _note(arguments: argparse.Namespace) -> None:
    _label(arguments, note=" ".join(arguments.text))


def _label(arguments: argparse.Namespace, **texts: str) -> None:
    store = kept_store()
    key = _entry(store, arguments.key).key
    store.call(key, **texts)
    entry = store.entry(key)
    if arguments.json:
        return print_json(facts_of(entry))
    print(f"{entry.key[:_SHORT]}  {_called(entry)}")


def _repeat(arguments: argparse.Namespace) -> None:
    from engine.cli.options import bench
    from engine.experiments.runs.again import again

    kept = _read(arguments.key)
    found = again(kept, bench(argparse.Namespace(device="auto")))
    if arguments.json:
        return print_json({"repeated": kept.entry.key, **asdict(found)})
    if found.same:
        print(f"the same came of it, to the last bit, on all {found.of} images")
    else:
        print(f"{found.differ} of {found.of} predictions of attacked images differ; norms or other numbers may, too")
    if kept.imported:
        print(f"as it was computed here it is kept as {found.key[:_SHORT]}")


# ---- out and in


def _export(arguments: argparse.Namespace) -> None:
    from engine.experiments.reports.reporting import drawn
    from engine.experiments.runs.archive import SUFFIX, export
    from engine.experiments.runs.pictures import pictures_of

    store = kept_store()
    kept = _read(arguments.key, store)
    out = expanded(arguments.out or f"{kept.entry.key[:_SHORT]}{SUFFIX}")
    found = [0]

    def counted() -> Any:
        for some in pictures_of(store, kept):
            found[0] += len(some.images)
            yield some

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            export(store, kept, file, counted() if arguments.images else (), drawn(store, kept))

    _write(out, write)
    total = sum(len(rows.labels) for rows in kept.runs)
    facts = {"exported": kept.entry.key, "file": str(out), "bytes": out.stat().st_size, "images": found[0],
             "of_images": total}
    if arguments.json:
        return print_json(facts)
    print(f"wrote {printable(str(out))}"
          + (f" with {found[0]} of {total} perturbed images; the others are not kept" if arguments.images else ""))


def _write(out: Path, write: Any) -> None:
    try:
        with disk.replacing(out) as aside:
            write(aside)
    except OSError as error:
        raise EngineError(f"{shortened(str(out))} could not be written {disk.advice(error, '--out')}") from None
    except ValueError:  # bytes that no name has
        raise EngineError(f"--out {shortened(str(out))} is no name of a file; choose another") from None


def _report(arguments: argparse.Namespace) -> None:
    from engine.cli.options import bench
    from engine.cli.output import remark, shown_progress
    from engine.experiments.reports.given import missing_of
    from engine.experiments.reports.reporting import checked, made

    store, out = kept_store(), expanded(arguments.out)
    kept, form = _read(arguments.key, store), checked(out.suffix.lower().removeprefix("."))
    for task in () if arguments.quick else missing_of(store, kept).tasks:
        try:
            bench(argparse.Namespace(device=task.device)).result(task)
        except EngineError as error:  # such as a device that is not here
            remark(f"something is left out of the report: {shortened(str(error))}")
    file = made(store, kept, form, shown_progress().report)
    _write(out, lambda aside: aside.write_bytes(file))
    if arguments.json:
        return print_json({"report": kept.entry.key, "file": str(out), "bytes": len(file)})
    print(f"wrote {printable(str(out))}")


def _import(arguments: argparse.Namespace) -> None:
    from engine.experiments.runs.archive import imported, open_archive

    store, found = kept_store(), []
    for name in arguments.files:
        try:
            with expanded(name).open("rb") as file:
                found.append(open_archive(file))
        except (OSError, ValueError) as error:
            if isinstance(error, EngineError):
                raise EngineError(f"{shortened(name)}: {error}") from None
            reason = getattr(error, "strerror", None) or error
            raise EngineError(f"{shortened(name)} cannot be read ({reason}); give an exported run's path") from None
    _tell(arguments, "imported", [store.entry(imported(store, one)) for one in found])
