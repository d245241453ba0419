"""One file over HTTP: resumed where it broke off, retried a few times, of the length that was announced."""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tapsdk.errors import FetchError

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30.0
"""Without a byte, after which a connection counts as broken."""
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Pauses before further attempts, as long as they get no further."""
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
CHUNK = 1 << 18


class _BrokenOff(Exception):
    """An attempt that failed in a way that another one may not."""


@dataclass(frozen=True)
class _Remote:
    """What the server said of a file: enough to tell whether the rest still belongs to the same file."""

    url: str
    validator: str | None
    """A strong ETag, else the date of the last change."""
    length: int | None
    md5: str | None

    @classmethod
    def of(cls, url: str, headers: Message, length: int | None) -> _Remote:
        etag = headers.get("ETag")
        if etag is None or etag.startswith("W/"):
            etag = headers.get("Last-Modified")
        return cls(url, etag, length, _md5(headers))


@dataclass
class _Partial:
    """A file `path` that is being filled, and beside it what the server said of it."""

    path: Path
    remote: _Remote | None = None

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def length(self) -> int | None:
        """What the whole file will have, as far as the server said."""
        return self.remote.length if self.remote else None

    @property
    def is_complete(self) -> bool:
        return self.size > 0 and self.size == self.length

    @property
    def _note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def recall(self, url: str) -> None:
        """Takes up what an earlier process left, if the server can tell whether it is still the same file."""
        try:
            remote = _Remote(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            remote = None
        if remote is None or remote.url != url or remote.validator is None:
            self.discard()
        else:
            self.remote = remote

    def start(self, remote: _Remote) -> None:
        self.discard()
        self.remote = remote
        self._note.write_text(json.dumps(asdict(remote)), encoding="utf-8")

    def discard(self) -> None:
        self.remote = None
        self.path.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        self._note.unlink(missing_ok=True)


class _Bar:
    """A progress bar in bytes that may be set back."""

    def __init__(self, label: str, show: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=label, unit="B", unit_scale=True, unit_divisor=1024, disable=None if show else True)

    def at(self, done: int, total: int | None) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def download(url: str, path: Path, *, label: str = "", progress: bool = False) -> str | None:
    """Fills the file `path` with what `url` serves; what is there of the same file is not fetched again.

    On failure the part that came stays, for the next call. Proxies are those of the environment.

    progress: a bar on stderr, on a terminal.
    Returns the MD5 in base64 that the server stated, None if it stated none. Raises FetchError.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise FetchError(f"cannot fetch {url!r}: the address must begin with https:// or http://")
    partial = _Partial(path)
    try:
        partial.recall(url)
        with _Bar(label, progress) as bar:
            _until_complete(url, partial, bar)
        partial.forget()
    except OSError as error:
        raise FetchError(f"could not write {path}: {error.strerror or error}") from error
    return partial.remote.md5 if partial.remote else None


def _until_complete(url: str, partial: _Partial, bar: _Bar) -> None:
    failures, furthest = 0, 0
    while not partial.is_complete:
        try:
            return _attempt(url, partial, bar)
        except _BrokenOff as error:
            # Getting further starts the count anew; a server that serves the same stretch for ever does not.
            failures = 1 if partial.size > furthest else failures + 1
            furthest = max(furthest, partial.size)
            if failures > len(BACKOFF_SECONDS):
                raise FetchError(_given_up(url, partial, error)) from error
            pause = BACKOFF_SECONDS[failures - 1]
            logger.info("%s: %s; trying again in %g s", url, error, pause)
            time.sleep(pause)


def _given_up(url: str, partial: _Partial, error: _BrokenOff) -> str:
    if partial.size:
        return f"could not fetch {url}: {error}; {partial.size} bytes are kept, try again to go on from there"
    return f"could not fetch {url}: {error}; check the network and the proxy, or try again later"


