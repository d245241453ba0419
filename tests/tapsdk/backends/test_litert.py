"""LiteRT: entry points by number of points, arrays in and out, and what is said of files that do not fit."""

import struct
from dataclasses import replace

import numpy as np
import pytest

from tapsdk import Tracker, track
from tapsdk.artifact import open_artifact
from tapsdk.artifact.content import read_content
from tapsdk.artifact.manifest import TensorSpec
from tapsdk.backends import Options, open_backend
from tapsdk.errors import ArtifactError, BackendError
from tests.support import BUCKETS, EXACT, import_or_skip, random_points

import_or_skip("ai_edge_litert", "litert")

from tapsdk.backends.litert import check_whole  # noqa: E402


@pytest.fixture
def engine():
    return open_backend("litert", Options(threads=1))


@pytest.fixture(scope="module")
def artifact(exported_tflite):
    return open_artifact(exported_tflite)


@pytest.fixture
def step(artifact, engine):
    return engine.open(artifact.file("step", "tflite"), artifact.stage("step"), BUCKETS[0])


@pytest.fixture(scope="module")
def inputs(artifact):
    return random_inputs(artifact.stage("step"), BUCKETS[0])


def random_inputs(stage, points):
    rng = np.random.default_rng(0)
    return {t.name: rng.standard_normal(t.shape_for(points)).astype(np.float32) for t in stage.inputs}


def test_it_says_what_it_is(engine):
    assert engine.describe().startswith("litert 2.")


def test_arrays_go_in_and_come_out(step, inputs, artifact):
    outputs = step.run(inputs)
    specs = artifact.stage("step").outputs
    assert list(outputs) == [t.name for t in specs]
    for spec in specs:
        assert outputs[spec.name].shape == spec.shape_for(BUCKETS[0])
        assert outputs[spec.name].dtype == np.float32


@pytest.mark.parametrize("points", BUCKETS)
def test_a_file_has_an_entry_point_for_every_bucket(engine, artifact, points):
    stage = artifact.stage("step")
    session = engine.open(artifact.file("step", "tflite"), stage, points)
    assert session.run(random_inputs(stage, points))["xy"].shape == (points, 2)


def test_a_stage_without_points_has_one_entry_point(engine, artifact):
    stage = artifact.stage("encode")
    session = engine.open(artifact.file("encode", "tflite"), stage, BUCKETS[1])
    assert session.run(random_inputs(stage, 0))["low"].shape == stage.outputs[1].shape


def test_entry_points_share_what_a_file_holds(engine, artifact):
    file, stage = artifact.file("step", "tflite"), artifact.stage("step")
    one, other = (engine.open(file, stage, points) for points in BUCKETS)
    assert one._runner._interpreter is other._runner._interpreter
    for session, points in ((one, BUCKETS[0]), (other, BUCKETS[1]), (one, BUCKETS[0])):
        assert session.run(random_inputs(stage, points))["xy"].shape == (points, 2)


def test_a_call_leaves_alone_what_came_out_of_the_one_before(step, inputs):
    kept = [t for t in step.run(inputs) if t.startswith("next_")]
    first = step.run(inputs, keep=kept)
    copies = {name: np.array(value) for name, value in first.items()}
    step.run({name: array + 1 for name, array in inputs.items()}, keep=kept)
    for name, value in first.items():
        np.testing.assert_array_equal(value, copies[name])


def test_kept_tensors_go_in_again(step, inputs, engine):
    expected = step.run(inputs)["xy"]
    kept = {name: engine.keep(array) for name, array in inputs.items()}
    np.testing.assert_array_equal(step.run(kept)["xy"], expected)


def test_what_was_fetched_is_a_copy(engine):
    array = np.zeros(3, np.float32)
    fetched = engine.fetch(engine.keep(array))
    array += 1
    np.testing.assert_array_equal(fetched, 0)


@pytest.mark.parametrize("order", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2]], ids=["fortran", "step"])
def test_memory_of_any_order(step, inputs, engine, order):
    expected = step.run(inputs)["xy"]
    np.testing.assert_array_equal(step.run({n: order(a) for n, a in inputs.items()})["xy"], expected)
    np.testing.assert_array_equal(step.run({n: engine.keep(order(a)) for n, a in inputs.items()})["xy"], expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs: {**inputs, "previous": inputs["previous"].astype(np.float64)},
        lambda inputs: {**inputs, "previous": inputs["previous"][:1]},
        lambda inputs: {name: array for name, array in inputs.items() if name != "previous"},
        lambda inputs: {**inputs, "after": inputs["previous"]},
    ],
    ids=["dtype", "shape", "missing", "unknown"],
)
def test_what_the_engine_cannot_do_is_one_of_our_errors(step, inputs, change):
    expected = step.run(inputs)["xy"]
    with pytest.raises(BackendError, match="litert failed: "):
        step.run(change(inputs))
    np.testing.assert_array_equal(step.run(inputs)["xy"], expected)  # and it still runs


