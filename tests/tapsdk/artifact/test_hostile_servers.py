"""Servers that answer anything at all: the file comes whole, or one FetchError says why not, and nothing is left."""

import base64
import hashlib
import itertools
import socket
import threading
import time
from contextlib import suppress

import pytest

from tapsdk.artifact import download, http
from tapsdk.artifact.fetch import cached, fetch
from tapsdk.errors import FetchError

MODEL = "tapir/base"
CONTENT = bytes(range(256)) * 1200
SIZE = len(CONTENT)
HALF = SIZE // 2
MD5 = base64.b64encode(hashlib.md5(CONTENT).digest())
MOST = 1_000_000
"""Bytes that a file may have here."""


# What a server does with a connection and the start of the range that it was asked for (None: the whole)


def says(*parts):
    """Sends bytes, then closes."""
    return lambda connection, start: [connection.sendall(part) for part in parts]


def ok(headers=b"", body=CONTENT, status=b"200 OK"):
    return says(b"HTTP/1.1 " + status + b"\r\n" + headers + b"\r\n" + body)


def sized(body=CONTENT, headers=b""):
    return ok(b"Content-Length: %d\r\n" % SIZE + headers, body)


def chunked(body, headers=b""):
    return ok(b"Transfer-Encoding: chunked\r\n" + headers, body)


def endless(head, part=b"z" * (1 << 16)):
    def pour(connection, start):
        connection.sendall(head)
        while True:
            connection.sendall(part)

    return pour


def trickle(head, part=b"z", every=0.02):
    def drip(connection, start):
        connection.sendall(head)
        while True:
            connection.sendall(part)
            time.sleep(every)

    return drip


def silence(head=b""):
    def wait(connection, start):
        connection.sendall(head)
        with suppress(OSError):
            connection.recv(1)

    return wait


FIRST_HALF = sized(CONTENT[:HALF], b'ETag: "a"\r\n')


def then(second, first=FIRST_HALF):
    """A connection that breaks off; and what comes when the rest is asked for."""
    return lambda connection, start: (first if start is None else second)(connection, start)


def part(text=f"bytes {HALF}-{SIZE - 1}/{SIZE}", headers=b'ETag: "a"\r\n', body=CONTENT[HALF:]):
    return ok(headers + (b"Content-Range: " + text.encode() + b"\r\n" if text else b""), body, b"206 Partial")


def to(place):
    """A redirect."""
    return ok(b"Content-Length: 0\r\nLocation: " + place + b"\r\n", b"", b"302 Found")


def pieces(connection, start):
    """No more than 150,000 bytes at once."""
    end = min(SIZE, (start or 0) + 150_000)
    if start is None:
        return sized(CONTENT[:end], b'ETag: "a"\r\n')(connection, start)
    part(f"bytes {start}-{end - 1}/{SIZE}", b'ETag: "a"\r\nContent-Length: %d\r\n' % (end - start), CONTENT[start:end])(
        connection, start
    )


CHUNKS = b"".join(b"%x;name=value\r\n%s\r\n" % (len(c), c) for c in (CONTENT[:1000], CONTENT[1000:]))
HONEST = {
    "a length": sized(),
    "chunks": chunked(CHUNKS + b"0\r\n\r\n"),
    "chunks and a trailer": chunked(CHUNKS + b"0\r\nX-Sum: 1\r\n\r\n"),
    "chunks that break off, and the rest": then(
        part(), chunked(b"%x\r\n" % HALF + CONTENT[:HALF] + b"\r\n", b'ETag: "a"\r\n')
    ),
    "an MD5 instead of a length": ok(b"x-goog-hash: crc32c=AAAAAA==,md5=" + MD5 + b"\r\n"),
    "a half and the rest": then(part()),
    "piece by piece": pieces,
    "a word beforehand": says(
        b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE, CONTENT
    ),
    "an encoding that is none": sized(headers=b"Content-Encoding: identity\r\n"),
    "an answer in an old version": says(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE, CONTENT),
    "an ETag that cannot go back": sized(headers=b'ETag: "\xe9\x01"\r\n'),
}

