"""How sure TAPNext is of its positions."""

import numpy as np
import pytest

from training.models.tapnext.certainty import RADIUS, certainty

BINS = 64


def heatmap(x, y, more=()):
    """Logits [2, BINS] that are sure of the bin (x, y), or in equal parts of it and of `more` along x."""
    logits = np.full((2, BINS), -1000.0)
    logits[0, [x, *more]] = 0
    logits[1, y] = 0
    return logits


def at(x, y):
    return np.float32([x + 0.5, y + 0.5])


def test_a_heatmap_that_agrees_is_certain_and_one_that_is_elsewhere_is_not():
    assert certainty(at(20, 30), heatmap(20, 30), (BINS, BINS)) == 1
    assert certainty(at(20, 30), heatmap(40, 30), (BINS, BINS)) == 0


@pytest.mark.parametrize(("away", "inside"), [((8, 0), True), ((9, 0), False), ((5, 6), True), ((6, 6), False)])
def test_near_is_a_disc(away, inside):
    assert certainty(at(20, 30), heatmap(20 + away[0], 30 - away[1]), (BINS, BINS)) == inside


def test_two_places_share_the_certainty():
    assert certainty(at(20, 30), heatmap(20, 30, more=[50, 60]), (BINS, BINS)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("where", [(0, 0), (BINS - 1, 0), (0, BINS - 1), (BINS - 1, BINS - 1)])
def test_at_the_border_too(where):
    assert certainty(at(*where), heatmap(*where), (BINS, BINS)) == 1


def test_positions_are_in_pixels_of_the_frames():
    xy = at(20, 30) * [128 / BINS, 32 / BINS]
    assert certainty(xy, heatmap(20, 30), (32, 128)) == 1
    assert certainty(xy, heatmap(20, 30), (BINS, BINS)) == 0


def test_it_is_the_sum_over_the_whole_disc_for_every_point_and_frame():
    rng = np.random.default_rng(0)
    tracks, logits = rng.uniform(-4, BINS + 4, (2, 3, 5, 2)), rng.normal(0, 3, (2, 3, 5, 2, BINS))
    share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    centres = np.arange(BINS) + 0.5
    squared = [np.square(centres - tracks[..., axis, None]) for axis in (0, 1)]
    disc = squared[0][..., :, None] + squared[1][..., None, :] <= RADIUS**2
    expected = (share[..., 0, :, None] * share[..., 1, None, :] * disc).sum((-1, -2))
    found = certainty(tracks, logits, (BINS, BINS))
    assert found.shape == (2, 3, 5)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_points():
    assert certainty(np.zeros((1, 0, 4, 2)), np.zeros((1, 0, 4, 2, BINS)), (BINS, BINS)).shape == (1, 0, 4)
