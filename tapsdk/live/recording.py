"""Files of a session: recordings, each a video and the tracks in its frames, and all tracks when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tapsdk.errors import TapsdkError
from tapsdk.geometry import Size
from tapsdk.live.history import History
from tapsdk.tracks import Tracks
from tapsdk.video.frames import Frame
from tapsdk.video.writer import VideoWriter


class Names:
    """Names of a session's files in a folder, after the time at which it began, that nothing has yet."""

    def __init__(self, folder: Path) -> None:
        stem = time.strftime("live-%Y%m%d-%H%M%S")
        self._stem = next(
            name
            for name in (stem, *(f"{stem}-{letter}" for letter in "bcdefghijklmnopqrstuvwxyz"))
            if not any(folder.glob(f"{name}[.-]*"))
        )
        self._folder, self._recordings = folder, 0

    @property
    def tracks(self) -> Path:
        return self._folder / f"{self._stem}.npz"

    def recording(self) -> Path:
        """Of the next recording's video; its tracks have the same stem."""
        self._recordings += 1
        return self._folder / f"{self._stem}-{self._recordings}.mp4"


class Recording:
    """A video of the frames that are tracked, and their tracks. Raises SaveError.

    path: of the video; the tracks lie beside it, .npz. fps, size: see `VideoWriter`.
    """

    def __init__(self, path: Path, fps: float | None, size: Size, history: History) -> None:
        self.path, self._history = path, history
        self._start = len(history)
        self._writer = VideoWriter(path, fps, size)
        self.frames = 0

    def write(self, picture: Frame, time: float) -> None:
        self._writer.write(picture, time)
        self.frames += 1

    def finish(self) -> list[Path]:
        """Gives the files their names; returns those that were written. The tracks are there also where the video
        could not be."""
        written: list[Path] = []
        failed: TapsdkError | None = None
        if self.frames:
            try:
                self._writer.finish()
                written.append(self.path)
            except TapsdkError as error:
                failed = error
            written += save_all(self._history.tracks(self._start, self._start + self.frames), self.path)
        else:
            with suppress(TapsdkError):
                self._writer.abort()
        if failed is not None:
            raise failed
        return written


def save_all(parts: Iterator[Tracks], path: Path) -> list[Path]:
    """Saves tracks as `path`, .npz where its suffix is that of a video; more parts than one get numbers. Returns the
    files. Raises SaveError."""
    path = path.with_suffix(".npz") if path.suffix == ".mp4" else path
    written: list[Path] = []
    for number, tracks in enumerate(parts):
        written.append(path if number == 0 else path.with_name(f"{path.stem}-part{number + 1}{path.suffix}"))
        tracks.save(written[-1])
    return written
