"""What the server answers, and what the browser may do with the answer: the page's own origin, nothing else.

Streamlit alone answers any Host on its static files, and a WebSocket from any port of this machine; it also asks a
foreign service for this machine's address before it refuses an Origin. Requests that fail here never get that far.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FIRST_PAGE = "/explore"  # which has no address but the server's own: Streamlit finds no page under its name
_EVERYWHERE = {"0.0.0.0", "::", "*"}
_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@dataclass(frozen=True)
class Place:
    """A host name and a port, as browsers name the one end of a connection."""

    name: str
    port: int

    @classmethod
    def of(cls, authority: str, scheme: str) -> "Place | None":
        """Read "name:port"; None where it is anything else."""
        try:
            parts = urlsplit(f"//{authority}")
            port = parts.port
        except ValueError:
            return None
        if parts.hostname is None or parts.netloc != authority or "@" in authority:
            return None
        return cls(parts.hostname.rstrip("."), port or _DEFAULT_PORTS[scheme])


@dataclass(frozen=True)
class Answered:
    """Whom the server answers: its own places, further host names whatever their port, and further origins."""

    own: frozenset[Place]
    names: tuple[str, ...] = ()
    origins: frozenset[str] = frozenset()

    def at(self, ports: Iterable[int]) -> "Answered":
        """The same for a server that this machine reaches at `ports`."""
        return replace(self, own=frozenset(Place(name, port) for name in LOOPBACK for port in ports))

    def host(self, host: str, scheme: str) -> bool:
        """Whether a request that names `host` is meant for this server."""
        place = Place.of(host, scheme)
        return place is not None and (place in self.own or any(_matches(place.name, name) for name in self.names))

    def origin(self, origin: str | None, host: str, scheme: str) -> bool:
        """Whether a page of `origin` may talk to the server; programs that are no browser name none."""
        if origin is None or origin in self.origins:
            return True
        theirs, sep, authority = origin.partition("://")
        if not sep or theirs not in _DEFAULT_PORTS:
            return False
        place = Place.of(authority, theirs)
        return place is not None and (place in self.own or place == Place.of(host, theirs))


def _matches(name: str, pattern: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def added() -> Answered:
    """What Streamlit's settings add to the server's own places."""
    by_hand = [config.get_option(name) for name in ("server.address", "browser.serverAddress")
               if config.is_manually_set(name)]
    names = [_name(text) for text in (*by_hand, *config.get_option("server.allowedHosts")) if text]
    return Answered(frozenset(), tuple(name for name in names if name not in {*LOOPBACK, *_EVERYWHERE}),
                    frozenset(text.strip() for text in config.get_option("server.corsAllowedOrigins")))


def _name(setting: str) -> str:
    """The host in a setting that may hold an address with scheme, port or path."""
    text = setting.strip().lower()
    if text.count(":") > 1 and "//" not in text and not text.startswith("["):
        return text  # a bare IPv6 address
    return urlsplit(text if "//" in text else f"//{text}").hostname or ""


def policy(inline_scripts: Iterable[str] = ()) -> str:
    """The content security policy: everything the page shows or runs comes from the server itself.

    Streamlit writes styles into the page and imports components from blob: addresses. `inline_scripts` are the texts
    of the scripts in its index.html.
    """
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inline_scripts)
    scripts = " ".join(["'self'", "blob:", *(f"'sha256-{text}'" for text in hashes)])
    return "; ".join([
        "default-src 'self'", f"script-src {scripts}", "style-src 'self' 'unsafe-inline'", "img-src 'self' data: blob:",
        "font-src 'self' data:", "connect-src 'self'", "media-src 'self' data: blob:", "worker-src 'self' blob:",
        "frame-src 'none'", "object-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"])


def _inline_scripts() -> list[str]:
    index = Path(streamlit.__file__).with_name("static") / "index.html"
    return re.findall(r"<script>(.*?)</script>", index.read_text(encoding="utf-8"), re.DOTALL)


class Gate:
    """ASGI middleware around the whole dashboard."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._added = app, added()
        # Streamlit would check the WebSocket's Host against it once more, and refuse the names that are not in it.
        config.set_option("server.allowedHosts", [])
        self._headers = {
            "Content-Security-Policy": policy(_inline_scripts()),
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "X-DNS-Prefetch-Control": "off",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        sent, scheme = Headers(scope=scope), scope["scheme"]
        host, origin = sent.get("host", ""), sent.get("origin")
        met = self._added.at({scope["server"][1], int(config.get_option("browser.serverPort"))})
        if not met.host(host, scheme):
            await _refuse(421, "This dashboard is not served under that address. Who runs it can add the host: "
                               "streamlit run app.py --server.allowedHosts HOST", scope, receive, send)
        elif not met.origin(origin, host, scheme):
            await _refuse(403, "Pages from elsewhere may not use this dashboard.", scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(_of_its_own(scope, host), receive, send)
        elif scope["path"].endswith(FIRST_PAGE):
            await RedirectResponse(f"./?{scope['query_string'].decode('latin-1')}")(scope, receive, self._guarded(send))
        else:
            await self._app(scope, receive, self._guarded(send))

    def _guarded(self, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        return guarded


def _of_its_own(scope: Scope, host: str) -> Scope:
    """The same request with the Origin of the server itself: whose it was has been decided here, and to decide it
    again Streamlit would ask a foreign service for this machine's address."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"origin"]
    scheme = "https" if scope["scheme"] == "wss" else "http"
    return {**scope, "headers": [*headers, (b"origin", f"{scheme}://{host}".encode("latin-1"))]}


async def _refuse(status: int, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})  # before it is accepted: the handshake fails with 403
    else:
        await PlainTextResponse(reason + "\n", status)(scope, receive, send)


MIDDLEWARE = (Middleware(Gate),)
