"""Where the time goes, and the first frame. Nothing is said of how long anything takes."""

import time

import pytest

from benchmarks.rows import REST
from benchmarks.stages import Clock
from benchmarks.start import PROGRAM, once
from benchmarks.workloads import Workload
from tapsdk.selection.isolated import run_isolated


def spin(seconds):
    ends = time.process_time() + seconds
    while time.process_time() < ends:
        pass


def test_a_clock_adds_up_calls_of_a_name():
    clock = Clock()
    call = clock.wrap("lookup", spin)
    call(0.002)
    call(seconds=0.002)
    assert list(clock.seconds) == ["lookup"]
    assert clock.seconds["lookup"] >= 0.004


def test_of_calls_within_calls_the_outer_one_counts():
    clock = Clock()
    inner = clock.wrap("inner", spin)
    clock.wrap("outer", lambda: inner(0.002))()
    assert list(clock.seconds) == ["outer"]


def test_a_call_that_fails_is_counted_and_the_next_one_as_well():
    clock = Clock()
    with pytest.raises(ZeroDivisionError):
        clock.wrap("bad", lambda: 1 / 0)()
    clock.wrap("good", spin)(0.001)
    assert set(clock.seconds) == {"bad", "good"}


def test_the_first_frame_is_reached_by_public_names():
    assert "tapsdk." in PROGRAM
    assert list(once()) == ["import tapsdk", "tapsdk.load()", "first frame"]


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["native", "fused"])
def test_a_plan_shows_its_stages_and_kernels_and_the_rest(plan):
    workload = Workload(points=3, size=(96, 160))
    found = run_isolated("benchmarks.stages:answer", {"workload": workload.to_table(), "plan": plan}, 120)
    assert {"resize", "following", REST} < set(found)
    assert ("step" in found) == (plan == "fused")
    assert all(milliseconds >= 0 for milliseconds in found.values())
