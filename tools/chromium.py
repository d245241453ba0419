"""A headless Chromium that opens a page, does there what it is told, and takes a picture of it.

with Browser((960, 640)) as browser:
    browser.open("http://127.0.0.1:8000/")
    browser.run("document.getElementById('grid').click()")
    browser.photograph(path)
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, ClassVar

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Root cannot start the sandbox; the rest keeps the browser off the network.
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-quic --disable-sync "
    "--disable-background-networking --disable-component-update --remote-debugging-pipe"
)


class BrowserError(Exception):
    """There is no Chromium, or it could not do what it was told."""


class Browser:
    """size: (width, height) of the window, in the page's pixels; a picture has `sharpness` times as many a side."""

    def __init__(self, size: tuple[int, int], sharpness: float = 1) -> None:
        if CHROMIUM is None:
            raise BrowserError("there is no Chromium to take pictures with")
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs, self._orders = os.pipe()
        self._answers, given = os.pipe()
        options = f"{OPTIONS} --user-data-dir={self._profile.name} --window-size={size[0]},{size[1]}"
        # Chromium reads orders from 3 and answers on 4.
        shell = f'exec "$0" {options} --force-device-scale-factor={sharpness} 3<&{theirs} 4>&{given}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, CHROMIUM], pass_fds=(theirs, given), stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(given)
        self._count, self._rest = 0, b""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def open(self, address: str) -> None:
        """Raises BrowserError if it is not loaded."""
        self._call("Page.navigate", url=address)
        self.run("new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, of a promise what it gives. Raises BrowserError where it throws."""
        answer = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def photograph(self, path: Path) -> None:
        """As PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        order: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if hasattr(self, "_session"):
            order["sessionId"] = self._session
        os.write(self._orders, json.dumps(order).encode() + b"\0")
        while True:
            answer = json.loads(self._next())
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])

    def _next(self) -> bytes:
        while b"\0" not in self._rest:
            part = os.read(self._answers, 1 << 16)
            if not part:
                raise BrowserError("Chromium has ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return message

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._orders)
        os.close(self._answers)
        self._profile.cleanup()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address at which the files of a folder are served, to this machine alone."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class _Handler(SimpleHTTPRequestHandler):
    extensions_map: ClassVar = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *args: object) -> None:
        """Says nothing."""
