import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapsdk.errors import PointsError, TapsdkError
from tapsdk.geometry import scale_points
from tapsdk.points import check_query_frames, grid_points, parse_query_points
from tapsdk.runtime.sizes import MAX_CELLS, MIN_CELLS, refinement_resolutions, working_size

SIZE = (480, 640)
PROPERTY = settings(deadline=None)

sizes = st.tuples(st.integers(1, 8192), st.integers(1, 8192))
units = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=8)


def points_in(size, unit_points):
    height, width = size
    return np.array(unit_points, dtype=np.float64).reshape(-1, 2) * (width, height)


# scale_points


@PROPERTY
@given(sizes, sizes)
def test_outer_corners_map_exactly_onto_outer_corners(size, other):
    corners = [[0, 0], [size[1], 0], [0, size[0]], [size[1], size[0]]]
    expected = [[0, 0], [other[1], 0], [0, other[0]], [other[1], other[0]]]
    np.testing.assert_array_equal(scale_points(corners, size, other), expected)


@PROPERTY
@given(sizes, units)
def test_the_same_size_changes_nothing(size, unit_points):
    xy = points_in(size, unit_points).astype(np.float32)
    np.testing.assert_array_equal(scale_points(xy, size, size), xy)


@PROPERTY
@given(sizes, sizes, units)
def test_there_and_back_again(size, other, unit_points):
    xy = points_in(size, unit_points)
    back = scale_points(scale_points(xy, size, other), other, size)
    np.testing.assert_allclose(back, xy, rtol=1e-6, atol=1e-6)


@PROPERTY
@given(sizes, sizes, sizes, units)
def test_two_resizes_are_one(size, middle, last, unit_points):
    xy = points_in(size, unit_points)
    twice = scale_points(scale_points(xy, size, middle), middle, last)
    np.testing.assert_allclose(twice, scale_points(xy, size, last), rtol=1e-6, atol=1e-6)


def test_the_centre_of_a_pixel_becomes_the_centre_of_its_block():
    # The block of 2 x 2 pixels that pixel (3, 1) becomes has its centre at (7, 3).
    np.testing.assert_array_equal(scale_points([[3.5, 1.5]], (2, 4), (4, 8)), [[7, 3]])


def test_width_scales_x_and_height_scales_y():
    np.testing.assert_array_equal(scale_points([[10, 10]], (100, 200), (300, 100)), [[5, 30]])


def test_any_leading_shape_and_float32_out():
    scaled = scale_points(np.ones((2, 3, 4, 2)), (10, 10), (20, 20))
    assert scaled.shape == (2, 3, 4, 2)
    assert scaled.dtype == np.float32
    assert scale_points(np.zeros((0, 2)), (10, 10), (20, 20)).shape == (0, 2)


def test_large_coordinates_are_scaled_in_double_precision():
    # In float32 the product 4095.9 * 7681 alone is off by more than the final rounding.
    expected = np.float32(np.float64(np.float32(4095.9)) * 7681 / 4096)
    assert scale_points(np.float32([[4095.9, 0]]), (1, 4096), (1, 7681))[0, 0] == expected


@pytest.mark.parametrize(
    "xy, size",
    [([[1, 2, 3]], (4, 4)), (5.0, (4, 4)), ([[1, 2]], (0, 4)), ([[1, 2]], (4, -1)), ([[1, 2]], (4, 4, 3))],
)
def test_scale_points_refuses_what_it_cannot_scale(xy, size):
    with pytest.raises(PointsError):
        scale_points(xy, size, (8, 8))


# refinement_resolutions


@PROPERTY
@given(sizes, st.tuples(st.integers(4, 64), st.integers(4, 64)))
def test_refinement_goes_from_the_base_to_the_size_of_the_video_in_steps_below_two(size, cells):
    base = (8 * cells[0], 8 * cells[1])
    found = refinement_resolutions(size, base)
    assert found[0] == base
    larger = any(side > start for side, start in zip(size, base, strict=True))
    assert len(found) == 1 or larger
    for axis in (0, 1):
        sides = [each[axis] for each in found]
        assert all(side % 8 == 0 and side >= 8 * MIN_CELLS for side in sides)
        # Rounded down to multiples: the ratio may exceed two by one multiple.
        assert all(after <= 2 * (before + 8) for before, after in itertools.pairwise(sides))
        if len(found) > 1:
            assert sides[-1] == pytest.approx(max(size[axis], 8 * MIN_CELLS), abs=8)


