"""The artifact's manifest: the one thing that export and runtime share.

An artifact is a directory with `manifest.json` and one file per stage. The manifest says, tensor by tensor, what each
stage takes and gives, so that the runtime drives a model without knowing its family.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from tapsdk.geometry import Size

SCHEMA = 3
MANIFEST = "manifest.json"

Role = Literal[
    "frame",
    "points",
    "feature",
    "delay",
    "query",
    "previous",
    "active",
    "present",
    "state",
    "xy",
    "logit",
    "patches",
    "offset",
]
"""What a tensor is to the runtime:

frame     [1, H, W, 3] one preprocessed frame            points   [N, 2] query points, in the points' space
feature   of the frame, used within the step             query    of the points, constant once computed
state     carried to the next frame, zero at first       xy       [N, 2] estimate, in the points' space
logit     [N] visibility logits                          patches  [N, P] scores that the kernels looked up
offset    [N, 2] correction of xy, pixels of the frame that the stages got
previous  [N, 2] xy of the frame before, at first the query points
delay     [N] frames from the one that the stage sees, or from the first of those, to the one that the query lies in
active    [N] 1 for a point, 0 for a row that only fills a bucket up
present   [T] 1 for a frame of the video, 0 for one that only fills up how many a stage takes

What sees many frames at once takes and gives these for all of them: [N, T, ...] in place of [N, ...], and frames as
[T, H, W, 3], features as [T, ...]. That is the mixer of a refined program, and every stage of a whole one.
"""

QueryFrame = Literal["exact", "model"]
Join = Literal["query", "start"]
Layout = Literal["THWC"]

MAX_CELLS = 64
"""Most multiples that a frame's side holds, where it is to be a multiple of a number of pixels."""
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
DTYPES = ("float32", "float16")
"""Of what stages take and give; whatever they compute with within."""

POINTS = "N"
"""Stands for the number of points in a shape; "H" and "W" for the frame's sides, "H/8" for an eighth of one."""
FRAMES = "T"
"""Stands for the number of frames, in a stage that sees many."""
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


Curve: TypeAlias = tuple[tuple[float, float], ...]
"""The points (x, y) between which a function follows straight lines."""


@dataclass(frozen=True)
class Visibility:
    """Which points are visible, and what confidence is reported.

    logits: by name the sign of each. A model's certainty is the product of sigmoid(sign * logit) over all of them;
        where positions follow the picture, `flow` makes it that of the position.
    threshold: a point is visible where certainty is above it.
    calibration: (certainty, confidence) pairs from (0, 0) to (1, 1), between which confidence follows straight lines:
        so that it is as often right as it says. Where there are none, confidence is the certainty.
    """

    logits: Mapping[str, int]
    threshold: float = 0.5
    calibration: Curve = ()


@dataclass(frozen=True)
class FrameSpec:
    """What frames are when a stage gets them.

    size: (height, width). multiple: None squashes every frame to that size; a number keeps its aspect ratio, at about
    the area of that size, with sides that are multiples of the number.
    range: what 0 and 255 become. layout: of the axes; time, height, width, RGB is all that there is so far.
    """

    size: Size
    multiple: int | None = None
    range: tuple[float, float] = (-1.0, 1.0)
    layout: Layout = "THWC"


@dataclass(frozen=True)
class PointSpec:
    """What points are to the model.

    space: (height, width) of the space that positions are in, whatever the frames' size.
    join: when points of a whole video are added: in their query's frame, or all in the first one, with a delay.
    query_frame: what a track says at its query's frame: the query point itself, or the model's own estimate.
    independent: whether a point's track is the same whatever points are tracked beside it, so that many can be tracked
    in groups. Where the manifest does not say, they are not.
    buckets: by format, the numbers of points that its files take, each by an entry point (`entry_point`). Formats that
    are not named take any number.
    """

    space: Size
    join: Join = "query"
    query_frame: QueryFrame = "model"
    independent: bool = False
    buckets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Level:
    """A feature grid that refinement looks at, and the channels [first, last) of the descriptor to match with it."""

    grid: str
    channels: tuple[int, int]


@dataclass(frozen=True)
class Kernel:
    """An op of tapkernels that computes what a stage computes.

    weights: names of tensors in the artifact's file of weights, by argument. transposed: arguments whose matrices lie
    there with rows and columns exchanged. numbers: other arguments.
    """

    op: str
    weights: Mapping[str, str]
    transposed: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Refinement:
    """`iterations` times: scores of every level within `radius` cells of each estimate, then the mixer.

    kernels: by stage, what computes it in place of the engine: both `locate` and `mixer` of a causal program, or none.
    """

    iterations: int
    radius: int
    levels: tuple[Level, ...]
    kernels: Mapping[str, Kernel] = field(default_factory=dict)


