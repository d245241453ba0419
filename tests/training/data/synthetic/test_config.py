from dataclasses import replace

import numpy as np
import pytest

from training.data.synthetic import SceneConfig, make_clip
from training.data.synthetic.config import SCENES as NAMES
from training.data.synthetic.objects import random_camera
from training.data.synthetic.scene import SCENES

SMALL = SceneConfig(height=48, width=64, frames=6, points=8, query="frame0")


def test_every_kind_of_scene_has_a_maker():
    assert tuple(SCENES) == NAMES


@pytest.mark.parametrize("shares", [{"vanish": 1.0}, {"free": 0.0}, {"free": -1.0, "returns": 2.0}, {}])
def test_scenes_of_unknown_kinds_or_no_share_are_refused(shares):
    with pytest.raises(ValueError, match=r"scenes is .*; give the shares, some above 0, of any of free, returns"):
        SceneConfig(scenes=shares)


def test_figures_of_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match=r"figures is .*; give .* of any of animal, person, hand, thing"):
        SceneConfig(figures={"fish": 1.0})


def test_kinds_are_drawn_in_their_shares():
    config = replace(SMALL, scenes={"free": 3.0, "returns": 1.0}, figures={"hand": 1.0, "animal": 0.0})
    rng = np.random.default_rng(0)
    drawn = [config.scene(rng) for _ in range(400)]
    assert 0.68 < drawn.count("free") / 400 < 0.82
    assert {config.figure(rng) for _ in range(20)} == {"hand"}


def test_where_all_textures_are_bare_frames_are_smooth():
    plain = replace(SMALL.without_appearance(), creatures=0.0, deformation=0.0, layers=(0, 0))
    steps = [
        np.median(np.abs(np.diff(make_clip(replace(plain, bare=bare), seed).frames.astype(int), axis=2)))
        for bare in (0.0, 1.0)
        for seed in range(8)
    ]
    assert np.mean(steps[8:]) < 0.4 * np.mean(steps[:8])


def test_a_rolling_camera_turns_further_than_others():
    def turns(rolling):
        config = replace(SMALL, frames=24, rolling=rolling)
        cameras = [random_camera(np.random.default_rng(seed), config) for seed in range(40)]
        return np.mean([np.ptp(camera.pose.values[:, 2]) for camera in cameras])

    assert turns(1.0) > 3 * turns(0.0)


def test_solid_figures_take_the_place_of_flat_creatures():
    config = replace(SMALL, creatures=1.0, layers=(0, 0))
    flat, solid = (make_clip(replace(config, solid=share), 3) for share in (0.0, 1.0))
    assert not np.array_equal(flat.frames, solid.frames)
    assert solid.visible[:, 0].all()
