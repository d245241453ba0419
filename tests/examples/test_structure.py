"""The camera's way from tracks alone, by COLMAP."""

import sys
from types import ModuleType

import numpy as np
import pytest

import tapsdk
from tests.support import ROOT
from tests.tapsdk.space.made import Made


@pytest.fixture
def structure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import structure

    return structure


def test_without_colmap_it_says_what_to_install(structure: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    tracks = tapsdk.Tracks(np.zeros((1, 3, 2)), np.ones((1, 3)), np.ones((1, 3)))
    with pytest.raises(SystemExit, match=r"pip install 'tapsdk\[structure\]'"):
        structure.reconstruct(tracks, np.arange(3), (48, 64))


@pytest.mark.slow
def test_the_cameras_way_is_found_up_to_its_scale(structure: ModuleType) -> None:
    pytest.importorskip("pycolmap", reason="needs pycolmap: pip install 'tapsdk[structure]'")
    scene = Made((240, 320), 12, (300.0, 300.0, 160.0, 120.0))
    still = np.concatenate([scene.tracks(300, seed)[2][:, :1] for seed in range(2)])  # a wall and a board, held still
    camera = np.einsum("tji,ntj->nti", scene.poses[:, :3, :3], still - scene.poses[:, :3, 3])
    xy = camera[..., :2] / camera[..., 2:] * 300 + (160, 120)
    seen = ((xy >= 0) & (xy <= (320, 240))).all(axis=-1)
    tracks = tapsdk.Tracks(xy, seen, seen)
    found, told = structure.reconstruct(tracks, np.arange(12), (240, 320), 300.0)
    assert told.startswith("12 of 12 frames placed, focal length 300 px")
    way, truth = found.camera_to_world[:, :3, 3], scene.poses[:, :3, 3]
    steps, real = (np.linalg.norm(np.diff(each, axis=0), axis=1) for each in (way, truth))
    np.testing.assert_allclose(steps / steps.sum(), real / real.sum(), atol=0.01)
    assert steps.sum() == pytest.approx(10)
