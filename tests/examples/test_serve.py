"""The server of the web example answers any request, and goes on."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest

from tests.examples.test_web import NODE, WEB, needs_node

pytestmark = [needs_node, pytest.mark.skipif(os.name == "nt", reason="needs POSIX links and pipes")]

SECURITY = (
    "cross-origin-opener-policy: same-origin",
    "cross-origin-embedder-policy: require-corp",
    "cross-origin-resource-policy: same-origin",
    "content-security-policy: default-src 'self'",
    "x-content-type-options: nosniff",
    "referrer-policy: no-referrer",
)
PAGE = b"<!doctype html><p>hello"
SCRIPT = b"let a = 1;\n" * 10_000
SECONDS = 1
"""That a request may take."""


@dataclass(frozen=True)
class Server:
    port: int
    process: subprocess.Popen[str]

    def ask(self, request: bytes, end: bool = True) -> bytes:
        """All that the server says to these bytes until it closes. PORT in them is its port."""
        with self.connect() as connection:
            connection.sendall(request.replace(b"PORT", str(self.port).encode()))
            if end:
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def connect(self) -> socket.socket:
        return socket.create_connection(("localhost", self.port), timeout=10)

    def is_alive(self) -> bool:
        return self.ask(get("/")).startswith(b"HTTP/1.1 200 ") and self.process.poll() is None


def read_all(connection: socket.socket) -> bytes:
    found = b""
    try:
        while part := connection.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    return found


def get(path: str | bytes, method: bytes = b"GET", host: bytes = b"localhost:PORT", headers: bytes = b"") -> bytes:
    path = path.encode() if isinstance(path, str) else path
    return b"%b %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n%b\r\n" % (method, path, host, headers)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("example")
    shutil.copy(WEB / "serve.js", folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "secret.txt").write_text("secret")
    dist = folder / "dist"
    (dist / "model").mkdir(parents=True)
    (dist / "index.html").write_bytes(PAGE)
    (dist / "page.js").write_bytes(SCRIPT)
    (dist / "empty.json").touch()
    (dist / ".hidden").write_text("secret")
    (dist / "link.txt").symlink_to(folder / "secret.txt")
    (dist / "round").symlink_to(dist / "round")
    os.mkfifo(dist / "pipe.js")
    assert NODE is not None
    command = [NODE, str(folder / "serve.js"), "0", "--seconds", str(SECONDS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.fullmatch(r"http://localhost:(\d+)/\n", process.stdout.readline())
            assert found
            yield Server(int(found[1]), process)
        finally:
            process.kill()


def check_answer(answer: bytes, status: int) -> bytes:
    """The body of one whole answer with this status and all headers that it must have."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} "), lines[0]
    told = [line.lower() for line in lines[1:]]
    assert not [wanted for wanted in SECURITY if not any(line.startswith(wanted) for line in told)]
    assert b"secret" not in answer
    return body


# What is served


@pytest.mark.parametrize(
    "path, body, kind",
    [
        ("/", PAGE, "text/html; charset=utf-8"),
        ("/index.html", PAGE, "text/html; charset=utf-8"),
        ("/page.js", SCRIPT, "text/javascript; charset=utf-8"),
        ("/page.js?v=%00../1", SCRIPT, "text/javascript; charset=utf-8"),
        ("/empty.json", b"", "application/json"),
    ],
)
def test_a_file_comes_with_its_type(server: Server, path: str, body: bytes, kind: str):
    answer = server.ask(get(path))
    assert check_answer(answer, 200) == body
    assert f"content-type: {kind}\r\ncontent-length: {len(body)}\r\n".encode() in answer.lower()
    assert check_answer(server.ask(get(path, b"HEAD")), 200) == b""


@pytest.mark.parametrize("host", ["localhost:PORT", "LOCALHOST:PORT", "127.0.0.1:PORT", "[::1]:PORT"])
def test_this_machine_has_several_names(server: Server, host: str):
    assert check_answer(server.ask(get("/", host=host.encode())), 200) == PAGE


@pytest.mark.parametrize(
    "value", ["bytes=0-5", "bytes=5-", "bytes=-1", "bytes=9-1", "bytes=a", "lines=1", "bytes=" + "0-1," * 900]
)
def test_parts_of_a_file_are_not_served(server: Server, value: str):
    assert check_answer(server.ask(get("/", headers=f"Range: {value}\r\n".encode())), 200) == PAGE


def test_a_connection_serves_several_requests(server: Server):
    several = get("/").replace(b"Connection: close\r\n", b"") * 3 + get("/page.js")
    assert server.ask(several).count(b"HTTP/1.1 200 OK\r\n") == 4


# What is refused


def raw(line: bytes, headers: bytes = b"Host: localhost:PORT\r\n") -> bytes:
    return line + b"\r\n" + headers + b"\r\n"


