"""Depth maps one at a time, whatever they come from, in metres."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import DepthError
from tapsdk.geometry import Size
from tapsdk.space.depth_images import SUFFIXES, read_depth_image
from tapsdk.system.npz import read_npz
from tapsdk.system.places import local_copy
from tapsdk.system.reading import MOST_DATA_BYTES, reading
from tapsdk.video.images import natural_order

logger = logging.getLogger(__name__)

DepthMap = NDArray[np.float32]
"""[H, W] metres, NaN where nothing is known."""

MILLIMETRES = 1e-3
"""What a step of an integer is, as depth cameras write them; floats are metres."""
PLAUSIBLE = (0.03, 200.0)
"""Metres between which half of what a camera sees is farther, in common scenes. A mistake by a factor of 1000 leads out
of them from anywhere between 0.2 and 30 m."""
WHAT_DEPTH_IS = (
    f"pass an array [T, H, W], a folder of {', '.join(SUFFIXES)}, a .npy or .npz file, or an iterable of maps [H, W]"
)


class DepthMaps(Iterator[DepthMap]):
    """An iterator over depth maps of one size; read once, one in memory at a time. Close it: it may keep a file open.

    num_maps: None where the origin does not say.
    """

    def __init__(
        self, maps: Iterator[Any], *, num_maps: int | None, depth_scale: float | None, gaps: str = "", files: ExitStack
    ) -> None:
        """gaps: the file that seems to be missing, for an error. files: what is open."""
        self.num_maps, self._gaps = num_maps, gaps
        self._maps, self._scale, self._files = maps, depth_scale, files
        self._count, self._known = 0, False
        self._size: Size | None = None
        self._peeked: DepthMap | None = None

    @property
    def size(self) -> Size:
        """(height, width) in pixels. Reads the first map if need be. Raises DepthError, also where there is none."""
        if self._size is None:
            try:
                self._peeked = self._read()
            except StopIteration:
                raise DepthError("there are no depth maps") from None
            self._size = (self._peeked.shape[0], self._peeked.shape[1])
        return self._size

    @property
    def known(self) -> bool:
        """Whether any map so far held a depth."""
        return self._known

    def __next__(self) -> DepthMap:
        _ = self.size
        if self._peeked is not None:
            found, self._peeked = self._peeked, None
            return found
        found = self._read()
        if found.shape != self._size:
            assert self._size is not None
            raise DepthError(
                f"depth map {self._count - 1} is {found.shape[1]} x {found.shape[0]} pixels, but those before it are "
                f"{self._size[1]} x {self._size[0]}"
            )
        return found

    def _read(self) -> DepthMap:
        array = _as_map(next(self._maps), self._count)
        scale = self._scale
        if scale is None:
            scale = MILLIMETRES if array.dtype.kind in "iu" else 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            metres: DepthMap = array.astype(np.float32) * np.float32(scale)
        metres = np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(np.nan))
        if not self._known and not np.isnan(metres).all():
            self._known = True
            self._check_units(float(np.nanmedian(metres)), array.dtype.kind)
        self._count += 1
        return metres

    def _check_units(self, median: float, kind: str) -> None:
        if PLAUSIBLE[0] <= median <= PLAUSIBLE[1]:
            return
        found = f"half of depth map {self._count} is {'nearer' if median < 1 else 'farther'} than {median:.3g} m"
        if self._scale is None:
            usual = "integers are millimetres" if kind in "iu" else "floats are metres"
            raise DepthError(
                f"{found}, because {usual} unless depth_scale says how many metres a step is: 0.001 for millimetres, 1 "
                "for metres"
            )
        logger.warning("%s with a depth_scale of %g: is that many metres a step?", found, self._scale)

    def only(self, number: int) -> None:
        """From now on there are so many maps, of more."""
        self.num_maps, self._maps = number, islice(self._maps, number - (self._peeked is not None))

    def refuse_number(self, found: str, frames: int) -> NoReturn:
        """Raises DepthError. found: what there is, in words."""
        hint = f"; {self._gaps} seems to be missing" if self._gaps else ""
        raise DepthError(f"there are {found} for {frames} frames{hint}: give a map for each frame")

    def close(self) -> None:
        self._maps = iter(())
        self._files.close()

    def __enter__(self) -> DepthMaps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_depth(depth: Any, depth_scale: float | None = None) -> DepthMaps:
    """Depth maps of anything that holds them, one at a time.

    depth: [T, H, W]; the path of a folder with a file for each frame, in natural order (PNG of 16 bits, EXR or .npy);
        that of a .npy or .npz file of one array [T, H, W]; or any iterable of maps [H, W].
    depth_scale: metres a step. None: integers are millimetres, floats are metres.

    What is 0, negative, NaN or infinite is no depth. Raises DepthError, at once or when the map at fault is reached.
    """
    if depth_scale is not None and not (np.isfinite(depth_scale) and depth_scale > 0):
        raise DepthError(f"depth_scale must be the metres of a step, above 0, got {depth_scale}")
    if isinstance(depth, DepthMaps):
        return depth
    with ExitStack() as stack:
        maps, gaps = _open(depth, stack)
        number = len(maps) if isinstance(maps, Sized) else None
        return DepthMaps(iter(maps), num_maps=number, depth_scale=depth_scale, gaps=gaps, files=stack.pop_all())


def _open(depth: Any, stack: ExitStack) -> tuple[Iterable[Any], str]:
    if isinstance(depth, (str, os.PathLike)):
        return _open_path(depth, stack)
    if hasattr(depth, "__array__"):
        return _stack_of(np.asarray(depth), "depth"), ""
    if isinstance(depth, Iterable) and not isinstance(depth, (dict, set, bytes)):
        return depth, ""
    raise DepthError(f"depth cannot be read of this, got {type(depth).__name__}: {WHAT_DEPTH_IS}")


def _open_path(given: str | os.PathLike[str], stack: ExitStack) -> tuple[Iterable[Any], str]:
    if os.path.isdir(given):
        return _open_folder(Path(given))
    suffix = Path(given).suffix.lower()
    if suffix not in (".npy", ".npz"):
        if not os.path.exists(given):
            raise DepthError(f"{given}: no such file or folder")
        raise DepthError(f"{given} cannot be read as depth: {WHAT_DEPTH_IS}")
    readers: dict[str, Callable[[Path], NDArray[Any]]] = {".npy": _mapped, ".npz": _only_array}
    with reading(given, "holds no depth maps", DepthError):
        copy = stack.enter_context(local_copy(given, DepthError, MOST_DATA_BYTES))
        return _stack_of(readers[suffix](copy), str(given)), ""


def _mapped(path: Path) -> NDArray[Any]:
    """A .npy file, of which only what is looked at comes into memory."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)).view(np.ndarray)


