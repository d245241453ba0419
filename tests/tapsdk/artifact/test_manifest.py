"""The manifest is a file format: others write it, and it is read years later."""

import copy
import json
import os
import re
from dataclasses import replace

import pytest

from tapsdk.artifact import BUNDLED
from tapsdk.artifact.manifest import (
    Causal,
    File,
    FlowFusion,
    FrameSpec,
    Kernel,
    Level,
    Manifest,
    PointSpec,
    Refined,
    Refinement,
    StageSpec,
    TensorSpec,
    Visibility,
    Whole,
    entry_point,
)
from tapsdk.artifact.manifest_file import read_manifest
from tapsdk.errors import ArtifactError

FRAME = TensorSpec("frame", (1, 8, 16, 3), "frame")
STATE = TensorSpec("narrow", (5, "N", 2, 4), "state", "float16")
PREVIOUS = TensorSpec("previous", ("N", 2), "previous")
REFINEMENT = Refinement(iterations=3, radius=3, levels=(Level("high", (0, 48)),))
MANIFEST = Manifest(
    model="tapir/tiny",
    weights_sha256="ab" * 32,
    precision="fp32",
    frames=FrameSpec((8, 16), multiple=8),
    points=PointSpec((8, 16), query_frame="exact", buckets={"tflite": (16, 64)}),
    visibility=Visibility({"occlusion": -1}, threshold=0.5, calibration=((0.0, 0.0), (0.5, 0.25), (1.0, 1.0))),
    program=Causal(native=REFINEMENT),
    stages={
        "step": StageSpec(
            inputs=(FRAME, PREVIOUS, STATE),
            outputs=(TensorSpec("xy", ("N", 2), "xy"),),
            files={"onnx": File("step.onnx", "onnx", "cd" * 32, 1234)},
        )
    },
    flow=FlowFusion(
        radius=4,
        levels=3,
        slip=(0.5, 1.0),
        shown=(0.3, 0.6),
        pull=0.1,
        sure=(0.5, 0.9),
        leap=(0.5, 0.7),
        apart=(8.0, 16.0),
        texture=(0.25, 0.5),
        doubt=(3.0, 1.0),
        hidden="occlusion",
    ),
    verification={"pixel_error": {"fused": 0.001}},
    tools={"torch": "2.13.0"},
)

# Schema 3, as it must stay. A change that makes this differ needs a new schema number.
GOLDEN = """\
{
 "model": "tapir/tiny",
 "weights_sha256": "abababababababababababababababababababababababababababababababab",
 "precision": "fp32",
 "frames": {
  "size": [
   8,
   16
  ],
  "multiple": 8,
  "range": [
   -1.0,
   1.0
  ],
  "layout": "THWC"
 },
 "points": {
  "space": [
   8,
   16
  ],
  "join": "query",
  "query_frame": "exact",
  "independent": false,
  "buckets": {
   "tflite": [
    16,
    64
   ]
  }
 },
 "visibility": {
  "logits": {
   "occlusion": -1
  },
  "threshold": 0.5,
  "calibration": [
   [
    0.0,
    0.0
   ],
   [
    0.5,
    0.25
   ],
   [
    1.0,
    1.0
   ]
  ]
 },
 "program": {
  "kind": "causal",
  "native": {
   "iterations": 3,
   "radius": 3,
   "levels": [
    {
     "grid": "high",
     "channels": [
      0,
      48
     ]
    }
   ],
   "kernels": {}
  }
 },
 "stages": {
  "step": {
   "inputs": [
    {
     "name": "frame",
     "shape": [
      1,
      8,
      16,
      3
     ],
     "role": "frame",
     "dtype": "float32"
    },
    {
     "name": "previous",
     "shape": [
      "N",
      2
     ],
     "role": "previous",
     "dtype": "float32"
    },
    {
     "name": "narrow",
     "shape": [
      5,
      "N",
      2,
      4
     ],
     "role": "state",
     "dtype": "float16"
    }
   ],
   "outputs": [
    {
     "name": "xy",
     "shape": [
      "N",
      2
     ],
     "role": "xy",
     "dtype": "float32"
    }
   ],
   "files": {
    "onnx": {
     "path": "step.onnx",
     "format": "onnx",
     "sha256": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
     "bytes": 1234
    }
   }
  }
 },
 "flow": {
  "radius": 4,
  "levels": 3,
  "slip": [
   0.5,
   1.0
  ],
  "shown": [
   0.3,
   0.6
  ],
  "pull": 0.1,
  "sure": [
   0.5,
   0.9
  ],
  "leap": [
   0.5,
   0.7
  ],
  "apart": [
   8.0,
   16.0
  ],
  "texture": [
   0.25,
   0.5
  ],
  "doubt": [
   3.0,
   1.0
  ],
  "hidden": "occlusion"
 },
 "weights": null,
 "reference": null,
 "verification": {
  "pixel_error": {
   "fused": 0.001
  }
 },
 "tools": {
  "torch": "2.13.0"
 },
 "schema": 3
}
"""


