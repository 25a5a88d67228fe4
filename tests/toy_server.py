"""A small HTTP server on this machine: what it holds, whom it lets in, where it lets go."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Server:
    """files: path → bytes. cut: paths whose connection ends half-way. moved: path → where it went.

    wanted: `name:password` that it asks for. failing: paths that it answers with 503. asked: paths, as they came.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    wanted: str | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving() -> Iterator[Server]:
    """The server, in a thread of this process."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            server.asked.append(self.path)
            right = None if server.wanted is None else "Basic " + base64.b64encode(server.wanted.encode()).decode()
            if right and self.headers.get("Authorization") != right:
                self.send_error(401)
            elif path in server.failing:
                self.send_error(503)
            elif path in server.moved:
                self.send_response(302)
                self.send_header("Location", server.moved[path])
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif path not in server.files:
                self.send_error(404)
            else:
                content = server.files[path]
                begin, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
                content = content[int(begin) : int(end) + 1 if end else None]
                self.send_response(206 if "Range" in self.headers else 200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command == "HEAD":
                    return
                self.wfile.write(content[: len(content) // 2] if path in server.cut else content)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:  # a reader that has seen enough goes away
            pass

    with Quiet(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
