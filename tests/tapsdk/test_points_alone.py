"""A point's track is the one that it has alone: whatever else is tracked, comes, goes, is saved and loaded."""

import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import tapsdk
from tapsdk.tracker import Tracker
from tests.support import import_or_skip, moving_texture, random_points

EXACT, CLOSE = 0.0, 1e-4
"""Pixels that a track may be off by: none where the plan promises it, see docs/independence.md."""
CASES = {
    "the bundled model, native": ("bundled", "onnxruntime:native", (64, 80), EXACT),
    "the bundled model, fused": ("bundled", "onnxruntime:fused", (64, 80), CLOSE),
    "the bundled model, native on OpenVINO": ("bundled", "openvino:native", (64, 80), CLOSE),
    "the bundled model, fused on OpenVINO": ("bundled", "openvino:fused", (64, 80), CLOSE),
    "another model, native": ("model", "onnxruntime:native", None, EXACT),
    "another model, fused": ("model", "onnxruntime:fused", None, CLOSE),
}
VIDEO = moving_texture(5, 48, 60)
PLACES = random_points(6, VIDEO)


def frame(t):
    """Of a video that goes on for ever."""
    return VIDEO[t % len(VIDEO)]


class Alone:
    """What each point does with nobody beside it."""

    def __init__(self, model):
        self.model = model
        self.track = functools.cache(self._track)

    def _track(self, place, start, steps):
        """[steps, 3] (x, y, confidence) from frame `start` on."""
        tracker = Tracker(self.model)
        tracker.add(PLACES[[place]])
        return np.stack([row(tracker.step(frame(start + t)), 0) for t in range(steps)])


def row(tracks, which):
    return np.append(tracks.xy[which, 0], tracks.confidence[which, 0])


class Session(RuleBasedStateMachine):
    """Somebody who does everything that a Tracker can do, in any order."""

    def __init__(self, model, alone, tolerance, folder):
        super().__init__()
        self.model, self.alone, self.tolerance, self.path = model, alone, tolerance, folder / "tracker.npz"
        self.tracker, self.t = Tracker(model), 0
        self.born, self.found = {}, {}

    @initialize(places=st.lists(st.integers(0, len(PLACES) - 1), min_size=1, max_size=3))
    def begin(self, places):
        self.add(places)

    @rule(places=st.lists(st.integers(0, len(PLACES) - 1), min_size=1, max_size=3))
    def add(self, places):
        for id, place in zip(self.tracker.add(PLACES[places]), places, strict=True):
            self.born[id], self.found[id] = (place, self.t), []

    @rule(many=st.sampled_from([1, 1, 3]))
    def step(self, many):
        for _ in range(many):
            tracks = self.tracker.step(frame(self.t))
            assert tracks.ids.tolist() == self.tracker.ids
            for which, id in enumerate(self.tracker.ids):
                self.found[id].append(row(tracks, which))
            self.t += 1

    @precondition(lambda self: self.tracker.ids)
    @rule(data=st.data(), by_reset=st.booleans())
    def remove(self, data, by_reset):
        gone = data.draw(st.lists(st.sampled_from(self.tracker.ids), max_size=2, unique=True))
        (self.tracker.reset if by_reset else self.tracker.remove)(gone)

    @rule()
    def remove_all(self):
        self.tracker.reset()

    @rule()
    def save_and_load(self):
        if self.tracker._added:
            self.step(1)
        self.tracker.save(self.path)
        self.tracker = Tracker.load(self.path, self.model)

    def teardown(self):
        for id, found in self.found.items():
            if found:
                place, start = self.born[id]
                expected = self.alone.track(place, start % len(VIDEO), 40)
                np.testing.assert_allclose(np.stack(found), expected[: len(found)], rtol=0, atol=self.tolerance)


@pytest.mark.parametrize("case", CASES)
def test_a_point_is_tracked_as_if_it_were_alone(case, request, tmp_path):
    artifact, backend, resolution, tolerance = CASES[case]
    if backend.startswith("openvino"):
        import_or_skip("openvino", "openvino")
    path = request.getfixturevalue(artifact)
    model = tapsdk.load(path, backend=backend, threads=1, resolution=resolution)
    run_state_machine_as_test(
        functools.partial(Session, model, Alone(model), tolerance, tmp_path),
        settings=settings(
            max_examples=4,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize=True,
        ),
    )


def test_a_tracker_gives_the_tracks_of_a_whole_video():
    """Of points that are asked for in its first frame and later, from their own frames on."""
    points = np.column_stack([[0, 0, 2, 4], PLACES[:4]]).astype(np.float32)
    model = tapsdk.load(backend="onnxruntime:native", threads=1, resolution=(64, 80))
    whole, tracker = tapsdk.track(VIDEO, points, model), Tracker(model)
    for t, image in enumerate(VIDEO):
        tracker.add(points[points[:, 0] == t, 1:])
        tracks = tracker.step(image)
        np.testing.assert_array_equal(tracks.xy[:, 0], whole.xy[: len(tracks), t])
        np.testing.assert_array_equal(tracks.confidence[:, 0], whole.confidence[: len(tracks), t])
