"""A web server for the built page and a headless Chromium that opens it: what a script in the page found comes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

PAGES = Path(__file__).parent / "pages"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Root cannot start the sandbox; the rest keeps the browser off the network.
OFFLINE = [
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
TIMEOUT = 280.0


class _Handler(SimpleHTTPRequestHandler):
    """The built page, what else the test hands out, and the place where the result goes."""

    extensions_map: ClassVar = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
    }

    def __init__(
        self, *args: Any, extra: dict[str, bytes], headers: dict[str, str], done: Callable[[Any], None], **kwargs: Any
    ) -> None:
        self.extra, self.isolation, self.done = extra, headers, done
        super().__init__(*args, **kwargs)

    def log_message(self, *args: object) -> None:
        """Says nothing."""

    def end_headers(self) -> None:
        for name, value in self.isolation.items():
            self.send_header(name, value)
        super().end_headers()

    def do_GET(self) -> None:
        name = self.path.split("?")[0].lstrip("/")
        page = PAGES / name.removeprefix("test/")
        if name in self.extra:
            self._answer(self.extra[name], "application/octet-stream")
        elif name.startswith("test/") and page.is_file():
            self._answer(page.read_bytes(), self.guess_type(page))
        else:
            super().do_GET()

    def do_POST(self) -> None:
        result = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(b"", "text/plain")
        self.done(result)

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def run_in_chromium(
    site: Path,
    script: str,
    scenario: Any = None,
    *,
    extra: dict[str, bytes] | None = None,
    isolated: bool = False,
    flags: Sequence[str] = (),
) -> Any:
    """What `run` of pages/`script` gives in a page of the built `site`.

    scenario: handed to it. extra: more files of the server, by path. isolated: whether the page may use threads.
    """
    arrived, results = threading.Event(), []

    def done(result: Any) -> None:
        results.append(result)
        arrived.set()

    files = {"scenario.json": json.dumps(scenario).encode(), **(extra or {})}
    handler = handler_of(site, files, isolated, done)
    with serving(handler) as address, chromium(f"{address}/test/run.html?script={script}", flags):
        assert arrived.wait(TIMEOUT), f"{script} gave nothing within {TIMEOUT:.0f} s"
    (result,) = results
    assert "error" not in result, result["error"]
    return result["value"]


def handler_of(
    site: Path, extra: dict[str, bytes], isolated: bool = False, done: Callable[[Any], None] = print
) -> Callable[..., SimpleHTTPRequestHandler]:
    """For `serving`: the built `site`, and more files by their paths. done: gets what a page posts."""
    return partial(_Handler, directory=str(site), extra=extra, headers=ISOLATION if isolated else {}, done=done)


@contextmanager
def serving(handler: Callable[..., SimpleHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def chromium(address: str, flags: Sequence[str]) -> Iterator[Path]:
    """The browser, open at an address; gives the folder of its profile."""
    assert CHROMIUM is not None
    # Its processes write into the profile until the last of them is gone.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *OFFLINE, *flags, f"--user-data-dir={profile}", address]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            yield Path(profile)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)
