"""Clips in which points are gone for long and come back."""

import numpy as np
import pytest

from tests.training.data.synthetic.test_clips import colour_error
from training.data.synthetic import SceneConfig, make_clip
from training.evaluation.redetection import returns

CONFIG = SceneConfig(height=64, width=96, frames=32, points=24, query="frame0", scenes={"returns": 1.0}, foreground=0.3)


@pytest.fixture(scope="module")
def clips():
    return [make_clip(CONFIG.without_appearance(), seed) for seed in range(12)]


def test_points_come_back_after_a_long_absence(clips):
    absences = [[gone for *_, gone in returns(clip.visible[None])] for clip in clips]
    assert sum(max(each, default=0) >= 6 for each in absences) >= 9
    seen_again = np.mean([(clip.visible & (np.cumsum(~clip.visible, 1) > 0)).mean() for clip in clips])
    assert seen_again > 0.1


def test_some_leave_the_picture_and_some_are_covered(clips):
    def outside(clip):
        inside = (clip.xy >= 0).all(-1) & (clip.xy < (96, 64)).all(-1)
        return (~inside).mean()

    shares = [outside(clip) for clip in clips]
    assert max(shares) > 0.2
    assert any(share < 0.02 and not clip.visible.all() for share, clip in zip(shares, clips, strict=True))


def test_where_a_point_is_seen_it_looks_as_it_did(clips):
    right, beside = (
        np.median(np.concatenate([colour_error(clip, shift) for clip in clips])) for shift in [(0, 0), (4, 4)]
    )
    assert right < 0.3 * beside
