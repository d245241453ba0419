from dataclasses import replace

import cv2
import numpy as np
import pytest

from training.data.synthetic import SceneConfig, held_out, make_clip, preview
from training.data.synthetic.clips import VALIDATION_SEED

SMALL = SceneConfig(height=64, width=80, frames=6, points=20)


def sample(frame, xy):
    """Bilinear colours [N, 3] of a frame at raster positions."""
    index = (np.asarray(xy, np.float32) - 0.5)[None]
    return cv2.remap(frame.astype(np.float32), index, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]


def colour_error(clip, shift=(0.0, 0.0)):
    """Absolute colour difference, per visible point and frame, to the point's colour at its query."""
    at_query = [sample(clip.frames[int(t)], [[x, y]])[0] for t, x, y in clip.queries]
    errors = []
    for frame, seen, xy in zip(clip.frames, clip.visible.T, clip.xy.swapaxes(0, 1), strict=True):
        errors.append(np.abs(sample(frame, xy[seen] + np.array(shift)) - np.array(at_query)[seen]).mean(-1))
    return np.concatenate(errors)


def median_error(clips, shift):
    return np.median(np.concatenate([colour_error(clip, shift) for clip in clips]))


@pytest.mark.parametrize(
    ("height", "width", "frames", "points"),
    [(128, 128, 16, 48), (48, 96, 5, 7), (90, 40, 3, 200), (64, 64, 1, 1), (64, 64, 1, 30), (33, 57, 9, 1)],
)
@pytest.mark.parametrize("query", ["random", "first", "frame0"])
def test_a_clip_has_the_shapes_and_types_that_it_promises(height, width, frames, points, query):
    clip = make_clip(SceneConfig(height=height, width=width, frames=frames, points=points, query=query), 1)
    assert clip.frames.shape == (frames, height, width, 3) and clip.frames.dtype == np.uint8
    assert clip.xy.shape == (points, frames, 2) and clip.xy.dtype == np.float32
    assert clip.visible.shape == (points, frames) and clip.visible.dtype == bool
    assert clip.queries.shape == (points, 3) and clip.queries.dtype == np.float32
    assert np.isfinite(clip.xy).all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("query", ["random", "first", "frame0"])