BUNDLED_TABLE = json.loads((BUNDLED / "tapir" / "tiny" / "manifest.json").read_text(encoding="utf-8"))
"""A causal program with everything."""


def write(directory, content):
    data = content.encode() if isinstance(content, str) else content
    (directory / "manifest.json").write_bytes(data)
    return directory


def tensors(**shapes):
    """Each as (role, shape)."""
    return tuple(TensorSpec(name, shape, role) for name, (role, shape) in shapes.items())


def with_program(program, stages, **others):
    return replace(MANIFEST, program=program, stages=stages, **{"flow": None, **others})


def whole(frames="T", program=None):
    query = tensors(frame=("frame", (frames, 8, 16, 3)), xy=("points", ("N", 2))), tensors(known=("query", ("N", 3)))
    found = tensors(xy=("xy", ("N", frames, 2)), occlusion=("logit", ("N", frames)))
    track = tensors(frame=("frame", (frames, 8, 16, 3)), known=("query", ("N", 3))), found
    return with_program(program or Whole(24, margin=3), {"query": StageSpec(*query), "track": StageSpec(*track)})


def present(shape):
    return tensors(present=("present", shape))


def encoded(grid=("feature", ("T", 2, 4, 4)), more=()):
    """A whole program whose stages look at grids. more: inputs of the stage that makes them."""
    by_frames = whole()
    grids, (frame, known) = tensors(grid=grid), by_frames.stages["track"].inputs
    stages = {
        "encode": StageSpec((frame, *more), grids),
        "query": StageSpec((*grids, by_frames.stages["query"].inputs[1]), (known,)),
        "track": StageSpec((*grids, known), by_frames.stages["track"].outputs),
    }
    return replace(by_frames, stages=stages)


def refined(**changes):
    level = Level("high", (0, 4))
    refinement = replace(Refinement(iterations=3, radius=1, levels=(level, level)), **changes)
    grid, features = tensors(high=("feature", (1, 2, 4, 4))), tensors(features=("query", ("N", 6)))
    position, hidden = tensors(xy=("xy", ("N", 2))), tensors(occlusion=("logit", ("N",)))
    mixed = tensors(features=("query", ("N", "T", 6)), occlusion=("logit", ("N", "T")))
    after = tuple(replace(tensor, name=f"next_{tensor.name}") for tensor in mixed)
    stages = {
        "encode": StageSpec((FRAME,), grid),
        "query": StageSpec((*grid, *tensors(xy=("points", ("N", 2)))), features),
        "locate": StageSpec((*grid, *features), (*position, *hidden)),
        "mixer": StageSpec(
            (*tensors(patches=("patches", ("N", "T", 18))), *mixed),
            (*tensors(offset=("offset", ("N", "T", 2))), *after),
        ),
    }
    return with_program(Refined(refinement, multiple=8), stages)


