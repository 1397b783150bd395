"""Serves the pages of studies, read-only and from their files alone: who may see them, and what is where."""

import json
import re
import secrets
import socket
from collections.abc import Callable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socketserver import TCPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

from dks_study.watch.live.drawing import PAGE
from dks_study.watch.live.page import served, side_by_side, studies_data, study_data
from dks_study.watch.live.reading import Studies

_COOKIE, _NOTHING = "dks_study", "There is nothing here.\n"
_COMMON = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
_THIS_MACHINE = re.compile(r"(127\.0\.0\.1|\[::1\]|localhost)(:\d+)?", re.IGNORECASE)  # any port: ssh may change it
_SHOWN = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Server(ThreadingHTTPServer):
    """Listens at an address; where that is not this machine alone, answers only who has its token."""

    daemon_threads = True

    def __init__(self, studies: Studies, bind: str, port: int) -> None:
        """Show `studies` at `bind`:`port`; port 0 is any that is free.

        Raises:
            OSError: if that is no address of this machine, or the port is taken.
        """
        found = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, host = found[0][0], str(found[0][4][0])
        self.studies = studies
        super().__init__((host, port), _Handler)
        self.token = None if ip_address(host).is_loopback else secrets.token_urlsafe(24)

    def server_bind(self) -> None:
        """Bind without asking a name server for the name of the address, as the base class does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host, port = str(self.server_address[0]), self.server_address[1]
        name = socket.gethostname() if ip_address(host).is_unspecified else f"[{host}]" if ":" in host else host
        return f"http://{name}:{port}/" + (f"?token={self.token}" if self.token else "")


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 30
    server_version, sys_version = "dks-study", ""

    def do_GET(self) -> None:
        """Answer who may see it with a page, its data, or a report."""
        try:
            parts = urlsplit(self.path)
        except ValueError:  # http://[
            self._send(HTTPStatus.NOT_FOUND, _NOTHING)
            return
        given = parse_qs(parts.query).get("token", [""])[0]
        if self.server.token and given and secrets.compare_digest(given.encode(), self.server.token.encode()):
            cookie = f"{_COOKIE}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
            self._send(HTTPStatus.SEE_OTHER, "", **{"Location": quote(parts.path, safe="/%"), "Set-Cookie": cookie})
        elif not self._may_see():
            self._send(HTTPStatus.FORBIDDEN, "Open the address that dks-study watch printed: it has the token.\n")
        else:
            self._answer([unquote(word) for word in parts.path.split("/")[1:]])

    def _may_see(self) -> bool:
        if self.server.token is None:  # a page from elsewhere may have given this machine a name of its own
            return _THIS_MACHINE.fullmatch(self.headers.get("Host", "")) is not None
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(_COOKIE)
        except CookieError:
            return False
        return cookie is not None and secrets.compare_digest(cookie.value.encode(), self.server.token.encode())

    def _answer(self, words: list[str]) -> None:
        studies, alone = self.server.studies.now(), self.server.studies.alone
        everything = [known for _, known in studies.values()]
        match words:
            case [""] if alone:
                self._send(HTTPStatus.SEE_OTHER, "", Location=f"/study/{quote(next(iter(studies)))}/")
            case [""]:
                self._page(lambda nonce: side_by_side(everything, nonce))
            case ["data"]:
                self._json(studies_data(everything))
            case ["study", name, ""] if name in studies:
                self._page(lambda nonce: served(studies[name][1], nonce, alone=alone))
            case ["study", name, "data"] if name in studies:
                self._json(study_data(studies[name][1]))
            case ["study", name, "report.html"] if name in studies and studies[name][1].state == "complete":
                self._file(studies[name][0] / PAGE)
            case _:
                self._send(HTTPStatus.NOT_FOUND, _NOTHING)

    def _page(self, drawn: Callable[[str], str]) -> None:
        nonce = secrets.token_urlsafe(12)
        policy = f"{_SHOWN}; connect-src 'self'; script-src 'nonce-{nonce}'"
        self._send(HTTPStatus.OK, drawn(nonce), "text/html", **{"Content-Security-Policy": policy})

    def _json(self, data: object) -> None:
        self._send(HTTPStatus.OK, json.dumps(data, allow_nan=False), "application/json")

    def _file(self, path: Path) -> None:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            self._send(HTTPStatus.OK, text, "text/html", **{"Content-Security-Policy": _SHOWN})
        else:
            self._send(HTTPStatus.NOT_FOUND, f"There is no report: dks-study report {path.parent} writes it.\n")

    def _send(self, status: HTTPStatus, text: str, kind: str = "text/plain", **headers: str) -> None:
        content = text.encode()
        self.send_response(status)
        for key, value in {**_COMMON, **headers, "Content-Type": f"{kind}; charset=utf-8"}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of a request."""
