"""`tapsdk export` and `python -m export` where packages are missing, and their arguments; see also test_pipeline.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from export import __main__ as cli
from export.targets import TARGETS
from tests.clusters import ray_cluster
from tests.support import ROOT

WITHOUT = (
    "import sys; sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(',')))\n"
    "from tapsdk.commands.main import main; sys.exit(main())"
)
"""The command line of a Python that cannot import some packages, which its first argument names with commas between."""


def export_without(packages: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, packages, "export", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def assert_names_the_extra(result: subprocess.CompletedProcess[str], target: str, package: str) -> None:
    message = result.stderr.splitlines()[-1]  # LiteRT's converter also writes there, from C++
    assert message.startswith(f"error: export to {target} needs packages that are missing here (import of {package} ")
    assert message.endswith(f"; run: pip install 'tapsdk[export-{target}]'")
    assert (result.returncode, result.stdout, result.stderr.count("pip")) == (2, "", 1)


@pytest.mark.parametrize("target", TARGETS)
def test_without_torch_the_target_s_extra_is_named(target: str) -> None:
    assert_names_the_extra(export_without("torch", "tapir", "--target", target), target, "torch")


@pytest.mark.slow
@pytest.mark.parametrize(
    "target, package",
    [
        ("coreml", "coremltools"),
        ("onnx", "cv2"),
        ("onnx", "onnx"),
        ("onnx", "onnxscript"),
        ("openvino", "onnx"),
        ("openvino", "openvino"),
        ("tflite", "ai_edge_litert"),
        ("tflite", "ai_edge_quantizer"),
        ("tflite", "litert_torch"),
        ("torch", "safetensors"),
    ],
)
def test_with_some_of_the_packages_the_extra_is_named_before_any_work(target: str, package: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip(package)
    pytest.importorskip(TARGETS[target][0])
    assert_names_the_extra(export_without(package, "tapir", "--target", target), target, package)


@pytest.mark.parametrize(
    "arguments, outputs",
    [
        ("a/b --target onnx", ["artifacts/a-b-onnx"]),
        ("a/b --target onnx -o x", ["x"]),
        ("a/b c --target onnx,torch", [f"artifacts/{name}" for name in ("a-b-onnx", "a-b-torch", "c-onnx", "c-torch")]),
        ("a c --target torch -o x", ["x/a-torch", "x/c-torch"]),
    ],
)
def test_several_models_and_formats_are_exported_one_after_the_other(monkeypatch, arguments, outputs) -> None:
    done = []
    monkeypatch.setattr(cli, "_run", lambda args: done.append(args.output.as_posix()) or len(done) % 2)
    assert cli.main(arguments.split()) == 1
    assert done == outputs


def test_a_format_that_is_none_is_named(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["tapir", "--target", "onnx,paper"])
    assert "invalid choice: 'paper' (choose from coreml, onnx, openvino, tflite, torch" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_what_a_cluster_says_of_each_export_is_said_here(capsys) -> None:
    pytest.importorskip("torch")
    with ray_cluster(1):
        assert cli.main(["trajan/base", "tapir/none", "--target", "torch", "--on", "ray"]) == 1
    err = capsys.readouterr().err
    assert "error: trajan/base cannot be exported to torch" in err and "tapir/none" in err


def test_help_needs_no_torch() -> None:
    result = export_without("torch,numpy", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: tapsdk export ")
    assert all(target in result.stdout for target in TARGETS)


def test_without_arguments_it_says_how_it_is_used() -> None:
    result = export_without("torch")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: tapsdk export ")


def test_an_unknown_target_is_told_before_anything_is_missed() -> None:
    result = export_without("torch", "tapir", "--target", "paper")
    assert result.returncode == 2
    assert "invalid choice: 'paper'" in result.stderr
    assert all(target in result.stderr.splitlines()[-1] for target in TARGETS)


def test_an_unknown_model_is_told_before_anything_is_missed() -> None:
    result = export_without("torch", "tapir/huge", "--target", "onnx")
    assert result.returncode == 1
    assert result.stderr.startswith("error: unknown model 'tapir/huge'; these exist: tapir, ")
    assert len(result.stderr.splitlines()) == 1
