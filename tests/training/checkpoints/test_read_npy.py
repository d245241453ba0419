import io
import os
import pickle
import pickletools
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.checkpoints.errors import CheckpointError
from training.checkpoints.pickles import KNOWN
from training.checkpoints.read_npy import read_npy

ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "scalar": np.float32(2.5),
    "0-d": np.array(2.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "big endian": np.arange(3, dtype=">f4"),
    "half": np.arange(3, dtype=np.float16),
    "double": np.arange(3, dtype=np.float64),
    "integers": np.arange(3, dtype=np.int64),
    "booleans": np.array([True, False]),
}


def npy(pickled):
    """A .npy file around a pickle."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    return file.getvalue() + pickled


@pytest.fixture
def read(tmp_path):
    """Reads a file with this content."""

    def read(content):
        path = tmp_path / "checkpoint.npy"
        path.write_bytes(content)
        return read_npy(path)

    return read


def test_what_numpy_saves(tmp_path):
    path = tmp_path / "checkpoint.npy"
    np.save(path, {"params": {"tapir/~/a": ARRAYS}, "state": {}}, allow_pickle=True)
    found = read_npy(path)
    assert set(found) == {f"tapir/~/a/{name}" for name in ARRAYS}
    for name, array in ARRAYS.items():
        assert found[f"tapir/~/a/{name}"].dtype == np.float32
        np.testing.assert_array_equal(found[f"tapir/~/a/{name}"], array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("core", ["core", "_core"])
def test_every_protocol_of_numpy_1_and_2(read, protocol, core):
    content = OrderedDict(params=OrderedDict(m={"w": ARRAYS["matrix"], "s": ARRAYS["scalar"]}), state={})
    pickled = pickle.dumps(content, protocol)
    if protocol < 4:  # text whose length is not written down
        current = "numpy._core" if b"numpy._core" in pickled else "numpy.core"
        pickled = pickled.replace(current.encode(), f"numpy.{core}".encode())
    found = read(npy(pickled))
    np.testing.assert_array_equal(found["m/w"], ARRAYS["matrix"])
    assert found["m/s"] == ARRAYS["scalar"]


def test_both_names_of_numpys_modules_are_known():
    assert ("numpy.core.multiarray", "_reconstruct") in KNOWN
    assert ("numpy._core.multiarray", "_reconstruct") in KNOWN


def test_bfloat16(read):
    # As ml_dtypes pickles it, without the package.
    array = b"\x80\x3f\x00\xc0"  # 1, -2
    pickled = (
        b"\x80\x04}\x8c\x06params}\x8c\x01m}\x8c\x01wcnumpy._core.numeric\n_frombuffer\n"
        b"(C\x04" + array + b"cnumpy\ndtype\ncml_dtypes\nbfloat16\n\x89\x88\x87R"
        b"(K\x03\x8c\x01<NNNK\x02K\x02K@tb\x85\x8c\x01CtRsss."
    )
    pickled = pickled.replace(b"\x85\x8c\x01CtR", b"K\x02\x85\x8c\x01CtR")
    np.testing.assert_array_equal(read(npy(pickled))["m/w"], np.float32([1, -2]))


# Pickles that mean harm


class Hostile:
    """Calls a function as soon as it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "function, arguments, name",
    [
        (os.system, ("touch {}",), f"{os.name}.system"),
        (eval, ("open({!r}, 'w')",), "builtins.eval"),
        (exec, ("open({!r}, 'w')",), "builtins.exec"),
        (open, ("{}", "w"), "io.open"),
        (getattr, (np, "save"), "builtins.getattr"),
        (os.mkdir, ("{}",), f"{os.name}.mkdir"),
        (np.save, ("{}", 1), "numpy.save"),
        (np.load, ("{}",), "numpy.load"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_runs_nothing_and_is_named(read, tmp_path, function, arguments, name, protocol):
    victim = tmp_path / "victim"
    arguments = [a.format(str(victim)) if isinstance(a, str) else a for a in arguments]
    if name == "builtins.getattr":
        arguments = ["text", "upper"]
    pickled = pickle.dumps({"params": {"m": {"w": Hostile(function, *arguments)}}}, protocol)
    with pytest.raises(CheckpointError) as caught:
        read(npy(pickled))
    assert not victim.exists()
    asked_for = str(caught.value).partition("asks for ")[2]
    assert asked_for.split(",")[0].rpartition(".")[2] == name.rpartition(".")[2]


@pytest.mark.parametrize(
    "pickled",
    [
        b"cos\nsystem\n.",
        b"cnumpy\ndtype.__reduce__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.",
        b"(S'true'\nios\nsystem\n.",
        b"\x82\x01.",
        b"cbuiltins\nbytearray\n(I9999999999\ntR.",
        b"cjax._src.array\n_reconstruct_array\n.",
    ],
)
def test_other_ways_to_ask_for_something(read, pickled):
    with pytest.raises(CheckpointError):
        read(npy(pickled))


@pytest.mark.parametrize("code", ["O", "V8", "S4", "U4", "M8", "f4,O", "(2,)f4", ">f4", "", "f3", "d8", "c8"])
def test_types_that_are_no_numbers(read, code):
    text = code.encode()
    pickled = (
        b"\x80\x04}\x8c\x06params}\x8c\x01m}\x8c\x01wcnumpy._core.numeric\n_frombuffer\n"
        b"(C\x08\x00\x00\x00\x00\x00\x00\x00\x00cnumpy\ndtype\n\x8c"
        + bytes([len(text)])
        + text
        + b"\x89\x88\x87RK\x01\x85\x8c\x01CtRsss."
    )
    with pytest.raises(CheckpointError):
        read(npy(pickled))


def test_a_dtype_with_fields_is_refused(read):
    records = np.zeros(2, [("a", "f4"), ("b", "O")])
    with pytest.raises(CheckpointError):
        read(npy(pickle.dumps({"params": {"m": {"w": records}}})))


def test_attributes_of_what_the_reader_hands_out_do_not_stay(read):
    # BUILD with a state of attributes, on each function that a pickle can name.
    for module, name in KNOWN:
        pickled = f"c{module}\n{name}\n".encode() + b"(N}\x8c\x08__call__K\x01sb."
        with pytest.raises(CheckpointError):
            read(npy(pickled))
    good = pickle.dumps({"params": {"m": {"w": ARRAYS["matrix"]}}})
    np.testing.assert_array_equal(read(npy(good))["m/w"], ARRAYS["matrix"])


# Files that are broken


GOOD = npy(pickle.dumps({"params": {"m": {"w": ARRAYS["matrix"], "h": ARRAYS["half"]}}, "state": {}}))


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, len(GOOD) - 1))
def test_cut_short(tmp_path_factory, length):
    path = tmp_path_factory.getbasetemp() / "cut.npy"
    path.write_bytes(GOOD[:length])
    with pytest.raises(CheckpointError):
        read_npy(path)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255))
