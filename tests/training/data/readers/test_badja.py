import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from PIL import Image as pillow

from training.data.errors import DatasetError
from training.data.readers.badja import read_badja

FRAMES, HEIGHT, WIDTH, POINTS = 11, 16, 24, 2


def arrays(**changes):
    rng = np.random.default_rng(0)
    visible = np.zeros((POINTS, FRAMES), bool)
    visible[:, [2, 7]] = True
    xy = np.where(visible[..., None], rng.uniform(0, 16, (POINTS, FRAMES, 2)), np.nan).astype(np.float32)
    annotated = np.isin(np.arange(FRAMES), [2, 5, 7])
    return {"xy": xy, "visible": visible, "annotated": annotated, **changes}


def write_folder(folder, content, frames=FRAMES):
    folder.mkdir()
    for t in range(frames):
        pillow.new("RGB", (WIDTH, HEIGHT), (20 * t,) * 3).save(folder / f"{t}.jpg", quality=95)
    np.savez(folder / "tracks.npz", **content)


def test_a_folder_for_each_video(tmp_path):
    for name in ("dog", "bear"):
        write_folder(tmp_path / name, arrays())
    videos = list(read_badja(tmp_path))
    assert [video.name for video in videos] == ["bear", "dog"]
    truth = arrays()
    np.testing.assert_array_equal(videos[0].xy, truth["xy"])
    np.testing.assert_array_equal(videos[0].visible, truth["visible"])
    np.testing.assert_array_equal(videos[0].annotated, truth["annotated"])
    # Frames are counted: 10.jpg is not the second.
    np.testing.assert_allclose(videos[0].frames[:, 8, 12, 0], 20 * np.arange(FRAMES), atol=2)


def test_a_single_video(tmp_path):
    write_folder(tmp_path / "bear", arrays())
    (video,) = read_badja(tmp_path / "bear", (32, 12))
    assert video.frames.shape == (FRAMES, 32, 12, 3)
    np.testing.assert_allclose(video.xy, arrays()["xy"] * [0.5, 2], rtol=1e-6)


def test_all_frames_are_annotated_if_nothing_else_is_said(tmp_path):
    content = arrays()
    del content["annotated"]
    write_folder(tmp_path / "bear", content)
    (video,) = read_badja(tmp_path)
    assert video.annotated.all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"xy": np.zeros((POINTS, FRAMES, 2))}, "lacks visible; it has xy"),
        (arrays(visible=np.zeros((POINTS, FRAMES + 1), bool)), "11 frames need xy"),
        (arrays(xy=np.zeros((POINTS, FRAMES, 3))), "11 frames need xy"),
        (arrays(annotated=np.zeros(3, bool)), "11 frames need xy"),
        (arrays(visible=np.ones((POINTS, FRAMES), bool)), "no finite position"),
        (arrays(xy=np.array([{}])), r"tracks\.npz is not a \.npz file of numbers"),
    ],
)
def test_tracks_that_do_not_fit(tmp_path, content, says):
    write_folder(tmp_path / "bear", content)
    with pytest.raises(DatasetError, match=says):
        list(read_badja(tmp_path))


def test_no_frames_and_no_tracks(tmp_path):
    with pytest.raises(DatasetError, match=r"no folder with tracks\.npz"):
        list(read_badja(tmp_path))
    write_folder(tmp_path / "bear", arrays(), frames=0)
    with pytest.raises(DatasetError, match="holds no frames"):
        list(read_badja(tmp_path))
