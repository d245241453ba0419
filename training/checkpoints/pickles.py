"""Pickles of numpy arrays in lists and dictionaries, read without running what else they may contain.

A pickle is a program. This reader runs it on a machine that knows a handful of functions, all of them here,
none of which can do more than hold a dtype, a shape and bytes; the arrays are made from those afterwards. Any
other function that a file asks for is an error with its name, before it was called.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

CODES = re.compile(r"[biufV?]\d*|S\d+|O\d?")
"""Of dtypes of numbers, of bytes, and of objects, of which an array is a list in another dress."""

BFLOAT16_CODE = "V2"
"""How numpy sees bfloat16, which it does not know: two bytes."""

MEMO_SLACK = 256


class ForbiddenPickleError(Exception):
    """The pickle names a function that has no place among arrays; the message is its name. It was not called."""


class DamagedPickleError(Exception):
    """The pickle is cut short, or no pickle at all."""


class _Dtype:
    """Stands for a numpy.dtype."""

    __slots__ = ("dtype",)

    def __init__(self, code: str) -> None:
        if not isinstance(code, str) or not CODES.fullmatch(code):
            raise pickle.UnpicklingError(f"an array of {code!r}, which is not a type of numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order, subtype, names, fields = state[1:5]
        if (subtype, names, fields) != (None, None, None):
            raise pickle.UnpicklingError("an array of records")
        self.dtype = self.dtype.newbyteorder(order)


class PickledArray:
    """Stands for a numpy.ndarray, or a number of numpy's."""

    __slots__ = ("data", "dtype", "fortran", "shape")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.shape, self.dtype, self.fortran, self.data = state[-4:]

    def to_numpy(self) -> NDArray[Any]:
        """The array, over the bytes of the file. Raises ValueError or another error where they do not fit together."""
        dtype, data = getattr(self, "dtype", None), getattr(self, "data", None)
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
            raise ValueError("an array of something else than numbers")
        flat = np.frombuffer(data, dtype.dtype)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")

    def to_list(self) -> list[Any] | None:
        """The objects of an array of objects, in the order of memory; None of an array of anything else."""
        data = getattr(self, "data", None)
        return data if isinstance(data, list) else None


# Functions rather than the classes themselves: a pickle may set attributes of what it is given.


def _dtype(code: str, align: bool = False, copy: bool = False) -> _Dtype:
    return _Dtype(code)


def _ndarray(*_: Any) -> None:
    """Only ever named, as the type that `_reconstruct` is to make."""
    raise pickle.UnpicklingError("an array that is made directly")


def _reconstruct(kind: Any, shape: Any, code: Any) -> PickledArray:
    return PickledArray()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: str) -> PickledArray:
    array = PickledArray()
    array.__setstate__((shape, dtype, order == "F", data))
    return array


def _scalar(dtype: Any, data: Any) -> PickledArray:
    return _frombuffer(data, dtype, (), "C")


def _encode(text: str, encoding: str) -> bytes:
    """How Python's old pickle protocols write bytes."""
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How they write none. The real function takes a number, and makes as many."""
    return b""


# numpy 2 renamed numpy.core to numpy._core; files of either name both.
KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _ndarray,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("collections", "OrderedDict"): OrderedDict,
    ("ml_dtypes", "bfloat16"): BFLOAT16_CODE,
} | {
    (f"numpy.{core}.{module}", name): function
    for core in ("core", "_core")
    for module, name, function in (
        ("multiarray", "_reconstruct", _reconstruct),
        ("multiarray", "scalar", _scalar),
        ("numeric", "_frombuffer", _frombuffer),
    )
}


class _ArraysUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return KNOWN[module, name]
        except KeyError:
            raise ForbiddenPickleError(f"{module}.{name}") from None


def load_pickle(file: BinaryIO) -> Any:
    """What the pickle holds: plain Python objects, with a PickledArray where an array was.

    file: one that can seek, at the pickle's first byte. Raises ForbiddenPickleError or DamagedPickleError.
    """
    try:
        _check_memory(file)
        return _ArraysUnpickler(file).load()
    except ForbiddenPickleError:
        raise
    except Exception as error:  # a damaged pickle may raise anything at all
        raise DamagedPickleError(str(error) or type(error).__name__) from error


def _check_memory(file: BinaryIO) -> None:
    """Reads the program once without running it, and puts the file back to where it was.

    That every length which it declares lies within the file is seen by reading. It may also ask for any slot of the
    memo, and the machine then makes room for all those before: slots must be filled about in order.
    """
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "LONG_BINPUT") and (argument or 0) > count + MEMO_SLACK:
            raise pickle.UnpicklingError(f"slot {argument} of the memo after {count} instructions")
    file.seek(start)
