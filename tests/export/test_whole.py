"""A model that sees a chunk of video at once is exported as stages of open length, and tracks as it does in torch."""

from dataclasses import replace

import numpy as np
import pytest

from tapsdk import track
from tapsdk.artifact import open_artifact
from tapsdk.artifact.manifest import Visibility, Whole
from tapsdk.artifact.manifest_file import read_manifest
from tapsdk.backends import open_backend
from tapsdk.runtime.model import open_model
from tests.export.conftest import SMALL_NET
from tests.support import import_or_skip, moving_texture

onnx = import_or_skip("onnx")
torch = import_or_skip("torch")

from export.pipeline import Options, export  # noqa: E402
from export.stages import Style, cut  # noqa: E402
from export.stages import tapnet as stages_of_tapnet  # noqa: E402
from tests.golden import formula, official  # noqa: E402
from training.models import load  # noqa: E402

STAGES = ["encode", "query", "track"]
SIZE = (64, 96)
PIXELS = 0.01


@pytest.fixture(scope="module")
def tapnet(small_models):
    return small_models[SMALL_NET].load()


@pytest.fixture(scope="module")
def artifact(artifact_of):
    return artifact_of(SMALL_NET, "onnx")


def in_torch(model, video, txy):
    """tracks [N, T, 2] and visible [N, T], as the model itself gives them."""
    frames = torch.from_numpy(video).float()[None] / 127.5 - 1
    with torch.inference_mode():
        out = model.clip(frames, torch.from_numpy(np.float32(txy)[None, :, [0, 2, 1]]))
    return out["tracks"][0].numpy(), (out["occlusion"][0] < 0).numpy()


def queries(count, video, seed=0):
    """[N, 3] (t, x, y) on frames from the first to the last."""
    rng = np.random.default_rng(seed)
    frames, height, width = video.shape[:3]
    t = np.linspace(0, frames - 1, count).round()
    return np.concatenate([t[:, None], rng.uniform(0, (width, height), (count, 2))], 1).astype(np.float32)


def assert_as_in_torch(tracks, model, video, txy):
    xy, visible = in_torch(model, video, txy)
    np.testing.assert_allclose(tracks.xy, xy, atol=PIXELS)
    others = np.arange(len(video)) != txy[:, :1]
    np.testing.assert_array_equal(tracks.visible[others], visible[others])
    # There it was pointed at.
    assert tracks.visible[~others].all()


# The stages


