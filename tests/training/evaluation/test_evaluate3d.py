"""A folder of TAPVid-3D, predictions, and the table of them."""

import json

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from tests.training.data.scene3d import HEIGHT, scene
from training.__main__ import main
from training.data.readers.tapvid3d import SOURCES, write_tapvid3d
from training.data.tapvid3d import names_of
from training.evaluation import tapvid3d_metrics
from training.evaluation.evaluate3d import evaluate3d, means, read_prediction
from training.evaluation.metrics3d import SCALINGS

VIDEOS = {"adt": 3, "pstudio": 1, "drivetrack": 2}


def write_prediction(path, video, noise=0.0, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    off = np.random.default_rng(seed).normal(0, 1, video.xyz.shape) * noise
    np.savez(path, tracks_XYZ=(video.xyz + off).swapaxes(0, 1), visibility=video.visible.T)


@pytest.fixture
def folders(tmp_path):
    """Data in the published layout with some of minival, and the truth as predictions."""
    for source, count in VIDEOS.items():
        for seed, name in enumerate(names_of(source, "minival")[:count]):
            video = scene(name, points=5 + seed, seed=seed, moving=source != "pstudio")
            (tmp_path / "data" / source).mkdir(parents=True, exist_ok=True)
            write_tapvid3d(tmp_path / "data" / source / f"{name}.npz", video)
            write_prediction(tmp_path / "predictions" / source / f"{name}.npz", video)
    return tmp_path / "predictions", tmp_path / "data"


@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_truth_scores_one_everywhere(folders, scaling):
    averages = means(evaluate3d(*folders, scaling=scaling))
    assert list(averages) == [*SOURCES, "overall"]
    assert {value for row in averages.values() for value in row.values()} == {1.0}


def test_disturbed_tracks_score_less_the_more_they_are_disturbed(folders):
    predictions, data = folders
    found = []
    for noise in (0.01, 0.05, 0.5):
        for path in predictions.glob("*/*.npz"):
            seed = names_of(path.parent.name, "minival").index(path.stem)
            write_prediction(path, scene(points=5 + seed, seed=seed), noise)
        found.append(means(evaluate3d(predictions, data))["overall"]["average_jaccard"])
    assert 1 > found[0] > found[1] > found[2]


def test_a_score_is_that_of_the_published_evaluation(folders):
    """Intrinsics are those of the video with 256 pixels on its shorter side, and frames come before points."""
    predictions, data = folders
    name = names_of("adt", "minival")[1]
    video = scene(points=6, seed=1)
    write_prediction(predictions / "adt" / f"{name}.npz", video, 0.05)
    (_, metrics) = evaluate3d(predictions, data)["adt"].videos[1]
    arrays = np.load(predictions / "adt" / f"{name}.npz")
    expected = tapvid3d_metrics(
        ~video.visible.T,
        video.xyz.swapaxes(0, 1),
        ~arrays["visibility"],
        arrays["tracks_XYZ"],
        video.intrinsics * 256 / HEIGHT,
        order="tn",
    )
    assert metrics == {key: float(value[0]) for key, value in expected.items()}
    assert 0 < metrics["average_jaccard"] < 1


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_bytes(b"PK"), "is not a .npz file of predictions"),
        (lambda path: np.savez(path, tracks_XYZ=np.ones((6, 5, 3))), "lacks visibility"),
        (lambda path: np.savez(path, tracks_XYZ=np.ones((5, 6, 3)), visibility=np.ones((5, 6))), r"shape \[6, 5, 3\]"),
        (lambda path: np.savez(path, tracks_XYZ=np.full((6, 5, 3), "a"), visibility=np.ones((6, 5))), "numbers"),
    ],
)
def test_a_prediction_that_is_missing_or_does_not_fit_counts_as_zeros(folders, spoil, says):
    predictions, data = folders
    name = names_of("adt", "minival")[0]
    spoil(predictions / "adt" / f"{name}.npz")
    found = evaluate3d(predictions, data)
    assert list(found["adt"].missing) == [name] and not found["drivetrack"].missing
    with pytest.raises(Exception, match=says):
        read_prediction(predictions / "adt" / f"{name}.npz", (5, 6))
    averages = means(found)
    assert averages["adt"]["average_jaccard"] == averages["adt"]["occlusion_accuracy"] == pytest.approx(2 / 3)
    assert averages["overall"]["average_jaccard"] == pytest.approx((2 / 3 + 1 + 1) / 3)  # of sources, not of videos


def test_the_command_prints_a_table_and_writes_json(folders, tmp_path, capsys, caplog):
    predictions, data = folders
    missing = names_of("pstudio", "minival")[0]
    (predictions / "pstudio" / f"{missing}.npz").unlink()
    arguments = ["evaluate3d", str(predictions), "--data", str(data), "--split", "minival"]
    assert main([*arguments, "--json", str(tmp_path / "scores.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["3D-AJ", "APD", "OA"]
    assert [line.split() for line in lines[1:]] == [
        ["adt", "100.0", "100.0", "100.0"],
        ["pstudio", "0.0", "0.0", "0.0"],
        ["drivetrack", "100.0", "100.0", "100.0"],
        ["overall", "66.7", "66.7", "66.7"],
    ]
    assert "pstudio: 1 of 1 predictions are missing or do not fit and count as zeros" in caplog.text
    rows = json.loads((tmp_path / "scores.json").read_text())
    assert list(rows) == [*SOURCES, "overall"]
    assert rows["pstudio"]["missing"].keys() == {missing} and rows["adt"]["missing"] == {}
    assert rows["overall"]["videos"] == 6 and rows["overall"]["average_jaccard"] == pytest.approx(2 / 3)
    assert rows["adt"]["scaling"] == "median" and rows["adt"]["split"] == "minival"
    assert [row["video"] for row in rows["adt"]["per_video"]] == names_of("adt", "minival")[:3]


@pytest.mark.parametrize(("style", "begins"), [("--latex", r"\begin{tabular}"), ("--markdown", "|  | 3D-AJ | APD")])
def test_tables_for_papers_and_a_row_for_each_video(folders, capsys, style, begins):
    predictions, data = folders
    arguments = ["evaluate3d", str(predictions), "--data", str(data), "--sources", "adt", "--per-video", "--details"]
    assert main([*arguments, "--scaling", "per_trajectory", "--fixed", style]) == 0
    out = capsys.readouterr().out
    assert out.startswith(begins) and out.count("100.0") == 5 * 13


def test_what_is_not_there_is_said(folders, tmp_path, capsys):
    predictions, data = folders
    for arguments, says in (
        ([str(tmp_path / "none"), "--data", str(data)], "none: no such folder; it must hold SOURCE/NAME.npz"),
        ([str(predictions), "--data", str(tmp_path / "none")], "none: no such folder"),
        ([str(predictions), "--data", str(data), "--split", "full"], "holds no video of full"),
        ([str(predictions), "--data", str(data), "--json", str(data)], "it is a folder"),
    ):
        assert main(["evaluate3d", *arguments]) == 1
        assert says in capsys.readouterr().err
