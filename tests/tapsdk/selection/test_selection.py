"""The fastest of what gives the right tracks runs, by a measurement that is made once."""

import logging
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapsdk import selection
from tapsdk.artifact import open_artifact
from tapsdk.artifact.manifest import Causal
from tapsdk.backends import BACKENDS, PROCESSOR, EngineInfo
from tapsdk.errors import ArtifactError, BackendError
from tapsdk.runtime import rollout
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.plans import PLANS, FusedPlan
from tapsdk.runtime.point_state import PointState, StateStore
from tapsdk.runtime.stages import Estimates
from tapsdk.selection import decision, probe, probe_cache
from tapsdk.selection.accuracy import TOLERANCES
from tapsdk.selection.candidates import BASE
from tapsdk.selection.decision import MARGIN, PROBE_POINTS, decide, fastest
from tapsdk.selection.isolated import IsolationError
from tapsdk.selection.probe_cache import Measurement
from tapsdk.selection.reference import FRAMES, POINTS, Reference
from tests.support import copy_artifact

FUSED, NATIVE, OTHER = f"{BASE}:fused", f"{BASE}:native", "other:fused"


def choose(artifact, backend="auto", **options):
    return selection.choose(artifact, RunOptions(backend, **options))


class Clock:
    """Time that passes only in the plans."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


class Engine:
    formats = ("onnx",)
    threads = None
    place = PROCESSOR

    def __init__(self, name):
        self.name = name

    def describe(self):
        return f"{self.name} 1.0"


class Stubs:
    """Plans that are not there, by name: how long they take, how far off they are, and what was asked of them."""

    def __init__(self):
        self.clock = Clock()
        self.seconds = {FUSED: 0.02, NATIVE: 0.01}
        self.off = {}
        self.opened = []
        self.points = []
        self.sizes = []
        self.fails = {}
        """What opening a plan raises, by name."""

    def plan(self, kind):
        stubs = self

        class Stub(PLANS[kind]):
            def __init__(self, artifact, backend, points=1):
                self.store = StateStore((), backend)
                self.label = f"{backend.name}:{kind}"
                stubs.opened.append(self.label)
                if self.label in stubs.fails:
                    raise stubs.fails[self.label]

            def begin(self, frame, xy, delay=None, known=None):
                stubs.points.append(len(xy))
                stubs.sizes.append(frame.shape[1:3])
                return PointState(len(xy), ())

            def step(self, frame, state, spent=None):
                stubs.clock.now += stubs.seconds[self.label]
                xy = np.float32([stubs.off.get(self.label, 0.0), 0])
                logits = dict.fromkeys(("occlusion", "expected_dist"), np.full(state.count, -9, np.float32))
                return Estimates(np.broadcast_to(xy, (state.count, 2)), logits), state

        return Stub


@pytest.fixture
def artifact(bundled):
    found = open_artifact(bundled)
    return replace(found, manifest=replace(found.manifest, reference=None))


@pytest.fixture
def only_base(monkeypatch):
    for name in set(BACKENDS) - {BASE}:
        monkeypatch.delitem(BACKENDS, name)


@pytest.fixture
def nothing_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(probe_cache, "_remembered", {})


@pytest.fixture
def stubs(monkeypatch, only_base, nothing_kept):
    """The base alone, with plans that are stubs."""
    stubs = Stubs()
    for kind in ("fused", "native"):
        monkeypatch.setitem(PLANS, kind, stubs.plan(kind))
    for module in (selection, decision):
        monkeypatch.setattr(module, "open_backend", lambda name, options: Engine(name))
    for module in (probe, rollout):
        monkeypatch.setattr(module, "time", stubs.clock)
    return stubs


@pytest.fixture
def other(monkeypatch, stubs):
    """A second backend; what would happen in another process happens here."""
    monkeypatch.setitem(BACKENDS, "other", EngineInfo("tests", "numpy", "pip install other"))

    def here(artifact, backend, names, workload, options, seconds):
        return probe.try_plans(artifact, Engine(backend), names, workload)

    monkeypatch.setattr(decision, "try_plans_apart", here)
    stubs.seconds |= {OTHER: 0.005, "other:native": 0.03}
    return stubs


@pytest.fixture
def reference(monkeypatch):
    """What the tracks should be: the points never move from the corner."""
    found = Reference(np.zeros((POINTS, FRAMES, 2), np.float32), np.ones((POINTS, FRAMES), bool), (256, 256))
    monkeypatch.setattr(decision, "read_reference", lambda artifact: found)
    return found


# Which plan


@pytest.mark.parametrize("faster, slower", [(FUSED, NATIVE), (NATIVE, FUSED)])
@pytest.mark.parametrize("backend", ["auto", BASE])
def test_the_faster_plan_runs(stubs, artifact, faster, slower, backend):
    stubs.seconds = {faster: 0.003, slower: 0.02}
    choice = choose(artifact, backend)
    assert f"{choice.backend.name}:{choice.plan.name}" == faster
    assert choice.milliseconds == pytest.approx({faster: 3, slower: 20})
    assert choice.refused == {}


@pytest.mark.parametrize("name", [FUSED, NATIVE])
def test_a_plan_that_is_named_runs_without_measurement(stubs, artifact, name):
    choice = choose(artifact, name)
    assert (choice.plan.name, choice.milliseconds) == (name.partition(":")[2], {})
    assert stubs.opened == [name]


@pytest.mark.parametrize("plan", ["fused", "native"])
def test_auto_may_be_given_a_plan(other, artifact, plan):
    other.seconds["other:native"] = 0.001
    choice = choose(artifact, f"auto:{plan}")
    assert (choice.backend.name, choice.plan.name) == ("other", plan)
    assert choice.milliseconds.keys() == {f"{BASE}:{plan}", f"other:{plan}"}


def test_where_a_named_backend_has_one_plan_there_is_nothing_to_measure(stubs, artifact):
    choice = choose(replace(artifact, manifest=replace(artifact.manifest, program=Causal())), BASE)
    assert (choice.plan.name, choice.milliseconds) == ("fused", {})


@pytest.mark.parametrize("name", ["onnxruntime:quick", "auto:FUSED"])
def test_an_unknown_plan_lists_the_known_ones(artifact, name):
    with pytest.raises(BackendError, match=f"unknown plan '.*' in backend '{name}'; use one of fused, native"):
        choose(artifact, name)


def test_an_engine_that_was_opened_already(stubs, artifact):
    engine = Engine("mine")
    stubs.seconds = {"mine:fused": 0.2, "mine:native": 0.1}
    choice = choose(artifact, engine)
    assert (choice.backend, choice.plan.name) == (engine, "native")


# Which is right


@pytest.mark.parametrize("off", [1.01 * TOLERANCES["fp32"].pixels, np.nan, -np.inf])
def test_a_plan_that_is_off_is_left_out_however_fast(stubs, artifact, reference, caplog, off):
    stubs.off[NATIVE] = off
    with caplog.at_level(logging.WARNING):
        choice = choose(artifact)
    assert choice.plan.name == "fused"
    assert choice.refused.keys() == {NATIVE}
    assert choice.refused[NATIVE].startswith("its tracks are ")
    assert f"{NATIVE} is not used for tapir/tiny: its tracks" in caplog.text


def test_without_a_reference_the_fused_plan_of_the_base_is_right(other, artifact):
    other.off = {FUSED: 3.0, OTHER: 3.01}
    choice = choose(artifact)
    assert choice.backend.name == "other"
    assert choice.plan.name == "fused"
    assert choice.refused.keys() == {NATIVE, "other:native"}


def test_with_a_reference_the_base_may_be_wrong(other, artifact, reference):
    other.off = {FUSED: 3.0, NATIVE: 3.0}
    assert choose(artifact).backend.name == "other"


@pytest.mark.parametrize("precision", TOLERANCES)
def test_what_is_allowed_depends_on_the_precision(stubs, artifact, reference, precision):
    manifest = replace(artifact.manifest, precision=precision)
    stubs.off = {FUSED: 0.99 * TOLERANCES[precision].pixels, NATIVE: 1.01 * TOLERANCES[precision].pixels}
    assert choose(replace(artifact, manifest=manifest)).plan.name == "fused"


@pytest.mark.parametrize("backend", ["auto", BASE])
def test_where_nothing_is_right_nothing_runs(stubs, artifact, reference, backend):
    stubs.off = {FUSED: 1.0, NATIVE: 2.0}
    with pytest.raises(BackendError, match=r"onnxruntime:fused: its tracks are off by 1 px.*native: .* 2 px"):
        choose(artifact, backend)


# Which backend


def test_the_fastest_backend_runs(other, artifact):
    choice = choose(artifact)
    assert (choice.backend.name, choice.plan.name) == ("other", "fused")
    assert choice.milliseconds == pytest.approx({FUSED: 20, NATIVE: 10, OTHER: 5, "other:native": 30})


@pytest.mark.parametrize("share, wins", [(1 - MARGIN - 0.01, True), (1 - MARGIN + 0.01, False), (1.0, False)])
def test_another_than_the_base_has_to_be_clearly_faster(other, artifact, share, wins):
    other.seconds[OTHER] = share * other.seconds[NATIVE]
    assert (choose(artifact).backend.name == "other") == wins


MEASUREMENTS = st.lists(
    st.builds(
        Measurement,
        backend=st.sampled_from([BASE, "openvino", "litert"]),
        plan=st.sampled_from(["fused", "native"]),
        milliseconds=st.floats(0.01, 1e4),
        refused=st.sampled_from(["", "", "it crashed"]),
    ),
    unique_by=lambda each: each.name,
)


@given(MEASUREMENTS)
def test_the_choice_is_the_fastest_within_tolerance_but_for_noise(measurements):
    able = [each for each in measurements if not each.refused]
    choice = fastest(measurements)
    if not able:
        assert choice is None
        return
    best = min(each.milliseconds for each in able)
    assert choice in able
    assert choice.milliseconds == best or (choice.backend == BASE and (1 - MARGIN) * choice.milliseconds < best)


@given(MEASUREMENTS)
def test_what_was_refused_has_no_say(measurements):
    assert fastest(measurements) == fastest([each for each in measurements if not each.refused])


def test_a_backend_that_raises_is_passed_over_with_its_own_words(other, artifact, monkeypatch, caplog):
    def crash(*arguments):
        raise IsolationError("it crashed: its process was ended by signal 11 (SIGSEGV)")

    monkeypatch.setattr(decision, "try_plans_apart", crash)
    with caplog.at_level(logging.WARNING):
        choice = choose(artifact)
    assert choice.backend.name == BASE
    assert choice.refused.keys() == {OTHER, "other:native"}
    assert "SIGSEGV" in choice.refused[OTHER]
    assert "SIGSEGV" in caplog.text


def test_a_plan_that_raises_is_passed_over_and_the_others_are_not(other, artifact):
    other.fails[OTHER] = BackendError("no such operator")
    choice = choose(artifact)
    assert (choice.backend.name, choice.plan.name) == (BASE, "native")
    assert choice.refused == {OTHER: "no such operator"}
    assert "other:native" in choice.milliseconds


def test_a_backend_that_is_not_installed_is_in_the_report(stubs, artifact, monkeypatch):
    monkeypatch.setitem(BACKENDS, "broken", EngineInfo("no_such_engine", "no_such_engine", "pip install it"))
    choice = choose(artifact)
    assert choice.backend.name == BASE
    assert "No module named 'no_such_engine'" in choice.refused["broken"]


def test_a_backend_that_is_named_never_falls_back(monkeypatch, artifact):
    row = EngineInfo("no_such_engine", "no_such_engine", "pip install it")
    monkeypatch.setitem(BACKENDS, "broken", row)
    with pytest.raises(BackendError, match="backend 'broken' cannot be used"):
        choose(artifact, "broken")


def test_where_nothing_runs_every_reason_is_given(monkeypatch, artifact, nothing_kept):
    for name in list(BACKENDS):
        monkeypatch.delitem(BACKENDS, name)
    for name in ("no_engine", "nor_this"):
        monkeypatch.setitem(BACKENDS, name, EngineInfo(name, name, f"pip install {name}"))
    with pytest.raises(BackendError, match=r"no backend can run tapir/tiny here\. no_engine: .*; nor_this: "):
        choose(artifact)


def test_what_does_not_start_although_it_was_measured_is_told_and_passed_over(other, artifact, caplog):
    assert choose(artifact).backend.name == "other"
    other.fails[OTHER] = BackendError("libengine.so: cannot open shared object file")
    with caplog.at_level(logging.WARNING):
        choice = choose(artifact)
    assert (choice.backend.name, choice.plan.name) == (BASE, "native")
    assert "libengine.so" in choice.refused[OTHER]
    assert f"{OTHER} ran when it was measured, but does not now: libengine.so" in caplog.text


def test_a_damaged_file_is_an_error_and_no_reason_to_pass_over_a_backend(model, tmp_path, nothing_kept):
    damaged = copy_artifact(model, tmp_path / "damaged")
    (damaged / "step.onnx").write_bytes(b"something else")
    with pytest.raises(ArtifactError, match=r"step\.onnx is not the file that was exported"):
        choose(open_artifact(damaged))


# Strict


def test_strict_is_content_where_all_that_is_installed_works(other, artifact, monkeypatch):
    monkeypatch.setitem(BACKENDS, "absent", EngineInfo("no_such_engine", "no_such_engine", "pip install it"))
    assert choose(artifact, strict=True).backend.name == "other"


@pytest.mark.parametrize("backend", ["auto", BASE])
def test_strict_fails_where_anything_was_refused(stubs, artifact, reference, backend):
    stubs.off[NATIVE] = 1.0
    assert choose(artifact, backend).plan.name == "fused"
    with pytest.raises(BackendError, match=r"^strict: .* onnxruntime:native: its tracks are off by 1 px"):
        choose(artifact, backend, strict=True)


def test_strict_checks_the_tracks_of_what_was_named(stubs, artifact, reference):
    assert choose(artifact, FUSED, strict=True).milliseconds.keys() == {FUSED}
    stubs.off[NATIVE] = 1.0
    assert choose(artifact, NATIVE).plan.name == "native"
    with pytest.raises(BackendError, match=r"^strict: .* onnxruntime:native: its tracks are off by 1 px"):
        choose(artifact, NATIVE, strict=True)


def test_strict_fails_where_the_winner_does_not_start(other, artifact):
    choose(artifact)
    other.fails[OTHER] = BackendError("libengine.so: cannot open shared object file")
    with pytest.raises(BackendError, match=r"^libengine\.so"):
        choose(artifact, strict=True)


# The measurement


def test_it_is_made_once(stubs, artifact, monkeypatch):
    first = choose(artifact)
    measured = len(stubs.points)
    assert choose(artifact).milliseconds == first.milliseconds
    monkeypatch.setattr(probe_cache, "_remembered", {})  # as in another process
    again = choose(artifact)
    assert (again.milliseconds, again.plan.name) == (first.milliseconds, first.plan.name)
    assert len(stubs.points) == measured
    assert stubs.opened == [FUSED, NATIVE, NATIVE, NATIVE, NATIVE]


@pytest.mark.parametrize(
    "other",
    [
        {"weights_sha256": "0" * 64},
        {"precision": "int8"},
        {"flow": None},
        {"tools": {"torch": "3.0"}},
    ],
    ids=str,
)
def test_it_is_made_again_for_another_model(stubs, artifact, other):
    choose(artifact)
    measured = len(stubs.points)
    choose(replace(artifact, manifest=replace(artifact.manifest, **other)))
    assert len(stubs.points) == 2 * measured


@pytest.mark.parametrize("change", ["threads", "points", "size", "version", "tapsdk", "machine", "device", "backend"])
def test_it_is_made_again_where_things_are_otherwise(stubs, artifact, monkeypatch, change):
    choose(artifact)
    measured = len(stubs.points)
    options = {"threads": {"threads": 1}, "points": {"points": 128}, "size": {"resolution": 512}}
    options |= {"device": {"device": "cpu"}}
    if change == "version":
        monkeypatch.setattr(decision, "version_of", lambda engine: "9.9")
    if change == "tapsdk":
        monkeypatch.setattr("tapsdk.__version__", "9.9")
    if change == "machine":
        monkeypatch.setattr("tapsdk.system.machine.cores", lambda: 999)
    if change == "backend":
        monkeypatch.setitem(BACKENDS, "new", EngineInfo("tests", "numpy", "pip"))
        monkeypatch.setattr(decision, "try_plans_apart", lambda *arguments: [])
    choose(artifact, **options.get(change, {}))
    assert len(stubs.points) == 2 * measured


def test_a_device_that_the_environment_names_is_another_device(other, artifact, monkeypatch):
    monkeypatch.setitem(BACKENDS, "other", replace(BACKENDS["other"], device_variable="TAPSDK_OTHER_DEVICE"))
    choose(artifact)
    measured = len(other.points)
    monkeypatch.setenv("TAPSDK_OTHER_DEVICE", "GPU")
    choose(artifact)
    assert len(other.points) == 2 * measured
    choose(artifact, device="GPU")
    assert len(other.points) == 2.5 * measured  # by the other's plan: the base knows no such device


def test_a_crash_is_not_tried_again(other, artifact, monkeypatch):
    tried = []

    def crash(*arguments):
        tried.append(arguments)
        raise IsolationError("it crashed")

    monkeypatch.setattr(decision, "try_plans_apart", crash)
    first = choose(artifact)
    monkeypatch.setattr(probe_cache, "_remembered", {})
    assert choose(artifact).refused == first.refused != {}
    assert len(tried) == 1


def test_it_says_what_it_cost(stubs, artifact):
    assert decide(artifact, RunOptions()).probe_milliseconds > 0
    assert decide(artifact, RunOptions()).probe_milliseconds == 0


@pytest.mark.parametrize(
    "points, measured", [(0, 1), (1, 1), (2, 2), (3, 4), (64, 64), (65, 128), (10**6, PROBE_POINTS)]
)
def test_it_takes_about_as_many_points_as_will_be_tracked_but_never_long(stubs, artifact, points, measured):
    choose(artifact, points=points)
    assert stubs.points == [POINTS, POINTS, measured, measured]


@pytest.mark.parametrize("points, measured", [(3, 4), (40, 20), (10**6, 20)])
def test_it_takes_no_more_points_than_the_artifact_does(stubs, artifact, points, measured):
    manifest = replace(artifact.manifest, points=replace(artifact.manifest.points, buckets={"onnx": (4, 20)}))
    choose(replace(artifact, manifest=manifest), "auto", points=points)
    assert stubs.points == [POINTS, measured]


@pytest.mark.parametrize(
    "resolution, measured", [(None, (256, 256)), ((192, 336), (192, 336)), (100, (96, 96)), (512, (512, 512))]
)
def test_time_is_taken_at_the_size_that_the_model_will_work_at(stubs, artifact, resolution, measured):
    choose(artifact, resolution=resolution)
    assert stubs.sizes == [(256, 256), (256, 256), measured, measured]


def test_a_slow_plan_is_not_measured_for_long(stubs, artifact):
    stubs.seconds = {FUSED: 100.0, NATIVE: 60.0}
    assert choose(artifact).plan.name == "native"
    assert stubs.clock.now == probe.ENOUGH * 2 * (100 + 60)


def test_how_long_others_may_take_depends_on_the_base(other, artifact, monkeypatch):
    limits = []
    monkeypatch.setattr(decision, "try_plans_apart", lambda *arguments: limits.append(arguments[-1]) or [])
    monkeypatch.setattr(decision, "time", other.clock)
    other.seconds = {FUSED: 1.0, NATIVE: 2.0}
    choose(artifact)
    monkeypatch.setitem(BACKENDS, BASE, EngineInfo("no_such_engine", "no_such_engine", "pip install tapsdk"))
    with pytest.raises(BackendError, match="no backend can run"):
        choose(artifact)
    assert limits == [decision.SHORT_LIMIT + decision.PATIENCE * other.clock.now, probe.TIME_LIMIT]


# Real engines


def test_the_real_plans_agree_and_are_measured(model, only_base, nothing_kept):
    choice = choose(open_artifact(model), points=3, threads=1)
    assert choice.refused == {}
    assert choice.milliseconds.keys() == {FUSED, NATIVE}
    assert choice.plan.name == min(choice.milliseconds, key=lambda name: choice.milliseconds[name]).partition(":")[2]


ENGINE = """
from tapsdk.backends.onnxruntime import OnnxRuntime

