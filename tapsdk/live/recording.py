"""Files of a session: recordings, each a video and the tracks in its frames, and all tracks when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
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
        self._writer: VideoWriter | None = VideoWriter(path, fps, size)
        self.frames = 0

    def write(self, picture: Frame, time: float) -> None:
        """After an error there is no video any more, and the tracks of the frames before can still be saved."""
        if self._writer is None:
            return
        try:
            self._writer.write(picture, time)
        except TapsdkError:
            self._writer.abort()
            self._writer = None
            raise
        self.frames += 1

    def finish(self) -> tuple[list[Path], str]:
        """Gives the files their names. Returns those that were written, and why others could not be."""
        written: list[Path] = []
        reasons: list[str] = []
        if not self.frames and self._writer is not None:
            self._writer.abort()
        if self.frames:
            for save in (self._save_video, self._save_tracks):
                try:
                    written += save()
                except (TapsdkError, OSError) as error:
                    reasons.append(str(error))
        return written, "; ".join(reasons)

    def _save_video(self) -> list[Path]:
        if self._writer is None:
            return []
        self._writer.finish()
        return [self.path]

    def _save_tracks(self) -> list[Path]:
        return save_all(self._history.tracks(self._start, self._start + self.frames), self.path.with_suffix(".npz"))


def save_all(parts: Iterator[Tracks], path: Path) -> list[Path]:
    """Saves tracks as `path`; more parts than one get numbers. Returns the files. Raises SaveError."""
    written: list[Path] = []
    for number, tracks in enumerate(parts):
        written.append(path if number == 0 else path.with_name(f"{path.stem}-part{number + 1}{path.suffix}"))
        tracks.save(written[-1])
    return written