REFUSED: dict[str, tuple[bytes, int]] = {
    **{
        f"the path {path}": (get(path), 404)
        for path in (
            *("//", "///", "//a/", "/.", "/..", "/../secret.txt", "/model/../../secret.txt", "/..\\secret.txt"),
            *("/%2e%2e/secret.txt", "/..%2fsecret.txt", "/%2e%2e%5csecret.txt", "/%252e%252e/secret.txt", "/a%00.js"),
            *(
                "/.hidden",
                "/link.txt",
                "/round",
                "/round/a",
                "/pipe.js",
                "/model",
                "/model/",
                "/index.html/",
                "/none.js",
                "/%",
                "/%zz",
            ),
            *("/C:/", "/page.js::$DATA", "/CON", "/http://a/", "/~", "/;", "/#", "/[", "/__proto__", "/constructor"),
        )
    },
    "a path of other letters": (get("/é".encode()), 400),
    "a path with a NUL": (get(b"/\0"), 400),
    "a path with a tab": (get(b"/\t"), 400),
    "a long path": (get("/" + "a" * 2000), 414),
    "a longer path": (get("/" + "a" * 100_000), 431),
    "a whole address": (get("http://localhost/"), 400),
    "an address of another": (get("http://a.b/index.html"), 400),
    "an asterisk": (get("*"), 400),
    "no path": (raw(b"GET  HTTP/1.1"), 400),
    "another host": (get("/", host=b"a.example:PORT"), 421),
    "another port": (get("/", host=b"localhost:1"), 421),
    "a host without a port": (get("/", host=b"localhost"), 421),
    "a host that begins alike": (get("/", host=b"localhost:PORT.a.example"), 421),
    "a host with a name before": (get("/", host=b"a@localhost:PORT"), 421),
    "an empty host": (get("/", host=b""), 421),
    "no host": (raw(b"GET / HTTP/1.1", b""), 421),
    "an old version without a host": (raw(b"GET / HTTP/1.0", b""), 421),
    "two hosts": (get("/", headers=b"Host: a.example\r\n", host=b"b.example"), 421),
    **{
        f"the method {method}": (get("/", method.encode()), 405)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND")
    },
    "the method CONNECT": (get("localhost:1", b"CONNECT"), 405),
    "a method that does not exist": (get("/", b"BREW"), 400),
    "a method in small letters": (get("/", b"get"), 400),
    "a body without end": (get("/", b"POST", headers=b"Content-Length: 99999999999\r\n") + b"x" * 1000, 405),
    "a body of negative length": (get("/", b"POST", headers=b"Content-Length: -1\r\n"), 400),
    "a body of two lengths": (get("/", b"POST", headers=b"Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
    "a chunk that is none": (get("/", b"POST", headers=b"Transfer-Encoding: chunked\r\n") + b"zz\r\n", 405),
    "many headers": (get("/", headers=b"".join(b"A%d: b\r\n" % i for i in range(200))), 431),
    "large headers": (get("/", headers=b"A: " + b"b" * 100_000 + b"\r\n"), 431),
    "a header without a colon": (get("/", headers=b"nonsense\r\n"), 400),
    "a header with a NUL": (get("/", headers=b"A: \0\r\n"), 400),
    "an expectation": (get("/", headers=b"Expect: 100-continue\r\n"), 417),
    "another expectation": (get("/", headers=b"Expect: miracles\r\n"), 417),
    "a version to come": (raw(b"GET / HTTP/9.9"), 400),
    "the first version": (b"GET /\r\n\r\n", 421),
    "noise": (bytes(range(256)) * 10, 400),
    "an encrypted greeting": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_served_is_refused_with_all_headers(server: Server, name: str):
    request, status = REFUSED[name]
    check_answer(server.ask(request, end=False), status)
    assert server.is_alive()


def test_an_upgrade_is_passed_over(server: Server):
    wanted = get("/", headers=b"Upgrade: websocket\r\n").replace(b"Connection: close", b"Connection: upgrade")
    answer = server.ask(wanted, end=False)
    assert re.match(rb"HTTP/1\.1 (200|400) ", answer)
    assert server.is_alive()


# Who keeps it waiting


@pytest.mark.parametrize(
    "begun", [b"", b"G", b"GET / HTTP/1.1\r\nHost: lo", get("/", b"POST", headers=b"Content-Length: 9\r\n")]
)
def test_a_connection_that_falls_silent_is_ended(server: Server, begun: bytes):
    start = time.monotonic()
    server.ask(begun, end=False)
    assert time.monotonic() - start < 6
    assert server.is_alive()


def test_a_head_byte_by_byte_is_ended(server: Server):
    with server.connect() as connection:
        start = time.monotonic()
        try:
            while time.monotonic() - start < 6:
                connection.sendall(b"A")
                time.sleep(0.05)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert time.monotonic() - start < 5
    assert server.is_alive()


@pytest.mark.parametrize("reads", [0, 10])
def test_who_goes_away_in_the_middle_disturbs_nobody(server: Server, reads: int):
    for _ in range(20):
        with server.connect() as connection:
            connection.sendall(get("/page.js").replace(b"PORT", str(server.port).encode()))
            connection.recv(reads) if reads else None
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert server.is_alive()


def test_who_asks_and_asks_without_reading_disturbs_nobody(server: Server):
    with server.connect() as connection, suppress(BrokenPipeError, ConnectionResetError):
        asked = get("/page.js").replace(b"Connection: close\r\n", b"").replace(b"PORT", str(server.port).encode())
        connection.sendall(asked * 2000)
    assert server.is_alive()


def test_a_hundred_connections_at_once(server: Server):
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(server.connect())
        assert server.is_alive()


# How it is started


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-1"], "usage|Unknown option"),
        (["x"], "usage"),
        (["70000"], "usage"),
        (["0", "--seconds", "0"], "usage"),
        (["0", "--more"], "Unknown option"),
        (["TAKEN"], "could not serve on port"),
    ],
    ids=str,
)
def test_what_cannot_be_started_is_told(server: Server, arguments: list[str], said: str):
    assert NODE is not None
    given = [str(server.port) if argument == "TAKEN" else argument for argument in arguments]
    result = subprocess.run(
        [NODE, str(WEB / "serve.js"), *given], capture_output=True, text=True, timeout=20, check=False
    )
    assert result.returncode != 0
    assert re.search(said, result.stderr)
    assert "    at " not in result.stderr
