"""The table of cases that every language's way to follow the picture is tested with: `flow_cases.json`.

pictures: by name, (height, width) and RGB bytes, a base64 text per row; frames are these bytes / 127.5 - 1.
follow: between two pictures, each with an entry `flow` of a manifest and a space of (height, width) that positions are
in. Of every point: `xy` in the first, `moved` and `missed` as `tapsdk.runtime.flow.follow` says, `texture` around `xy`
in the first picture, and what `fuse` makes of that (`fused`, `certainty`) with an `estimate`, `seen` and `near`.
fuse: of every point what goes into `fuse`, and what comes out. One that has not moved yet has missed nothing.
null: what JSON cannot write, NaN of a position and infinity of what was missed.

`make_flow_cases.py` writes it. What is tested answers as `Answers` says; `tolerance` is in pixels.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.artifact.manifest import FlowFusion

PATH = Path(__file__).with_name("flow_cases.json")
Floats = NDArray[np.float32]
OF_FUSE = ("missed", "texture", "estimate", "seen", "near", "fused", "certainty")
"""Entries of a point that both kinds of cases have."""


@dataclass(frozen=True, eq=False)
class FollowCase:
    """before, after: [H, W, 3] in [-1, 1]. flow: the manifest's entry. The rest is [N] or [N, 2], of the points."""

    name: str
    flow: Mapping[str, Any]
    space: tuple[int, int]
    before: Floats
    after: Floats
    xy: Floats
    moved: Floats
    missed: Floats
    texture: Floats
    estimate: Floats
    seen: Floats
    near: Floats
    fused: Floats
    certainty: Floats


@dataclass(frozen=True, eq=False)
class FuseCase:
    """flow: the manifest's entry. The rest is [N] or [N, 2], of the points."""

    name: str
    flow: Mapping[str, Any]
    followed: Floats
    missed: Floats
    texture: Floats
    estimate: Floats
    seen: Floats
    near: Floats
    fused: Floats
    certainty: Floats


class Fused(TypedDict):
    """Of one case: positions [N, 2] that `fuse` gives, and certainty [N]."""

    fused: ArrayLike
    certainty: ArrayLike


class Moved(Fused):
    """Of one case of `follow`, also: positions [N, 2], what was missed [N], and texture [N]."""

    moved: ArrayLike
    missed: ArrayLike
    texture: ArrayLike


class Answers(TypedDict):
    """What a language says of the whole table, a row per case."""

    follow: Sequence[Moved]
    fuse: Sequence[Fused]


@cache
def follow_cases() -> list[FollowCase]:
    table = _table()
    pictures = {name: _picture(**picture) for name, picture in table["pictures"].items()}
    return [
        FollowCase(
            case["name"],
            case["flow"],
            tuple(case["space"]),
            pictures[case["before"]],
            pictures[case["after"]],
            **_columns(case["points"], "xy", "moved", *OF_FUSE),
        )
        for case in table["follow"]
    ]


@cache
def fuse_cases() -> list[FuseCase]:
    return [
        FuseCase(case["name"], case["flow"], **_columns(case["points"], "followed", *OF_FUSE))
        for case in _table()["fuse"]
    ]


def flow_of(case: FollowCase | FuseCase) -> FlowFusion:
    """The case's entry `flow`, as a manifest with it is read."""
    return FlowFusion(**{name: tuple(v) if isinstance(v, list) else v for name, v in case.flow.items()})


def check_moved(case: FollowCase, moved: ArrayLike, missed: ArrayLike) -> None:
    _check(f"{case.name}: moved", moved, case.moved)
    _check(f"{case.name}: missed", missed, case.missed, np.inf)


def check_texture(case: FollowCase, texture: ArrayLike) -> None:
    np.testing.assert_allclose(_numbers(texture), case.texture, rtol=1e-2, atol=1e-7, err_msg=f"{case.name}: texture")


def check_fused(case: FollowCase | FuseCase, fused: ArrayLike, certainty: ArrayLike) -> None:
    _check(f"{case.name}: fused", fused, case.fused)
    _check(f"{case.name}: certainty", certainty, case.certainty)


def check(answers: Answers) -> None:
    """Every number of every case is the table's, within its tolerance."""
    for case, answer in zip(follow_cases(), answers["follow"], strict=True):
        check_moved(case, answer["moved"], answer["missed"])
        check_texture(case, answer["texture"])
        check_fused(case, answer["fused"], answer["certainty"])
    for fuse_case, fused in zip(fuse_cases(), answers["fuse"], strict=True):
        check_fused(fuse_case, fused["fused"], fused["certainty"])


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return table


def _picture(size: list[int], rows: list[str]) -> Floats:
    pixels = np.frombuffer(b"".join(base64.b64decode(row) for row in rows), np.uint8)
    return (pixels.reshape(*size, 3) / 127.5 - 1).astype(np.float32)


def _columns(points: list[dict[str, Any]], *names: str) -> dict[str, Floats]:
    return {name: _numbers([p[name] for p in points], np.inf if name == "missed" else np.nan) for name in names}


def _numbers(values: ArrayLike, null: float = np.nan) -> Floats:
    """Numbers from JSON, with `null` for None."""
    numbers = np.array(values, np.float64)
    return np.where(np.isnan(numbers), null, numbers).astype(np.float32)


def _check(what: str, found: ArrayLike, expected: Floats, null: float = np.nan) -> None:
    np.testing.assert_allclose(_numbers(found, null), expected, rtol=0, atol=_table()["tolerance"], err_msg=what)
