"""Parts of videos: which frames are in them, when they are shown, and what cannot be."""

import numpy as np
import pytest

from tapsdk.errors import FramesError
from tapsdk.video import VideoWriter, open_frames
from tapsdk.video.part import BEGINNING, Moment, Part, parse_moment

FRAMES, FPS = 12, 4


def numbered(frames=FRAMES):
    """[T, 16, 16, 3]; the grey of a frame is ten times its number."""
    return np.repeat(np.arange(frames, dtype=np.uint8) * 10, 16 * 16 * 3).reshape(frames, 16, 16, 3)


def numbers(part):
    return [round(float(frame.mean()) / 10) for frame in part]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """4 frames per second, the first one shown at 0."""
    path = tmp_path_factory.mktemp("part") / "film.mp4"
    with VideoWriter(path, FPS, (16, 16)) as writer:
        for frame in numbered():
            writer.write(frame)
    return path


# What people write


@pytest.mark.parametrize(
    "text, moment",
    [
        ("0", Moment(frame=0)),
        ("120", Moment(frame=120)),
        ("2s", Moment(seconds=2)),
        ("2.5s", Moment(seconds=2.5)),
        (".5s", Moment(seconds=0.5)),
        ("1:30", Moment(seconds=90)),
        ("1:02:03.5", Moment(seconds=3723.5)),
        ("1:30s", Moment(seconds=90)),
    ],
)
def test_whole_numbers_are_frames_and_the_rest_are_times(text, moment):
    assert parse_moment(text) == moment


@pytest.mark.parametrize(
    "text", ["", "s", "-1", "-1s", "2.5", "nan", "infs", "1e3s", "1:60:00", "1:2:3:4", "٣", "٣s", "two"]
)
def test_what_is_neither_is_refused(text):
    with pytest.raises(ValueError, match=r"is neither the number of a frame, from 0, nor a time, such as 2.5s, 1:30"):
        parse_moment(text)


# Which frames


@pytest.mark.parametrize(
    "start, end, expected",
    [
        ("0", None, range(12)),
        ("5", None, range(5, 12)),
        ("0", "3", range(3)),
        ("5", "6", [5]),
        ("11", "99", [11]),
        ("0.5s", None, range(2, 12)),
        ("0.4s", None, range(2, 12)),
        ("0.6s", None, range(3, 12)),
        ("0", "1s", range(4)),
        ("0:01", "8", range(4, 8)),
        ("3", "1.25s", [3, 4]),
    ],
)
@pytest.mark.parametrize("kind", ["file", "array", "generator"])
def test_from_the_start_to_before_the_end(film, kind, start, end, expected):
    given = {"file": film, "array": numbered(), "generator": iter(numbered())}[kind]
    part = Part(open_frames(given, fps=FPS), parse_moment(start), end and parse_moment(end))
    with part:
        assert part.size == (16, 16)
        assert kind == "generator" or part.num_frames == len(expected)
        assert numbers(part) == list(expected)
        np.testing.assert_allclose(part.times, np.array(expected) / FPS)
        assert part.mean_fps == FPS


def test_a_time_counts_from_the_first_frame(tmp_path):
    with VideoWriter(tmp_path / "late.mkv", FPS, (16, 16)) as writer:
        for t, frame in enumerate(numbered()):
            writer.write(frame, 100 + t / FPS)
    with Part(open_frames(tmp_path / "late.mkv"), Moment(seconds=0.75), Moment(seconds=1.5)) as part:
        assert numbers(part) == [3, 4, 5]


def test_a_rate_that_is_given_moves_the_times(film):
    with Part(open_frames(film, fps=1), Moment(seconds=3), Moment(seconds=5)) as part:
        assert numbers(part) == [3, 4]


def test_how_many_frames_an_array_leaves_is_certain():
    part = Part(open_frames(numbered()), Moment(frame=3), Moment(frame=8))
    assert part.known_frames == 5
    assert Part(open_frames(numbered(), fps=4), Moment(seconds=1)).known_frames is None


def test_what_comes_after_the_end_is_not_read():
    taken = []

    def frames():
        for t, frame in enumerate(numbered()):
            taken.append(t)
            yield frame

    assert numbers(Part(open_frames(frames()), BEGINNING, Moment(frame=3))) == [0, 1, 2]
    assert taken == [0, 1, 2, 3]


def test_closing_a_part_closes_what_it_is_of(film):
    source = open_frames(film)
    part = Part(source, Moment(frame=2))
    next(part)
    part.close()
    assert list(source) == list(part) == []


# What cannot be


@pytest.mark.parametrize(
    "start, end, complaint",
    [
        ("12", None, "the video has 12 frames and ends before the start, frame 12"),
        ("1:00", None, "the video has 12 frames and ends before the start, 60 s"),
        ("5", "5", "no frame is shown from frame 5 to before frame 5"),
        ("7", "0.5s", "no frame is shown from frame 7 to before 0.5 s"),
        ("0.3s", "0.4s", "no frame is shown from 0.3 s to before 0.4 s"),
        ("0", "0", "no frame is shown from frame 0 to before frame 0"),
    ],
)
def test_a_part_without_frames_says_why(film, start, end, complaint):
    part = Part(open_frames(film), parse_moment(start), end and parse_moment(end))
    with part, pytest.raises(FramesError, match=complaint):
        _ = part.size


def test_times_of_what_has_none_are_refused():
    with pytest.raises(FramesError, match="nobody knows which frame is shown at 1 s: name frames, or give fps"):
        list(Part(open_frames(numbered()), Moment(seconds=1)))
