"""Nuke's scripts, as far as tracks go: Tcl's lists, knobs of a node, and curves; by the grammar alone."""

import re


def words(text):
    """The elements of a Tcl list: in braces, in quotes, or up to a space."""
    found, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        if text[at] == "{":
            end, depth = at, 0
            while True:
                depth += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
                if not depth:
                    break
            found.append(text[at + 1 : end - 1])
        elif text[at] == '"':
            end = text.index('"', at + 1) + 1
            found.append(text[at + 1 : end - 1])
        else:
            end = re.compile(r"\S+").match(text, at).end()
            found.append(text[at:end])
        at = end
    return found


def curve(text):
    """{frame: value} of `curve K x5 10 11 x9 12`."""
    kind, *tokens = text.split()
    assert kind == "curve"
    keys, frame = {}, None
    for token in tokens:
        if token[0] in "KLCRHi":
            continue
        if token[0] == "x":
            frame = int(token[1:])
            continue
        assert re.fullmatch(r"-?\d+(\.\d+)?", token), "a number that no exponent and no name spoils"
        keys[frame] = float(token)
        frame += 1
    return keys


def tracker(text):
    """The node's other knobs, and {name: {column: value}} of its tracks."""
    kind, body = words(text)
    assert kind == "Tracker4"
    knobs = words(body)
    knobs = dict(zip(knobs[::2], knobs[1::2], strict=True))
    shape, columns, rows = words(knobs.pop("tracks"))
    _, width, count = map(int, shape.split())
    names = [words(column)[3] for column in words(columns)]
    cells = [words(row) for row in words(rows)]
    assert len(names) == width and len(cells) == count and all(len(row) == width for row in cells)
    tracks = [dict(zip(names, row, strict=True)) for row in cells]
    return knobs, {track["name"]: track for track in tracks}