def test_without_its_norms_the_model_is_the_same(tapnet):
    video = torch.from_numpy(moving_texture(3, *SIZE)).float()[None] / 127.5 - 1
    folded = stages_of_tapnet.fold_norms(tapnet)
    assert not any("running" in name for name in folded.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(folded.encode(video), tapnet.encode(video), atol=1e-5, rtol=0)
    assert any("running" in name for name in tapnet.state_dict())


@pytest.mark.parametrize("frame", [0, 2, 6])
def test_points_are_described_as_the_model_describes_them(tapnet, frame):
    describe = {stage.name: stage for stage in cut("tapnet", tapnet).stages}["query"].module
    grid = torch.randn(7, 8, 12, 16, generator=torch.Generator().manual_seed(0))
    xy = torch.tensor([[0.0, 0], [96, 64], [1, 63], [40.5, 31.25]])
    tyx = torch.cat([torch.full((4, 1), float(frame)), xy.flip(-1)], 1)
    expected = tapnet.describe(grid[None], tyx[None], SIZE)[0]
    torch.testing.assert_close(describe(grid, xy, tyx[:, 0]), expected, atol=1e-5, rtol=1e-5)


def test_frames_of_another_size(tapnet):
    made = cut("tapnet", tapnet, Style(frame_size=(40, 72)))
    assert made.frames.size == made.points.space == (40, 72)
    encode, *_ = made.stages
    (grid,) = encode.spec.outputs
    assert encode.module(*encode.example(1, (0, 0), frames=2)).shape == grid.shape_for(1, frames=2) == (2, 5, 9, 16)


@pytest.mark.parametrize("frames", [1, 3, 24])
def test_frames_that_only_fill_up_change_nothing(tapnet, frames):
    """Where a format fixes how many there are."""
    made = cut("tapnet", tapnet, Style(padded=True))
    encode, seen = made.stages[0], made.program.frames + 2 * made.program.margin
    assert [t.shape for t in encode.spec.inputs] == [(seen, *SIZE, 3), (seen,)]
    video = torch.from_numpy(moving_texture(seen, *SIZE)).float() / 127.5 - 1
    present = (torch.arange(seen) < frames).float()
    with torch.inference_mode():
        found, expected = encode.module(video, present), tapnet.encode(video[None, :frames])[0]
    torch.testing.assert_close(found[:frames], expected, atol=1e-5, rtol=0)


# The artifact


def test_the_manifest_says_how_far_frames_see(artifact):
    manifest = read_manifest(artifact)
    assert manifest.program == Whole(frames=stages_of_tapnet.CHUNK, margin=4)
    assert manifest.visibility == Visibility({"occlusion": -1})
    assert (manifest.points.query_frame, manifest.points.independent) == ("exact", True)
    assert list(manifest.stages) == STAGES
    assert manifest.verification["pixel_error"]["whole"] <= PIXELS


@pytest.mark.parametrize("name", STAGES)
def test_sizes_are_open_where_the_manifest_says_so(artifact, name):
    graph, stage = onnx.load(artifact / f"{name}.onnx").graph, read_manifest(artifact).stages[name]
    for tensor, spec in zip((*graph.input, *graph.output), (*stage.inputs, *stage.outputs), strict=True):
        found = [dimension.dim_value or None for dimension in tensor.type.tensor_type.shape.dim]
        assert found == [None if isinstance(size, str) else size for size in spec.shape]


# The tracks


@pytest.mark.parametrize("frames, points", [(1, 1), (2, 3), (9, 5), (12, 1)])
def test_tracks_are_those_of_torch(artifact, tapnet, frames, points):
    video = moving_texture(frames, *SIZE)
    txy = queries(points, video)
    assert_as_in_torch(track(video, txy, artifact, backend="onnxruntime"), tapnet, video, txy)


def test_no_points_have_no_tracks(artifact):
    assert track(moving_texture(3, *SIZE), [], artifact, backend="onnxruntime").xy.shape == (0, 3, 2)


@pytest.mark.parametrize("chunk", [1, 4, 5])
@pytest.mark.parametrize("frames", [1, 4, 5, 9, 13, 21])
def test_a_video_of_many_chunks_has_the_tracks_of_a_whole_one(artifact, tapnet, frames, chunk):
    opened = open_artifact(artifact)
    shorter = replace(opened, manifest=replace(opened.manifest, program=Whole(chunk, margin=4)))
    video = moving_texture(frames, *SIZE)
    txy = queries(6, video)
    model = open_model(shorter, open_backend("onnxruntime"), "whole")
    assert_as_in_torch(track(video, txy, model), tapnet, video, txy)


def test_a_larger_video_is_squashed_to_the_models_size(artifact):
    """What it sees is the same, however large the frames are; positions are in theirs."""
    video = moving_texture(3, *SIZE)
    txy = queries(4, video)
    larger = video.repeat(2, 1).repeat(2, 2)
    found = track(larger, txy * np.float32([1, 2, 2]), artifact, backend="onnxruntime")
    expected = track(video, txy, artifact, backend="onnxruntime")
    # With random weights two places may look alike, and the last bit of a resized frame then decides.
    assert (np.abs(found.xy / 2 - expected.xy).max(-1) < 0.05).mean() > 0.9


# The published model


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(official.FOLDER / "tapnet_jax_clip_256.npz"))


@pytest.fixture(scope="module")
def checkpoint(golden, tmp_path_factory):
    return official.write(
        tmp_path_factory.mktemp("official") / "checkpoint.npy", official.tapnet_arrays(int(golden["seed"]))
    )


@pytest.mark.slow
@pytest.mark.parametrize("target, backend", [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_the_published_model_gives_the_published_numbers(golden, checkpoint, tmp_path, target, backend):
    export("tapnet/base", target, tmp_path / "artifact", Options(checkpoint))
    video = formula.video(*golden["video_shape"], seed=int(golden["seed"]))
    tracks = track(video, golden["queries_tyx"], tmp_path / "artifact", backend=backend, query_format="tyx")
    np.testing.assert_allclose(tracks.xy, golden["tracks"], atol=PIXELS)
    model, longer = load("tapnet/base", checkpoint), formula.video(45, 256, 256, seed=7)
    txy = queries(40, longer)
    assert_as_in_torch(track(longer, txy, tmp_path / "artifact", backend=backend), model, longer, txy)
