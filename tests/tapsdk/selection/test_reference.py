"""The tracks that an artifact brings, to compare engines with."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tapsdk.artifact import Artifact, open_artifact
from tapsdk.artifact.manifest import File
from tapsdk.artifact.manifest_file import read_manifest
from tapsdk.errors import ArtifactError
from tapsdk.selection.reference import (
    FORMAT,
    FRAMES,
    NAME,
    POINTS,
    Reference,
    moving_pattern,
    read_reference,
    write_reference,
)
from tapsdk.system.files import sha256
from tests.support import copy_artifact


@pytest.mark.parametrize("size", [(64, 96), (100, 37), (8, 8)])
@pytest.mark.parametrize("frames", [1, 8, 24])
def test_the_pattern_moves_as_it_should(size, frames):
    video, xy = moving_pattern(size, frames, 5)
    assert video.shape == (frames, *size, 3)
    assert video.dtype == np.uint8
    for before, after in pairwise(video):
        np.testing.assert_array_equal(before[1:, 2:], after[:-1, :-2])
    assert xy.shape == (5, 2)
    assert ((xy >= 0) & (xy <= size[::-1])).all()


def test_the_pattern_is_the_same_everywhere_and_for_ever():
    video, xy = moving_pattern((64, 96), 3, 2)
    assert video[2, 10, 20].tolist() == [213, 145, 220]
    np.testing.assert_allclose(xy, [[84.422874, 57.105663], [41.015354, 14.743267]], rtol=1e-6)


@pytest.fixture
def reference():
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 64, (POINTS, FRAMES, 2)).astype(np.float32)
    return Reference(xy, rng.random((POINTS, FRAMES)) > 0.5, (64, 96))


@pytest.fixture
def artifact(bundled, tmp_path, reference):
    """An artifact with a reference."""
    directory = copy_artifact(bundled, tmp_path / "artifact")
    return with_reference(directory, lambda file: write_reference(reference, file))


def with_reference(directory, write):
    path = directory / NAME
    with open(path, "wb") as file:
        write(file)
    spec = File(NAME, FORMAT, sha256(path), path.stat().st_size)
    manifest = replace(read_manifest(directory), reference=spec)
    (directory / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return Artifact(directory, read_manifest(directory))


def test_it_comes_back_as_it_was_written(artifact, reference):
    artifact.verify()
    found = read_reference(artifact)
    np.testing.assert_array_equal(found.xy, reference.xy)
    np.testing.assert_array_equal(found.visible, reference.visible)
    assert found.size == (64, 96)


def test_an_artifact_may_have_none(bundled):
    artifact = open_artifact(bundled)
    assert read_reference(replace(artifact, manifest=replace(artifact.manifest, reference=None))) is None


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"changed")])
def test_a_file_that_is_not_the_one_is_refused_by_name(artifact, damage):
    damage(artifact.directory / NAME)
    for check in (artifact.verify, lambda: read_reference(artifact)):
        with pytest.raises(ArtifactError, match=r"reference\.npz"):
            check()


@pytest.mark.parametrize(
    "content",
    [
        lambda file: file.write(b"not an archive"),
        lambda file: np.savez(file, xy=np.zeros((2, 3, 2))),
        lambda file: np.savez(file, xy=np.zeros((2, 3, 2)), visible=np.zeros((2, 4)), size=[8, 8]),
        lambda file: np.savez(file, xy=np.zeros((2, 3)), visible=np.zeros((2, 3)), size=[8, 8]),
        lambda file: np.savez(file, xy=np.zeros((2, 3, 2)), visible=np.zeros((2, 3)), size=[8]),
        lambda file: np.savez(file, xy=np.array({}), visible=np.zeros((2, 3)), size=[8, 8]),
    ],
)
def test_a_file_that_holds_something_else_is_refused(bundled, tmp_path, content):
    artifact = with_reference(copy_artifact(bundled, tmp_path / "artifact"), content)
    with pytest.raises(ArtifactError, match=r"reference\.npz is not a reference: "):
        read_reference(artifact)
