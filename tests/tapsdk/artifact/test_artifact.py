"""From a name or a folder to files whose every byte is as it was exported."""

import shutil
import sys
from pathlib import Path

import pytest

from tapsdk.artifact import bundled_models, open_artifact
from tapsdk.artifact.registry import OFFICIAL
from tapsdk.errors import ArtifactError, ModelError
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
    assert "tapir/tiny" in bundled_models()


@pytest.mark.parametrize("name", ["tapir", "tapir/tiny"])
def test_a_bundled_model_by_name_and_by_alias(name, bundled):
    artifact = open_artifact(name)
    assert artifact.directory == bundled
    assert artifact.manifest.model == "tapir/tiny"
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
def test_a_published_model_says_the_two_ways_to_its_weights(name):
    with pytest.raises(ModelError) as caught:
        open_artifact(name)
    message = str(caught.value)
    assert f"tapsdk fetch {name}" in message
    assert f"tapsdk export {name} --target onnx" in message
    assert "--weights FILE" in message


def test_a_folder_that_is_not_an_artifact(tmp_path):
    with pytest.raises(ArtifactError, match="is not an artifact"):
        open_artifact(tmp_path)


# Files


def test_a_file_by_stage_and_format(copy):
    assert open_artifact(copy).file("step", "onnx") == copy / "step.onnx"


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
        (lengthen, r"step\.onnx is not the file"),
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


@pytest.mark.parametrize("path", ["../step.onnx", "/etc/passwd", "..", "sub/step.onnx", "./step.onnx"])
def test_a_file_outside_the_artifact_is_not_read(bundled, tmp_path, path):
    shutil.copy(bundled / "step.onnx", tmp_path)

    def lead_outside(manifest):
        manifest["stages"]["step"]["files"]["onnx"]["path"] = path

    artifact = open_artifact(copy_artifact(bundled, tmp_path / "artifact", lead_outside))
    with pytest.raises(ArtifactError, match="names a file outside the artifact"):
        artifact.file("step", "onnx")


@pytest.mark.parametrize("path", ["", ".", "nul\0l"])
def test_a_file_name_that_cannot_be(bundled, tmp_path, path):
    def rename(manifest):
        manifest["stages"]["step"]["files"]["onnx"]["path"] = path

    artifact = open_artifact(copy_artifact(bundled, tmp_path / "artifact", rename))
    with pytest.raises(ArtifactError):
        artifact.file("step", "onnx")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX links")
def test_files_may_be_links_into_a_cache(copy, tmp_path):
    (tmp_path / "blobs").mkdir()
    shutil.move(copy / "step.onnx", tmp_path / "blobs" / "1234")
    (copy / "step.onnx").symlink_to(tmp_path / "blobs" / "1234")
    open_artifact(copy).verify()