@dataclass(frozen=True)
class Causal:
    """Frame by frame, carrying state: `query` for points that join, `step` for every frame.

    native: a second way to run it, with tapkernels between the stages `encode`, `locate` and `mixer`; None: there is
    none.
    """

    kind: ClassVar[str] = "causal"
    native: Refinement | None = None


@dataclass(frozen=True)
class Refined:
    """All frames encoded, then iterations over time.

    The stages `encode`, `query` and `locate` see a frame each; `mixer`, between lookups of scores, sees the tracks of
    points from the first frame to the last.
    multiple: videos larger than the frames' size are refined once more at each of `refinement_resolutions`, whose sides
    are multiples of this, and the tracks are the mean over these. None: positions are refined at one size.
    reach: frames before and after one that `mixer` looks at for it, so that it may get a long video in chunks. None: it
    may look at all of them.
    """

    kind: ClassVar[str] = "refined"
    refinement: Refinement
    multiple: int | None = None
    reach: int | None = None


@dataclass(frozen=True)
class Whole:
    """Stages that see many frames at once: `query` describes points, `track` finds them, each in one chunk of video.

    With a stage `encode`, that one alone sees the video, once, and the others see the grids that it gives.
    frames: how many frames of a chunk get their tracks at once. margin: how many more a stage that sees the video looks
    at on both sides, as far as there are any. A video of no more frames than that is one chunk. With a margin as wide
    as the model looks in time, tracks do not depend on where chunks begin.
    """

    kind: ClassVar[str] = "whole"
    frames: int
    margin: int = 0


Program: TypeAlias = Causal | Refined | Whole
"""How a model goes through a video; each has plans of its own in `tapsdk.runtime`."""
PROGRAMS: Mapping[str, type[Causal] | type[Refined] | type[Whole]] = {p.kind: p for p in (Causal, Refined, Whole)}


Ramp: TypeAlias = tuple[float, float]
"""Where a weight begins to change, and where it is through: in between it goes along a straight line."""


@dataclass(frozen=True)
class FlowFusion:
    """How positions of a causal model follow the picture from frame to frame, and how certain of them that leaves it.

    What each does is told in `tapsdk.runtime.flow`. All of it is continuous, so that engines that differ a little
    differ a little.

    radius, levels: of `tapkernels.lucas_kanade`, in pixels of the frames that the model gets.
    slip: pixels of these frames by which the way back misses a point; up to the first a step counts in full, from the
        second not at all.
    shown: probability that a point is seen; up to the first a step counts for nothing, from the second in full.
    pull: the share of the way to a sure estimate that a point takes with each frame.
    sure: the model's certainty; up to the first an estimate does not pull, from the second in full.
    leap: the model's certainty of an estimate that is apart; up to the first the point stays, from the second it goes
        there at once.
    apart: pixels of the points' space between a position and the estimate; up to the first they speak of one place,
        from the second of two.
    texture: structure of the picture around a point where it was asked for; up to the first the surface is bare, from
        the second it is not.
    doubt: powers to which the probability of being near is raised, on a bare surface and on others.
    hidden: the logit that says that a point is not seen. The others of the visibility's say that it is near.
    """

    radius: int
    levels: int
    slip: Ramp
    shown: Ramp
    pull: float
    sure: Ramp
    leap: Ramp
    apart: Ramp
    texture: Ramp
    doubt: tuple[float, float]
    hidden: str


@dataclass(frozen=True)
class Manifest:
    """See the module's docstring; `docs` of each part are on its class."""

    model: str
    """family/variant"""
    weights_sha256: str
    precision: str
    frames: FrameSpec
    points: PointSpec
    visibility: Visibility
    program: Program
    stages: Mapping[str, StageSpec]
    flow: FlowFusion | None = None
    """How the positions of a causal model follow the picture; None: they are the model's estimates."""
    weights: File | None = None
    """Tensors that files of stages, and kernels, have in common (`tapsdk.artifact.weights`); None: there are none."""
    reference: File | None = None
    """What the model says of a video made by formula (`tapsdk.selection.reference`), to compare engines with."""
    verification: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def formats(self) -> list[str]:
        return sorted({name for stage in self.stages.values() for name in stage.files})

    def files(self) -> list[File]:
        stages = [file for stage in self.stages.values() for file in stage.files.values()]
        return [*stages, *(file for file in (self.weights, self.reference) if file)]

    def bytes_of(self, format: str) -> int:
        """Of all that is needed to run the model in a format."""
        stages = [stage.files[format] for stage in self.stages.values() if format in stage.files]
        return sum(file.bytes for file in (*stages, *([self.weights] if self.weights else ())))

    def to_json(self) -> str:
        program = {"kind": self.program.kind, **asdict(self.program)}
        return json.dumps({**asdict(self), "program": program}, indent=1) + "\n"


def entry_point(stage: StageSpec, points: int) -> str:
    """Name of the function for a number of rows, in a file that has one per bucket."""
    depends = any(t.points_axis is not None for t in (*stage.inputs, *stage.outputs))
    return f"points_{points}" if depends else "main"
