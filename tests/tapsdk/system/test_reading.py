import errno
import json
import tokenize
import zlib
from pathlib import Path

import pytest

from tapsdk.errors import FramesError, PointsError, TracksError
from tapsdk.system.json_text import as_json, parse_json
from tapsdk.system.reading import printable, read_json, reading, reason

# One error for all that may be wrong


@pytest.mark.parametrize(
    "raised, said",
    [
        (ValueError("odd"), "a.x is not a box, or is damaged: odd"),
        (KeyError("xy"), "a.x is not a box, or is damaged: it lacks 'xy'"),
        (RecursionError("deep"), "a.x is not a box, or is damaged: it is nested too deeply"),
        (MemoryError(), "a.x is not a box, or is damaged: it asks for more memory than there is"),
        (OverflowError("large"), "a.x is not a box, or is damaged: large"),
        (tokenize.TokenError("EOF", (1, 0)), "a.x is not a box, or is damaged: ('EOF', (1, 0))"),
        (UnicodeDecodeError("ascii", b"\xff", 0, 1, "no"), "'ascii' codec can't decode byte 0xff"),
        (zlib.error("broken"), "a.x is not a box, or is damaged: broken"),
        (StopIteration(), "a.x is not a box, or is damaged: StopIteration"),
        (AssertionError(), "a.x is not a box, or is damaged: AssertionError"),
        (OSError("truncated picture"), "a.x is not a box, or is damaged: truncated picture"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "a.x cannot be read: No such file"),
        (PointsError("xy is flat"), "a.x is not a box, or is damaged: xy is flat"),
    ],
    ids=repr,
)
def test_whatever_a_reader_raises_becomes_one_error_with_the_path(raised, said):
    with pytest.raises(TracksError) as caught, reading(Path("a.x"), "is not a box", TracksError):
        raise raised
    assert said in str(caught.value)
    assert caught.value.__cause__ is raised


def test_an_error_that_names_the_file_already_passes():
    with pytest.raises(FramesError, match=r"^a\.x has no frames$"), reading("a.x", "is not a box", TracksError):
        raise FramesError("a.x has no frames")


def test_who_interrupts_is_not_held():
    with pytest.raises(KeyboardInterrupt), reading("a.x", "is not a box", TracksError):
        raise KeyboardInterrupt


def test_what_is_fine_passes():
    with reading("a.x", "is not a box", TracksError):
        pass


# What a stranger says


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain words, Café", "plain words, Café"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("turned \u202e around", r"turned \u202e around"),
        ("\x9b1m and \ud800", r"\x9b1m and \ud800"),
        ("x" * 301, "x" * 300 + "..."),
    ],
)
def test_what_a_stranger_says_is_shown_without_control_characters(text, shown):
    assert printable(text) == shown
    assert reason(ValueError(text)) == shown


# JSON


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"a":' * 100_000, "9" * 10_000, b"\xff\xff", b'"\xe9"', "{]"], ids=range(8)
)
def test_json_that_is_none_is_a_value_error(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")
    with pytest.raises(ValueError):
        parse_json(text)


def test_json_that_is_too_long_is_not_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps("x" * 100))
    assert read_json(tmp_path / "a.json", 102) == "x" * 100
    with pytest.raises(ValueError, match="more than 101 bytes"):
        read_json(tmp_path / "a.json", 101)


def test_json_without_end_is_not_read():
    with pytest.raises(ValueError, match="more than 100 bytes"):
        read_json("/dev/zero", 100)


def test_what_json_lacks_becomes_null():
    assert as_json({"a": [1.5, float("nan"), (float("inf"), None, "x")]}) == {"a": [1.5, None, [None, None, "x"]]}
