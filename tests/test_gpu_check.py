"""The check of a device: rows that fail do not end it, time is kept, and it all runs where there is no GPU."""

import json
from dataclasses import replace

import pytest

from tests.support import import_or_skip

torch = import_or_skip("torch")
import_or_skip("safetensors")

from pathlib import Path  # noqa: E402

from tests.golden import official  # noqa: E402
from tools import gpu_check  # noqa: E402
from tools.gpu_goldens import GOLDENS  # noqa: E402
from tools.gpu_rows import Row, Settings  # noqa: E402

SETTINGS = Settings("cpu", quick=True)


def measured(row):
    return replace(row, milliseconds=2.0, frames_per_second=500.0)


def fails(row):
    raise RuntimeError("no kernel image is available | for execution\non the device")


@pytest.fixture
def rows(monkeypatch):
    """Takes checks in place of the real ones, and runs them."""

    def run(*checks, minutes=1.0):
        monkeypatch.setattr(gpu_check, "checks", lambda settings: iter(checks))
        return gpu_check.run(SETTINGS, minutes)

    return run


def test_a_row_that_fails_says_why_and_the_others_go_on(rows, capsys):
    found = rows((Row("step", "a", "eager"), fails), (Row("step", "b", "eager"), measured))
    assert [row.status for row in found] == ["failed", "ok"]
    assert found[0].note.startswith("RuntimeError: no kernel image is available")
    assert capsys.readouterr().out.splitlines()[0].startswith("failed  step a eager")


def test_what_there_is_no_time_for_is_skipped(rows):
    (row,) = rows((Row("step", "a", "eager"), measured), minutes=-1.0)
    assert (row.status, row.note, row.milliseconds) == ("skipped", "no time was left", None)


def test_the_table_has_a_line_for_every_row_and_says_how_much_faster_than_eager(rows):
    eager, graph, bad = (
        Row("step", "a", "eager", points=4),
        Row("step", "a", "graph", points=4),
        Row("step", "b", "graph"),
    )
    found = rows((eager, lambda row: replace(row, milliseconds=6.0)), (graph, measured), (bad, fails))
    table = gpu_check.as_markdown(found, gpu_check.about(SETTINGS))
    lines = [line for line in table.splitlines() if line.startswith("| step")]
    assert len(lines) == 3
    assert "| 2.00 | 500.0 | 3.00 |" in lines[1]
    assert "is available / for execution on the device" in lines[2]
    assert {line.count("|") for line in lines} == {12}


def test_the_published_figure_stands_beside_ours(rows):
    model, points, theirs = gpu_check.PUBLISHED
    found = rows((Row("step", model, "graph", "fp16", points), measured))
    assert (
        gpu_check.published(found)
        == f"{model} at {points} points: fp16 2.00 ms here; published: {theirs} ms on an H100."
    )
    assert "was not measured" in gpu_check.published([])


def test_every_golden_of_tracks_is_in_it():
    folder = Path(official.__file__).parent
    wanted = {path.stem for path in folder.glob("*.npz") if "_256" in path.stem or "_200x264" in path.stem}
    assert set(GOLDENS) == wanted


def test_a_device_that_is_not_there_is_a_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["gpu_check", "--device", "cuda:99", "-o", str(tmp_path)])
    assert gpu_check.main() == 2
    assert "has no device 'cuda:99' here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_it_runs_on_a_processor_from_end_to_end(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["gpu_check", "--device", "cpu", "--quick", "--minutes", "20", "-o", str(tmp_path)])
    assert gpu_check.main() == 0
    report = json.loads((tmp_path / "rows.json").read_text())
    assert {row["part"] for row in report["rows"]} == {"golden", "whole", "step", "kernel"}
    assert {row["status"] for row in report["rows"] if row["what"] != "triton"} == {"ok"}
    assert (tmp_path / "table.md").read_text().startswith("# Check of a device")
