"""Whether confidence says how often points are right."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapsdk.tracks import Tracks
from training.__main__ import main
from training.data.labelled_video import LabelledVideo
from training.evaluation.calibration import figure, fit, observe, reliability, table, uncalibrated


def test_who_is_right_as_often_as_said_makes_no_error():
    confidence = np.repeat([0.25, 0.75], [4, 4])
    found = reliability(confidence, [1, 0, 0, 0, 1, 1, 1, 0])
    assert found.error == 0
    np.testing.assert_array_equal(found.share, [0.5, 0.5])


def test_who_is_always_sure_and_right_half_the_time_is_half_off():
    found = reliability(np.ones(10), np.arange(10) % 2)
    assert found.error == pytest.approx(0.5)
    assert found.said == [1] and found.right == [0.5] and found.share == [1]


def test_errors_to_both_sides_do_not_make_up_for_each_other():
    assert reliability([0.2, 0.8], [1, 0]).error == pytest.approx(0.8)


def test_of_nothing_nothing_can_be_said():
    assert np.isnan(reliability([], []).error)
    assert "nan" in table({"tapir": reliability([], [])})


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 12))
def test_all_positions_are_in_some_class(rows, classes):
    found = reliability(*zip(*rows, strict=True), classes)
    assert found.share.sum() == pytest.approx(1)
    assert 0 <= found.error <= 1


LINE = ((0.0, 0.0), (0.25, 0.1), (0.5, 0.2), (0.75, 0.5), (0.9, 0.7), (1.0, 1.0))


def test_the_line_by_which_a_model_is_right_is_found():
    rng = np.random.default_rng(0)
    certainty = rng.beta(2, 1, 200_000)
    right = rng.random(len(certainty)) < np.interp(certainty, *zip(*LINE, strict=True))
    found = fit(certainty, right)
    np.testing.assert_allclose(found, LINE, atol=0.02)
    assert reliability(np.interp(certainty, *zip(*found, strict=True)), right).error < 0.005


def test_where_there_is_nothing_to_go_by_confidence_is_the_certainty():
    np.testing.assert_allclose(*np.transpose(fit([], [])))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40))
def test_a_line_grows_from_corner_to_corner_as_manifests_want_it(rows):
    found = fit([certainty for certainty, _ in rows], [right for _, right in rows])
    assert found[0] == (0, 0) and found[-1] == (1, 1)
    assert (np.diff(found, axis=0) > 0).all()


@given(st.lists(st.floats(0, 1)))
def test_certainty_is_told_from_the_confidence_that_it_became(certainty):
    confidence = np.interp(certainty, *zip(*LINE, strict=True))
    np.testing.assert_allclose(uncalibrated(confidence, LINE), certainty, atol=1e-9)


def test_what_is_observed_is_after_the_query_seen_and_close_at_256():
    """A video of 512 x 256: 12 pixels along x are 6 of the metric's, 20 are 10."""
    frames = np.zeros((4, 256, 512, 3), np.uint8)
    true = np.full((2, 4, 2), 100, np.float32)
    visible = np.array([[1, 1, 1, 0], [0, 1, 1, 1]], bool)
    video = LabelledVideo(frames, true, visible, np.float32([[0, 100, 100], [1, 100, 100]]))
    xy = true + np.float32([[[0, 0], [12, 0], [20, 0], [0, 0]], [[0, 0], [0, 0], [0, 6], [0, 10]]])
    confidence = np.arange(8, dtype=np.float32).reshape(2, 4) / 8
    said, right = observe(video, Tracks(xy, visible, confidence))
    np.testing.assert_array_equal(said, np.float32([1, 2, 3, 6, 7]) / 8)
    np.testing.assert_array_equal(right, [True, False, False, True, False])


def test_frames_of_which_nothing_is_known_do_not_count():
    frames, true, visible = np.zeros((3, 256, 256, 3), np.uint8), np.zeros((1, 3, 2), np.float32), np.ones((1, 3), bool)
    video = LabelledVideo(frames, true, visible, np.float32([[0, 0, 0]]), np.array([True, False, True]))
    said, right = observe(video, Tracks(true, visible, np.full((1, 3), 0.5, np.float32)))
    assert len(said) == len(right) == 1


def test_the_drawing_has_a_line_for_each_name_and_is_sound_xml():
    curves = {"<old> & new": reliability([0.2, 0.9], [0, 1]), "tapir": reliability([0.5], [1])}
    drawing = ElementTree.fromstring(figure(curves))
    lines = [each for each in drawing.iter() if each.tag.endswith("polyline")]
    assert [len(line.get("points").split()) for line in lines] == [2, 1]
    assert any("<old> & new: 15.0 % off" in (each.text or "") for each in drawing.iter())


def test_the_command_tells_and_draws(tmp_path, capsys, monkeypatch):
    pytest.importorskip("cv2", reason="the generator needs OpenCV: pip install '.[train]'")
    video = LabelledVideo(
        np.zeros((3, 64, 64, 3), np.uint8), np.full((1, 3, 2), 9, np.float32), np.ones((1, 3), bool), name="v"
    )
    monkeypatch.setattr("training.evaluation.calibration.videos_of", lambda *_: iter([video]))
    outputs = ["-o", str(tmp_path / "figure.svg"), "--json", str(tmp_path / "figure.json")]
    assert main(["calibrate", "--fit", *outputs]) == 0
    printed = capsys.readouterr().out
    assert "tapir: expected calibration error" in printed
    assert "tapir: calibration [[0.0, 0.0], [0.25, " in printed
    assert (tmp_path / "figure.svg").read_text().startswith("<svg")
    stored = json.loads((tmp_path / "figure.json").read_text())["tapir"]
    assert sum(stored["share"]) == pytest.approx(1)
    off = np.abs(np.subtract(stored["confidence"], stored["right"]))
    assert stored["error"] == pytest.approx(np.dot(stored["share"], off))
