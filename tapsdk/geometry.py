"""The coordinate convention of tapsdk, and the only module that computes with it.

Pixels are raster coordinates: (0, 0) is the outer corner of the top-left pixel, (width, height) the outer
corner of the bottom-right one, and the centre of a pixel lies at +0.5. Resizing a frame therefore scales its
coordinates by out / in and does nothing else. Sizes are (height, width), as in `array.shape`; points are
(x, y). Time is a frame index: t = 0 is the first frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import PointsError

Size = tuple[int, int]
"""(height, width) in pixels."""

# More pixels a side than any frame has; the bound where the frame is not known yet.
MAX_SIDE = 2**20


def scale_points(xy: ArrayLike, from_size: Size, to_size: Size) -> NDArray[np.float32]:
    """Carry points [..., 2] (x, y) from a frame of one (height, width) to the same frame at another size."""
    points = np.asarray(xy, dtype=np.float64)
    if points.ndim == 0 or points.shape[-1] != 2:
        raise PointsError(f"xy must have shape [..., 2] (x, y), got {list(points.shape)}")
    for size in (from_size, to_size):
        if len(size) != 2 or min(size) <= 0:
            raise PointsError(f"a frame size is (height, width), both positive, got {size}")
    # Multiply before dividing: the outer corners then map exactly onto the outer corners.
    scaled = points * (to_size[1], to_size[0]) / (from_size[1], from_size[0])
    return scaled.astype(np.float32)


def from_pixel_centers(xy: ArrayLike) -> NDArray[np.float64]:
    """Positions [..., 2] that count from the centre of the top-left pixel, as OpenCV's and ROS's do, in ours."""
    return np.asarray(xy, np.float64) + 0.5


def pixels_of(xy: NDArray[np.floating], size: Size) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The pixel [..., 2] (column, row) that each position [..., 2] lies in, and how far from its centre it is.

    A position on the far border is in the last pixel; those outside of the frame are in the nearest.
    """
    points = np.nan_to_num(np.asarray(xy, np.float64))
    pixel = np.floor(np.clip(points, 0, (size[1] - 1, size[0] - 1))).astype(np.intp)
    return pixel, points - from_pixel_centers(pixel)
