"""What makes following points by their surroundings right, whatever the instruction set."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapkernels import lucas_kanade, reference
from tests.golden.flow_cases import check_moved, follow_cases

SEEDS = st.integers(0, 2**32 - 1)
# An instruction set stays chosen over the examples of a property, which is what is wanted here.
PROPERTY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

HEIGHT, WIDTH = 60, 84
INNER = np.float32([[20, 20], [60, 25], [41.3, 33.9], [30.5, 40.5]])

# Those in pixels of two frames of one size, which is what the kernel takes.
CASES = [case for case in follow_cases() if case.before.shape == case.after.shape == (*case.space, 3)]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def texture(seed=0, height=HEIGHT + 40, width=WIDTH + 40):
    """Random waves, smooth enough to be sampled anywhere: a function of x and y."""
    rng = np.random.default_rng(seed)
    waves = rng.uniform(0.1, 0.5, size=(12, 2)) * rng.choice([-1, 1], size=(12, 2))
    phases = rng.uniform(0, 6, size=12)

    def at(x, y):
        return sum(np.sin(a * x + b * y + phase) for (a, b), phase in zip(waves, phases, strict=True)) / 6

    return at


def frame(image, dx=0.0, dy=0.0, height=HEIGHT, width=WIDTH):
    """The texture after it has moved by (dx, dy), [H, W, 3]."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.repeat(image(x - dx, y - dy)[..., None], 3, axis=-1).astype(np.float32)


@cases
def test_points_go_where_the_table_says(isa, case):
    found = lucas_kanade(case.before, case.after, case.xy, case.flow["radius"], case.flow["levels"])
    check_moved(case, found[:, :2], found[:, 2])


@cases
def test_the_table_says_what_the_reference_does(case):
    found = reference.lucas_kanade(case.before, case.after, case.xy, case.flow["radius"], case.flow["levels"])
    check_moved(case, found[:, :2], found[:, 2])


@PROPERTY
@given(seed=SEEDS, dx=st.floats(-2, 2), dy=st.floats(-2, 2))
def test_finds_how_far_a_picture_moved(isa, seed, dx, dy):
    image = texture(seed)
    found = lucas_kanade(frame(image), frame(image, dx, dy), INNER)
    np.testing.assert_allclose(found[:, :2], INNER + np.float32([dx, dy]), atol=0.3)
    assert found[:, 2].max() < 0.2


@PROPERTY
@given(seed=SEEDS)
def test_stays_in_a_picture_that_does_not_move(isa, seed):
    still = frame(texture(seed))
    xy = np.random.default_rng(seed).uniform(0, (WIDTH, HEIGHT), size=(20, 2)).astype(np.float32)
    found = lucas_kanade(still, still, xy)
    np.testing.assert_allclose(found[:, :2], xy, atol=1e-4)
    np.testing.assert_allclose(found[:, 2], 0, atol=1e-4)


@PROPERTY
@given(seed=SEEDS, light=st.floats(-0.5, 0.5))
def test_light_that_changes_everywhere_moves_nothing(isa, seed, light):
    image = texture(seed)
    before, after = frame(image), frame(image, 1.3, -0.8)
    expected = lucas_kanade(before, after, INNER)
    np.testing.assert_allclose(lucas_kanade(before, after + np.float32(light), INNER), expected, atol=1e-2)


def test_a_window_without_texture_stays_where_it_was(isa):
    found = lucas_kanade(np.full((40, 40, 3), 0.3, np.float32), np.full((40, 40, 3), 0.7, np.float32), INNER[:1])
    np.testing.assert_allclose(found, [[*INNER[0], 0]], atol=1e-5)


def test_the_way_back_shows_what_was_covered(isa):
    """A block of another texture moves over the point: it follows the block, and the way back leads elsewhere."""
    before, other = frame(texture(0)), frame(texture(1))
    after = before.copy()
    after[20:44, 24:52] = other[20:44, 24:52]
    found = lucas_kanade(before, after, np.float32([[38, 32], [70, 12]]))
    assert found[0, 2] > 1
    assert found[1, 2] < 0.05


@pytest.mark.parametrize(
    "xy", [(-0.1, 5), (5, -2), (WIDTH + 0.1, 5), (5, 1e30), (np.nan, 5), (5, np.inf), (-np.inf, 5)]
)
def test_a_point_outside_stays_there_and_says_nothing(isa, xy):
    image = texture()
    start = np.float32([xy, INNER[0]])
    found = lucas_kanade(frame(image), frame(image, 1, 1), start)
    np.testing.assert_array_equal(found[0], np.float32([*xy, np.inf]))
    assert found[1, 2] < 0.1


def test_a_point_that_leaves_the_frame_says_nothing(isa):
    image = texture()
    found = lucas_kanade(frame(image), frame(image, -4, 0), np.float32([[2, 30]]))
    assert found[0, 0] < 0
    assert np.isinf(found[0, 2])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_pixels_that_are_no_numbers_do_no_harm(isa, value):
    before = frame(texture())
    after = before.copy()
    after[30, 40] = value
    assert lucas_kanade(before, after, INNER).shape == (4, 3)


def test_agrees_with_opencv():
    """On a picture that turns a little, with a window of about the same reach."""
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install 'tapsdk[train]'")
    image, angle = texture(3), 0.02
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    turned = image(x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle))
    before, after = frame(image), np.repeat(turned[..., None], 3, -1).astype(np.float32)
    grey = [np.clip(each[..., 0] * 100 + 128, 0, 255).astype(np.uint8) for each in (before, after)]
    start = (INNER - 0.5).reshape(-1, 1, 2)
    theirs, _, _ = cv2.calcOpticalFlowPyrLK(*grey, start, None, winSize=(9, 9), maxLevel=3)
    ours = lucas_kanade(before, after, INNER)
    np.testing.assert_allclose(ours[:, :2], theirs.reshape(-1, 2) + 0.5, atol=0.2)
