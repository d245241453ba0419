"""`python -m export`: a verified artifact, or nothing."""

import json
import os
import shutil
import signal
import sys
import types
from typing import ClassVar

import numpy as np
import pytest

from tapsdk import track
from tapsdk.artifact import open_artifact
from tapsdk.artifact.weights import WEIGHTS
from tapsdk.backends import open_backend
from tapsdk.errors import ModelError
from tapsdk.runtime.options import RunOptions
from tapsdk.selection.decision import decide
from tapsdk.selection.reference import read_reference
from tapsdk.system import folders
from tapsdk.system.files import sha256
from tapsdk.system.leftovers import temporary_name
from tests.support import SMALL, import_or_skip, known_model, needs_kill

onnx = import_or_skip("onnx")
torch = import_or_skip("torch")

from export import pipeline  # noqa: E402
from export.__main__ import main  # noqa: E402
from export.pipeline import ExportError, Options, export  # noqa: E402
from export.stages import Style  # noqa: E402
from export.support import EXCEPTIONS  # noqa: E402
from export.targets import TARGETS  # noqa: E402
from export.verification import verify  # noqa: E402
from export.verification.verify import FLIPS, VerificationError  # noqa: E402
from training.checkpoints import CheckpointError, load_canonical  # noqa: E402
from training.models import load  # noqa: E402


class Copy:
    """A target that takes seconds off: its files are copies of what the ONNX target made for the same model."""

    format = "onnx"
    style = Style()
    buckets = ()
    precisions: ClassVar = {"fp32": 0.01}

    def __init__(self, exported):
        self.exported = exported
        self.then = lambda directory: None
        """What happens to the files before they are verified."""

    def lower(self, stages, directory, request):
        for name in (*(f"{stage.name}.onnx" for stage in stages), WEIGHTS):
            shutil.copy(self.exported / name, directory)
        self.then(directory)
        return {stage.name: f"{stage.name}.onnx" for stage in stages}

    def open_backend(self):
        return open_backend("onnxruntime")

    def tools(self):
        return {"copier": "1.0"}


@pytest.fixture(autouse=True)
def small_is_known(small_config):
    with known_model(SMALL, small_config):
        yield


@pytest.fixture
def target(exported, monkeypatch):
    """The target "copy"."""
    module = types.ModuleType("copy_target")
    module.TARGET = Copy(exported)
    monkeypatch.setitem(sys.modules, "copy_target", module)
    monkeypatch.setitem(TARGETS, "copy", ("copy_target", "export-copy"))
    monkeypatch.setitem(EXCEPTIONS, ("tapir/base", "copy"), "there is nothing to copy")
    return module.TARGET


@pytest.fixture
def output(tmp_path):
    """Where the artifact goes: into a folder of which nothing else may be left."""
    return tmp_path / "artifacts" / "small"


@pytest.fixture
def run(small_model, target, output):
    """The command line with all that it needs, and more; gives the exit status."""

    def run_main(*more, model=SMALL):
        arguments = [model, "--target", "copy", "--weights", small_model, "-o", output, *more]
        return main([str(argument) for argument in arguments])

    return run_main


def left(output):
    """Every name beside the artifact, temporary ones included."""
    return sorted(path.name for path in output.parent.iterdir()) if output.parent.exists() else []