@pytest.mark.parametrize(
    "size, expected",
    [
        ((256, 256), [(256, 256)]),
        ((256, 320), [(256, 256), (256, 320)]),
        ((480, 854), [(256, 256), (344, 464), (480, 848)]),
        ((512, 512), [(256, 256), (512, 512)]),
        ((128, 255), [(256, 256)]),
        ((4, 300), [(256, 256), (32, 296)]),
    ],
)
def test_refinement_as_published(size, expected):
    assert refinement_resolutions(size, (256, 256)) == expected


# parse_query_points


@pytest.mark.parametrize(
    "query_format, row",
    [("txy", [7, 600, 30]), ("tyx", [7, 30, 600]), ("xyt", [600, 30, 7])],
)
def test_every_layout_gives_the_same_point(query_format, row):
    query = parse_query_points([row], query_format=query_format, num_frames=8, frame_size=SIZE)
    np.testing.assert_array_equal(query.t, [7])
    np.testing.assert_array_equal(query.xy, [[600, 30]])
    assert query.t.dtype == np.int64
    assert query.xy.dtype == np.float32


@pytest.mark.parametrize("query_format", ["txy", "tyx", "xyt"])
def test_two_columns_are_x_and_y_in_the_first_frame(query_format):
    query = parse_query_points([(600, 30.5)], query_format=query_format, frame_size=SIZE)
    np.testing.assert_array_equal(query.t, [0])
    np.testing.assert_array_equal(query.xy, np.float32([[600, 30.5]]))
    np.testing.assert_array_equal(query.as_txy(), np.float32([[0, 600, 30.5]]))


@pytest.mark.parametrize(
    "points", [[], np.zeros((0, 2)), np.zeros((0, 3), dtype=np.int64), np.zeros((0, 3), dtype=np.float32)]
)
def test_no_points_are_fine(points):
    query = parse_query_points(points, num_frames=5, frame_size=SIZE)
    assert len(query) == 0
    assert query.t.shape == (0,)
    assert query.xy.shape == (0, 2)
    assert query.as_txy().shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float16, np.float32, np.float64])
def test_any_number_type(dtype):
    query = parse_query_points(np.array([[1, 20, 30]], dtype=dtype), num_frames=2, frame_size=SIZE)
    np.testing.assert_array_equal(query.as_txy(), [[1, 20, 30]])


@PROPERTY
@given(sizes, units)
def test_every_point_of_the_frame_is_accepted_and_stays_in_it(size, unit_points):
    query = parse_query_points(points_in(size, unit_points).reshape(-1, 2), frame_size=size)
    assert len(query) == len(unit_points)
    assert (query.xy >= 0).all()
    assert (query.xy <= (size[1], size[0])).all()


def test_the_outer_corners_are_inside():
    parse_query_points([[0, 0], [640, 0], [0, 480], [640, 480]], frame_size=SIZE)


def test_the_input_is_left_alone():
    points = np.array([[1.0, 2.0, 3.0]])
    query = parse_query_points(points, frame_size=SIZE)
    query.xy[:] = 0
    np.testing.assert_array_equal(points, [[1, 2, 3]])


BAD = {
    "one point without brackets": ([3, 4], r"\[\[x, y\]\]"),
    "four columns": ([[1, 2, 3, 4]], r"\[N, 3\] or \[N, 2\].*got \[1, 4\]"),
    "three dimensions": (np.zeros((2, 2, 2)), r"got \[2, 2, 2\]"),
    "a scalar": (5, r"\[N, 3\]"),
    "no columns": (np.zeros((0, 5)), r"got \[0, 5\]"),
    "ragged": ([[1, 2], [1, 2, 3]], "array of numbers"),
    "words": ([["0", "1", "2"]], "ints or floats"),
    "None": (None, "ints or floats"),
    "bools": (np.ones((1, 3), dtype=bool), "ints or floats"),
    "complex": (np.ones((1, 3), dtype=complex), "ints or floats"),
    "NaN": ([[0, 1, 1], [0, np.nan, 1]], r"points\[1\]: x = nan"),
    "infinity": ([[0, 1, np.inf]], r"points\[0\]: y = inf"),
    "NaN time": ([[np.nan, 1, 1]], r"points\[0\]: t = nan"),
    "right of the frame": (
        [[0, 1, 1], [0, 640.5, 1]],
        r"points\[1\]: x = 640.5, but x must be in \[0, 640\]",
    ),
    "left of the frame": ([[0, -1, 1]], r"points\[0\]: x = -1, but"),
    "below the frame": ([[0, 500, 490]], r"y = 490, but y must be in \[0, 480\].*640 x 480"),
    "just above the frame": ([[0, 1, -1e-9]], r"y = -1e-09"),
    "huge": ([[0, 1e300, 0]], r"x = 1e\+300"),
    "half a frame": ([[0.5, 1, 1]], r"t = 0.5.*whole number"),
    "before the video": ([[-1, 1, 1]], r"t = -1.*0"),
    "beyond the video": (
        [[9, 1, 1], [10, 1, 1]],
        r"points\[1\]: t = 10, but t must be in \[0, 9\].*10 frames",
    ),
    "the first row at fault, not the first rule": (
        [[0, 1, 1], [99, 1, 1], [np.nan, -1, 1]],
        r"points\[1\]: t = 99",
    ),
}


