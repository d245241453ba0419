"""Artifact directories of somebody else: whatever is in them, nothing of it runs under any default call."""

import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import tapsdk
from tapsdk.commands.main import main
from tapsdk.errors import TapsdkError
from tests.support import child_environment, copy_artifact, import_or_skip, moving_texture

VIDEO = moving_texture(2, 32, 32)
POINTS = [[0, 16, 16]]
STAGES = ("encode", "query", "step", "locate", "mixer")


class Payload:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def marker(tmp_path):
    """What a payload would make. In the end it must not be there."""
    path = tmp_path / "it ran"
    yield path
    assert not path.exists()


def pickled(marker):
    return pickle.dumps(Payload(marker))


def archived(marker):
    """As torch.export writes it, with a payload in every entry that could be unpickled."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("step/archive_format", "pt2")
        archive.writestr("step/version", "0")
        for name in ("data.pkl", "data/weights/weight_0", "data/sample_inputs/model.pt", "data/constants/tensor_0"):
            archive.writestr(f"step/{name}", pickled(marker))
        archive.writestr("step/models/model.json", json.dumps({"graph_module": {"code": pickled(marker).hex()}}))
    return file.getvalue()


def array_of_objects(marker):
    file = io.BytesIO()
    np.savez(file, xy=np.array([Payload(marker)], object), visible=np.zeros(1), size=[8, 8], allow_pickle=True)
    return file.getvalue()


def graph_calling(operator, *arguments, **named):
    def write(marker):
        arguments_ = [str(marker) if each is Payload else each for each in arguments]
        graph = {"version": 1, "inputs": [], "weights": [], "outputs": []}
        text = json.dumps({**graph, "calls": [[operator, arguments_, named]]})
        header = json.dumps({"__metadata__": {"tapsdk.graph": text}}).encode()
        return struct.pack("<Q", len(header)) + header

    return write


PAYLOADS = {
    "a pickle": pickled,
    "an archive of torch.export": archived,
    "objects in arrays": array_of_objects,
    "a graph that calls the system": graph_calling("torch.os.mkdir", Payload),
    "a graph that imports": graph_calling("builtins.__import__", "os"),
    "a graph with code for a name": graph_calling("aten.add.Tensor", **{"alpha=__import__('os').abort()": 1}),
    "a graph with code for a word": graph_calling("aten.gelu.default", "'),__import__('os').abort(),('"),
}
FORMATS = {"onnx": "onnxruntime", "openvino": "openvino", "tflite": "litert", "torch": "torch"}


def entry(path, format, content):
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return {"path": path.name, "format": format, "sha256": digest, "bytes": len(content)}


def with_files(bundled, directory, format, content, keep=False):
    """An artifact whose files of a format are all this; keep: beside those that it has."""

    def change(manifest):
        for name in STAGES:
            stage = manifest["stages"][name]
            file = entry(directory / f"{name}.other", format, content)
            stage["files"] = {**(stage["files"] if keep else {}), format: file}

    return copy_artifact(bundled, directory, change)


CALLS = {
    "track": lambda directory: tapsdk.track(VIDEO, POINTS, model=directory),
    "load": lambda directory: tapsdk.load(directory, strict=True),
    "Tracker": lambda directory: tapsdk.Tracker(directory),
}


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("format", FORMATS)
def test_no_file_of_a_format_runs_what_it_holds(bundled, tmp_path, marker, format, payload):
    backend = FORMATS[format]
    pytest.importorskip(f"tapsdk.backends.{backend}", reason=f"needs {backend}")
    directory = with_files(bundled, tmp_path / "artifact", format, PAYLOADS[payload](marker))
    with pytest.raises(TapsdkError, match="cannot load"):
        tapsdk.load(directory, backend=f"{backend}:fused", threads=1)


@pytest.mark.parametrize("call", CALLS)
def test_by_default_nothing_runs_whatever_is_installed(bundled, tmp_path, marker, call):
    import_or_skip("torch")
    directory = with_files(bundled, tmp_path / "artifact", "torch", archived(marker))
    with pytest.raises(TapsdkError, match=r"torch:fused.*an archive of torch\.export, which can run code"):
        CALLS[call](directory)


def test_auto_passes_over_such_a_file_and_says_so(bundled, tmp_path, marker):
    import_or_skip("torch")
    directory = with_files(bundled, tmp_path / "artifact", "torch", archived(marker), keep=True)
    tracks = tapsdk.track(VIDEO, POINTS, model=directory)
    assert tracks.report.backend.startswith(("onnxruntime", "openvino"))
    assert "which can run code and is not opened" in tracks.report.refused["torch:fused"]


def test_the_commands_run_nothing_either(bundled, tmp_path, marker, capsys):
    import_or_skip("torch")
    directory = str(with_files(bundled, tmp_path / "artifact", "torch", pickled(marker)))
    assert main(["benchmark", directory, "--backends", "torch", "--frames", "1", "--points", "1"]) == 1
    assert "failed" in capsys.readouterr().out


def test_a_reference_of_objects_runs_nothing(bundled, tmp_path, marker):
    directory = tmp_path / "artifact"

    def change(manifest):
        manifest["reference"] = entry(directory / "other.npz", "npz", array_of_objects(marker))

    copy_artifact(bundled, directory, change)
    with pytest.raises(TapsdkError, match=r"other\.npz is not a reference"):
        tapsdk.track(VIDEO, POINTS, model=directory)


def test_code_that_lies_beside_the_files_is_not_imported(bundled, tmp_path, marker, monkeypatch):
    directory = copy_artifact(bundled, tmp_path / "artifact")
    for name in ("tapsdk.py", "numpy.py", "onnxruntime.py", "sitecustomize.py", "__init__.py", "conftest.py"):
        (directory / name).write_text(f"import os; os.mkdir({str(marker)!r})")
    monkeypatch.chdir(directory)
    assert tapsdk.track(VIDEO, POINTS, model=directory, backend="onnxruntime:fused").xy.shape == (1, 2, 2)


def test_the_command_imports_nothing_of_the_folder_that_it_is_started_in(tmp_path, marker):
    for name in ("numpy", "json", "argparse", "onnxruntime", "av", "training", "export"):
        (tmp_path / f"{name}.py").write_text(f"import os; os.mkdir({str(marker)!r})")
    for arguments in (["models"], ["export", "--help"]):
        command = [sys.executable, "-m", "tapsdk", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=child_environment(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_file_that_changes_after_it_was_checked_is_not_what_runs(bundled, tmp_path, monkeypatch):
    """Whoever can write into the directory while it is read gains nothing."""
    directory = copy_artifact(bundled, tmp_path / "artifact")
    expected = tapsdk.track(VIDEO, POINTS, model=directory, backend="onnxruntime:fused")
    from tapsdk.artifact.artifact import Artifact

    checked = Artifact.checked

    def exchange(self, file):
        content = checked(self, file)
        (self.directory / file.path).write_bytes(b"exchanged")
        return content

    monkeypatch.setattr(Artifact, "checked", exchange)
    found = tapsdk.track(VIDEO, POINTS, model=directory, backend="onnxruntime:fused")
    np.testing.assert_array_equal(found.xy, expected.xy)
