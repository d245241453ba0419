"""Stages that kernels compute are the stages that the engine computes."""

import re
from dataclasses import replace

import numpy as np
import pytest

import tapkernels
from tapsdk.artifact import open_artifact
from tapsdk.artifact.manifest import NEXT
from tapsdk.backends import Options, open_backend
from tapsdk.errors import ArtifactError
from tapsdk.runtime.kernel_stages import OPS, open_kernels
from tapsdk.runtime.model import open_model
from tapsdk.runtime.plans import PLANS
from tapsdk.runtime.point_state import EMPTY
from tests.support import copy_artifact, moving_texture, random_points

STAGES = ["locate", "mixer"]


@pytest.fixture(scope="module")
def engine():
    return open_backend("onnxruntime", Options(threads=1))


@pytest.fixture(scope="module")
def artifact(bundled):
    return open_artifact(bundled)


def without_kernels(artifact):
    """The artifact as if it had been exported without them: the engine computes all stages."""
    manifest = artifact.manifest
    program = replace(manifest.program, native=replace(manifest.program.native, kernels={}))
    return replace(artifact, manifest=replace(manifest, program=program))


def kernels_of(artifact, threads=1):
    return open_kernels(artifact, artifact.manifest.program.native, threads)


def inputs_of(artifact, name, count, size=(96, 160)):
    rng = np.random.default_rng(count)
    scales = {"feature": 0.1, "query": 0.1}  # about those of vectors of unit length
    arrays = {
        t.name: rng.normal(0, scales.get(t.role, 1.0), t.shape_for(count, size)).astype(np.float32)
        for t in artifact.stage(name).inputs
    }
    if name == "locate":
        arrays["previous"] = rng.uniform(-20, 300, (count, 2)).astype(np.float32)
    return arrays


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("count, size", [(1, (96, 160)), (3, (160, 96)), (65, (16, 16)), (7, (176, 336))])
def test_a_kernel_computes_what_the_engine_computes(artifact, engine, name, count, size):
    session = engine.open(artifact.file(name, "onnx"), artifact.stage(name))
    inputs = inputs_of(artifact, name, count, size)
    expected, found = session.run(inputs), kernels_of(artifact, threads=2)[name].run(inputs)
    assert found.keys() == expected.keys()
    for output, array in expected.items():
        assert (found[output].shape, found[output].dtype) == (array.shape, np.float32)
        np.testing.assert_allclose(found[output], array, rtol=1e-5, atol=2e-4, err_msg=output)


@pytest.mark.parametrize("name", STAGES)
def test_there_may_be_no_points(artifact, name):
    for output in kernels_of(artifact)[name].run(inputs_of(artifact, name, 0)).values():
        assert 0 in output.shape


def test_memory_is_written_where_it_is_wanted_and_nothing_else_is(artifact):
    inputs = inputs_of(artifact, "mixer", 5)
    given = {name: array.copy() for name, array in inputs.items()}
    mixer = kernels_of(artifact)["mixer"]
    expected = mixer.run(inputs)
    room = {name: np.full_like(inputs[name], np.nan) for name in ("narrow", "wide")}
    found = mixer.run(inputs, room)
    for name, memory in room.items():
        assert found[NEXT + name] is memory or np.shares_memory(found[NEXT + name], memory)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    for name, array in given.items():
        np.testing.assert_array_equal(inputs[name], array)


def test_kernels_keep_to_the_threads_that_the_engine_was_given(bundled, monkeypatch):
    model = open_model(open_artifact(bundled), open_backend("onnxruntime", Options(threads=3)), "native")
    seen, run = [], tapkernels._run
    monkeypatch.setattr(tapkernels, "_run", lambda *a: seen.append(a[3]) or run(*a))
    stream, video = model.stream(), moving_texture(2, 64, 96)
    for t, frame in enumerate(video):
        stream.advance(stream.prepare(frame), (64, 96), random_points(3, video) if t == 0 else np.zeros((0, 2), "f4"))
    assert set(seen) == {3}


# The plan with kernels


@pytest.fixture(scope="module", params=[(64, 96), (96, 64)], ids=str)
def frames(request):
    return (moving_texture(6, *request.param) / np.float32(127.5) - np.float32(1))[:, None]


def rolled_out(plan, frames, state, reuse=False):
    """[N, T, 5] of what is found, and the state after it."""
    found, spent = [], EMPTY
    for frame in frames:
        estimates, after = plan.step(frame, state, spent)
        spent, state = state if reuse else EMPTY, after
        found.append(np.column_stack([estimates.xy, *estimates.logits.values(), estimates.certainty]))
    return np.stack(found, 1), state


@pytest.fixture(scope="module")
def plan(artifact, engine):
    return PLANS["native"](artifact, engine)


