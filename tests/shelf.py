"""A web server on this machine that gives one file, and can be told to do it badly."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Shelf:
    """The file `data`. Every answer is cut off after `cut` bytes (None: none is), and only the first `ranges` of them
    honour a Range; `asked` are the Range headers that came."""

    data: bytes
    cut: int | None = None
    ranges: bool = True
    status: int = 200
    mark: str = '"one"'
    length: bool = True
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@contextmanager
def served(shelf: Shelf) -> Iterator[Shelf]:
    """The shelf at an address on loopback."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            shelf.asked.append(wanted)
            start = 0
            if wanted and shelf.ranges and self.headers.get("If-Range", shelf.mark) == shelf.mark:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if shelf.status != 200:
                self.send_error(shelf.status)
                return
            if start and start >= len(shelf.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(shelf.data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if shelf.mark:
                self.send_header("ETag", shelf.mark)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(shelf.data) - 1}/{len(shelf.data)}")
            if shelf.length:
                self.send_header("Content-Length", str(len(shelf.data) - start))
            self.end_headers()
            end = len(shelf.data) if shelf.cut is None else start + shelf.cut
            self.wfile.write(shelf.data[start:end])
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    shelf.url = f"http://127.0.0.1:{server.server_port}/file"
    try:
        yield shelf
    finally:
        server.shutdown()
        server.server_close()
