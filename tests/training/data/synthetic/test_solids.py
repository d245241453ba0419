"""Solid figures: what is drawn, what hides what, and where points of their surfaces are, all by one geometry."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from training.data.synthetic.config import FIGURES, SceneConfig
from training.data.synthetic.figures import KINDS, solid_figure
from training.data.synthetic.motion import Body, Camera, Spline
from training.data.synthetic.objects import random_camera
from training.data.synthetic.sampling import sample_tracks
from training.data.synthetic.solid_rendering import SolidExposure, unrolled
from training.data.synthetic.solids import Part, PosedSolid, Solid, euler

SIZE = (80, 120)
FRAMES = 9
TIMES = np.arange(float(FRAMES))
STILL = Camera(np.zeros(2), Spline.constant(np.zeros(6), FRAMES), np.zeros((2, 1, 3)))
CENTRE = np.array([60.0, 40.0, 0.0, 0.0, 0.0, 0.0])


def ball(radius, at=(0.0, 0.0, 0.0), **options):
    return Part(-1, at, (0.0, 0.0, 0.0), (radius, radius, radius), (0.0, 0.0, 0.0), **options)


def figure(*parts, turns=(0.0, 0.0, 0.0), coat=None, **options):
    """Turns evenly by `turns` from the first frame to the last."""
    coat = np.full((64, 64, 3), 200, np.uint8) if coat is None else coat
    knots = np.linspace(-1, FRAMES, 8)[:, None] / (FRAMES - 1) * np.array(turns)
    lit = {"light": (0.0, 0.0, -1.0), "ambient": 1.0, **options}
    return Solid(parts, coat, STILL, 1.0, Body(Spline.constant(CENTRE, FRAMES)), Spline(knots, FRAMES), **lit)


def draw(solid, frame, shutter=0.0):
    canvas = np.zeros((*SIZE, 4), np.uint8)
    SolidExposure(PosedSolid.of(solid, TIMES), shutter, SIZE).draw(canvas, frame)
    return canvas[..., :3]


def random_figure(seed, kind="animal"):
    rng = np.random.default_rng(seed)
    config = SceneConfig(*SIZE, frames=FRAMES, figures={kind: 1.0}, motion=1.5)
    return solid_figure(rng, config, random_camera(rng, config), 1.0, np.zeros((160, 160, 3), np.uint8))


def test_turns_are_about_x_then_y_then_z():
    quarter = np.pi / 2
    np.testing.assert_allclose(euler(np.array([quarter, 0, 0])) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(euler(np.array([0, quarter, 0])) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(euler(np.array([0, 0, quarter])) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(euler(np.array([quarter, 0, quarter])) @ [0, 1, 0], [0, 0, 1], atol=1e-12)


def test_a_ball_is_a_disc():
    image = draw(figure(ball(12.0)), 0)
    assert image.astype(float).sum() / 3 == pytest.approx(200 * np.pi * 144, rel=0.01)
    assert image[40, 60].tolist() == [200, 200, 200]
    assert image[40, 60 + 13].tolist() == [0, 0, 0]


def test_a_point_in_front_goes_round_and_is_hidden_behind():
    posed = PosedSolid.of(figure(ball(20.0), turns=(0.0, 2 * np.pi, 0.0)), TIMES)
    p = posed.to_texture(np.array([[60.0, 40.0]]), np.array([0]))
    angle = TIMES / (FRAMES - 1) * 2 * np.pi
    xy = posed.to_screen(p)[0]
    np.testing.assert_allclose(xy[:, 0], 60 - 20 * np.sin(angle), atol=0.3)
    np.testing.assert_allclose(xy[:, 1], 40.0, atol=1e-9)
    clear = np.abs(np.cos(angle)) > 0.1
    np.testing.assert_array_equal(posed.shows(p)[0][clear], (np.cos(angle) > 0)[clear])


def test_a_part_that_is_nearer_hides_another():
    far, near = ball(10.0), ball(6.0, at=(0.0, 0.0, -20.0), tone=0.5)
    posed = PosedSolid.of(figure(far, near), TIMES)
    x = np.array([[60.0, 40.0], [68.0, 40.0]])
    at = posed.to_texture(x, np.zeros(2, int))
    assert at[:, 0].tolist() == [1, 0]
    hidden = np.array([[0.0, 0.0, 0.0, -1.0]])
    assert not posed.shows(hidden).any()
    assert draw(figure(far, near), 0)[40, [60, 68], 0].tolist() == [100, 200]


def test_what_is_turned_away_from_the_light_is_darker():
    solid = figure(ball(15.0), light=(-1.0, 0.0, 0.0), ambient=0.4)
    row = draw(solid, 0)[40, :, 0]
    assert row[48] > 1.5 * row[72]
    assert row[72] == pytest.approx(80, abs=2)


def test_a_shadow_falls_below():
    canvases = []
    for shadow in (0.0, 0.5):
        canvas = np.full((*SIZE, 4), 255, np.uint8)
        SolidExposure(PosedSolid.of(figure(ball(10.0), shadow=shadow), TIMES), 0.0, SIZE).draw(canvas, 0)
        canvases.append(canvas[..., 0].astype(int))
    assert (canvases[1] <= canvases[0]).all()
    assert canvases[1][40 + 11, 60] < 220 < canvases[0][40 + 11, 60]


def test_a_swinging_limb_hangs_from_its_parent():
    limb = Part(0, (0, 10.0, 0), (0, 8.0, 0), (3.0, 8.0, 3.0), (0, 0, 0), (0, 0, 0.7), rate=0.8)
    posed = PosedSolid.of(figure(ball(10.0), limb), TIMES)
    top = posed.to_screen(np.array([[1.0, 0.0, -1.0, 0.0]]))[0]
    np.testing.assert_allclose(top, np.tile([60.0, 50.0], (FRAMES, 1)), atol=1e-9)
    low = posed.to_screen(np.array([[1.0, 0.0, 1.0, 0.0]]))[0]
    swung = 0.7 * np.sin(0.8 * TIMES)
    np.testing.assert_allclose(low[:, 0], 60 - 16 * np.sin(swung), atol=1e-9)


@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize("seed", range(3))
def test_points_of_a_figure_are_where_they_were_picked(kind, seed):
    solid = random_figure(seed, kind)
    posed = PosedSolid.of(solid, TIMES)
    x = np.random.default_rng(seed).uniform(-20, 140, (3000, 2))
    frame = np.arange(3000) % FRAMES
    x, frame = x[posed.covers(x, frame)], frame[posed.covers(x, frame)]
    if not len(x):
        pytest.skip("out of the picture")
    p = posed.to_texture(x, frame)
    rows = np.arange(len(x))
    np.testing.assert_allclose(np.linalg.norm(p[:, 1:], axis=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(posed.to_screen(p)[rows, frame], x, atol=1e-6)
    assert posed.shows(p)[rows, frame].all()


@pytest.mark.parametrize("seed", range(4))
def test_the_picture_shows_what_the_geometry_says(seed):
    """A figure whose parts differ in brightness: each pixel has that of the part which is nearest there."""
    solid = random_figure(seed)
    parts = tuple(replace(part, tone=0.1 + 0.03 * i) for i, part in enumerate(solid.parts))
    solid = replace(solid, parts=parts, coat=np.full((64, 64, 3), 255, np.uint8), ambient=1.0, shadow=0.0)
    posed, frame = PosedSolid.of(solid, TIMES), 4
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    centres = np.stack([x, y], -1).reshape(-1, 2)
    at = posed.to_texture(centres, np.full(len(centres), frame))[:, 0].astype(int).reshape(SIZE)
    expected = np.where(at < 0, 0, 255 * (0.1 + 0.03 * at))
    image = draw(solid, frame)[..., 0]
    # Where neighbours are of the same part there is no edge to blend.
    inside = cv2.erode(np.ones(SIZE, np.uint8), np.ones((3, 3))) > 0
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
        inside &= np.roll(at, (dy, dx), (0, 1)) == at
    assert np.abs(image - expected)[inside].max() <= 2


def test_followed_points_keep_their_colour():
    """Without light and effects, a point's pixel is as bright in every frame in which it is seen."""
    coat = cv2.resize(np.random.default_rng(0).integers(0, 255, (12, 12, 3), np.uint8), (160, 160))
    solid = replace(figure(ball(25.0), turns=(0.3, 1.2, 0.2), coat=coat), parts=(ball(25.0, patch=(80.0, 20.0)),))
    posed = PosedSolid.of(solid, TIMES)
    x = np.array([60.0, 40.0]) + np.random.default_rng(1).uniform(-12, 12, (40, 2))
    p = posed.to_texture(x, np.zeros(40, int))
    xy, shown = posed.to_screen(p), posed.shows(p)
    pictures = [draw(solid, frame).astype(np.float32) for frame in range(FRAMES)]
    values = np.stack(
        [
            cv2.remap(image, *(np.float32(xy[:, t, i : i + 1]) - 0.5 for i in (0, 1)), cv2.INTER_LINEAR)[:, 0]
            for t, image in enumerate(pictures)
        ],
        axis=1,
    )
    # Towards the rim many texels share a pixel.
    facing = shown & (np.linalg.norm(xy - CENTRE[:2], axis=-1) < 18)
    change = np.abs(values - values[:, :1]).mean(-1)[facing]
    assert np.median(change) < 4 and np.quantile(change, 0.95) < 16


