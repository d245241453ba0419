"""Writes `flow_cases.json`: python -m tests.golden.make_flow_cases

Expected numbers are those of `tapkernels.reference`, in float64, and what `fuse` makes of rows is written down here by
hand. Points whose way hangs on the last bits of a number are refused: no two languages would agree on them.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapkernels import reference
from tapsdk.artifact.manifest import FlowFusion
from tapsdk.geometry import scale_points
from tapsdk.runtime.flow import Followed, Sighting, fuse, texture_around
from tests.golden.flow_cases import PATH

TOLERANCE = 1e-3
USUAL = FlowFusion(
    radius=3,
    levels=4,
    slip=(0.3, 0.6),
    shown=(0.3, 0.6),
    pull=0.2,
    sure=(0.7, 0.95),
    leap=(0.5, 0.7),
    apart=(8.0, 16.0),
    texture=(1e-5, 6e-5),
    doubt=(3.0, 0.7),
    hidden="occlusion",
)
"""Much like that of the model that comes with the package."""
ROUND = FlowFusion(
    radius=4,
    levels=3,
    slip=(0.5, 1.0),
    shown=(0.2, 0.6),
    pull=0.25,
    sure=(0.4, 0.8),
    leap=(0.6, 0.8),
    apart=(10.0, 20.0),
    texture=(0.1, 0.3),
    doubt=(2.0, 1.0),
    hidden="occlusion",
)
"""Numbers to calculate with in one's head."""
ONE_LEVEL = replace(ROUND, levels=1)
WIDE = replace(ROUND, radius=7, levels=4)
GREY = 90

Bytes = NDArray[np.uint8]


def waves(height: int, width: int, dx: float = 0.0, dy: float = 0.0, turn: float = 0.0) -> Bytes:
    """[H, W, 3]: coloured waves after they have moved by (dx, dy) pixels, and turned by about `turn` radians."""
    rng = np.random.default_rng(0)
    waves, phases = rng.uniform(-0.5, 0.5, (12, 2)), rng.uniform(0, 6, (12, 3))
    y, x = np.mgrid[:height, :width] + 0.5
    at = np.stack([x - dx + turn * y, y - dy - turn * x], -1)
    return np.rint(127.5 + 60 * np.sin((at @ waves.T)[..., None] + phases).mean(-2) * 3).clip(0, 255).astype(np.uint8)


def with_post(picture: Bytes) -> Bytes:
    """In every picture at one place: a post without texture, so wide that windows fit in."""
    picture[:, 40:52] = GREY
    return picture


def moved_picture() -> Bytes:
    """The waves moved and turned; a block covers some, and it gets darker to the right."""
    picture = waves(40, 56, 1.7, -0.8, turn=0.01)
    picture[14:24, 22:32] = (200, 110, 160)
    shade = np.linspace(0, 20, 56)[:, None]
    return with_post((picture - shade).clip(0, 255).astype(np.uint8))


PICTURES = {
    "waves": with_post(waves(40, 56)),
    "moved": moved_picture(),
    "far": waves(40, 56, 6, 5),
    "near": waves(40, 56),
    "odd": waves(33, 27),
    "odd, moved": waves(33, 27, -1.2, 0.6),
    "faint": np.rint(127.5 + (waves(40, 56) - 127.5) / 6).astype(np.uint8),
    "negative": 255 - waves(40, 56),
    "15 high": waves(15, 30),
    "15 high, moved": waves(15, 30, 0.9, 0.4),
    "16 high": waves(16, 30),
    "16 high, moved": waves(16, 30, 0.9, 0.4),
    "grey": np.full((20, 24, 3), GREY, np.uint8),
    "light grey": np.full((20, 24, 3), GREY + 60, np.uint8),
}

INSIDE = [(10.5, 9.5), (17.25, 30.5), (30, 8), (33.7, 33.1), (6.1, 21.9), (20.5, 5.5)]
EDGES = [(0, 0), (56, 40), (56, 0), (0, 40), (28, 0.5), (0.2, 20), (12, 39.8)]
OUTSIDE = [(-0.1, 3), (3, 40.1), (np.nan, 3), (70, 10), (10, -1000)]
SMALL = [(12.5, 6.5), (3, 10.2), (20.1, 4), (0, 0), (25, 12)]

