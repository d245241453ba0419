from dataclasses import replace

import numpy as np
import pytest

from training.data.synthetic.config import SceneConfig
from training.data.synthetic.layers import Layer, PosedLayer, cast_shadow, premultiply
from training.data.synthetic.motion import Body, Camera, LayerMotion, Spline, Waves
from training.data.synthetic.rendering import Exposure
from training.data.synthetic.sampling import clear_of_edges, follow, sample_tracks, topmost
from training.data.synthetic.scene import random_scene
from training.data.synthetic.silhouettes import fill

SIZE = (60, 90)
FRAMES = 8
STILL = Camera(np.zeros(2), Spline.constant(np.zeros(6), FRAMES), np.zeros((2, 1, 3)))


def linear(start, end):
    """A pose curve from frame -1 to the frame after the last, at constant speed."""
    return Spline(np.linspace(start, end, 4), FRAMES)


def disc(radius, colour, pose, **options):
    """A disc whose centre is the node's origin."""
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    size = int(2 * radius + 8)
    mask = fill([size / 2 + radius * np.stack([np.cos(angle), np.sin(angle)], -1)], size, size)
    rgb = np.full((size, size, 3), colour, np.uint8)
    motion = LayerMotion(STILL, 1.0, Body(pose), (size / 2, size / 2))
    return Layer(premultiply(rgb, mask), motion, **options), mask


def ground(colour):
    rgba = np.full((*SIZE, 4), 255, np.uint8)
    rgba[..., :3] = colour
    motion = LayerMotion(STILL, 1.0, Body(Spline.constant(np.zeros(6), FRAMES)), (0.0, 0.0))
    return Layer(rgba, motion, bounded=False)


def pose(x, y, angle=0.0):
    return np.array([x, y, angle, 0.0, 0.0, 0.0])


def draw(layers, frame, shutter=0.0, size=SIZE):
    canvas = np.zeros((*size, 4), np.uint8)
    for layer in layers:
        posed = PosedLayer.of(layer, np.arange(float(FRAMES)))
        Exposure(posed, shutter, size).draw(canvas, frame)
    return canvas[..., :3]


def centre_of_brightness(image):
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5
    return (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()


@pytest.mark.parametrize("shutter", [0.0, 0.9])
@pytest.mark.parametrize("frame", [0, 3, 7])
def test_a_disc_is_drawn_where_its_track_says(frame, shutter):
    layer, _ = disc(6.0, 255, linear(pose(15, 20, 0), pose(65, 32, 2)))
    centre = PosedLayer.of(layer, np.arange(float(FRAMES))).to_screen(np.full((1, 2), 10.0))[0, frame]
    image = draw([ground(0), layer], frame, shutter)
    assert centre_of_brightness(image) == pytest.approx(centre, abs=0.05)
    assert image.astype(float).sum() / 255 / 3 == pytest.approx(np.pi * 36, rel=0.05)


def test_waves_of_no_amplitude_change_nothing():
    layer, _ = disc(12.0, 255, linear(pose(20, 20, 0), pose(65, 32, 2)))
    still = Waves(np.zeros((2, 2)), np.ones((2, 2)), np.zeros(2), np.ones(2), np.zeros(2))
    waving = replace(layer, motion=replace(layer.motion, waves=still))
    for frame in range(FRAMES):
        rigid, waved = (draw([ground(0), item], frame).astype(int) for item in (layer, waving))
        assert np.abs(rigid - waved).max() <= 10


def test_motion_blur_spreads_along_the_motion():
    layer, _ = disc(6.0, 255, linear(pose(10, 30), pose(82, 30)))
    sharp, blurred = (draw([ground(0), layer], 3, shutter) > 8 for shutter in (0.0, 0.9))
    width = [int(image[..., 0].any(axis=0).sum()) for image in (sharp, blurred)]
    height = [int(image[..., 0].any(axis=1).sum()) for image in (sharp, blurred)]
    assert width[1] >= width[0] + 4
    assert height[1] == height[0]


def test_a_nearer_layer_hides_a_farther_one():
    near, _ = disc(10.0, 200, linear(pose(45, 30), pose(45, 30)))
    far, _ = disc(14.0, 90, linear(pose(45, 30), pose(45, 30)))
    image = draw([ground(10), far, near], 0)
    assert [int(image[30, x, 0]) for x in (45, 57, 80)] == [200, 90, 10]


def test_a_shadow_darkens_below_but_not_its_own_layer():
    layer, mask = disc(8.0, 200, linear(pose(30, 30), pose(30, 30)))
    shadow = cast_shadow(mask, 2.0, 0.5, (14.0, 0.0))
    lit, shaded = (draw([ground(100), Layer(layer.rgba, layer.motion, shadow=s)], 0) for s in (None, shadow))
    assert int(shaded[30, 46, 0]) < 60 < int(lit[30, 46, 0])
    assert shaded[30, 30, 0] == lit[30, 30, 0] == 200


def test_a_disc_that_passes_hides_a_point_exactly_while_it_covers_it():
    cover, _ = disc(9.0, 255, linear(pose(10.3, 30.2), pose(80.7, 31.1)))
    layers = [PosedLayer.of(layer, np.arange(float(FRAMES))) for layer in (ground(0), cover)]
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, (400, 2)) * [SIZE[1], SIZE[0]]
    xy, visible = follow(layers, np.zeros(400, int), p, SIZE)
    centre = layers[1].to_screen(np.full((1, 2), 13.0))[0]
    distance = np.linalg.norm(xy - centre, axis=-1)
    clear = np.abs(distance - 9.0) > 0.3
    np.testing.assert_array_equal(visible[clear], (distance > 9.0)[clear])


