import numpy as np
import pytest

import tapsdk
from tapsdk.errors import PointsError, SaveError
from tapsdk.tracks import Tracks

FRAMES = np.full((5, 48, 64, 3), 100, np.uint8)


def crossing(frames=5, fps=10.0):
    """A point on its way from left to right, and one that is never seen."""
    way = np.stack([np.linspace(10, 50, frames), np.full(frames, 24.0)], axis=1)
    xy = np.float32([way, way + np.float32([0, 14])])
    visible = np.array([[True] * frames, [False] * frames])
    return Tracks(xy, visible, visible.astype(np.float32), fps=fps)


def test_a_video_with_its_tracks(tmp_path):
    crossing().draw(FRAMES, tmp_path / "out.mp4")
    with tapsdk.open_frames(tmp_path / "out.mp4") as painted:
        assert painted.fps == 10
        frames = list(painted)
    assert len(frames) == 5
    spots = [np.abs(frame[20:28].astype(int) - 100).sum(axis=(0, 2)).argmax() for frame in frames]
    assert all(abs(spot - x) < 8 for spot, x in zip(spots, np.linspace(10, 50, 5), strict=True))


def test_what_is_lost_can_be_left_out(tmp_path):
    for lost in ("faded", "hidden"):
        crossing().draw(FRAMES, tmp_path / f"{lost}.mkv", lost=lost)
    marks = []
    for lost in ("faded", "hidden"):
        with tapsdk.open_frames(tmp_path / f"{lost}.mkv") as painted:
            marks.append(np.abs(np.stack(list(painted))[:, 34:42].astype(int) - 100).max())
    assert marks[0] > 20 > marks[1]


def test_the_video_itself_is_not_replaced(tmp_path):
    video = tmp_path / "video.mp4"
    crossing().draw(FRAMES, video)
    before = video.read_bytes()
    (tmp_path / "link.mp4").symlink_to(video)
    for path in (video, tmp_path / "link.mp4"):
        with pytest.raises(SaveError):
            crossing().draw(video, path)
    assert video.read_bytes() == before


def test_a_style_that_is_none(tmp_path):
    with pytest.raises(PointsError, match="lost must be one of faded, hidden"):
        crossing().draw(FRAMES, tmp_path / "out.mp4", lost="gone")
    with pytest.raises(PointsError, match='colors must be "distinct", "position"'):
        crossing().draw(FRAMES, tmp_path / "out.mp4", colors="pretty")
    assert not list(tmp_path.iterdir())


def test_all_ways_over_a_frame():
    picture = crossing().plot(FRAMES[0])
    assert picture.shape == FRAMES[0].shape
    changed = (picture != 100).any(axis=2)
    assert changed[24, 11:50].all()
    assert not changed[:18].any()


def test_all_ways_on_a_dark_ground_that_holds_them():
    tracks = crossing()
    picture = tracks.plot()
    assert picture.shape[1] >= 50
    assert (picture[24, 11:50] != picture[0, 0]).any(axis=1).all()


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (3, 0)])
def test_no_way_at_all(shape):
    empty = Tracks(np.zeros((*shape, 2)), np.zeros(shape, bool), np.zeros(shape))
    assert (empty.plot() == empty.plot()[0, 0]).all()


def test_ways_that_lead_nowhere():
    lost = Tracks(np.full((1, 4, 2), np.nan), np.ones((1, 4), bool), np.ones((1, 4)))
    far = Tracks(np.full((1, 4, 2), 1e30), np.ones((1, 4), bool), np.ones((1, 4)))
    assert lost.plot().shape == (64, 64, 3)
    assert max(far.plot().shape) <= 1 << 14
