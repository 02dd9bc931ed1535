"""How commands are read: what is wrong is one line, and the exit status 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from engine.errors import MOST, EngineError, UnknownName, shortened

if TYPE_CHECKING:
    from engine.experiments.config import Setting


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and exits with 2. A command with `add_config` takes options from a file, too: they
    are read as if they stood before those of the command line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {shortened(message, MOST)}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)

    def parse_known_args(self, args: Sequence[str] | None = None,  # type: ignore[override]
                         namespace: argparse.Namespace | None = None) -> tuple[argparse.Namespace, list[str]]:
        words = list(sys.argv[1:] if args is None else args)
        if any(action.dest == "config" for action in self._actions):
            try:
                words = [*self._from_file(words), *words]
            except EngineError as error:
                self.error(str(error))
        return super().parse_known_args(words, namespace)

    def _from_file(self, words: list[str]) -> list[str]:
        """The options in the file of --config, as a command line would have them; raises EngineError."""
        given = self._given(words)
        if "config" not in given:
            return []
        from engine.experiments.config import ONE_OF, read_config

        settings = read_config(given["config"])
        said = {name.replace("_", "-") for name in given}
        overruled = {name for rivals in ONE_OF if rivals & said for name in rivals}
        return list(self._words({n: v for n, v in settings.items() if n not in overruled}))

    def _given(self, words: list[str]) -> dict[str, Any]:
        """What the command line itself says, whether or not that is all that is needed."""
        required = [action for action in self._actions if action.required]
        nothing = argparse.Namespace(**{action.dest: None for action in self._actions})
        for action in required:
            action.required = False
        try:
            found, _ = super().parse_known_args(words, nothing)
        finally:
            for action in required:
                action.required = True
        return {name: value for name, value in vars(found).items() if value is not None}

    def _words(self, settings: Mapping[str, Setting]) -> Iterator[str]:
        known = {action.option_strings[-1].lstrip("-"): action for action in self._actions
                 if action.option_strings and action.dest not in ("help", "config")}
        for name, value in settings.items():
            if name not in known:
                raise UnknownName("option in the file of --config", name, known)
            action, several = known[name], value if isinstance(value, list) else [value]
            flag = action.option_strings[-1]
            if action.nargs == 0:
                if not isinstance(value, bool):
                    raise EngineError(f"'{name}' in the file of --config must be true or false")
                yield from [flag] if value else []
            elif action.nargs is None:
                yield f"{flag}={','.join(map(_text, several))}"
            else:
                yield from (flag, *map(_text, several))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def add_config(parser: argparse.ArgumentParser) -> None:
    """--config, for a command whose options may stand in a file."""
    parser.add_argument("--config", metavar="FILE.toml",
                        help="options from a TOML file, by the names they have here (lists where several are taken); "
                             "what the command line says goes before it")


# To which every command adds itself.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
