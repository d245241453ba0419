"""Stages, rolled out in torch, are the model: cutting it apart changed nothing."""

from dataclasses import replace

import numpy as np
import pytest

from tapsdk.artifact.manifest import NEXT
from tests.support import import_or_skip, moving_texture

torch = import_or_skip("torch")

from export.stages import Style, cut  # noqa: E402
from training.models.layers.sampling_torch import rescale  # noqa: E402
from training.models.registry import FAMILIES  # noqa: E402
from training.models.tapir.torch import Grids, Tapir  # noqa: E402
from training.models.tapnext.config import TapnextConfig  # noqa: E402
from training.models.tapnext.torch import Tapnext  # noqa: E402

FRAMES, POINTS = 4, 6
CLOSE = {"atol": 1e-3, "rtol": 1e-4}

# What the variants of TAPIR differ in, one at a time, and (height, width) of the frames.
TAPIRS = {
    "tiny": ({}, (64, 96)),
    "frames that are tall": ({}, (96, 64)),
    "frames of one size": ({"size_multiple": None, "resolution": (48, 112)}, (48, 112)),
    "no motion prior": ({"motion_prior": 0.0}, (64, 96)),
    "no pyramid": ({"pyramid_level": 0}, (64, 96)),
    "extra convolutions": ({"extra_convs": 1}, (64, 96)),
    "many iterations": ({"iterations": 3, "mixer_blocks": 2}, (64, 96)),
}


@pytest.fixture(scope="module", params=TAPIRS)
def tapir(request, small_config):
    """(stages, model, size of the frames)"""
    torch.manual_seed(0)
    change, size = TAPIRS[request.param]
    # Following the picture goes on between the stages, not in them.
    model = Tapir(replace(small_config, flow=None, **change)).eval()
    return Stages("tapir", model, size), model, size


@pytest.fixture(scope="module")
def tapnext():
    """(stages, model, size of the frames)"""
    torch.manual_seed(0)
    config = TapnextConfig(
        width=16, depth=2, heads=2, mlp_width=32, patch=8, grid=(4, 4), head_width=16, bins=64, resolution=(32, 48)
    )
    model = Tapnext(config).eval()
    return Stages("tapnext", model, config.resolution), model, config.resolution


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def clip_for(model, size):
    """Frames [1, T, H, W, 3] in [-1, 1] of (height, width) `size`, and points [N, 2] (x, y) in the model's space."""
    height, width = model.config.resolution
    video = torch.from_numpy(moving_texture(FRAMES, *size)).float()[None] / 127.5 - 1
    xy = np.random.default_rng(0).uniform(0, (width, height), (POINTS, 2))
    return video, torch.from_numpy(xy.astype(np.float32))


def whole_model(model, video, xy, t=None):
    """What `init` and `step` give, per frame: the public dict, with tracks in the model's space."""
    when = torch.zeros(len(xy)) if t is None else t
    to_pixels = torch.tensor([a / b for a, b in zip(video.shape[2:4], model.config.resolution, strict=True)]).flip(0)
    state = model.init(video[:, :1], torch.cat([when[:, None], (xy * to_pixels).flip(-1)], -1)[None])
    for frame in range(video.shape[1]):
        out, state = model.step(video[:, frame : frame + 1], state)
        out = {name: tensor[0, :, 0] for name, tensor in out.items()}
        yield {**out, "tracks": out["tracks"] / to_pixels}


class Stages:
    """The stages of a model by name; each takes and gives named tensors, as the manifest has them."""

    def __init__(self, family, model, size, style=None, points=POINTS):
        self.cut, self.size, self.points = cut(family, model, style), size, points
        self.by_name = {stage.name: stage for stage in self.cut.stages}

    def run(self, name, tensors):
        stage = self.by_name[name]
        out = stage.module(*(tensors[t.name] for t in stage.spec.inputs))
        out = out if isinstance(out, tuple) else (out,)
        for spec, tensor in zip(stage.spec.outputs, out, strict=True):
            assert tuple(tensor.shape) == spec.shape_for(self.points, self.size), (name, spec)
        return dict(zip((t.name for t in stage.spec.outputs), out, strict=True))

    def zeros(self):
        return {t.name: torch.zeros(t.shape_for(self.points)) for t in self.by_name["step"].spec.with_role("state")}


def describe(stages, frame, xy):
    """What `step` knows of points that join at a frame."""
    told = stages.run("query", {**stages.run("encode", {"frame": frame}), "xy": xy})
    return {**stages.zeros(), **told, "previous": xy}


def following(known, out):
    """What `step` knows in the next frame."""
    carried = {name.removeprefix(NEXT): tensor for name, tensor in out.items() if name.startswith(NEXT)}
    return {**known, **carried, "previous": out["xy"]}


# TAPIR


def test_the_fused_stage_is_the_model(tapir):
    stages, model, size = tapir
    video, xy = clip_for(model, size)
    known = describe(stages, video[0, :1], xy)
    for t, expected in enumerate(whole_model(model, video, xy)):
        out = stages.run("step", {**known, "frame": video[0, t : t + 1]})
        torch.testing.assert_close(out["xy"], expected["tracks"], **CLOSE)
        for name in FAMILIES["tapir"].visibility.logits:
            torch.testing.assert_close(out[name], expected[name], **CLOSE)
        known = following(known, out)


