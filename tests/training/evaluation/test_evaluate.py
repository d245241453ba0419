"""Evaluation from videos to a table."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the generator and Lucas-Kanade need OpenCV: pip install '.[train]'")
pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from tests.training.evaluation.test_predictors import drifting_noise
from tests.training.evaluation.test_report import read_strictly
from training.__main__ import main
from training.evaluation import evaluate as evaluation
from training.evaluation.evaluate import evaluate


@pytest.fixture
def badja(tmp_path: Path) -> Path:
    """Drifting noise as a folder with frames and tracks, where nothing is known of frame 3."""
    from PIL import Image

    video = drifting_noise()
    folder = tmp_path / "data" / "noise"
    folder.mkdir(parents=True)
    for t, frame in enumerate(video.frames):
        Image.fromarray(frame).save(folder / f"{t:05d}.jpg", quality=95)
    known = np.arange(6) != 3
    np.savez(folder / "tracks.npz", xy=video.xy, visible=np.tile(known, (3, 1)), annotated=known)
    return folder


def test_a_model_is_scored_beside_the_baselines(badja: Path, tmp_path: Path, capsys) -> None:
    assert main(["evaluate", "--dataset", str(badja), "--json", str(tmp_path / "rows.json")]) == 0
    rows = read_strictly(tmp_path / "rows.json")
    assert list(rows) == ["still", "lucas-kanade", "tapir"]
    assert rows["lucas-kanade"]["average_jaccard"] > rows["still"]["average_jaccard"]
    assert rows["tapir"]["mode"] == "first" and rows["tapir"]["resolution"] == "published"
    assert rows["tapir"]["per_video"][0]["video"] == "noise"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["AJ", "<d_avg", "OA", "AJ_RD", "mislead"]
    assert [line.split()[0] for line in lines[1:]] == ["still", "lucas-kanade", "tapir"]


def test_several_models_a_row_per_video_and_predictions_from_a_file(badja: Path, tmp_path: Path, capsys) -> None:
    video = drifting_noise()
    strided = np.concatenate([np.arange(3), np.arange(3)])
    mine, worse = str(tmp_path / "mine.npz"), str(tmp_path / "worse.npz")
    for path, off in ((mine, 0), (worse, 500)):
        np.savez(path, **{"noise/tracks": video.xy[strided] + off, "noise/visible": np.ones((6, 6), bool)})
    arguments = [
        "evaluate",
        "--mode",
        "strided",
        "--model",
        mine,
        worse,
        "still",
        "--dataset",
        str(badja),
        "--per-video",
    ]
    assert main(arguments) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[:2] for row in rows[:4]] == [["noise", n] for n in ("still", "lucas-kanade", mine, worse)]
    assert rows[6] == ["mean", mine, "100.0", "100.0", "100.0", "nan", "0.0"]
    assert rows[7][:4] == ["mean", worse, "0.0", "0.0"]
    assert len(rows) == 8


def test_predictions_at_another_resolution(badja: Path, tmp_path: Path, capsys) -> None:
    video = drifting_noise()
    xy = video.xy * np.float32([192 / 128, 48 / 96])
    np.savez(tmp_path / "mine.npz", **{"noise/tracks": xy, "noise/visible": video.visible})
    mine = str(tmp_path / "mine.npz")
    assert main(["evaluate", "--model", mine, "--dataset", str(badja), "--resolution", "48x192"]) == 0
    assert capsys.readouterr().out.splitlines()[3].split()[1:] == ["100.0", "100.0", "100.0", "nan", "0.0"]


def test_tables_for_papers_and_a_column_for_each_threshold(badja: Path, capsys) -> None:
    arguments = ["evaluate", "--model", "still", "--dataset", str(badja)]
    assert main([*arguments, "--markdown", "--details"]) == 0
    head, _, still, *_ = capsys.readouterr().out.splitlines()
    assert head.startswith("|  | AJ | &lt;d_avg | OA | AJ_RD | mislead | Jac. d0 |")
    assert still.count("|") == head.count("|") == 2 + 5 + 5 + 5 + 1
    assert main([*arguments, "--latex"]) == 0
    assert capsys.readouterr().out.startswith(r"\begin{tabular}{lrrrrr}")
    with pytest.raises(SystemExit):
        main([*arguments, "--latex", "--markdown"])


def test_a_plot_beside_the_table(badja: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install '.[plots]'")
    arguments = ["evaluate", "--model", "still", "--dataset", str(badja), "--plot"]
    assert main([*arguments, str(tmp_path / "scores.svg")]) == 0
    assert "<svg" in (tmp_path / "scores.svg").read_text()


def test_a_plot_of_another_kind_is_refused_before_the_work(capsys, tmp_path: Path) -> None:
    assert main(["evaluate", "--dataset", "nothing", "--plot", str(tmp_path / "scores.gif")]) == 1
    assert "a plot is one of .png, .svg, .pdf" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--dataset", "nothing"],
            "synthetic, returns, figures, hands, bare, blur, dim, compressed, rolling, "
            "davis, rgb-stacking, kinetics, robotap, davis-full, csv, jhmdb, kubric, badja",
        ),
        (["--dataset", "davis"], "needs its files, --data PATH: tapvid_davis.pkl"),
        (["--model", "none.npz"], "none.npz cannot be read"),
    ],
)
def test_what_is_wrong_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert main(["evaluate", *arguments]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("text", ["256", "0x5", "axb", "256x256x3", "256x-1"])
def test_a_resolution_is_height_and_width(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--resolution", text])
    assert "HEIGHTxWIDTH" in capsys.readouterr().err


def test_a_dataset_without_any_query_is_an_error(badja: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hidden = np.zeros((3, 6), bool)
    np.savez(badja / "tracks.npz", xy=np.zeros((3, 6, 2)), visible=hidden)
    assert main(["evaluate", "--model", "still", "--dataset", str(badja)]) == 1
    assert "no point that is visible" in capsys.readouterr().err


def test_each_predictor_gets_each_video(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = drifting_noise(), drifting_noise(step=1)
    monkeypatch.setattr(evaluation, "predictor", lambda name: lambda s: (s.xy if s is first else s.xy + 100, s.visible))
    scores = evaluate(["x"], [first, second])
    assert [metrics["average_jaccard"] for _, metrics in scores["x"]] == [1.0, 0.0]


def test_the_metric_function_is_where_the_design_says() -> None:
    from training.evaluation import metrics, tapvid_metrics

    assert tapvid_metrics is metrics.tapvid_metrics
