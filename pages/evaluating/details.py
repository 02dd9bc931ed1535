"""What of an evaluation is looked at closely, in the address where it is not the default."""

from collections.abc import Callable, Sequence

from pages.ui import controls
from pages.ui.address import Address

NAMES = ("run", "form", "when", "shows", "says", "ends")


class Details:
    """The controls among the figures, of one run of the page. Those that are not drawn this time keep what they said:
    call `carry` once the figures are drawn."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._drawn: set[str] = set()

    def choice(self, name: str, label: str, options: Sequence[str], default: str,
               format_func: Callable[[str], str] = str, help: str | None = None) -> str:
        """A box to choose one of `options` in; `name` is one of NAMES."""
        self._drawn.add(name)
        return controls.choice(self._address, name, label, options, default, format_func=format_func, help=help)

    def carry(self) -> None:
        self._address.carry(*(name for name in NAMES if name not in self._drawn))
