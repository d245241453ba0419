"""Scores as pictures."""

import sys

import numpy as np
import pytest

from tapsdk.errors import SaveError
from training.evaluation.errors import EvaluationError
from training.evaluation.plots import check_plot, write_plot


def scores(videos=3):
    rng = np.random.default_rng(0)
    names = ["average_jaccard", *(f"pts_within_{d}" for d in (1, 2, 4, 8, 16)), "survival_after_1", "survival_after_2"]
    return {
        predictor: [(f"video_{i} $x$", {name: float(rng.random()) for name in names}) for i in range(videos)]
        for predictor in ("still", "_mine_")
    }


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="needs matplotlib: pip install '.[plots]'")


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("SVG", b"<?xml"), ("pdf", b"%PDF")])
def test_a_plot_is_of_the_kind_that_its_name_says(matplotlib, tmp_path, suffix, begins):
    path = tmp_path / f"scores.{suffix}"
    check_plot(path)
    write_plot(path, scores())
    assert path.read_bytes().startswith(begins)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_every_predictor_and_video_is_named_whatever_its_name(matplotlib, tmp_path):
    write_plot(tmp_path / "scores.svg", scores())
    text = (tmp_path / "scores.svg").read_text()
    for said in ("still", "mine_", "video_2 $x$", "pixels at 256x256", "frames after the query", "AJ, %"):
        assert f"<!-- {said} -->" in text.replace(r"\$", "$"), said


def test_many_videos_have_no_names_below_the_axis(matplotlib, tmp_path):
    write_plot(tmp_path / "scores.svg", scores(videos=50))
    assert "video_2" not in (tmp_path / "scores.svg").read_text()


def test_pck_is_drawn_over_shares_and_has_no_survival(matplotlib, tmp_path):
    rows = [("a", {f"PCK@{share}": share for share in (0.1, 0.2, 0.3, 0.4, 0.5)})]
    write_plot(tmp_path / "scores.svg", {"still": rows})
    text = (tmp_path / "scores.svg").read_text()
    assert "PCK@0.1, %" in text and "frames after" not in text


def test_what_is_missing_is_said_before_the_work(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(EvaluationError, match=r"pip install 'tapsdk\[plots\]'"):
        check_plot(tmp_path / "scores.png")


@pytest.mark.parametrize("name", ["scores", "scores.gif", "scores.png.txt"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    with pytest.raises(EvaluationError, match=r"one of \.png, \.svg, \.pdf"):
        check_plot(tmp_path / name)


def test_a_place_that_cannot_be_written_is_refused_before_the_work(matplotlib, tmp_path):
    with pytest.raises(SaveError, match="could not write"):
        check_plot(tmp_path / "none" / "scores.png")
    check_plot(tmp_path / "scores.png")
    assert not list(tmp_path.iterdir())


def test_a_video_with_nothing_to_score_is_drawn_as_a_gap(matplotlib, tmp_path):
    known = scores()
    known["still"][1][1]["average_jaccard"] = known["_mine_"][1][1]["average_jaccard"] = float("nan")
    write_plot(tmp_path / "scores.svg", known)
