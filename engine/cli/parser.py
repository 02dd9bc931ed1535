"""How commands are read: what is wrong is one line, and the exit status 2."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn, TypeAlias

from engine.errors import MOST, shortened


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and exits with 2."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {shortened(message, MOST)}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


# To which every command adds itself.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
