"""Evaluation on a Ray cluster gives the numbers of this machine."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the generator and Lucas-Kanade need OpenCV: pip install '.[train]'")
pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from tests.clusters import ray_cluster
from tests.training.evaluation.test_predictors import drifting_noise
from training.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of Ray's own


@pytest.fixture(scope="module", autouse=True)
def nodes():
    with ray_cluster(2) as cluster:
        yield cluster


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Four videos as frames and tracks."""
    from PIL import Image

    for number in range(4):
        video, folder = drifting_noise(step=number), tmp_path / "data" / f"noise{number}"
        folder.mkdir(parents=True)
        for t, frame in enumerate(video.frames):
            Image.fromarray(frame).save(folder / f"{t:05d}.jpg", quality=95)
        np.savez(folder / "tracks.npz", xy=video.xy, visible=video.visible, annotated=np.ones(len(video.frames), bool))
    return tmp_path / "data"


def test_every_number_is_the_same_to_the_last_digit(videos: Path, tmp_path: Path, capsys) -> None:
    shown, written = [], []
    for options in ([], ["--on", "ray", "--workers", "2"]):
        arguments = ["evaluate", "--dataset", str(videos), "--mode", "strided", "--per-video", *options]
        assert main([*arguments, "--json", str(tmp_path / "rows.json")]) == 0
        shown.append(capsys.readouterr().out)
        written.append((tmp_path / "rows.json").read_bytes())
    assert shown[0] == shown[1] and "noise3  tapir" in shown[0]
    assert written[0] == written[1]


def test_what_fails_there_is_the_error_that_it_would_be_here(videos: Path, tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "mine.npz", nothing=np.zeros(1))
    arguments = ["evaluate", "--model", str(tmp_path / "mine.npz"), "--dataset", str(videos)]
    errors = []
    for options in ([], ["--on", "ray"]):
        assert main([*arguments, *options]) == 1
        errors.append(capsys.readouterr().err.splitlines()[-1])
    assert errors[0] == errors[1] and "lacks noise0/tracks" in errors[0]