def test_the_stages_of_the_native_plan_are_the_model(tapir):
    stages, model, size = tapir
    video, xy = clip_for(model, size)
    known = describe(stages, video[0, :1], xy)
    for t, expected in enumerate(whole_model(model, video, xy)):
        out = native_step(stages, model, {**known, "frame": video[0, t : t + 1]})
        torch.testing.assert_close(out["xy"], expected["tracks"], **CLOSE)
        torch.testing.assert_close(out["occlusion"], expected["occlusion"], **CLOSE)
        known = following(known, out)


def native_step(stages, model, known):
    """One frame by `encode`, `locate` and, for every iteration, the model's own lookup and `mixer`."""
    grids = stages.run("encode", known)
    found = stages.run("locate", {**known, **grids})
    mixed = {**found, "features": known["features"]}
    state = {}
    for i in range(stages.cut.program.native.iterations):
        pyramid = Grids(grids["high"][None], grids["low"][None], stages.size)
        patches = model.lookup(pyramid, mixed["xy"][None, None], mixed["features"][None, None])[0, 0]
        memory = {name: known[f"{name}_{i}"] for name in ("narrow", "wide")}
        out = stages.run("mixer", {**mixed, **memory, "patches": patches})
        state |= {f"{NEXT}{name}_{i}": out[NEXT + name] for name in memory}
        mixed = {name: out[NEXT + name] for name in ("occlusion", "expected_dist", "features")} | {
            "xy": mixed["xy"] + rescale(out["offset"], stages.size, model.config.resolution)
        }
    del mixed["features"]  # of this frame; the next one starts from the query's again
    return {**mixed, **state}


def test_levels_name_the_grids_that_refinement_looks_at(tapir):
    stages, _, _ = tapir
    native = stages.cut.program.native
    grids = {t.name: t.shape for t in stages.by_name["encode"].spec.outputs}
    assert [level.grid for level in native.levels] == list(grids)
    for level in native.levels:
        first, last = level.channels
        assert last - first == grids[level.grid][-1]
    patches = stages.by_name["mixer"].spec.with_role("patches")[0]
    assert patches.shape[1] == len(native.levels) * (2 * native.radius + 1) ** 2


# TAPNext


def test_the_stages_of_tapnext_are_the_model(tapnext):
    stages, model, size = tapnext
    video, xy = clip_for(model, size)
    delay = torch.tensor([0.0, 0, 1, 2, 0, 3])
    known = {**stages.zeros(), **stages.run("query", {"xy": xy, "delay": delay})}
    for t, expected in enumerate(whole_model(model, video, xy, delay)):
        out = stages.run("step", {**known, "frame": video[0, t : t + 1]})
        torch.testing.assert_close(out["xy"], expected["tracks"], **CLOSE)
        torch.testing.assert_close(out["visible_logits"], expected["visible_logits"], **CLOSE)
        known = following(known, out)


@pytest.mark.parametrize("capacity", [POINTS, POINTS + 1, 16])
def test_rows_that_only_fill_a_bucket_up_change_nothing(tapnext, capacity):
    _, model, size = tapnext
    stages = Stages("tapnext", model, size, Style(padded=True), capacity)
    video, xy = clip_for(model, size)
    delay = torch.tensor([0.0, 0, 1, 2, 0, 3])

    def filled(tensor):
        return torch.cat([tensor, torch.zeros(capacity - POINTS, *tensor.shape[1:])])

    known = {"xy": filled(xy), "delay": filled(delay), "active": filled(torch.ones(POINTS))}
    known |= {**stages.zeros(), **stages.run("query", known)}
    for t, expected in enumerate(whole_model(model, video, xy, delay)):
        out = stages.run("step", {**known, "frame": video[0, t : t + 1]})
        torch.testing.assert_close(out["xy"][:POINTS], expected["tracks"], **CLOSE)
        torch.testing.assert_close(out["visible_logits"][:POINTS], expected["visible_logits"], **CLOSE)
        known = following(known, out)


# The encoder that can be pretrained, which halves frames once more than grids tell


@pytest.fixture
def lite_config(small_config):
    return replace(small_config, encoder="efficientnet-lite")


@pytest.mark.parametrize("size_multiple, multiple", [(None, 16), (32, 32)])
def test_clips_of_any_size_are_looked_at_in_sizes_that_it_can_halve(lite_config, size_multiple, multiple):
    config = replace(lite_config, causal=False, motion_prior=0.0, size_multiple=size_multiple)
    stages = cut("tapir", Tapir(config).eval()).stages
    assert {stage.size_multiple for stage in stages} == {multiple}


def test_a_multiple_that_it_cannot_halve_is_told(lite_config):
    model = Tapir(replace(lite_config, size_multiple=8)).eval()
    with pytest.raises(ValueError, match=r"down to 1/16; make size_multiple a multiple of 16"):
        cut("tapir", model)
    assert cut("tapir", model, Style(any_size=False, frame_size=(64, 96))).stages


# Every family


def test_what_a_stage_carries_over_has_the_shape_that_it_takes(tapir, tapnext):
    for stages, _, _ in (tapir, tapnext):
        step = stages.by_name["step"].spec
        carried = {t.name.removeprefix(NEXT): t.shape for t in step.outputs if t.role == "state"}
        assert carried == {t.name: t.shape for t in step.with_role("state")}
        assert [t.role for t in step.outputs].count("xy") == 1


def test_examples_have_the_shapes_of_the_manifest(tapir):
    stages, _, size = tapir
    for stage in stages.cut.stages:
        examples = stage.example(3, size)
        assert [tuple(x.shape) for x in examples] == [t.shape_for(3, size) for t in stage.spec.inputs]
        again = stage.example(3, size)
        assert all(torch.equal(one, other) for one, other in zip(examples, again, strict=True))
