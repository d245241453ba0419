"""The artifact's manifest: the one thing that export and runtime share.

An artifact is a directory with `manifest.json` and one file per stage. The manifest says, tensor by tensor, what each
stage takes and gives, so that the runtime drives a model without knowing its family.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from tapsdk.errors import ArtifactError
from tapsdk.runtime.flow import Following

SCHEMA = 1
MANIFEST = "manifest.json"

Role = Literal[
    "frame", "points", "feature", "delay", "query", "previous", "active", "state", "xy", "logit", "patches", "offset"
]
"""What a tensor is to the runtime:

frame     [1, H, W, 3] one preprocessed frame            points   [N, 2] query points, in the space of `resolution`
feature   of the frame, used within the step             query    of the points, constant once computed
state     carried to the next frame, zero at first       xy       [N, 2] estimate, in the space of `resolution`
logit     [N] visibility logits                          patches  [N, P] scores that the kernels looked up
offset    [N, 2] correction of xy, pixels of the frame that the stages got
previous  [N, 2] xy of the frame before, at first the query points
delay     [N] frames from this one to the one that the query point lies in
active    [N] 1 for a point, 0 for a row that only fills a bucket up

The mixer of a clip takes and gives these for all frames at once: [N, T, ...] in place of [N, ...].
"""

Mode = Literal["causal", "clip"]
"""How a model goes through a video:

causal  frame by frame, carrying state
clip    over all frames at once: stages `encode`, `query` and `locate` see a frame each; `mixer`, between lookups of
        patches, sees the tracks of points from the first frame to the last. Points begin at their queries' frames.
"""
QueryFrame = Literal["exact", "model"]
Join = Literal["query", "start"]

POINTS = "N"
"""Stands for the number of points in a shape; "H" and "W" for the frame's sides, "H/8" for an eighth of one."""
FRAMES = "T"
"""Stands for the number of frames, in a stage that sees all of a clip."""
SIZE = re.compile(r"[NT]|[HW](/[1-9][0-9]*)?")
NEXT = "next_"
"""Prefix of the output that takes the place of the state or estimate of the same name."""


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a stage. shape holds sizes, "N" and "T" once at most, and parts of "H" and "W"."""

    name: str
    shape: tuple[int | str, ...]
    role: Role
    dtype: str = "float32"

    @property
    def points_axis(self) -> int | None:
        return self.shape.index(POINTS) if POINTS in self.shape else None

    def shape_for(self, points: int, size: tuple[int, int] = (0, 0), frames: int = 1) -> tuple[int, ...]:
        """Sizes for numbers of points and of frames, and frames of (height, width) `size`."""
        known = {POINTS: points, FRAMES: frames, "H": size[0], "W": size[1]}

        def value(entry: int | str) -> int:
            name, _, part = str(entry).partition("/")
            return known[name] // int(part or 1) if name in known else int(entry)

        return tuple(value(entry) for entry in self.shape)


@dataclass(frozen=True)
class File:
    """A file of the artifact, with what its bytes must be."""

    path: str
    format: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class StageSpec:
    """A compiled function: its tensors in order, and the file that holds it in each format."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: Mapping[str, File] = field(default_factory=dict)

    def with_role(self, *roles: Role) -> list[TensorSpec]:
        """The inputs of these roles, in order."""
        return [t for t in self.inputs if t.role in roles]


@dataclass(frozen=True)
class Visibility:
    """confidence = product over logits of sigmoid(sign * logit); visible = confidence > threshold."""

    logits: Mapping[str, int]
    threshold: float = 0.5


@dataclass(frozen=True)
class Level:
    """A feature grid that refinement looks at, and the channels [first, last) of the descriptor to match with it."""

    grid: str
    channels: tuple[int, int]


