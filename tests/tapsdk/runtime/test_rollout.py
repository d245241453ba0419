"""Tracking from the first frame on says what a Tracker says, and how long each frame took."""

import numpy as np
import pytest

from tapsdk import load, track
from tapsdk.runtime.rollout import roll_out
from tests.support import EXACT, needs_torch, random_points


@pytest.mark.parametrize("plan", ["fused", "native"])
def test_frames_come_one_by_one_with_their_tracks(model, video, plan):
    loaded, xy = load(model, backend=f"onnxruntime:{plan}"), random_points(3, video)
    found = list(roll_out(loaded, iter(video), xy))
    expected = track(video, xy, loaded)
    assert all(each.tracks.num_frames == 1 and each.seconds > 0 for each in found)
    np.testing.assert_allclose(np.concatenate([each.tracks.xy for each in found], 1), expected.xy, atol=EXACT)


@needs_torch
def test_a_model_that_needs_the_whole_video_gives_the_same_frame_by_frame(exported_clip, video):
    loaded, xy = load(exported_clip), random_points(3, video)
    found = list(roll_out(loaded, video, xy))
    expected = track(video, xy, loaded)
    np.testing.assert_allclose(np.concatenate([each.tracks.xy for each in found], 1), expected.xy, atol=EXACT)
    assert len({each.seconds for each in found}) == 1