FOLLOW: list[tuple[str, FlowFusion, str, str, tuple[int, int], ArrayLike]] = [
    ("inside, on edges and outside", USUAL, "waves", "moved", (40, 56), INSIDE + EDGES + OUTSIDE),
    ("on a flat post", replace(USUAL, levels=1), "waves", "moved", (40, 56), [(46, 20), (46.5, 3.5)]),
    ("covered", USUAL, "waves", "moved", (40, 56), [(26, 18), (24, 21)]),
    ("leaving the frame", USUAL, "waves", "moved", (40, 56), [(20.5, 0.3), (10.5, 0.2)]),
    ("far", ROUND, "near", "far", (40, 56), INSIDE),
    ("one level", ONE_LEVEL, "waves", "moved", (40, 56), INSIDE),
    ("in the space of the points", USUAL, "waves", "moved", (256, 256), np.array(INSIDE) * (256 / 56, 256 / 40)),
    ("nothing moves", USUAL, "waves", "waves", (40, 56), INSIDE),
    ("odd sides, a small window", replace(ROUND, radius=2), "odd", "odd, moved", (33, 27), SMALL),
    ("too small for a pyramid", WIDE, "15 high", "15 high, moved", (15, 30), SMALL),
    ("just large enough for one", WIDE, "16 high", "16 high, moved", (16, 30), SMALL),
    ("steps that are cut short", ONE_LEVEL, "faint", "negative", (40, 56), [(14, 24), (14, 18), (8, 24)]),
    ("flat all over, and lighter", USUAL, "grey", "light grey", (20, 24), [(12, 10), (2.5, 1), (23, 18.5)]),
    ("between two sizes", USUAL, "waves", "odd", (40, 56), [(10.5, 9.5), (0, 40), (np.nan, 3), (-1, 3)]),
]

Row: TypeAlias = tuple[str, float, float, float, float, float, float, float]
"""What it is; what the way back missed, texture, pixels to the estimate, seen, near; the share of the way there that
the point goes, and how certain it is of where it is then."""

FUSE: list[tuple[str, FlowFusion, list[Row]]] = [
    (
        "round numbers",
        ROUND,
        [
            ("joins just now, the model is sure", 0, 1, 5, 1, 1, 0.25, 1),
            ("the model says that it is hidden", 0, 1, 5, 0, 1, 1, 0),
            ("half hidden", 0, 1, 5, 0.4, 1, 0.5, 0.4),
            ("seen, not near", 0, 1, 5, 1, 0, 0, 0),
            ("trusted, half as sure", 0, 1, 5, 1, 0.6, 0.125, 0.6),
            ("missed by less than slip", 0.3, 1, 5, 1, 0.8, 0.25, 0.8),
            ("missed by half more than slip", 0.75, 1, 5, 1, 0, 0.5, 0),
            ("missed by half more than slip, the model is sure", 0.75, 1, 5, 1, 1, 0.625, 1),
            ("missed by twice slip", 1, 1, 5, 1, 0.5, 1, 0.5),
            ("no way back", np.inf, 1, 5, 1, 0.5, 1, 0.5),
            ("no way back, and the model sees nothing", np.inf, 1, 5, 0, 1, 1, 0),
            ("the model is sure of another place", 0, 1, 20, 1, 0.8, 1, 0.8),
            ("the model is not sure of another place", 0, 1, 20, 1, 0.6, 0.125, 0.15),
            ("the model is sure of a place half apart", 0, 1, 15, 1, 1, 0.5, 1),
            ("no way back, the estimate is far: it speaks of where the point is put", np.inf, 1, 90, 1, 0.8, 1, 0.8),
            ("on a bare surface", 0, 0, 5, 1, 0.8, 0.25, 0.64),
            ("on a bare surface, and the model knows the place", 0, 0, 5, 1, 1, 0.25, 1),
            ("half bare", 0, 0.2, 5, 1, 0.5, 0.0625, 0.5**1.5),
        ],
    ),
    (
        "usual numbers",
        USUAL,
        [
            ("joins just now", 0, 1, 4, 1, 1, 0.2, 1),
            ("trusted, the model doubts", 0.1, 1, 4, 1, 0.3, 0, 0.3**0.7),
            ("half hidden", 0.1, 1, 4, 0.45, 0.6, 0.5, 0.45 * 0.6**0.7),
            ("missed by a third more than slip", 0.4, 1, 4, 1, 0.3, 1 / 3, 0.3**0.7),
            ("sure of another place", 0, 1, 100, 1, 1, 1, 1),
            ("not sure of another place", 0, 1, 100, 1, 0.5, 0, 0),
            ("on a bare surface", 0, 5e-6, 4, 1, 0.75, 0.04, 0.75**3),
            ("no way back", np.inf, 1, 4, 0.2, 1, 1, 0.2),
        ],
    ),
]


