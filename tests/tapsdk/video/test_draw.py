import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapsdk.errors import FramesError, PointsError
from tapsdk.tracks import Tracks
from tapsdk.video.draw import TrackPainter
from tapsdk.video.draw import draw as draw_video

GREY = np.full((60, 90, 3), 128, np.uint8)
RED, GREEN = [255, 0, 0], [0, 255, 0]


def draw(points, visible=True, frame=GREY, **options):
    points = np.float32(points).reshape(-1, 2)
    painter = TrackPainter(len(points), **options)
    return painter.draw(frame, points, np.broadcast_to(visible, len(points)))


def draw_path(path, visible=None, **options):
    """The last frame of one point on its way."""
    painter = TrackPainter(1, **options)
    for step, place in enumerate(path):
        out = painter.draw(GREY, [place], [True if visible is None else visible[step]])
    return out


def changed(out, frame=GREY):
    return (out != frame).any(axis=-1)


# Whole videos


def test_a_video_is_painted_frame_by_frame():
    xy = np.float32([[[10, 10], [20, 15], [30, 20]], [[70, 50], [60, 45], [50, 40]]])
    tracks = Tracks(xy, np.array([[True, True, True], [True, False, True]]), np.ones((2, 3)))
    painter = TrackPainter(2, trail=2, colors=[RED, GREEN])
    expected = [painter.draw(GREY, xy[:, t], tracks.visible[:, t]) for t in range(3)]
    found = list(draw_video([GREY] * 5, tracks, trail=2, colors=[RED, GREEN]))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("frames", [0, 2])
def test_where_the_video_ends_before_the_tracks_so_does_the_picture(frames):
    tracks = Tracks(np.ones((1, 4, 2)), np.ones((1, 4), bool), np.ones((1, 4)))
    assert len(list(draw_video([GREY] * frames, tracks))) == frames


# Dots


def test_a_visible_point_is_a_disc_of_its_colour_with_a_dark_outline():
    out = draw([[45.5, 30.5]], colors=[RED], radius=5)
    np.testing.assert_array_equal(out[30, 45], RED)
    np.testing.assert_array_equal(out[30, 48], RED)
    assert (out[30, 51] < 80).all()
    np.testing.assert_array_equal(out[30, 54], GREY[30, 54])


def test_a_lost_point_is_a_small_faint_circle():
    out = draw([[45.5, 30.5]], visible=False, colors=[RED], radius=6)
    seen = draw([[45.5, 30.5]], colors=[RED], radius=6)
    np.testing.assert_array_equal(out[30, 45], GREY[30, 45])
    assert 128 < out[30, 49, 0] < 200
    assert changed(out).sum() < changed(seen).sum()


def test_a_lost_point_can_be_left_out():
    np.testing.assert_array_equal(draw([[45.5, 30.5]], visible=False, lost="hidden"), GREY)
    np.testing.assert_array_equal(draw([[45.5, 30.5]], lost="hidden"), draw([[45.5, 30.5]]))


def test_dots_grow_with_the_frame_and_shrink_where_there_are_many():
    def area(size, points):
        frame = np.full((*size, 3), 128, np.uint8)
        painter = TrackPainter(points)
        xy = np.full((points, 2), np.nan)
        xy[0] = size[1] / 2, size[0] / 2  # the others are nowhere
        return changed(painter.draw(frame, xy, np.ones(points, bool)), frame).sum()

    assert area((288, 512), 50) < area((720, 1280), 50)
    assert area((720, 1280), 50) > area((720, 1280), 2000) > area((720, 1280), 20_000)
    assert area((288, 512), 5000) == area((288, 512), 50_000) > 9


def test_a_grid_in_colours_by_position():
    places = np.float32([[10, 30], [14, 30], [80, 30]])
    tracks = Tracks(places[:, None], np.ones((3, 1), bool), np.ones((3, 1)))
    (out,) = draw_video([GREY], tracks, colors="position")
    left, near, right = (out[int(y), int(x)].astype(int) for x, y in places)
    assert 2 * np.abs(left - near).sum() < np.abs(left - right).sum() > 60


def test_a_new_frame_is_made_and_the_old_one_left_alone():
    frame = GREY.copy()
    frame.setflags(write=False)
    out = draw([[45, 30]], frame=frame)
    assert out is not frame
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    assert changed(out).any()


def test_a_strided_frame():
    wide = np.full((60, 180, 3), 128, np.uint8)
    np.testing.assert_array_equal(draw([[45, 30]], frame=wide[:, ::2]), draw([[45, 30]]))


@settings(max_examples=60, deadline=None)
@given(st.floats(20, 70), st.floats(20, 40), st.booleans())
def test_a_dot_is_centred_on_its_point(x, y, visible):
    # The centre of pixel i is at i + 0.5.
    out = draw([[x, y]], visible=visible, frame=np.zeros_like(GREY), colors=[[255, 255, 255]], radius=5)
    weight = out.astype(float).sum(axis=-1)
    rows, columns = np.mgrid[:60, :90] + 0.5
    centre = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    np.testing.assert_allclose(centre, (x, y), atol=0.1)


