"""What a run measures, with nothing measured."""

import pytest

from benchmarks import parts
from benchmarks.comparing import Effort
from benchmarks.models import EVERYTHING
from benchmarks.parts import NEEDS, PARTS
from benchmarks.rows import Row
from benchmarks.runners import RUNNERS


@pytest.fixture
def asked(monkeypatch):
    """Every comparison that the parts ask for: (part, workload, runner)."""
    found = []

    def compare(part, workload, runners, effort, axis=None):
        found.extend((part, workload, name) for name in runners)
        return [Row(part, runners[0], workload.label, axis)]

    def curve(part, workloads, runners, effort):
        for axis, workload in workloads.items():
            yield compare(part, workload, runners, effort, axis)

    monkeypatch.setattr(parts, "compare", compare)
    monkeypatch.setattr(parts, "curve", curve)
    return found


COMPARING = ("tiny", "boots", "clip", "points", "frames", "resolution")


def take(names, quick=False):
    for name in names:
        for _ in PARTS[name](Effort(0, "matrix-numpy", lambda _: None), quick):
            pass


def test_nothing_is_measured_twice(asked):
    take(COMPARING)
    assert len(asked) == len(set(asked))


def test_every_peer_is_met_somewhere(asked):
    take(COMPARING)
    assert {runner for *_, runner in asked} == {name for name in RUNNERS if not name.startswith("matrix")}


def test_curves_reach_as_far_as_they_say(asked):
    take(COMPARING)
    of = {part: [workload for each, workload, _ in asked if each == part] for part in COMPARING}
    assert {1, 4096} <= {workload.points for workload in of["points"]}
    assert {1, 2} == {workload.threads for workload in of["points"]}
    assert {10, 1000} <= {workload.clip for workload in of["frames"]}
    assert {256, 1024} <= {workload.resolution for workload in of["resolution"]}
    assert {16, 64, 256} == {workload.points for workload in of["boots"]}


def test_in_haste_only_the_bundled_model_is_measured(asked):
    take(COMPARING, quick=True)
    assert {(part, workload.model) for part, workload, _ in asked} == {("tiny", "tapir/tiny")}


def test_what_parts_need_is_what_can_be_made():
    assert {need for needs in NEEDS.values() for need in needs} == set(EVERYTHING)
