"""Protocol buffers, read by a table."""

import pytest

from tapsdk.artifact.protobuf import fields_of

SCHEMA = {"Outer": {2: "Inner"}, "Inner": {3: "Inner"}}


def fields(data, message="Outer"):
    found = fields_of(memoryview(data), message, SCHEMA)
    return [(m, number, bytes(v) if isinstance(v, memoryview) else v) for m, number, v in found]


def test_fields_come_in_order_and_messages_before_what_is_in_them():
    data = b"\x08\x96\x01" + b"\x12\x04\x1a\x02\x08\x05" + b"\x1d\x01\x00\x00\x00" + b"\x21" + bytes(8)
    assert fields(data) == [
        ("Outer", 1, 150),
        ("Outer", 2, b"\x1a\x02\x08\x05"),
        ("Inner", 3, b"\x08\x05"),
        ("Inner", 1, 5),
        ("Outer", 3, 1),
        ("Outer", 4, 0),
    ]


def test_what_the_table_does_not_name_is_not_entered():
    assert fields(b"\x0a\x01\xff") == [("Outer", 1, b"\xff")]


def test_nothing_is_a_message():
    assert fields(b"") == []


@pytest.mark.parametrize(
    "data, complaint",
    [
        (b"\x08", "cut short"),
        (b"\x08\x80", "cut short"),
        (b"\x12\x05abc", "cut short"),
        (b"\x1d\x00", "cut short"),
        (b"\x12\x02\x08\x80", "cut short"),
        (b"\x08" + b"\xff" * 10, "more than 64 bits"),
        (b"\x00\x00", "the number 0"),
        (b"\xf8\xff\xff\xff\xff\x01\x00", "the number"),
        (b"\x0b\x0c", "unknown kind 3"),
        (b"\x0f", "unknown kind 7"),
    ],
)
def test_what_is_no_message(data, complaint):
    with pytest.raises(ValueError, match=complaint):
        fields(data)


def test_messages_within_messages_end_somewhere():
    data = b""
    for _ in range(120):
        size = len(data)
        data = b"\x1a" + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + data
    with pytest.raises(ValueError, match="more than 100"):
        fields(data, "Inner")
