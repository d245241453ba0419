"""`tapsdk get`. The export is a stand-in that writes the bundled artifact under another name, except in one test."""

import functools
import json
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import tapsdk
from tapsdk.artifact import BUNDLED, got_folder, open_artifact
from tapsdk.commands import main as cli
from tapsdk.errors import ModelError
from tests.support import moving_texture

NAME = "tapir/boots-causal"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "official.npy").write_bytes(b"weights")


@pytest.fixture
def exported(monkeypatch):
    """The calls of a stand-in for `tapsdk export`."""
    calls = []

    def export(argv):
        calls.append(argv)
        folder = Path(argv[argv.index("-o") + 1])
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(BUNDLED / "tapir" / "tiny", folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "model": argv[0]}))
        return 0

    monkeypatch.setattr(cli, "_export", export)
    return calls


def get(*arguments):
    return cli.main(["get", *arguments])


def test_a_published_model_is_exported_into_the_cache_and_then_known_by_its_name(exported, capfd):
    assert get(NAME, "--weights", "official.npy") == 0
    folder = got_folder(NAME, "onnx")
    assert exported == [
        [NAME, "--target", "onnx", "--weights", "official.npy", "-o", str(folder), "--force"],
    ]
    assert open_artifact(NAME).directory == folder
    assert f"tapsdk track VIDEO --model {NAME}" in capfd.readouterr().out
    tracks = tapsdk.track(moving_texture(4, 64, 96), [[30, 20]], model=NAME, backend="onnxruntime:native")
    assert tracks.report.model == NAME


def test_a_second_time_nothing_is_done(exported, capfd):
    for _ in range(2):
        assert get(NAME, "--weights", "official.npy") == 0
    assert len(exported) == 1
    assert "is there already" in capfd.readouterr().out
    assert get(NAME, "--weights", "official.npy", "--anew") == 0
    assert len(exported) == 2


def test_one_that_was_damaged_is_made_anew(exported):
    get(NAME, "--weights", "official.npy")
    file = next(got_folder(NAME, "onnx").glob("step.onnx"))
    file.write_bytes(b"")
    assert get(NAME, "--weights", "official.npy") == 0
    assert len(exported) == 2
    open_artifact(NAME).verify()


def test_the_official_file_is_fetched(exported, monkeypatch, tmp_path):
    seen = []

    def fetch(model, *, url, progress):
        seen.append((model, url, progress))
        return tmp_path / "official.npy"

    monkeypatch.setattr("tapsdk.commands.get.fetch", fetch)
    assert get(NAME, "--url", "https://mirror.invalid/file.npy", "--quiet") == 0
    assert seen == [(NAME, "https://mirror.invalid/file.npy", False)]
    assert exported[0][exported[0].index("--weights") + 1] == str(tmp_path / "official.npy")


def test_onnx_comes_before_other_targets(exported):
    get(NAME, "--weights", "official.npy", "--target", "openvino")
    assert open_artifact(NAME).directory == got_folder(NAME, "openvino")
    get(NAME, "--weights", "official.npy")
    assert open_artifact(NAME).directory == got_folder(NAME, "onnx")


def test_what_cannot_be_got(exported, capfd):
    assert get("tapir/huge") == 1
    assert "unknown model" in capfd.readouterr().err
    assert get("trajan/base") == 1
    assert "tracks no video" in capfd.readouterr().err
    assert get("tapir") == 0
    assert "comes with tapsdk" in capfd.readouterr().out
    assert not exported


def test_an_export_that_fails_leaves_nothing(monkeypatch, capfd):
    monkeypatch.setattr(cli, "_export", lambda argv: 2)
    assert get(NAME, "--weights", "official.npy") == 2
    assert "got" not in capfd.readouterr().out
    with pytest.raises(ModelError, match=f"tapsdk get {NAME}"):
        open_artifact(NAME)


@pytest.fixture
def server(tmp_path):
    """The address of a server of the files in tmp_path; after the test it is gone."""
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_an_official_file_on_a_server_goes_to_tracks_by_its_name(tmp_path, server, monkeypatch, capfd):
    """At full size, with weights by formula in the layout of the official file."""
    pytest.importorskip("onnxscript")
    from tests.golden import official

    official.write(tmp_path / "weights.npy", official.tapir_parameters(True, "jax", seed=5))
    assert get(NAME, "--url", f"{server}/weights.npy", "--quiet") == 0
    monkeypatch.setattr("tapsdk.commands.get.fetch", None)  # from here on, no network
    assert get(NAME, "--quiet") == 0
    assert "is there already" in capfd.readouterr().out
    tracks = tapsdk.track(moving_texture(3, 64, 96), [[30, 20]], model=NAME, backend="onnxruntime:fused")
    assert tracks.report.model == NAME
