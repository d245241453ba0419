"""Rows of a workload, with runners whose times are made up."""

from dataclasses import dataclass, field

import pytest

from benchmarks import comparing, measuring
from benchmarks.comparing import Effort, compare, countable_flops, curve, scaling
from benchmarks.measuring import RunnerError, Turn
from benchmarks.workloads import Workload

WORK = Workload("some/model", points=4)
SECONDS = {"native": 0.5, "literal": 2.0, "opencv-lk": 0.05, "matrix-numpy": 0.25}
TRACKS = {"native": [[1.0, 2.0]], "literal": [[1.0, 2.5]]}


@dataclass
class FakeWorker:
    """Takes as long as SECONDS says, with as many threads as there are; what is not there cannot run."""

    name: str
    workload: Workload
    positions: list | None = field(init=False)

    def __post_init__(self):
        if self.name not in SECONDS:
            raise RunnerError(f"needs {self.name}")
        self.positions, self.quick = TRACKS.get(self.name), Turn(1, 1)

    def turn(self, count=1):
        seconds = SECONDS[self.name] / self.workload.threads * (1 + self.workload.points / 4)
        return Turn(seconds, seconds)

    def peak_megabytes(self):
        return 7.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    monkeypatch.setattr(comparing, "Worker", FakeWorker)
    monkeypatch.setattr(measuring, "PAUSE", 0)


@pytest.fixture
def effort():
    return Effort(0, "matrix-numpy", lambda _: None)


def test_every_peer_is_a_row_beside_ours(effort):
    ours, literal, lk = compare("tiny", WORK, ("native", "literal", "opencv-lk"), effort)
    assert (ours.runner, ours.ratio, ours.milliseconds, ours.peak_megabytes) == ("native", 1, 1000, 7)
    assert (literal.ratio, literal.pairs, literal.beside) == (4, 3, "native")
    assert lk.ratio == pytest.approx(0.1)


def test_positions_are_compared_with_who_computes_the_same(effort):
    _, literal, lk = compare("tiny", WORK, ("native", "literal", "opencv-lk"), effort)
    assert literal.pixels == 0.5
    assert lk.pixels is None


def test_a_peer_that_cannot_run_is_a_row_that_says_why_and_the_others_go_on(effort):
    _, missing, literal = compare("tiny", WORK, ("native", "jax", "literal"), effort)
    assert missing.reason == "needs jax"
    assert missing.ratio is None
    assert literal.ratio == 4


def test_without_ours_there_is_nothing_to_compare_with(effort):
    rows = compare("tiny", WORK, ("fused", "literal"), effort)
    assert [row.reason for row in rows] == ["needs fused", "ours did not run"]


def test_rates_and_shares_are_of_the_same_count_of_operations(effort, monkeypatch):
    monkeypatch.setattr(comparing, "countable_flops", lambda _: 1e9)
    ours, literal, lk = compare("tiny", WORK, ("native", "literal", "opencv-lk"), effort)
    assert (ours.gigaflops, literal.gigaflops, lk.gigaflops) == (1, 0.25, None)
    # The product takes half of our time, and so do 2 x 1024^3 operations of it.
    assert ours.share == pytest.approx(1e9 / (2 * 2 * 1024**3) * 1)
    assert literal.share == pytest.approx(ours.share / 4)


def test_a_clip_is_taken_once_and_its_times_are_those_of_a_frame(effort, monkeypatch):
    monkeypatch.setattr(comparing, "countable_flops", lambda _: 1e9)
    ours, literal = compare("clip", Workload("some/model", points=4, clip=10), ("native", "literal"), effort)
    assert (ours.milliseconds, ours.gigaflops, literal.ratio, literal.pairs) == (100, 10, 4, 1)
    assert ours.share == pytest.approx(10e9 / (2 * 1024**3 / 0.5))
    assert literal.share == pytest.approx(ours.share / 4)


def test_who_takes_too_long_is_not_tried_with_more(effort):
    works = {n: Workload("some/model", points=n) for n in (4, 24, 400)}
    rows = [row for some in curve("points", works, ("native", "literal"), effort) for row in some]
    assert [(row.axis, row.runner, bool(row.reason)) for row in rows] == [
        (4, "native", False),
        (4, "literal", False),
        (24, "native", False),
        (24, "literal", False),
        (400, "native", False),
        (400, "literal", True),
    ]
    assert rows[-1].reason.startswith("not tried: 14 s a frame")


def test_where_ours_cannot_run_every_place_of_a_curve_says_so(effort):
    works = {n: Workload("some/model", points=n) for n in (4, 24)}
    rows = [row for some in curve("points", works, ("fused", "literal"), effort) for row in some]
    assert [(row.axis, row.runner, row.reason) for row in rows] == [
        (4, "fused", "needs fused"),
        (4, "literal", "ours did not run"),
        (24, "fused", "needs fused"),
        (24, "literal", "ours did not run"),
    ]


def test_two_threads_are_held_against_one(effort):
    assert scaling("threads", WORK, "native", effort).ratio == 2
    assert scaling("threads", WORK, "jax", effort).reason == "needs jax"


def test_operations_are_counted_of_tapir_alone():
    pytest.importorskip("torch")
    assert countable_flops(Workload("matrix product", points=0)) is None
    tiny = countable_flops(Workload("tapir/tiny", size=(720, 1280)))
    assert tiny > countable_flops(Workload("tapir/tiny", size=(720, 1280), points=1))
    assert countable_flops(Workload("tapir/tiny", resolution=512)) > 3 * tiny
