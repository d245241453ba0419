"""Nuke and After Effects: read back by parsers of their grammars, as the programs themselves are not to be had."""

import re

import numpy as np
import pytest

from tests.tapsdk.interchange.braces import curve, tracker
from tests.tapsdk.interchange.made import SIZE, awkward, plain


def nuke(tracks, path, size=SIZE):
    tracks.export(path, size=size)
    return tracker(path.read_text("ascii"))


def after_effects(tracks, path, **scene):
    """The header, and {(point, property): {frame: values}}."""
    tracks.export(path, "after-effects", **scene)
    lines = path.read_text("ascii").splitlines()
    assert lines[0] == "Adobe After Effects 8.0 Keyframe Data" and lines[-1] == "End of Keyframe Data"
    about, properties, keys = {}, {}, None
    for line in filter(None, lines[1:-1]):
        first, *cells = line.split("\t")
        if first:
            assert [first, cells[0]] == ["Motion Trackers", "Tracker #1"]
            keys = properties[int(re.fullmatch(r"Track Point #(\d+)", cells[1])[1]), cells[2]] = {}
        elif keys is None:
            about[cells[0]] = float(cells[1])
        elif cells[0] != "Frame":
            keys[int(cells[0])] = [float(cell) for cell in cells[1:]]
    return about, properties


def test_nuke_counts_y_from_the_bottom_and_frames_from_one(tmp_path):
    tracks = awkward()
    knobs, found = nuke(tracks, tmp_path / "tracks.nk")
    assert knobs["reference_frame"] == "1"
    last = found[f"point {2**62 + 1}"]
    x, y = curve(last["track_x"]), curve(last["track_y"])
    assert list(x) == list(y) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(list(x.values()), tracks.xy[3, :, 0], atol=6e-5)
    np.testing.assert_allclose(list(y.values()), 150 - tracks.xy[3, :, 1], atol=6e-5)


def test_nuke_has_keys_where_a_point_is_visible_and_is_off_elsewhere(tmp_path):
    _, found = nuke(awkward(), tmp_path / "tracks.nk")
    assert list(found) == ["point 0", "point 7", f"point {2**62 + 1}"]
    first = found["point 0"]
    assert list(curve(first["track_x"])) == list(curve(first["error"])) == [1, 2, 5, 6]
    assert curve(first["enable"]) == {1: 1, 3: 0, 5: 1}
    assert curve(first["error"])[2] == 0.25
    assert curve(found["point 7"]["enable"]) == {1: 1, 3: 0, 4: 1, 5: 0, 6: 1}


def test_a_point_that_appears_later_is_off_in_nuke_until_then(tmp_path):
    tracks = plain(1, 3)
    tracks.visible[0, 0] = False
    _, found = nuke(tracks, tmp_path / "tracks.nk")
    assert curve(found["point 0"]["enable"]) == {1: 0, 2: 1}
    assert list(curve(found["point 0"]["track_x"])) == [2, 3]


def test_after_effects_has_keys_where_a_point_is_visible_and_its_confidence_everywhere(tmp_path):
    tracks = awkward()
    about, found = after_effects(tracks, tmp_path / "tracks.txt", size=SIZE)
    assert about["Units Per Second"] == 25
    assert (about["Source Width"], about["Source Height"]) == (240, 150)
    assert {point for point, _ in found} == {1, 2, 3}  # what is never visible is not there
    centre = found[1, "Feature Center"]
    assert list(centre) == [0, 1, 4, 5]
    np.testing.assert_allclose(list(centre.values()), tracks.xy[0, [0, 1, 4, 5]], atol=6e-5)
    assert found[1, "Attach Point"] == centre
    assert found[1, "Confidence"] == {0: [0], 1: [75], 2: [25], 3: [25], 4: [75], 5: [75]}


def test_the_rate_that_is_given_goes_before_that_of_the_tracks(tmp_path):
    about, _ = after_effects(awkward(), tmp_path / "tracks.txt", size=SIZE, fps=30000 / 1001)
    assert about["Units Per Second"] == pytest.approx(29.97, abs=1e-3)


@pytest.mark.parametrize(("points", "frames"), [(0, 3), (1, 1), (2, 0), (0, 0)])
def test_few_points_and_few_frames(tmp_path, points, frames):
    tracks, there = plain(points, frames), points if frames else 0
    _, found = nuke(tracks, tmp_path / "tracks.nk")
    assert len(found) == there
    _, properties = after_effects(tracks, tmp_path / "tracks.txt", size=SIZE)
    assert len(properties) == 3 * there


def test_huge_and_tiny_numbers_have_no_exponent(tmp_path):
    tracks = plain(1, 2)
    tracks.xy[0] = [[1e9, 1e-7], [-3e-9, 2.5e7]]
    _, found = nuke(tracks, tmp_path / "tracks.nk")
    assert list(curve(found["point 0"]["track_x"]).values()) == [1e9, 0]
    assert list(curve(found["point 0"]["track_y"]).values()) == [150, 150 - 2.5e7]
