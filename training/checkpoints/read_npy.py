"""Official Haiku checkpoints: `.npy` with a pickled {"params": {module: {parameter: array}}, "state": {...}}.

A pickle is a program. This reader runs it on a machine that knows a handful of functions, all of them here,
none of which can do more than hold a dtype, a shape and bytes; the arrays are made from those afterwards. Any
other function that a file asks for is an error with its name, before it was called.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from training.checkpoints.arrays import BFLOAT16, as_float32
from training.checkpoints.errors import CheckpointError

CODES = re.compile(r"[biufV?]\d*|O\d?")
"""Of dtypes of numbers; and of objects, of which the file itself is an array: one dictionary."""


class _Dtype:
    """Stands for a numpy.dtype of plain numbers or of objects."""

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


class _Array:
    """Stands for a numpy.ndarray."""

    __slots__ = ("data", "dtype", "fortran", "shape")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.shape, self.dtype, self.fortran, self.data = state[-4:]

    def to_numpy(self) -> NDArray:
        if not isinstance(self.dtype, _Dtype) or not isinstance(self.data, bytes | bytearray):
            raise ValueError("an array of something else than numbers")
        flat = np.frombuffer(self.data, self.dtype.dtype)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


# Functions rather than the classes themselves: a pickle may set attributes of what it is given.


def _dtype(code: str, align: bool = False, copy: bool = False) -> _Dtype:
    return _Dtype(code)


def _ndarray(*_: Any) -> None:
    """Only ever named, as the type that `_reconstruct` is to make."""
    raise pickle.UnpicklingError("an array that is made directly")


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: str) -> _Array:
    array = _Array()
    array.__setstate__((shape, dtype, order == "F", data))
    return array


def _scalar(dtype: Any, data: Any) -> _Array:
    return _frombuffer(data, dtype, (), "C")


def _encode(text: str, encoding: str) -> bytes:
    """How Python's old pickle protocols write bytes."""
    return text.encode("latin1")


BFLOAT16_CODE = BFLOAT16.str.lstrip("|")

# numpy 2 renamed numpy.core to numpy._core; files of either name both.
KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _ndarray,
    ("_codecs", "encode"): _encode,
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


MEMO_SLACK = 256


class _ForbiddenError(Exception):
    """The pickle names a function that has no place in a checkpoint."""


class _NumbersUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return KNOWN[module, name]
        except KeyError:
            raise _ForbiddenError(f"{module}.{name}") from None


def read_npy(path: Path) -> dict[str, NDArray[np.float32]]:
    """Parameters of a Haiku checkpoint as "module/parameter". Raises CheckpointError."""
    with open(path, "rb") as file:
        _skip_header(file, path)
        try:
            _check_memory(file)
            content = _NumbersUnpickler(file).load()
        except _ForbiddenError as error:
            raise CheckpointError(
                f"{path} is not a checkpoint: its pickle asks for {error}, and a checkpoint needs numpy "
                "arrays in plain dictionaries only. It was not called; do not open the file in other ways"
            ) from error
        except Exception as error:  # a damaged pickle may raise anything at all
            raise CheckpointError(f"{path} is damaged or cut short: {_said(error)}") from error
    return _flatten(content, path)


def _check_memory(file: BinaryIO) -> None:
    """Reads the program once without running it, and puts the file back to where it was.

    That every length which it declares lies within the file is seen by reading. It may also ask for any slot of the
    memo, and the machine then makes room for all those before: slots must be filled about in order.
    """
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "LONG_BINPUT") and argument > count + MEMO_SLACK:
            raise pickle.UnpicklingError(f"slot {argument} of the memo after {count} instructions")
    file.seek(start)


def _skip_header(file: BinaryIO, path: Path) -> None:
    try:
        version = np.lib.format.read_magic(file)
        header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        shape, _, dtype = header[version[0]](file)
    except Exception as error:  # numpy parses the header as Python, whose tokenizer has errors of its own
        raise CheckpointError(f"{path} is not a .npy file, or is cut short: {_said(error)}") from error
    if shape != () or dtype != np.dtype(object):
        raise CheckpointError(
            f"{path} holds an array of {dtype} of shape {shape}, not a checkpoint, "
            "which is a pickled dictionary with the key 'params'"
        )


def _flatten(content: Any, path: Path) -> dict[str, NDArray[np.float32]]:
    if isinstance(content, _Array) and isinstance(content.data, list) and len(content.data) == 1:
        content = content.data[0]
    params = content.get("params") if isinstance(content, Mapping) else None
    if not isinstance(params, Mapping):
        raise CheckpointError(f"{path} is not a checkpoint: it has no dictionary 'params'")
    flat = {}
    for module, parameters in params.items():
        if not isinstance(parameters, Mapping):
            raise CheckpointError(f"{path}: 'params' holds {module!r}, which is not a dictionary of arrays")
        for name, array in parameters.items():
            flat[f"{module}/{name}"] = _to_float32(array, f"{module}/{name}", path)
    return flat


def _to_float32(array: Any, name: str, path: Path) -> NDArray[np.float32]:
    if not isinstance(array, _Array):
        raise CheckpointError(f"{path}: parameter {name} is a {type(array).__name__}, not an array")
    try:
        numbers = array.to_numpy()
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{path} is damaged: parameter {name}: {_said(error)}") from error
    return as_float32(numbers, name)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