# Files that are not what the manifest says


def test_a_number_of_points_that_the_file_has_no_entry_point_for(engine, artifact):
    with pytest.raises(ArtifactError, match=r"step\.tflite has no entry point 'points_5'; it has points_16, points_4"):
        engine.open(artifact.file("step", "tflite"), artifact.stage("step"), 5)


def test_other_tensors_than_the_manifest_declares(engine, artifact):
    stage = artifact.stage("query")
    other = replace(stage, outputs=(TensorSpec("descriptor", ("N", 8), "query"),))
    with pytest.raises(ArtifactError, match=r"'features'.*declares .*'descriptor'"):
        engine.open(artifact.file("query", "tflite"), other, BUCKETS[0])


@pytest.mark.parametrize("content", [b"", b"not a graph", None], ids=["empty", "text", "truncated"])
def test_a_file_that_the_engine_cannot_read(tmp_path, engine, artifact, content):
    path = tmp_path / "step.tflite"
    whole = artifact.file("step", "tflite").data
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ArtifactError, match=r"litert cannot load .*step\.tflite"):
        engine.open(read_content(path, 1 << 30), artifact.stage("step"), BUCKETS[0])


@pytest.mark.parametrize("field", ["externalBufferGroups", "externalBuffers"])
def test_a_model_with_buffers_in_other_files_is_not_given_to_the_engine(field):
    flatbuffers = pytest.importorskip("flatbuffers", reason="needs flatbuffers")
    from ai_edge_litert import schema_py_generated as schema

    def packed(model):
        builder = flatbuffers.Builder(0)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    model = schema.ModelT()
    check_whole(packed(model))
    kind = {"externalBufferGroups": schema.ExternalBufferGroupT, "externalBuffers": schema.ExternalBufferT}[field]
    setattr(model, field, [kind()])
    with pytest.raises(ValueError, match="keeps buffers in other files"):
        check_whole(packed(model))


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", b"\xff\xff\xff\xffTFL3", b"\x04\0\0\0TFL3", b"\x08\0\0\0TFL3\xff\xff\xff\x7f", b"\x80\x04N."]
)
def test_what_is_no_model_at_all(data):
    with pytest.raises((ValueError, struct.error)):
        check_whole(data)


def test_a_file_that_took_the_place_of_another_is_read_anew(tmp_path, engine, artifact):
    path = tmp_path / "stage.tflite"
    path.write_bytes(artifact.file("step", "tflite").data)
    session = engine.open(read_content(path, 1 << 30), artifact.stage("step"), BUCKETS[0])
    path.unlink()
    path.write_bytes(artifact.file("query", "tflite").data)
    other = engine.open(read_content(path, 1 << 30), artifact.stage("query"), BUCKETS[0])
    assert session._runner._interpreter is not other._runner._interpreter


# From end to end


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_points_in_a_bucket_are_tracked_as_they_are_alone(exported_tflite, video, count):
    points = random_points(5, video)
    expected = track(video, points, exported_tflite, backend="litert").xy[:count]
    np.testing.assert_allclose(track(video, points[:count], exported_tflite, backend="litert").xy, expected, atol=1e-3)


def test_no_points(exported_tflite, video):
    assert track(video, np.zeros((0, 2), np.float32), exported_tflite, backend="litert").xy.shape == (0, len(video), 2)


def test_more_points_than_the_largest_bucket_go_in_groups(exported_tflite, video):
    points = random_points(17, video)
    tracks = track(video, points, exported_tflite, backend="litert")
    alone = track(video, points[16:], exported_tflite, backend="litert")
    np.testing.assert_allclose(tracks.xy[16:], alone.xy, atol=EXACT)


def test_a_tracker_keeps_all_its_points_and_takes_no_more_than_the_largest_bucket(exported_tflite, video):
    tracker = Tracker(exported_tflite, backend="litert")
    tracker.add(random_points(17, video))
    with pytest.raises(BackendError, match=r"17 points are too many: this artifact takes 16 at most"):
        tracker.step(video[0])


def test_the_right_backend_is_found(exported_tflite, video):
    assert track(video, [[5, 5]], exported_tflite).report.backend.startswith("litert ")
