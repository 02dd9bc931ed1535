"""Where a data set's file may be downloaded from, by whoever its licence allows."""

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Remote:
    """A file at a lasting address. `path` is where it goes below the data folder; `checksum` is what its publisher (or
    who downloaded it before) says of its bytes, such as "md5:0123...".

    An archive has its pictures in the folder `unpacked`, which is made beside it; the archive is removed then.
    """

    url: str
    path: str
    checksum: str
    size: int | None = None
    unpacked: str = ""

    @property
    def host(self) -> str:
        """Whom it is fetched from."""
        return urlsplit(self.url).hostname or self.url
