"""Reading a manifest: what is no manifest, or asks for what this version does not know, is refused by name."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from tapsdk.artifact.manifest import (
    FRAMES,
    MANIFEST,
    POINTS,
    PROGRAMS,
    SCHEMA,
    SIZE,
    File,
    FlowFusion,
    FrameSpec,
    Join,
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
from tapsdk.errors import ArtifactError


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
    unknown = set(table) - {f.name for f in fields(Manifest)}
    if unknown:
        raise ValueError(f"unknown entries {', '.join(sorted(unknown))}")
    manifest = Manifest(
        **{
            **table,
            "frames": _frames(table["frames"]),
            "points": _points(table["points"]),
            "visibility": Visibility(**table["visibility"]),
            "program": _program(table["program"]),
            "stages": {name: _stage(stage) for name, stage in table["stages"].items()},
            "flow": FlowFusion(**table["flow"]) if table.get("flow") else None,
            "reference": File(**table["reference"]) if table.get("reference") else None,
        }
    )
    _check_flow(manifest)
    return manifest


def _frames(table: dict[str, Any]) -> FrameSpec:
    frames = FrameSpec(
        **{**table, "size": _size("size", table["size"]), "range": _pair(table.get("range", (-1.0, 1.0)))}
    )
    _check_choice("layout", frames.layout, get_args(Layout))
    low, high = frames.range
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"range {list(frames.range)} does not grow")
    if frames.multiple is not None and not _is_count(frames.multiple):
        raise ValueError(f"multiple is {frames.multiple!r}, not a number of pixels")
    return frames


def _points(table: dict[str, Any]) -> PointSpec:
    buckets = {name: _buckets(sizes) for name, sizes in table.get("buckets", {}).items()}
    points = PointSpec(**{**table, "space": _size("space", table["space"]), "buckets": buckets})
    _check_choice("query_frame", points.query_frame, get_args(QueryFrame))
    _check_choice("join", points.join, get_args(Join))
    if not isinstance(points.independent, bool):
        raise ValueError(f"independent is {points.independent!r}, not true or false")
    return points


def _program(table: dict[str, Any]) -> Program:
    _check_choice("program", table["kind"], tuple(PROGRAMS))
    values = {name: value for name, value in table.items() if name != "kind"}
    for name in ("native", "refinement"):
        if values.get(name) is not None:
            values[name] = _refinement(values[name])
    program = PROGRAMS[table["kind"]](**values)
    if isinstance(program, Refined) and program.refinement is None:
        raise ValueError("program 'refined' needs an entry 'refinement'")
    if isinstance(program, Refined) and program.multiple is not None and not _is_count(program.multiple):
        raise ValueError(f"multiple is {program.multiple!r}, not a number of pixels")
    if isinstance(program, Whole) and not (
        _is_count(program.frames) and (program.margin == 0 or _is_count(program.margin))
    ):
        raise ValueError(f"a chunk of {program.frames!r} frames with a margin of {program.margin!r} is none")
    return program


def _check_flow(manifest: Manifest) -> None:
    if manifest.flow is None:
        return
    step = manifest.stages.get("step")
    if not (step and step.with_role("previous")):
        raise ValueError("'flow' needs a stage 'step' with an input of the role 'previous'")
    if manifest.frames.range != (-1.0, 1.0):
        raise ValueError(f"'flow' needs frames in the range [-1, 1], not {list(manifest.frames.range)}")


def _stage(table: dict[str, Any]) -> StageSpec:
    files = {name: File(**file) for name, file in table["files"].items()}
    return StageSpec(_tensors(table["inputs"]), _tensors(table["outputs"]), files)


def _is_size(entry: Any) -> bool:
    return SIZE.fullmatch(entry) is not None if isinstance(entry, str) else _is_count(entry)


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


def _refinement(table: dict[str, Any]) -> Refinement:
    levels = tuple(Level(level["grid"], _pair(level["channels"])) for level in table["levels"])
    refinement = Refinement(table["iterations"], table["radius"], levels)
    if not (_is_count(refinement.iterations) and _is_count(refinement.radius)):
        raise ValueError(f"{refinement.iterations!r} iterations with a radius of {refinement.radius!r} are none")
    return refinement


def _buckets(sizes: list[Any]) -> tuple[int, ...]:
    if not sizes or sorted(set(sizes)) != sizes or not all(map(_is_count, sizes)):
        raise ValueError(f"buckets {sizes} are not growing numbers of points")
    return tuple(sizes)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _size(entry: str, values: list[Any]) -> tuple[int, int]:
    height, width = values
    if not (_is_count(height) and _is_count(width)):
        raise ValueError(f"{entry} {values!r} is not (height, width) in pixels")
    return height, width


def _pair(values: list[Any]) -> tuple[Any, Any]:
    first, second = values
    return first, second
