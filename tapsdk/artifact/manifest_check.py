"""Whether the parts of a manifest fit together: what a program needs is there, and what is there belongs to it."""

from __future__ import annotations

import math
from collections.abc import Collection

from tapsdk.artifact.manifest import (
    MAX_CELLS,
    NEXT,
    POINTS,
    Causal,
    FrameSpec,
    Manifest,
    Refined,
    Refinement,
    StageSpec,
    TensorSpec,
    Whole,
)

LARGEST_TENSOR = 1 << 28
"""Numbers in a tensor, for one point and one frame."""

STAGES = {
    Causal.kind: ("query", "step"),
    Refined.kind: ("encode", "query", "locate", "mixer"),
    Whole.kind: ("query", "track"),
}
NATIVE_STAGES = {"encode", "locate", "mixer"}
"""Of a causal program, with native kernels between them."""

KERNEL_STAGES = {"locate", "mixer"}
"""Of these, what kernels can compute."""

ROLE_SHAPES: dict[str, tuple[int, ...]] = {
    "frame": (3,),
    "points": (2,),
    "previous": (2,),
    "xy": (2,),
    "offset": (2,),
    "logit": (),
    "delay": (),
    "active": (),
    "present": (),
}
"""What shapes end with, of tensors that the runtime makes or looks into."""


def check_manifest(manifest: Manifest) -> None:
    """Raises ValueError that names the entry which does not fit, and what would."""
    _check_stages(manifest)
    _check_frames(manifest.frames)
    for name, stage in manifest.stages.items():
        for tensor in (*stage.inputs, *stage.outputs):
            _check_role(f"stages.{name}: the shape of {tensor.name!r}", tensor)
            _check_size(f"stages.{name}: the shape of {tensor.name!r}", tensor, manifest.frames)
    program = manifest.program
    if isinstance(program, Causal):
        _check_causal(manifest)
        _check_native(manifest, program.native)
    elif isinstance(program, Refined):
        _check_refined(manifest, program.refinement)
    else:
        _check_whole(manifest)
    _check_flow(manifest)


def _check_stages(manifest: Manifest) -> None:
    program = manifest.program
    needed, others = set(STAGES[program.kind]), set[str]()
    if isinstance(program, Causal):
        query = manifest.stages.get("query")
        others = NATIVE_STAGES
        needed |= others if program.native else {"encode"} if query and query.with_role("feature") else set()
    else:
        others = {"encode"} if isinstance(program, Whole) else {"lookup"}
    missing, unknown = needed - set(manifest.stages), set(manifest.stages) - needed - others
    if missing or unknown:
        more = f", and may have {', '.join(sorted(others - needed))}" if others - needed else ""
        raise ValueError(
            f"stages has {', '.join(manifest.stages) or 'none'}; a program {program.kind!r} like this one needs "
            f"{', '.join(sorted(needed))}{more}"
        )


def _check_frames(frames: FrameSpec) -> None:
    if frames.multiple is None:
        return
    low, high = frames.multiple, MAX_CELLS * frames.multiple
    if not all(low <= side <= high for side in frames.size):
        raise ValueError(
            f"frames.size is {list(frames.size)}; with a 'multiple' of {frames.multiple} allowed are sides from {low} "
            f"to {high}"
        )


def _check_role(where: str, tensor: TensorSpec) -> None:
    """What a shape begins and ends with, by what the tensor is."""
    rest = ROLE_SHAPES.get(tensor.role)
    if rest is None:
        return
    if tensor.role == "frame":
        fits = len(tensor.shape) == 4 and tensor.shape[3:] == rest
        allowed = "[1, H, W, 3], or the number of frames in place of 1"
    elif tensor.role == "present":
        fits = len(tensor.shape) == 1 and tensor.shape != (POINTS,)
        allowed = "the number of frames"
    else:
        # Between the point and what is said of it, there may be the frames.
        fits = tensor.shape[:1] == (POINTS,) and len(tensor.shape) - len(rest) in (1, 2)
        fits = fits and tensor.shape[len(tensor.shape) - len(rest) :] == rest
        allowed = f"{[POINTS, *rest]}, with the number of frames after {POINTS!r} if there are many"
    if not fits:
        raise ValueError(f"{where} is {list(tensor.shape)}; for the role {tensor.role!r} allowed is {allowed}")


def _check_size(where: str, tensor: TensorSpec, frames: FrameSpec) -> None:
    for entry in tensor.shape:
        part = int(str(entry).partition("/")[2] or 1)
        if (frames.multiple or math.gcd(*frames.size)) % part:
            sides = f"multiples of {frames.multiple}" if frames.multiple else str(list(frames.size))
            raise ValueError(
                f"{where} has {entry!r}, and the frames' sides are {sides}; allowed are parts without a rest"
            )
    size = math.prod(tensor.shape_for(1, frames.size))
    if size > LARGEST_TENSOR:
        raise ValueError(f"{where} is {list(tensor.shape)}, {size} numbers; allowed are {LARGEST_TENSOR}")


