"""One request to a web server that need not be friendly: every size, number and time has a bound.

Beyond what http.client checks: an answer's head has a size, bytes come at a least speed, redirects are few and lead to
https (from http also to http), and chunks are decoded here. What a server says is shown without control characters.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from string import punctuation
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from tapsdk.errors import FetchError
from tapsdk.system.reading import printable, reason

SLOW_SECONDS = 60.0
"""Within which as many bytes have to come as `LEAST_SPEED` says."""
LEAST_SPEED = 4096
"""Bytes per second."""
MOST_HEAD_BYTES = 1 << 17
"""Of the lines before the body of an answer, with those of all answers that announce another one."""
MOST_REDIRECTS = 5
MOST_TRAILER_LINES = 100
CHUNK = 1 << 18
REDIRECTS = {301, 302, 303, 307, 308}

_LINE = 1 << 12
_NUMBER = re.compile(r"[0-9]{1,15}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r?\n", re.DOTALL)


class BrokenOffError(Exception):
    """A request that failed in a way that another one may not."""


class Answer:
    """What a server answered. Close it.

    headers: by lower-case name, those that come more than once with commas between them. reason: may be shown.
    """

    def __init__(self, response: Any) -> None:
        self._response, self._file = response, response.fp
        self._left: int | None = None if response.chunked else response.length
        """Bytes to the end of the chunk or of the body, as far as that is known."""
        self.status = int(response.status)
        self.reason = printable(str(response.reason), 100)
        self.headers: dict[str, str] = {}
        for name, value in response.headers.items():
            before = self.headers.get(name.lower())
            self.headers[name.lower()] = value if before is None else f"{before}, {value}"

    @property
    def length(self) -> int | None:
        """Bytes of the body, as the server announces them. Raises BrokenOffError for what is no number."""
        text = self.headers.get("content-length")
        if text is None or self.says_its_end:
            return None
        if not _NUMBER.fullmatch(text.strip()):
            raise BrokenOffError(f"the server announces {printable(text, 50)!r} bytes")
        return int(text)

    @property
    def packing(self) -> str:
        """What was done to the body that nobody asked for, such as "gzip"; mostly nothing."""
        coding = self.headers.get("content-encoding", "").strip().lower()
        transfer = self.headers.get("transfer-encoding", "").strip().lower()
        done = "" if coding == "identity" else coding
        return printable(done if transfer in ("", "chunked", "identity") else f"{done} {transfer}".strip(), 50)

    @property
    def says_its_end(self) -> bool:
        """Whether its body ends with a mark of its own, so that a connection that breaks off shows."""
        return bool(self._response.chunked)

    def body(self) -> Iterator[bytes]:
        """The body, part by part. Raises BrokenOffError."""
        while part := self.read():
            yield part

    def read(self) -> bytes:
        """What comes next; nothing at the end. Raises BrokenOffError."""
        with _server_errors("the connection broke off"):
            if self.says_its_end and self._left is None:
                self._left = _next_chunk(self._file)
            # Not more than what is there, so that little is lost if nothing else comes.
            part = bytes(self._file.read1(CHUNK if self._left is None else min(CHUNK, self._left)))
            if self._left is not None:
                self._end_chunk(len(part))
            return part

    def _end_chunk(self, came: int) -> None:
        """Counts what came of a body or chunk of known length. Raises ValueError for a chunk that is too short."""
        if not self.says_its_end:
            self._left = (self._left or 0) - came
        elif self._left:
            self._left -= came
            if not came or (not self._left and self._file.readline(3) not in (b"\r\n", b"\n")):
                raise ValueError("a chunk ends early")
            self._left = self._left or None

    def close(self) -> None:
        self._response.close()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(url: str, headers: Mapping[str, str], timeout: float) -> Answer:
    """What the server of an address answers to GET, after its redirects. Proxies are those of the environment.

    timeout: seconds without a byte, after which a connection counts as broken.

    Raises BrokenOffError where another try may help, FetchError for an address that is none, and for redirects that
    are too many or lead elsewhere than a file is fetched from.
    """
    address = url
    for _ in range(MOST_REDIRECTS + 1):
        answer = _ask(address, headers, timeout)
        if answer.status not in REDIRECTS or "location" not in answer.headers:
            return answer
        answer.close()
        address = _redirected(url, address, answer.headers["location"])
    raise FetchError(
        f"could not fetch {url}: the server answered {answer.status} again after {MOST_REDIRECTS} redirects"
    )


def check_address(url: str) -> None:
    """Raises FetchError for what is no address of a file on a web server."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise FetchError(f"cannot fetch {url!r}: {error}") from error
    if not known or not url.isprintable():
        raise FetchError(f"cannot fetch {url!r}: the address must begin with https:// or http://, and name a server")


