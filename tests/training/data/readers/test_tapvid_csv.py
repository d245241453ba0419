"""Tables of tracks beside video files, in the two forms that TAP-Vid publishes."""

import csv
import logging

import av
import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from tapsdk.video import VideoWriter, open_frames
from training.data.errors import DatasetError
from training.data.readers import tapvid_csv
from training.data.readers.tapvid_csv import read_tapvid_csv

HEIGHT, WIDTH = 32, 64


def write_video(path, frames, fps=25):
    """A video whose frame t has the brightness 20 t."""
    path.parent.mkdir(exist_ok=True)
    with VideoWriter(path, fps, (HEIGHT, WIDTH)) as writer:
        for t in range(frames):
            writer.write(np.full((HEIGHT, WIDTH, 3), 20 * t, np.uint8))


def write_table(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def track(points):
    """Columns of a track [T, 3]."""
    return [f"{x:.6f}" if column < 2 else int(x) for point in points for column, x in enumerate(point)]


def random_tracks(count, frames, seed=0):
    tracks = np.random.default_rng(seed).uniform(0, 1, (count, frames, 3)).round(6)
    tracks[..., 2] = tracks[..., 2] < 0.4
    return tracks


def test_a_table_of_names_and_tracks(tmp_path):
    written = {name: random_tracks(2, 5, seed) for seed, name in enumerate(["a", "b"])}
    for name in written:
        write_video(tmp_path / f"{name}.mp4", 5)
    rows = [[name, *track(tracks[n])] for n in range(2) for name, tracks in written.items()]
    videos = list(read_tapvid_csv(write_table(tmp_path / "tracks.csv", rows)))
    assert [video.name for video in videos] == ["a", "b"]
    for video in videos:
        truth = written[video.name]
        np.testing.assert_allclose(video.xy, truth[..., :2] * [WIDTH, HEIGHT], atol=1e-4)
        np.testing.assert_array_equal(video.visible, truth[..., 2] == 0)
        np.testing.assert_array_equal(video.frames, list(open_frames(tmp_path / f"{video.name}.mp4")))


def test_names_may_have_their_suffix_and_videos_a_folder_of_their_own(tmp_path):
    write_video(tmp_path / "videos" / "a.mp4", 3)
    write_table(tmp_path / "tracks.csv", [["a.mp4", *track(random_tracks(1, 3)[0])]])
    (video,) = read_tapvid_csv(tmp_path, (16, 16))
    assert video.name == "a"
    assert video.frames.shape == (3, 16, 16, 3)


def test_kinetics_names_a_video_by_three_columns_and_counts_25_frames_a_second(tmp_path):
    """Its clips come at any rate; the published script also takes half a pixel of the original video."""
    write_video(tmp_path / "dancing" / "abc_000010_000020.mp4", 10, fps=50)
    truth = random_tracks(2, 5)
    rows = [["abc", 10, 20, *track(points)] for points in truth]
    (video,) = read_tapvid_csv(write_table(tmp_path / "tapvid_kinetics.csv", rows), (256, 256))
    assert video.name == "abc_000010_000020"
    np.testing.assert_allclose(video.frames[:, 128, 128, 0], [0, 40, 80, 120, 160], atol=4)
    half_a_pixel = np.array([0.5 / WIDTH, 0.5 / HEIGHT])
    np.testing.assert_allclose(video.xy, (truth[..., :2] - half_a_pixel) * 256, atol=1e-3)


def test_a_slow_video_repeats_frames(tmp_path):
    write_video(tmp_path / "abc_000000_000001.mp4", 5, fps=12.5)
    write_table(tmp_path / "t.csv", [["abc", 0, 1, *track(random_tracks(1, 8)[0])]])
    (video,) = read_tapvid_csv(tmp_path)
    np.testing.assert_allclose(video.frames[:, 16, 32, 0], np.repeat([0, 20, 40, 60], 2), atol=4)


def test_tracks_longer_than_the_video_are_cut(tmp_path, caplog):
    write_video(tmp_path / "a.mp4", 3)
    write_table(tmp_path / "t.csv", [["a", *track(random_tracks(1, 5)[0])]])
    with caplog.at_level(logging.WARNING):
        (video,) = read_tapvid_csv(tmp_path)
    assert video.xy.shape == (1, 3, 2) and video.visible.shape == (1, 3)
    assert "has 3 frames, its tracks 5" in caplog.text


def test_a_video_longer_than_its_tracks_is_an_error(tmp_path):
    write_video(tmp_path / "a.mp4", 5)
    write_table(tmp_path / "t.csv", [["a", *track(random_tracks(1, 3)[0])]])
    with pytest.raises(DatasetError, match="has 5 frames, its tracks only 3"):
        list(read_tapvid_csv(tmp_path))


def test_long_videos_come_in_equal_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(tapvid_csv, "MAX_FRAMES", 4)
    write_video(tmp_path / "a.mp4", 9)
    truth = random_tracks(2, 9)
    write_table(tmp_path / "t.csv", [["a", *track(points)] for points in truth])
    parts = list(read_tapvid_csv(tmp_path))
    assert [part.name for part in parts] == ["a-0", "a-1", "a-2"]
    assert [len(part.frames) for part in parts] == [3, 3, 3]
    xy = np.concatenate([part.xy for part in parts], axis=1)
    np.testing.assert_allclose(xy, truth[..., :2] * [WIDTH, HEIGHT], atol=1e-4)


def test_missing_videos_are_left_out_with_a_warning(tmp_path, caplog):
    write_video(tmp_path / "a.mp4", 3)
    rows = [[name, *track(random_tracks(1, 3)[0])] for name in ("gone", "a")]
    with caplog.at_level(logging.WARNING):
        videos = list(read_tapvid_csv(write_table(tmp_path / "t.csv", rows)))
    assert [video.name for video in videos] == ["a"]
    assert "1 of 2 videos are not there: gone" in caplog.text


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "is empty"),
        ([["a", 0.5, 0.5]], "row 1 has 3 columns"),
        ([["a", 0.5, 0.5, 0], ["a", 0.5, 0.5, 0, 0.5]], "row 2 has 5 columns"),
        ([["a", 0.5, "here", 0]], "row 1: could not convert"),
        ([["a", "x", 20, 0.5, 0.5, 0]], "row 1: invalid literal"),
        ([["a", 0.5, "nan", 0]], "row 1: a visible point has no finite position"),
        ([["gone", 0.5, 0.5, 0]], r"none of its 1 videos is in .*gone\.mp4 for one"),
        ([["a", 0.5, 0.5, 0], ["a", *[0.5, 0.5, 0] * 2]], "different numbers of frames"),
    ],
)
def test_tables_that_are_none(tmp_path, rows, says):
    write_video(tmp_path / "a.mp4", 1)
    with pytest.raises(DatasetError, match=says):
        list(read_tapvid_csv(write_table(tmp_path / "t.csv", rows)))


def test_a_folder_without_tables(tmp_path):
    with pytest.raises(DatasetError, match="holds no tables"):
        list(read_tapvid_csv(tmp_path))


def test_a_video_may_have_a_title_in_any_encoding(tmp_path):
    path = tmp_path / "abc_000000_000001.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "XYZWtitle"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"XYZWtitle", "Café là!!".encode("latin-1")))
    write_table(tmp_path / "t.csv", [["abc", 0, 1, *track(random_tracks(1, 1)[0])]])
    (video,) = read_tapvid_csv(tmp_path / "t.csv")
    assert len(video.frames) == 1


@pytest.mark.parametrize("content", [b"\xff\xfe", b"9" * 200_000, b"a,b\0,c,0\n"])
def test_a_table_that_is_damaged_is_named(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=r"t\.csv"):
        list(read_tapvid_csv(tmp_path / "t.csv"))
