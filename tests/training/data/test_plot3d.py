"""Tracks in three dimensions as a picture."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")
pytest.importorskip("matplotlib", reason="plots need Matplotlib: pip install '.[plots]'")

from PIL import Image as pillow

from tests.training.data.scene3d import FRAMES, scene
from training.__main__ import main
from training.data.errors import DatasetError
from training.data.plot3d import MOST_POINTS, plot3d
from training.data.readers.tapvid3d import write_tapvid3d


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data" / "adt").mkdir(parents=True)
    for name in ("one", "two"):
        write_tapvid3d(tmp_path / "data" / "adt" / f"{name}.npz", scene(name))
    return tmp_path / "data"


def lines(video):
    """What is drawn, [3, T] of each line: x, depth, y."""
    return [np.array(line.get_data_3d()) for line in plot3d(video).axes[0].lines]


def test_tracks_of_still_points_are_points_and_the_camera_has_a_path():
    video = scene(points=4)
    *tracks, path, first_sight, _ = lines(video)
    assert len(tracks) == 4 and path.shape == (3, FRAMES)
    for track, point in zip(tracks, video.xyz[:, 0], strict=True):
        np.testing.assert_allclose(np.nanmean(track, axis=1), point[[0, 2, 1]], atol=1e-6)
    np.testing.assert_allclose(path[:, 0], 0, atol=1e-12)
    assert path[1, -1] > 0.1  # ahead
    np.testing.assert_allclose(first_sight[:, 1][[0, 2]], 0, atol=1e-12)


def test_without_a_path_each_frame_is_drawn_in_its_own_camera():
    video = scene(points=4, moving=False)
    tracks = lines(video)
    assert len(tracks) == 4
    expected = np.where(video.visible[0, :, None], video.xyz[0][:, [0, 2, 1]], np.nan)
    np.testing.assert_allclose(tracks[0].T, expected, rtol=1e-6)


def test_of_many_points_some_are_drawn():
    assert len(lines(scene(points=MOST_POINTS + 50, moving=False))) == MOST_POINTS


def test_what_cannot_be_drawn_is_said():
    video = scene()
    with pytest.raises(DatasetError, match="no visible point"):
        plot3d(replace(video, visible=np.zeros_like(video.visible)))
    with pytest.raises(DatasetError, match="has no inverse"):
        plot3d(replace(video, world_to_camera=np.zeros((FRAMES, 4, 4))))


def test_the_command_draws_a_video_of_the_dataset(folder, tmp_path, capsys):
    picture = tmp_path / "out.png"
    assert main(["paint", "--dataset", str(folder), "--video", "two", "-o", str(picture)]) == 0
    assert capsys.readouterr().out == f"{picture}: two, 7 points\n"
    pixels = np.asarray(pillow.open(picture).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_a_page_is_written_to_turn_them_in(folder, tmp_path):
    page = tmp_path / "out.html"
    assert main(["paint", "--dataset", str(folder), "--video", "one", "-o", str(page)]) == 0
    assert "<title>one</title>" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--video", "three"], "there is no video 'three'; there are 2: one, two"),
        (["--dataset", "synthetic"], "only TAPVid-3D's tracks have three dimensions"),
        (["--dataset", "tapvid3d"], "needs its files, --data PATH"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(folder, tmp_path, capsys, arguments, says):
    assert main(["paint", "--dataset", str(folder), *arguments, "-o", str(tmp_path / "out.svg")]) == 1
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