class Twin(OnnxRuntime):
    name = "twin"

def open(options):
    {before}
    return Twin(options)
"""


@pytest.fixture
def twin(tmp_path, monkeypatch, only_base, nothing_kept):
    """A second backend, as a module that is on this machine: what it does before it opens is up to the test."""

    def install(before="pass"):
        (tmp_path / "twin_engine.py").write_text(ENGINE.format(before=before))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(BACKENDS, "twin", EngineInfo("twin_engine", "twin_engine", "pip install twin"))

    yield install
    sys.modules.pop("twin_engine", None)


@pytest.fixture
def slow_base(monkeypatch):
    step = FusedPlan.step

    def slowly(self, frame, state, spent=None):
        import time

        time.sleep(0.5)
        return step(self, frame, state)

    monkeypatch.setattr(FusedPlan, "step", slowly)


def test_a_faster_backend_is_found_in_a_process_of_its_own(twin, slow_base, model):
    twin()
    choice = choose(open_artifact(model), "auto:fused", points=1)
    assert choice.refused == {}
    assert (choice.backend.name, choice.plan.name) == ("twin", "fused")
    assert "twin_engine" in sys.modules


def test_a_slower_backend_is_never_imported_here(twin, model):
    twin("import time; from tapsdk.runtime.plans import FusedPlan; step = FusedPlan.step; "
         "FusedPlan.step = lambda *a: time.sleep(0.5) or step(*a)")  # fmt: skip
    choice = choose(open_artifact(model), "auto:fused", points=1)
    assert choice.milliseconds.keys() == {"onnxruntime:fused", "twin:fused"}
    assert choice.backend.name == BASE
    assert "twin_engine" not in sys.modules


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to die of")
def test_a_backend_that_kills_its_process_is_survived_reported_and_passed_over_once(twin, model, tmp_path, caplog):
    twin("import os, signal; open_file = __builtins__['open']; "
         f"open_file({str(tmp_path / 'tried')!r}, 'a').write('x'); "
         "os.kill(os.getpid(), signal.SIGSEGV)")  # fmt: skip
    with caplog.at_level(logging.WARNING):
        choice = choose(open_artifact(model), points=1)
    assert choice.backend.name == BASE
    assert "signal 11 (SIGSEGV)" in choice.refused["twin:fused"]
    assert "SIGSEGV" in caplog.text
    probe_cache._remembered.clear()
    assert choose(open_artifact(model), points=1).refused == choice.refused
    assert (tmp_path / "tried").read_text() == "x"
    with pytest.raises(BackendError, match=r"^strict: .*SIGSEGV"):
        choose(open_artifact(model), points=1, strict=True)


@pytest.mark.parametrize(
    "before, reason",
    [
        ("raise ImportError('libtwin.so.3: cannot open shared object file')", "libtwin.so.3: cannot open"),
        ("raise RuntimeError('no device')", "RuntimeError: no device"),
        ("import os; os._exit(7)", "ended with status 7"),
    ],
)
def test_a_backend_that_does_not_start_is_passed_over_with_its_own_words(twin, model, before, reason):
    twin(before)
    choice = choose(open_artifact(model), points=1)
    assert choice.backend.name == BASE
    assert reason in choice.refused["twin:fused"]


def test_with_the_base_alone_no_process_is_started(model, only_base, nothing_kept, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)
    assert choose(open_artifact(model), points=1).backend.name == BASE


def test_what_was_chosen_can_be_named(model, only_base, nothing_kept):
    choice = choose(open_artifact(model), points=1)
    named = choose(open_artifact(model), f"{choice.backend.name}:{choice.plan.name}")
    assert named.plan.name == choice.plan.name
