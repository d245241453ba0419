import json
import os
import stat
import sys
import threading
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tapsdk.errors import SaveError, TracksError
from tapsdk.system import npz
from tapsdk.tracks import RunReport, Tracks

SUFFIXES = [".npz", ".csv", ".json"]
REPORT = RunReport(model="tapir/tiny", backend="onnxruntime", precision="fp32", frames_per_second=31.5)


def make_tracks(n=3, frames=4, **more):
    rng = np.random.default_rng(0)
    return Tracks(
        xy=rng.normal(300, 200, (n, frames, 2)).astype(np.float32),
        visible=rng.uniform(size=(n, frames)) > 0.5,
        confidence=rng.uniform(size=(n, frames)).astype(np.float32),
        **more,
    )


def assert_same(loaded, tracks):
    """Bit for bit."""
    for name in ("xy", "visible", "confidence"):
        one, other = getattr(loaded, name), getattr(tracks, name)
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()


# The arrays


def test_length_is_points_and_num_frames_is_frames():
    tracks = make_tracks(n=3, frames=4)
    assert len(tracks) == 3
    assert tracks.num_frames == 4


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("times", [None, [0.0, 0.04, 0.1, 1 / 3]], ids=["none", "uneven"])
def test_times_are_kept(tmp_path, suffix, times):
    make_tracks(frames=4, times=times).save(tmp_path / f"tracks{suffix}")
    loaded = Tracks.load(tmp_path / f"tracks{suffix}").times
    if times is None:
        assert loaded is None
    else:
        assert loaded.dtype == np.float64
        assert loaded.tolist() == times


def test_a_csv_says_in_each_line_when_its_frame_is_shown(tmp_path):
    make_tracks(n=2, frames=2, times=[0.0, 3600.5]).save(tmp_path / "tracks.csv")
    header, *lines = (tmp_path / "tracks.csv").read_text().splitlines()
    assert header == "point,frame,x,y,visible,confidence,time"
    assert [line.rpartition(",")[2] for line in lines] == ["0.0", "3600.5"] * 2


def test_there_is_a_time_for_every_frame():
    with pytest.raises(TracksError, match=r"times must have shape \[4\] to fit xy, got \[3\]"):
        make_tracks(frames=4, times=[0.0, 1.0, 2.0])


def test_arrays_are_brought_to_their_types():
    tracks = Tracks(xy=[[[1, 2]]], visible=[[1]], confidence=[[0.5]], queries=[[0, 1, 2]])
    assert tracks.xy.dtype == np.float32
    assert tracks.visible.dtype == np.bool_
    assert tracks.confidence.dtype == np.float32
    assert tracks.queries.dtype == np.float32


@pytest.mark.parametrize(
    "field, shape",
    [("xy", (3, 4)), ("xy", (3, 4, 3)), ("visible", (4, 3)), ("confidence", (3, 4, 1)), ("queries", (2, 3))],
)
def test_arrays_that_do_not_fit_are_refused(field, shape):
    arrays = {
        "xy": np.zeros((3, 4, 2)),
        "visible": np.zeros((3, 4)),
        "confidence": np.zeros((3, 4)),
        "queries": np.zeros((3, 3)),
    }
    with pytest.raises(TracksError, match=field):
        Tracks(**{**arrays, field: np.zeros(shape)})


# Round trips


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".NPZ", ".Json"])
@pytest.mark.parametrize("n, frames", [(1, 1), (3, 4), (1, 200), (50, 1)])
def test_what_is_saved_is_loaded(tmp_path, suffix, n, frames):
    tracks = make_tracks(n, frames)
    path = tmp_path / f"tracks{suffix}"
    tracks.save(path)
    assert_same(Tracks.load(path), tracks)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_float32_survives(tmp_path_factory, suffix, data):
    n, frames = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    number = st.floats(width=32, allow_infinity=suffix != ".json")
    tracks = Tracks(
        xy=data.draw(hnp.arrays(np.float32, (n, frames, 2), elements=number)),
        visible=data.draw(hnp.arrays(np.bool_, (n, frames))),
        confidence=data.draw(hnp.arrays(np.float32, (n, frames), elements=st.floats(0, 1, width=32))),
    )
    path = tmp_path_factory.mktemp("tracks") / f"tracks{suffix}"
    tracks.save(path)
    loaded = Tracks.load(path)
    np.testing.assert_array_equal(loaded.xy, tracks.xy)
    finite = np.isfinite(tracks.xy)
    np.testing.assert_array_equal(loaded.xy[finite].view(np.uint32), tracks.xy[finite].view(np.uint32))
    np.testing.assert_array_equal(loaded.visible, tracks.visible)
    np.testing.assert_array_equal(loaded.confidence, tracks.confidence)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_npz_and_json_hold_what_was_asked_and_what_ran(tmp_path, suffix):
    path = tmp_path / f"tracks{suffix}"
    make_tracks(queries=[[0, 1, 2], [1, 2, 3], [2, 3, 4.5]], fps=29.97, report=REPORT).save(path)
    loaded = Tracks.load(path)
    np.testing.assert_array_equal(loaded.queries, [[0, 1, 2], [1, 2, 3], [2, 3, 4.5]])
    assert loaded.fps == 29.97
    assert loaded.report == REPORT


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_unknown_stays_unknown(tmp_path, suffix):
    path = tmp_path / f"tracks{suffix}"
    make_tracks().save(path)
    loaded = Tracks.load(path)
    assert loaded.queries is None
    assert loaded.fps is None
    assert loaded.report is None