def test_tracks_are_those_of_the_compiled_stages(artifact, engine, plan, frames):
    compiled = PLANS["native"](without_kernels(artifact), engine)
    xy = random_points(70, moving_texture(1, 256, 256))
    found, _ = rolled_out(plan, frames, plan.begin(frames[0], xy))
    expected, _ = rolled_out(compiled, frames, compiled.begin(frames[0], xy))
    np.testing.assert_allclose(found[..., :2], expected[..., :2], atol=0.01)
    np.testing.assert_allclose(found[..., 2:], expected[..., 2:], atol=0.01)


def test_a_kernels_plan_opens_no_stage_that_a_kernel_computes(artifact, engine, monkeypatch):
    opened = []
    monkeypatch.setattr(type(engine), "open", lambda self, file, *_: opened.append(file.path.stem))
    PLANS["native"](artifact, engine)
    assert sorted(set(opened)) == ["encode", "query"]


def test_memory_that_is_used_again_changes_no_number(plan, frames):
    xy = random_points(5, moving_texture(1, 256, 256))
    expected, _ = rolled_out(plan, frames, plan.begin(frames[0], xy))
    found, state = rolled_out(plan, frames, plan.begin(frames[0], xy), reuse=True)
    np.testing.assert_array_equal(found, expected)
    before = plan.store.to_arrays(state)
    plan.step(frames[0], state)
    for name, array in plan.store.to_arrays(state).items():
        np.testing.assert_array_equal(array, before[name], err_msg="a state that was not said to be spent")


def test_only_memory_of_as_many_points_is_used_again(plan, frames):
    xy = random_points(5, moving_texture(1, 256, 256))
    few = plan.begin(frames[0], xy[:2])
    expected, _ = plan.step(frames[0], plan.begin(frames[0], xy))
    found, _ = plan.step(frames[0], plan.begin(frames[0], xy), few)
    np.testing.assert_array_equal(found.xy, expected.xy)


def test_an_interrupted_frame_leaves_a_stream_as_it_was(artifact, engine, monkeypatch):
    video, xy = moving_texture(6, 64, 96), random_points(3, moving_texture(1, 64, 96))
    streams = [open_model(artifact, engine, "native").stream() for _ in range(2)]

    def advance(stream, t):
        added = xy if t == 0 else xy[:0]
        return stream.advance(stream.prepare(video[t]), (64, 96), added).xy

    for stream in streams:
        for t in range(4):
            advance(stream, t)
    with monkeypatch.context() as patch:
        calls, mixer = [], tapkernels.mixer

        def stop(*arguments, **options):
            calls.append(None)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return mixer(*arguments, **options)

        patch.setattr(tapkernels, "mixer", stop)
        with pytest.raises(KeyboardInterrupt):
            advance(streams[0], 4)
    for t in (4, 5):
        np.testing.assert_array_equal(advance(streams[0], t), advance(streams[1], t))


# What a manifest may ask for in vain


def kernel_of(table, name):
    return table["program"]["native"]["kernels"][name]


CHANGES = {
    "an op that there is not": (
        lambda table: kernel_of(table, "mixer").update(op="attention"),
        "wants the kernel 'attention' for its stage 'mixer'; this version of tapsdk has cost_volume_track, mixer",
    ),
    "another op": (lambda table: kernel_of(table, "mixer").update(op="cost_volume_track"), "has no stage 'mixer'"),
    "a tensor that there is not": (
        lambda table: kernel_of(table, "locate")["weights"].update({"shared.weight": "head.nothing"}),
        "has no tensor 'head.nothing', which the manifest names",
    ),
    "a tensor too few": (
        lambda table: kernel_of(table, "locate")["weights"].pop("shared.weight"),
        "has no stage 'locate' that its kernel can compute",
    ),
    "a tensor of the mixer too few": (
        lambda table: kernel_of(table, "mixer")["weights"].pop("norm.weight"),
        "has no stage 'mixer' that its kernel can compute",
    ),
    "a tensor of another shape": (
        lambda table: kernel_of(table, "locate")["weights"].update({"shared.bias": "mixer.embed.bias"}),
        "has no stage 'locate' that its kernel can compute",
    ),
    "a matrix the wrong way round": (
        lambda table: kernel_of(table, "mixer").update(transposed=[]),
        "has no stage 'mixer' that its kernel can compute",
    ),
    "a number that it does not take": (
        lambda table: kernel_of(table, "locate")["numbers"].update(speed=2),
        "has no stage 'locate' that its kernel can compute",
    ),
}


@pytest.mark.parametrize("change, complaint", CHANGES.values(), ids=CHANGES)
def test_what_a_kernel_cannot_do_is_refused(bundled, tmp_path, engine, change, complaint):
    changed = open_artifact(copy_artifact(bundled, tmp_path / "changed", change))
    with pytest.raises(ArtifactError, match=re.escape(complaint)):
        PLANS["native"](changed, engine)
    PLANS["fused"](changed, engine)


def test_ops_are_named_as_in_tapkernels():
    assert set(OPS) <= set(tapkernels.info()["ops"])