def follow_rows(
    flow: FlowFusion, before: str, after: str, space: tuple[int, int], xy: ArrayLike
) -> list[dict[str, Any]]:
    xy = np.array(xy, np.float32)
    first, second = PICTURES[before], PICTURES[after]
    moved, missed = xy, np.full(len(xy), np.inf)
    if first.shape == second.shape:
        size = first.shape[:2]
        found = follow_surely(flow, first / 127.5 - 1, second / 127.5 - 1, scale_points(xy, space, size))
        moved, missed = scale_points(found[:, :2], size, space), found[:, 2]
    texture = texture_around(flow, (first / 127.5 - 1).astype(np.float32), xy, space)
    rng = np.random.default_rng(len(xy))
    estimate = np.round(np.nan_to_num(moved, nan=5.0) + rng.uniform(-9, 9, xy.shape), 2).astype(np.float32)
    seen, near = np.round(rng.uniform((0.3, 0.5), 1, (len(xy), 2)), 3).astype(np.float32).T
    fused, certainty = fuse(flow, Followed(moved, missed, texture), Sighting(estimate, seen, near))
    columns = (xy, moved, missed, texture, estimate, seen, near, fused, certainty)
    names = ("xy", "moved", "missed", "texture", "estimate", "seen", "near", "fused", "certainty")
    return [dict(zip(names, map(plain, row), strict=True)) for row in zip(*columns, strict=True)]


def follow_surely(flow: FlowFusion, before: ArrayLike, after: ArrayLike, xy: NDArray[np.float32]) -> NDArray[Any]:
    """What the reference says, [N, 3]; it must say nearly the same of pictures that differ by what rounding does."""
    settings = (flow.radius, flow.levels)
    before, after = np.asarray(before), np.asarray(after)
    found = reference.lucas_kanade(before, after, xy, *settings)
    rng = np.random.default_rng(0)
    for _ in range(3):
        noisy = [image + rng.uniform(-1e-6, 1e-6, image.shape) for image in (before, after)]
        again = reference.lucas_kanade(noisy[0], noisy[1], xy, *settings)
        np.testing.assert_allclose(again, found, atol=TOLERANCE / 10, rtol=0, err_msg="these points hang on rounding")
    return found


def fuse_rows(rows: list[Row]) -> list[dict[str, Any]]:
    followed, direction = np.array([10.0, 20.0]), np.array([0.6, 0.8])
    return [
        {
            "what": what,
            "followed": plain(followed),
            "missed": plain(missed),
            "texture": texture,
            "estimate": plain(followed + far * direction),
            "seen": seen,
            "near": near,
            "fused": plain(followed + share * far * direction),
            "certainty": plain(certainty),
        }
        for what, missed, texture, far, seen, near, share, certainty in rows
    ]


def plain(values: ArrayLike) -> Any:
    """Numbers for JSON to seven digits, null for what is not finite."""
    if np.ndim(values):
        return [plain(value) for value in np.asarray(values)]
    return float(f"{values:.7g}") if np.isfinite(values) else None


def picture_rows(picture: Bytes) -> dict[str, Any]:
    return {"size": list(picture.shape[:2]), "rows": [base64.b64encode(row.tobytes()).decode() for row in picture]}


def make() -> dict[str, Any]:
    return {
        "tolerance": TOLERANCE,
        "pictures": {name: picture_rows(picture) for name, picture in PICTURES.items()},
        "follow": [
            {
                "name": name,
                "flow": asdict(flow),
                "before": before,
                "after": after,
                "space": list(space),
                "points": follow_rows(flow, before, after, space, xy),
            }
            for name, flow, before, after, space, xy in FOLLOW
        ],
        "fuse": [{"name": name, "flow": asdict(flow), "points": fuse_rows(rows)} for name, flow, rows in FUSE],
    }


def to_json(value: Any, indent: int = 1) -> str:
    """A line for each point and for each row of a picture."""
    text = json.dumps(value)
    if len(text) < 240 or not isinstance(value, dict | list):
        return text
    if isinstance(value, dict):
        entries = [f"{json.dumps(name)}: {to_json(entry, indent + 1)}" for name, entry in value.items()]
    else:
        entries = [to_json(entry, indent + 1) for entry in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    lines = f",\n{' ' * indent}".join(entries)
    return f"{opening}\n{' ' * indent}{lines}\n{' ' * (indent - 1)}{closing}"


if __name__ == "__main__":
    PATH.write_text(to_json(make()) + "\n", encoding="utf-8")
