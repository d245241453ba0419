"""Models that refine over whole videos: their points pass over every frame, whatever the length."""

from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tapsdk import Tracker, load, track
from tapsdk.artifact import Artifact, open_artifact
from tapsdk.artifact.manifest import FrameSpec
from tapsdk.backends import Options, Place, open_backend
from tapsdk.errors import ArtifactError, BackendError, FramesError, ModelError, PointsError
from tapsdk.points import parse_query_points
from tapsdk.runtime import budget, refined
from tapsdk.runtime.budget import Budget
from tapsdk.runtime.model import open_model
from tapsdk.runtime.refined import RefinedPass, RefinedPlan
from tapsdk.runtime.sizes import RefinementSizes
from tapsdk.runtime.stages import Estimates, preprocess
from tapsdk.runtime.video_pass import Means, finished
from tapsdk.runtime.whole_video import OfflineRun, start_run
from tapsdk.video import open_frames
from tests.support import EXACT, copy_artifact, moving_texture, needs_torch, random_points

RUN = "onnxruntime:refined"
BASE, LARGE = (16, 32), (32, 64)


@pytest.fixture(autouse=True)
def little_is_known_of_memory(monkeypatch):
    """So that groups are as large as GROUP_ROWS says."""
    monkeypatch.setattr(budget, "free_memory", lambda: None)


def frame(t):
    """A frame that says which it is."""
    return np.full((8, 8, 3), t, np.uint8)


class NoteTaker:
    """Stands in for a plan: grids hold the frame's number and width, so that all that follows can be told apart."""

    feature_width, iterations, kept, row_bytes = 2, 3, (), 1000

    def __init__(self):
        self.located, self.looked_up = [], []

    def prepare(self, image, size):
        return preprocess(image, size, FrameSpec(BASE))

    def encode(self, image):
        t = round(float(image.mean() + 1) * 127.5)
        return {"grid": np.float32([[t, image.shape[2]]])}

    def describe(self, grids, xy):
        return np.repeat(grids["grid"], len(xy), 0)

    def locate(self, grids, features):
        t, width = grids["grid"][0]
        self.located.append((int(t), int(width), features[:, 0].astype(int).tolist()))
        xy = np.stack([np.full(len(features), t), features[:, 0]], 1).astype(np.float32)
        return Estimates(xy, {"logit": np.full(len(features), 10 * t, np.float32)})

    def patches(self, grids, xy, features):
        t, width = grids["grid"][0]
        assert (features[:, 1] == width).all()
        self.looked_up.append((int(t), int(width)))
        return np.repeat(np.float32([[t]]), len(xy), 0)

    def calls(self, points, frames):
        return [(slice(None), None)]

    def refine(self, estimates, features, patches, size, journal):
        assert patches.shape[:2] == features.shape[:2] == estimates.xy.shape[:2]
        logits = {name: logit + patches[..., 0] for name, logit in estimates.logits.items()}
        return Estimates(estimates.xy + size[1], logits), features


@pytest.fixture
def plan():
    return NoteTaker()


def follow(plan, sizes, t, frames=4):
    start = np.float32([[100 + i, 200 + i] for i in range(len(t))])
    with closing(RefinedPass(plan, sizes, np.array(t), start)) as made:
        for index in range(frames):
            made.append(frame(index))
        return [finished(made.track(group)) for group in made.groups()]


# The way over the frames


def test_points_are_described_in_their_own_frames_and_located_in_all(plan):
    follow(plan, RefinementSizes(BASE, (BASE,)), [2, 0, 3])
    assert plan.located == [(t, BASE[1], [2, 0, 3]) for t in range(4)]


def test_the_first_guess_at_a_querys_frame_is_the_query(plan):
    (found,) = follow(plan, RefinementSizes(BASE, (BASE,)), [2, 0])
    first = found.xy - plan.iterations * BASE[1]
    np.testing.assert_array_equal(first[0], [[0, 2], [1, 2], [100, 200], [3, 2]])
    np.testing.assert_array_equal(first[1], [[101, 201], [1, 0], [2, 0], [3, 0]])


def test_every_iteration_looks_at_every_frame_of_its_size(plan):
    follow(plan, RefinementSizes(BASE, (BASE, LARGE)), [0])
    assert plan.looked_up == [(t, size[1]) for size in (BASE, LARGE) for _ in range(3) for t in range(4)]
    assert {width for _, width, _ in plan.located} == {BASE[1]}


