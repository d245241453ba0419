"""Stores to read and write by URL: fsspec's own memory, and emulators of Google's and of Amazon's on this machine.

Between Google's and us there may be a `Front`, which fails as networks and servers do.
"""

from __future__ import annotations

import http.client
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from tapsdk.system import remote
from tapsdk.system.places import Url
from tests.support import import_or_skip

BUCKET = "bucket"


@contextmanager
def memory() -> Iterator[str]:
    import_or_skip("fsspec", "gcs")
    yield f"memory://{BUCKET}"


@contextmanager
def google() -> Iterator[str]:
    with google_behind_a_front():
        yield f"gs://{BUCKET}"


@contextmanager
def amazon() -> Iterator[str]:
    import_or_skip("s3fs", "gcs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{server._server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        _configure(patch, "s3", endpoint_url=endpoint, key="nobody", secret="none")
        import fsspec

        fsspec.filesystem("s3").makedirs(BUCKET, exist_ok=True)
        yield f"s3://{BUCKET}"
    server.stop()


STORES: dict[str, Callable[[], object]] = {"memory": memory, "gs": google, "s3": amazon}


@contextmanager
def google_behind_a_front() -> Iterator[Front]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it asks by gRPC, for a minute
        import_or_skip("gcsfs", "gcs")
        create = pytest.importorskip("gcp_storage_emulator.server").create_server
        patch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=_at_once))
        with create("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET) as emulator:
            front = Front(emulator._api._httpd.server_address[1])
            _configure(patch, "gs", endpoint_url=front.address, token="anon")
            try:
                yield front
            finally:
                front.shutdown()
                front.server_close()


async def _at_once(seconds: float) -> None:
    """Between the attempts of gcsfs."""


def _configure(patch: pytest.MonkeyPatch, scheme: str, **options: str) -> None:
    from fsspec.config import conf

    patch.setitem(conf, scheme, options)


class Front(ThreadingHTTPServer):
    """Hands requests on to a server, and its answers back, until it is told otherwise."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.port = port
        self.fault: Callable[[Request], bool] = lambda request: False
        """Deals with a request instead, or says no."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may go, and are sent away."""


class Request(BaseHTTPRequestHandler):
    """To a `Front`."""

    server: Front
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.server.fault(self):
            self.answer(*self.asked())

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def asked(self) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        connection.request(self.command, self.path, self.body, dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("content-length", "connection")}
        return answer.status, headers, body

    def answer(self, status: int, headers: dict[str, str], body: bytes, sent: int | None = None) -> None:
        """sent: how many bytes of the body come before the connection breaks; None for all."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
        self.close_connection = sent is not None

    def log_message(self, *args: object) -> None:
        """Nothing."""


def unavailable(request: Request) -> bool:
    """Answers 503, whatever is asked."""
    request.answer(503, {}, b"")
    return True


def hangs_up(request: Request) -> bool:
    """Closes the connection without an answer."""
    request.close_connection = True
    return True


def cuts_files(request: Request) -> bool:
    """Breaks off in the middle of every file that is read."""
    status, headers, body = request.asked()
    is_file = (request.command == "GET" and "alt=media" in request.path) or "/download/" in request.path
    request.answer(status, headers, body, sent=len(body) // 2 if is_file else None)
    return True


def refuses_writes(request: Request) -> bool:
    if request.command == "GET":
        return False
    request.answer(403, {"Content-Type": "application/json"}, b'{"error": {"message": "nobody may write here"}}')
    return True


def new_folder_in(store: str) -> Url:
    """Where nothing is yet."""
    return Url(f"{store}/{uuid.uuid4().hex}")


def contents(url: Url) -> dict[str, bytes]:
    """All files under a URL, as somebody else sees them who reads the store."""
    import fsspec

    files = remote.files_under(url.text)
    return {name: fsspec.open(f"{url.text}/{name}").open().read() for name in files}
