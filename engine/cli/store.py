"""python -m engine store: the kept results, what they take of the disk, and how much they may take."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from engine.cli.output import print_json, printable
from engine.cli.parser import Commands
from engine.errors import EngineError, UnknownName, shortened
from engine.work.entries import Order, Wanted

if TYPE_CHECKING:
    from engine.work.entries import Entry, Page, Share
    from engine.work.room import Limit
    from engine.work.store import Store

_SHORT = 12  # characters of a key that tell it from all others, as a rule
_WIDE = 100  # characters of a title in a list


def add(commands: Commands) -> None:
    parser = commands.add_parser("store", help="the kept results: list, show, delete, star; disk use and its limit")
    actions = parser.add_subparsers(dest="action", required=True)

    listing = action(actions, "list", _list, "kept results, a line each")
    add_search(listing, "such as explore or learned", "the title or the spec")

    show = action(actions, "show", _show, "what is known of one result: its spec and facts")
    show.add_argument("key", help="its key, or as much of the beginning as no other has")
    for name, run, text in (("delete", _delete, "forget results, starred or not"),
                            ("star", _star, "never remove these results to make room for others"),
                            ("unstar", _star, "take the stars away")):
        action(actions, name, run, text).add_argument("keys", nargs="+", metavar="KEY",
                                                       help="as in the list; the beginning is enough")

    action(actions, "usage", _usage, "what the results take of the disk, and what is free there")

    limits = actions.add_parser("limit", help="how much they may take: show, set, off")
    limit = limits.add_subparsers(dest="what", required=True)
    action(limit, "show", _show_limit, "how much the results may take")
    size = action(limit, "set", _set_limit, "let unstarred results go, the longest unused first, for new ones")
    size.add_argument("size", nargs="+", metavar="SIZE", help="such as 20 GB, 500 MB, 1.5 GiB")
    action(limit, "off", _lift_limit, "keep everything")


def action(actions: Commands, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run)
    return parser


def add_search(parser: argparse.ArgumentParser, kinds: str, where: str) -> None:
    """The options by which kept things are looked for."""
    parser.add_argument("--kind", help=f"only of this kind, {kinds}")
    parser.add_argument("--text", default="", help=f"only with all these words in {where}: a model, an attack, a data "
                                                   "set")
    parser.add_argument("--starred", action="store_true", help="only starred ones")
    parser.add_argument("--order", default=Order.NEWEST.value, help="newest, oldest or largest first (default newest)")
    parser.add_argument("--limit", type=int, default=20, help="so many (default 20)")
    parser.add_argument("--offset", type=int, default=0, help="after so many that are left out")


def searched(arguments: argparse.Namespace, store: Store, among: tuple[str, ...] | None = None) -> Page:
    """What is looked for, `among` these kinds alone; raises EngineError."""
    orders = [order.value for order in Order]
    if arguments.order not in orders:
        raise UnknownName("order", arguments.order, orders)
    if arguments.limit < 1 or arguments.offset < 0:
        raise EngineError("--limit must be at least 1, and --offset at least 0")
    wanted = Wanted(arguments.kind, arguments.text, arguments.starred, Order(arguments.order), among)
    return store.search(wanted, arguments.limit, arguments.offset)


def print_span(page: Page, offset: int, none: str) -> None:
    """Below a list: which of how many these are; `none` where there are none at all."""
    if page.entries:
        print(f"{offset + 1} to {offset + len(page.entries)} of {page.total}; * is starred")
    else:
        print(f"none of {page.total}" if page.total else none)


def kept_store() -> Store:
    from engine.home import home
    from engine.work.store import store_in

    return store_in(home() / "runs")


def _list(arguments: argparse.Namespace) -> None:
    from engine.work.room import size_text

    store = kept_store()
    page = searched(arguments, store)
    if arguments.json:
        return print_json({"results": [known(entry) for entry in page.entries], "total": page.total,
                           "offset": arguments.offset})
    width = max((len(shortened(entry.kind)) for entry in page.entries), default=0)
    for entry in page.entries:
        print(f"{shortened(entry.key[:_SHORT])}  {'*' if entry.starred else ' '} {shortened(entry.kind):{width}}  "
              f"{when(entry.created)}  {size_text(entry.bytes):>7}  {shortened(entry.called, _WIDE)}")
    print_span(page, arguments.offset, f"no such results are kept in {printable(str(store.folder))}")


def _show(arguments: argparse.Namespace) -> None:
    from engine.work.room import size_text

    store = kept_store()
    entry = store.entry(arguments.key)
    facts = store.facts(entry.key)
    if facts is None:
        raise EngineError(f"the result {shortened(entry.key)} cannot be read; compute it again")
    if arguments.json:
        return print_json({**known(entry), "facts": facts})
    print(shortened(entry.title, _WIDE))
    print(f"  key      {shortened(entry.key, 80)}")
    print(f"  kind     {shortened(entry.kind)}{', starred' if entry.starred else ''}")
    print(f"  kept     {when(entry.created)}, {size_text(entry.bytes)}")
    for name, values in (("spec", entry.spec), ("facts", facts)):
        print(f"  {name}")
        for line in json.dumps(values, indent=2, ensure_ascii=False).split("\n"):
            print(f"    {printable(line)}")


def _delete(arguments: argparse.Namespace) -> None:
    store, found = _found(arguments)
    store.delete(*(entry.key for entry in found))
    _tell(arguments, "deleted", found)


def _star(arguments: argparse.Namespace) -> None:
    store, found = _found(arguments)
    _tell(arguments, starred(store, found, arguments.action), found)


def starred(store: Store, entries: Iterable[Entry], action: str) -> str:
    """Give these stars, or take them away where the action is "unstar"; what was done, in a word."""
    given = action == "star"
    for entry in entries:
        store.star(entry.key, given)
    return "starred" if given else "unstarred"


def known(entry: Entry) -> dict[str, Any]:
    """What is known of a result, JSON-able; a name and a note where somebody gave it any."""
    facts = asdict(entry)
    return facts | {name: text for name, text in facts.pop("label").items() if text}


def _found(arguments: argparse.Namespace) -> tuple[Store, list[Entry]]:
    """All results that are named, before anything is done to one."""
    store = kept_store()
    return store, list({entry.key: entry for entry in map(store.entry, arguments.keys)}.values())


def _tell(arguments: argparse.Namespace, done: str, found: list[Entry]) -> None:
    if arguments.json:
        return print_json({done: [entry.key for entry in found]})
    for entry in found:
        print(f"{done} {shortened(entry.key[:_SHORT])}  {shortened(entry.title, _WIDE)}")


def _usage(arguments: argparse.Namespace) -> None:
    from engine.work.room import size_text

    store = kept_store()
    usage, limit = store.usage(), store.limit
    if arguments.json:
        return print_json({**asdict(usage), "limit": limit.bytes, "folder": str(store.folder)})

    def line(name: str, share: Share) -> None:
        print(f"  {shortened(name, 20):20}  {share.results:6}  {size_text(share.bytes):>8}")

    print(f"results kept in {printable(str(store.folder))}")
    for kind, share in usage.kinds.items():
        line(kind, share)
    line("all", usage.all)
    line("of these starred", usage.starred)
    print(f"  free on that disk: {'unknown' if usage.free is None else size_text(usage.free)}; {_limit_text(limit)}")


def _show_limit(arguments: argparse.Namespace) -> None:
    from engine.work.room import size_text

    store = kept_store()
    limit, used = store.limit, store.usage().all.bytes
    if arguments.json:
        return print_json({"limit": limit.bytes, "said_by": limit.said_by, "bytes": used})
    print(_limit_text(limit))
    if limit.bytes is not None and used > limit.bytes:
        print(f"kept results take {size_text(used)}: when the next one is kept, unstarred ones go, the longest unused "
              "first, until all fit")


def _set_limit(arguments: argparse.Namespace) -> None:
    from engine.work.room import parse_size

    kept_store().set_limit(parse_size(" ".join(arguments.size)))
    _show_limit(arguments)


def _lift_limit(arguments: argparse.Namespace) -> None:
    kept_store().set_limit(None)
    _show_limit(arguments)


def _limit_text(limit: Limit) -> str:
    from engine.work.room import LIMIT, size_text

    by = f", as {LIMIT} says" if limit.said_by == LIMIT else ""
    return f"no limit{by}" if limit.bytes is None else f"limit {size_text(limit.bytes)}{by}"


def when(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # a year that no calendar has
        return f"{'no known time':16}"