def test_sizes_go_on_from_positions_but_not_from_logits_and_the_mean_counts(plan):
    (found,) = follow(plan, RefinementSizes(BASE, (BASE, LARGE)), [0])
    after_base, after_large = 3 * BASE[1], 3 * (BASE[1] + LARGE[1])
    np.testing.assert_array_equal(found.xy[0, 1:, 0], np.arange(1, 4) + (after_base + after_large) / 2)
    np.testing.assert_array_equal(found.logits["logit"][0], [10 * t + 3 * t for t in range(4)])


@pytest.mark.parametrize(
    "frames, points, sizes", [(4, 5, [5]), (1024, 5, [2, 2, 1]), (5000, 2, [1, 1]), (1, 300, [256, 44]), (3, 0, [])]
)
def test_groups_are_as_large_as_the_mixers_memory_allows(plan, frames, points, sizes):
    made = RefinedPass(
        plan, RefinementSizes(BASE, (BASE,)), np.zeros(points, np.int64), np.zeros((points, 2), np.float32)
    )
    made.frames = frames
    assert [len(range(points)[group]) for group in made.groups()] == sizes


@pytest.mark.parametrize(
    "total, sizes", [(1000, [2, 2, 1]), (4 * 10**6, [2, 2, 1]), (8 * 10**6, [5]), (None, [2, 2, 1])]
)
def test_where_there_is_memory_groups_are_larger(plan, total, sizes):
    start = np.zeros(5, np.int64), np.zeros((5, 2), np.float32)
    made = RefinedPass(plan, RefinementSizes(BASE, (BASE,)), *start, Means(Budget(total)))
    made.frames = 1024
    assert [len(range(5)[group]) for group in made.groups()] == sizes


def test_a_step_is_a_frame_that_was_looked_at(plan):
    sizes = RefinementSizes(BASE, (BASE, LARGE))
    with closing(RefinedPass(plan, sizes, np.array([0]), np.zeros((1, 2), np.float32))) as made:
        for t in range(5):
            made.append(frame(t))
        assert len(list(made.track(made.groups()[0]))) == made.steps == 5 * (1 + 2 * 3)


# A model


@pytest.fixture
def run(exported_clip):
    """Tracks with a small model of random weights."""
    return lambda video, points, **options: track(video, points, exported_clip, backend=RUN, **options)


@pytest.fixture
def video():
    """Wider than the model's resolution, so that it is refined once more at its own."""
    return moving_texture(6, 56, 120)


@pytest.fixture
def points(video):
    """On all frames of the video, the last one too."""
    xy = random_points(len(video) + 1, video)
    return np.concatenate([np.arange(len(xy))[:, None] % len(video), xy], 1).astype(np.float32)


@needs_torch
def test_the_whole_call(run, video, points):
    tracks = run(video, points)
    assert tracks.xy.shape == (len(points), len(video), 2)
    assert np.isfinite(tracks.xy).all()
    np.testing.assert_array_equal(tracks.queries, points)
    asked = np.arange(len(points)), points[:, 0].astype(int)
    np.testing.assert_array_equal(tracks.xy[asked], points[:, 1:])
    assert tracks.visible[asked].all()
    assert (tracks.report.model, tracks.report.path) == ("tapir/toy-clip", "refined")
    assert tracks.report.frames_per_second > 0


@needs_torch
def test_a_generator_gives_the_tracks_of_an_array(run, video, points):
    np.testing.assert_array_equal(run(iter(video), points).xy, run(video, points).xy)


@needs_torch
@pytest.mark.parametrize("rows", [1, 20])
@pytest.mark.parametrize("limit", ["GROUP_ROWS", "MIXER_ROWS"])
def test_how_many_points_go_together_changes_no_track(run, video, points, monkeypatch, limit, rows):
    together = run(video, points)
    monkeypatch.setattr(refined, limit, rows)
    apart = run(video, points)
    np.testing.assert_allclose(apart.xy, together.xy, atol=EXACT)
    np.testing.assert_allclose(apart.confidence, together.confidence, atol=1e-5)


# Long videos: the mixer gets them in chunks


@pytest.fixture
def lengths(monkeypatch):
    """How many frames the mixer got, each time; eight at most, wherever it may get fewer than all."""
    monkeypatch.setattr(refined, "MIXER_ROWS", 1)
    seen, usual = [], refined.RefinedPlan.__init__

    def init(self, *args):
        usual(self, *args)
        mixer = self._mixer
        self._mixer = SimpleNamespace(
            run=lambda inputs: (seen.append(inputs["patches"].shape[1]), mixer.run(inputs))[1]
        )

    monkeypatch.setattr(refined.RefinedPlan, "__init__", init)
    return seen