def _redirected(url: str, address: str, location: str) -> str:
    """Where an answer of `address` leads."""
    try:
        target = urljoin(address, quote(location, safe=punctuation, encoding="iso-8859-1"))
        check_address(target)
    except (FetchError, ValueError) as error:
        raise FetchError(f"could not fetch {url}: the server leads to {printable(location)}, no web server") from error
    if urlsplit(address).scheme == "https" and urlsplit(target).scheme != "https":
        raise FetchError(
            f"could not fetch {url}: the server leads from https to {printable(target)}, where anyone may interfere"
        )
    return target


def _ask(url: str, headers: Mapping[str, str], timeout: float) -> Answer:
    check_address(url)
    with _server_errors(f"no connection to {urlsplit(url).netloc}"):
        asked = urllib.request.Request(quote(url, safe=punctuation), headers=dict(headers))
        return Answer(_opener().open(asked, timeout=timeout))


@contextmanager
def _server_errors(what: str) -> Iterator[None]:
    """Within it, whatever the library for HTTP raises of an answer becomes BrokenOffError: it has no list of that."""
    try:
        yield
    except urllib.error.URLError as error:
        cause = error.reason if isinstance(error.reason, Exception) else error
        raise BrokenOffError(f"{what}: {reason(cause)}") from error
    except Exception as error:
        raise BrokenOffError(f"{what}: {reason(error)}") from error


def _opener() -> urllib.request.OpenerDirector:
    """Knows http and https, and neither files, FTP nor redirects; and takes any status as an answer."""
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), _Http(), _Https()):
        opener.add_handler(handler)
    return opener


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_connect(http.client.HTTPConnection), req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_connect(http.client.HTTPSConnection), req)


def _connect(kind: type[http.client.HTTPConnection]) -> Any:
    """Makes connections of a kind whose answers are watched."""

    def connection(*args: Any, **options: Any) -> http.client.HTTPConnection:
        made = kind(*args, **options)
        made.response_class = _Response
        return made

    return connection


class _Response(http.client.HTTPResponse):
    """An answer whose bytes pass `_Watched`."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._watched = _Watched(self.fp.detach())
        self.fp = io.BufferedReader(self._watched)

    def begin(self) -> None:
        super().begin()
        self._watched.head_left = None


class _Watched(io.RawIOBase):
    """The bytes of a connection, as long as they come fast enough, and as long as the head has an end."""

    def __init__(self, raw: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._raw, self._clock = raw, clock
        self._since, self._came = clock(), 0
        self.head_left: int | None = MOST_HEAD_BYTES
        """Bytes that may still come before the body; None in it."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self._raw.readinto(buffer) or 0)
        self._came += count
        took = self._clock() - self._since
        if took > SLOW_SECONDS:
            if self._came < LEAST_SPEED * took:
                raise TimeoutError(f"less than {LEAST_SPEED} bytes a second came for {SLOW_SECONDS:g} s")
            self._since, self._came = self._clock(), 0
        if self.head_left is not None:
            self.head_left -= count
            if self.head_left < 0:
                raise ValueError(f"the head of the answer has more than {MOST_HEAD_BYTES} bytes")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _next_chunk(file: Any) -> int:
    """The size of the chunk that comes next; 0 behind the last one. Raises ValueError."""
    size = _CHUNK_SIZE.fullmatch(file.readline(_LINE))
    if size is None:
        raise ValueError("a chunk without a size")
    count = int(size[1], 16)
    if not count:
        for _ in range(MOST_TRAILER_LINES):
            line = file.readline(_LINE)
            if line in (b"\r\n", b"\n"):
                return 0
            if not line:
                break
        raise ValueError("the last chunk has no end")
    return count
