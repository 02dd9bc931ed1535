"""A command's options as a TOML file: what `--config` reads, and what repeats a sweep. A flat table of the options by
their names, in which options that take several values with commas may be lists."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping

from engine.errors import EngineError, shortened
from engine.home import expanded

Value = bool | int | float | str
Setting = Value | list[Value]
# Options that say the same thing in other ways, or several times: one of them on the command line goes before all of
# them in the file.
ONE_OF = (frozenset({"limit", "per-class", "index"}), frozenset({"defense"}), frozenset({"attacker"}))
# What concerns one run of a command and not what it finds.
_OF_ONE_RUN = ("command", "config", "executor", "json", "out", "run")


def read_config(path: str) -> dict[str, Setting]:
    """The options in the file `path`, by their names with dashes; raises EngineError."""
    try:
        table = tomllib.loads(expanded(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise EngineError(f"cannot read --config {path} ({error.strerror}); give the path of a TOML file") from None
    except (ValueError, RecursionError) as error:  # no TOML, no text, or bytes that no name has
        raise EngineError(f"--config {shortened(path)} is no TOML file: {error}") from None
    return {name.replace("_", "-"): _checked(name, value) for name, value in table.items()}


def _checked(name: str, value: object) -> Setting:
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, Value):
            raise EngineError(f"'{shortened(name)}' in the file of --config must be a text, a number, true or false, "
                              "or a list of them")
    return value  # type: ignore[return-value]


def config_text(command: str, settings: Mapping[str, Setting]) -> str:
    """The file that repeats `python -m engine COMMAND` with these options; raises EngineError."""
    lines = [f"# python -m engine {command} --config sweep.toml", *(f"{n} = {_toml(v)}" for n, v in settings.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Setting) -> str:
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise EngineError(f"'{shortened(value)}' is no text that a file can hold; rename it") from None
    # TOML writes these as JSON does, but for one letter that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def settings_of(arguments: Mapping[str, object]) -> dict[str, Setting]:
    """A command's parsed options by their names: those of which something was said, and which decide what it finds."""
    said = {name: value for name, value in arguments.items() if name not in _OF_ONE_RUN and not _unsaid(value)}
    return {name.replace("_", "-"): value for name, value in said.items()}  # type: ignore[misc]


def _unsaid(value: object) -> bool:
    return value is None or value is False or value == "" or value == []