LONG = moving_texture(29, 40, 64)
ASKED = np.column_stack([[0, 28, 13, 4], random_points(4, LONG)])


@needs_torch
def test_chunks_of_a_video_give_the_tracks_of_the_whole(exported_clip, lengths):
    reach = open_artifact(exported_clip).manifest.program.reach
    assert reach == 2
    expected = track(LONG, ASKED, without_reach(exported_clip))
    assert set(lengths) == {29}
    lengths.clear()
    chunks = track(LONG, ASKED, load(exported_clip, backend=RUN))
    assert max(lengths) == 4 * reach
    np.testing.assert_allclose(chunks.xy, expected.xy, atol=EXACT)
    np.testing.assert_allclose(chunks.confidence, expected.confidence, atol=1e-5)


@needs_torch
def test_a_reach_that_is_too_short_shows(exported_clip, lengths):
    expected, wrong = (track(LONG, ASKED, without_reach(exported_clip, reach)) for reach in (None, 0))
    assert np.abs(wrong.xy - expected.xy).max() > 10 * EXACT


def without_reach(path, reach=None):
    artifact = open_artifact(path)
    program = replace(artifact.manifest.program, reach=reach)
    changed = Artifact(artifact.directory, replace(artifact.manifest, program=program))
    return open_model(changed, open_backend("onnxruntime"), "refined")


@needs_torch
def test_no_points(run, video):
    tracks = run(video, [])
    assert tracks.xy.shape == (0, len(video), 2)


@needs_torch
@pytest.mark.parametrize("size", [(48, 80), (1, 1), (2, 300), (130, 60)])
def test_one_frame_of_any_shape(run, size):
    tracks = run(np.zeros((1, *size, 3), np.uint8), [[0, size[1], size[0]]])
    np.testing.assert_array_equal(tracks.xy, [[[size[1], size[0]]]])
    assert tracks.visible.all()


@needs_torch
def test_a_query_beyond_the_end_of_a_generator(run, video):
    with pytest.raises(PointsError, match=r"points\[1\]: t = 6, but t must be in \[0, 5\]: the video has 6 frames"):
        run(iter(video), [[0, 1, 1], [6, 1, 1]])


@needs_torch
def test_progress_counts_frames_and_then_visits(exported_clip, video, points):
    bars = []

    def wrap(frames, total, label):
        taken = 0
        for each in frames:
            yield each
            taken += 1
        bars.append((label, total, taken))

    start(exported_clip, video, points).run(wrap)
    assert [label for label, _, _ in bars] == ["encoding", "tracking"]
    assert all(total == taken for _, total, taken in bars)


def start(artifact, frames, points):
    source = open_frames(frames)
    return start_run(load(artifact, backend=RUN), source, parse_query_points(points, frame_size=source.size))


@needs_torch
def test_an_interruption_leaves_the_points_that_are_done(exported_clip, video, points, monkeypatch):
    monkeypatch.setattr(refined, "GROUP_ROWS", len(video))  # one point after the other

    def interrupt(frames, total, label):
        for count, each in enumerate(frames):
            if label == "tracking" and count == total // 2:
                raise KeyboardInterrupt
            yield each

    run = start(exported_clip, video, points)
    assert isinstance(run, OfflineRun)
    assert run.tracks().num_frames == 0
    with pytest.raises(KeyboardInterrupt):
        run.run(interrupt)
    tracks, whole = run.tracks(), start(exported_clip, video, points).run()
    done = len(points) // 2
    np.testing.assert_allclose(tracks.xy[:done], whole.xy[:done], atol=EXACT)
    assert not tracks.visible[done + 1 :].any()
    np.testing.assert_array_equal(tracks.xy[-1], np.repeat(points[-1:, 1:], len(video), 0))


def broken_off(video, after):
    yield from video[:after]
    raise FramesError("damaged")


@needs_torch
def test_frames_before_one_that_cannot_be_read_are_tracked(run, video, caplog):
    points = np.float32([[0, 40, 20], [3, 5, 6], [5, 9, 9]])
    with pytest.raises(FramesError) as caught:
        run(broken_off(video, 4), points)
    found, expected = caught.value.tracks, run(video[:4], points[:2])
    np.testing.assert_allclose(found.xy[:2], expected.xy, atol=EXACT)
    np.testing.assert_array_equal(found.visible[:2], expected.visible)
    np.testing.assert_array_equal(found.xy[2], [[9, 9]] * 4)
    assert not found.confidence[2].any()
    assert caplog.messages == ["damaged; tracking through the 4 frames before"]