@dataclass(frozen=True)
class NativePlan:
    """Refinement with tapkernels between the stages: `iterations` times, patches of every level, then the mixer.

    A causal model may have it as a second way to run; a clip has no other.
    """

    iterations: int
    radius: int
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Manifest:
    """See the module's docstring; `docs` of each part are on its class."""

    model: str
    """family/variant"""
    weights_sha256: str
    precision: str
    mode: Mode
    resolution: tuple[int, int]
    """(height, width) of the space that positions are in."""
    pixel_range: tuple[float, float]
    """What 0 and 255 become."""
    visibility: Visibility
    query_frame: QueryFrame
    """What a track says at its query's frame: the query point itself, or the model's own estimate."""
    stages: Mapping[str, StageSpec]
    points_join: Join = "query"
    """When points of a whole video are added: in their query's frame, or all in the first one, with a delay."""
    native: NativePlan | None = None
    following: Following | None = None
    """How the positions of a causal model follow the picture; None: they are the model's estimates."""
    size_multiple: int | None = None
    """Frames keep their aspect ratio, with sides that are multiples of this, at about the area of `resolution`; None:
    they are squashed to `frame_size`. Positions are in the space of `resolution` either way."""
    frame_size: tuple[int, int] | None = None
    """(height, width) of the frames that the stages get, where that is fixed and not `resolution`."""
    refinement_multiple: int | None = None
    """Of a clip: videos larger than `resolution` are refined once more at each of `refinement_resolutions`, whose sides
    are multiples of this, and the tracks are the mean over these. None: positions are refined at one size."""
    buckets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By format: the numbers of points that its files take, each by an entry point (`entry_point`). Formats that are
    not named take any number."""
    reference: File | None = None
    """What the model says of a video made by formula (`tapsdk.selection.reference`), to compare engines with."""
    verification: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def formats(self) -> list[str]:
        return sorted({name for stage in self.stages.values() for name in stage.files})

    @property
    def fixed_size(self) -> tuple[int, int]:
        """(height, width) of the frames that the stages get, unless `size_multiple` lets it vary."""
        return self.frame_size or self.resolution

    def files(self) -> list[File]:
        stages = [file for stage in self.stages.values() for file in stage.files.values()]
        return [*stages, self.reference] if self.reference else stages

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def entry_point(stage: StageSpec, points: int) -> str:
    """Name of the function for a number of rows, in a file that has one per bucket."""
    depends = any(t.points_axis is not None for t in (*stage.inputs, *stage.outputs))
    return f"points_{points}" if depends else "main"


def read_manifest(directory: Path) -> Manifest:
    """Reads and checks the manifest of an artifact directory. Raises ArtifactError."""
    path = directory / MANIFEST
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{directory} is not an artifact: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    schema = table.get("schema") if isinstance(table, dict) else None
    if schema != SCHEMA:
        raise ArtifactError(
            f"{path} has schema {schema!r}; this version of tapsdk reads schema {SCHEMA}. "
            "Export the model again, or install the version of tapsdk that wrote it"
        )
    try:
        return _parse(table)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _parse(table: dict[str, Any]) -> Manifest:
    native = table.get("native")
    known = {f.name for f in fields(Manifest)}
    unknown = set(table) - known
    if unknown:
        raise ValueError(f"unknown entries {', '.join(sorted(unknown))}")
    _check_choice("mode", table["mode"], get_args(Mode))
    _check_choice("query_frame", table["query_frame"], get_args(QueryFrame))
    _check_choice("points_join", table.get("points_join", "query"), get_args(Join))
    if table["mode"] == "clip" and native is None:
        raise ValueError("mode 'clip' needs an entry 'native'")
    stages = {name: _stage(stage) for name, stage in table["stages"].items()}
    following = table.get("following") and Following(**table["following"])
    if following and not ("step" in stages and stages["step"].with_role("previous")):
        raise ValueError("'following' needs a stage 'step' with an input of the role 'previous'")
    return Manifest(
        **{
            **table,
            "resolution": _pair(table["resolution"]),
            "pixel_range": _pair(table["pixel_range"]),
            "visibility": Visibility(**table["visibility"]),
            "stages": stages,
            "native": native and _native(native),
            "following": following,
            "frame_size": table.get("frame_size") and _pair(table["frame_size"]),
            "buckets": {name: _buckets(sizes) for name, sizes in table.get("buckets", {}).items()},
            "reference": File(**table["reference"]) if table.get("reference") else None,
        }
    )


def _stage(table: dict[str, Any]) -> StageSpec:
    files = {name: File(**file) for name, file in table["files"].items()}
    return StageSpec(_tensors(table["inputs"]), _tensors(table["outputs"]), files)


def _is_size(entry: Any) -> bool:
    return SIZE.fullmatch(entry) is not None if isinstance(entry, str) else type(entry) is int and entry > 0


def _tensors(rows: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    for row in rows:
        _check_choice("role", row["role"], get_args(Role))
        shape = row["shape"]
        if max(shape.count(POINTS), shape.count(FRAMES)) > 1 or not all(map(_is_size, shape)):
            raise ValueError(
                f"shape {shape} is not of sizes, parts of 'H' and 'W', and {POINTS!r} and {FRAMES!r} once at most"
            )
    return tuple(TensorSpec(**{**row, "shape": tuple(row["shape"])}) for row in rows)


def _check_choice(entry: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {entry} {value!r}; this version knows {', '.join(allowed)}")


def _native(table: dict[str, Any]) -> NativePlan:
    levels = tuple(Level(level["grid"], _pair(level["channels"])) for level in table["levels"])
    return NativePlan(table["iterations"], table["radius"], levels)


def _buckets(sizes: list[Any]) -> tuple[int, ...]:
    if not sizes or sorted(set(sizes)) != sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"buckets {sizes} are not growing numbers of points")
    return tuple(sizes)


def _pair(values: list[Any]) -> tuple[Any, Any]:
    first, second = values
    return first, second