def looking_up(scores=18, grid="high"):
    """A refined program that brings a stage for devices without kernels."""
    without_it = refined()
    inputs = tensors(**{grid: ("feature", (1, 2, 4, 4))}, xy=("points", ("N", 2)), features=("query", ("N", 6)))
    lookup = StageSpec(inputs, tensors(patches=("patches", ("N", scores))))
    return replace(without_it, stages={**without_it.stages, "lookup": lookup})


def causal():
    """Without native kernels, and without grids."""
    query = StageSpec(tensors(xy=("points", ("N", 2)), delay=("delay", ("N",))), (STATE,))
    found = tensors(xy=("xy", ("N", 2)), occlusion=("logit", ("N",)))
    step = StageSpec((FRAME, PREVIOUS, STATE), (*found, replace(STATE, name="next_narrow")))
    return with_program(Causal(), {"query": query, "step": step}, flow=MANIFEST.flow)


def without(name, manifest, stage):
    inputs = tuple(tensor for tensor in manifest.stages[stage].inputs if tensor.name != name)
    return replace(manifest, stages={**manifest.stages, stage: replace(manifest.stages[stage], inputs=inputs)})


def renamed(name, manifest, stage):
    old = manifest.stages[stage].inputs
    inputs = tuple(replace(tensor, name="other") if tensor.name == name else tensor for tensor in old)
    return replace(manifest, stages={**manifest.stages, stage: replace(manifest.stages[stage], inputs=inputs)})


# Writing and reading


def test_the_text_of_a_manifest():
    assert MANIFEST.to_json() == GOLDEN


@pytest.mark.parametrize("make", [causal, refined, looking_up, whole, encoded, lambda: encoded(more=present(("T",)))])
def test_what_was_written_is_read_again(tmp_path, make):
    manifest = make()
    assert read_manifest(write(tmp_path, manifest.to_json())) == manifest


def test_reading_loses_nothing_of_the_bundled_manifest(bundled):
    read = json.loads(read_manifest(bundled).to_json())
    assert {entry: read[entry] for entry in BUNDLED_TABLE} == BUNDLED_TABLE


def test_points_are_not_independent_unless_the_manifest_says_so(tmp_path):
    table = copy.deepcopy(BUNDLED_TABLE)
    del table["points"]["independent"]
    assert not read_manifest(write(tmp_path, json.dumps(table))).points.independent
    table["points"]["independent"] = True
    assert read_manifest(write(tmp_path, json.dumps(table))).points.independent


# What it says


def test_a_tensor_has_a_size_for_any_number_of_points():
    assert (FRAME.points_axis, FRAME.shape_for(7)) == (None, (1, 8, 16, 3))
    assert (STATE.points_axis, STATE.shape_for(7)) == (1, (5, 7, 2, 4))


@pytest.mark.parametrize(
    "shape, sizes",
    [((1, "H", "W", 3), (1, 48, 64, 3)), ((1, "H/4", "W/16", 8), (1, 12, 4, 8)), (("N", "H"), (7, 48))],
)
def test_a_tensor_has_a_size_for_frames_of_any_size(shape, sizes):
    assert TensorSpec("grid", shape, "feature").shape_for(7, (48, 64)) == sizes


def test_a_tensor_has_a_size_for_clips_of_any_length():
    assert TensorSpec("patches", ("N", "T", 98), "patches").shape_for(7, frames=24) == (7, 24, 98)


def test_inputs_by_role_come_in_order():
    stage = MANIFEST.stages["step"]
    assert stage.with_role("state", "frame") == [FRAME, STATE]
    assert stage.with_role("query") == []


def test_files_and_formats():
    assert MANIFEST.formats == ["onnx"]
    assert [file.path for file in MANIFEST.files()] == ["step.onnx"]