def test_dots_grow_with_the_frame_and_keep_a_least_size():
    areas = []
    for size in ((64, 64), (720, 1280), (2160, 3840)):
        frame = np.full((*size, 3), 128, np.uint8)
        areas.append(changed(draw([[size[1] / 2, size[0] / 2]], frame=frame), frame).sum())
    assert areas[0] >= np.pi * 2**2
    assert areas[0] < areas[1] < areas[2]


def test_later_points_lie_over_earlier_ones_and_visible_over_occluded():
    place = [[45.5, 30.5]] * 2
    np.testing.assert_array_equal(draw(place, colors=[RED, GREEN])[30, 45], GREEN)
    np.testing.assert_array_equal(draw(place, [True, False], colors=[RED, GREEN], radius=6)[30, 45], RED)


@pytest.mark.parametrize("visible", [True, False])
@pytest.mark.parametrize("corner", [(0, 0), (90, 0), (0, 60), (90, 60)])
def test_a_dot_on_a_corner_stays_there(corner, visible):
    rows, columns = np.nonzero(changed(draw([corner], visible=visible, radius=4)))
    assert len(rows)
    assert np.abs(columns + 0.5 - corner[0]).max() < 7
    assert np.abs(rows + 0.5 - corner[1]).max() < 7


@pytest.mark.parametrize("visible", [True, False])
@pytest.mark.parametrize(
    "place",
    [
        (np.nan, 30),
        (45, np.nan),
        (np.inf, 30),
        (45, -np.inf),
        (-50, 30),
        (45, 500),
        (3e38, 3e38),
        (-3e38, 30),
    ],
)
def test_what_is_not_on_the_frame_leaves_no_mark(place, visible):
    painter = TrackPainter(1)
    for step in (place, (45, 30), place):
        out = painter.draw(GREY, [step], [visible])
    np.testing.assert_array_equal(out, GREY)


@pytest.mark.parametrize("frame", [GREY, np.zeros((1, 1, 3), np.uint8)])
def test_no_points(frame):
    painter = TrackPainter(0)
    for _ in range(3):
        np.testing.assert_array_equal(painter.draw(frame, np.zeros((0, 2)), np.zeros(0, bool)), frame)


def test_a_frame_smaller_than_a_dot():
    out = draw([[0.5, 0.5]], frame=np.zeros((1, 1, 3), np.uint8), colors=[RED])
    np.testing.assert_array_equal(out, [[RED]])