@needs_torch
def test_where_no_query_was_reached_nothing_is_tracked(run, video):
    with pytest.raises(FramesError) as caught:
        run(broken_off(video, 4), [[5, 9, 9]])
    assert caught.value.tracks.xy.tolist() == [[[9, 9]] * 4]


@needs_torch
def test_it_is_measured_and_compared_like_any_other(exported_clip, video):
    tracks = track(video, [[5, 5]], exported_clip, backend="onnxruntime", strict=True)
    assert tracks.report.milliseconds[RUN] > 0
    assert tracks.report.refused == {}


# On a device that is not the processor, for all that the runtime knows


@pytest.fixture
def away():
    engine = open_backend("onnxruntime", Options(threads=1))
    engine.place = Place(on_processor=False, few_shapes=True)
    return engine


@needs_torch
@pytest.mark.parametrize("room", [1 << 30, 100_000, 0], ids=["all", "some", "none"])
def test_grids_that_stay_on_a_device_give_the_same_tracks(away, exported_clip, run, video, points, monkeypatch, room):
    monkeypatch.setattr(refined, "DEVICE_BYTES", room)
    found = track(video, points, open_model(open_artifact(exported_clip), away, "refined"))
    expected = run(video, points)
    np.testing.assert_allclose(found.xy, expected.xy, atol=0.01)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-3)


@needs_torch
def test_grids_that_stay_are_never_arrays_and_as_large_as_is_said(away, exported_clip, video, points, monkeypatch):
    plan = RefinedPlan(open_artifact(exported_clip), away)
    fetched = []
    monkeypatch.setattr(plan, "fetch", fetched.append)
    sizes = RefinementSizes((64, 96), ((64, 96),))
    start = np.zeros((2, 2), np.float32)
    with closing(plan.start(sizes, np.array([0, 1]), start)) as made:
        for image in video:
            made.append(image)
        (grids,) = made._spools.values()
        kept = grids[0]
        assert list(kept) == [t.name for t in open_artifact(exported_clip).stage("encode").outputs]
        assert not any(isinstance(grid, np.ndarray) for grid in kept.values())
        assert sum(away.fetch(grid).nbytes for grid in kept.values()) == plan.bytes_of(sizes.base)
        finished(made.track(made.groups()[0]))
    assert fetched == []


@needs_torch
def test_an_artifact_without_the_stage_looks_up_on_the_processor(away, exported_clip, run, video, points, tmp_path):
    older = copy_artifact(exported_clip, tmp_path / "older", lambda manifest: manifest["stages"].pop("lookup"))
    model = open_model(open_artifact(older), away, "refined")
    assert model.plan.kept == ()
    np.testing.assert_array_equal(track(video, points, model).xy, run(video, points, threads=1).xy)


# What such a model cannot do


@needs_torch
def test_it_cannot_run_frame_by_frame_and_says_what_can(exported_clip, tmp_path):
    complaint = "{} needs the whole video and cannot run frame by frame: pass the video to tapsdk.track, or use .* {}$"
    with pytest.raises(ModelError, match=complaint.format("tapir/toy-clip", "tapir/tiny")):
        Tracker(exported_clip)
    boots = copy_artifact(exported_clip, tmp_path / "boots", lambda manifest: manifest.update(model="tapir/boots"))
    with pytest.raises(ModelError, match=complaint.format("tapir/boots", "tapir/boots-causal")):
        load(boots, backend=RUN).stream()


@needs_torch
def test_it_has_one_plan(exported_clip, video):
    with pytest.raises(ArtifactError, match="has no stage 'step'"):
        track(video, [[1, 1]], exported_clip, backend="onnxruntime:fused")


def test_a_causal_model_has_no_refined_plan(bundled):
    with pytest.raises(BackendError, match="does not hold stages for whole videos"):
        RefinedPlan(open_artifact(bundled), open_backend("onnxruntime"))


@needs_torch
@pytest.mark.parametrize("resolution", [32, (64, 90), "96"])
def test_a_resolution_that_it_does_not_refine_at(run, video, resolution):
    with pytest.raises(ModelError, match="resolution must be a side, or"):
        run(video, [[1, 1]], resolution=resolution)
