"""How a run is watched: in numbers and as a picture, on clips that training never sees."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.training.run.tiny import tiny, write_videos
from training.data.labelled_video import LabelledVideo
from training.data.synthetic import SceneConfig, make_clip
from training.data.synthetic.textures import list_photographs
from training.models.tapir import FAMILY
from training.run.batches import make_batch
from training.run.validation import CLIPS, COLUMNS, FRAMES, TILE, picture, track, validate, validation_clips

SURE = 10.0


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledVideo]:
    return validation_clips(tiny(tmp_path_factory.mktemp("run")))


def tracker(clips: list[LabelledVideo], offset: float = 0.0, visible: bool | None = None) -> SimpleNamespace:
    """An updater whose model knows the truth, and says it with an error of `offset` pixels along x."""

    def predict(video: np.ndarray, queries_tyx: np.ndarray) -> dict[str, np.ndarray]:
        clip = next(c for c in clips if c.frames is video)
        assert np.array_equal(queries_tyx, clip.queries[:, [0, 2, 1]])
        seen = clip.visible if visible is None else np.full_like(clip.visible, visible)
        logits = np.where(seen, -SURE, SURE)
        return {
            "tracks": clip.xy + np.float32([offset, 0]),
            "occlusion": logits,
            "expected_dist": np.full_like(logits, -SURE),
        }

    return SimpleNamespace(predict=predict)


def test_clips_are_as_large_as_those_of_the_last_phase(clips: list[LabelledVideo]) -> None:
    assert [clip.frames.shape for clip in clips] == [(FRAMES, 32, 32, 3)] * CLIPS
    assert not np.array_equal(clips[0].frames, clips[1].frames)


def test_who_knows_the_truth_scores_one(clips: list[LabelledVideo]) -> None:
    assert validate(tracker(clips), FAMILY, clips) == {"AJ": 1, "d_avg": 1, "OA": 1}


def test_errors_are_measured_at_256(clips: list[LabelledVideo]) -> None:
    """Two pixels at 32x32 are sixteen at 256x256: within none of 1, 2, 4, 8 and, just, not within 16."""
    assert validate(tracker(clips, offset=1.99), FAMILY, clips)["d_avg"] == pytest.approx(0.2)
    assert validate(tracker(clips, offset=2.01), FAMILY, clips)["d_avg"] == 0


def test_who_sees_nothing_scores_for_hidden_points_alone(clips: list[LabelledVideo]) -> None:
    scores = validate(tracker(clips, visible=False), FAMILY, clips)
    assert scores["AJ"] == 0 < scores["OA"] < 1
    assert scores["d_avg"] == 1


def test_visibility_is_said_as_the_family_says_it(clips: list[LabelledVideo]) -> None:
    logits = {"occlusion": np.float32([[-5, 5, -5]]), "expected_dist": np.float32([[-5, -5, 5]])}
    updater = SimpleNamespace(predict=lambda video, queries: {"tracks": None, **logits})
    assert track(updater, FAMILY, clips[0])[1].tolist() == [[True, False, False]]


def test_a_picture_shows_true_tracks_over_predicted_ones(clips: list[LabelledVideo]) -> None:
    clip = clips[0]
    image = picture(clip, (clip.xy, clip.visible))
    assert image.shape == (2 * TILE, COLUMNS * TILE, 3)
    assert image.dtype == np.uint8
    above, below = image[:TILE].astype(int), image[TILE:].astype(int)
    # Equal but for the lines, which here are dots.
    assert (np.abs(above - below).max(-1) > 0).mean() < 0.005
    other = picture(clip, (clip.xy + np.float32([6, 0]), ~clip.visible))
    assert np.array_equal(other[:TILE], image[:TILE])
    assert (np.abs(other[TILE:].astype(int) - below).max(-1) > 0).mean() > 0.01


def test_tracks_that_are_not_finite_or_far_off_can_be_drawn(clips: list[LabelledVideo]) -> None:
    xy = clips[0].xy.copy()
    xy[0], xy[1], xy[2] = np.nan, 1e30, -np.inf
    assert picture(clips[0], (xy, clips[0].visible)).any()


def test_photographs_are_those_that_training_leaves_out(tmp_path: Path) -> None:
    """A tenth of them by name; where that is none, textures are procedural."""
    rng = np.random.default_rng(0)
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), rng.integers(0, 255, (64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="no photographs"):
        list_photographs(str(tmp_path), "heldout")
    config = tiny(tmp_path, textures=str(tmp_path))
    assert len(validation_clips(config)) == CLIPS
    assert make_batch(config, 0)["video"].any()


def test_a_run_is_watched_on_its_own_videos_if_it_has_some(tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")
    scene = SceneConfig(height=48, width=64, frames=5, points=4)
    folder = write_videos(tmp_path / "others", [make_clip(scene, seed) for seed in range(CLIPS + 1)])
    clips = validation_clips(tiny(tmp_path, validation=str(folder)))
    assert [clip.name for clip in clips] == ["00", "01", "02", "03"]
    assert clips[0].frames.shape == (5, 32, 32, 3)
    assert validate(tracker(clips), FAMILY, clips) == {"AJ": 1, "d_avg": 1, "OA": 1}
