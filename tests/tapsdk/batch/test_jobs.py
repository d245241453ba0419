"""What a batch is told to do: folders, patterns, lists and tables become jobs, each with points and an output."""

import json
from pathlib import Path

import numpy as np
import pytest

from tapsdk.batch.jobs import Defaults, Job, read_jobs
from tapsdk.errors import JobsError
from tapsdk.system import remote


def jobs(given, **defaults):
    return read_jobs(given, Defaults("out", **{"grid": 3, **defaults}))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files that nobody opens to list them, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("v10.mp4", "v9.mp4", "notes.txt", "deep/a.MOV", "images/1.png", "images/2.png", ".hidden/b.mp4"):
        Path("videos", name).parent.mkdir(parents=True, exist_ok=True)
        Path("videos", name).write_bytes(b"")
    return tmp_path


# Which videos


def test_a_folder_has_its_videos_and_folders_of_images_in_natural_order(folder):
    found = jobs("videos")
    assert [job.video for job in found] == ["videos/deep/a.MOV", "videos/images", "videos/v9.mp4", "videos/v10.mp4"]
    assert [job.output for job in found] == ["out/deep/a.npz", "out/images.npz", "out/v9.npz", "out/v10.npz"]
    assert {job.grid for job in found} == {(3, 3)}


def test_a_folder_of_images_is_one_video(folder):
    (job,) = jobs("videos/images")
    assert (job.video, job.output) == ("videos/images", "out/images.npz")


@pytest.mark.parametrize("pattern, count", [("videos/*.mp4", 2), ("videos/**/*.[mM]*", 3), ("videos/v9.mp4", 1)])
def test_a_pattern_has_what_matches(folder, pattern, count):
    assert len(jobs(pattern)) == count


def test_a_pattern_of_pictures_is_no_pattern_of_videos(folder):
    with pytest.raises(JobsError, match="give the folder that they are in"):
        jobs("videos/images/*.png")


@pytest.mark.parametrize("given", ["nowhere", "videos/*.avi", "videos/.hidden/c.mp4"])
def test_where_nothing_is_there_is_a_sentence(folder, given):
    with pytest.raises(JobsError, match=r"no such file or folder|no videos there"):
        jobs(given)


def test_a_list_has_a_video_a_line(folder):
    Path("list.txt").write_text("# mine\nvideos/v9.mp4\n\n  videos/v10.mp4 \n")
    assert [job.video for job in jobs("list.txt")] == ["videos/v9.mp4", "videos/v10.mp4"]


def test_an_iterable_may_mix_what_it_holds():
    given = (each for each in ("a.mp4", Path("b.mp4"), {"video": "c.mp4", "grid": 2}, Job("d.mp4", grid=(1, 2))))
    assert [(job.video, job.grid) for job in jobs(given)] == [
        ("a.mp4", (3, 3)),
        ("b.mp4", (3, 3)),
        ("c.mp4", (2, 2)),
        ("d.mp4", (1, 2)),
    ]


def test_a_store_is_listed_and_matched(in_memory, tmp_path):
    for name in ("a.mp4", "deep/b.mov", "c.txt"):
        (tmp_path / "x").write_bytes(b"")
        remote.upload(tmp_path / "x", f"{in_memory}/{name}")
    assert [job.video for job in jobs(str(in_memory))] == [f"{in_memory}/a.mp4", f"{in_memory}/deep/b.mov"]
    assert [job.output for job in jobs(str(in_memory))] == ["out/a.npz", "out/deep/b.npz"]
    (job,) = jobs(f"{in_memory}/*/*.mov")
    assert (job.video, job.output) == (f"{in_memory}/deep/b.mov", "out/deep/b.npz")


# Tables

ROWS = [
    {"video": "a.mp4", "points": "1,2;3,4", "output": "mine.json"},
    {"video": "b.mp4", "grid": "4x2"},
    {"video": "c.mp4", "points": "points.csv"},
    {"video": "d.mp4"},
]
EXPECTED = [
    Job("a.mp4", "1,2;3,4", None, "out/mine.json"),
    Job("b.mp4", None, (4, 2), "out/b.npz"),
    Job("c.mp4", "points.csv", None, "out/c.npz"),
    Job("d.mp4", None, (3, 3), "out/d.npz"),
]


def as_csv(path):
    lines = [",".join(str(row.get(name, "")) for name in ("video", "points", "grid", "output")) for row in ROWS]
    path.write_text("\n".join(["Video,points,GRID,output", *(line.replace("1,2;3,4", '"1,2;3,4"') for line in lines)]))


def as_json(path):
    path.write_text(json.dumps(ROWS))


def as_parquet(path):
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas").DataFrame(ROWS).to_parquet(path)