def test_the_two_halves_of_an_unrolled_part_mirror_one_another():
    part = Part(-1, (0, 0, 0), (0, 0, 0), (2.0, 5.0, 3.0), (0, 0, 0))
    local = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    for front, back in zip(unrolled(local, part), unrolled(local * [1, 1, -1], part), strict=True):
        np.testing.assert_allclose(front, back, rtol=1e-5)


@pytest.mark.parametrize("kind", FIGURES)
def test_every_kind_of_figure_can_be_drawn_and_tracked(kind):
    solid = random_figure(5, kind)
    values = solid.node.pose.values.copy()
    values[:, :2] = CENTRE[:2]
    solid = replace(solid, node=Body(Spline(values, FRAMES)))
    posed = PosedSolid.of(solid, TIMES)
    for shutter in (0.0, 0.8):
        exposure = SolidExposure(posed, shutter, SIZE)
        canvas = np.zeros((*SIZE, 4), np.uint8)
        for frame in range(FRAMES):
            exposure.draw(canvas, frame)
    parents = [part.parent for part in solid.parts]
    assert all(parent < index for index, parent in enumerate(parents))
    ground = PosedSolid.of(replace(solid, parts=(ball(500.0, at=(0.0, 0.0, 1000.0)),)), TIMES)
    xy, visible = sample_tracks([ground, posed], SIZE, 20, 0.9, True, np.random.default_rng(0))
    assert visible[:, 0].all() and xy.shape == (20, FRAMES, 2)


def test_all_kinds_of_figures_have_a_maker():
    assert tuple(KINDS) == FIGURES
