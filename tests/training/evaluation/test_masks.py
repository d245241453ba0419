"""Points that start on an object, and whether they stay on it."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")
pytest.importorskip("cv2", reason="Lucas-Kanade needs OpenCV: pip install '.[train]'")

import cv2
from PIL import Image as pillow

from tests.training.evaluation.test_report import read_strictly
from training.data.errors import DatasetError
from training.evaluation.masks import (
    POINTS,
    MaskedVideo,
    evaluate_masks,
    kept,
    read_masked_videos,
    start_points,
    with_queries,
)

HEIGHT, WIDTH, SIDE, STEP, FRAMES = 64, 120, 30, 5, 9


def moving_square():
    """A textured square of 30 px that moves 5 px a frame to the right, before a dull background."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), (0, 0), 1.5)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 90, np.uint8)
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    for t in range(FRAMES):
        area = np.s_[t, 20 : 20 + SIDE, 10 + STEP * t : 10 + STEP * t + SIDE]
        frames[area], masks[area] = texture, True
    return MaskedVideo("square", frames, masks)


def write(folder: Path, video: MaskedVideo) -> None:
    folder.mkdir(parents=True)
    for t, (frame, mask) in enumerate(zip(video.frames, video.masks, strict=True)):
        pillow.fromarray(frame).save(folder / f"{t:05d}.jpg", quality=95)
        pillow.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{t:05d}.png")


def test_videos_are_read_as_they_were_written(tmp_path):
    video = moving_square()
    write(tmp_path / "square", video)
    for path in (tmp_path, tmp_path / "square"):
        (found,) = read_masked_videos(path)
        assert found.name == "square"
        np.testing.assert_array_equal(found.masks, video.masks)
        assert np.abs(found.frames.astype(int) - video.frames).mean() < 5


def test_points_start_well_inside_and_are_the_same_every_time():
    mask = moving_square().masks[0]
    points = start_points(mask, 50, inset=8)
    assert points.shape == (50, 2) and len(np.unique(points, axis=0)) == 50
    assert (points >= [10 + 7, 20 + 7]).all() and (points <= [10 + SIDE - 7, 20 + SIDE - 7]).all()
    np.testing.assert_array_equal(points, start_points(mask, 50, inset=8))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 40)])
def test_points_start_in_the_middle_of_what_is_too_small(size):
    mask = np.zeros((50, 60), bool)
    mask[10 : 10 + size[0], 20 : 20 + size[1]] = True
    x, y = np.floor(start_points(mask, 64)).astype(int).T
    assert len(x) == 64 and mask[y, x].all()


def test_the_edge_of_the_frame_is_no_edge_of_the_object():
    mask = np.ones((20, 30), bool)
    points = start_points(mask, 500, inset=8)
    assert points.min() < 2 and points[:, 0].max() > 28


def test_queries_are_on_the_first_frame_that_shows_the_object():
    video = moving_square()
    video.masks[:2] = False
    asked = with_queries(video, 5)
    assert (asked.queries[:, 0] == 2).all()
    np.testing.assert_array_equal(asked.xy[:, 2], asked.queries[:, 1:])
    assert asked.visible[:, 2].all() and asked.visible.sum() == 5


def test_an_object_that_is_never_there_is_an_error():
    video = moving_square()
    video.masks[:] = False
    with pytest.raises(DatasetError, match="square: its masks are all empty"):
        with_queries(video)


def test_pairs_are_counted_on_later_frames_that_show_the_object():
    """Two points from frame 1 of 5, frame 3 without the object."""
    masks = np.zeros((5, 10, 10), bool)
    masks[[0, 1, 2, 4], 2:6, 3:8] = True
    xy = np.full((2, 5, 2), [3.0, 2.0])  # the outer corner of the first pixel of the mask
    xy[1, 4] = [8.0, 5.5]  # the outer edge of the last one, which is outside
    visible = np.ones((2, 5), bool)
    visible[1] = [True, True, False, False, True]
    shares = kept(masks, np.float32([[1, 3, 2], [1, 3, 2]]), (xy, visible))
    assert shares == {"inside": 3 / 4, "inside_visible": 2 / 3, "called_visible": 3 / 4}


@pytest.mark.parametrize("nowhere", [np.nan, np.inf, -np.inf, 1e30, -1.0, -0.001])
def test_a_position_outside_the_frame_or_no_number_is_outside(nowhere):
    shares = kept(np.ones((2, 4, 4), bool), np.zeros((1, 3)), (np.full((1, 2, 2), nowhere), np.ones((1, 2), bool)))
    assert shares["inside"] == 0


def test_what_is_never_called_visible_has_no_share():
    shares = kept(np.ones((2, 4, 4), bool), np.zeros((1, 3)), (np.ones((1, 2, 2)), np.zeros((1, 2), bool)))
    assert shares["inside"] == 1 and shares["called_visible"] == 0 and np.isnan(shares["inside_visible"])


def test_what_follows_the_object_stays_on_it_and_what_stands_still_does_not():
    scores = evaluate_masks(["still", "lucas-kanade"], [moving_square()])
    (_, still), (_, follows) = scores["still"][0], scores["lucas-kanade"][0]
    assert follows["inside"] > 0.99
    assert still["inside"] < 0.6 and still["called_visible"] == 1


def test_the_command_prints_a_table_and_writes_json(tmp_path, capsys):
    import argparse

    from training.evaluation import masks

    write(tmp_path / "data" / "square", moving_square())
    parser = argparse.ArgumentParser()
    masks.add_parser(parser.add_subparsers())
    args = parser.parse_args(["masks", str(tmp_path / "data"), "--model", "still", "--json", str(tmp_path / "m.json")])
    args.run(args)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[3:]] == [["mean", name] for name in ("still", "lucas-kanade")]
    records = read_strictly(tmp_path / "m.json")
    assert records["still"]["points"] == POINTS and records["lucas-kanade"]["per_video"][0]["video"] == "square"


def test_folders_that_do_not_fit(tmp_path):
    with pytest.raises(DatasetError, match="holds no masks"):
        list(read_masked_videos(tmp_path))
    write(tmp_path / "square", moving_square())
    pillow.new("L", (3, 3)).save(tmp_path / "square" / "00002.png")
    with pytest.raises(DatasetError, match=r"00002\.png is not as large as its frame"):
        list(read_masked_videos(tmp_path))
    (tmp_path / "square" / "00002.png").unlink()
    with pytest.raises(DatasetError, match=r"00002\.png cannot be read"):
        list(read_masked_videos(tmp_path))
    for file in (tmp_path / "square").glob("*.jpg"):
        file.unlink()
    with pytest.raises(DatasetError, match="holds no frames"):
        list(read_masked_videos(tmp_path))
