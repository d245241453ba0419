"""Ways to spoil a file: of bytes alone, and of what JSON, CSV, npy, zip, safetensors, MP4, pickles, HTTP are made of.

A mutator takes (bytes, rng) and gives bytes. Those that know a format fall back on bytes where the input is not of it.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Mutator = Callable[[bytes, np.random.Generator], bytes]

NUMBERS: tuple[Any, ...] = (0, -1, 1, 0.5, 2**31 - 1, 2**63, -(2**63), 10**30, 1e300, -1e-300, True, False)
VALUES: tuple[Any, ...] = (*NUMBERS, None, "", "x", "\0", "../../x", "\x1b[31m", "9" * 5000, [], {}, [[]], [None])
TOKENS = (b"nan", b"inf", b"-1", b"1e999", b"9" * 400, b"0x10", b"", b'"', b",", b"\n", b"\0", b"\xff", b"[", b"{")
DEEP = b'{"a":' * 50_000


def spoil_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """A few flips, cuts, repeats or insertions, anywhere."""
    content = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(content) + 1))
        length = int(min(len(content) - at, 2 ** rng.integers(0, 10)))
        kind = int(rng.integers(7))
        if kind == 0 and at < len(content):
            content[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del content[at : at + length]
        elif kind == 2:
            content[at:at] = content[at : at + length]
        elif kind == 3:
            content[at : at + length] = rng.bytes(length)
        elif kind == 4:
            content[at:at] = TOKENS[int(rng.integers(len(TOKENS)))]
        elif kind == 5:
            number = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
            content[at : at + 4] = struct.pack(str(rng.choice(["<I", ">I"])), number)
        elif rng.random() < 0.3:
            del content[at:]
    return bytes(content)


def spoil_json(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three values changed, gone or nested without end; numbers that JSON lacks; names twice."""
    try:
        table = json.loads(data)
    except ValueError:
        return spoil_bytes(data, rng)
    kind = rng.random()
    if kind < 0.04:
        return DEEP
    if kind < 0.08:
        return data.replace(b'":', b'":' + DEEP, 1)
    for _ in range(int(rng.integers(1, 4))):
        table = _changed(table, rng)
    text = json.dumps(table)
    if kind < 0.12:
        text = text[:1] + text[1 : text.find(",") + 1] + text[1:]
    return text.encode("utf-16" if kind > 0.99 else "utf-8")


def _changed(value: Any, rng: np.random.Generator) -> Any:
    places = list(_places(value))
    if not places:
        return _value(rng)
    parent, key = places[int(rng.integers(len(places)))]
    choice = rng.random()
    if choice < 0.15 and isinstance(parent, dict):
        del parent[key]
    elif choice < 0.25 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif choice < 0.4 and isinstance(parent[key], int | float):
        parent[key] = parent[key] * float(rng.choice([-1, 0, 2, 0.5, 1e9, np.nan, np.inf]))
    else:
        parent[key] = _value(rng)
    return value


def _value(rng: np.random.Generator) -> Any:
    # A copy: what is put into it must be in no other input.
    return copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])


def _places(value: Any) -> Any:
    """(container, key) of everything inside a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def spoil_table(data: bytes, rng: np.random.Generator) -> bytes:
    """A cell of a CSV changed, or a row repeated, cut or moved."""
    rows = [line.split(b",") for line in data.split(b"\n")]
    for _ in range(int(rng.integers(1, 4))):
        row = int(rng.integers(len(rows)))
        kind = int(rng.integers(5))
        if kind == 0:
            rows[row] = rows[row][: int(rng.integers(len(rows[row]) + 1))]
        elif kind == 1:
            rows.insert(int(rng.integers(len(rows))), rows[row])
        elif kind == 2 and len(rows) > 1:
            del rows[row]
        elif rows[row]:
            rows[row][int(rng.integers(len(rows[row])))] = TOKENS[int(rng.integers(len(TOKENS)))]
        rows = rows or [[b""]]
    return b"\n".join(b",".join(row) for row in rows)


HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (1, -1), }",
    "{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False, 'shape': (), }",
    "{'descr': '<U999999999', 'fortran_order': False, 'shape': (9,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "(" * 300 + "), }",
    "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '<c16', 'fortran_order': False, 'shape': (2,), }",
    "{'shape': (1,)",
)


def spoil_npy(data: bytes, rng: np.random.Generator) -> bytes:
    """Another header, a pickle in place of numbers, other numbers, or spoilt bytes."""
    kind = rng.random()
    if kind < 0.3:
        header = HEADERS[int(rng.integers(len(HEADERS)))]
        if "%s" in header:
            header %= int(rng.choice([0, 1, 2**31, 2**40, 2**62]))
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + data[128:]
    if kind < 0.4:
        file = io.BytesIO()
        np.save(file, np.array([Payload()], object), allow_pickle=True)
        return file.getvalue()
    if kind < 0.7 and data[:6] == b"\x93NUMPY" and b"|O" not in data[:128]:
        file = io.BytesIO()
        np.save(file, _other_numbers(np.load(io.BytesIO(data)), rng))
        return file.getvalue()
    return spoil_bytes(data, rng)


def _other_numbers(array: Any, rng: np.random.Generator) -> Any:
    kind = int(rng.integers(6))
    if kind == 0 and array.dtype.kind in "biuf":
        with np.errstate(all="ignore"):
            return array.astype(str(rng.choice(["f8", "i8", "u1", "?", "c8", "U3", "S2", "f2"])))
    if kind <= 1:
        return array.reshape(-1)
    if kind == 2:
        return array[None]
    if kind == 3:
        return array[: len(array) // 2] if array.ndim else array
    spoilt = np.array(array)
    if spoilt.size and spoilt.dtype.kind in "fiu":
        values = [0, -1, 1e30, np.nan, np.inf] if spoilt.dtype.kind == "f" else [0, 1, 127]
        spoilt.reshape(-1)[int(rng.integers(spoilt.size))] = rng.choice(values)
    return spoilt


def spoil_zip(data: bytes, rng: np.random.Generator, member: Mutator = spoil_npy) -> bytes:
    """A member spoilt, gone, twice, renamed, or a bomb of zeros; or the bytes of the archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return spoil_bytes(data, rng)
    kind, name = rng.random(), str(rng.choice(list(members)))
    if kind < 0.25:
        return spoil_bytes(data, rng)
    rows = list(members.items())
    if kind < 0.35:
        del rows[list(members).index(name)]
    elif kind < 0.42:
        rows.append((name, member(members[name], rng)))
    elif kind < 0.5:
        rows.append((str(rng.choice(["../x.npy", "/x.npy", "x", "pickle.npy", "a" * 300])), members[name]))
    elif kind < 0.55:
        header = HEADERS[0] % 2**29
        bomb = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"
        rows = [(n, bomb + bytes(1 << 22) if n == name else content) for n, content in rows]
    else:
        rows = [(n, member(content, rng) if n == name else content) for n, content in rows]
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for n, content in rows:
            archive.writestr(zipfile.ZipInfo(n), content)
    return file.getvalue()