@pytest.mark.parametrize(
    "suffix, n, frames, expected",
    [
        (".npz", 0, 5, (0, 5, 2)),
        (".json", 0, 5, (0, 5, 2)),
        (".csv", 0, 5, (0, 0, 2)),
        (".npz", 2, 0, (2, 0, 2)),
        (".json", 2, 0, (2, 0, 2)),
    ],
)
def test_empty_tracks(tmp_path, suffix, n, frames, expected):
    path = tmp_path / f"tracks{suffix}"
    make_tracks(n, frames, queries=np.zeros((n, 3))).save(path)
    assert Tracks.load(path).xy.shape == expected


def test_text_is_as_short_as_float32_allows(tmp_path):
    tracks = Tracks(xy=np.float32([[[0.1, 12.3]]]), visible=[[True]], confidence=np.float32([[0.7]]))
    tracks.save(tmp_path / "tracks.csv")
    text = (tmp_path / "tracks.csv").read_text()
    assert text == "point,frame,x,y,visible,confidence\n0,0,0.1,12.3,1,0.7\n"
    tracks.save(tmp_path / "tracks.json")
    document = json.loads((tmp_path / "tracks.json").read_text())
    assert document["format"] == "tapsdk.tracks"
    assert document["version"] == 1
    assert document["tracks"] == [{"id": 0, "xy": [[0.1, 12.3]], "visible": [True], "confidence": [0.7]}]


def test_json_writes_null_for_what_json_lacks(tmp_path):
    tracks = Tracks(xy=[[[np.nan, np.inf]]], visible=[[False]], confidence=[[0]])
    tracks.save(tmp_path / "tracks.json")
    assert json.loads((tmp_path / "tracks.json").read_text())["tracks"][0]["xy"] == [[None, None]]
    assert np.isnan(Tracks.load(tmp_path / "tracks.json").xy).all()


def test_npz_opens_with_plain_numpy(tmp_path):
    tracks = make_tracks()
    tracks.save(tmp_path / "tracks.npz")
    with np.load(tmp_path / "tracks.npz") as stored:
        np.testing.assert_array_equal(stored["xy"], tracks.xy)


def test_the_rows_of_a_csv_may_come_in_any_order(tmp_path):
    tracks = make_tracks()
    path = tmp_path / "tracks.csv"
    tracks.save(path)
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]))
    assert_same(Tracks.load(path), tracks)


# Files that are not tracks

