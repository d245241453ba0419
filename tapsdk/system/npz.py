""".npz and .npy files from anybody: sizes are looked at before there is memory for them.

A zip of a kilobyte may unpack to gigabytes, and the header of an array may tell any shape. So all headers are read
first; every array must have as many bytes as its header says, and all of them together no more than a file of this
size may well hold. Arrays of Python objects are refused: they are pickles, which are programs.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tapsdk.system.json_text import parse_json

FREE_BYTES = 1 << 28
"""That a file of any size may unpack to."""
MOST_RATIO = 100
"""How many times its own size a larger one may; numbers that were measured come to about two."""
SUFFIX = ".npy"
ROW = "row_"
"""Before the names of arrays beside a table, where these are rows of points."""
_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_KINDS = "biufcUSV"


@dataclass(frozen=True)
class Header:
    """What an array says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    """Bytes of the header, after which those of the array come."""

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_npz(file: BinaryIO, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays in an open .npz file by name; those of `names` alone, as far as they are there.

    Call it within `tapsdk.system.reading.reading`: a damaged file raises ValueError, or what zip and zlib raise.
    """
    size = _size(file)
    with zipfile.ZipFile(file) as archive:
        members = _members(archive)
        wanted = {name: info for name, info in members.items() if names is None or name in names}
        _check_total(sum(_checked(archive, name, info) for name, info in wanted.items()), size)
        return {name: _array(archive, info) for name, info in wanted.items()}


def write_npz(file: BinaryIO, arrays: Mapping[str, Any]) -> None:
    """Arrays by name as a compressed .npz file, or as one that is not where `read_npz` would refuse it."""
    # By way of memory: numpy leaves its archive open when writing to a file fails.
    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)
    size = sum(np.asarray(array).nbytes for array in arrays.values())
    if size > max(FREE_BYTES, MOST_RATIO * archive.tell()) // 2:
        # What hardly changes compresses as bombs do, which no reader takes.
        archive = io.BytesIO()
        np.savez(archive, **arrays)
    file.write(archive.getbuffer())


def headed(header: Mapping[str, Any], arrays: Mapping[str, Any], prefix: str = ROW) -> dict[str, Any]:
    """What a file with a table of values in JSON beside its arrays holds, by name; `read_headed` takes it apart."""
    return {"header": np.str_(json.dumps(header)), **{prefix + name: array for name, array in arrays.items()}}


def read_headed(path: Path, prefix: str = ROW) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The table and the arrays of a file of what `headed` gave. Raises what `read_npz` and `parse_json` raise, and
    KeyError for a file without a table."""
    with open(path, "rb") as file:
        stored = read_npz(file)
    named = {name.removeprefix(prefix): array for name, array in stored.items() if name.startswith(prefix)}
    return parse_json(str(stored["header"])), named


def names_in(file: BinaryIO) -> list[str]:
    """The names of the arrays in an open .npz file. Raises what `read_npz` raises."""
    with zipfile.ZipFile(file) as archive:
        return list(_members(archive))


def read_npy(file: BinaryIO) -> NDArray[Any]:
    """The array in an open .npy file. Raises ValueError for a damaged one, and for one of Python objects."""
    size = _size(file)
    header = read_header(file)
    if header.nbytes != size - header.start:
        raise ValueError(f"an array {_described(header)} has {header.nbytes} bytes, not {size - header.start}")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def read_header(file: IO[bytes]) -> Header:
    """The header of an array at the start of a file, which then stands behind it. Raises ValueError."""
    shape, dtype = _parsed(file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    if dtype.kind not in _KINDS or dtype.names or dtype.subdtype or min(shape, default=0) < 0 or not dtype.itemsize:
        raise ValueError(f"an array {list(shape)} of {dtype}")
    return Header(shape, dtype, file.tell())


def holds_objects(file: IO[bytes]) -> bool:
    """Whether the array at the start of a file is one of Python objects. Their pickle is where the file then stands,
    for whoever can read one without running it. Raises ValueError."""
    return _parsed(file)[1].hasobject


def _parsed(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"an array of version {version}")
    shape, _, dtype = _HEADERS[version](file)
    return shape, dtype


def check_unpacked(path: Path) -> None:
    """Raises ValueError for a zip, of arrays or of anything, that unpacks to more than a file of its size may well
    hold. What is no zip passes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            _check_total(sum(info.file_size for info in archive.infolist()), path.stat().st_size)


def _check_total(unpacked: int, size: int) -> None:
    limit = max(FREE_BYTES, MOST_RATIO * size)
    if unpacked > limit:
        raise ValueError(f"it unpacks to {unpacked} bytes, and may to {limit}")


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    listed = archive.infolist()
    members = {info.filename.removesuffix(SUFFIX): info for info in listed if info.filename.endswith(SUFFIX)}
    others = [info.filename for info in listed if not info.filename.endswith(SUFFIX)]
    if others:
        raise ValueError(f"it holds {others[0]}, which is no array")
    if len(members) < len(listed):
        raise ValueError("it holds two arrays of one name")
    return members


def _checked(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> int:
    """Bytes that an array unpacks to. Raises ValueError unless that is what its header says."""
    if info.compress_type not in _STORED:
        raise ValueError(f"{name} is compressed in another way than .npz files are")
    with archive.open(info) as member:
        try:
            header = read_header(member)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    # zip unpacks no more of a member than it declares.
    if header.start + header.nbytes != info.file_size:
        raise ValueError(
            f"{name} is an array {_described(header)} of {header.nbytes} bytes, and there are "
            f"{info.file_size - header.start}"
        )
    return info.file_size


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(info) as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
        member.read()  # to its end, where its checksum is compared
    return array


def _described(header: Header) -> str:
    return f"{list(header.shape)} of {header.dtype}"


def _size(file: BinaryIO) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size
