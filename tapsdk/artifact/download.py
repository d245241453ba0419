"""One file over HTTP: resumed where it broke off, retried a few times, and whole: of the length that was announced."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tapsdk.artifact.http import CHUNK, Answer, BrokenOffError, check_address, request
from tapsdk.errors import FetchError
from tapsdk.system.progress import ByteBar
from tapsdk.system.reading import printable, read_json

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30.0
"""Without a byte, after which a connection counts as broken."""
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Pauses before further attempts, as long as they get no further."""
FURTHER = CHUNK
"""Bytes by which an attempt has to get further for the count of attempts to begin anew."""
MOST_BYTES = 8 << 30
"""More than any published file has."""
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}

_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})")
_VALIDATOR = re.compile(r"[\x20-\x7e]{1,500}")


@dataclass(frozen=True)
class _Remote:
    """What the server said of a file: enough to tell whether the rest still belongs to the same file."""

    url: str
    validator: str | None
    """A strong ETag, else the date of the last change."""
    length: int | None
    md5: str | None

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str], length: int | None) -> _Remote:
        etag = headers.get("etag")
        if etag is None or etag.startswith("W/"):
            etag = headers.get("last-modified")
        known = etag is not None and _VALIDATOR.fullmatch(etag)
        return cls(url, etag if known else None, length, _md5(headers))

    @classmethod
    def read(cls, note: Path) -> _Remote:
        """What `_Partial.start` wrote. Raises OSError, ValueError, TypeError."""
        remote = cls(**read_json(note))
        texts = remote.url, remote.validator, remote.md5
        if not all(text is None or isinstance(text, str) for text in texts):
            raise ValueError("a text is none")
        if remote.validator is None or not _VALIDATOR.fullmatch(remote.validator):
            raise ValueError("nothing tells whether it is the same file")
        if remote.length is not None and (type(remote.length) is not int or not 0 <= remote.length <= MOST_BYTES):
            raise ValueError("the length is none")
        if remote.md5 is not None and not _is_md5(remote.md5):
            raise ValueError("the MD5 is none")
        return remote


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
    def can_go_on(self) -> bool:
        """Whether the server can tell if the rest is still of the same file."""
        return self.size > 0 and self.remote is not None and self.remote.validator is not None

    @property
    def _note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def recall(self, url: str) -> None:
        """Takes up what an earlier process left, if the server can tell whether it is still the same file."""
        try:
            remote = _Remote.read(self._note)
        except (OSError, ValueError, TypeError):
            remote = None
        if remote is None or remote.url != url or self.path.is_symlink() or self.size > (remote.length or MOST_BYTES):
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


def download(url: str, path: Path, *, label: str = "", progress: bool = False) -> str | None:
    """Fills the file `path` with what `url` serves; what is there of the same file is not fetched again.

    The file is whole: the server has to tell its length, or its MD5, which the caller compares, or to send it in
    chunks, which have an end. On failure the part that came stays for the next call, if that can go on from there.
    Proxies are those of the environment.

    progress: a bar on stderr, on a terminal.
    Returns the MD5 in base64 that the server stated, None if it stated none. Raises FetchError.
    """
    check_address(url)
    partial = _Partial(path)
    try:
        partial.recall(url)
        try:
            with ByteBar(label, progress) as bar:
                _until_complete(url, partial, bar)
        except BaseException:
            if not partial.can_go_on:
                partial.discard()
            raise
        partial.forget()
    except OSError as error:
        raise FetchError(f"could not write {path}: {error.strerror or error}") from error
    return partial.remote.md5 if partial.remote else None


def check_arrived(url: str, path: Path, md5: str | None) -> None:
    """Raises FetchError for what came of `url` if it is a web page, or has another MD5 than `download` returned."""
    with open(path, "rb") as stream:
        beginning = stream.read(64)
    if beginning.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise FetchError(f"{url} sent a web page instead of a file; is there a log-in or a proxy between?")
    if md5 is not None and _md5_of(path) != md5:
        raise FetchError(f"{url} arrived damaged: its MD5 is not what the server states; fetch it again")