def test_more_points_than_are_drawn_at_once():
    points = np.stack([np.arange(3000) % 90, np.arange(3000) // 90], axis=1) + 0.5
    out = draw(points, colors=np.tile(RED, (3000, 1)), radius=0.6)
    assert changed(out)[:33].all()


# Trails


def test_a_trail_leads_along_the_way_and_fades():
    out = draw_path([(10 + 8 * step, 30.5) for step in range(9)], colors=[RED], radius=2)
    redness = out[30, :, 0].astype(int) - out[30, :, 1]
    assert redness[40] > redness[25] > redness[12] > 0
    assert redness[5] == 0


def test_a_trail_is_as_long_as_asked():
    path = [(10 + 4 * step, 30) for step in range(20)]
    begins = [np.nonzero(changed(draw_path(path, trail=k)))[1].min() for k in (0, 3, 8)]
    # 86 is the last place; the disc with its outline reaches at most 4 pixels farther.
    for begin, k in zip(begins, (0, 3, 8), strict=True):
        assert begin == pytest.approx(86 - 4 * k, abs=4)


def test_a_trail_breaks_where_the_point_was_occluded():
    path = [(10 + 10 * step, 30) for step in range(7)]
    out = draw_path(path, visible=[True, True, False, False, True, True, True])
    columns = changed(out).any(axis=0)
    assert columns[15]
    assert not columns[25:45].any()
    assert columns[55]


def test_a_leap_is_not_joined():
    assert not changed(draw_path([(10, 10), (80, 50)]))[20:40].any()


@pytest.mark.parametrize("step", [(4, 0), (0, 4), (3, 3), (-3, 3), (4, 1), (1, -4), (-4, -2)])
def test_a_trail_is_as_wide_in_every_direction_and_centred_on_the_way(step):
    places = [(45.3 + step[0] * i, 30.3 + step[1] * i) for i in range(-4, 5)]
    out = draw_path(places, colors=[RED], radius=4, trail=1000)
    # Cover, summed over a stretch clear of the disc, is width times length.
    cover = (128 - out[..., 1].astype(float)) / 128 / 0.85
    rows, columns = np.mgrid[:60, :90] + 0.5
    length = np.hypot(*step)
    along = ((columns - 45.3) * step[0] + (rows - 30.3) * step[1]) / length
    across = ((columns - 45.3) * step[1] - (rows - 30.3) * step[0]) / length
    stretch = (along > -2.5 * length) & (along < 0.5 * length)
    assert cover[stretch].sum() / (3 * length) == pytest.approx(2 * 0.34 * 4, rel=0.12)
    assert (cover * across)[stretch].sum() / cover[stretch].sum() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("border", [(90, 30), (0, 30), (45, 60), (45, 0), (90, 60), (0, 0)])
def test_a_trail_may_run_along_and_off_every_border(border):
    outward = np.sign(np.subtract(border, (45, 30)))
    rows, columns = np.nonzero(changed(draw_path([border + outward * step for step in range(-4, 5)], radius=3)))
    assert len(rows)
    assert np.abs(columns + 0.5 - border[0]).max() < 10
    assert np.abs(rows + 0.5 - border[1]).max() < 10


def test_a_trail_goes_along_with_the_background():
    """A camera that follows a point: on the frame it stays where it is, and its trail runs off behind it."""
    painter = TrackPainter(1, colors=[RED], radius=2)
    left = [[1, 0, -5], [0, 1, 0], [0, 0, 1]]
    for _ in range(7):
        out = painter.draw(GREY, [(60, 30.5)], [True], moved=left)
    columns = np.nonzero(changed(out)[30])[0]
    assert columns.min() == pytest.approx(30, abs=2)
    assert columns.max() < 66
    assert changed(draw_path([(60, 30.5)] * 7, colors=[RED], radius=2)).any(axis=0).argmax() > 54


@pytest.mark.parametrize(
    "moved",
    [[[1, 0, 0], [0, 1, 0], [-0.1, 0, 1]], [[1e30, 0, 0], [0, 1, 0], [0, 0, 1]], np.full((3, 3), np.nan)],
    ids=["behind the camera", "far away", "nowhere"],
)
def test_what_the_background_takes_out_of_sight_leaves_no_trail(moved):
    painter = TrackPainter(1, colors=[RED], radius=2)
    painter.draw(GREY, [(20, 30)], [True])
    out = painter.draw(GREY, [(60, 30)], [True], moved=moved)
    np.testing.assert_array_equal(out, draw_path([(60, 30)], colors=[RED], radius=2))


def test_a_video_is_painted_over_the_background_of_its_camera():
    still = Tracks(np.full((1, 4, 2), 40.0), np.ones((1, 4), bool), np.ones((1, 4)))
    camera = np.tile(np.eye(3), (4, 1, 1))
    camera[:, 0, 2] = 6 * np.arange(4)
    columns = np.nonzero(changed(list(draw_video([GREY] * 4, still, camera=camera))[-1]).any(axis=0))[0]
    assert columns.min() == pytest.approx(40 - 18, abs=3)
    plain = list(draw_video([GREY] * 4, still))
    np.testing.assert_array_equal(list(draw_video([GREY] * 4, still, camera=np.tile(np.eye(3), (4, 1, 1)))), plain)


def test_a_camera_of_another_length():
    tracks = Tracks(np.ones((1, 4, 2)), np.ones((1, 4), bool), np.ones((1, 4)))
    with pytest.raises(PointsError, match=r"camera must have shape \[4, 3, 3\], a matrix a frame, got \[3, 3, 3\]"):
        list(draw_video([GREY], tracks, camera=np.ones((3, 3, 3))))


def test_what_the_caller_does_with_the_points_later_does_not_matter():
    painter = TrackPainter(1, trail=5)
    place = np.float32([[20, 30]])
    painter.draw(GREY, place, [True])
    place += (8, 0)
    out = painter.draw(GREY, place, [True])
    assert changed(out)[30, 22]


def test_frames_may_change_size():
    painter = TrackPainter(1)
    painter.draw(GREY, [(40, 30)], [True])
    assert painter.draw(np.zeros((20, 30, 3), np.uint8), [(10, 10)], [True]).shape == (20, 30, 3)


# What is refused


def test_arrays_of_another_number_of_points():
    painter = TrackPainter(2)
    for xy, visible in (([[1, 2]], [True]), ([[1, 2], [3, 4]], [True]), ([1, 2], [True, True])):
        with pytest.raises(PointsError, match=r"\[2, 2\] and visible \[2\]"):
            painter.draw(GREY, xy, visible)


@pytest.mark.parametrize("frame", [GREY[..., 0], GREY.astype(np.float32), GREY[..., :2]])
def test_a_frame_that_is_none(frame):
    with pytest.raises(FramesError, match="uint8"):
        TrackPainter(1).draw(frame, [[1, 1]], [True])


def test_a_style_that_is_none():
    with pytest.raises(PointsError, match=r"lost must be one of faded, hidden, got 'gone'"):
        TrackPainter(2, lost="gone")
    with pytest.raises(PointsError, match=r"colors must have shape \[2, 3\]"):
        TrackPainter(2, colors=[RED])
