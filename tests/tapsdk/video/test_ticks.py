"""The clock of a written video."""

import logging
from fractions import Fraction

import pytest

from tapsdk.errors import FramesError
from tapsdk.video.ticks import LONGEST, Ticks, as_rate, ticks_per_second

MOST = 1 << 30


@pytest.mark.parametrize(
    "fps, rate",
    [
        (25, Fraction(25)),
        (30000 / 1001, Fraction(30000, 1001)),
        (29.97, Fraction(2997, 100)),
        (0.5, Fraction(1, 2)),
        (1 / 3600, Fraction(1, 3600)),
        (1 / 604800, Fraction(1, 604800)),
        (1e6, Fraction(10**6)),
    ],
)
def test_a_rate_is_the_fraction_that_was_meant(fps, rate):
    assert as_rate(fps) == rate


@pytest.mark.parametrize("fps", [1e-7, 1 / 604800, 1 / 3600, 0.5, 25, 30000 / 1001, 1000, 1e6])
def test_frames_of_the_rate_lie_on_ticks_and_there_is_room_for_longer_gaps(fps):
    rate = as_rate(fps)
    ticks = ticks_per_second(rate, MOST)
    assert (ticks / rate * rate.denominator).denominator == 1
    assert ticks / rate >= 100
    assert ticks / rate <= LONGEST / 10


def test_a_clock_with_few_ticks_gets_no_more():
    assert ticks_per_second(Fraction(30000, 1001), 1000) == 1000


def test_frames_without_times_follow_the_rate_without_drift():
    ticks = Ticks(Fraction(30000, 1001), 1000, None)
    assert [ticks.next(None) for _ in range(31)] == [round(t * 1001 / 30) for t in range(31)]


def test_times_count_from_the_first_frame():
    ticks = Ticks(Fraction(25), 1000, None)
    assert [ticks.next(time) for time in (-2.5, -2.0, 0.0, 0.001)] == [0, 500, 2500, 2501]


def test_a_frame_without_a_time_comes_by_the_rate_after_the_one_before():
    ticks = Ticks(Fraction(25), 1000, None)
    assert [ticks.next(time) for time in (1.0, None, 2.0, None)] == [0, 40, 1000, 1040]


def test_times_closer_than_a_tick_stay_apart():
    ticks = Ticks(Fraction(25), 1000, None)
    assert [ticks.next(time) for time in (0.0, 1e-4, 2e-4, 0.5)] == [0, 1, 2, 500]


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 1.0, 0.5])
def test_a_time_that_is_none_or_not_later_is_refused_and_counts_no_frame(time):
    ticks = Ticks(Fraction(25), 1000, None)
    assert ticks.next(1.0) == 0
    with pytest.raises(FramesError, match="time of a frame must be"):
        ticks.next(time)
    assert ticks.next(1.5) == 500


def test_a_gap_longer_than_the_file_holds_is_cut_and_said_once(caplog):
    ticks = Ticks(Fraction(1), 10, longest=100)
    with caplog.at_level(logging.WARNING):
        assert [ticks.next(time) for time in (0, 1, 1001, 1002, 5000)] == [0, 10, 110, 120, 220]
    assert [record.getMessage() for record in caplog.records] == [
        "a frame comes 1000 s after the one before it; such a video holds 10 s at most, and gaps are cut"
    ]
