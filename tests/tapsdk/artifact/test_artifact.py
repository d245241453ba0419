"""From a name or a folder to files whose every byte is as it was exported."""

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tapsdk.artifact import bundled_models, open_artifact
from tapsdk.artifact.content import read_content, read_regular
from tapsdk.artifact.registry import OFFICIAL
from tapsdk.errors import ArtifactError, ModelError
from tapsdk.system.files import sha256, size_of
from tests.support import copy_artifact

PUBLISHED = [name for name, official in OFFICIAL.items() if official.can_be_exported]


@pytest.fixture
def copy(bundled, tmp_path):
    """A copy of the bundled artifact, to damage."""
    return copy_artifact(bundled, tmp_path / "artifact")


# The bundled model


def test_nothing_of_the_machine_that_exported_it_is_in_the_files(bundled):
    for path in bundled.iterdir():
        data = path.read_bytes()
        for trace in (b"site-packages", b"stack_trace", b"/home/"):
            assert trace not in data, path


# Names and folders


def test_the_bundled_model():
    assert bundled_models() == ["tapir/tiny", "tapir/small"]


@pytest.mark.parametrize("name", ["tapir", "tapir/tiny"])
def test_a_bundled_model_by_name_and_by_alias(name, bundled):
    artifact = open_artifact(name)
    assert artifact.directory == bundled
    assert artifact.manifest.model == "tapir/tiny"
    artifact.verify()


def test_a_bundled_model_on_larger_frames(bundled):
    artifact, base = open_artifact("tapir/small"), open_artifact("tapir")
    assert artifact.directory == bundled
    assert (artifact.manifest.model, artifact.manifest.frames.size) == ("tapir/small", (512, 512))
    assert artifact.manifest.points == base.manifest.points
    assert artifact.manifest.weights_sha256 == base.manifest.weights_sha256
    artifact.verify()


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder(copy, kind):
    artifact = open_artifact(kind(copy))
    assert artifact.directory == copy
    artifact.verify()


def test_a_name_goes_before_a_folder_that_is_called_the_same(bundled, tmp_path, monkeypatch):
    (tmp_path / "tapir").mkdir()
    monkeypatch.chdir(tmp_path)
    assert open_artifact("tapir").directory == bundled
    with pytest.raises(ArtifactError, match="is not an artifact"):
        open_artifact(Path("tapir"))


@pytest.mark.parametrize("name", ["tapir/huge", "", "nothing", "file", "nul\0l", "long" * 1000])
def test_an_unknown_model_lists_the_known_ones(name, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"unknown model .*: neither a directory nor one of tapir, tapir/tiny, .*base"):
        open_artifact(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_says_the_ways_to_its_weights(name, monkeypatch, tmp_path):
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        open_artifact(name)
    message = str(caught.value)
    assert f"tapsdk get {name}" in message
    assert f"tapsdk fetch {name}" in message
    assert f"tapsdk export {name} --target onnx" in message
    assert "--weights FILE" in message


def test_a_folder_that_is_not_an_artifact(tmp_path):
    with pytest.raises(ArtifactError, match="is not an artifact"):
        open_artifact(tmp_path)


# Files


def test_a_file_by_stage_and_format(copy):
    found = open_artifact(copy).file("step", "onnx")
    assert found.path == copy / "step.onnx"
    assert found.data == (copy / "step.onnx").read_bytes()


@pytest.mark.parametrize(
    "stage, format, complaint",
    [("stride", "onnx", "has no stage 'stride'; it has .*step"), ("step", "tflite", "has no tflite file .*has onnx")],
)
def test_an_unknown_stage_or_format_lists_what_there_is(copy, stage, format, complaint):
    with pytest.raises(ArtifactError, match=complaint):
        open_artifact(copy).file(stage, format)


def delete(path):
    path.unlink()


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"\0")


def swap(path):
    shutil.copy(path.with_name("encode.onnx"), path)


def put_a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage, complaint",
    [
        (delete, r"lacks step\.onnx; export or fetch the model again"),
        (flip_a_bit, r"step\.onnx is not the file that was exported: its checksum differs"),
        (truncate, r"step\.onnx is not the file"),
        (lengthen, r"step\.onnx has \d+ bytes; at most \d+ are allowed"),
        (swap, r"step\.onnx is not the file"),
        (put_a_folder, r"step\.onnx is not the file"),
    ],
)
def test_a_damaged_file_is_never_handed_out(copy, damage, complaint):
    damage(copy / "step.onnx")
    artifact = open_artifact(copy)
    with pytest.raises(ArtifactError, match=complaint):
        artifact.file("step", "onnx")
    with pytest.raises(ArtifactError, match=complaint):
        artifact.verify()
    assert artifact.file("encode", "onnx")


