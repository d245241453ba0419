from dataclasses import replace

import numpy as np
import pytest

from training.data.synthetic.appearance import Appearance
from training.data.synthetic.config import SceneConfig
from training.data.synthetic.motion import Spline


@pytest.fixture
def frame():
    y, x = np.mgrid[:40, :60]
    return np.stack([100 + x, 60 + 2 * y, 80 + x // 2 + y], axis=-1).astype(np.uint8)


def apply(appearance, frame, seed=0):
    return appearance.apply(frame, 1.0, np.random.default_rng(seed))


def test_without_effects_a_frame_stays_as_it_is(frame):
    config = SceneConfig().without_appearance()
    for seed in range(20):
        appearance = Appearance.random(np.random.default_rng(seed), config)
        np.testing.assert_array_equal(apply(appearance, frame), frame)


@pytest.mark.parametrize(
    "effect",
    [
        {"tone": Spline(np.full((3, 4), 0.2), 4)},
        {"light": Spline(np.tile(np.linspace(-0.3, 0.3, 9), (3, 1)), 4)},
        {"matrix": 0.8 * np.eye(3, 4)},
        {"defocus": 1.0},
        {"noise": 4.0},
        {"jpeg_quality": 30},
    ],
    ids=lambda effect: next(iter(effect)),
)
def test_each_effect_changes_colours_a_little(effect, frame):
    changed = apply(Appearance(**effect), frame)
    assert changed.shape == frame.shape and changed.dtype == np.uint8
    difference = np.abs(changed.astype(int) - frame).mean()
    assert 0 < difference < 60


def test_noise_is_centred_and_as_strong_as_asked():
    grey = np.full((200, 300, 3), 128, np.uint8)
    noise = apply(Appearance(noise=6.0), grey).astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert noise.std() == pytest.approx(6, rel=0.02)


def test_noise_covers_frames_larger_than_its_pool():
    big = np.full((800, 1000, 3), 128, np.uint8)
    assert apply(Appearance(noise=6.0), big).std() == pytest.approx(6, rel=0.02)


def test_noise_follows_its_generator(frame):
    noisy = [apply(Appearance(noise=3.0), frame, seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert (noisy[0] != noisy[2]).any()


def test_greyscale_and_channel_shuffle_are_drawn_by_their_odds(frame):
    plain = SceneConfig(greyscale=1.0, colour=0, defocus=0, noise=0, jpeg=0, lighting=0, channel_shuffle=0)
    grey = apply(Appearance.random(np.random.default_rng(0), plain), frame)
    assert (np.ptp(grey, axis=-1) == 0).all()


def test_too_little_light_is_dark_and_noisy(frame):
    config = replace(SceneConfig().without_appearance(), dim=1.0)
    for seed in range(20):
        dark = apply(Appearance.random(np.random.default_rng(seed), config), np.full((40, 60, 3), 200, np.uint8))
        assert 0.15 * 200 < dark.mean() < 0.55 * 200
        assert dark.std() > 2
