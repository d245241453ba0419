import colorsys

import numpy as np
import pytest

from tapsdk.motion import apply_homography
from tapsdk.tracks import Tracks
from tapsdk.video.rainbow import draw_rainbow
from tests.tapsdk.motion.made import SIZE, pan, scene

GREY = np.full((*SIZE, 3), 128, np.uint8)


def tracks_of(made, **more):
    return Tracks(made.xy, made.visible, made.visible, **more)


def last_picture(made, **options):
    return list(draw_rainbow([GREY] * made.xy.shape[1], tracks_of(made), **options))[-1]


def vivid(picture):
    """[H, W] where there is colour, as in discs and trails alone."""
    return np.ptp(picture.astype(int), axis=2) > 60


def near(places, reach):
    """[H, W] what lies so close to places [P, 2]."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return (np.hypot(x[..., None] - places[:, 0], y[..., None] - places[:, 1]) < reach).any(axis=2)


@pytest.fixture(scope="module")
def made():
    return scene(40, 4, 10, pan(10, step=(9, 3)), seed=5)


def test_what_moves_by_itself_is_drawn_and_nothing_else(made):
    picture = last_picture(made, trail=0)
    moving = made.xy[made.foreground & made.visible[:, -1], -1]
    assert len(moving)
    for x, y in moving.astype(int):
        assert vivid(picture)[y, x]
    assert not (vivid(picture) & ~near(moving, 6)).any()


def test_trails_lie_where_the_points_were_over_the_background(made):
    picture = last_picture(made)
    to_last = made.to_frame[-1] @ np.linalg.inv(made.to_frame)
    way = apply_homography(to_last, made.xy.swapaxes(0, 1)).swapaxes(0, 1)[made.foreground]
    shown = made.visible[made.foreground]
    for track, seen in zip(way, shown, strict=True):
        middle = ((track[1:] + track[:-1]) / 2)[seen[1:] & seen[:-1]]
        for x, y in middle[-6:].astype(int):
            if 0 <= x < SIZE[1] and 0 <= y < SIZE[0]:
                assert np.ptp(picture[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].astype(int), axis=2).max() > 20
    assert not (vivid(picture) & ~near(way.reshape(-1, 2), 14)).any()


def test_colours_go_by_position_and_take_up_all_hues():
    made = scene(40, 9, 10, seed=1)
    made.visible[made.foreground] = True
    picture = last_picture(made, trail=0)
    moving = made.xy[made.foreground, -1]
    inside = ((moving > 8) & (moving < np.subtract(SIZE[::-1], 8))).all(axis=1)
    hues = [colorsys.rgb_to_hsv(*(picture[int(y), int(x)] / 255))[0] for x, y in moving[inside]]
    middle = made.xy[made.foreground, 5, 0][inside]
    assert np.ptp(hues) > 0.5
    left, right = np.argmin(middle), np.argmax(middle)
    assert abs(hues[left] - hues[right]) > 0.3


def test_where_nothing_moves_by_itself_everything_is_drawn_and_that_is_said(caplog):
    made = scene(20, 0, 6)
    picture = last_picture(made)
    assert vivid(picture).any()
    assert caplog.messages == ["no point moves by itself; all are drawn"]


def test_too_few_points_for_the_camera_are_drawn_all_the_same_and_that_is_said(caplog):
    xy = np.float32([[[100 + 20 * t, 100] for t in range(6)]])
    pictures = list(draw_rainbow([GREY] * 6, Tracks(xy, np.ones((1, 6)), np.ones((1, 6)))))
    assert vivid(pictures[-1])[100, 110:190].all()
    assert "in 5 frames too few points say how the camera moved" in caplog.text


@pytest.mark.parametrize("frames, points", [(0, 4), (3, 0), (3, 1)])
def test_nothing_to_draw_on_or_nothing_to_draw(frames, points):
    tracks = Tracks(np.ones((points, 3, 2)), np.zeros((points, 3)), np.zeros((points, 3)))
    assert len(list(draw_rainbow([GREY] * frames, tracks))) == frames


def test_queries_may_be_known(made):
    queries = np.zeros((len(made.xy), 3))
    assert len(list(draw_rainbow([GREY] * 10, tracks_of(made, queries=queries)))) == 10