def test_a_changed_byte_is_harmless(tmp_path_factory, place, value):
    path = tmp_path_factory.getbasetemp() / "changed.npy"
    path.write_bytes(GOOD[:place] + bytes([value]) + GOOD[place + 1 :])
    try:
        found = read_npy(path)
    except CheckpointError:
        return
    assert all(array.dtype == np.float32 for array in found.values())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([o.code.encode("latin1") for o in pickletools.opcodes]), max_size=12))
def test_any_pickle_is_an_error_or_numbers(tmp_path_factory, opcodes):
    path = tmp_path_factory.getbasetemp() / "any.npy"
    path.write_bytes(npy(b"".join(opcodes) + b"."))
    with pytest.raises(CheckpointError):
        read_npy(path)


def test_a_pickle_cannot_reserve_memory(read):
    """Slot 2^32 - 1 of the memo would take 32 GiB."""
    with pytest.raises(CheckpointError, match="slot 4294967295 of the memo after 1 instructions"):
        read(npy(b"Nr" + b"\xff" * 4 + b"."))


@pytest.mark.parametrize(
    "content, says",
    [
        ([1, 2], "no dictionary 'params'"),
        ({"state": {}}, "no dictionary 'params'"),
        ({"params": 3}, "no dictionary 'params'"),
        ({"params": {"m": 3}}, "'m', which is not a dictionary"),
        ({"params": {"m": {"w": [1.0]}}}, "m/w is a list"),
        ({"params": {"m": {"w": np.array(["text"])}}}, "not a type of numbers"),
        ({"params": {"m": {"w": np.array([{}])}}}, "m/w"),
        ({"params": {"m": {"w": {"deeper": 1}}}}, "m/w is a dict"),
    ],
)
def test_content_that_is_no_checkpoint(read, content, says):
    with pytest.raises(CheckpointError, match=says):
        read(npy(pickle.dumps(content)))


def test_a_plain_array_is_no_checkpoint(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(CheckpointError, match="float32"):
        read_npy(tmp_path / "array.npy")


def test_a_dictionary_that_holds_itself_is_no_checkpoint(read):
    content = {}
    content["params"] = content
    with pytest.raises(CheckpointError):
        read(npy(pickle.dumps(content)))
