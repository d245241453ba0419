"""What an op does not accept, it refuses with a sentence: what was wrong, what is allowed."""

import numpy as np
import pytest

from tapkernels import ArgumentError, local_correlation, lucas_kanade, resize_normalize

F = np.float32
GRID, QUERY, XY = np.zeros((4, 6, 8), F), np.zeros((3, 8), F), np.zeros((3, 2), F)
IMAGE = np.zeros((4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GRID.astype(np.float64), QUERY, XY), "grid must be float32 [H, W, C], got float64 [4, 6, 8]"),
        ((GRID[0], QUERY, XY), "grid must be float32 [H, W, C], got float32 [6, 8]"),
        (
            (np.zeros((1,) * 9, F), QUERY, XY),
            "grid must be float32 [H, W, C], got float32 [1, 1, 1, 1, 1, 1, 1, 1, 1]",
        ),
        ((GRID.astype(">f4"), QUERY, XY), "grid must be float32 [H, W, C], got >f4 [4, 6, 8]"),
        ((GRID.astype(object), QUERY, XY), "grid must be float32 [H, W, C], got object [4, 6, 8]"),
        ((None, QUERY, XY), "grid must be an array, float32 [H, W, C], got NoneType"),
        (
            (GRID, QUERY[:, :5].copy(), XY),
            "query must be float32 [N, C] with C = 8 as in grid, got float32 [3, 5]",
        ),
        ((GRID, QUERY, XY[:2]), "xy must be float32 [N, 2] with N = 3 as in query, got float32 [2, 2]"),
        ((GRID, QUERY, XY.T.copy()), "xy must be float32 [N, 2] with N = 3 as in query, got float32 [2, 3]"),
        ((GRID, QUERY, [[1.0, 2.0]]), "xy must be an array, float32 [N, 2], got list"),
        ((GRID[:, ::2], QUERY, XY), "grid must be C-contiguous; numpy.ascontiguousarray(grid) makes it so"),
        ((GRID, QUERY, XY, -1), "radius must be from 0 to 15, got -1"),
        ((GRID, QUERY, XY, 16), "radius must be from 0 to 15, got 16"),
        ((GRID, QUERY, XY, 2.5), "radius must be an integer from 0 to 15, got 2.5"),
        ((GRID, QUERY, XY, 10**30), f"radius must be an integer from 0 to 15, got 1{'0' * 30}"),
        ((GRID, QUERY, XY, "3"), "radius must be an integer from 0 to 15, got '3'"),
    ],
)
def test_local_correlation_says_what_it_takes(arguments, message):
    with pytest.raises(ArgumentError) as error:
        local_correlation(*arguments)
    assert str(error.value) == f"local_correlation: {message}"


FRAME = np.zeros((4, 6, 3), F)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGE, FRAME, XY), "before must be float32 [H, W, 3], got uint8 [4, 6, 3]"),
        (
            (FRAME, FRAME[1:], XY),
            "after must be float32 [H, W, 3] with H = 4 as in before and W = 6 as in before, got float32 [3, 6, 3]",
        ),
        ((FRAME, FRAME[:, ::-1], XY), "after must be C-contiguous; numpy.ascontiguousarray(after) makes it so"),
        ((FRAME[:0], FRAME[:0], XY), "the frames have no pixels"),
        ((FRAME, FRAME, GRID), "xy must be float32 [N, 2], got float32 [4, 6, 8]"),
        ((FRAME, FRAME, XY, 0), "radius must be from 1 to 15, got 0"),
        ((FRAME, FRAME, XY, 4, 9), "levels must be from 1 to 8, got 9"),
    ],
)
def test_lucas_kanade_says_what_it_takes(arguments, message):
    with pytest.raises(ArgumentError) as error:
        lucas_kanade(*arguments)
    assert str(error.value) == f"lucas_kanade: {message}"


UNALIGNED = np.frombuffer(bytes(4 * 6 * 3 * 4 + 1), np.uint8)[1:].view(F).reshape(4, 6, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGE[0], 2, 2), "image must be uint8 or float32 [H, W, 3], got uint8 [6, 3]"),
        (
            (np.zeros((4, 6, 4), np.uint8), 2, 2),
            "image must be uint8 or float32 [H, W, 3], got uint8 [4, 6, 4]",
        ),
        ((IMAGE.astype(np.int32), 2, 2), "image must be uint8 or float32 [H, W, 3], got int32 [4, 6, 3]"),
        ((IMAGE.astype(bool), 2, 2), "image must be uint8 or float32 [H, W, 3], got bool [4, 6, 3]"),
        ((b"abc", 2, 2), "image must be an array, uint8 or float32 [H, W, 3], got bytes"),
        ((IMAGE[:0], 2, 2), "image must have at least one row and one column, got 0 x 6"),
        ((IMAGE[:, :0], 2, 2), "image must have at least one row and one column, got 4 x 0"),
        ((IMAGE, 0, 2), "height must be from 1 to 65536, got 0"),
        ((IMAGE, 2, 65537), "width must be from 1 to 65536, got 65537"),
        ((UNALIGNED, 2, 2), "the memory of image must be aligned to 4 bytes; a copy is"),
    ],
)
def test_resize_normalize_says_what_it_takes(arguments, message):
    with pytest.raises(ArgumentError) as error:
        resize_normalize(*arguments)
    assert str(error.value) == f"resize_normalize: {message}"


@pytest.mark.parametrize(
    ("threads", "message"),
    [
        (0, "threads must be from 1 to 256, got 0"),
        (257, "threads must be from 1 to 256, got 257"),
        (2**32 + 1, "threads must be from 1 to 256, got 4294967297"),
        (1.5, "threads must be an integer from 1 to 256, got 1.5"),
    ],
)
def test_threads_are_counted(threads, message):
    with pytest.raises(ArgumentError) as error:
        resize_normalize(IMAGE, 2, 2, threads=threads)
    assert str(error.value) == f"resize_normalize: {message}"


def test_an_argument_error_is_a_value_error():
    assert issubclass(ArgumentError, ValueError)


def test_integers_and_arrays_of_other_kinds_will_do():
    """numpy integers, read-only arrays and arrays with a single, oddly strided element are what they seem."""
    frozen = GRID.copy()
    frozen.flags.writeable = False
    assert local_correlation(frozen, QUERY, XY, np.int64(2), threads=np.int32(1)).shape == (3, 25)
    assert local_correlation(GRID, QUERY[::3], XY[::3]).shape == (1, 49)