def test_weights_in_common_are_one_of_the_files_and_needed_in_every_format():
    weights = File("weights.safetensors", "safetensors", "ef" * 32, 1000)
    manifest = replace(MANIFEST, weights=weights)
    assert [file.path for file in manifest.files()] == ["step.onnx", "weights.safetensors"]
    assert (MANIFEST.bytes_of("onnx"), manifest.bytes_of("onnx")) == (1234, 2234)


def test_a_reference_is_one_of_the_files(tmp_path):
    manifest = replace(whole(), reference=File("reference.npz", "npz", "0" * 64, 12))
    assert read_manifest(write(tmp_path, manifest.to_json())) == manifest
    assert [file.path for file in manifest.files()] == ["reference.npz"]
    assert manifest.formats == []


# What is refused


def test_a_folder_without_manifest_is_not_an_artifact(tmp_path):
    with pytest.raises(ArtifactError, match=r"is not an artifact: it has no manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "content, complaint",
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        (GOLDEN[:300], "cannot be read"),
        ("\0", "Expecting value"),
        ("[1, 2]]", "Extra data"),
        (b"\xff\xfe\x00{", "codec can't decode"),
        ('{"a":' * 100_000, "nests too deeply"),
        ("[" * 100_000, "nests too deeply"),
        ('{"schema": 3, "model": "a", "model": "b"}', "has the entry 'model' twice"),
        (f'{{"schema": {"9" * 5000}}}', "a number of 5000 digits"),
        ('{"schema": 3, "points": 1e999}', "1e999, which is too large"),
        ('{"schema": 3, "points": NaN}', "NaN, which is no number"),
        ('{"schema": 3, "points": -Infinity}', "-Infinity, which is no number"),
        (" " * (5 << 20), "at most 4194304 are allowed"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_text_that_is_not_json(tmp_path, content, complaint):
    with pytest.raises(ArtifactError, match=rf"manifest\.json .*{re.escape(complaint)}"):
        read_manifest(write(tmp_path, content))


def test_a_folder_in_its_place(tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ArtifactError, match=r"manifest\.json is a folder"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("schema", [0, 1, 2, 4, "3", 3.0, True, None])
def test_an_unknown_schema_says_which_one_is_known(tmp_path, schema):
    text = json.dumps({**BUNDLED_TABLE, "schema": schema})
    with pytest.raises(ArtifactError, match=rf"has schema {schema!r}; .* reads schema 3\. Export the model again"):
        read_manifest(write(tmp_path, text))


@pytest.mark.parametrize("text", ["[]", "1", "null", '"text"', "{}"])
def test_json_that_is_no_manifest_has_no_schema(tmp_path, text):
    with pytest.raises(ArtifactError, match="has schema None"):
        read_manifest(write(tmp_path, text))


GONE = object()


def with_entry(table, place, value):
    """A copy of a table with another value, or none, at a place such as "frames.size.0"."""
    table = copy.deepcopy(table)
    *path, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    inner = table
    for key in path:
        inner = inner[key]
    if value is GONE:
        del inner[last]
    else:
        inner[last] = value
    return table


NOT_NAMES = (5, None, True, [], {}, "", "a b", "a" * 1000)
NOT_NUMBERS = (None, True, "1", [], {}, 1e300)
NOT_COUNTS = (*NOT_NUMBERS, 0.5, 2.0, -1, 10**9, 10**30)
NOT_PAIRS = (None, True, 5, "ab", {}, [], [1], [1, 2, 3])
NOT_TABLES = (5, True, "x", [], [1])
NOT_SIZES = (
    None,
    256,
    "256",
    [256],
    [256, 0],
    [-256, 256],
    [256.0, 256],
    ["a", "b"],
    [True, 256],
    [10**6, 256],
    [4, 256],
)
NOT_RAMPS = (*NOT_PAIRS, [0.5, 0.5], [0.6, 0.5], [-1, 0.5], [0, 1e9], ["a", None], [True, 2])
STEP = "stages.step"
KERNEL = "program.native.kernels.mixer"
WRONG = {
    "model": (*NOT_NAMES, "../a", "a//b", "/a"),
    "weights_sha256": (*NOT_NAMES, "ab", "zz" * 32),
    "precision": (*NOT_NAMES, "fp8"),
    "frames": (None, *NOT_TABLES, {}),
    "frames.size": (*NOT_SIZES, [1040, 256], [8, 8]),
    "frames.multiple": (*NOT_COUNTS[1:], 0, 257),
    "frames.range": (*NOT_PAIRS, [1, -1], [0, 0], ["a", None], [False, True], [0, 1], [-1e9, 1]),
    "frames.layout": (*NOT_NAMES, "TCHW"),
    "points.space": NOT_SIZES,
    "points.join": (*NOT_NAMES, "end"),
    "points.query_frame": (*NOT_NAMES, "first"),
    "points.independent": (None, 1, 0, "true", []),
    "points.buckets": (
        *NOT_TABLES,
        None,
        {"onnx": 5},
        *({"onnx": b} for b in ([], [64, 16], [16, 16], ["N"], [0], [1e9])),
    ),
    "visibility": (None, *NOT_TABLES, {}, {"rule": "any"}),
    "visibility.logits": (None, *NOT_TABLES, {}, {"occlusion": -1}, {"seen": 1}),
    "visibility.logits.occlusion": (*NOT_COUNTS[:-3], 0, 2, GONE),
    "visibility.threshold": (*NOT_NUMBERS, -0.1, 1.1),
    "visibility.calibration": (
        0.5,
        {},
        [0, 1],
        [[0, 0]],
        [[0, 0, 0], [1, 1, 1]],
        [[0, 0], [0.5, 0.2], [0.5, 0.4], [1, 1]],
        [[0, 0], [0.4, 0.3], [0.5, 0.3], [1, 1]],
        [[0.1, 0], [1, 1]],
        [[0, 0], [1, 0.9]],
        [[0, 0], [0.5, "a"], [1, 1]],
    ),
    "program": (None, *NOT_TABLES, {}, {"kind": "whole"}, {"kind": "refined", "refinement": None}),
    "program.kind": (*NOT_NAMES, "stream", GONE),
    "program.native": (*NOT_TABLES, {}, {"radius": 3}),
    "program.native.iterations": (*NOT_COUNTS, 0, 2, 4, 10, GONE),
    "program.native.radius": (*NOT_COUNTS, 0, 2, 4, 15, 99, GONE),
    "program.native.levels": (None, 5, [], {}, [1], GONE),
    "program.native.levels.0.grid": (*NOT_NAMES, "nope", "low"),
    "program.native.levels.0.channels": (*NOT_PAIRS, [0, 10**9], [48, 0], [0, 47], [-1, 47], [130, 178], [0.0, 48]),
    "program.native.kernels": (None, *NOT_TABLES, {"locate": {}}, {"encode": {"op": "mixer", "weights": {}}}),
    "program.native.kernels.locate": (None, *NOT_TABLES, {}, {"op": "mixer"}, GONE),
    f"{KERNEL}.op": (*NOT_NAMES, "../mixer"),
    f"{KERNEL}.weights": (None, *NOT_TABLES, {"a b": "c"}, {"a": 5}),
    f"{KERNEL}.weights.bias": (*NOT_NAMES[:-3], "a" * 1000, "a\nb", "a b"),
    f"{KERNEL}.transposed": (None, 5, "x", {}, [5], ["nothing"], ["a" * 1000]),
    f"{KERNEL}.numbers": (None, *NOT_TABLES, {"a": "1"}, {"a": None}, {"a": 1e300}, {"a": [1]}),
    "stages": (None, *NOT_TABLES, {}),
    "stages.mixer": (None, *NOT_TABLES, {}, GONE),
    "stages.query": (GONE,),
    "stages.stride": ({"inputs": [], "outputs": []},),
    "stages.query.inputs": (None, 5, "x", {}, []),
    "stages.query.outputs": (None, 5, "x", {}, [], GONE),
    f"{STEP}.inputs": (None, 5, "x", {}, [], [5], GONE),
    f"{STEP}.outputs": (None, 5, "x", {}, [], GONE),
    f"{STEP}.inputs.1.name": (*NOT_NAMES, "other", "frame", "previous"),
    f"{STEP}.inputs.1.role": (*NOT_NAMES, "image", "frame"),
    f"{STEP}.inputs.1.dtype": (*NOT_NAMES, "object", "nonsense", "float64", "O"),
    f"{STEP}.inputs.0.shape": (
        None,
        5,
        "N",
        {},
        [],
        [1],
        ["B", 3],
        ["H/0"],
        ["N/2"],
        ["N", "N"],
        [0],
        [1, "H/3", "W", 3],
    ),
    f"{STEP}.inputs.2.shape": (["N", 3], [2, "N"], ["N"], ["N", 2.0], ["N", True], ["T", "N", "T"]),
    f"{STEP}.inputs.3.shape": ([10**6, "N", 10**6], [1] * 9, [5, "N", 2, 64]),
    "stages.locate.inputs.1.name": ("nothing", "locate"),
    f"{STEP}.outputs.0.name": (*NOT_NAMES, "yx"),
    f"{STEP}.outputs.3.name": ("narrow_0",),
    f"{STEP}.files": (None, *NOT_TABLES, {"onnx": 5}),
    f"{STEP}.files.onnx": (None, *NOT_TABLES, {}, {"path": "step.onnx"}),
    f"{STEP}.files.onnx.format": (*NOT_NAMES, "torch"),
    f"{STEP}.files.onnx.sha256": (*NOT_NAMES, "ab"),
    f"{STEP}.files.onnx.bytes": (*NOT_COUNTS[:-2], "x", 10**12, GONE),
    f"{STEP}.files.onnx.hash": ("md5",),
    "weights": (*NOT_TABLES, {}, {"path": "weights.safetensors"}),
    "weights.path": (*NOT_NAMES, "../weights.safetensors"),
    "weights.format": (*NOT_NAMES, "npz"),
    "weights.sha256": (*NOT_NAMES, "ab"),
    "weights.bytes": (*NOT_COUNTS[:-2], "x", 10**12, GONE),
    "flow": (*NOT_TABLES, {}, {"radius": 3}),
    "flow.radius": (*NOT_COUNTS, 0, 16, 99, GONE),
    "flow.levels": (*NOT_COUNTS, 0, 9, GONE),
    "flow.pull": (*NOT_NUMBERS, -0.1, 1.1),
    "flow.hidden": (*NOT_NAMES, "seen"),
    "flow.doubt": (*NOT_PAIRS, [-1, 1], [1, "a"], [1, 1e9]),
    **{f"flow.{name}": NOT_RAMPS for name in ("slip", "shown", "sure", "leap", "apart", "texture")},
    "flow.sigma": (2,),
    "reference": (*NOT_TABLES, "reference.npz", {"path": "reference.npz"}),
    "reference.format": ("npy",),
    "reference.bytes": (-1, True, 1.0, 1 << 30),
    "verification": (None, *NOT_TABLES),
    "tools": (None, *NOT_TABLES, {"torch": 2}, {"torch": "a\nb"}),
    "licence": ("none",),
}


@pytest.mark.parametrize("place", WRONG)
def test_a_value_that_cannot_be_is_refused_by_its_name(tmp_path, place):
    taken, unnamed = [], []
    for value in WRONG[place]:
        text = json.dumps(with_entry(BUNDLED_TABLE, place, value))
        try:
            read_manifest(write(tmp_path, text))
        except ArtifactError as error:
            # By the last part that is a name; a tensor goes by its own.
            name = [part for part in place.split(".") if not part.isdigit()][-1]
            named = name in str(error) or (".inputs." in place or ".outputs." in place)
            if not named or not re.search("allowed|needs?|its entries are", str(error)):
                unnamed.append(str(error))
        else:
            taken.append(value)
    assert (taken, unnamed) == ([], [])


@pytest.mark.parametrize(
    "place, value, message",
    [
        ("frames.multiple", "8", 'frames.multiple is "8"; allowed is a whole number from 1 to 256'),
        (
            "frames.size",
            [256.5, 256],
            "frames.size is [256.5, 256]; allowed is (height, width) in whole pixels, each from",
        ),
        ("points.query_frame", "first", 'points.query_frame is "first"; allowed is one of exact, model'),
        ("flow.slip", [0.5, 0.5], "flow.slip is [0.5, 0.5]; allowed is two numbers of which the second is larger"),
        (
            "flow.hidden",
            "seen",
            "flow.hidden is 'seen'; allowed are the logits of 'visibility': occlusion, expected_dist",
        ),
        ("frames.range", [0, 1], "frames.range is [0.0, 1.0]; with 'flow' allowed is [-1, 1]"),
        ("program.kind", "stream", 'program.kind is "stream"; allowed is one of causal, refined, whole'),
        (
            "program.native.iterations",
            4,
            "program.native.iterations is 4, which makes 8 states; the stage 'step' has 6, so that allowed are 3",
        ),
        ("program.native.radius", 4, "3 levels with a radius of 4, which give 243 scores; allowed are the [147] that"),
        ("program.native.levels.0.grid", "nope", "levels[0].grid is 'nope'; allowed are high, low, low_2"),
        ("stages.mixer", GONE, "stages has encode, query, step, locate; a program 'causal' like this one needs encode"),
        (
            "stages.step.inputs.1.role",
            "image",
            'stages.step.inputs[1].role is "image"; allowed is one of frame, points',
        ),
        ("stages.\033[2J", {}, "stages has an entry called '\\x1b[2J'; allowed are letters, digits"),
        ("licence", "x" * 1000, "the manifest has an unknown entry 'licence'; its entries are model, weights_sha256"),
        ("model", "x" * 1000, 'model is "' + "x" * 59 + "...; allowed is a name such as family/variant"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(tmp_path, place, value, message):
    text = json.dumps(with_entry(BUNDLED_TABLE, place, value))
    with pytest.raises(ArtifactError, match=rf"manifest\.json is damaged: .*{re.escape(message)}"):
        read_manifest(write(tmp_path, text))


@pytest.mark.parametrize(
    "manifest, message",
    [
        (refined(iterations=0), "program.refinement.iterations is 0"),
        (refined(kernels={"locate": Kernel("mixer", {})}), "program.refinement.kernels has locate; allowed are none"),
        (refined(iterations=33), "program.refinement.iterations is 33; allowed is a whole number from 1 to 32"),
        (refined(radius=2), "give 50 scores; allowed are the [18]"),
        (refined(levels=(Level("low", (0, 4)),)), "levels[0].grid is 'low'; allowed are high"),
        (looking_up(scores=17), "stages.lookup gives [['N', 17]]; allowed is one tensor of the shape ['N', 18]"),
        (looking_up(grid="other"), "stages.lookup.inputs has 'other', which nothing gives; allowed are features, high"),
        (without("xy", looking_up(), "lookup"), "stages.lookup.inputs has 0 tensors of the role 'points'"),
        (whole(program=Whole(0)), "program.frames is 0; allowed is a whole number from 1 to 1024"),
        (whole(program=Whole(8, -1)), "program.margin is -1; allowed is a whole number from 0"),
        (whole(frames=10**7), "allowed"),
        (replace(whole(), stages={}), "a program 'whole' like this one needs query, track, and may have encode"),
        (
            without("frame", encoded(), "encode"),
            "stages.encode.inputs has 0 tensors of the role 'frame'; allowed is one",
        ),
        (renamed("grid", encoded(), "query"), "stages.query.inputs has 'other', which nothing gives"),
        (renamed("grid", encoded(), "track"), "stages.track.inputs has 'other', which nothing gives"),
        (encoded(("feature", (1, 2, 4, 4))), "allowed is one of the role 'feature' whose shape begins with 'T'"),
        (encoded(more=present(("T", 2))), "for the role 'present' allowed is the number of frames"),
        (encoded(more=present(("N",))), "for the role 'present' allowed is the number of frames"),
        (encoded(("state", ("T", 2, 4, 4))), "stages.encode gives 'grid', 'state' ['T', 2, 4, 4]; allowed is one of"),
        (without("frame", whole(), "track"), "stages.track.inputs has 0 tensors of the role 'frame'; allowed is one"),
        (without("xy", whole(), "query"), "stages.query.inputs has 0 tensors of the role 'points'"),
        (
            renamed("known", whole(), "track"),
            "stages.track.inputs has 'other', which nothing gives; allowed are frame, known",
        ),
        (renamed("high", refined(), "locate"), "stages.locate.inputs has 'other', which nothing gives"),
        (renamed("high", refined(), "query"), "stages.query.inputs has 'other', which nothing gives"),
        (renamed("features", refined(), "mixer"), "stages.mixer.inputs has 'other', which nothing gives"),
        (replace(whole(), flow=MANIFEST.flow), "'flow' needs a stage 'step'"),
        (replace(causal(), program=Causal(REFINEMENT)), "needs encode, locate, mixer, query, step"),
        (
            replace(causal(), visibility=Visibility({"seen": 1})),
            "the program and visibility.logits need seen as well",
        ),
    ],
)
def test_programs_and_stages_that_do_not_fit_together(tmp_path, manifest, message):
    with pytest.raises(ArtifactError, match=re.escape(message)):
        read_manifest(write(tmp_path, manifest.to_json()))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX pipes")
def test_nobody_waits_for_a_manifest(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(ArtifactError, match="is a pipe"):
        read_manifest(tmp_path)


DEFAULTS = {"flow": None, "reference": None, "verification": {}, "tools": {}}


@pytest.mark.parametrize("entry", [key for key in BUNDLED_TABLE if key not in (*DEFAULTS, "weights")])
def test_an_entry_that_is_needed(tmp_path, entry):
    text = json.dumps(with_entry(BUNDLED_TABLE, entry, GONE))
    message = f"has no entry '{entry}', which it needs" if entry != "schema" else "has schema None"
    with pytest.raises(ArtifactError, match=message):
        read_manifest(write(tmp_path, text))


@pytest.mark.parametrize("change", [GONE, None])
def test_weights_in_common_are_needed_where_there_are_kernels(tmp_path, change):
    table = with_entry(BUNDLED_TABLE, "weights", change)
    with pytest.raises(ArtifactError, match="allowed are locate, mixer together, in an artifact with 'weights', or no"):
        read_manifest(write(tmp_path, json.dumps(table)))
    table = with_entry(table, "program.native.kernels", GONE)
    assert read_manifest(write(tmp_path, json.dumps(table))).weights is None


@pytest.mark.parametrize("entry", DEFAULTS)
def test_an_entry_that_has_a_default(tmp_path, entry):
    text = json.dumps(with_entry(BUNDLED_TABLE, entry, GONE))
    assert getattr(read_manifest(write(tmp_path, text)), entry) == DEFAULTS[entry]


@pytest.mark.parametrize("shape, name", [(("N", 2), "points_64"), ((2, "N"), "points_64"), ((1, 8, 16, 3), "main")])
def test_entry_points_are_named_after_their_bucket_where_points_matter(shape, name):
    tensor = TensorSpec("x", shape, "state")
    assert entry_point(StageSpec((FRAME, tensor), (FRAME,)), 64) == name
    assert entry_point(StageSpec((FRAME,), (tensor,)), 64) == name
