"""What a tracker may believe of the frame before: close to the truth, for most points."""

import numpy as np
import pytest

from training.run.motion_prior import HIDDEN, LEAST, LOST, MOST, believed_positions

SIDE = 100.0


def still_points(points: int, frames: int) -> np.ndarray:
    """[N, T, 2]: they lie far apart and never move."""
    xy = np.zeros((points, frames, 2), np.float32)
    xy[:] = 1000 * np.stack(np.divmod(np.arange(points), 64), -1)[:, None]
    return xy


def errors(points: int, frames: int, visible: bool = True) -> np.ndarray:
    """[N, T]: how far off the beliefs about still points are."""
    xy = still_points(points, frames)
    believed = believed_positions(xy, np.full((points, frames), visible), SIDE, np.random.default_rng(0))
    return np.linalg.norm(believed - xy, axis=-1)


def test_a_belief_is_about_the_frame_before() -> None:
    xy = np.repeat(np.float32([[0, 0], [1000, 0], [2000, 0]])[None], 1, 0)
    believed = believed_positions(xy, np.ones((1, 3), bool), SIDE, np.random.default_rng(0))
    assert believed.dtype == np.float32
    np.testing.assert_allclose(believed, xy[:, [0, 0, 1]], atol=5 * MOST * SIDE)


def test_the_first_frame_is_known_exactly() -> None:
    assert (errors(50, 4)[:, 0] == 0).all()


def test_beliefs_are_off_by_some_pixels() -> None:
    off = errors(2000, 4)[:, 1:]
    close = off[off < 500]
    assert LEAST * SIDE < np.median(close) < MOST * SIDE
    assert close.max() < 6 * MOST * SIDE
    assert (close > 0).all()


def test_beliefs_about_hidden_points_are_further_off() -> None:
    seen, hidden = errors(2000, 4), errors(2000, 4, visible=False)
    close = (seen > 0) & (seen < 500)
    np.testing.assert_allclose(hidden[close], HIDDEN * seen[close], atol=0.02)


def test_some_points_are_mistaken_for_others_from_some_frame_on() -> None:
    is_lost = errors(4000, 5) > 500
    assert np.mean(is_lost[:, -1]) == pytest.approx(LOST, abs=0.02)
    assert (is_lost[:, 1:] >= is_lost[:, :-1]).all()
    assert 0 < np.mean(is_lost[:, 1]) < np.mean(is_lost[:, -1])


@pytest.mark.parametrize(("points", "frames"), [(0, 3), (1, 1), (1, 4), (5, 1)])
def test_few_points_and_frames(points: int, frames: int) -> None:
    off = errors(points, frames)
    assert off.shape == (points, frames)
    assert (off < 500).all() or points > 1


def test_the_same_generator_gives_the_same_beliefs() -> None:
    assert np.array_equal(errors(20, 3), errors(20, 3))
