"""Models whose stages see a chunk of video: what they find does not depend on where chunks begin, given the margin."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from tapsdk import Tracker, load, track
from tapsdk.artifact import Artifact, open_artifact
from tapsdk.artifact.manifest import (
    File,
    FrameSpec,
    Manifest,
    PointSpec,
    StageSpec,
    TensorSpec,
    Visibility,
    Whole,
)
from tapsdk.backends import PROCESSOR
from tapsdk.errors import BackendError, FramesError, ModelError, PointsError
from tapsdk.runtime import whole
from tapsdk.runtime.model import open_model
from tapsdk.runtime.sizes import RefinementSizes
from tapsdk.runtime.video_pass import Chunk, chunks_of, finished
from tapsdk.runtime.whole import WholePlan
from tapsdk.system.files import sha256, size_of
from tests.support import import_or_skip, moving_texture

SIZE = (16, 24)
LENGTH = 7


def specs(frames="T"):
    """Of a model that looks at one neighbour frame on both sides."""
    frame = TensorSpec("frame", (frames, *SIZE, 3), "frame")
    described = TensorSpec("described", ("N", 3), "query")
    points, delay = TensorSpec("xy", ("N", 2), "points"), TensorSpec("delay", ("N",), "delay")
    found = TensorSpec("xy", ("N", frames, 2), "xy"), TensorSpec("seen", ("N", frames), "logit")
    return {"query": StageSpec((frame, points, delay), (described,)), "track": StageSpec((frame, described), found)}


def encoding_specs(frames="T", present=False):
    """The same with a stage that sees the video alone, once; and that is told of frames that only fill up."""
    whole = specs(frames)
    (frame, *points), (_, described) = whole["query"].inputs, whole["track"].inputs
    level = TensorSpec("level", (frames, 1), "feature")
    told = (TensorSpec("present", (frames,), "present"),) if present else ()
    return {
        "encode": StageSpec((frame, *told), (level,)),
        "query": StageSpec((level, *points), whole["query"].outputs),
        "track": StageSpec((level, described), whole["track"].outputs),
    }


def manifest_of(program, frames="T", buckets=(), stages=None):
    return Manifest(
        model="test/whole",
        weights_sha256="0" * 64,
        precision="fp32",
        frames=FrameSpec(SIZE),
        points=PointSpec(SIZE, buckets={"numpy": buckets} if buckets else {}),
        visibility=Visibility({"seen": 1}),
        program=program,
        stages=stages or specs(frames),
    )


def brightness(video):
    """[T] of frames [T, h, w, 3], each with its neighbours: three quarters of what a frame's own is worth."""
    own = np.pad(video.mean((1, 2, 3)), 1)
    return (own[:-2] + 2 * own[1:-1] + own[2:]) / 4


class NumpyBackend:
    """The model in numpy: a point is where it was queried, moved by the frame's brightness less its query frame's."""

    name, formats, threads, place = "numpy", ("numpy",), None, PROCESSOR

    def __init__(self):
        self.calls = []

    def describe(self):
        return "numpy"

    def open(self, file, stage, points=None):
        return Session(self.calls, stage, points)

    def keep(self, array):
        return array

    def fetch(self, tensor):
        return tensor


class Session:
    def __init__(self, calls, stage, points):
        self.calls, self.stage, self.points = calls, stage, points

    def run(self, inputs, keep=()):
        points = inputs.get("xy", inputs.get("described", ()))
        video, count = inputs["frame" if "frame" in inputs else "level"], len(points)
        for spec in self.stage.inputs:
            assert inputs[spec.name].shape == spec.shape_for(count, frames=len(video))
        assert self.points in (None, count)
        told = inputs.get("present", np.ones(len(video)))
        level = brightness(video * told[:, None, None, None]) if "frame" in inputs else video[:, 0]
        if self.stage.outputs[0].name == "level":
            self.calls.append(("encode", len(video), count))
            return {"level": level[:, None]}
        if "delay" in inputs:
            self.calls.append(("query", len(video), count))
            return {"described": np.concatenate([inputs["xy"], level[inputs["delay"].astype(int), None]], 1)}
        self.calls.append(("track", len(video), count))
        moved = level[None] - inputs["described"][:, 2:]
        return {"xy": inputs["described"][:, None, :2] + moved[..., None], "seen": moved}