def _attempt(url: str, partial: _Partial, bar: _Bar) -> None:
    """One request. Raises _BrokenOff where another may succeed, FetchError where it cannot."""
    with _open(url, partial) as response:
        if response.status == 206:
            _check_range(response.headers, url, partial)
        elif response.status == 200:
            # The server has no ranges, or another file by now: from the start.
            partial.start(_Remote.of(url, response.headers, _content_length(response.headers)))
        else:
            raise FetchError(_refused(url, response.status, response.reason))
        _check_space(url, partial)
        _receive(response, partial, bar)
    length = partial.length
    if length is not None and partial.size < length:
        raise _BrokenOff(f"the connection broke off after {partial.size} of {length} bytes")
    if length is not None and partial.size > length:
        partial.discard()
        raise _BrokenOff(f"the server sent more than the {length} bytes that it announced")
    if partial.size == 0:
        raise FetchError(f"could not fetch {url}: the server sent an empty file")


def _open(url: str, partial: _Partial) -> Any:
    headers = {"User-Agent": "tapsdk"}
    if partial.size and partial.remote is not None:
        headers["Range"] = f"bytes={partial.size}-"
        if partial.remote.validator is not None:
            headers["If-Range"] = partial.remote.validator
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and "Range" in headers:
            came, announced = partial.size, partial.length
            partial.discard()
            raise _BrokenOff(f"the server has nothing after {came} of {announced} bytes") from error
        if error.code in TEMPORARY:
            raise _BrokenOff(f"the server answered {error.code} {error.reason}") from error
        raise FetchError(_refused(url, error.code, error.reason)) from error
    except urllib.error.URLError as error:
        raise _BrokenOff(f"no connection to {urlsplit(url).netloc}: {error.reason}") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise FetchError(f"cannot fetch {url!r}: {error}") from error
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenOff(f"no connection to {urlsplit(url).netloc}: {_said(error)}") from error


def _check_range(headers: Message, url: str, partial: _Partial) -> None:
    """Whether the part that is being sent is the one that is missing, of the same file."""
    before = partial.remote
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", "").strip())
    total = int(match[2]) if match else None
    now = _Remote.of(url, headers, total)
    fits = (
        before is not None
        and match is not None
        and int(match[1]) == partial.size
        and before.length in (None, total)
        and (now.validator is None or now.validator == before.validator)
    )
    if not fits:
        partial.discard()
        raise _BrokenOff("the server sent another part than the one that was asked for")


def _check_space(url: str, partial: _Partial) -> None:
    missing = (partial.length or 0) - partial.size
    free = shutil.disk_usage(partial.path.parent).free
    if missing > free:
        raise FetchError(
            f"cannot fetch {url}: {missing / 1e6:.0f} MB are missing and {partial.path.parent} has "
            f"{free / 1e6:.0f} MB left; make room, or name another folder"
        )


def _receive(response: Any, partial: _Partial, bar: _Bar) -> None:
    with open(partial.path, "ab") as file:
        bar.at(file.tell(), partial.length)
        while chunk := _read(response):
            file.write(chunk)
            bar.at(file.tell(), partial.length)
        file.flush()
        os.fsync(file.fileno())


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read(CHUNK))
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenOff(f"the connection broke off: {_said(error)}") from error


def _refused(url: str, status: int, reason: str) -> str:
    return f"could not fetch {url}: the server answered {status} {reason}"


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _content_length(headers: Message) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _md5(headers: Message) -> str | None:
    """The MD5 in base64 as Google's storage states it in `x-goog-hash: crc32c=...,md5=...`."""
    for value in headers.get_all("x-goog-hash", []):
        for entry in value.split(","):
            kind, _, digest = entry.strip().partition("=")
            if kind == "md5" and _is_md5(digest):
                return digest
    return None


def _is_md5(digest: str) -> bool:
    try:
        return len(base64.b64decode(digest, validate=True)) == 16
    except binascii.Error:
        return False
