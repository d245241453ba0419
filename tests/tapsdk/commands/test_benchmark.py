"""`tapsdk benchmark`: a row for every model, backend and plan, whatever happens in it."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from tapsdk.artifact import open_artifact
from tapsdk.backends import BACKENDS, EngineInfo
from tapsdk.commands import benchmark as module
from tapsdk.commands import main as cli
from tapsdk.commands.benchmark import Settings, benchmark, choose_backends, mark_auto, open_models, render, to_report
from tapsdk.errors import ArtifactError, BackendError, ModelError
from tapsdk.runtime.options import RunOptions
from tapsdk.selection import choose, probe_cache
from tapsdk.selection.accuracy import Rollout
from tapsdk.selection.candidates import BASE
from tapsdk.selection.decision import PROBE_POINTS
from tapsdk.selection.isolated import IsolationError
from tapsdk.selection.reference import Reference
from tests.support import copy_artifact, needs_full_device, needs_kill

FAST = Settings(points=4, frames=2, threads=1)
TRACKS = Rollout(np.zeros((16, 8, 2), np.float32), np.ones((16, 8), bool))


@pytest.fixture(autouse=True)
def only_base(monkeypatch):
    for name in set(BACKENDS) - {BASE}:
        monkeypatch.delitem(BACKENDS, name)


@pytest.fixture
def quick(monkeypatch):
    """Rows that are not run: each takes 1 to 20 ms and finds the points in the corner. What was asked is noted."""
    asked = []

    def answer(function, request, seconds):
        asked.append(request)
        return {
            "engine": f"{request['backend']} 1.0",
            "tracks": TRACKS.to_table(),
            "milliseconds": list(range(1, 21)),
            "peak_memory": 50_000_000,
        }

    monkeypatch.setattr(module, "run_isolated", answer)
    monkeypatch.setattr(module, "read_reference", lambda artifact: Reference(TRACKS.xy, TRACKS.visible, (64, 96)))
    return asked


def rows_of(model, backends=(BASE,), settings=FAST):
    return list(benchmark({"small": open_artifact(model)}, backends, settings))


def test_each_plan_runs_and_is_measured(model):
    rows = rows_of(model)
    assert [(row.backend, row.plan, row.status, row.reason) for row in rows] == [
        (BASE, "fused", "ok", ""),
        (BASE, "native", "ok", ""),
    ]
    for row in rows:
        assert (row.model, row.precision) == ("small", "fp32")
        assert row.engine.startswith("onnxruntime ")
        assert 0 < row.milliseconds_p50 <= row.milliseconds_p95
        assert row.points_per_second == pytest.approx(4000 / row.milliseconds_p50)
        assert row.peak_megabytes is None or 20 < row.peak_megabytes < 2000
        files = [path for path in model.iterdir() if path.suffix in (".onnx", ".safetensors")]
        assert row.megabytes == pytest.approx(sum(path.stat().st_size for path in files) / 1e6)


def test_numbers_are_what_they_are_called(model, quick):
    first, second = rows_of(model)
    assert first.pixel_error == second.pixel_error == 0
    assert (first.milliseconds_p50, first.milliseconds_p95) == (10.5, 19.05)
    assert first.points_per_second == pytest.approx(4000 / 10.5)
    assert first.peak_megabytes == 50
    assert [request["plan"] for request in quick] == ["fused", "native"]
    assert all(request["frames"] == 2 and request["options"] == {"device": None, "threads": 1} for request in quick)
    assert all(request["workload"]["points"] == 4 for request in quick)


@pytest.mark.parametrize("off, status", [(0.01, "ok"), (3.0, "wrong"), (np.nan, "wrong")])
def test_tracks_are_compared_with_the_reference(model, quick, monkeypatch, off, status):
    expected = Reference(TRACKS.xy + np.float32([off, 0]), TRACKS.visible, (64, 96))
    monkeypatch.setattr(module, "read_reference", lambda artifact: expected)
    row, _ = rows_of(model)
    assert row.status == status
    assert (row.pixel_error is None) == np.isnan(off)
    assert ("off by" in row.reason) == (status == "wrong")


def test_without_a_reference_with_the_first_row(model, quick, monkeypatch):
    monkeypatch.setattr(module, "read_reference", lambda artifact: None)
    assert [row.pixel_error for row in rows_of(model)] == [None, 0]


def test_what_cannot_run_is_a_row_too(model, quick, monkeypatch):
    monkeypatch.setitem(BACKENDS, "absent", EngineInfo("no_such_engine", "no_such_engine", "pip install absent"))
    monkeypatch.setitem(BACKENDS, "foreign", EngineInfo("numpy", "numpy", "pip install numpy", ("tflite",)))
    rows = {row.backend: row for row in rows_of(model, (BASE, "absent", "foreign"))}
    assert (rows["absent"].status, rows["foreign"].status) == ("not installed", "no file")
    assert "install it with: pip install absent" in rows["absent"].reason
    assert "--target tflite" in rows["foreign"].reason
    assert rows["foreign"].milliseconds_p50 is None
    assert len(quick) == 2


def test_what_fails_is_a_row_with_the_reason_and_the_others_go_on(model, monkeypatch):
    def fail(function, request, seconds):
        raise IsolationError("it crashed: its process was ended by signal 11 (SIGSEGV)")

    monkeypatch.setattr(module, "run_isolated", fail)
    rows = rows_of(model)
    assert [row.status for row in rows] == ["failed", "failed"]
    assert "SIGSEGV" in rows[0].reason


def test_more_points_than_fit_is_a_failed_row(model, tmp_path):
    fixed = copy_artifact(model, tmp_path / "fixed", lambda manifest: manifest["points"].update(buckets={"onnx": [16]}))
    (row,) = rows_of(fixed, settings=replace(FAST, points=17))
    assert row.status == "failed"
    assert "17 points are too many: this artifact takes 16 at most" in row.reason


def test_json_has_everything_and_no_nan(model, quick, monkeypatch):
    monkeypatch.setattr(
        module, "read_reference", lambda artifact: Reference(TRACKS.xy * np.nan, TRACKS.visible, (8, 8))
    )
    report = to_report(rows_of(model), FAST)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (report["points"], report["frames"], report["threads"], report["complete"]) == (4, 2, 1, True)
    assert len(report["rows"]) == 2


def test_people_get_a_table(model, quick):
    artifacts = {"small": open_artifact(model)}
    header, fused, native = render(mark_auto(artifacts, rows_of(model), FAST, True)).splitlines()
    assert header.split()[:4] == ["model", "backend", "status", "MB"]
    assert fused.startswith("small fp32  onnxruntime:fused")
    assert "10.5" in native
    assert (fused + native).count(" * ") == 1


# What auto runs


@pytest.fixture
def measured(model, quick, tmp_path, monkeypatch):
    """The artifact, and its rows: fused in 2 ms, native in 1 ms."""
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path))
    monkeypatch.setattr(probe_cache, "_remembered", {})
    rows = rows_of(model)
    return open_artifact(model), [replace(row, milliseconds_p50=2.0 - i) for i, row in enumerate(rows)]


def autos(artifact, rows, complete=True):
    marked = mark_auto({"small": artifact}, rows, FAST, complete)
    assert [replace(row, auto=False) for row in marked] == rows
    return [f"{row.backend}:{row.plan}" for row in marked if row.auto]


def test_auto_runs_the_fastest_row_from_now_on(measured):
    artifact, (fused, native) = measured
    assert autos(artifact, [fused, native]) == [f"{BASE}:native"]
    choice = choose(artifact, RunOptions(points=4, threads=1))
    assert (choice.plan.name, choice.milliseconds) == ("native", {f"{BASE}:fused": 2.0, f"{BASE}:native": 1.0})
    assert autos(artifact, [replace(fused, milliseconds_p50=0.5), native]) == [f"{BASE}:fused"]
    assert choose(artifact, RunOptions(points=4, threads=1)).plan.name == "fused"


@pytest.mark.parametrize("status", ["wrong", "failed"])
def test_auto_runs_no_row_that_is_not_right(measured, status):
    artifact, (fused, native) = measured
    assert autos(artifact, [fused, replace(native, status=status, reason="it is off")]) == [f"{BASE}:fused"]
    assert choose(artifact, RunOptions(points=4, threads=1)).refused[f"{BASE}:native"] == "it is off"


def test_where_rows_are_missing_auto_measures_for_itself(measured):
    artifact, (fused, _) = measured
    (auto,) = autos(artifact, [fused]) or [f"{BASE}:native"]
    assert choose(artifact, RunOptions(points=4, threads=1)).plan.name == auto.partition(":")[2]
    assert choose(artifact, RunOptions(points=4, threads=1)).milliseconds[f"{BASE}:fused"] != 2.0


def test_more_points_than_auto_measures_with_are_no_lesson_to_it(measured):
    artifact, rows = measured
    many = replace(FAST, points=PROBE_POINTS + 1)
    mark_auto({"small": artifact}, rows, many, complete=True)
    assert choose(artifact, RunOptions(points=PROBE_POINTS, threads=1)).milliseconds[f"{BASE}:fused"] != 2.0


def test_after_an_interruption_nothing_more_is_measured(measured):
    artifact, (fused, _) = measured
    assert autos(artifact, [fused], complete=False) == []
    assert list(probe_cache._remembered) == []


# What can be asked for


def test_backends_by_name(monkeypatch):
    for name in ("other", "another"):
        monkeypatch.setitem(BACKENDS, name, EngineInfo("numpy", "numpy", "pip"))
    assert choose_backends("all") == [BASE, "other", "another"]
    assert choose_backends("another, onnxruntime,another") == [BASE, "another"]
    for text in ("", "cuda", "other,,another"):
        with pytest.raises(BackendError, match=r"unknown backend '.*'; use all, or some of onnxruntime,other,another"):
            choose_backends(text)


def test_models_are_opened_and_checked_before_the_work(model, tmp_path):
    assert open_models([str(model)])[str(model)].directory == model
    with pytest.raises(ModelError, match="unknown model 'tapir/huge'"):
        open_models([str(model), "tapir/huge"])
    damaged = copy_artifact(model, tmp_path / "damaged")
    (damaged / "step.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"step\.onnx is not the file"):
        open_models([str(damaged)])


# On the command line


@pytest.fixture
def run(model, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: cli.main(["benchmark", str(model), *arguments])


def test_a_table_on_the_terminal(run, capsys):
    assert run("--backends", "all", "--points", "8") == 0
    out, err = capsys.readouterr()
    assert out.startswith("model ")
    assert out.count("\n") == 3
    assert err == ""


def test_a_benchmark_of_which_nothing_ran_is_an_error(run, monkeypatch, capsys):
    monkeypatch.setitem(BACKENDS, "absent", EngineInfo("no_such_engine", "no-such-engine", "pip install it"))
    assert run("--backends", "absent") == 1
    out, err = capsys.readouterr()
    assert "not installed" in out
    assert err == "error: nothing ran; the last column says why\n"


def test_json_in_place_of_the_table(run, capsys):
    assert run("--json") == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 2


def test_json_in_a_file_beside_the_table(run, capsys, tmp_path):
    assert run("--json", "out.json") == 0
    assert capsys.readouterr().out.startswith("model ")
    assert len(json.loads((tmp_path / "out.json").read_text())["rows"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["tapir/huge"], "unknown model 'tapir/huge'"),
        (["--backends", "cuda"], "unknown backend 'cuda'; use all, or some of onnxruntime"),
        (["--json", "missing/out.json"], "could not write missing/out.json: No such file or directory"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_line_before_the_work(run, quick, capsys, arguments, complaint):
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {complaint}")
    assert quick == []


@pytest.mark.parametrize("option", ["--points", "--frames", "--threads"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", ""])
def test_numbers_that_are_none(run, capsys, option, value):
    with pytest.raises(SystemExit) as caught:
        run(f"{option}={value}")
    assert caught.value.code == 2
    assert f"'{value}' is not a whole number from 1" in capsys.readouterr().err


@needs_full_device
def test_a_full_disk(run, capsys):
    assert run("--json", "/dev/full") == 1
    assert "could not write /dev/full: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("after", [0, 1])
def test_ctrl_c_keeps_the_rows_that_there_are(run, monkeypatch, capsys, tmp_path, after):
    answer, calls = module.run_isolated, []

    def interrupt(*arguments):
        calls.append(arguments)
        if len(calls) > after:
            raise KeyboardInterrupt
        return answer(*arguments)

    monkeypatch.setattr(module, "run_isolated", interrupt)
    assert run("--json", "out.json") == 130
    out, err = capsys.readouterr()
    if not after:
        assert (out, err) == ("", "stopped\n")
        assert list(tmp_path.iterdir()) == []
        return
    assert err == "stopped after 1 rows\n"
    assert out.count("\n") == 2
    report = json.loads((tmp_path / "out.json").read_text())
    assert (len(report["rows"]), report["complete"]) == (1, False)


def test_the_report_never_replaces_a_file_of_a_model(run, quick, model, capsys, tmp_path):
    os.link(model / "manifest.json", tmp_path / "out.json")
    assert run("--json", "out.json") == 1
    assert "could not write out.json: it would replace an input" in capsys.readouterr().err
    assert quick == []


@needs_kill
def test_sigterm_keeps_the_rows_that_there_are(run, monkeypatch, capsys, tmp_path):
    answer, calls = module.run_isolated, []

    def end(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return answer(*arguments)

    monkeypatch.setattr(module, "run_isolated", end)
    assert run("--json", "out.json") == 143
    assert capsys.readouterr().err == "stopped after 1 rows\n"
    report = json.loads((tmp_path / "out.json").read_text())
    assert (len(report["rows"]), report["complete"]) == (1, False)