@pytest.fixture
def artifact(tmp_path):
    def make(program, frames="T", buckets=(), stages=None):
        manifest = manifest_of(program, frames, buckets, stages)
        (tmp_path / "stage").write_bytes(b"")
        file = File("stage", "numpy", sha256(tmp_path / "stage"), 0)
        stages = {name: replace(spec, files={"numpy": file}) for name, spec in manifest.stages.items()}
        return Artifact(tmp_path, replace(manifest, stages=stages))

    return make


@pytest.fixture
def video():
    """[7, 16, 24, 3]: every frame of another brightness."""
    return np.stack([np.full((*SIZE, 3), 30 * t, np.uint8) for t in range(LENGTH)])


POINTS = np.float32([[0, 5, 6], [6, 7, 8], [3, 1, 2], [3, 10, 4]])


def tracks_of(artifact, video, points=POINTS):
    backend = NumpyBackend()
    return track(video, points, open_model(artifact, backend, "whole")), backend.calls


# Chunks


@pytest.mark.parametrize(
    "frames, program, chunks",
    [
        (0, Whole(4), []),
        (3, Whole(4, 2), [Chunk(0, 3, 0, 3)]),
        (4, Whole(4, 2), [Chunk(0, 4, 0, 4)]),
        (5, Whole(4, 2), [Chunk(0, 4, 0, 5), Chunk(4, 5, 2, 5)]),
        (9, Whole(3, 1), [Chunk(0, 3, 0, 4), Chunk(3, 6, 2, 7), Chunk(6, 9, 5, 9)]),
    ],
    ids=str,
)
def test_chunks_cover_the_video_and_look_over_their_edges(frames, program, chunks):
    assert chunks_of(frames, program.frames, program.margin) == chunks


@pytest.mark.parametrize("frames", [1, 2, 3, 6, 7, 100])
def test_with_a_margin_as_wide_as_the_model_looks_chunks_change_nothing(artifact, video, frames):
    expected, _ = tracks_of(artifact(Whole(100)), video)
    found, _ = tracks_of(artifact(Whole(frames, margin=1)), video)
    np.testing.assert_allclose(found.xy, expected.xy, atol=1e-5)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-6)


def test_with_a_smaller_margin_they_do(artifact, video):
    expected, _ = tracks_of(artifact(Whole(100)), video)
    found, _ = tracks_of(artifact(Whole(3)), video)
    assert np.abs(found.xy - expected.xy).max() > 0.01


def test_points_are_described_in_the_chunk_of_their_query_and_found_in_all(artifact, video):
    _, calls = tracks_of(artifact(Whole(3, margin=1)), video)
    assert calls == [("query", 4, 1), ("query", 5, 2), ("query", 2, 1), *[("track", n, 4) for n in (4, 5, 2)]]


def test_a_point_is_at_its_query_in_its_querys_frame(artifact, video):
    tracks, _ = tracks_of(artifact(Whole(3, margin=1)), video)
    np.testing.assert_allclose(tracks.xy[np.arange(4), POINTS[:, 0].astype(int)], POINTS[:, 1:], atol=1e-5)
    assert tracks.report.path == "whole"


def test_groups_are_as_large_as_a_cost_volume_allows(artifact, video, monkeypatch):
    monkeypatch.setattr(whole, "MAX_ROWS", 6)
    found, calls = tracks_of(artifact(Whole(3, margin=1)), video)
    assert [count for stage, _, count in calls if stage == "track"] == [2, 2, 2, 2, 2, 2]
    monkeypatch.undo()
    np.testing.assert_array_equal(found.xy, tracks_of(artifact(Whole(3, margin=1)), video)[0].xy)


# A stage that encodes


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6, 7, 100])
@pytest.mark.parametrize("margin", [1, 2, 9])
def test_grids_of_chunks_are_those_of_the_whole_video(artifact, video, frames, margin):
    expected, _ = tracks_of(artifact(Whole(100)), video)
    found, _ = tracks_of(artifact(Whole(frames, margin), stages=encoding_specs()), video)
    np.testing.assert_allclose(found.xy, expected.xy, atol=1e-5)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-6)


def test_a_video_is_encoded_once_and_the_other_stages_need_no_margin(artifact, video, monkeypatch):
    monkeypatch.setattr(whole, "MAX_ROWS", 6)
    _, calls = tracks_of(artifact(Whole(3, margin=1), stages=encoding_specs()), video)
    assert calls == [
        *[("encode", frames, 0) for frames in (4, 5, 2)],
        *[("query", frames, points) for frames, points in ((3, 1), (3, 2), (1, 1))],
        *[("track", frames, 2) for frames in (3, 3, 1)] * 2,
    ]


