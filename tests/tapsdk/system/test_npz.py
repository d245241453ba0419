import io
import tokenize
import zipfile
import zlib

import numpy as np
import pytest

from tapsdk.system import npz
from tapsdk.system.npz import names_in, read_npy, read_npz


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), **options)
    return file.getvalue()


def headed(header, data=b"", version=b"\x01\x00"):
    """An array with any text as its header."""
    text = header.encode("latin-1")
    length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + length + text + data


def described(shape, descr="<f4", data=b"", version=b"\x01\x00"):
    return headed(f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n", data, version)


def archive(members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        for name, data in members:
            target.writestr(name, data)
    return file


ARRAYS = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "turned": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "number": np.int64(7),
    "text": np.str_("Café"),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 4)),
    "half": np.zeros(2, "V2"),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_as_they_were_saved(save):
    file = io.BytesIO()
    save(file, **ARRAYS)
    found = read_npz(file)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert names_in(file) == list(ARRAYS)
    assert read_npz(file, {"number", "strange"}) == {"number": 7}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_as_it_was_saved(name):
    np.testing.assert_array_equal(read_npy(io.BytesIO(npy(ARRAYS[name]))), ARRAYS[name])


BAD_ARRAYS = {
    "nothing": b"",
    "text": b"hello",
    "cut header": npy(ARRAYS["floats"])[:40],
    "cut numbers": npy(ARRAYS["floats"])[:-1],
    "more than it says": npy(ARRAYS["floats"]) + b"x",
    "objects": npy(np.array([{}], object), allow_pickle=True),
    "objects in records": npy(np.zeros(1, [("a", "O")]), allow_pickle=True),
    "records": npy(np.zeros(2, [("a", "f4")])),
    "dates": npy(np.zeros(2, "M8[s]")),
    "a huge shape": described((10**6, 10**6)),
    "a shape beyond all numbers": described((10**30, 0)),
    "a shape that overflows to nothing": described((2**32, 2**32)),
    "a negative shape": described((-1, 4), data=bytes(16)),
    "nothings without number": described((10**15,), "<U0"),
    "an open bracket": headed("{'descr': ("),
    "no Python": headed("import os\n"),
    "a call": headed("__import__('os').getcwd()\n"),
    "deep brackets": headed("(" * 9000),
    "a long header": headed(" " * 60_000),
    "a header that goes on": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "a version to come": described((0,), version=b"\x09\x00"),
}
WRONG = (ValueError, tokenize.TokenError, SyntaxError, RecursionError, MemoryError, OverflowError, EOFError)


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_what_is_no_array_is_an_error_before_there_is_memory_for_it(name):
    with pytest.raises(WRONG):
        read_npy(io.BytesIO(BAD_ARRAYS[name]))
    with pytest.raises(WRONG):
        read_npz(archive([("a.npy", BAD_ARRAYS[name])]))


def lying_about_size(claimed):
    """An archive that says of its only array that it is larger than it is."""
    data = archive([("a.npy", described((claimed,), "|u1"))], zipfile.ZIP_STORED).getvalue()
    start = data.index(b"PK\x01\x02")
    size = (claimed + len(described((claimed,), "|u1"))).to_bytes(4, "little")
    return io.BytesIO(data[: start + 24] + size + data[start + 28 :])


BAD_ARCHIVES = {
    "no zip": io.BytesIO(b"hello"),
    "cut off": io.BytesIO(archive([("a.npy", npy(1))]).getvalue()[:-30]),
    "a stranger inside": archive([("a.npy", npy(1)), ("b.txt", b"")]),
    "a bomb": archive([("a.npy", described((1 << 20,), "|u1", bytes(1 << 20)))]),
    "a bomb of many": archive([(f"{i}.npy", described((1 << 16,), "|u1", bytes(1 << 16))) for i in range(20)]),
    "another compression": archive([("a.npy", npy(1))], zipfile.ZIP_LZMA),
    "a size that is not there": lying_about_size(100_000),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_what_is_no_archive_is_an_error_before_there_is_memory_for_it(name, monkeypatch):
    monkeypatch.setattr(npz, "FREE_BYTES", 200_000)
    with pytest.raises((ValueError, EOFError, zipfile.BadZipFile, zlib.error)):
        read_npz(BAD_ARCHIVES[name])


def test_two_arrays_of_one_name_are_refused():
    with pytest.warns(UserWarning, match="Duplicate name"):
        file = archive([("a.npy", npy(1)), ("a.npy", npy(2))])
    with pytest.raises(ValueError, match="two arrays of one name"):
        read_npz(file)


def test_what_compresses_well_and_is_small_is_read():
    zeros = np.zeros(1 << 20, np.uint8)
    assert (read_npz(archive([("a.npy", npy(zeros))]))["a"] == zeros).all()


def test_what_is_not_asked_for_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(npz, "FREE_BYTES", 1000)
    file = archive([("a.npy", npy(1)), ("bomb.npy", npy(np.zeros(1 << 20)))])
    assert read_npz(file, {"a"}) == {"a": 1}


def test_a_flipped_bit_shows():
    data = bytearray(archive([("a.npy", npy(np.arange(100)))], zipfile.ZIP_STORED).getvalue())
    data[300] ^= 1
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        read_npz(io.BytesIO(data))