@pytest.mark.parametrize("points, message", BAD.values(), ids=BAD)
def test_bad_points_are_named(points, message):
    with pytest.raises(PointsError, match=message) as caught:
        parse_query_points(points, num_frames=10, frame_size=SIZE)
    assert isinstance(caught.value, TapsdkError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_an_unknown_layout_lists_the_known_ones():
    with pytest.raises(PointsError, match=r"'yxt'.*txy, tyx, xyt"):
        parse_query_points([[0, 1, 1]], query_format="yxt", frame_size=SIZE)


@pytest.mark.parametrize(
    "points, warned",
    [
        ([[0.5, 0.5]], True),
        ([[0.25, 0.5], [0.75, 1.0]], True),
        ([[0, 0], [1, 1]], True),
        ([[3, 0.25, 0.5]], True),
        ([[0, 0]], False),
        ([[1, 1]], False),
        ([[0.5, 0.5], [1.5, 0.5]], False),
        (np.zeros((0, 2)), False),
    ],
)
def test_points_that_look_normalised_are_told(points, warned, caplog):
    parse_query_points(points, frame_size=SIZE)
    assert ("multiply by (width, height)" in caplog.text) == warned


def test_points_in_a_tiny_picture_are_no_surprise(caplog):
    parse_query_points([[0.5, 0.5]], frame_size=(2, 2))
    assert not caplog.records


@PROPERTY
@given(st.integers(0, 2**53))
def test_without_a_known_length_any_whole_frame_passes_and_stays_exact(t):
    points = np.array([[t, 1, 1]], dtype=np.int64)
    assert parse_query_points(points, frame_size=SIZE).t[0] == t


@pytest.mark.parametrize("t", [-1, 0.25, 1e300])
def test_without_a_known_length_the_rest_is_still_checked(t):
    with pytest.raises(PointsError, match=r"t must be|whole number"):
        parse_query_points([[t, 1, 1]], frame_size=SIZE)


def test_frames_are_checked_once_the_length_is_known():
    t = np.array([0, 4, 5])
    check_query_frames(t, 6)
    check_query_frames(np.zeros(0, dtype=np.int64), 0)
    with pytest.raises(PointsError, match=r"points\[2\]: t = 5, but t must be in \[0, 4\]"):
        check_query_frames(t, 5)
    with pytest.raises(PointsError, match=r"the video has 1 frame$"):
        check_query_frames(t, 1)


# grid_points


def test_a_grid_lies_at_the_centres_of_its_cells_row_by_row():
    expected = [[3, 25, 10], [3, 75, 10], [3, 25, 30], [3, 75, 30]]
    np.testing.assert_array_equal(grid_points(2, (40, 100), t=3), expected)


@PROPERTY
@given(st.integers(1, 20), sizes)
def test_a_grid_is_inside_and_symmetric(n, size):
    grid = grid_points(n, size)
    assert grid.shape == (n * n, 3)
    parse_query_points(grid, num_frames=1, frame_size=size)
    mirrored = np.array([size[1], size[0]]) - grid[::-1, 1:]
    np.testing.assert_allclose(mirrored, grid[:, 1:], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("n", [0, -3])
def test_a_grid_needs_a_point(n):
    with pytest.raises(PointsError, match=f"got {n}"):
        grid_points(n, SIZE)


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([8, 16]))
def test_a_working_size_is_made_of_allowed_multiples(height, width, multiple):
    for side in working_size((height, width), (256, 256), multiple):
        assert side % multiple == 0
        assert MIN_CELLS <= side // multiple <= MAX_CELLS


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 256), (256, 256)),
        ((720, 1280), (192, 336)),
        ((1280, 720), (336, 192)),
        ((480, 854), (192, 336)),
        ((1, 1), (256, 256)),
        ((10, 4000), (64, 1024)),
    ],
)
def test_a_working_size_keeps_the_aspect_ratio_at_the_same_area(size, expected):
    assert working_size(size, (256, 256), 16) == expected