def snapshot(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def change_step(directory, output, operator, value):
    """Breaks the stage `step`: an output becomes operator(output, value)."""
    path = directory / "step.onnx"
    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = [f"{name}_before" if name == output else name for name in node.output]
    constant = onnx.numpy_helper.from_array(np.float32(value), f"{output}_by")
    model.graph.initializer.append(constant)
    model.graph.node.append(onnx.helper.make_node(operator, [f"{output}_before", constant.name], [output]))
    onnx.save(model, path)


def shift_tracks(directory):
    change_step(directory, "xy", "Add", 0.5)


def lose_tracks(directory):
    change_step(directory, "xy", "Mul", np.nan)


def see_everything(directory):
    """Breaks the stage `step` where positions do not show it: every point is visible."""
    change_step(directory, "occlusion", "Min", -100.0)
    change_step(directory, "expected_dist", "Min", -100.0)


# An artifact


def test_the_artifact_runs(exported, video):
    artifact = open_artifact(exported)
    artifact.verify()
    assert track(video, [[5, 5]], exported).xy.shape == (1, len(video), 2)


def test_the_manifest_says_what_it_is(exported, small_model, small_config):
    manifest = open_artifact(exported).manifest
    assert manifest.model == SMALL
    assert manifest.weights_sha256 == sha256(small_model)
    assert manifest.points.space == manifest.frames.size == small_config.resolution
    assert (manifest.precision, manifest.points.query_frame) == ("fp32", "exact")
    assert manifest.points.independent
    assert manifest.frames.range == (-1.0, 1.0)
    assert list(manifest.stages) == ["encode", "query", "step", "locate", "mixer"]
    assert manifest.formats == ["onnx"]
    assert manifest.program.native.iterations == small_config.iterations
    assert {"tapsdk", "torch", "onnx"} <= manifest.tools.keys()


def test_kernels_are_given_the_models_own_weights(exported, small_model, small_config):
    artifact, (own, _) = open_artifact(exported), load_canonical(small_model)
    kernels, weights = artifact.manifest.program.native.kernels, artifact.weights()
    assert {stage: kernel.op for stage, kernel in kernels.items()} == {"locate": "cost_volume_track", "mixer": "mixer"}
    numbers = {"temperature": small_config.softmax_temperature, "motion_prior": small_config.motion_prior}
    assert (kernels["locate"].numbers, kernels["mixer"].numbers) == (numbers, {})
    for stage, part in (("locate", "head"), ("mixer", "mixer")):
        for argument, name in kernels[stage].weights.items():
            found = weights.tensor(name)
            np.testing.assert_array_equal(
                found.T if argument in kernels[stage].transposed else found, own[f"{part}.{argument}"]
            )


def test_the_manifest_holds_the_numbers_of_the_verification(exported):
    verification = open_artifact(exported).manifest.verification
    assert verification["reference"].startswith("torch ")
    assert verification["backend"].startswith("onnxruntime ")
    assert verification["pixel_error"].keys() == verification["visibility_flips"].keys() == {"fused", "native"}
    assert all(0 <= error <= 0.01 for error in verification["pixel_error"].values())
    assert all(0 <= share <= FLIPS for share in verification["visibility_flips"].values())
    assert verification["stage_error"].keys() == {"encode", "query", "step", "locate", "mixer"}
    assert all(0 <= error < 1e-3 for error in verification["stage_error"].values())
    assert (verification["frames"], verification["points"]) == (verify.FRAMES, list(verify.POINTS))


def test_it_brings_what_torch_says_of_a_pattern(exported, small_model):
    reference = read_reference(open_artifact(exported))
    frames, xy = reference.pattern()
    assert reference.size == open_artifact(exported).manifest.frames.size
    np.testing.assert_array_equal(reference.xy[:, 0], xy)
    model = load(SMALL, small_model)
    video = torch.from_numpy(frames / np.float32(127.5) - 1)[None]
    tyx = torch.from_numpy(np.pad(xy[:, ::-1], ((0, 0), (1, 0))))[None]
    with torch.inference_mode():
        state = model.init(video[:, :1], tyx)
        for t in range(reference.xy.shape[1]):
            out, state = model.step(video[:, t : t + 1], state)
    np.testing.assert_allclose(out["tracks"][0, :, 0], reference.xy[:, -1], atol=1e-3)


def test_anyone_can_compare_with_it_without_torch(exported):
    artifact = open_artifact(exported)
    decision = decide(artifact, RunOptions(points=1, plan="fused"))
    (base,) = (each for each in decision.measurements if each.backend == "onnxruntime")
    assert (base.refused, base.pixel_error) == ("", pytest.approx(0, abs=0.01))


def test_files_are_as_anyone_would_expect_them(exported):
    stages = ["encode.onnx", "query.onnx", "step.onnx", "locate.onnx", "mixer.onnx"]
    assert {path.name for path in exported.iterdir()} == {"manifest.json", *stages, WEIGHTS, "reference.npz"}
    assert exported.stat().st_mode & 0o777 == 0o755  # not private, as temporary folders are
    json.loads((exported / "manifest.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)  # no NaN


def test_the_command_line_says_what_it_made(run, output, capsys):
    assert run() == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"{output}: {SMALL}, ")
    assert "differs from torch by at most" in out
    assert open_artifact(output).manifest.tools["copier"] == "1.0"
    assert left(output) == ["small"]


def test_without_a_folder_it_goes_into_artifacts(small_model, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([SMALL, "--target", "copy", "--weights", str(small_model)]) == 0
    open_artifact(tmp_path / "artifacts" / "tapir-toy-copy").verify()


# What is there already


def test_what_exists_is_left_alone(run, output, capsys):
    output.mkdir(parents=True)
    (output / "notes.txt").write_text("mine")
    assert run() == 1
    assert capsys.readouterr().err == f"error: {output} exists; use --force to replace an artifact\n"
    assert snapshot(output) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_force_replaces_artifacts_and_nothing_else(run, output, kind, capsys):
    output.parent.mkdir()
    output.mkdir() if kind == "folder" else output.write_text("mine")
    assert run("--force") == 1
    assert "is not an artifact; choose another directory" in capsys.readouterr().err
    assert left(output) == ["small"]


def test_force_replaces_an_artifact(run, output):
    assert run() == 0
    (output / "more.txt").write_text("of the old one")
    assert run() == 1
    assert run("--force") == 0
    open_artifact(output).verify()
    assert "more.txt" not in snapshot(output)
    assert left(output) == ["small"]


@needs_kill
def test_what_a_killed_export_left_is_removed_or_put_back_by_the_next(run, output, monkeypatch):
    assert run() == 0
    before = snapshot(output)
    (output.parent / temporary_name()).mkdir()
    output.rename(folders._aside(output))  # killed where the system exchanges no names
    assert run() == 1
    assert snapshot(output) == before
    assert run("--force") == 0
    assert left(output) == ["small"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions and links")
def test_a_folder_that_is_replaced_leaves_its_permissions_and_a_link_stays_one(run, output, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    output.parent.mkdir()
    output.symlink_to(tmp_path / "elsewhere" / "model")
    assert run() == 0
    output.chmod(0o750)
    (output / "manifest.json").chmod(0o640)
    assert run("--force") == 0
    assert output.is_symlink()
    assert output.stat().st_mode & 0o777 == 0o750
    assert (output / "manifest.json").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["model"]


# What cannot be done


@pytest.mark.parametrize(
    "arguments, error, complaint",
    [
        ({"model": "tapir/huge"}, ModelError, "unknown model 'tapir/huge'; these exist: tapir, tapir/tiny"),
        ({"target": "paper"}, ExportError, "unknown target 'paper'; allowed: .*onnx"),
        ({"precision": "fp8"}, ExportError, "unknown precision 'fp8' for copy; allowed: fp32"),
        ({"model": "tapir/base"}, ExportError, "tapir/base cannot be exported to copy: there is nothing to copy"),
        ({"weights": "missing.safetensors"}, CheckpointError, r"missing\.safetensors cannot be read"),
    ],
    ids=str,
)
def test_what_cannot_be_exported(small_model, target, output, tmp_path, monkeypatch, arguments, error, complaint):
    monkeypatch.chdir(tmp_path)
    wanted = {"model": SMALL, "target": "copy", "weights": small_model, **arguments}
    if "weights" in arguments:
        wanted["weights"] = tmp_path / arguments["weights"]
    with pytest.raises(error, match=complaint):
        export(wanted.pop("model"), wanted.pop("target"), output, Options(**wanted))
    assert left(output) == []


def test_weights_of_another_model(small_model, target, output):
    with pytest.raises(CheckpointError, match=r"holds weights of 'tapir/toy', not of 'tapir/tiny'"):
        export("tapir/tiny", "copy", output, Options(small_model))
    assert left(output) == []


def test_a_target_whose_packages_are_missing(small_model, output, monkeypatch):
    monkeypatch.setitem(TARGETS, "absent", ("no_such_target", "export-absent"))
    with pytest.raises(ExportError, match=r"needs packages .*No module named.*pip install 'tapsdk\[export-absent\]'"):
        export(SMALL, "absent", output, Options(small_model))


def test_errors_are_one_line(run, output, capsys):
    assert run("--precision", "fp8") == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: unknown precision 'fp8' for copy; allowed: fp32\n")


# What goes wrong on the way leaves nothing but an artifact that was there before


@pytest.mark.parametrize(
    "damage, complaint",
    [
        (shift_tracks, r"positions differ by up to \d.* px \(allowed: 0\.01\)"),
        (lose_tracks, r"positions differ by up to nan px|the artifact does not run"),
        (see_everything, r"\d% of the visibility flags differ \(allowed: 1%\)"),
    ],
)
def test_a_graph_that_is_not_the_model_is_no_artifact(small_model, target, output, damage, complaint):
    target.then = damage
    with pytest.raises(VerificationError, match=complaint):
        export(SMALL, "copy", output, Options(small_model))
    assert left(output) == []


def raise_in(monkeypatch, moment, error):
    """Lets a function of the export fail; os.rename where the system exchanges no names, at its second call."""
    owner, name = (os, "rename") if moment == "rename" else (pipeline, moment)
    owner = folders if moment == "replace_folder" else owner
    monkeypatch.setattr(folders, "exchange", lambda one, other: False)
    original, calls = getattr(owner, name), []

    def fail(*arguments, **options):
        calls.append(arguments)
        if moment == "rename" and len(calls) != 2:
            return original(*arguments, **options)
        raise error

    monkeypatch.setattr(owner, name, fail)


FULL_DISK = OSError(28, "No space left on device")


@pytest.mark.parametrize("moment", ["cut", "verify", "sha256", "replace_folder", "rename"])
@pytest.mark.parametrize(
    "error, status, message",
    [
        (FULL_DISK, 1, "could not be written: [Errno 28] No space left on device\n"),
        (KeyboardInterrupt(), 130, "stopped; nothing was written\n"),
    ],
    ids=["full disk", "ctrl-c"],
)
def test_the_old_artifact_outlives_a_failure(run, output, monkeypatch, capsys, moment, error, status, message):
    assert run() == 0
    before = snapshot(output)
    raise_in(monkeypatch, moment, error)
    assert run("--force") == status
    assert capsys.readouterr().err.endswith(message)
    assert snapshot(output) == before
    assert left(output) == ["small"]


@pytest.mark.parametrize("error", [FULL_DISK, KeyboardInterrupt(), VerificationError("no"), RuntimeError("bug")])
def test_a_failure_leaves_nothing(small_model, target, output, monkeypatch, error):
    raise_in(monkeypatch, "verify", error)
    with pytest.raises(type(error)):
        export(SMALL, "copy", output, Options(small_model))
    assert left(output) == []


@needs_kill
@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_leaves_nothing(run, target, output, capsys, name, status):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    target.then = lambda directory: os.kill(os.getpid(), getattr(signal, name))
    try:
        assert run() == status
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capsys.readouterr().err.endswith("stopped; nothing was written\n")
    assert left(output) == []


@needs_kill
def test_a_second_signal_leaves_nothing_either(run, target, output, monkeypatch):
    remove = shutil.rmtree

    def interrupted(*arguments, **options):
        monkeypatch.setattr(shutil, "rmtree", remove)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    target.then = lambda directory: os.kill(os.getpid(), signal.SIGTERM)
    assert run() == 143
    assert left(output) == []


@needs_kill
def test_a_signal_while_the_artifact_gets_its_name_comes_too_late(run, output, monkeypatch):
    rename = os.rename

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        rename(*arguments)

    monkeypatch.setattr(os, "rename", interrupted)
    assert run() == 0
    assert left(output) == ["small"]


def test_the_artifact_that_holds_the_weights_is_not_replaced(run, small_model, target, output, capsys):
    assert run() == 0
    weights = output / "weights.safetensors"
    shutil.copy(small_model, weights)
    (output.parent / "link.safetensors").symlink_to(weights)
    before = snapshot(output)
    for path in (weights, output.parent / "link.safetensors"):
        with pytest.raises(ExportError, match=r"holds the weights .*, and would be replaced; choose another"):
            export(SMALL, "copy", output, Options(path, force=True))
    assert snapshot(output) == before


def test_a_folder_that_cannot_be_written_to(run, output, capsys):
    output.parent.write_text("a file where the folder should be")
    assert run() == 1
    assert capsys.readouterr().err.startswith(f"error: {output} could not be written: ")