HOSTILE = {
    # Numbers
    "a length of 400 digits": (ok(b"Content-Length: " + b"9" * 400 + b"\r\n"), "announces '999"),
    "a length of 5000 digits": (ok(b"Content-Length: " + b"9" * 5000 + b"\r\n"), "announces '999"),
    "a length in superscript": (ok(b"Content-Length: \xb2\r\n"), "announces"),
    "a negative length": (ok(b"Content-Length: -1\r\n"), "announces '-1'"),
    "two lengths": (sized(headers=b"Content-Length: 5\r\n"), f"announces '{SIZE}, 5'"),
    "a length beyond the limit": (ok(b"Content-Length: 1000001\r\n"), "1000000 are the most"),
    "an MD5 that is not ASCII": (sized(headers=b"x-goog-hash: md5=\xe9\xe9==\r\n"), "an MD5 that is none"),
    "an MD5 of another file": (sized(headers=b"x-goog-hash: md5=" + base64.b64encode(bytes(16)) + b"\r\n"), "damaged"),
    "a status of no number": (says(b"HTTP/1.1 two OK\r\n\r\n"), "no connection to"),
    "a status that does not exist": (ok(status=b"999 What"), "answered 999 What"),
    # Files that nothing shows to be whole
    "no length": (ok(), "does not say how long"),
    "no length, cut off": (says(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT[:1000]), "does not say how long"),
    "no length, without end": (endless(b"HTTP/1.0 200 OK\r\n\r\n"), "does not say how long"),
    "an MD5 and no end": (
        endless(b"HTTP/1.0 200 OK\r\nx-goog-hash: md5=" + MD5 + b"\r\n\r\n"),
        "more than 1000000 bytes",
    ),
    "cut off": (sized(CONTENT[:HALF]), f"after {HALF} of {SIZE} bytes"),
    "packed": (sized(headers=b"Content-Encoding: gzip\r\n"), r"packed \(gzip\), which nobody asked for"),
    "packed for the way": (ok(b"Transfer-Encoding: gzip, chunked\r\n"), r"packed \(gzip, chunked\)"),
    "packed under a coloured name": (sized(headers=b"Content-Encoding: \x1b[31m\r\n"), r"packed \(\\x1b\[31m\)"),
    # Chunks
    "a negative chunk": (chunked(b"-5\r\nhello\r\n"), "a chunk without a size"),
    "a chunk of all that comes": (
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"),
        "without a size",
    ),
    "a chunk of many digits": (chunked(b"f" * 5000 + b"\r\n"), "a chunk without a size"),
    "a chunk that is too large": (chunked(b"ffffffff\r\n" + CONTENT * 4), "more than 1000000 bytes"),
    "chunks without end": (
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n%b\r\n" % bytes(4096)),
        "more than",
    ),
    "chunks without a last one": (chunked(CHUNKS), "a chunk without a size"),
    "a chunk that ends early": (chunked(b"ff\r\nhello"), "a chunk ends early"),
    "a chunk that goes on": (chunked(b"5\r\nhello, you\r\n"), "a chunk ends early"),
    "a trailer without end": (
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
        "no end",
    ),
    # Parts
    "a part without a range": (then(part("")), "another part"),
    "a range of 5000 digits": (then(part("bytes " + "9" * 5000 + "-1/3")), "another part"),
    "a range of another place": (then(part(f"bytes 5-{SIZE - 1}/{SIZE}")), "another part"),
    "a range that ends before it begins": (then(part(f"bytes {HALF}-5/{SIZE}")), "another part"),
    "a range beyond the whole": (then(part(f"bytes {HALF}-{SIZE}/{SIZE}")), "another part"),
    "a range of another whole": (then(part(f"bytes {HALF}-{SIZE - 1}/{SIZE + 1}")), "another part"),
    "a range of an unknown whole": (then(part(f"bytes {HALF}-{SIZE - 1}/*")), "another part"),
    "a range of another length": (then(part(headers=b'ETag: "a"\r\nContent-Length: 5\r\n')), "another part"),
    "a part without its ETag": (then(part(headers=b"")), "another part"),
    "a part with another ETag": (then(part(headers=b'ETag: "b"\r\n')), "another part"),
    "a part with a weak ETag": (then(part(headers=b'ETag: W/"a"\r\n')), "another part"),
    "a part that goes on": (
        then(endless(f'HTTP/1.1 206 P\r\nETag: "a"\r\nContent-Range: bytes {HALF}-{SIZE - 1}/{SIZE}\r\n\r\n'.encode())),
        f"more than the {SIZE} bytes",
    ),
    "several parts": (then(ok(b'ETag: "a"\r\nContent-Type: multipart/byteranges\r\n', b"", b"206 P")), "another part"),
    "a part that nobody asked for": (part(), "answered 206"),
    "a packed part": (then(part(headers=b'ETag: "a"\r\nContent-Encoding: br\r\n')), r"packed \(br\)"),
    "one byte at a time": (
        then(lambda c, start: part(f"bytes {start}-{start}/{SIZE}", body=b"z")(c, start)),
        "broke off",
    ),
    # Heads
    "nothing": (says(b""), "no connection"),
    "half a head": (says(b"HTTP/1.1 200 OK\r\nContent-Le"), "does not say how long"),
    "noise": (says(bytes(range(256)) * 10), "no connection"),
    "an encrypted answer": (says(b"\x16\x03\x01\x02\x00\x01\x00"), "no connection"),
    "a page of the first web": (says(b"<html>\r\n"), "no connection"),
    "control characters in the reason": (
        ok(b"Content-Length: 0\r\n", b"", b"403 \x1b[31mred\x07"),
        r"403 \\x1b\[31mred\\x07",
    ),
    "a long line": (endless(b"HTTP/1.1 200 OK\r\nA: "), "no connection"),
    "a status line without end": (endless(b"HTTP/1.1 200 "), "no connection"),
    "lines without end": (endless(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 1000), "no connection"),
    "words beforehand without end": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), "the head of the answer"),
    "a hint beforehand": (says(b"HTTP/1.1 103 Early Hints\r\n\r\n"), "answered 103"),
    "another protocol": (says(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), "answered 101"),
    "no content": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), "answered 204"),
    "nothing new": (says(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "answered 304"),
    # Redirects
    "a redirect to a file": (to(b"file:///etc/passwd"), "leads to file:///etc/passwd, no web server"),
    "a redirect to FTP": (to(b"ftp://127.0.0.1/a"), "no web server"),
    "a redirect to data": (to(b"data:,hello"), "no web server"),
    "a redirect to nowhere": (to(b"http://"), "answered 302 again after 5 redirects"),
    "a redirect to brackets": (to(b"http://[/"), "no web server"),
    "a redirect to an odd port": (to(b"http://a:99999999/"), "no web server"),
    "a redirect in colour": (to(b"\x1b[31m://a/"), r"answered|no web server"),
    "a redirect to itself": (to(b"/m.npy"), "answered 302 again after 5 redirects"),
    "a redirect without an address": (ok(b"", b"", b"302 Found"), "answered 302"),
    "a redirect with a page without end": (
        endless(b"HTTP/1.1 302 Found\r\nLocation: /m.npy\r\n\r\n"),
        "answered 302 again after 5 redirects",
    ),
    "an error with a page without end": (endless(b"HTTP/1.1 404 Gone\r\n\r\n"), "answered 404 Gone"),
}

