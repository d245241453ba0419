"""Manifests that ask for what a tracker in another language does not do, and what it must say of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Table = dict[str, Any]


def _without_previous(table: Table) -> None:
    step = table["stages"]["step"]
    step["inputs"] = [tensor for tensor in step["inputs"] if tensor["role"] != "previous"]


REFUSALS: dict[str, tuple[Callable[[Table], object], str]] = {
    "the schema before": (lambda table: table.update(schema=1), "has schema 1; "),
    "a schema to come": (lambda table: table.update(schema=3), "has schema 3; "),
    "all frames at once": (lambda table: table.update(program={"kind": "refined"}), 'its program is "refined"'),
    "chunks of frames": (lambda table: table.update(program={"kind": "whole", "frames": 8}), 'its program is "whole"'),
    "another layout": (lambda table: table["frames"].update(layout="TCHW"), 'layout is "TCHW"'),
    "another way to join": (lambda table: table["points"].update(join="never"), 'join is "never"'),
    "another query frame": (lambda table: table["points"].update(query_frame="none"), 'query_frame is "none"'),
    "a range that shrinks": (lambda table: table["frames"].update(range=[1, -1]), "does not grow"),
    "flow in another range": (
        lambda table: table["frames"].update(range=[0, 1]),
        "flow needs frames in the range [-1, 1], not [0",
    ),
    "more of flow": (lambda table: table["flow"].update(smooth=0.5), "smooth"),
    "flow without positions": (_without_previous, 'flow needs an input of the role "previous"'),
    "another role": (
        lambda table: table["stages"]["step"]["inputs"][0].update(role="patches"),
        'stage step wants a tensor of the role "patches"',
    ),
}
ONNX_REFUSALS: dict[str, tuple[Callable[[Table], object], str]] = {
    "buckets": (lambda table: table["points"].update(buckets={"onnx": [16]}), "take certain numbers of points"),
}
PHONE_REFUSALS: dict[str, tuple[Callable[[Table], object], str]] = {
    "frames of any size": (lambda table: table["frames"].update(multiple=16), "frames.multiple is 16"),
    "halves": (lambda table: table["stages"]["step"]["inputs"][0].update(dtype="float16"), "frame is float16"),
    "no buckets": (lambda table: table["points"].update(buckets={}), "it has no points.buckets"),
}


def changed(table: Table, change: Callable[[Table], object]) -> Table:
    """A copy of a manifest with the change."""
    table = copy.deepcopy(table)
    change(table)
    return table
