"""What a run tells people: a log with a line per report, the same in TensorBoard, and pictures.

RUN/log.jsonl is the record. TensorBoard's files, in RUN/tensorboard, are written where it is installed.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tapsdk.system.files import AtomicFile
from tapsdk.system.json_text import parse_json
from training.run.run_state import make_folder

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
PICTURES = "pictures"
TENSORBOARD = "tensorboard"


class Report:
    """Of the run in `directory` from its first `step` steps on; earlier reports of later steps are dropped."""

    def __init__(self, directory: Path, step: int) -> None:
        self.directory = directory
        _forget(directory / LOG, step)
        self._tensorboard = _TensorBoard(directory / TENSORBOARD, step) if _has_tensorboard() else None

    def numbers(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """One line of the log. TensorBoard shows the values of a `group` together."""
        row = {name: round(value, 5) if math.isfinite(value) else None for name, value in values.items()}
        with open(self.directory / LOG, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **row}) + "\n")
        if self._tensorboard is not None:
            self._tensorboard.numbers(step, {f"{group}/{name}": value for name, value in values.items()})

    def picture(self, step: int, image: NDArray[np.uint8]) -> None:
        """Writes [H, W, 3] RGB as a PNG. Raises SaveError."""
        path = self.directory / PICTURES / f"{step:07d}.png"
        png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
        make_folder(path.parent)
        with AtomicFile(path) as file:
            file.write(png)
        if self._tensorboard is not None:
            self._tensorboard.picture(step, image.shape[:2], png)

    def close(self) -> None:
        if self._tensorboard is not None:
            self._tensorboard.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; a last line that was being written when its process was killed is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(parse_json(line))
        except ValueError:
            break
    return rows


def _forget(path: Path, step: int) -> None:
    rows = read_log(path)
    kept = "".join(json.dumps(row) + "\n" for row in rows if row["step"] <= step)
    if path.exists() and kept != path.read_text(encoding="utf-8"):
        with AtomicFile(path) as file:
            file.write(kept.encode())


def _has_tensorboard() -> bool:
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        logger.info("TensorBoard is not installed (pip install tensorboard): %s and pictures only", LOG)
        return False
    return True


class _TensorBoard:
    """TensorBoard's own writer of its files: it needs no framework, unlike those that come with one."""

    def __init__(self, directory: Path, step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._events, self._summaries = event_pb2, summary_pb2
        self._writer = EventFileWriter(str(directory))
        # What an earlier process wrote of later steps is no longer shown.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=step + 1, session_log=start))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        self._add(step, [self._summaries.Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()])

    def picture(self, step: int, size: tuple[int, ...], png: bytes) -> None:
        image = self._summaries.Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=png)
        self._add(step, [self._summaries.Summary.Value(tag="tracks", image=image)])

    def _add(self, step: int, values: list[Any]) -> None:
        summary = self._summaries.Summary(value=values)
        self._writer.add_event(self._events.Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        self._writer.close()