def _only_array(path: Path) -> NDArray[Any]:
    with open(path, "rb") as file:
        arrays = read_npz(file)
    if "depth" not in arrays and len(arrays) != 1:
        raise ValueError(f"it holds the arrays {', '.join(arrays) or 'none'}, and none is called depth")
    return arrays["depth"] if "depth" in arrays else next(iter(arrays.values()))


def _stack_of(array: NDArray[Any], name: str) -> NDArray[Any]:
    if array.ndim != 3:
        advice = {2: "; give a single map as depth[None]", 4: "; take the last axis away: depth[..., 0]"}
        raise DepthError(f"{name} must have shape [T, H, W], got {list(array.shape)}{advice.get(array.ndim, '')}")
    return array


class _Files:
    """The maps of a folder, each read when its turn comes."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return map(read_depth_image, self._paths)


def _open_folder(folder: Path) -> tuple[Iterable[Any], str]:
    with reading(folder, "is no folder of depth maps", DepthError):
        names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    kinds = {suffix: [name for name in names if name.lower().endswith(suffix)] for suffix in SUFFIXES}
    found = {suffix: sorted(each, key=natural_order) for suffix, each in kinds.items() if each}
    if len(found) != 1:
        held = ", ".join(f"{len(each)} {suffix}" for suffix, each in found.items()) or "none"
        raise DepthError(f"{folder}: depth maps are files of one kind, {', '.join(SUFFIXES)}; this folder holds {held}")
    (names,) = found.values()
    return _Files([folder / name for name in names]), _gaps(names)


def _gaps(names: list[str]) -> str:
    """The number that is missing among those of the files' names; "" where they are counted without a gap."""
    last = [re.findall(r"\d+", name.rpartition(".")[0])[-1:] for name in names]
    numbers = sorted(int(each[0]) for each in last if each)
    if len(numbers) < 2 or len(set(numbers)) < len(names):
        return ""
    steps = np.diff(numbers)
    wide = np.flatnonzero(steps > steps.min())
    return f"number {numbers[wide[0]] + int(steps.min())}" if len(wide) else ""


def _as_map(value: Any, number: int) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DepthError(f"depth map {number} cannot be read as a numpy array: {error}") from error
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 or 0 in array.shape:
        raise DepthError(f"depth map {number} must have shape [H, W], got {list(array.shape)}")
    if array.dtype.kind not in "iuf":
        raise DepthError(f"depth map {number} must hold numbers, got {array.dtype}")
    return array
