"""Walks through serialized protocol buffers by a table of their messages, without the packages that define them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Schema = Mapping[str, Mapping[int, str]]
"""By message: the fields that hold messages in turn, by number. What is not named is not entered."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_LEVELS = 100
"""Messages within messages; what reads them afterwards allows no more either."""


def fields_of(
    data: memoryview, message: str, schema: Schema, levels: int = MOST_LEVELS
) -> Iterator[tuple[str, int, int | memoryview]]:
    """(message, field's number, value) of all fields in a message and in those within it, outermost first.

    Values are numbers, or the bytes of what has a length. Raises ValueError for what is no message.
    """
    if not levels:
        raise ValueError(f"messages within messages, more than {MOST_LEVELS} of them")
    inner = schema.get(message, {})
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"a field with the number {number}")
        if kind == VARINT:
            value, place = _varint(data, place)
            yield message, number, value
        elif kind in (FIXED32, FIXED64):
            end = place + (4 if kind == FIXED32 else 8)
            yield message, number, int.from_bytes(_cut(data, place, end), "little")
            place = end
        elif kind == BYTES:
            length, place = _varint(data, place)
            part = _cut(data, place, place + length)
            place += length
            yield message, number, part
            if number in inner:
                yield from fields_of(part, inner[number], schema, levels - 1)
        else:
            raise ValueError(f"a field of the unknown kind {kind}")


def _cut(data: memoryview, start: int, end: int) -> memoryview:
    if end > len(data):
        raise ValueError("it is cut short")
    return data[start:end]


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number of up to 64 bits, and where it ends."""
    value = 0
    for count in range(10):
        if place + count >= len(data):
            raise ValueError("it is cut short")
        byte = data[place + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place + count + 1
    raise ValueError("a number of more than 64 bits")