def spoil_safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """Its JSON header spoilt, with a length that fits it or not."""
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.3 or length > len(data):
        return spoil_bytes(data, rng)
    header = spoil_json(data[8 : 8 + length], rng)
    claimed = len(header) if rng.random() < 0.8 else int(rng.choice([0, 1, 2**40, 2**62]))
    return claimed.to_bytes(8, "little") + header + data[8 + length :]


def spoil_boxes(data: bytes, rng: np.random.Generator) -> bytes:
    """The size or name of one of the boxes of an MP4 file, or what is in it."""
    at = [i for i in range(4, len(data) - 4) if data[i : i + 4].isalpha() and data[i : i + 4].islower()]
    if not at or rng.random() < 0.3:
        return spoil_bytes(data, rng)
    start = int(rng.choice(at)) - 4
    content = bytearray(data)
    kind = rng.random()
    if kind < 0.4:
        content[start : start + 4] = struct.pack(">I", int(rng.choice([0, 1, 7, 8, 2**31, 2**32 - 1])))
    elif kind < 0.6:
        content[start + 4 : start + 8] = rng.bytes(4)
    else:
        body = slice(start + 8, start + 24)
        content[body] = spoil_bytes(bytes(content[body]), rng)
    return bytes(content)


HTTP_LINES = (
    b"Content-Length: 99999999999999999999",
    b"Content-Length: -1",
    b"Content-Length: \xb2",
    b"Transfer-Encoding: chunked",
    b"Content-Encoding: gzip",
    b"Content-Range: bytes 0-9/10",
    b"Location: file:///etc/passwd",
    b"Location: http://[::1",
    b"ETag: \x1b[31m",
    b"x-goog-hash: md5=\xe9==",
    b"x" * 70_000,
    b": ",
    b"Folded: a\r\n b",
)
STATUSES = (b"200 OK", b"206 Partial", b"301 Moved", b"304 Same", b"403 \x1b[2J", b"416 No", b"500 Oh", b"1000 X", b"")


def spoil_reply(data: bytes, rng: np.random.Generator) -> bytes:
    """An HTTP answer with another status, or lines of its head changed, doubled or gone; or spoilt bytes."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    for _ in range(int(rng.integers(1, 4))):
        at, kind = int(rng.integers(len(lines))), int(rng.integers(5))
        if kind == 0:
            lines[0] = b"HTTP/1.1 " + STATUSES[int(rng.integers(len(STATUSES)))]
        elif kind == 1:
            lines.insert(at + 1, HTTP_LINES[int(rng.integers(len(HTTP_LINES)))])
        elif kind == 2:
            lines.insert(at, lines[at])
        elif kind == 3 and len(lines) > 1:
            del lines[at]
        else:
            lines[at] = spoil_bytes(lines[at], rng)
    if rng.random() < 0.3:
        body = body[: int(rng.integers(len(body) + 1))]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Payload:
    """Unpickling it leaves a file behind: whoever finds `Payload.MARK` knows that code of a file ran."""

    MARK = "code-of-a-file-ran"

    def __reduce__(self) -> Any:
        return open, (self.MARK, "w")


def spoil_pickle(data: bytes, rng: np.random.Generator) -> bytes:
    """Spoilt bytes, or code in place of data."""
    if rng.random() < 0.2:
        return pickle.dumps([Payload()], protocol=int(rng.integers(0, 5)))
    return spoil_bytes(data, rng)
