"""The plans of a model are one tracker, and a point's track depends on no other point."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tapsdk.artifact import Artifact, open_artifact
from tapsdk.backends import Options, open_backend
from tapsdk.errors import ArtifactError, BackendError
from tapsdk.runtime.plans import PLANS
from tapsdk.runtime.sizes import working_size
from tests.support import EXACT, copy_artifact, moving_texture, needs_torch

AGREE = 0.01
"""Pixels between plans."""

FRAMES = 6


@pytest.fixture(scope="module")
def engine():
    return open_backend("onnxruntime", Options(threads=1))


@pytest.fixture(scope="module", params=["fused", "native"])
def plan(request, model, engine):
    return PLANS[request.param](open_artifact(model), engine)


@pytest.fixture(scope="module")
def frames(model):
    return model_frames(*open_artifact(model).manifest.frames.size)


def model_frames(height, width):
    """[T, 1, height, width, 3] float32 in [-1, 1]."""
    return (moving_texture(FRAMES, height, width) / np.float32(127.5) - np.float32(1))[:, None]


def points(count, resolution, seed=0):
    height, width = resolution
    return np.random.default_rng(seed).uniform(0, (width, height), (count, 2)).astype(np.float32)


def roll_out(plan, frames, xy):
    """xy [N, T, 2] and logits [N, T] by name, of points that begin in the first frame."""
    state = plan.begin(frames[0], xy)
    return continue_with(plan, frames, state)


def continue_with(plan, frames, state):
    found, logits = [], []
    for frame in frames:
        estimates, state = plan.step(frame, state)
        found.append(estimates.xy)
        logits.append(estimates.logits)
    return np.stack(found, 1), {name: np.stack([each[name] for each in logits], 1) for name in logits[0]}


# Plans agree


@pytest.mark.parametrize("which", ["model", "bundled"])
@pytest.mark.parametrize("count, shape", [(20, None), (1, (9, 16)), (5, (16, 9))], ids=str)
def test_the_native_plan_gives_the_tracks_of_the_fused_one(request, engine, which, count, shape):
    """At the resolution of the model, and on frames of another shape, where positions and pixels differ."""
    artifact = open_artifact(request.getfixturevalue(which))
    resolution, multiple = artifact.manifest.frames.size, artifact.manifest.frames.multiple
    size = working_size(shape, resolution, multiple) if shape else resolution
    video = model_frames(*size)
    xy = points(count, resolution)
    (fused, fused_logits), (native, native_logits) = (
        roll_out(PLANS[name](artifact, engine), video, xy) for name in ("fused", "native")
    )
    assert fused.shape == (count, FRAMES, 2)
    assert np.abs(fused - native).max() < AGREE
    assert fused_logits.keys() == native_logits.keys() == artifact.manifest.visibility.logits.keys()
    for name, values in fused_logits.items():
        np.testing.assert_allclose(native_logits[name], values, atol=0.01)


def test_points_on_the_border_are_tracked(plan, frames):
    height, width = frames.shape[2:4]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
    xy, _ = roll_out(plan, frames, corners)
    assert np.isfinite(xy).all()


# Positions follow the picture


@needs_torch  # or the model is the bundled one, which follows texture by itself
def test_positions_follow_the_picture_where_the_model_is_in_doubt(model, engine, frames):
    """Weights are random, so the model's own estimates are anywhere: what follows the texture is not theirs."""
    alone = open_artifact(model)
    # Never sure and never hidden, so that nothing pulls.
    usual = open_artifact("tapir").manifest.flow
    doubtful = replace(usual, radius=4, slip=(0.4, 0.8), shown=(-2.0, -1.0), sure=(1.0, 2.0), leap=(1.0, 2.0))
    xy = np.float32([[30, 30], [50, 20]])
    fused = Artifact(alone.directory, replace(alone.manifest, flow=doubtful))
    found, _ = roll_out(PLANS["fused"](fused, engine), frames, xy)
    np.testing.assert_allclose(found, xy[:, None] + np.arange(FRAMES)[:, None] * np.float32([1, 2]), atol=0.3)
    estimates, _ = roll_out(PLANS["fused"](alone, engine), frames, xy)
    assert np.abs(estimates - found).max() > 1