SLOW = {
    "a body byte by byte": trickle(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE),
    "a chunk byte by byte": trickle(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nz\r\n"),
    "a head byte by byte": trickle(b"HTTP/1.1 200 OK\r\nA: "),
    "words beforehand, slowly": trickle(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "silence": silence(),
    "silence after the head": silence(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
}


@pytest.fixture
def serve(monkeypatch):
    """Starts a server that does one thing, and gives the address of its file."""
    monkeypatch.setattr(download, "BACKOFF_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(download, "MOST_BYTES", MOST)
    listener = socket.create_server(("127.0.0.1", 0))
    open_connections = []

    def start(behaviour):
        threading.Thread(target=accept, args=(behaviour,), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/m.npy"

    def accept(behaviour):
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_connections.append(connection)
                threading.Thread(target=answer, args=(connection, behaviour), daemon=True).start()

    def answer(connection, behaviour):
        with suppress(OSError), connection:
            head = connection.recv(1 << 16).decode("latin-1")
            asked = head.partition("bytes=")[2]
            behaviour(connection, int(asked.split("-")[0]) if asked else None)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)  # whoever closes with bytes unread takes back what was sent

    yield start
    listener.close()
    for connection in open_connections:
        connection.close()


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def check_refused(address, folder, said):
    with pytest.raises(FetchError, match=said) as caught:
        fetch(MODEL, directory=folder, url=address)
    assert str(caught.value).isprintable()
    assert set(visible(folder)) <= {"m.npy.part", "m.npy.part.json"}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MOST
    assert cached(MODEL, directory=folder) is None


@pytest.mark.parametrize("name", HONEST)
def test_a_file_comes_whole(serve, tmp_path, name):
    path = fetch(MODEL, directory=tmp_path, url=serve(HONEST[name]))
    assert path.read_bytes() == CONTENT
    assert visible(tmp_path) == ["m.npy", "tapir-base.pin.json"]


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_server_answers_is_one_error(serve, tmp_path, name):
    behaviour, said = HOSTILE[name]
    check_refused(serve(behaviour), tmp_path, said)


@pytest.mark.parametrize("name", SLOW)
def test_a_server_that_keeps_us_waiting_is_left(serve, tmp_path, monkeypatch, name):
    monkeypatch.setattr(download, "BACKOFF_SECONDS", (0.0,))
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(http, "SLOW_SECONDS", 0.3)
    begun = time.monotonic()
    check_refused(serve(SLOW[name]), tmp_path, "timed out|less than 4096 bytes a second")
    assert time.monotonic() - begun < 20


def test_five_redirects_are_followed_and_six_are_not(serve, tmp_path):
    hops = itertools.count(1)
    behaviour = lambda c, start: (to(b"/m.npy") if next(hops) <= 5 else sized())(c, start)  # noqa: E731
    assert fetch(MODEL, directory=tmp_path, url=serve(behaviour)).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "address, location, leads",
    [
        ("https://a/x", "/y", "https://a/y"),
        ("https://a/x", "//b/y", "https://b/y"),
        ("https://a/x", "https://b/y", "https://b/y"),
        ("http://a/x", "http://b/y", "http://b/y"),
        ("http://a/x", "https://b/y", "https://b/y"),
        ("http://a/x", "/a b\xe9", "http://a/a%20b%E9"),
        ("https://a/x", "http://b/y", None),
        ("https://a/x", "HTTP://b/y", None),
        ("https://a/x", "file:///y", None),
    ],
)
def test_redirects_never_leave_https(address, location, leads):
    if leads is not None:
        assert http._redirected(address, address, location) == leads
        return
    with pytest.raises(FetchError, match="leads"):
        http._redirected(address, address, location)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        '{"a":' * 100_000,
        "[]",
        '{"url": 1, "validator": "v", "length": 5, "md5": null}',
        '{"url": "URL", "validator": null, "length": 5, "md5": null}',
        '{"url": "URL", "validator": "a\\r\\nX: y", "length": 400000, "md5": null}',
        '{"url": "URL", "validator": "\\u2713", "length": 400000, "md5": null}',
        '{"url": "URL", "validator": "\\"a\\"", "length": 1, "md5": null}',
        '{"url": "URL", "validator": "\\"a\\"", "length": -1, "md5": null}',
        '{"url": "URL", "validator": "\\"a\\"", "length": 1e400, "md5": null}',
        '{"url": "URL", "validator": "\\"a\\"", "length": true, "md5": null}',
        '{"url": "URL", "validator": "\\"a\\"", "length": 400000, "md5": "\\u00e9"}',
    ],
    ids=range(13),
)
def test_a_note_that_is_damaged_is_passed_over(serve, tmp_path, note):
    address = serve(sized())
    (tmp_path / "m.npy.part").write_bytes(b"z" * 1000)
    (tmp_path / "m.npy.part.json").write_text(note.replace("URL", address))
    assert fetch(MODEL, directory=tmp_path, url=address).read_bytes() == CONTENT


def test_nothing_is_written_through_a_link(serve, tmp_path):
    (tmp_path / "other").write_bytes(b"mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "m.npy.part").symlink_to(tmp_path / "other")
    fetch(MODEL, directory=folder, url=serve(sized()))
    assert (tmp_path / "other").read_bytes() == b"mine"
