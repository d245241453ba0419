"""Manifests that ask for what a tracker in another language does not do, and what it must say of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Table = dict[str, Any]


def _without_previous(table: Table) -> None:
    step = table["stages"]["step"]
    step["inputs"] = [tensor for tensor in step["inputs"] if tensor["role"] != "previous"]


def _with_flow(**entries: Any) -> Callable[[Table], object]:
    return lambda table: table["flow"].update(entries)


REFUSALS: dict[str, tuple[Callable[[Table], object], str]] = {
    "the schema before": (lambda table: table.update(schema=2), "has schema 2; "),
    "a schema to come": (lambda table: table.update(schema=4), "has schema 4; "),
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
    "more of flow": (_with_flow(smooth=0.5), "smooth"),
    "less of flow": (lambda table: table["flow"].pop("doubt"), "doubt"),
    "a window of nothing": (_with_flow(radius=0), "flow.radius is 0, not a count"),
    "levels that cannot be counted": (_with_flow(levels=1.5), "flow.levels is 1.5, not a count"),
    "a pull away": (_with_flow(pull=-1), "flow.pull is -1, not a number from 0"),
    "a ramp of one number": (_with_flow(slip=0.3), "flow.slip is 0.3, not two numbers that grow"),
    "a ramp that falls": (_with_flow(leap=[0.7, 0.5]), "flow.leap is [0.7,0.5], not two numbers that grow"),
    "a ramp without a slope": (_with_flow(apart=[8, 8]), "flow.apart is [8,8], not two numbers that grow"),
    "a doubt below zero": (_with_flow(doubt=[3, -1]), "flow.doubt is [3,-1], not two numbers from 0"),
    "a logit that visibility does not know": (
        _with_flow(hidden="depth"),
        'flow.hidden is "depth", and visibility knows occlusion, expected_dist',
    ),
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
