"""Means, tables and JSON of scores."""

import json
import math

import numpy as np
import pytest

from tapsdk.errors import SaveError
from training.evaluation.report import mean, summary, table, write_json

SCORES = {
    "still": [("goat", {"aj": 0.25, "oa": 0.5}), ("bear", {"aj": 0.75, "oa": math.nan})],
    "tapir": [("goat", {"aj": 1.0, "oa": 1.0}), ("bear", {"aj": 0.5, "oa": math.nan})],
}


def read_strictly(path):
    """JSON without the NaN that Python would let pass."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_the_mean_is_over_videos_that_have_something_to_score():
    assert mean(metrics for _, metrics in SCORES["still"]) == {"aj": 0.5, "oa": 0.5}


def test_the_mean_of_nothing_is_nan_without_a_warning():
    assert np.isnan(mean([{"aj": math.nan}])["aj"])
    assert mean([]) == {}


def test_a_table_of_means():
    assert table(SCORES, {"AJ": "aj", "OA": "oa"}, per_video=False).splitlines() == [
        "                   AJ     OA",
        "still            50.0   50.0",
        "tapir            75.0  100.0",
    ]


def test_a_table_of_videos():
    assert table(SCORES, {"A long title": "aj"}, per_video=True).splitlines() == [
        "               A long title",
        "goat  still            25.0",
        "goat  tapir           100.0",
        "bear  still            75.0",
        "bear  tapir            50.0",
        "mean  still            50.0",
        "mean  tapir            75.0",
    ]


def test_a_metric_that_one_predictor_has_not_is_a_dash():
    scores = {"a": [("goat", {"aj": 1.0, "more": 0.5})], "b": [("goat", {"aj": 0.0})]}
    assert table(scores, {"AJ": "aj", "More": "more"}, per_video=False).splitlines()[1:] == [
        "a               100.0   50.0",
        "b                 0.0      -",
    ]


def test_a_table_for_markdown():
    scores = {"a|b": SCORES["still"], "tapir": SCORES["tapir"]}
    assert table(scores, {"<d_avg": "aj", "OA": "oa"}, per_video=False, style="markdown").splitlines() == [
        "|  | &lt;d_avg | OA |",
        "| --- | ---: | ---: |",
        r"| a\|b | 50.0 | 50.0 |",
        "| tapir | 75.0 | 100.0 |",
    ]
    nothing = {"still": [("goat", {"aj": math.nan})]}
    assert table(nothing, {"AJ": "aj"}, per_video=False, style="markdown").splitlines()[2] == "| still | - |"
    assert table(nothing, {"AJ": "aj"}, per_video=False, style="latex").splitlines()[4] == r"still & -- \\"


def test_a_table_for_latex():
    scores = {"my_model & co": SCORES["still"]}
    assert table(scores, {"<d_avg": "aj", "PCK@0.1": "none"}, per_video=True, style="latex").splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\hline",
        r" & $<\delta^x_{avg}$ & PCK@0.1 \\",
        r"\hline",
        r"goat  my\_model \& co & 25.0 & -- \\",
        r"bear  my\_model \& co & 75.0 & -- \\",
        r"mean  my\_model \& co & 50.0 & -- \\",
        r"\hline",
        r"\end{tabular}",
    ]


def test_metrics_of_all_videos_together_take_the_place_of_means(tmp_path):
    def most(rows):
        return {"aj": max(row["aj"] for row in rows)}

    assert summary(SCORES, most)["still"] == {"aj": 0.75, "oa": 0.5}
    assert "75.0" in table(SCORES, {"AJ": "aj"}, per_video=False, pool=most).splitlines()[1]
    write_json(tmp_path / "scores.json", SCORES, {}, most)
    assert read_strictly(tmp_path / "scores.json")["still"]["aj"] == 0.75


def test_json_has_context_means_and_videos_and_no_nan(tmp_path):
    write_json(tmp_path / "scores.json", SCORES, {"mode": "first"})
    records = read_strictly(tmp_path / "scores.json")
    assert records["still"] == {
        "mode": "first",
        "videos": 2,
        "aj": 0.5,
        "oa": 0.5,
        "per_video": [{"video": "goat", "aj": 0.25, "oa": 0.5}, {"video": "bear", "aj": 0.75, "oa": None}],
    }


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(SaveError, match="could not write"):
        write_json(tmp_path / "none" / "scores.json", SCORES, {})
