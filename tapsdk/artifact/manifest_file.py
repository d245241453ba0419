"""Reading a manifest: what is no manifest, or asks for what this version does not know, is refused by name."""

from __future__ import annotations

import itertools
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from tapsdk.artifact import weights
from tapsdk.artifact.content import read_regular
from tapsdk.artifact.entries import Entry
from tapsdk.artifact.manifest import (
    DTYPES,
    FRAMES,
    MANIFEST,
    POINTS,
    PRECISIONS,
    PROGRAMS,
    SCHEMA,
    SIZE,
    Causal,
    Curve,
    File,
    FlowFusion,
    FrameSpec,
    Join,
    Kernel,
    Layout,
    Level,
    Manifest,
    PointSpec,
    Program,
    QueryFrame,
    Refined,
    Refinement,
    Role,
    StageSpec,
    TensorSpec,
    Visibility,
    Whole,
)
from tapsdk.artifact.manifest_check import check_manifest
from tapsdk.errors import ArtifactError
from tapsdk.geometry import Size
from tapsdk.system.json_text import parse_strict_json

MOST_BYTES = 4 << 20
"""Of a manifest."""
LARGEST_FILE = 2 << 30
"""In bytes."""
MIN_SIDE, MAX_SIDE = 8, 4096
"""Pixels of the frames that stages get, and of the space that points are in."""
LARGEST_REFERENCE = 16 << 20
MOST_POINTS = 1 << 20
MOST_FRAMES = 1024
"""Of a chunk of video, of its margin, and of what a stage looks at beside a frame."""
MOST_RADIUS = 15
"""Of what the kernels look at around a point."""
MOST_AXES = 8
MOST_KNOTS = 100
"""Of the line that confidence follows."""
RAMPS = {"slip": MAX_SIDE, "shown": 1, "sure": 1, "leap": 1, "apart": 1e6, "texture": 1e6}
"""Entries of `flow` that are ramps: what they count is never negative, and no more than this."""

MODEL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,59}(/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,59}){0,3}")
SHA256 = re.compile(r"[0-9a-f]{64}")
TENSOR = re.compile(r"[A-Za-z0-9_./-]{1,300}")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
"""Of a file in the artifact's own folder."""