def _md5_of(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return base64.b64encode(digest.digest()).decode()


def _until_complete(url: str, partial: _Partial, bar: ByteBar) -> None:
    failures, furthest = 0, 0
    while not partial.is_complete:
        try:
            return _attempt(url, partial, bar)
        except BrokenOffError as error:
            # Getting further starts the count anew; a server that serves the same stretch for ever does not.
            failures = 1 if partial.size >= furthest + FURTHER else failures + 1
            furthest = max(furthest, partial.size)
            if failures > len(BACKOFF_SECONDS):
                raise FetchError(_given_up(url, partial, error)) from error
            pause = BACKOFF_SECONDS[failures - 1]
            logger.info("%s: %s; trying again in %g s", url, error, pause)
            time.sleep(pause)


def _given_up(url: str, partial: _Partial, error: BrokenOffError) -> str:
    if partial.can_go_on:
        return f"could not fetch {url}: {error}; {partial.size} bytes are kept, try again to go on from there"
    return f"could not fetch {url}: {error}; check the network and the proxy, or try again later"


def _attempt(url: str, partial: _Partial, bar: ByteBar) -> None:
    """One request. Raises BrokenOffError where another may succeed, FetchError where it cannot."""
    with _open(url, partial) as answer:
        if answer.status == 206:
            _check_range(answer, url, partial)
        else:
            # The server has no ranges, or another file by now: from the start.
            partial.start(_described(answer, url))
        _check_space(url, partial)
        _receive(answer, url, partial, bar)
    length = partial.length
    if length is not None and partial.size < length:
        raise BrokenOffError(f"the connection broke off after {partial.size} of {length} bytes")
    if partial.size == 0:
        raise FetchError(f"could not fetch {url}: the server sent an empty file")


def _open(url: str, partial: _Partial) -> Answer:
    """An answer of 200, or of 206 to a request for the rest."""
    headers = {"User-Agent": "tapsdk"}
    if partial.can_go_on and partial.remote is not None:
        headers |= {"Range": f"bytes={partial.size}-", "If-Range": str(partial.remote.validator)}
    answer = request(url, headers, TIMEOUT_SECONDS)
    try:
        _check_status(answer, url, partial, asked_for_rest="Range" in headers)
    except BaseException:
        answer.close()
        raise
    return answer


def _check_status(answer: Answer, url: str, partial: _Partial, *, asked_for_rest: bool) -> None:
    said = f"the server answered {answer.status} {answer.reason}"
    if answer.status == 416 and asked_for_rest:
        came, announced = partial.size, partial.length
        partial.discard()
        raise BrokenOffError(f"the server has nothing after {came} of {announced} bytes")
    if answer.status in TEMPORARY:
        raise BrokenOffError(said)
    if answer.status != 200 and not (answer.status == 206 and asked_for_rest):
        raise FetchError(f"could not fetch {url}: {said}")
    if answer.packing:
        raise FetchError(f"could not fetch {url}: the server sent it packed ({answer.packing}), which nobody asked for")


def _described(answer: Answer, url: str) -> _Remote:
    """What an answer with the whole file says of it. Raises FetchError where it could not be told to be whole."""
    remote = _Remote.of(url, answer.headers, answer.length)
    if remote.length is None and remote.md5 is None and not answer.says_its_end:
        raise FetchError(
            f"could not fetch {url}: the server does not say how long the file is, so that nothing could tell whether "
            "it came whole"
        )
    if remote.length is not None and remote.length > MOST_BYTES:
        raise FetchError(
            f"could not fetch {url}: the server announces {remote.length} bytes, and {MOST_BYTES} are the most"
        )
    return remote


def _check_range(answer: Answer, url: str, partial: _Partial) -> None:
    """Whether the part that is being sent is the one that is missing, of the same file."""
    before, announced = partial.remote, answer.length
    match = _RANGE.fullmatch(answer.headers.get("content-range", "").strip())
    first, last, total = (int(number) for number in match.groups()) if match else (-1, -1, -1)
    fits = (
        before is not None
        and before.validator == _Remote.of(url, answer.headers, None).validator
        and first == partial.size
        and first <= last < total <= MOST_BYTES
        and before.length in (None, total)
        and announced in (None, last - first + 1)
    )
    if not fits or before is None:
        partial.discard()
        raise BrokenOffError("the server sent another part than the one that was asked for")
    partial.remote = _Remote(url, before.validator, total, before.md5)


def _check_space(url: str, partial: _Partial) -> None:
    missing = (partial.length or 0) - partial.size
    free = shutil.disk_usage(partial.path.parent).free
    if missing > free:
        raise FetchError(
            f"cannot fetch {url}: {missing / 1e6:.0f} MB are missing and {partial.path.parent} has "
            f"{free / 1e6:.0f} MB left; make room, or name another folder"
        )


def _receive(answer: Answer, url: str, partial: _Partial, bar: ByteBar) -> None:
    most = MOST_BYTES if partial.length is None else partial.length
    with open(partial.path, "ab") as file:
        bar.at(file.tell(), partial.length)
        for part in answer.body():
            if file.tell() + len(part) > most:
                break
            file.write(part)
            bar.at(file.tell(), partial.length)
        else:
            file.flush()
            os.fsync(file.fileno())
            return
    announced = partial.length
    partial.discard()
    if announced is None:
        raise FetchError(f"could not fetch {url}: the server sent more than {most} bytes")
    raise BrokenOffError(f"the server sent more than the {announced} bytes that it announced")


def _md5(headers: Mapping[str, str]) -> str | None:
    """The MD5 in base64 as Google's storage states it in `x-goog-hash: crc32c=...,md5=...`. Raises BrokenOffError for
    one that is none."""
    for entry in headers.get("x-goog-hash", "").split(","):
        kind, _, digest = entry.strip().partition("=")
        if kind.strip().lower() == "md5":
            if not _is_md5(digest):
                raise BrokenOffError(f"the server states an MD5 that is none ({printable(digest, 50)})")
            return digest
    return None


def _is_md5(digest: str) -> bool:
    try:
        return len(base64.b64decode(digest, validate=True)) == 16
    except ValueError:
        return False
