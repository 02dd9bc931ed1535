"""Whom the dashboard answers, asked with raw requests to a really started server."""

import base64
import http.client
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pages.ui.gate import Answered, Place
from tests import serving

APP = Path(__file__).resolve().parents[2] / "app.py"
# Answered by Streamlit itself, and by different parts of it.
PATHS = ("/", "/about", "/_stcore/health", "/_stcore/host-config", "/favicon.png", "/static/nothing.js")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving.serve(APP, {"PERTURBSCOPE_HOME": str(tmp_path_factory.mktemp("home"))}) as url:
        yield int(url.rpartition(":")[2])


def got(port: int, path: str, host: str | None = None, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    named = {"Host": f"127.0.0.1:{port}" if host is None else host, **headers}
    connection.request("GET", path, headers=named)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def shaken(port: int, host: str, origin: str | None) -> int:
    """The status with which the WebSocket's handshake is answered: 101 where it is opened."""
    lines = ["GET /_stcore/stream HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket",
             "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
             "Sec-WebSocket-Protocol: streamlit", *([f"Origin: {origin}"] if origin else [])]
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(4096).split()[1])


def own(port: int) -> list[str]:
    return [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", f"LOCALHOST:{port}"]


def foreign(port: int) -> list[str]:
    return ["evil.example", f"evil.example:{port}", f"localhost.evil.example:{port}", f"localhost:{port + 1}",
            "localhost", f"127.0.0.1:{port}@evil.example", f"evil.example#127.0.0.1:{port}", "", "127.0.0.1:x"]


def test_the_first_page_has_its_name_for_an_address_too(port: int) -> None:
    answer = got(port, "/explore?attack=bim&eps=2%2F255")
    assert answer.status == 307 and answer.headers["Location"] == "./?attack=bim&eps=2%2F255"


def test_its_own_names_are_answered_on_its_own_port(port: int) -> None:
    for host in own(port):
        for path in PATHS:
            assert got(port, path, host).status in (200, 404), (host, path)


def test_no_other_host_is_answered_anywhere(port: int) -> None:
    for host in foreign(port):
        for path in PATHS:
            assert 400 <= got(port, path, host).status < 500 and got(port, path, host).status != 404, (host, path)
        assert shaken(port, host, None) != 101, host


def test_the_websocket_opens_for_its_own_pages_only(port: int) -> None:
    here = f"127.0.0.1:{port}"
    assert shaken(port, here, None) == 101, "no browser, no origin"
    for host in own(port):
        assert shaken(port, host, f"http://{host.lower()}") == 101, host
    assert shaken(port, here, f"http://localhost:{port}") == 101
    for origin in (f"http://localhost:{port + 1}", "http://localhost", "http://evil.example", "null", "file://",
                   f"http://evil.example:{port}", f"chrome-extension://127.0.0.1:{port}", f"127.0.0.1:{port}"):
        assert shaken(port, here, origin) == 403, origin


def test_pages_from_elsewhere_read_nothing_over_http(port: int) -> None:
    for path in PATHS:
        for origin in (f"http://localhost:{port + 1}", "http://evil.example", "null"):
            assert got(port, path, Origin=origin).status == 403, (path, origin)
        assert got(port, path, Origin=f"http://127.0.0.1:{port}").status in (200, 404), path


def test_every_answer_carries_the_policy(port: int) -> None:
    for path in PATHS:
        answer = got(port, path)
        directives = {line.split()[0]: line.split()[1:]
                      for line in (answer.headers["Content-Security-Policy"] or "").split("; ")}
        assert directives["default-src"] == ["'self'"], path
        allowed = {source for sources in directives.values() for source in sources}
        assert not any("//" in source or "*" in source for source in allowed), "a foreign place is allowed"
        assert "'unsafe-eval'" not in allowed and "'unsafe-inline'" not in directives["script-src"]
        for kind in ("img-src", "script-src", "font-src", "connect-src", "frame-src", "style-src"):
            assert set(directives[kind]) & {"'self'", "'none'"}, kind
        assert directives["frame-ancestors"] == ["'none'"]
        assert answer.headers["Referrer-Policy"] == "same-origin" and answer.headers["X-Content-Type-Options"]


def test_whoever_runs_it_can_name_other_hosts(tmp_path: Path) -> None:
    env = {"PERTURBSCOPE_HOME": str(tmp_path), "STREAMLIT_SERVER_ALLOWED_HOSTS": "dash.example *.ward.example",
           "STREAMLIT_BROWSER_SERVER_ADDRESS": "https://front.example/dash"}
    with serving.serve(APP, env) as url:
        port = int(url.rpartition(":")[2])
        for host in ("dash.example", f"dash.example:{port}", "a.ward.example", "front.example", f"localhost:{port}"):
            assert got(port, "/", host).status == 200, host
            assert shaken(port, host, f"https://{host}") == 101, host
        assert got(port, "/", "ward.example").status == 421
        assert got(port, "/", "elsewhere.example").status == 421
        assert shaken(port, "dash.example", "https://elsewhere.example") == 403
        assert shaken(port, "dash.example", "https://front.example") == 403, "a page of another host"


def test_places_are_read_as_browsers_write_them() -> None:
    assert Place.of("Localhost:80", "http") == Place("localhost", 80) == Place.of("localhost", "http")
    assert Place.of("[::1]:8501", "ws") == Place("::1", 8501)
    assert Place.of("a.example.", "https") == Place("a.example", 443)
    for wrong in ("", "a:b", "a/b", "u@a", "a?b", "a#b", "[::1", "a:99999", "a b", "a\\b"):
        place = Place.of(wrong, "http")
        assert place is None or not Answered(frozenset({Place("a", 80)})).host(wrong, "http"), wrong