# Points come and go


def test_more_points_beside_it_change_no_track(plan, frames):
    xy = points(12, frames.shape[2:4])
    together, _ = roll_out(plan, frames, xy)
    for some in ([0], [11, 3], list(range(7))):
        alone, _ = roll_out(plan, frames, xy[some])
        np.testing.assert_allclose(alone, together[some], atol=EXACT)


def test_points_that_are_removed_change_no_other_track(plan, frames, engine):
    xy = points(9, frames.shape[2:4])
    undisturbed, _ = roll_out(plan, frames, xy)
    state = plan.begin(frames[0], xy)
    for frame in frames[:2]:
        _, state = plan.step(frame, state)
    for index in ([8, 0, 4], [4], [3, 1, 2, 0, 8, 7, 5, 6, 4]):  # fewer, one, and all in another order
        kept, _ = continue_with(plan, frames[2:], plan.store.select(state, np.array(index)))
        np.testing.assert_allclose(kept, undisturbed[index, 2:], atol=EXACT)


def test_points_that_are_added_change_no_other_track(plan, frames, engine):
    early, late = points(5, frames.shape[2:4]), points(3, frames.shape[2:4], seed=1)
    undisturbed, _ = roll_out(plan, frames, early)
    fresh, _ = roll_out(plan, frames[2:], late)
    state = plan.begin(frames[0], early)
    for frame in frames[:2]:
        _, state = plan.step(frame, state)
    state = plan.store.concatenate([state, plan.begin(frames[2], late)])
    assert state.count == 8
    together, _ = continue_with(plan, frames[2:], state)
    np.testing.assert_allclose(together[:5], undisturbed[:, 2:], atol=EXACT)
    np.testing.assert_allclose(together[5:], fresh, atol=EXACT)


def test_all_points_removed_and_others_added(plan, frames, engine):
    state = plan.begin(frames[0], points(4, frames.shape[2:4]))
    empty = plan.store.select(state, np.array([], np.int64))
    assert (empty.count, plan.store.to_arrays(empty)) == (0, {})
    begun = plan.begin(frames[0], points(2, frames.shape[2:4]))
    state = plan.store.concatenate([empty, begun])
    assert state.count == 2
    np.testing.assert_array_equal(
        continue_with(plan, frames, state)[0], roll_out(plan, frames, points(2, frames.shape[2:4]))[0]
    )


# To the bit, with the native plan


@pytest.fixture(scope="module", params=[1, 3], ids="{} threads".format)
def native(request, bundled):
    return PLANS["native"](open_artifact(bundled), open_backend("onnxruntime", Options(threads=request.param)))


@pytest.fixture(scope="module")
def odd_frames():
    """Of a size at which the rows of the lowest grid are of 10 cells, and begin anywhere between vectors in memory."""
    return model_frames(64, 80)[:3]


def all_numbers(plan, frames, state):
    """[N, T, 5] of what is found, and the state after it."""
    found = []
    for frame in frames:
        estimates, state = plan.step(frame, state)
        found.append(np.column_stack([estimates.xy, *estimates.logits.values(), estimates.certainty]))
    return np.stack(found, 1), state


def test_the_numbers_of_a_point_depend_neither_on_how_many_there_are_nor_on_its_row(native, odd_frames):
    xy = points(130, (256, 256))
    together, _ = all_numbers(native, odd_frames, native.begin(odd_frames[0], xy))
    for rows in ([0], [129], [64, 3, 7], np.arange(64), np.random.default_rng(0).permutation(130)):
        found, _ = all_numbers(native, odd_frames, native.begin(odd_frames[0], xy[rows]))
        np.testing.assert_array_equal(found, together[rows])


