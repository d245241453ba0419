"""A model that refines over whole videos is exported as stages of open length, and tracks as it does in torch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tapsdk import track
from tapsdk.artifact import open_artifact
from tapsdk.artifact.manifest import Refined
from tapsdk.artifact.manifest_file import read_manifest
from tapsdk.backends import Options, open_backend
from tapsdk.runtime.model import open_model
from tapsdk.runtime.sizes import refinement_resolutions
from tests.support import SMALL_CLIP, import_or_skip, known_model, moving_texture

onnx = import_or_skip("onnx")
torch = import_or_skip("torch")

from export.pipeline import Options as ExportOptions  # noqa: E402
from export.pipeline import export  # noqa: E402
from export.stages import Style, cut  # noqa: E402
from export.support import OPEN_LENGTH, why_not  # noqa: E402
from export.targets import TARGETS  # noqa: E402
from tests.golden import formula, official  # noqa: E402
from training.models import load  # noqa: E402
from training.models.tapir.torch import Tapir  # noqa: E402

STAGES = ["encode", "query", "locate", "lookup", "mixer"]
PIXELS = 0.01
FRAMES = 5


@pytest.fixture(scope="module")
def tapir(clip_config, clip_model):
    with known_model(SMALL_CLIP, clip_config):
        return load(SMALL_CLIP, clip_model)


@pytest.fixture(scope="module")
def stages(tapir):
    return {stage.name: stage for stage in cut("tapir", tapir).stages}


def in_torch(tapir, video, txy, **options):
    """tracks [N, T, 2] and visible [N, T] as the model itself gives them."""
    frames = torch.from_numpy(video).float()[None] / 127.5 - 1
    with torch.inference_mode():
        out = tapir.clip(frames, torch.from_numpy(np.float32(txy)[None, :, [0, 2, 1]]), **options)
    seen = (1 - out["occlusion"].sigmoid()) * (1 - out["expected_dist"].sigmoid())
    return out["tracks"][0].numpy(), (seen[0] > 0.5).numpy()


def queries(count, video, seed=0):
    """[N, 3] (t, x, y) on frames from the first to the last."""
    rng = np.random.default_rng(seed)
    frames, height, width = video.shape[:3]
    t = np.linspace(0, frames - 1, count).round()
    return np.concatenate([t[:, None], rng.uniform(0, (width, height), (count, 2))], 1).astype(np.float32)


# The artifact


def test_the_manifest_says_that_all_of_a_clip_is_needed(exported_clip):
    manifest = read_manifest(exported_clip)
    assert isinstance(manifest.program, Refined)
    assert (manifest.program.multiple, manifest.frames.multiple) == (8, None)
    assert list(manifest.stages) == STAGES
    mixer = manifest.stages["mixer"]
    assert {t.shape[:2] for t in (*mixer.inputs, *mixer.outputs)} == {("N", "T")}
    assert {t.name: t.role for t in mixer.outputs} == {
        "offset": "offset",
        "next_occlusion": "logit",
        "next_expected_dist": "logit",
        "next_features": "query",
    }


def test_it_was_compared_with_torch_over_a_clip(exported_clip):
    verification = read_manifest(exported_clip).verification
    assert verification["stage_error"].keys() == set(STAGES)
    assert verification["pixel_error"]["refined"] <= PIXELS
    assert verification["visibility_flips"] == {"refined": 0.0}


@pytest.mark.parametrize("name", STAGES)
def test_sizes_are_open_where_the_manifest_says_so(exported_clip, name):
    graph, stage = onnx.load(exported_clip / f"{name}.onnx").graph, read_manifest(exported_clip).stages[name]
    for tensor, spec in zip((*graph.input, *graph.output), (*stage.inputs, *stage.outputs), strict=True):
        found = [dimension.dim_value or None for dimension in tensor.type.tensor_type.shape.dim]
        assert found == [None if isinstance(size, str) else size for size in spec.shape]


# A side of 72 has 9 cells, of which the pooled grid drops one.
@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(
    "points, frames, size", [(1, 1, (64, 96)), (3, 1, (72, 104)), (1, 9, (104, 32)), (33, 4, (32, 264))]
)
def test_a_stage_computes_what_torch_computes_for_any_size(exported_clip, stages, name, points, frames, size):
    artifact, stage = open_artifact(exported_clip), stages[name]
    session = open_backend("onnxruntime", Options(threads=1)).open(artifact.file(name, "onnx"), artifact.stage(name))
    inputs = stage.example(points, size, seed=points, frames=frames)
    with torch.inference_mode():
        expected = stage.module(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = session.run({t.name: x.numpy() for t, x in zip(stage.spec.inputs, inputs, strict=True)})
    for spec, tensor in zip(stage.spec.outputs, expected, strict=True):
        assert found[spec.name].shape == spec.shape_for(points, size, frames)
        np.testing.assert_allclose(found[spec.name], tensor.numpy(), rtol=1e-3, atol=1e-3, err_msg=spec.name)


# The tracks


@pytest.mark.parametrize(
    "size, sizes",
    [
        ((64, 96), [(64, 96)]),
        ((40, 50), [(64, 96)]),
        ((64, 120), [(64, 96), (64, 120)]),
        ((200, 72), [(64, 96), (112, 80), (200, 72)]),
    ],
    ids=str,
)
def test_tracks_are_those_of_torch(exported_clip, tapir, size, sizes):
    """At the model's resolution, and refined at that of a larger video."""
    assert refinement_resolutions(size, (64, 96)) == sizes
    video = moving_texture(FRAMES, *size)
    txy = queries(9, video)
    expected, expected_visible = in_torch(tapir, video, txy)
    tracks = track(video, txy, exported_clip, backend="onnxruntime:refined")
    asked = np.arange(len(txy)), txy[:, 0].astype(int)
    expected[asked], expected_visible[asked] = txy[:, 1:], True  # this model gives queries back exactly
    np.testing.assert_allclose(tracks.xy, expected, atol=PIXELS)
    np.testing.assert_array_equal(tracks.visible, expected_visible)


