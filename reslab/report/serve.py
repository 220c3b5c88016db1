"""A page that follows runs while they train, from a small server on this machine alone.

It answers two addresses, the page and its data, and nothing else: no file is looked up by a name that a
request brings. It listens on 127.0.0.1, and a request that calls it by a name of another machine is refused,
so that no foreign site can read from it through a visitor's browser (DNS rebinding). The port in that name is
free: a tunnel (ssh -L 9000:localhost:8000) has a port of its own at its other end.
"""

import hashlib
import re
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from reslab.report.html import html
from reslab.report.pagedata import to_json

# Nothing of a page is kept, guessed at, framed, or read by another site.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}

# What a browser may call this machine itself, as the Host of its requests, with any port.
LOOPBACK = re.compile(
    r"(localhost|([\w-]+\.)+localhost|127(\.\d{1,3}){3}|\[::1\]|\[::ffff:127(\.\d{1,3}){3}\])\.?(:\d{1,5})?",
    re.IGNORECASE | re.ASCII,
)


class PageServer:
    """Serves a page and its data from a thread of its own until close().

    Args:
        port: to listen on; 0 takes a free one.
        read: gives the page's data as it is now; asked again only when `changed` gives another value.
        changed: anything that is different once the data are.

    Raises:
        ValueError: the port is taken, or not allowed.
    """

    def __init__(self, port: int, read: Callable[[], dict], changed: Callable[[], object]):
        self.read, self.changed = read, changed
        self._lock, self._version, self._data, self._text = threading.Lock(), object(), {}, b""
        try:
            self._server = _Server(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise ValueError(f"--port={port}: can't listen there ({error}); choose another") from None
        self._server.pages = self
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        poll = {"poll_interval": 0.05}  # seconds that close() waits at most
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs=poll, daemon=True)
        self._thread.start()

    def data(self) -> tuple[dict, bytes, str]:
        """The data as they are now, the same as JSON, and a tag that names this state of them."""
        with self._lock:
            now = self.changed()
            if now != self._version:
                self._data = self.read()
                self._text = to_json(self._data).encode()
                self._version = now
            return self._data, self._text, f'"{hashlib.sha256(self._text).hexdigest()[:16]}"'

    def wait(self) -> None:
        """Until Ctrl-C."""
        while True:
            self._thread.join(1)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Threads that end with the program; server.pages is the PageServer."""

    daemon_threads = True
    pages: PageServer

    def handle_error(self, request, client_address):
        """A client that leaves in the middle of an answer is no fault; anything else is told."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers a request with the page, its data or an error; server.pages is the PageServer."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "reslab", ""
    timeout = 30

    def do_GET(self):
        if not LOOPBACK.fullmatch(self.headers.get("Host") or ""):
            return self.answer(HTTPStatus.FORBIDDEN, b"this server answers to localhost alone\n")
        if self.path not in ("/", "/data.json"):
            return self.answer(HTTPStatus.NOT_FOUND, b"there is / and /data.json\n")
        try:
            data, text, tag = self.server.pages.data()
        except (ValueError, OSError) as error:  # a run directory that is being written, or deleted
            return self.answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode())
        if self.path == "/":
            return self.answer(HTTPStatus.OK, html(data, live=True).encode(), "text/html; charset=utf-8")
        if self.headers.get("If-None-Match") == tag:
            return self.answer(HTTPStatus.NOT_MODIFIED, b"")
        return self.answer(HTTPStatus.OK, text, "application/json", ETag=tag)

    do_HEAD = do_GET

    def answer(self, status, content: bytes, kind: str = "text/plain; charset=utf-8", **headers):
        self.send_response(status)
        sizes = {"Content-Type": kind, "Content-Length": str(len(content))}
        for key, value in (headers | sizes | HEADERS).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments):
        """The terminal is for the runs."""