def test_queries_lie_on_their_track_where_it_is_visible(query, seed):
    clip = make_clip(replace(SMALL, query=query, motion=2.0), seed)
    frame = clip.queries[:, 0].astype(int)
    rows = np.arange(len(frame))
    assert clip.visible[rows, frame].all()
    np.testing.assert_array_equal(clip.queries[:, 1:], clip.xy[rows, frame])
    if query == "first":
        np.testing.assert_array_equal(frame, clip.visible.argmax(axis=1))
    if query == "frame0":
        assert (frame == 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_visible_points_are_inside_the_frame(seed):
    clip = make_clip(replace(SMALL, motion=4.0, frames=12), seed)
    inside = ((clip.xy >= 0) & (clip.xy <= [SMALL.width, SMALL.height])).all(axis=-1)
    assert inside[clip.visible].all()


def test_fast_scenes_have_points_that_leave_and_points_that_are_covered():
    clips = [make_clip(replace(SMALL, motion=4.0, frames=12), seed) for seed in range(8)]
    inside = [((c.xy >= 0) & (c.xy <= [SMALL.width, SMALL.height])).all(axis=-1) for c in clips]
    assert any((~i).any() for i in inside)
    assert any((i & ~c.visible).any() for i, c in zip(inside, clips, strict=True))


def test_a_seed_determines_the_clip():
    first, again, other = (make_clip(SMALL, seed) for seed in (5, 5, 6))
    for name in ("frames", "xy", "visible", "queries"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.frames != other.frames).any()


@pytest.mark.parametrize("seed", range(4))
def test_appearance_changes_no_track(seed):
    plain = make_clip(replace(SMALL).without_appearance(), seed)
    effects = ("motion_blur", "shadows", "lighting", "colour", "defocus", "noise", "jpeg", "greyscale")
    full = make_clip(replace(SMALL, **dict.fromkeys(effects, 1.0)), seed)
    np.testing.assert_array_equal(plain.xy, full.xy)
    np.testing.assert_array_equal(plain.visible, full.visible)
    assert (plain.frames != full.frames).any()


def test_surfaces_keep_their_colour_along_tracks_and_only_there():
    config = SceneConfig(points=64, deformation=1.0).without_appearance()
    clips = [make_clip(config, seed) for seed in range(12)]
    errors = {
        shift: median_error(clips, shift) for shift in [(0.0, 0.0), (1.5, 0.0), (-1.5, 0.0), (0.0, 1.5), (0.0, -1.5)]
    }
    exact = errors.pop((0.0, 0.0))
    assert exact < 1.0
    assert min(errors.values()) > 3 * exact


def test_tracks_have_no_sub_pixel_bias():
    config = SceneConfig(points=64, query="first", motion=2.0).without_appearance()
    clips = [make_clip(config, seed) for seed in range(12)]
    for axis in (0, 1):
        step = np.eye(2)[axis] * 0.5
        ahead, behind = (median_error(clips, sign * step) for sign in (1, -1))
        assert ahead == pytest.approx(behind, rel=0.15)


def test_a_flip_mirrors_video_and_tracks():
    plain, mirrored = (make_clip(replace(SMALL, flip=odds), 3) for odds in (0.0, 1.0))
    np.testing.assert_array_equal(plain.frames, mirrored.frames[:, :, ::-1])
    np.testing.assert_allclose(plain.xy[..., 0], SMALL.width - mirrored.xy[..., 0], atol=1e-4)


def test_photographs_come_from_the_split_asked_for(tmp_path):
    from training.data.synthetic.textures import is_held_out

    for index in range(40):
        name = f"{index:03d}.png"
        image = np.zeros((64, 64, 3), np.uint8)
        image[..., 2 if is_held_out(name) else 0] = 255
        assert cv2.imwrite(str(tmp_path / name), image)
    config = replace(
        SMALL, textures=str(tmp_path), photo_share=1.0, creatures=0.0, deformation=0.0, flip=0.0
    ).without_appearance()
    for split, channel in (("heldout", 0), ("train", 2)):
        frames = make_clip(replace(config, split=split), 0).frames.astype(float)
        others = [c for c in range(3) if c != channel]
        assert frames[..., channel].mean() > 1.5 * frames[..., others].mean()


def test_held_out_clips_are_the_same_every_time_and_others_for_another_seed():
    first, again, watched = held_out(SMALL, 2), held_out(SMALL, 2), held_out(SMALL, 2, VALIDATION_SEED)
    for clip, same, other in zip(first, again, watched, strict=True):
        np.testing.assert_array_equal(clip.frames, same.frames)
        assert not np.array_equal(clip.frames, other.frames)
        np.testing.assert_array_equal(clip.queries, same.queries)


def test_held_out_clips_show_photographs_that_training_leaves_out(tmp_path):
    assert cv2.imwrite(str(tmp_path / "0.png"), np.zeros((64, 64, 3), np.uint8))
    config = replace(SMALL, textures=str(tmp_path), split="train")
    make_clip(config, 0)
    with pytest.raises(ValueError, match=r"no photographs .* for split 'heldout'"):
        next(held_out(config, 1))


@pytest.mark.parametrize(
    "wrong",
    [{"points": 0}, {"frames": 0}, {"height": 8}, {"query": "last"}, {"layers": (5, 2)}, {"layers": (-1, 2)}],
)
def test_impossible_configurations_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SceneConfig(**wrong)


def test_an_empty_stage_still_gives_points():
    clip = make_clip(replace(SMALL, layers=(0, 0), creatures=0.0), 0)
    assert clip.visible.any(axis=1).all()


def test_the_preview_draws_a_sheet(tmp_path, monkeypatch):
    sheet = tmp_path / "sheet.png"
    arguments = [
        "--clips",
        "2",
        "--columns",
        "3",
        "--frames",
        "4",
        "--points",
        "5",
        "--size",
        "40",
        "64",
        "--scale",
        "1",
    ]
    monkeypatch.setattr("sys.argv", ["preview", *arguments, "-o", str(sheet)])
    preview.main()
    assert cv2.imread(str(sheet)).shape == (2 * 40, 3 * 64, 3)