@pytest.mark.parametrize(
    "resolution, sizes", [((64, 96), [(64, 96)]), ((96, 144), [(64, 96), (96, 144)])], ids=["its own", "more"]
)
def test_the_resolution_is_the_callers_choice(exported_clip, tapir, resolution, sizes):
    video = moving_texture(FRAMES, 80, 120)
    txy = queries(4, video)
    expected, _ = in_torch(tapir, video, txy, resolutions=sizes)
    tracks = track(video, txy, exported_clip, backend="onnxruntime:refined", resolution=resolution)
    others = np.arange(FRAMES) != txy[:, :1]
    np.testing.assert_allclose(tracks.xy[others], expected[others], atol=PIXELS)


@pytest.mark.parametrize("frame", [0, FRAMES - 1])
def test_a_model_says_what_it_thinks_of_its_queries_where_the_manifest_wants_it(exported_clip, tapir, frame):
    """As the published models do, to give the published numbers."""
    video = moving_texture(FRAMES, 64, 96)
    txy = queries(3, video)
    txy[:, 0] = frame
    artifact = open_artifact(exported_clip)
    points = replace(artifact.manifest.points, query_frame="model")
    outspoken = replace(artifact, manifest=replace(artifact.manifest, points=points))
    expected, _ = in_torch(tapir, video, txy)
    found = track(video, txy, open_model(outspoken, open_backend("onnxruntime"), "refined"))
    np.testing.assert_allclose(found.xy, expected, atol=PIXELS)


@pytest.mark.parametrize("target", ["openvino", pytest.param("torch", marks=pytest.mark.slow)])
def test_other_formats_of_open_length_give_the_same_tracks(
    exported_clip, clip_config, clip_model, traced_once, tmp_path, target
):
    pytest.importorskip(TARGETS[target][0])
    with known_model(SMALL_CLIP, clip_config):
        export(SMALL_CLIP, target, tmp_path / target, ExportOptions(clip_model))
    video = moving_texture(FRAMES, 64, 120)
    txy = queries(5, video)
    expected = track(video, txy, exported_clip, backend="onnxruntime:refined")
    found = track(video, txy, tmp_path / target, backend=target)
    np.testing.assert_allclose(found.xy, expected.xy, atol=PIXELS)


# What cannot be exported


@pytest.mark.parametrize("target", ["coreml", "tflite"])
@pytest.mark.parametrize("model", ["tapir/base", "tapir/boots"])
def test_formats_of_fixed_shapes_have_no_room_for_a_clip(model, target):
    assert why_not(model, target) == OPEN_LENGTH
    assert why_not(model, "onnx") is None


def test_a_motion_prior_needs_frames_in_order(clip_config):
    model = Tapir(replace(clip_config, motion_prior=2.0))
    with pytest.raises(ValueError, match="its motion prior needs the frames in order"):
        cut("tapir", model)


def test_frames_of_one_size_are_refined_at_that_size_alone(clip_config):
    made = cut("tapir", Tapir(clip_config), Style(any_size=False))
    assert (made.program.multiple, made.stages[0].spec.inputs[0].shape) == (None, (1, 64, 96, 3))


def test_a_model_that_keeps_the_aspect_ratio_is_refined_at_its_own_size(clip_config):
    made = cut("tapir", Tapir(replace(clip_config, size_multiple=16)))
    assert (made.program.kind, made.frames.multiple, made.program.multiple) == ("refined", 16, None)


# The published models

GOLDENS = {"tapir/base": "tapir_jax_clip_256x320", "tapir/boots": "bootstapir_jax_clip_256"}


@pytest.fixture(scope="module", params=GOLDENS)
def published(request, tmp_path_factory):
    """(the model's golden, its official file, and an artifact made from that)"""
    folder = tmp_path_factory.mktemp("published")
    golden = dict(np.load(Path(official.__file__).parent / f"{GOLDENS[request.param]}.npz"))
    parameters = official.tapir_parameters(request.param == "tapir/boots", "jax", int(golden["seed"]))
    weights = official.write(folder / "official.npy", parameters)
    export(request.param, "onnx", folder / "artifact", ExportOptions(weights))
    return golden, load(request.param, weights), folder / "artifact"


@pytest.mark.slow
def test_a_published_model_gives_the_published_numbers(published):
    """With the video refined at its own resolution, where that is more."""
    golden, _, artifact = published
    video = formula.video(*golden["video_shape"], seed=int(golden["seed"]))
    tracks = track(video, golden["queries_tyx"], artifact, backend="onnxruntime:refined", query_format="tyx")
    np.testing.assert_allclose(tracks.xy, golden["tracks"], atol=PIXELS)


@pytest.mark.slow
def test_a_published_model_tracks_as_in_torch(published):
    _, tapir, artifact = published
    video = formula.video(12, 256, 320, seed=7)
    txy = queries(24, video)
    expected, expected_visible = in_torch(tapir, video, txy)
    tracks = track(video, txy, artifact, backend="onnxruntime:refined")
    np.testing.assert_allclose(tracks.xy, expected, atol=PIXELS)
    np.testing.assert_array_equal(tracks.visible, expected_visible)
