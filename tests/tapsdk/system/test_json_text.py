"""JSON of unknown origin."""

import json

import pytest

from tapsdk.system.json_text import parse_strict_json


@pytest.mark.parametrize(
    "value", [{}, {"a": [1, -2.5, True, None, "é"]}, [[]], 10**30, "text", json.loads("[" * 50 + "1" + "]" * 50)]
)
def test_what_json_says_is_what_comes_out(value):
    assert parse_strict_json(json.dumps(value)) == value
    assert parse_strict_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "Expecting value"),
        ("[" * 100_000, "nests too deeply"),
        ('{"a":' * 100_000, "nests too deeply"),
        ("[" * 52 + "]" * 52, "nests too deeply; at most 50 levels"),
        ('{"a":' * 500 + "1" + "}" * 500, "nests too deeply"),
        ('[{"b": 1, "a": 2, "a": 3}]', "the entry 'a' twice"),
        ("9" * 41, "a number of 41 digits"),
        ("-" + "9" * 10_000, "a number of 10001 digits"),
        ("[1e999]", "1e999, which is too large"),
        ("NaN", "NaN, which is no number"),
        ("[-Infinity]", "-Infinity, which is no number"),
        (b"\xff", "codec can't decode"),
        (b"\xed\xa0\x80", "codec can't decode"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_whatever_is_wrong_is_one_error(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_strict_json(text)
