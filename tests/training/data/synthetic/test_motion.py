import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.synthetic.config import SceneConfig
from training.data.synthetic.layers import PosedLayer
from training.data.synthetic.motion import Spline, Waves, apply_homography, rotation, tilt, translation, wander
from training.data.synthetic.scene import random_scene

seeds = st.integers(0, 2**32 - 1)


def test_a_spline_passes_through_its_knots():
    values = np.array([[0.0, 1.0], [2.0, -1.0], [5.0, 4.0], [3.0, 0.0]])
    knot_times = np.linspace(-1, 9, 4)
    np.testing.assert_allclose(Spline(values, 9)(knot_times), values, atol=1e-12)


def test_a_spline_ends_at_its_last_knots():
    curve = Spline(np.array([[1.0], [2.0], [3.0]]), 4)
    np.testing.assert_allclose(curve(np.array([-50.0, 50.0])), [[1.0], [3.0]])


def test_a_joined_spline_has_the_channels_of_its_parts():
    parts = Spline.constant(np.array([7.0, 8.0]), 20), wander(np.random.default_rng(0), 20, 1.0, 3)
    t = np.linspace(0, 19, 5)
    np.testing.assert_allclose(Spline.join(*parts)(t), np.concatenate([p(t) for p in parts], axis=1))


@given(seeds, st.integers(1, 60), st.floats(0, 100))
def test_wandering_starts_where_asked_and_stays_within_reach(seed, frames, speed):
    curve = wander(np.random.default_rng(seed), frames, speed, 2, reach=10.0, start=3.0)
    assert (curve.values == 3.0).all(axis=1).any()
    assert np.abs(curve.values).max() <= 15.0


def test_homographies_compose_left_to_right_of_the_point():
    matrix = translation(np.array([5.0, 0.0])) @ rotation(np.array(np.pi / 2), 2.0)
    np.testing.assert_allclose(apply_homography(matrix, np.array([1.0, 0.0])), [5.0, 2.0], atol=1e-12)


def test_tilt_divides_by_depth():
    point = apply_homography(tilt(np.array([0.5, 0.0])), np.array([2.0, 4.0]))
    np.testing.assert_allclose(point, [1.0, 2.0])


@given(seeds, st.floats(8, 600), st.floats(0.01, 1), st.floats(-5, 100))
def test_waves_are_inverted_to_a_thousandth_of_a_texel(seed, size, strength, t):
    rng = np.random.default_rng(seed)
    waves = Waves.random(rng, size, strength, 0.3)
    p = rng.uniform(-0.5 * size, 1.5 * size, (50, 2))
    q = waves.invert(p, t)
    np.testing.assert_allclose(q + waves.offset(q, t), p, atol=1e-3)


@given(seeds, st.floats(8, 600), st.floats(0.01, 1))
def test_waves_never_fold_nor_exceed_their_bound(seed, size, strength):
    rng = np.random.default_rng(seed)
    waves = Waves.random(rng, size, strength, 0.3)
    a, b = rng.uniform(0, size, (2, 200, 2))
    t = rng.uniform(0, 100, 200)
    moved = np.linalg.norm(waves.offset(a, t) - waves.offset(b, t), axis=-1)
    assert (moved <= 0.5 * np.linalg.norm(a - b, axis=-1) + 1e-9).all()
    assert np.linalg.norm(waves.offset(a, t), axis=-1).max() <= waves.bound + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_every_layer_maps_to_the_screen_and_back(seed):
    config = SceneConfig(height=72, width=128, frames=5, deformation=1.0, creatures=1.0, layers=(2, 4))
    rng = np.random.default_rng(seed)
    for layer in random_scene(rng, config):
        posed = PosedLayer.of(layer, np.arange(5.0))
        height, width = layer.rgba.shape[:2]
        p = rng.uniform(0, 1, (20, 2)) * [width, height]
        x = posed.to_screen(p)
        assert x.shape == (20, 5, 2)
        back = posed.to_texture(x, np.arange(5))
        np.testing.assert_allclose(back, np.broadcast_to(p[:, None], x.shape), atol=1e-3)
