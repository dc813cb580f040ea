"""--serve: a page of what is under way, for this machine only, which ends as the report.

It reads the files of the folder and nothing else, writes nothing, and answers one address, which
nobody can guess.
"""

import contextlib
import math
import secrets
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from absl import flags
from rich.console import Console
from rich.text import Text

from cnn_jax.analysis.progress import REFRESH_SECONDS, STILL, render_progress
from cnn_jax.studies.progress import read_progress
from cnn_jax.studies.run_directory import REPORT_FILE
from cnn_jax.training.processes import is_first

flags.DEFINE_bool(
    "serve",
    False,
    "Show on this machine how far it is, at the address that is printed; in the end the report.",
)
# So long a page that was watched is waited for, to fetch the report.
_LAST_SECONDS = 5 * REFRESH_SECONDS


class _Server(ThreadingHTTPServer):
    """Serves one folder at one secret path.

    Attributes:
        asked: when the page was asked for last.
        before: when a report that was there at the start was written; None: there was none.
        ended: whether the report was sent.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.token = folder, secrets.token_urlsafe(16)
        self.asked, self.ended, self.before = -math.inf, threading.Event(), self.written()

    def written(self) -> int | None:
        """When the report was, as its file says; None: it is not there."""
        report = self.folder / REPORT_FILE
        return report.stat().st_mtime_ns if report.is_file() else None

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        # A name that leads here, in another site's page, is no right to read.
        named = self.headers.get("Host") == f"127.0.0.1:{self.server.server_port}"
        path, _, asked = self.path.partition("?")
        right = secrets.compare_digest(path.encode(), f"/{self.server.token}/".encode())
        if not (named and right and asked in ("", STILL)):
            self.send_error(404)
            return
        self.server.asked = time.monotonic()
        report = self.server.folder / REPORT_FILE
        # One of before is that of a run that goes on.
        ended = self.server.written() not in (None, self.server.before)
        try:
            page = report.read_bytes() if ended else _page(self.server.folder, asked == STILL)
        except Exception as error:
            self.send_error(503, f"not yet: {type(error).__name__}")
            return
        self.send_response(200)
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(page))),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(page)
        if ended:
            self.server.ended.set()

    def log_message(self, format: str, *args: object) -> None:
        pass


def _page(folder: Path, still: bool) -> bytes:
    return render_progress(read_progress(folder), still).encode()


@contextlib.contextmanager
def serving(console: Console, folder: Path) -> Iterator[None]:
    """Serves the page of a folder inside, if --serve asks for it, and the report to who watches."""
    if not flags.FLAGS.serve or not is_first():
        yield
        return
    with _Server(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        console.print(Text(f"watch it: {server.address}"), soft_wrap=True)
        try:
            yield
            if time.monotonic() - server.asked < _LAST_SECONDS:
                server.ended.wait(_LAST_SECONDS)
        finally:
            server.shutdown()
