"""Work that is recorded once for each size and replayed from then on: the same results, whoever asks."""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tapsdk.backends.replays import BEFORE, MOST, MOST_COUNTED, Replays


class Block:
    """Memory as an engine has it."""

    def __init__(self, array):
        self.array = np.array(array, np.float32)

    @property
    def shape(self):
        return self.array.shape

    def clone(self):
        return Block(self.array)

    def copy_(self, other):
        assert self.shape == other.shape
        self.array[...] = other.array


class Device:
    """Computes sums, and records as CUDA graphs do: replayed, it reads and writes the memory that it was given."""

    def __init__(self):
        self.runs, self.records, self.replays = 0, 0, 0
        self.fails = None

    def work(self, x, y):
        self.runs += 1
        return [Block(x.array + y.array), Block(x.array.sum())]

    def record(self, work, inputs):
        self.records += 1
        if self.fails:
            raise self.fails
        outputs = work(*inputs)

        def replay():
            self.replays += 1
            for own, found in zip(outputs, self.work(*inputs), strict=True):
                own.copy_(found)

        return replay, outputs


@pytest.fixture
def device():
    return Device()


@pytest.fixture
def replays(device):
    return Replays(device.work, device.record)


def ask(replays, size=3, seed=0):
    """Runs it once, and checks what comes out; returns that."""
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=size).astype(np.float32) for _ in range(2))
    found = replays([Block(x), Block(y)])
    np.testing.assert_array_equal(found[0].array, x + y)
    np.testing.assert_array_equal(found[1].array, x.sum())
    return found


def test_a_size_is_recorded_when_it_comes_for_the_third_time(replays, device):
    assert BEFORE == 2
    for seed in range(5):
        ask(replays, seed=seed)
        assert (device.records, device.replays) == (int(seed >= 2), max(0, seed - 1))


def test_what_was_given_out_stays_as_it_was(replays):
    given = [ask(replays, seed=seed)[0] for seed in range(6)]
    for seed, found in enumerate(given):
        np.testing.assert_array_equal(found.array, ask(replays, seed=seed)[0].array)


def test_what_comes_out_may_go_in_again(replays):
    """As state does from frame to frame."""
    state = Block(np.zeros(3))
    for _ in range(7):
        state, _ = replays([state, Block(np.ones(3))])
    np.testing.assert_array_equal(state.array, 7)


def test_every_size_has_a_recording_of_its_own(replays, device):
    for _ in range(4):
        for size in (0, 1, 7):
            ask(replays, size)
    assert device.records == 3


def test_points_that_come_and_go_leave_no_recordings(replays, device):
    for size in range(50):
        ask(replays, size)
    assert device.records == 0


def test_recordings_that_are_not_used_any_more_make_room(replays, device):
    for size in (*range(MOST + 1), MOST):
        for _ in range(BEFORE + 1):
            ask(replays, size)
    assert replays.recordings == MOST
    assert ((0,), (0,)) not in replays._recordings
    before = device.records
    for _ in range(BEFORE + 1):
        ask(replays, 0)
    assert device.records == before + 1


def test_sizes_are_not_counted_without_end(replays):
    for size in range(MOST_COUNTED + 10):
        ask(replays, size)
    assert len(replays._times) <= MOST_COUNTED


def test_what_cannot_be_recorded_is_done_without_and_said_once(replays, device, caplog):
    device.fails = RuntimeError("operation not permitted when stream is capturing")
    with caplog.at_level(logging.WARNING):
        for seed in range(6):
            ask(replays, seed=seed)
            ask(replays, size=5, seed=seed)
    assert device.records == 1
    assert [record.getMessage() for record in caplog.records] == [
        "what is computed cannot be recorded and replayed, and takes longer: operation not permitted when stream is "
        "capturing"
    ]


def test_what_fails_without_a_recording_fails_as_it_does(device):
    def fails(*inputs):
        raise ValueError("no such size")

    with pytest.raises(ValueError, match="no such size"):
        Replays(fails, device.record)([Block([1]), Block([2])])


def test_threads_get_their_own(replays):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: ask(replays, 100, seed), range(200)))
