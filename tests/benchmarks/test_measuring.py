"""Turns and their ratios. No test here says how fast anything is."""

import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import measuring
from benchmarks.measuring import RunnerError, Turn, Worker, alternate, environment, paired_ratio, too_busy
from benchmarks.runners import RUNNERS, Runner
from benchmarks.workloads import Workload

PRODUCT = Workload("matrix product", points=0)
TIMES = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20)


def test_a_ratio_is_of_neighbours_so_that_a_slow_minute_counts_for_nothing():
    ours, theirs = [1.0, 1.0, 9.0, 1.0, 1.0], [2.0, 2.0, 18.0, 2.0, 2.0]
    found = paired_ratio(ours, theirs)
    assert (found.median, found.low, found.high, found.pairs) == (2, 2, 2, 5)


def test_one_pair_that_was_disturbed_does_not_move_the_median():
    assert paired_ratio([1, 1, 1, 1, 1], [3, 3, 300, 3, 3]).median == 3


def test_the_median_is_of_ratios_and_not_of_times():
    ours, theirs = [1.0, 10.0, 100.0], [4.0, 20.0, 300.0]
    assert paired_ratio(ours, theirs).median == 3
    assert statistics.median(theirs) / statistics.median(ours) == 2


def test_a_single_pair_is_its_own_quartiles():
    assert paired_ratio([2], [3]) == paired_ratio([2], [3])
    assert (paired_ratio([2], [3]).low, paired_ratio([2], [3]).high) == (1.5, 1.5)


@given(TIMES)
def test_who_is_as_fast_has_a_ratio_of_one(times):
    found = paired_ratio(times, times)
    assert found.low == found.median == found.high == 1


@given(TIMES, st.floats(0.1, 10))
def test_quartiles_are_around_the_median_and_a_factor_stays_a_factor(times, factor):
    noisy = [time * (1 + 0.1 * (i % 3)) for i, time in enumerate(times)]
    found, scaled = paired_ratio(times, noisy), paired_ratio(times, [factor * time for time in noisy])
    assert found.low <= found.median <= found.high
    assert scaled.median == pytest.approx(factor * found.median)


def test_pairs_that_are_not_pairs_are_refused():
    with pytest.raises(ValueError):
        paired_ratio([1, 2], [1])


def test_with_one_thread_the_processor_counts_and_with_more_the_wall():
    turn = Turn(wall=3, processor=2)
    assert turn.seconds(1) == 2
    assert turn.seconds(2) == 3


def test_threads_are_fixed_for_every_library_by_its_own_name():
    fixed = environment(2)
    assert {fixed[name] for name in fixed if name.endswith("_THREADS")} == {"2"}


def test_two_runners_alternate_in_processes_of_their_own():
    with Worker("matrix-numpy", PRODUCT) as one, Worker("matrix-numpy", PRODUCT) as other:
        turns = alternate(one, other, seconds=0)
        assert one.peak_megabytes() > 0
        assert one.positions is None
    assert [len(each) for each in turns] == [3, 3]
    assert all(turn.wall > 0 and turn.processor > 0 for each in turns for turn in each)


def test_times_on_the_wall_are_not_taken_of_a_busy_machine(monkeypatch):
    assert too_busy(None) == too_busy(0.5) == ""
    monkeypatch.setattr(measuring, "load", lambda: 99.0)
    with pytest.raises(RunnerError, match="99 processes want to run"):
        Worker("matrix-numpy", replace(PRODUCT, threads=2))


def test_a_runner_that_fails_says_why():
    with pytest.raises(RunnerError, match=r"ModelError: .*no-such"):
        Worker("native", Workload("no/such"))


def test_a_runner_without_its_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(RUNNERS, "other", Runner("other", "nowhere:f", ("no_such_package",), "pip install it"))
    with pytest.raises(RunnerError, match="needs no_such_package: pip install it"):
        Worker("other", PRODUCT)
