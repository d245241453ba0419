"""Walks through serialized protocol buffers by a table of their messages, without the packages that define them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
    for number, value, _ in flat_fields(data):
        yield message, number, value
        if number in inner and isinstance(value, memoryview):
            yield from fields_of(value, inner[number], schema, levels - 1)


def flat_fields(data: memoryview) -> Iterator[tuple[int, int | memoryview, memoryview]]:
    """(field's number, value, all its bytes) of the fields in a message. Raises ValueError for what is no message."""
    place = 0
    while place < len(data):
        start = place
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"a field with the number {number}")
        value: int | memoryview
        if kind == VARINT:
            value, place = _varint(data, place)
        elif kind in (FIXED32, FIXED64):
            end = place + (4 if kind == FIXED32 else 8)
            value, place = int.from_bytes(_cut(data, place, end), "little"), end
        elif kind == BYTES:
            length, place = _varint(data, place)
            value = _cut(data, place, place + length)
            place += length
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        yield number, value, data[start:place]


def bytes_field(number: int, parts: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """A field with what the parts hold, one after the other, for its value; itself in parts."""
    return [_as_varint(number << 3 | BYTES), _as_varint(sum(map(len, parts))), *parts]


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


def _as_varint(value: int) -> bytes:
    """A number from 0."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
