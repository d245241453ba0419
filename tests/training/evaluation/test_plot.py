"""Drawings of lines over an axis."""

import xml.etree.ElementTree as ElementTree

import pytest

from training.evaluation.plot import Axis, Plot

SHARES, COUNTS = Axis("share", 0, 1, (0, 0.5, 1)), Axis("points <1 & up>", 1, 100, (1, 10, 100), log=True)


def test_equal_steps_are_equal_lengths_and_on_a_logarithmic_axis_equal_factors():
    assert [SHARES.share(x) for x in (0, 0.25, 1)] == [0, 0.25, 1]
    assert [COUNTS.share(x) for x in (1, 10, 100)] == pytest.approx([0, 0.5, 1])


def test_the_origin_is_at_the_lower_left():
    plot = Plot(COUNTS, SHARES, width=200, height=100)
    (left, bottom), (right, top) = plot.at(1, 0), plot.at(100, 1)
    assert (right - left, bottom - top) == (200, 100)


def test_what_was_added_is_drawn_in_sound_xml_with_ticks_and_names():
    plot = Plot(COUNTS, SHARES, width=200, height=100)
    plot.line([(1, 0), (10, 0.5), (100, 1)], "red")
    plot.guide((1, 1), (100, 1))
    plot.dot((10, 0.5), 3, "red")
    plot.name("<a> & b", "red")
    tree = ElementTree.fromstring(plot.render())
    (line,) = [each for each in tree.iter() if each.tag.endswith("polyline")]
    middle = "{:.1f},{:.1f}".format(*plot.at(10, 0.5))
    assert line.get("points").split()[1] == middle
    said = [each.text for each in tree.iter() if each.tag.endswith("text")]
    assert {"share", "points <1 & up>", "<a> & b", "0.5", "10", "100"} <= set(said)
    assert len([each for each in tree.iter() if each.tag.endswith("circle")]) == 1
