"""The manifest is a file format: others write it, and it is read years later."""

import json
from dataclasses import replace

import pytest

from tapsdk.artifact.manifest import (
    Causal,
    File,
    FlowFusion,
    FrameSpec,
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
    visibility=Visibility({"occlusion": -1}, threshold=0.5),
    program=Causal(native=REFINEMENT),
    stages={
        "step": StageSpec(
            inputs=(FRAME, PREVIOUS, STATE),
            outputs=(TensorSpec("xy", ("N", 2), "xy"),),
            files={"onnx": File("step.onnx", "onnx", "cd" * 32, 1234)},
        )
    },
    flow=FlowFusion(radius=4, levels=3, slip=0.5, pull=0.1, doubtful=0.5, sure=0.9),
    verification={"pixel_error": {"fused": 0.001}},
    tools={"torch": "2.13.0"},
)

# Schema 2, as it must stay. A change that makes this differ needs a new schema number.
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
  "threshold": 0.5
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
   ]
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
  "slip": 0.5,
  "pull": 0.1,
  "doubtful": 0.5,
  "sure": 0.9
 },
 "reference": null,
 "verification": {
  "pixel_error": {
   "fused": 0.001
  }
 },
 "tools": {
  "torch": "2.13.0"
 },
 "schema": 2
}
"""


def write(directory, text):
    (directory / "manifest.json").write_text(text, encoding="utf-8")
    return directory


# Writing and reading


def test_the_text_of_a_manifest():
    assert MANIFEST.to_json() == GOLDEN


@pytest.mark.parametrize(
    "program", [Causal(REFINEMENT), Causal(), Refined(REFINEMENT, multiple=8), Refined(REFINEMENT), Whole(24, margin=3)]
)
def test_what_was_written_is_read_again(tmp_path, program):
    manifest = replace(MANIFEST, program=program)
    assert read_manifest(write(tmp_path, manifest.to_json())) == manifest


def test_reading_loses_nothing_of_the_bundled_manifest(bundled):
    stored = json.loads((bundled / "manifest.json").read_text(encoding="utf-8"))
    read = json.loads(read_manifest(bundled).to_json())
    assert {entry: read[entry] for entry in stored} == stored


def test_points_are_not_independent_unless_the_manifest_says_so(tmp_path):
    table = json.loads(GOLDEN)
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


def test_a_reference_is_one_of_the_files(tmp_path):
    manifest = replace(MANIFEST, reference=File("reference.npz", "npz", "0" * 64, 12))
    assert read_manifest(write(tmp_path, manifest.to_json())) == manifest
    assert [file.path for file in manifest.files()] == ["step.onnx", "reference.npz"]
    assert manifest.formats == ["onnx"]


# What is refused


def test_a_folder_without_manifest_is_not_an_artifact(tmp_path):
    with pytest.raises(ArtifactError, match=r"is not an artifact: it has no manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", GOLDEN[:300], "\0", "[1, 2]]"], ids=repr)
def test_text_that_is_not_json(tmp_path, text):
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        read_manifest(write(tmp_path, text))


def test_bytes_that_are_not_text(tmp_path):
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        read_manifest(tmp_path)


def test_a_folder_in_its_place(tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("schema", [0, 1, 3, "2", None])
def test_an_unknown_schema_says_which_one_is_known(tmp_path, schema):
    text = json.dumps({**json.loads(GOLDEN), "schema": schema})
    with pytest.raises(ArtifactError, match=rf"has schema {schema!r}; .* reads schema 2\. Export the model again"):
        read_manifest(write(tmp_path, text))


@pytest.mark.parametrize("text", ["[]", "1", "null", '"text"', "{}"])
def test_json_that_is_no_manifest_has_no_schema(tmp_path, text):
    with pytest.raises(ArtifactError, match="has schema None"):
        read_manifest(write(tmp_path, text))


def with_entry(*path_and_value):
    *path, last, value = path_and_value
    table = json.loads(GOLDEN)
    inner = table
    for key in path:
        inner = inner[key]
    inner[last] = value
    return table


@pytest.mark.parametrize(
    "table, complaint",
    [
        (with_entry("licence", "none"), "unknown entries licence"),
        (
            with_entry("program", "kind", "stream"),
            "unknown program 'stream'; this version knows causal, refined",
        ),
        (with_entry("program", {"kind": "refined"}), "refinement"),
        (with_entry("program", {"kind": "refined", "refinement": None}), "'refined' needs an entry 'refinement'"),
        (with_entry("program", {"kind": "whole", "frames": 0}), "a chunk of 0 frames"),
        (with_entry("program", {"kind": "whole", "frames": 8, "margin": -1}), "a margin of -1"),
        (with_entry("program", {"kind": "whole", "frames": "8"}), "a chunk of '8' frames"),
        (with_entry("program", "frames", 8), "frames"),
        (with_entry("program", "native", {"radius": 3}), "levels"),
        (with_entry("program", "native", "iterations", "3"), "'3' iterations"),
        (with_entry("points", "query_frame", "first"), "unknown query_frame 'first'; this version knows exact, model"),
        (with_entry("points", "independent", 1), "independent is 1, not true or false"),
        (with_entry("points", "buckets", {"onnx": [64, 16]}), r"buckets \[64, 16\] are not growing numbers of points"),
        (with_entry("points", "buckets", {"onnx": []}), r"buckets \[\] are not growing"),
        (with_entry("points", "buckets", {"onnx": ["N"]}), r"buckets \['N'\] are not growing"),
        (with_entry("points", "join", "end"), "unknown join 'end'; this version knows query, start"),
        (with_entry("points", "space", [256]), "unpack"),
        (with_entry("points", "space", [256, 0]), r"space \[256, 0\] is not \(height, width\)"),
        (with_entry("frames", "size", [256.0, 256]), r"size \[256.0, 256\] is not \(height, width\)"),
        (with_entry("frames", "multiple", 0), "multiple is 0"),
        (with_entry("frames", "layout", "TCHW"), "unknown layout 'TCHW'; this version knows THWC"),
        (with_entry("frames", "range", [1.0, -1.0]), r"range \[1.0, -1.0\] does not grow"),
        (with_entry("frames", "range", [0.0, 1e999]), r"range \[0.0, inf\] does not grow"),
        (with_entry("frames", "range", [0.0, 1.0]), r"'flow' needs frames in the range \[-1, 1\], not \[0.0, 1.0\]"),
        (with_entry("visibility", {"rule": "any"}), "rule"),
        (with_entry("reference", {"path": "reference.npz"}), "sha256"),
        (with_entry("reference", "reference.npz"), "TypeError"),
        (with_entry("flow", {"radius": 3}), "levels"),
        (with_entry("flow", "sigma", 2), "sigma"),
        (with_entry("stages", "step", "inputs", []), "'flow' needs a stage 'step' with an input of the role"),
        (with_entry("stages", []), "items"),
        (with_entry("stages", "step", "files", "onnx", "hash", "md5"), "hash"),
        (with_entry("stages", "step", "inputs", 0, "role", "image"), "unknown role 'image'; this version knows frame"),
        (with_entry("stages", "step", "inputs", 0, "layout", "nhwc"), "layout"),
        (with_entry("stages", "step", "inputs", 0, "shape", ["B", 3]), r"shape \['B', 3\] is not of sizes"),
        (with_entry("stages", "step", "inputs", 0, "shape", ["H/0"]), r"shape \['H/0'\] is not of sizes"),
        (with_entry("stages", "step", "inputs", 0, "shape", ["N/2"]), r"shape \['N/2'\] is not of sizes"),
        (with_entry("stages", "step", "inputs", 0, "shape", ["N", "N"]), "once at most"),
        (with_entry("stages", "step", "inputs", 0, "shape", ["T", "N", "T"]), "once at most"),
        (with_entry("stages", "step", "inputs", 0, "shape", [0]), "is not of sizes"),
    ],
)
def test_an_entry_that_this_version_does_not_know(tmp_path, table, complaint):
    with pytest.raises(ArtifactError, match=rf"manifest\.json is damaged: .*({complaint})"):
        read_manifest(write(tmp_path, json.dumps(table)))


DEFAULTS = {"flow": None, "reference": None, "verification": {}, "tools": {}}


@pytest.mark.parametrize("entry", [key for key in json.loads(GOLDEN) if key not in DEFAULTS])
def test_an_entry_that_is_needed(tmp_path, entry):
    table = json.loads(GOLDEN)
    del table[entry]
    with pytest.raises(ArtifactError, match="is damaged: .*" + entry if entry != "schema" else "has schema None"):
        read_manifest(write(tmp_path, json.dumps(table)))


@pytest.mark.parametrize("entry", DEFAULTS)
def test_an_entry_that_has_a_default(tmp_path, entry):
    table = json.loads(GOLDEN)
    del table[entry]
    assert getattr(read_manifest(write(tmp_path, json.dumps(table))), entry) == DEFAULTS[entry]


@pytest.mark.parametrize("shape, name", [(("N", 2), "points_64"), ((2, "N"), "points_64"), ((1, 8, 16, 3), "main")])
def test_entry_points_are_named_after_their_bucket_where_points_matter(shape, name):
    tensor = TensorSpec("x", shape, "state")
    assert entry_point(StageSpec((FRAME, tensor), (FRAME,)), 64) == name
    assert entry_point(StageSpec((FRAME,), (tensor,)), 64) == name