HEADER = "point,frame,x,y,visible,confidence\n"
BROKEN = {
    "empty.npz": b"",
    "text.npz": b"hello",
    "empty.csv": b"",
    "header.csv": b"a,b,c\n",
    "word.csv": HEADER.encode() + b"0,0,left,1,1,1\n",
    "columns.csv": HEADER.encode() + b"0,0,1\n",
    "visible.csv": HEADER.encode() + b"0,0,1,1,2,1\n",
    "twice.csv": HEADER.encode() + b"0,0,1,1,1,1\n0,0,1,1,1,1\n",
    "gap.csv": HEADER.encode() + b"0,0,1,1,1,1\n1,1,1,1,1,1\n",
    "huge.csv": HEADER.encode() + b"999999999999,999999999999,1,1,1,1\n",
    "larger.csv": HEADER.encode() + b"9999999999999999999999999,0,1,1,1,1\n",
    "negative.csv": HEADER.encode() + b"-1,0,1,1,1,1\n0,0,1,1,1,1\n",
    "times.csv": HEADER.replace("\n", ",time\n").encode() + b"0,0,1,1,1,1,0.5\n1,0,1,1,1,1,0.6\n",
    "time.csv": HEADER.replace("\n", ",time\n").encode() + b"0,0,1,1,1,1\n",
    "bytes.csv": b"\xff\xfe\x00\x01",
    "empty.json": b"",
    "half.json": b'{"format": "tapsdk.tracks", "version": 1, "tracks": [',
    "list.json": b"[1, 2]",
    "foreign.json": b'{"tracks": []}',
    "future.json": b'{"format": "tapsdk.tracks", "version": 2, "num_frames": 1, "tracks": []}',
    "incomplete.json": b'{"format": "tapsdk.tracks", "version": 1, "num_frames": 1, "tracks": [{}]}',
    "flat.json": b'{"format": "tapsdk.tracks", "version": 1, "num_frames": 1, "tracks": [1]}',
    "report.json": b'{"format": "tapsdk.tracks", "version": 1, "num_frames": 0, "tracks": [], "report": 3}',
    "suffix.txt": b"",
    "deep.json": b'{"a":' * 100_000,
    "digits.json": b"9" * 10_000,
    "minus.json": b'{"format": "tapsdk.tracks", "version": 1, "num_frames": -1, "tracks": []}',
    "endless.json": b'{"format": "tapsdk.tracks", "version": 1, "num_frames": 1e400, "tracks": []}',
    "speed.json": b'{"format": "tapsdk.tracks", "version": 1, "num_frames": 0, "tracks": [], "fps": "fast"}',
    "name.json": b'{"format": "tapsdk.tracks", "version": 1, "num_frames": 0, "tracks": [], "report": {"model": 3}}',
    "ms.json": b'{"format": "tapsdk.tracks", "version": 1, "num_frames": 0, "tracks": [], '
    b'"report": {"milliseconds": {"a": "b"}}}',
    "maybe.json": b'{"format": "tapsdk.tracks", "version": 1, "num_frames": 1, '
    b'"tracks": [{"xy": [[1, 2]], "visible": ["false"], "confidence": [1]}]}',
    "null.csv": HEADER.encode() + b"0,0,1,1,1,1\0\n",
    "field.csv": HEADER.encode() + b"9" * 200_000 + b",0,1,1,1,1\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_a_typed_error_that_names_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    with pytest.raises(TracksError, match=name):
        Tracks.load(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_file_and_a_folder(tmp_path, suffix):
    with pytest.raises(TracksError, match="No such file"):
        Tracks.load(tmp_path / f"nothing{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(TracksError, match="folder"):
        Tracks.load(tmp_path / f"folder{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_file_cut_short(tmp_path, suffix, part):
    path = tmp_path / f"tracks{suffix}"
    make_tracks(5, 30).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(TracksError):
        Tracks.load(path)


def test_a_future_version_says_so(tmp_path):
    (tmp_path / "future.json").write_bytes(BROKEN["future.json"])
    with pytest.raises(TracksError, match=r"version 2.*reads version 1"):
        Tracks.load(tmp_path / "future.json")


def test_npz_never_unpickles(tmp_path):
    path = tmp_path / "tracks.npz"
    np.savez(path, format=np.array([{}], dtype=object), version=1)
    with pytest.raises(TracksError, match="Python objects"):
        Tracks.load(path)


def test_an_npz_with_a_flipped_byte(tmp_path):
    path = tmp_path / "tracks.npz"
    make_tracks(20, 50).save(path)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("xy.npy").header_offset + 100
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 50] = bytes(50)
    path.write_bytes(damaged)
    with pytest.raises(TracksError):
        Tracks.load(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"report": np.str_('{"a":' * 100_000)},
        {"report": np.str_("[1]")},
        {"fps": np.str_("fast")},
        {"fps": np.zeros(3)},
        {"version": np.zeros(0)},
        {"times": np.zeros((2, 2))},
        {"queries": np.array(["a", "b"])},
        {"visible": np.zeros((3, 3), bool)},
        {"xy": np.zeros((2, 3, 2), [("a", "f4")])},
    ],
    ids=str,
)
def test_an_npz_whose_parts_are_of_another_kind(tmp_path, changed):
    path = tmp_path / "tracks.npz"
    make_tracks(2, 3).save(path)
    with np.load(path) as stored:
        np.savez(path, **{**stored, **changed})
    with pytest.raises(TracksError, match=r"tracks\.npz is not a tracks file, or is damaged"):
        Tracks.load(path)


def test_what_a_file_says_of_itself_is_told_without_control_characters(tmp_path):
    (tmp_path / "red.json").write_text('{"format": "\\u001b[31mred\\u0007"}')
    with pytest.raises(TracksError) as caught:
        Tracks.load(tmp_path / "red.json")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("fps", [np.inf, np.nan, -np.inf, -1.0, 0])
@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_what_is_no_rate_is_an_unknown_one(tmp_path, fps, suffix):
    tracks = Tracks(np.zeros((1, 1, 2)), [[True]], [[1]], fps=fps, times=[np.inf])
    tracks.save(tmp_path / f"tracks{suffix}")
    assert Tracks.load(tmp_path / f"tracks{suffix}").fps is None


@pytest.mark.parametrize("fps", ["25", True, [25], 1j])
def test_a_rate_is_a_number(fps):
    with pytest.raises(TracksError, match="fps must be a number or None"):
        Tracks(np.zeros((1, 1, 2)), [[True]], [[1]], fps=fps)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_json_holds_any_report(tmp_path, value):
    report = RunReport(model="a", frames_per_second=value, milliseconds={"b": value})
    Tracks(np.zeros((1, 1, 2)), [[True]], [[1]], report=report).save(tmp_path / "tracks.json")
    assert Tracks.load(tmp_path / "tracks.json").report == RunReport(model="a", milliseconds={"b": None})


def test_tracks_that_hardly_change_are_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "FREE_BYTES", 10_000)
    still = Tracks(np.zeros((40, 5000, 2)), np.zeros((40, 5000)), np.zeros((40, 5000)))
    still.save(tmp_path / "tracks.npz")
    assert_same(Tracks.load(tmp_path / "tracks.npz"), still)