@pytest.mark.parametrize("write, name", [(as_csv, "t.csv"), (as_json, "t.json"), (as_parquet, "t.parquet")])
def test_a_table_may_say_it_video_by_video(tmp_path, write, name):
    write(tmp_path / name)
    assert jobs(tmp_path / name) == EXPECTED


def test_a_table_may_be_columns_or_a_data_frame():
    columns = {"video": ["a.mp4", "b.mp4"], "grid": [2, (3, 1)], "speed": [1, 2]}
    assert [job.grid for job in jobs(columns)] == [(2, 2), (3, 1)]
    frame = pytest.importorskip("pandas").DataFrame({"video": ["a.mp4", "b.mp4"], "grid": [2, None]})
    assert [job.grid for job in jobs(frame)] == [(2, 2), (3, 3)]


@pytest.mark.parametrize("points", [[[1, 2.5]], [[0, 1, 2.5]], np.array([[0, 1, 2.5]]), {"x": [1], "y": [2.5]}, []])
def test_points_may_be_rows(points):
    (job,) = jobs([{"video": "a.mp4", "points": points}])
    assert job.count() == len(points["x"] if isinstance(points, dict) else points)


@pytest.mark.parametrize(
    "given, complaint",
    [
        ({"vid": ["a.mp4"]}, "needs a column video"),
        ({"video": ["a.mp4"], "grid": [1, 2]}, "columns of one length"),
        ([{"points": "1,2"}], "every job needs a video; this one has points"),
        ([{"video": "a.mp4", "points": "1,2", "grid": 2}], "a.mp4 has points and a grid"),
        ([{"video": "a.mp4", "grid": "2by3"}], "neither N nor COLUMNSxROWS"),
        ([{"video": "a.mp4", "grid": 0}], "at least 1 point a side"),
        ([{"video": "a.mp4", "points": [[1, 2, 3, 4]]}], r"must have shape \[N, 3\]"),
        ([], "no videos to track"),
        (7, "got int"),
    ],
)
def test_a_job_that_cannot_be_is_named(given, complaint):
    with pytest.raises(JobsError, match=complaint):
        jobs(given)


@pytest.mark.parametrize("grid, points", [(None, None), (2, "1,2")])
def test_videos_without_points_need_exactly_one_kind_of_them(grid, points):
    with pytest.raises(JobsError, match=r"a.mp4 has no points: give points or a grid"):
        jobs(["a.mp4"], grid=grid, points=points)


@pytest.mark.parametrize("text, name", [("video\na,b\n", "t.csv"), ("[1", "t.json"), ('"t.json"', "t.json")])
def test_a_table_that_is_damaged(tmp_path, text, name):
    (tmp_path / name).write_text(text)
    with pytest.raises(JobsError, match=rf"{name} lists no jobs, or is damaged"):
        jobs(tmp_path / name)


# Outputs


def test_outputs_keep_the_folders_that_videos_differ_in():
    found = jobs(["/data/x/one/video.mp4", "/data/x/two/video.mp4", "/data/x/two/video.mov"])
    assert [job.output for job in found] == ["out/one/video.npz", "out/two/video.mp4.npz", "out/two/video.mov.npz"]


@pytest.mark.parametrize("given", ["videos", "videos/*/*.MOV"])
def test_an_output_keeps_its_name_whatever_else_is_in_the_folder(folder, given):
    for path in [*Path("videos").glob("*.mp4"), *Path("videos/images").iterdir()]:
        path.unlink()
    assert [job.output for job in jobs(given)] == ["out/deep/a.npz"]


def test_outputs_may_lie_in_a_store_and_have_another_suffix():
    (job,) = read_jobs(["a.mp4"], Defaults("gs://bucket/out", ".json", grid=1))
    assert job.output == "gs://bucket/out/a.json"


@pytest.mark.parametrize(
    "given, complaint",
    [
        (
            [{"video": "a.mp4", "output": "x.npz"}, {"video": "b.mp4", "output": "./x.npz"}],
            "a.mp4 and b.mp4 would both",
        ),
        ([{"video": "a.mp4", "output": "summary.json"}], "the summary and a.mp4 would both"),
        ([{"video": "a.mp4", "output": "x.mp4"}], "suffix must be one of .npz, .csv, .json"),
        ([{"video": "a.mp4", "points": "out/p.csv", "output": "p.csv"}], "which is read"),
    ],
)
def test_no_output_replaces_another_or_an_input(given, complaint):
    with pytest.raises(JobsError, match=complaint):
        jobs(given, taken=("summary.json",))


def test_a_suffix_that_no_tracks_have():
    with pytest.raises(JobsError, match=r"cannot be written as '.mp4'"):
        jobs(["a.mp4"], suffix=".mp4")
