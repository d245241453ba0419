"""`tapsdk doctor`: the truth about this machine, also where it is sad."""

import json
import sys

import pytest

import tapsdk
from tapsdk.backends import BACKENDS, EngineInfo
from tapsdk.commands import main as cli
from tapsdk.commands.doctor import diagnose, is_well, render
from tapsdk.selection import probe_cache
from tapsdk.selection.candidates import BASE
from tests.support import copy_artifact


@pytest.fixture(autouse=True)
def only_base(monkeypatch):
    for name in set(BACKENDS) - {BASE}:
        monkeypatch.delitem(BACKENDS, name)


@pytest.fixture
def models(monkeypatch, tmp_path, model):
    """A bundle with the small model alone."""
    (tmp_path / "models" / "tapir").mkdir(parents=True)
    directory = copy_artifact(model, tmp_path / "models" / "tapir" / "toy")
    monkeypatch.setattr("tapsdk.artifact.artifact.BUNDLED", tmp_path / "models")
    return directory


def add(monkeypatch, tmp_path, name, code):
    (tmp_path / f"{name}_engine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BACKENDS, name, EngineInfo(f"{name}_engine", f"{name}_engine", f"pip install {name}"))


def test_a_healthy_machine(models):
    report = diagnose()
    assert is_well(report)
    assert report["tapsdk"] == tapsdk.__version__
    assert report["machine"]["isa"] in report["machine"]["available_isas"]
    assert report["backends"][BASE]["status"] == "works"
    assert report["backends"][BASE]["text"].startswith("onnxruntime ")
    found = report["models"]["tapir/toy"]
    assert found["auto"] in [f"{each['backend']}:{each['plan']}" for each in found["candidates"]]
    assert found["points"] == 64
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_what_people_see(models):
    text = render(diagnose())
    assert text.startswith(f"tapsdk {tapsdk.__version__}, Python {sys.version.split()[0]}")
    assert "kernels for " in text
    assert "\n  onnxruntime  onnxruntime " in text
    assert "\n  tapir/toy    files intact; auto runs onnxruntime:" in text
    assert "\n    *  onnxruntime:" in text


def test_devices_and_the_package_of_onnx_runtime_are_said(models):
    report = diagnose()
    assert "cpu" in report["backends"][BASE]["devices"]
    assert report["onnxruntime"]["packages"]
    text = render(report)
    assert "; device= may be cpu" in text
    assert "\n  ONNX Runtime comes from the package onnxruntime" in text


def test_packages_that_overwrite_each_other_are_said(models, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.2.3")
    assert "\n  ONNX Runtime is damaged: onnxruntime 1.2.3 and onnxruntime-gpu 1.2.3 and " in render(diagnose())


def test_measured_before_is_said_and_can_be_forgotten(models):
    diagnose(anew=True)
    assert "measured before" in render(diagnose())
    report = diagnose(anew=True)
    assert report["cache"]["forgotten"] >= 1
    assert "measured in " in render(report)


@pytest.mark.parametrize(
    "code, words",
    [
        ("raise ImportError('libsad.so.3: cannot open shared object file')", "libsad.so.3: cannot open shared"),
        ("import os; os._exit(9)", "it crashed: its process ended with status 9"),
    ],
)
def test_a_backend_that_does_not_work_is_told_with_its_reason(models, monkeypatch, tmp_path, code, words):
    add(monkeypatch, tmp_path, "sad", code)
    report = diagnose()
    assert is_well(report)  # the rest is
    assert report["backends"]["sad"]["status"] == "broken"
    assert words in report["backends"]["sad"]["text"]
    refused = [each["refused"] for each in report["models"]["tapir/toy"]["candidates"] if each["backend"] == "sad"]
    assert refused
    assert all(words in reason for reason in refused)
    assert render(report).count(words) == 1 + len(refused)


def test_a_backend_that_is_not_there_says_how_to_get_it(models, monkeypatch):
    monkeypatch.setitem(
        BACKENDS, "absent", EngineInfo("no_such_engine", "no_such_engine", "pip install 'tapsdk[absent]'")
    )
    report = diagnose()
    assert report["backends"]["absent"]["status"] == "absent"
    assert "pip install 'tapsdk[absent]'" in report["models"]["tapir/toy"]["absent"]["absent"]
    assert "\n    not absent: it is not installed" in render(report)


def test_a_damaged_model_is_an_illness(models, monkeypatch):
    (models / "step.onnx").write_bytes(b"")
    report = diagnose()
    assert not is_well(report)
    assert "step.onnx is not the file that was exported" in report["models"]["tapir/toy"]["problem"]
    assert "step.onnx is not the file that was exported" in render(report)


def test_a_base_that_does_not_work_is_an_illness(models, monkeypatch):
    monkeypatch.setitem(BACKENDS, BASE, EngineInfo("no_such_engine", "no_such_engine", "pip install tapsdk"))
    report = diagnose()
    assert not is_well(report)
    assert "tapir/toy    files intact; nothing can run it" in render(report)


def test_a_user_without_a_home_can_see_the_doctor(models, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("tapsdk.commands.doctor.cache_directory", homeless)
    monkeypatch.setattr(probe_cache, "cache_directory", homeless)
    assert "cache: none (Could not determine home directory.)" in render(diagnose())


# On the command line


@pytest.mark.parametrize("options", [["--json"], ["--json", "--probe"]], ids=str)
def test_json_for_programs(models, capsys, options):
    assert cli.main(["doctor", *options]) == 0
    assert json.loads(capsys.readouterr().out)["models"].keys() == {"tapir/toy"}


def test_the_exit_status_tells_of_an_illness(models, capsys):
    (models / "step.onnx").unlink()
    assert cli.main(["doctor"]) == 1
    assert "lacks step.onnx" in capsys.readouterr().out