# Writing


@pytest.mark.parametrize("name", ["tracks.txt", "tracks", "tracks.npz.gz"])
def test_an_unknown_suffix_lists_the_known_ones(tmp_path, name):
    with pytest.raises(SaveError, match=r"\.npz, \.csv, \.json"):
        make_tracks().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_saving_replaces_the_older_file(tmp_path):
    path = tmp_path / "tracks.json"
    path.write_text("older")
    make_tracks().save(path)
    assert len(Tracks.load(path)) == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path, monkeypatch, suffix, error):
    path = tmp_path / f"tracks{suffix}"
    path.write_text("older")

    def fail(_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    expected = SaveError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        make_tracks().save(path)
    if expected is SaveError:
        assert str(path) in str(caught.value)
        assert "No space left" in str(caught.value)
    assert path.read_text() == "older"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit on Windows")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_fills_up_in_the_middle(tmp_path, suffix):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / f"tracks{suffix}"
    tracks = make_tracks(100, 100)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(SaveError, match="could not write"):
            tracks.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_that_is_not_there_or_is_in_the_way(tmp_path, suffix):
    with pytest.raises(SaveError, match="No such file"):
        make_tracks().save(tmp_path / "nothing" / f"tracks{suffix}")
    (tmp_path / f"tracks{suffix}").mkdir()
    with pytest.raises(SaveError, match="folder"):
        make_tracks().save(tmp_path / f"tracks{suffix}")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX links")
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.csv").write_text("older")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    make_tracks().save(tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert len(Tracks.load(tmp_path / "real.csv")) == 3


full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@full_device
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("n", [1, 200])
def test_a_full_device_is_an_error_and_stays_a_device(tmp_path, suffix, n):
    link = tmp_path / f"full{suffix}"
    link.symlink_to("/dev/full")
    with pytest.raises(SaveError, match="No space left"):
        make_tracks(n, 100).save(link)
    assert link.is_symlink()
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@full_device
def test_a_full_device_without_a_suffix():
    with pytest.raises(SaveError, match="/dev/full: No space left"):
        make_tracks().save("/dev/full")


pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@pipes
@pytest.mark.parametrize("suffix", [*SUFFIXES, ""])
def test_a_pipe_carries_the_file(tmp_path, suffix):
    pipe, copy = tmp_path / f"pipe{suffix}", tmp_path / f"copy{suffix or '.json'}"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: copy.write_bytes(pipe.read_bytes()))
    reader.start()
    tracks = make_tracks(20, 200)
    tracks.save(pipe)
    reader.join(timeout=10)
    assert_same(Tracks.load(copy), tracks)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


@pipes
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_whose_reader_leaves(tmp_path, suffix):
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)

    def read_a_little():
        with open(pipe, "rb") as file:
            file.read(10)

    reader = threading.Thread(target=read_a_little)
    reader.start()
    # More than a pipe buffers, so that the writer must notice.
    with pytest.raises(SaveError, match="Broken pipe"):
        make_tracks(200, 500).save(pipe)
    reader.join(timeout=10)


# Holding them