def test_grids_that_do_not_fit_into_memory_go_to_a_file(artifact, video, monkeypatch):
    expected, _ = tracks_of(artifact(Whole(3, 1), stages=encoding_specs()), video)
    monkeypatch.setattr(whole, "SPOOL_BYTES", 0)
    np.testing.assert_array_equal(tracks_of(artifact(Whole(3, 1), stages=encoding_specs()), video)[0].xy, expected.xy)


def test_encoding_in_frames_of_a_fixed_number(artifact, video):
    found, calls = tracks_of(artifact(Whole(3, margin=1), buckets=(4,), stages=encoding_specs(5)), video)
    assert {(frames, rows) for stage, frames, rows in calls if stage != "encode"} == {(5, 4)}
    expected, _ = tracks_of(artifact(Whole(3, margin=1)), np.concatenate([video, video[-1:]]))
    np.testing.assert_allclose(found.xy[:, :6], expected.xy[:, :6], atol=1e-5)


@pytest.mark.parametrize("frames", range(1, LENGTH + 1))
def test_a_stage_that_is_told_which_frames_are_some_sees_nothing_beyond_the_end(artifact, video, frames):
    """However few they are, and though it takes five and no fewer."""
    points = np.float32([[0, 5, 6], [frames - 1, 7, 8]])
    fixed = artifact(Whole(3, margin=1), buckets=(4,), stages=encoding_specs(5, present=True))
    found, _ = tracks_of(fixed, video[:frames], points)
    expected, _ = tracks_of(artifact(Whole(100)), video[:frames], points)
    np.testing.assert_allclose(found.xy, expected.xy, atol=1e-5)


def test_stages_may_take_different_numbers_of_frames(artifact, video):
    """Only the one that sees the video needs room for the margin."""
    shorter = encoding_specs(3)
    stages = {**shorter, "encode": encoding_specs(5, present=True)["encode"]}
    found, calls = tracks_of(artifact(Whole(3, margin=1), buckets=(4,), stages=stages), video)
    assert {(stage, frames) for stage, frames, _ in calls} == {("encode", 5), ("query", 3), ("track", 3)}
    np.testing.assert_allclose(found.xy, tracks_of(artifact(Whole(100)), video)[0].xy, atol=1e-5)
    with pytest.raises(BackendError, match="takes 3 frames, but its manifest asks for 5 at once"):
        tracks_of(artifact(Whole(3, margin=1), buckets=(4,), stages=shorter), video)


def test_groups_fill_a_bucket_where_there_are_buckets(artifact, video, monkeypatch):
    monkeypatch.setattr(whole, "MAX_ROWS", 8)
    _, calls = tracks_of(artifact(Whole(3, margin=1), frames=5, buckets=(2, 4)), video)
    assert {rows for stage, _, rows in calls if stage == "track"} == {2}


def test_encoding_without_points_encodes_nothing(artifact, video):
    tracks, calls = tracks_of(artifact(Whole(3), stages=encoding_specs()), video, [])
    assert tracks.xy.shape == (0, LENGTH, 2)
    assert calls == []


# Formats with fixed shapes


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_points_and_frames_are_filled_up_where_shapes_are_fixed(artifact, video, count):
    points = np.resize(POINTS, (count, 3))
    found, calls = tracks_of(artifact(Whole(3, margin=1), frames=5, buckets=(2, 4)), video, points)
    assert {(frames, rows) for _, frames, rows in calls} <= {(5, 2), (5, 4)}
    assert found.xy.shape == (count, LENGTH, 2)
    # The last frame again and again is what the model sees beyond the end, in place of nothing.
    expected, _ = tracks_of(artifact(Whole(3, margin=1)), np.concatenate([video, video[-1:]]), points)
    np.testing.assert_allclose(found.xy[:, :6], expected.xy[:, :6], atol=1e-5)


def test_stages_that_are_too_short_for_a_chunk(artifact):
    with pytest.raises(BackendError, match="takes 4 frames, but its manifest asks for 5 at once"):
        WholePlan(artifact(Whole(3, margin=1), frames=4), NumpyBackend())


# Whole calls