@given(st.data())
@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_the_numbers_of_a_point_depend_on_no_other_that_joins_or_leaves(native, odd_frames, data):
    xy = points(3, (256, 256), seed=data.draw(st.integers(0, 99)))
    expected, _ = all_numbers(native, odd_frames, native.begin(odd_frames[0], xy))
    crowd = points(data.draw(st.sampled_from([0, 1, 63, 70])), (256, 256), seed=1)
    rows = np.random.default_rng(2).permutation(len(crowd) + 3)
    everybody = np.concatenate([crowd, xy])[rows]
    mine = np.argsort(rows)[len(crowd) :]
    state = native.begin(odd_frames[0], everybody)
    for t, frame in enumerate(odd_frames):
        found, state = all_numbers(native, [frame], state)
        np.testing.assert_array_equal(found[mine, 0], expected[:, t])
        others = np.setdiff1d(np.arange(state.count), mine)
        leave = others[: data.draw(st.integers(0, len(others)))]
        stay = np.random.default_rng(t).permutation(np.setdiff1d(np.arange(state.count), leave))
        mine = np.array([np.flatnonzero(stay == row)[0] for row in mine])
        state = native.store.select(state, stay)
        if t + 1 < len(odd_frames):
            join = native.begin(odd_frames[t + 1], points(data.draw(st.sampled_from([1, 2, 64])), (256, 256), seed=t))
            state = native.store.concatenate([state, join])


# State as arrays


def test_state_survives_as_arrays_bit_by_bit(plan, frames, engine):
    xy = points(5, frames.shape[2:4])
    expected, _ = roll_out(plan, frames, xy)
    state = plan.begin(frames[0], xy)
    for frame in frames[:3]:
        _, state = plan.step(frame, state)
    arrays = {name: array.copy() for name, array in plan.store.to_arrays(state).items()}
    restored = plan.store.from_arrays(arrays, 5)
    np.testing.assert_array_equal(continue_with(plan, frames[3:], restored)[0], expected[:, 3:])


def test_both_plans_own_the_same_tensors(model, engine):
    """So that a tracker that was saved on one goes on with the other."""
    artifact = open_artifact(model)
    fused, native = (PLANS[name](artifact, engine) for name in ("fused", "native"))
    assert fused.store.specs == native.store.specs


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("features"),
        lambda arrays: arrays.update(more=np.zeros(3)),
        lambda arrays: arrays.update(features=arrays["features"][:-1]),
        lambda arrays: arrays.update(features=arrays["features"].astype(np.float64)),
    ],
    ids=["missing", "unknown", "fewer rows", "dtype"],
)
def test_arrays_that_are_not_state_of_the_model(plan, frames, engine, change):
    arrays = dict(plan.store.to_arrays(plan.begin(frames[0], points(3, frames.shape[2:4]))))
    change(arrays)
    with pytest.raises(ValueError, match="but 3 points have"):
        plan.store.from_arrays(arrays, 3)


# What cannot run


@pytest.fixture
def change_manifest(model, tmp_path):
    def changed(change):
        return open_artifact(copy_artifact(model, tmp_path / "changed", change))

    return changed


def test_an_artifact_without_a_native_plan_has_none(change_manifest, engine):
    artifact = change_manifest(lambda manifest: manifest["program"].update(native=None))
    PLANS["fused"](artifact, engine)
    with pytest.raises(BackendError, match="was exported without a plan for native kernels"):
        PLANS["native"](artifact, engine)


def test_an_artifact_in_a_format_that_the_backend_does_not_read(change_manifest, engine):
    def rename_format(manifest):
        for stage in manifest["stages"].values():
            stage["files"] = {"tflite": {**stage["files"]["onnx"], "format": "tflite"}}

    artifact = change_manifest(rename_format)
    with pytest.raises(BackendError, match=r"backend 'onnxruntime' reads onnx, but .* holds tflite; .* --target onnx"):
        PLANS["fused"](artifact, engine)


def test_an_artifact_that_lacks_a_stage(change_manifest):
    with pytest.raises(ArtifactError, match=r"stages has encode, query, step, locate; .*needs encode, locate, mixer"):
        change_manifest(lambda manifest: manifest["stages"].pop("mixer"))