def read_manifest(directory: Path, links: bool = False) -> Manifest:
    """Reads and checks the manifest of an artifact directory. links: whether it may be a symbolic link.

    Raises ArtifactError, which names the entry that is wrong, what it is and what is allowed.
    """
    path = directory / MANIFEST
    try:
        table = parse_strict_json(read_regular(path, MOST_BYTES, links))
    except FileNotFoundError:
        raise ArtifactError(f"{directory} is not an artifact: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    schema = table.get("schema") if isinstance(table, dict) else None
    if type(schema) is not int or schema != SCHEMA:
        raise ArtifactError(
            f"{path} has schema {schema!r:.80}; this version of tapsdk reads schema {SCHEMA}. "
            "Export the model again, or install the version of tapsdk that wrote it"
        )
    try:
        manifest = _manifest(table)
        check_manifest(manifest)
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error
    return manifest


def _manifest(table: dict[str, Any]) -> Manifest:
    optional = ("flow", "weights", "reference", "verification", "tools")
    needed = [f.name for f in fields(Manifest) if f.name not in optional]
    found = Entry("the manifest", table).fields(needed, optional)
    # Within the manifest, entries go by their own names.
    entries = {name: Entry(name, found[name].value) for name in found}
    at = type(found)(entries)
    return Manifest(
        model=at["model"].text(MODEL, "a name such as family/variant, of letters, digits, '.', '_' and '-'"),
        weights_sha256=_sha256(at["weights_sha256"]),
        precision=at["precision"].one_of(PRECISIONS),
        frames=_frames(at["frames"]),
        points=_points(at["points"]),
        visibility=_visibility(at["visibility"]),
        program=_program(at["program"]),
        stages={name: _stage(entry) for name, entry in at["stages"].table().items()},
        flow=at.optional("flow", _flow),
        weights=at.optional("weights", lambda entry: _file(entry, weights.FORMAT, LARGEST_FILE)),
        reference=at.optional("reference", lambda entry: _file(entry, "npz", LARGEST_REFERENCE)),
        verification=at.get("verification", lambda entry: {k: v.value for k, v in entry.table().items()}, {}),
        tools=at.get("tools", _tools, {}),
    )


def _tools(entry: Entry) -> dict[str, str]:
    words = re.compile(r"[^\x00-\x1f]{0,200}")
    return {name: value.text(words, "a line of text") for name, value in entry.table().items()}


def _sha256(entry: Entry) -> str:
    return entry.text(SHA256, "a SHA-256 of 64 hexadecimal digits")


def _size(entry: Entry) -> Size:
    try:
        return entry.pair(lambda side: side.whole(MIN_SIDE, MAX_SIDE))
    except ValueError:
        raise entry.wrong(f"(height, width) in whole pixels, each from {MIN_SIDE} to {MAX_SIDE}") from None


def _frames(entry: Entry) -> FrameSpec:
    at = entry.fields(("size",), ("multiple", "range", "layout"))
    return FrameSpec(
        size=_size(at["size"]),
        multiple=at.optional("multiple", _multiple),
        range=at.get("range", lambda pair: pair.growing(-1e6, 1e6), (-1.0, 1.0)),
        layout=at.get("layout", lambda each: each.one_of(get_args(Layout)), "THWC"),
    )


def _multiple(entry: Entry) -> int:
    return entry.whole(1, 256)


def _points(entry: Entry) -> PointSpec:
    at = entry.fields(("space",), ("join", "query_frame", "independent", "buckets"))
    return PointSpec(
        space=_size(at["space"]),
        join=at.get("join", lambda each: each.one_of(get_args(Join)), "query"),
        query_frame=at.get("query_frame", lambda each: each.one_of(get_args(QueryFrame)), "model"),
        independent=at.get("independent", Entry.flag, False),
        buckets=at.get("buckets", lambda each: {name: _buckets(sizes) for name, sizes in each.table().items()}, {}),
    )


def _buckets(entry: Entry) -> tuple[int, ...]:
    sizes = [each.whole(1, MOST_POINTS) for each in entry.rows(1, 100)]
    if sorted(set(sizes)) != sizes:
        raise entry.wrong("growing numbers of points")
    return tuple(sizes)


def _visibility(entry: Entry) -> Visibility:
    at = entry.fields(("logits",), ("threshold", "calibration"))
    logits = {name: each.whole(-1, 1) for name, each in at["logits"].table().items()}
    if not logits or not all(logits.values()):
        raise at["logits"].wrong("a table with 1 or -1 for each logit, one at least")
    threshold = at.get("threshold", lambda each: each.number(0, 1), 0.5)
    return Visibility(logits, threshold, at.get("calibration", _curve, ()))


def _curve(entry: Entry) -> Curve:
    """Pairs from (0, 0) to (1, 1) that grow in both, or none."""
    knots = tuple(each.pair(lambda number: number.number(0, 1)) for each in entry.rows(0, MOST_KNOTS))
    grows = all(a < c and b < d for (a, b), (c, d) in itertools.pairwise(knots))
    if knots and not (grows and knots[0] == (0, 0) and knots[-1] == (1, 1)):
        raise entry.wrong("pairs [certainty, confidence] that grow in both, from [0, 0] to [1, 1]")
    return knots


def _program(entry: Entry) -> Program:
    kind = entry.fields(("kind",), entry.table())["kind"].one_of(PROGRAMS)
    if kind == Causal.kind:
        return Causal(entry.fields(("kind",), ("native",)).optional("native", _refinement))
    if kind == Refined.kind:
        at = entry.fields(("kind", "refinement"), ("multiple", "reach"))
        reach = at.optional("reach", lambda each: each.whole(0, MOST_FRAMES))
        return Refined(_refinement(at["refinement"]), at.optional("multiple", _multiple), reach)
    at = entry.fields(("kind", "frames"), ("margin",))
    return Whole(at["frames"].whole(1, MOST_FRAMES), at.get("margin", lambda each: each.whole(0, MOST_FRAMES), 0))


def _refinement(entry: Entry) -> Refinement:
    at = entry.fields(("iterations", "radius", "levels"), ("kernels",))
    levels = tuple(map(_level, at["levels"].rows(1, 16)))
    kernels: dict[str, Kernel] = at.get("kernels", _kernels, {})
    return Refinement(at["iterations"].whole(1, 32), at["radius"].whole(1, MOST_RADIUS), levels, kernels)


def _kernels(entry: Entry) -> dict[str, Kernel]:
    return {name: _kernel(each) for name, each in entry.table().items()}


def _kernel(entry: Entry) -> Kernel:
    at = entry.fields(("op", "weights"), ("transposed", "numbers"))
    weights = {name: each.text(TENSOR, "a tensor's name") for name, each in at["weights"].table().items()}
    transposed = at.get("transposed", lambda each: tuple(e.one_of(weights) for e in each.rows(0, len(weights))), ())
    numbers: dict[str, float] = at.get(
        "numbers", lambda each: {name: value.number() for name, value in each.table().items()}, {}
    )
    return Kernel(at["op"].name(), weights, transposed, numbers)


def _level(entry: Entry) -> Level:
    at = entry.fields(("grid", "channels"))
    first, last = at["channels"].pair(lambda each: each.whole(0, 1 << 16))
    if not first < last:
        raise at["channels"].wrong("[first, last) channels, one at least")
    return Level(at["grid"].name(), (first, last))


def _flow(entry: Entry) -> FlowFusion:
    at = entry.fields([f.name for f in fields(FlowFusion)])
    return FlowFusion(
        radius=at["radius"].whole(1, MOST_RADIUS),
        levels=at["levels"].whole(1, 8),
        pull=at["pull"].number(0, 1),
        doubt=at["doubt"].pair(lambda each: each.number(0, 1000)),
        hidden=at["hidden"].name(),
        **{name: at[name].growing(0, most) for name, most in RAMPS.items()},
    )


def _stage(entry: Entry) -> StageSpec:
    at = entry.fields(("inputs", "outputs"), ("files",))
    files: dict[str, File] = at.get("files", _files, {})
    return StageSpec(_tensors(at["inputs"]), _tensors(at["outputs"]), files)


def _files(entry: Entry) -> dict[str, File]:
    return {format: _file(each, format, LARGEST_FILE) for format, each in entry.table().items()}


def _file(entry: Entry, format: str, most_bytes: int) -> File:
    at = entry.fields(("path", "format", "sha256", "bytes"))
    return File(
        at["path"].text(FILE_NAME, "the plain name of a file, which lies in the artifact's own folder"),
        at["format"].one_of((format,)),
        _sha256(at["sha256"]),
        at["bytes"].whole(0, most_bytes),
    )


def _tensors(entry: Entry) -> tuple[TensorSpec, ...]:
    tensors = tuple(map(_tensor, entry.rows(0, 1000)))
    names = [tensor.name for tensor in tensors]
    if len(set(names)) < len(names):
        raise ValueError(f"{entry.where} names a tensor twice: {', '.join(names)[:200]}; allowed is each once")
    return tensors


def _tensor(entry: Entry) -> TensorSpec:
    at = entry.fields(("name", "shape", "role"), ("dtype",))
    shape = tuple(each.value for each in at["shape"].rows(0, MOST_AXES))
    if max(shape.count(POINTS), shape.count(FRAMES)) > 1 or not all(map(_is_size, shape)):
        raise at["shape"].wrong(
            f"sizes from 1 to {MOST_POINTS}, parts of 'H' and 'W', and {POINTS!r} and {FRAMES!r} once at most"
        )
    dtype = at.get("dtype", lambda each: each.one_of(DTYPES), "float32")
    return TensorSpec(at["name"].name(), shape, at["role"].one_of(get_args(Role)), dtype)


def _is_size(entry: Any) -> bool:
    if isinstance(entry, str):
        return SIZE.fullmatch(entry) is not None
    return type(entry) is int and 0 < entry <= MOST_POINTS