def test_no_points(artifact, video):
    tracks, calls = tracks_of(artifact(Whole(3)), video, [])
    assert tracks.xy.shape == (0, LENGTH, 2)
    assert calls == []


def test_a_query_beyond_the_end_of_a_generator(artifact, video):
    with pytest.raises(PointsError, match=r"t = 7, but t must be in \[0, 6\]"):
        tracks_of(artifact(Whole(3)), iter(video), [[7, 1, 1]])


def test_frames_before_one_that_cannot_be_read_are_tracked(artifact, video):
    def broken_off():
        yield from video[:4]
        raise FramesError("damaged")

    with pytest.raises(FramesError) as caught:
        tracks_of(artifact(Whole(3)), broken_off(), [[0, 4, 5], [5, 9, 9], [3, 8, 7]])
    found, (expected, _) = caught.value.tracks, tracks_of(artifact(Whole(3)), video[:4], [[0, 4, 5], [3, 8, 7]])
    np.testing.assert_array_equal(found.xy[[0, 2]], expected.xy)
    np.testing.assert_array_equal(found.confidence[[0, 2]], expected.confidence)
    np.testing.assert_array_equal(found.xy[1], [[9, 9]] * 4)
    assert not found.confidence[1].any()


def test_frames_that_do_not_fit_into_memory_go_to_a_file(artifact, video, monkeypatch):
    expected, _ = tracks_of(artifact(Whole(3, 1)), video)
    monkeypatch.setattr(whole, "SPOOL_BYTES", 0)
    np.testing.assert_array_equal(tracks_of(artifact(Whole(3, 1)), video)[0].xy, expected.xy)


def test_a_step_is_a_chunk(artifact, video):
    plan = WholePlan(artifact(Whole(3, 1)), NumpyBackend())
    start = np.ones((2, 2), np.float32)
    with closing(plan.start(RefinementSizes(SIZE, (SIZE,)), np.zeros(2, np.int64), start)) as made:
        for image in video:
            made.append(image)
        assert len(list(made.track(made.groups()[0]))) == made.steps == 3
        assert finished(made.track(slice(0, 2))).xy.shape == (2, LENGTH, 2)


def test_it_cannot_run_frame_by_frame(artifact):
    with pytest.raises(ModelError, match="test/whole needs the whole video and cannot run frame by frame"):
        Tracker(open_model(artifact(Whole(3)), NumpyBackend(), "whole"))


def test_an_artifact_in_a_real_format(tmp_path):
    """The same model from PyTorch through ONNX: chosen, measured and run like any other."""
    torch, onnx = import_or_skip("torch"), import_or_skip("onnx")
    from export.stages import Stage
    from export.targets import Request
    from export.targets.onnx.target import graph_of

    def level(video):
        own = torch.nn.functional.pad(video.mean((1, 2, 3)), (1, 1))
        return (own[:-2] + 2 * own[1:-1] + own[2:]) / 4

    class Query(torch.nn.Module):
        def forward(self, video, xy, delay):
            return torch.cat([xy, level(video)[delay.abs().long()][:, None]], 1)

    class Track(torch.nn.Module):
        def forward(self, video, described):
            moved = level(video)[None] - described[:, 2:]
            return described[:, None, :2] + moved[..., None], moved

    manifest = manifest_of(Whole(3, margin=1))
    files = {}
    for name, module in (("query", Query()), ("track", Track())):
        path = tmp_path / f"{name}.onnx"
        onnx.save(graph_of(Stage(name, module, manifest.stages[name]), Request()), path)
        files[name] = File(path.name, "onnx", sha256(path), size_of(path))
    stages = {name: replace(spec, files={"onnx": files[name]}) for name, spec in manifest.stages.items()}
    (tmp_path / "manifest.json").write_text(replace(manifest, stages=stages).to_json())

    video = moving_texture(LENGTH, *SIZE)
    numpy_artifact = open_artifact(tmp_path)
    found = track(video, POINTS, load(tmp_path, backend="onnxruntime", strict=True))
    for spec in numpy_artifact.manifest.stages.values():
        spec.files["numpy"] = spec.files.pop("onnx")
    expected = track(video, POINTS, open_model(numpy_artifact, NumpyBackend(), "whole"))
    np.testing.assert_allclose(found.xy, expected.xy, atol=1e-4)
    assert found.report.milliseconds.keys() == {"onnxruntime:whole"}