def test_points_out_of_the_frame_are_hidden_and_still_tracked():
    layer, _ = disc(6.0, 255, linear(pose(-60, 30), pose(150, 30)))
    layers = [PosedLayer.of(item, np.arange(float(FRAMES))) for item in (ground(0), layer)]
    xy, visible = follow(layers, np.ones(1, int), np.full((1, 2), 10.0), SIZE)
    inside = (xy[..., 0] >= 0) & (xy[..., 0] < SIZE[1])
    np.testing.assert_array_equal(visible, inside)
    assert visible.any() and not visible.all()
    np.testing.assert_allclose(np.diff(xy[0, :, 0]), 210 / 9, rtol=1e-5)


def supersampled_owner(layers, frame, scale, size):
    """Index of the topmost layer on a grid `scale` times finer than the pixels, drawn by the renderer."""
    owner = np.zeros((size[0] * scale, size[1] * scale), int)
    zoom = np.diag([scale, scale, 1.0])
    for index, posed in enumerate(layers[1:], start=1):
        white = Layer(np.repeat(posed.layer.rgba[..., 3:], 4, axis=2), posed.layer.motion)
        forward = zoom @ posed.forward
        canvas = np.zeros((*owner.shape, 4), np.uint8)
        fine = PosedLayer(white, posed.times, forward, np.linalg.inv(forward))
        Exposure(fine, 0.0, owner.shape).draw(canvas, frame)
        owner[canvas[..., 0] > 127] = index
    return owner


def settled(owner):
    """Where all eight neighbours of a grid cell show the same layer: away from silhouettes."""
    inner = owner[1:-1, 1:-1]
    same = np.zeros(owner.shape, bool)
    height, width = inner.shape
    shifts = [owner[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    same[1:-1, 1:-1] = np.all([s == inner for s in shifts], axis=0)
    return same


@pytest.mark.parametrize("seed", range(6))
def test_visibility_agrees_with_a_supersampled_rendering(seed):
    size, scale, frames = (64, 96), 6, 4
    config = SceneConfig(*size, frames, layers=(3, 6), creatures=0.7, deformation=0.7, motion=3.0)
    rng = np.random.default_rng(seed)
    layers = [PosedLayer.of(layer, np.arange(float(frames))) for layer in random_scene(rng, config)]
    x = rng.uniform(0.1, 0.9, (800, 2)) * [size[1], size[0]]
    start = np.zeros(800, int)
    owner = topmost(layers, x, start)
    chosen = clear_of_edges(layers, owner, x, start)
    p = np.empty((800, 2))
    for index in np.unique(owner):
        mine = owner == index
        p[mine] = layers[index].to_texture(x[mine], start[mine])
    xy, visible = follow(layers, owner[chosen], p[chosen], size)
    np.testing.assert_allclose(xy[:, 0], x[chosen], atol=1e-3)
    assert visible[:, 0].all()

    compared = 0
    for frame in range(frames):
        drawn = supersampled_owner(layers, frame, scale, size)
        inside = (xy[:, frame] >= 0).all(-1) & (xy[:, frame] < [size[1], size[0]]).all(-1)
        assert not visible[~inside, frame].any()
        cell = (xy[inside, frame] * scale).astype(int)
        sure = settled(drawn)[cell[:, 1], cell[:, 0]]
        seen = drawn[cell[:, 1], cell[:, 0]] == owner[chosen][inside]
        np.testing.assert_array_equal(visible[inside, frame][sure], seen[sure])
        compared += int(sure.sum())
    assert compared > 1000


def test_points_spread_over_small_objects_too():
    small, _ = disc(4.0, 255, linear(pose(20, 20), pose(22, 20)))
    large, _ = disc(20.0, 255, linear(pose(60, 30), pose(62, 30)))
    layers = [PosedLayer.of(item, np.arange(float(FRAMES))) for item in (ground(0), large, small)]
    xy, visible = sample_tracks(layers, SIZE, 100, 0.65, True, np.random.default_rng(0))
    assert xy.shape == (100, FRAMES, 2) and visible[:, 0].all()
    on_small = np.linalg.norm(xy[:, 0] - layers[2].to_screen(np.full((1, 2), 8.0))[0, 0], axis=-1)
    assert (on_small < 4).sum() >= 5
    assert on_small[on_small < 4].max() <= 3.1  # a pixel from the silhouette
    on_large = np.linalg.norm(xy[:, 0] - layers[1].to_screen(np.full((1, 2), 24.0))[0, 0], axis=-1)
    assert 45 <= ((on_small < 4) | (on_large < 20)).sum() <= 85