def _check_logits(manifest: Manifest, stage: str) -> None:
    """Of the stage that tracks."""
    found = {tensor.name for tensor in manifest.stages[stage].outputs if tensor.role == "logit"}
    logits = set(manifest.visibility.logits)
    if found != logits:
        raise ValueError(
            f"visibility.logits has {', '.join(sorted(logits))}; allowed are the logits that stages.{stage} gives, "
            f"{', '.join(sorted(found)) or 'none'}"
        )


def _check_outputs(manifest: Manifest, stage: str, needed: Collection[str]) -> None:
    found = {tensor.name for tensor in manifest.stages[stage].outputs}
    missing = sorted(set(needed) - found)
    if missing:
        raise ValueError(
            f"stages.{stage}.outputs has {', '.join(sorted(found)) or 'none'}; "
            f"the program and visibility.logits need {', '.join(missing)} as well"
        )


def _one(stage: str, spec: StageSpec, role: str) -> TensorSpec:
    found = [tensor for tensor in spec.inputs if tensor.role == role]
    if len(found) != 1:
        raise ValueError(f"stages.{stage}.inputs has {len(found)} tensors of the role {role!r}; allowed is one")
    return found[0]


def _check_inputs(stage: str, spec: StageSpec, known: Collection[str]) -> None:
    unknown = [tensor.name for tensor in spec.inputs if tensor.name not in known]
    if unknown:
        raise ValueError(
            f"stages.{stage}.inputs has {unknown[0]!r}, which nothing gives; allowed are {', '.join(sorted(known))}"
        )


def _names(spec: StageSpec) -> set[str]:
    return {tensor.name for tensor in spec.outputs}


def _check_causal(manifest: Manifest) -> None:
    query, step = manifest.stages["query"], manifest.stages["step"]
    _one("query", query, "points")
    frame = _one("step", step, "frame")
    if frame.name != "frame":
        raise ValueError(f"stages.step.inputs has a frame called {frame.name!r}; allowed is 'frame'")
    if not query.outputs:
        raise ValueError("stages.query.outputs is []; allowed are one tensor or more")
    state = step.with_role("state")
    own = {tensor.name for tensor in (*state, *step.with_role("previous", "active"))}
    _check_inputs("step", step, {"frame", *_names(query), *own})
    unkept = [each for each in step.with_role("query") if each.name not in _names(query)]
    if unkept:
        raise ValueError(f"stages.step.inputs has the query {unkept[0].name!r}, which 'query' does not give")
    _check_outputs(manifest, "step", {"xy", *manifest.visibility.logits, *(NEXT + each.name for each in state)})
    _check_logits(manifest, "step")
    after = {tensor.name: tensor for tensor in step.outputs}
    for each in state:
        found = after[NEXT + each.name]
        if (found.shape, found.dtype) != (each.shape, each.dtype):
            raise ValueError(f"stages.step gives {found.name!r} as {list(found.shape)}; allowed is {list(each.shape)}")
    if query.with_role("feature"):
        _check_inputs(
            "query", query, {t.name for t in query.with_role("points", "delay")} | _names(manifest.stages["encode"])
        )


def _check_native(manifest: Manifest, native: Refinement | None) -> None:
    if native is None:
        return
    step, mixer = manifest.stages["step"], manifest.stages["mixer"]
    _check_lookup(manifest, "program.native", native)
    if native.kernels and (set(native.kernels) != KERNEL_STAGES or not manifest.weights):
        raise ValueError(
            f"program.native.kernels has {', '.join(native.kernels)}; allowed are {', '.join(sorted(KERNEL_STAGES))} "
            "together, in an artifact with 'weights', or none"
        )
    memory = [tensor.name for tensor in mixer.with_role("state")]
    wanted = {f"{name}_{i}" for name in memory for i in range(native.iterations)}
    found = {tensor.name for tensor in step.with_role("state")}
    if wanted != found:
        raise ValueError(
            f"program.native.iterations is {native.iterations}, which makes {len(wanted)} states; the stage 'step' "
            f"has {len(found)}, so that allowed are {len(found) / max(1, len(memory)):g}"
        )
    logits = {tensor.name for tensor in mixer.with_role("logit")}
    _check_outputs(manifest, "locate", {"xy", *logits})
    given = {tensor.name for tensor in step.with_role("query", "previous", "active", "state")}
    _check_inputs("locate", manifest.stages["locate"], given | _names(manifest.stages["encode"]))
    features = {tensor.name for tensor in manifest.stages["query"].outputs}
    kept = {NEXT + name for name in (*features, *logits, *memory)}
    _check_outputs(manifest, "mixer", {"offset", *kept})
    _check_inputs("mixer", mixer, {"patches", *features, *logits, *memory})


