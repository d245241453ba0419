"""The fastest plan that works is chosen, by a measurement that is made once."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from tapsdk import selection
from tapsdk.artifact import open_artifact
from tapsdk.backends import BACKENDS, Row
from tapsdk.errors import BackendError
from tapsdk.plans import Estimates
from tapsdk.rows import Rows
from tapsdk.selection import AGREE_PIXELS, PROBE_POINTS, choose


class Clock:
    """Time that passes only in the plans."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


class Engine:
    name = "stub"

    def describe(self):
        return "stub 1.0"


@pytest.fixture
def artifact(bundled):
    return open_artifact(bundled)


@pytest.fixture
def plans(monkeypatch):
    """Stub plans by name: seconds per frame, where they find the points, and what was asked of them."""
    clock = Clock()
    table = {
        "fused": {"seconds": 0.02, "xy": 1.0, "opened": 0, "points": []},
        "native": {"seconds": 0.01, "xy": 1.0, "opened": 0, "points": []},
    }

    def stub(kind):
        class Stub:
            name = kind

            def __init__(self, artifact, backend):
                table[kind]["opened"] += 1

            def begin(self, frame, xy):
                table[kind]["points"].append(len(xy))
                return Rows(len(xy), {})

            def step(self, frame, rows):
                clock.now += table[kind]["seconds"]
                return Estimates(np.full((rows.count, 2), table[kind]["xy"], np.float32), {}), rows

        return Stub

    monkeypatch.setattr(selection, "PLANS", {name: stub(name) for name in table})
    monkeypatch.setattr(selection, "open_backend", lambda name, options: Engine())
    monkeypatch.setattr(selection, "time", clock)
    monkeypatch.setattr(selection, "_measured", {})
    return table


# Which plan


@pytest.mark.parametrize("faster, slower", [("fused", "native"), ("native", "fused")])
def test_the_faster_plan_runs(plans, artifact, faster, slower):
    plans[faster]["seconds"], plans[slower]["seconds"] = 0.003, 0.02
    choice = choose(artifact)
    assert choice.plan.name == faster
    assert choice.milliseconds == pytest.approx({faster: 3, slower: 20})
    assert choice.refused == {}


@pytest.mark.parametrize("name", ["onnxruntime:fused", "auto:fused", "onnxruntime:native"])
def test_a_plan_that_is_named_runs_without_measurement(plans, artifact, name):
    choice = choose(artifact, name)
    assert choice.plan.name == name.partition(":")[2]
    assert choice.milliseconds == {}
    assert sum(plan["opened"] for plan in plans.values()) == 1


def test_without_a_native_plan_there_is_nothing_to_measure(plans, artifact):
    choice = choose(replace(artifact, manifest=replace(artifact.manifest, native=None)))
    assert (choice.plan.name, choice.milliseconds) == ("fused", {})


@pytest.mark.parametrize("name", ["onnxruntime:quick", "auto:FUSED"])
def test_an_unknown_plan_lists_the_known_ones(artifact, name):
    with pytest.raises(BackendError, match=f"unknown plan '.*' in backend '{name}'; use one of fused, native"):
        choose(artifact, name)


@pytest.mark.parametrize("xy", [1.0 + 2 * AGREE_PIXELS, np.nan])
def test_plans_that_disagree_leave_the_fused_one_however_slow(plans, artifact, caplog, xy):
    plans["native"]["xy"] = xy
    with caplog.at_level(logging.WARNING):
        choice = choose(artifact)
    assert choice.plan.name == "fused"
    assert "its tracks differ from the fused plan's by" in choice.refused["native"]
    assert "the native plan of tapir/tiny is not used" in caplog.text


def test_a_difference_that_nobody_sees_is_allowed(plans, artifact):
    plans["native"]["xy"] = 1.0 + AGREE_PIXELS / 2
    assert choose(artifact).plan.name == "native"


# The measurement


def test_it_is_made_once(plans, artifact):
    first = choose(artifact, points=60)
    plans["native"]["seconds"] = 1.0
    again = choose(artifact, points=64)
    assert again.plan.name == first.plan.name == "native"
    assert again.milliseconds == first.milliseconds
    assert len(plans["native"]["points"]) == 1
    assert plans["fused"]["opened"] == 1  # the slower one is not even opened again


@pytest.mark.parametrize(
    "other",
    [{"points": 65}, {"threads": 1}],
    ids=["more points", "threads"],
)
def test_it_is_made_again_for_other_work(plans, artifact, other):
    choose(artifact, points=64)
    choose(artifact, **{"points": 64, **other})
    assert len(plans["native"]["points"]) == 2


@pytest.mark.parametrize(
    "other", [{"weights_sha256": "0" * 64}, {"precision": "int8"}, {"resolution": (8, 8)}], ids=str
)
def test_it_is_made_again_for_another_model(plans, artifact, other):
    choose(artifact)
    choose(replace(artifact, manifest=replace(artifact.manifest, **other)))
    assert len(plans["native"]["points"]) == 2


@pytest.mark.parametrize(
    "points, measured", [(0, 1), (1, 1), (2, 2), (3, 4), (64, 64), (65, 128), (10**6, PROBE_POINTS)]
)
def test_it_takes_about_as_many_points_as_will_be_tracked_but_never_long(plans, artifact, points, measured):
    choose(artifact, points=points)
    assert plans["native"]["points"] == plans["fused"]["points"] == [measured]


# Which backend


def test_auto_passes_over_a_backend_that_cannot_run_and_keeps_the_reason(monkeypatch, model):
    rows = {"broken": Row("no_such_engine", "no_such_engine", "pip install it"), **BACKENDS}
    monkeypatch.setattr("tapsdk.selection.BACKENDS", rows)
    monkeypatch.setattr("tapsdk.backends.BACKENDS", rows)
    choice = choose(open_artifact(model), "auto:fused")
    assert choice.backend.name == "onnxruntime"
    assert "No module named 'no_such_engine'" in choice.refused["broken"]


def test_a_backend_that_is_named_never_falls_back(monkeypatch, artifact):
    row = Row("no_such_engine", "no_such_engine", "pip install it")
    monkeypatch.setitem(BACKENDS, "broken", row)
    with pytest.raises(BackendError, match="backend 'broken' cannot be used"):
        choose(artifact, "broken")


def test_where_nothing_runs_every_reason_is_given(monkeypatch, artifact):
    rows = {name: Row(name, name, f"pip install {name}") for name in ("no_engine", "nor_this")}
    monkeypatch.setattr("tapsdk.selection.BACKENDS", rows)
    monkeypatch.setattr("tapsdk.backends.BACKENDS", rows)
    with pytest.raises(BackendError, match=r"no backend can run tapir/tiny here\. no_engine: .*; nor_this: "):
        choose(artifact)


def test_the_real_plans_agree_and_are_measured(model):
    choice = choose(open_artifact(model), points=3, threads=1)
    assert choice.refused == {}
    assert choice.milliseconds.keys() == {"fused", "native"}
    assert choice.plan.name == min(choice.milliseconds, key=lambda name: choice.milliseconds[name])
