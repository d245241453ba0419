"""What a run writes for people to look at."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tapsdk.errors import SaveError
from training.run.report import LOG, PICTURES, TENSORBOARD, Report, read_log


def write(directory: Path, start: int, steps: range) -> None:
    report = Report(directory, start)
    for step in steps:
        report.numbers(step, "train", {"total": 1 / 3, "norm": float(step)})
    report.close()


def test_every_report_is_a_line_of_the_log(tmp_path: Path) -> None:
    write(tmp_path, 0, range(1, 3))
    rows = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert rows == [{"step": 1, "total": 0.33333, "norm": 1.0}, {"step": 2, "total": 0.33333, "norm": 2.0}]
    assert read_log(tmp_path / LOG) == rows


def test_a_run_that_goes_on_leaves_out_what_it_does_again(tmp_path: Path) -> None:
    write(tmp_path, 0, range(1, 6))
    with open(tmp_path / LOG, "a") as file:
        file.write('{"step": 6, "tot')  # killed while it wrote
    write(tmp_path, 3, range(4, 8))
    assert [row["step"] for row in read_log(tmp_path / LOG)] == list(range(1, 8))


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    report = Report(tmp_path, 0)
    report.numbers(1, "train", {"total": float("nan"), "norm": float("inf")})
    report.close()
    assert read_log(tmp_path / LOG) == [{"step": 1, "total": None, "norm": None}]


def test_pictures_are_files(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    report = Report(tmp_path, 0)
    report.picture(40, image)
    report.close()
    found = cv2.imread(str(tmp_path / PICTURES / "0000040.png"))
    assert np.array_equal(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), image)


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / PICTURES).write_text("no folder")
    report = Report(tmp_path, 0)
    with pytest.raises(SaveError, match=PICTURES):
        report.picture(40, np.zeros((8, 12, 3), np.uint8))
    report.close()


def test_tensorboard_shows_numbers_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs TensorBoard: pip install tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    write(tmp_path, 0, range(5, 6))
    report = Report(tmp_path, 3)
    report.numbers(4, "held_out", {"AJ": 0.5})
    report.picture(4, np.zeros((8, 12, 3), np.uint8))
    report.close()
    first, second = (
        [Event.FromString(data) for data in RawEventFileLoader(str(path)).Load()]
        for path in sorted((tmp_path / TENSORBOARD).iterdir())
    )
    assert next((v.tag, event.step) for event in first for v in event.summary.value) == ("train/total", 5)
    restart = [event.step for event in second if event.session_log.status == SessionLog.START]
    assert restart == [4]  # what was written of this step and later ones is not shown any more
    values = {v.tag: (event.step, v) for event in second for v in event.summary.value}
    assert values["held_out/AJ"][0] == values["tracks"][0] == 4
    assert values["held_out/AJ"][1].simple_value == 0.5
    image = values["tracks"][1].image
    assert (image.height, image.width, image.encoded_image_string[1:4]) == (8, 12, b"PNG")


def test_without_tensorboard_there_is_a_log_and_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with caplog.at_level("INFO"):
        write(tmp_path, 0, range(1, 2))
    assert "pip install tensorboard" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [LOG]