def test_they_print_in_three_lines_however_many_there_are():
    lines = repr(make_tracks(n=500, frames=40, fps=25, report=REPORT)).splitlines()
    assert lines[0] == "Tracks: 500 points, 40 frames, 25 frames per second"
    assert lines[1].startswith("  visible ")
    assert lines[2] == "  tapir/tiny (fp32) on onnxruntime"
    assert len(lines) == 3


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 0)])
def test_none_print_too(shape):
    assert repr(make_tracks(*shape)) == f"Tracks: {shape[0]} points, {shape[1]} frames"


def test_a_report_prints_what_ran_how_fast_and_what_could_not():
    report = RunReport(
        "tapir/tiny",
        "onnxruntime",
        "native",
        "fp32",
        31.5,
        {"onnxruntime:native": 20.0},
        {"torch": "no\nGPU", "x": "y"},
    )
    assert str(report).splitlines() == [
        "tapir/tiny (fp32) on onnxruntime, native plan",
        "  31.5 frames per second; a frame by onnxruntime:native 20.0 ms",
        "  refused: torch, because no GPU, and 1 more",
    ]
    assert len(str(RunReport()).splitlines()) == 3


def test_a_row_is_a_point():
    tracks = make_tracks(queries=np.arange(9).reshape(3, 3), ids=[7, 3, 5])
    point = tracks[np.int64(1)]
    assert (point.id, len(point)) == (3, 4)
    np.testing.assert_array_equal(point.xy, tracks.xy[1])
    np.testing.assert_array_equal(point.query, [3, 4, 5])
    assert tracks[-1].id == 5
    assert [point.id for point in tracks] == [7, 3, 5]
    assert "Track 3: 4 frames" in repr(point)


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        (slice(1, None), [3, 5]),
        ([2, 0], [5, 7]),
        (np.array([False, True, False]), [3]),
        ([], []),
        (np.zeros(3, bool), []),
        (slice(3, 3), []),
    ],
    ids=["slice", "rows", "mask", "no rows", "empty mask", "empty slice"],
)
def test_several_rows_are_tracks(rows, ids):
    tracks = make_tracks(queries=np.arange(9).reshape(3, 3), ids=[7, 3, 5], fps=25, report=REPORT)
    some = tracks[rows]
    assert some.ids.tolist() == ids
    assert (some.num_frames, some.fps, some.report) == (4, 25, REPORT)
    for row, point in enumerate(some):
        np.testing.assert_array_equal(point.xy, tracks.xy[tracks.ids == point.id][0])
        np.testing.assert_array_equal(some.queries[row], tracks.queries[tracks.ids == point.id][0])


@pytest.mark.parametrize("rows", [3, -4, [0, 3], np.array([True, False]), 0.5, [[0]], "xy", [0.0]], ids=str)
def test_rows_that_there_are_not(rows):
    with pytest.raises(IndexError):
        make_tracks()[rows]


@pytest.mark.parametrize("ids", [[1, 1, 2], [1, 2], [0.5, 1, 2], ["a", "b", "c"], [[0, 1, 2]]], ids=str)
def test_ids_that_are_none(ids):
    with pytest.raises(TracksError, match="ids must be 3 different whole numbers"):
        make_tracks(ids=ids)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("ids", [None, [7, 3, 5]], ids=["by default", "given"])
def test_ids_are_kept(tmp_path, suffix, ids):
    tracks = make_tracks(ids=ids)
    tracks.save(tmp_path / f"tracks{suffix}")
    loaded = Tracks.load(tmp_path / f"tracks{suffix}")
    assert loaded.ids.tolist() == (ids or [0, 1, 2])
    assert_same(loaded, tracks)


def test_columns_have_a_row_per_point_and_frame():
    columns = make_tracks(ids=[7, 3, 5], times=[0, 0.1, 0.2, 0.3]).to_dict()
    assert [*columns] == ["point", "frame", "x", "y", "visible", "confidence", "time"]
    assert columns["point"].tolist() == [7] * 4 + [3] * 4 + [5] * 4
    assert columns["frame"].tolist() == [0, 1, 2, 3] * 3
    assert columns["time"].tolist() == [0, 0.1, 0.2, 0.3] * 3
    np.testing.assert_array_equal(columns["x"].reshape(3, 4), make_tracks().xy[..., 0])
    assert "time" not in make_tracks().to_dict()


def test_a_data_frame():
    pandas = pytest.importorskip("pandas")
    table = make_tracks(ids=[7, 3, 5]).to_dataframe()
    assert isinstance(table, pandas.DataFrame)
    assert table.groupby("point").x.count().to_dict() == {3: 4, 5: 4, 7: 4}


def test_a_data_frame_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(TracksError, match="pip install pandas; to_dict gives the same columns"):
        make_tracks().to_dataframe()