def _check_whole(manifest: Manifest) -> None:
    query, track, encode = manifest.stages["query"], manifest.stages["track"], manifest.stages.get("encode")
    _one("query", query, "points")
    if encode:
        _check_grids(encode)
        grids = _names(encode)
        seen = {"query": grids, "track": grids}
    else:
        frame = _one("track", track, "frame")
        seen = {"query": {tensor.name for tensor in query.with_role("frame")}, "track": {frame.name}}
    _check_inputs("query", query, seen["query"] | {tensor.name for tensor in query.with_role("points", "delay")})
    _check_inputs("track", track, seen["track"] | _names(query) | {t.name for t in track.with_role("active")})
    _check_outputs(manifest, "track", {"xy", *manifest.visibility.logits})
    _check_logits(manifest, "track")


def _check_grids(encode: StageSpec) -> None:
    """Of a stage that turns a chunk of video into grids, one of each for every frame."""
    frame = _one("encode", encode, "frame")
    _check_inputs("encode", encode, {frame.name, *(tensor.name for tensor in encode.with_role("present"))})
    for grid in encode.outputs:
        if grid.role != "feature" or grid.shape[:1] != frame.shape[:1]:
            raise ValueError(
                f"stages.encode gives {grid.name!r}, {grid.role!r} {list(grid.shape)}; allowed is one of the role "
                f"'feature' whose shape begins with {frame.shape[0]!r}, as that of the frames does"
            )


def _check_refined(manifest: Manifest, refinement: Refinement) -> None:
    query, mixer = manifest.stages["query"], manifest.stages["mixer"]
    _check_lookup(manifest, "program.refinement", refinement)
    if refinement.kernels:
        raise ValueError(f"program.refinement.kernels has {', '.join(refinement.kernels)}; allowed are none")
    _one("query", query, "points")
    logits = {tensor.name for tensor in mixer.with_role("logit")}
    features, grids = _names(query), _names(manifest.stages["encode"])
    _check_inputs("query", query, grids | {tensor.name for tensor in query.with_role("points")})
    _check_inputs("locate", manifest.stages["locate"], grids | features)
    _check_outputs(manifest, "locate", {"xy", *logits, *manifest.visibility.logits})
    _check_logits(manifest, "locate")
    _check_outputs(manifest, "mixer", {"offset", *(NEXT + name for name in (*features, *logits))})
    _check_inputs("mixer", mixer, {"patches", *features, *logits})
    if "lookup" in manifest.stages:
        lookup, (patches,) = manifest.stages["lookup"], mixer.with_role("patches")
        _one("lookup", lookup, "query")
        _check_inputs("lookup", lookup, {_one("lookup", lookup, "points").name, *features, *grids})
        wanted = (POINTS, patches.shape[-1])
        if [tensor.shape for tensor in lookup.outputs] != [wanted]:
            found = [list(tensor.shape) for tensor in lookup.outputs]
            raise ValueError(f"stages.lookup gives {found}; allowed is one tensor of the shape {list(wanted)}")


def _check_lookup(manifest: Manifest, where: str, refinement: Refinement) -> None:
    """Grids, channels and numbers of scores."""
    query, mixer = manifest.stages["query"], manifest.stages["mixer"]
    if len(query.outputs) != 1 or query.outputs[0].shape[:1] != (POINTS,) or len(query.outputs[0].shape) != 2:
        raise ValueError(f"stages.query.outputs has {len(query.outputs)} tensors; allowed is one of the shape [N, C]")
    width = query.outputs[0].shape[1]
    grids = {tensor.name: tensor.shape[-1:] for tensor in manifest.stages["encode"].outputs}
    for i, level in enumerate(refinement.levels):
        if level.grid not in grids:
            raise ValueError(f"{where}.levels[{i}].grid is {level.grid!r}; allowed are {', '.join(sorted(grids))}")
        first, last = level.channels
        if not isinstance(width, int) or last > width or grids[level.grid] != (last - first,):
            raise ValueError(
                f"{where}.levels[{i}].channels is {[first, last]}; allowed are as many as the grid has, "
                f"{list(grids[level.grid])}, of the {width} in {query.outputs[0].name!r}"
            )
    scores = len(refinement.levels) * (2 * refinement.radius + 1) ** 2
    taken = _one("mixer", mixer, "patches").shape[-1:]
    if taken != (scores,):
        raise ValueError(
            f"{where} has {len(refinement.levels)} levels with a radius of {refinement.radius}, which give {scores} "
            f"scores; allowed are the {list(taken)} that the stage 'mixer' takes"
        )


def _check_flow(manifest: Manifest) -> None:
    if manifest.flow is None:
        return
    if manifest.flow.hidden not in manifest.visibility.logits:
        known = ", ".join(manifest.visibility.logits)
        raise ValueError(f"flow.hidden is {manifest.flow.hidden!r}; allowed are the logits of 'visibility': {known}")
    step = manifest.stages.get("step")
    if not step or len(step.with_role("previous")) != 1:
        raise ValueError("'flow' needs a stage 'step' with one input of the role 'previous'")
    if manifest.frames.range != (-1.0, 1.0):
        raise ValueError(f"frames.range is {list(manifest.frames.range)}; with 'flow' allowed is [-1, 1]")