PATHS = ["../step.onnx", "/etc/passwd", "..", "sub/step.onnx", "./step.onnx", "", ".", "nul\0l", "C:step", "a\\b", 5]


@pytest.mark.parametrize("path", PATHS)
def test_a_file_outside_the_artifact_is_not_even_named(bundled, tmp_path, path):
    shutil.copy(bundled / "step.onnx", tmp_path)

    def lead_outside(manifest):
        manifest["stages"]["step"]["files"]["onnx"]["path"] = path

    with pytest.raises(
        ArtifactError, match=r"stages\.step\.files\.onnx\.path is .*; allowed is the plain name of a file"
    ):
        open_artifact(copy_artifact(bundled, tmp_path / "artifact", lead_outside))


posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def socket_of(path):
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@posix
@pytest.mark.parametrize("name", ["step.onnx", "manifest.json"])
@pytest.mark.parametrize("replaced, kind", [(link, "a symbolic link"), (pipe, "a pipe"), (socket_of, "a socket")])
def test_what_is_no_regular_file_is_refused_and_nobody_waits_for_it(copy, monkeypatch, name, replaced, kind):
    monkeypatch.chdir(copy)  # the names of sockets are short
    replaced(Path(name))
    with pytest.raises(ArtifactError, match=rf"{name} is {kind}; an artifact holds regular files alone"):
        open_artifact(copy).verify()


@posix
def test_a_device_is_refused(copy):
    (copy / "step.onnx").unlink()
    (copy / "step.onnx").symlink_to("/dev/zero")
    with pytest.raises(ArtifactError, match=r"step\.onnx is a symbolic link"):
        open_artifact(copy).verify()
    assert not Path("/dev/zero").is_file()
    with pytest.raises(ArtifactError, match="/dev/zero is a device"):
        read_regular(Path("/dev/zero"), 10)


@posix
def test_the_packages_own_files_may_be_links_as_some_installers_make_them(bundled, tmp_path, monkeypatch):
    folder = tmp_path / "models" / "tapir" / "tiny"
    folder.mkdir(parents=True)
    for path in bundled.iterdir():
        (folder / path.name).symlink_to(path)
    monkeypatch.setattr("tapsdk.artifact.artifact.BUNDLED", tmp_path / "models")
    open_artifact("tapir").verify()
    open_artifact(folder).verify()


def test_a_file_is_used_as_it_was_checked_whatever_becomes_of_it(copy):
    found = open_artifact(copy).file("step", "onnx")
    right = found.data
    flip_a_bit(copy / "step.onnx")
    assert found.data == right


# Folders that are files


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "stage.openvino"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.xml").write_bytes(b"<net/>")
    (folder / "sub" / "more.bin").write_bytes(b"more")
    return folder


def test_a_folder_is_all_that_is_in_it(folder):
    content = read_content(folder, 10)
    assert content.parts == {"model.xml": b"<net/>", "sub/more.bin": b"more"}
    assert (content.bytes, content.sha256) == (size_of(folder), sha256(folder))
    with pytest.raises(ArtifactError, match="is a folder, no file"):
        content.data  # noqa: B018


def test_a_folder_is_not_read_beyond_its_size(folder):
    with pytest.raises(ArtifactError, match=r"more\.bin has 4 bytes; at most 3 are allowed"):
        read_content(folder, 9)


def test_a_folder_of_too_many_files_or_folders(folder):
    for i in range(1001):
        (folder / f"{i}").touch()
    with pytest.raises(ArtifactError, match="holds more than 1000 files"):
        read_content(folder, 10)
    deep = folder / "sub" / "/".join("abcdefghi")
    deep.mkdir(parents=True)
    with pytest.raises(ArtifactError, match="lies in too many folders"):
        read_content(folder / "sub", 10)


@posix
def test_a_folder_with_a_link_in_it(folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "sub" / "linked").symlink_to(tmp_path)
    with pytest.raises(ArtifactError, match="linked is a symbolic link"):
        read_content(folder, 100)


def test_a_folder_goes_elsewhere_as_it_was_read(folder, tmp_path):
    content = read_content(folder, 10)
    (folder / "model.xml").write_bytes(b"others")
    copy = content.unpack(tmp_path / "elsewhere")
    assert copy.name == folder.name
    assert read_content(copy, 10).parts == content.parts
