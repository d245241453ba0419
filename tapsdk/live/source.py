"""Frames as they come, the newest first: whoever is slower than the camera misses some, and never lags behind."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import Literal

from tapsdk.errors import FramesError, TapsdkError
from tapsdk.geometry import Size
from tapsdk.live.origin import Frames, Origin
from tapsdk.video.frames import USUAL_FPS, Frame
from tapsdk.video.images import rgb_of

logger = logging.getLogger(__name__)

State = Literal["playing", "paused", "ended", "lost"]

FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
"""Seconds until a lost origin is opened again; twice as long after each attempt that fails."""
LATE = 0.5
"""Seconds by which a file may lag behind its clock before the clock waits for it."""


@dataclass(frozen=True)
class Arrival:
    """A frame that came.

    number: of the frame, counted with those that nobody took. time: seconds, growing; of a file by its clock, else
    since the first frame. at: on the machine's clock (`time.monotonic`), when it was there.
    """

    picture: Frame
    number: int
    time: float
    at: float


class LiveSource:
    """Reads an origin in a thread of its own. `take` gives the newest frame; those before it are counted, and gone.

    dropped: frames that nobody took. fps: as the origin declares it, None if unknown. size: (height, width), of all
    frames: what comes back in another size after it was lost is resized.
    Raises FramesError where the origin cannot be opened to begin with.
    """

    def __init__(self, origin: Origin, *, playing: bool = True) -> None:
        self.origin, self.dropped = origin, 0
        self._frames: Frames | None = origin.open()
        try:
            self._first: Frame | None = next(self._frames)
        except BaseException:
            self._frames.close()
            raise
        self.size: Size = (self._first.shape[0], self._first.shape[1])
        self.fps = self._frames.fps
        self._changed = threading.Condition()
        self._state: State = "playing" if playing or origin.live else "paused"
        self._reason = ""
        self._mail: Arrival | None = None
        self._steps = 1  # of a file that begins paused: its first frame is seen
        self._over = self._nudged = self._again = False
        self._began: float | None = None
        self._offset, self._last, self._count = 0.0, -1.0, 0
        self._thread = threading.Thread(target=self._run, name="live frames", daemon=True)

    def start(self) -> None:
        """Frames come from now on."""
        self._thread.start()

    @property
    def known_frames(self) -> int | None:
        """See `FrameSource`."""
        return None

    @property
    def state(self) -> State:
        return self._state

    @property
    def reason(self) -> str:
        """Why the origin is lost, or came to its end early; "" where nothing is wrong."""
        return self._reason

    def take(self, timeout: float) -> Arrival | None:
        """The newest frame that was not taken yet, waiting for one; None after `timeout` seconds, or a nudge."""
        with self._changed:
            self._changed.wait_for(lambda: self._nudged or self._over or self._may_take(), timeout)
            self._nudged = False
            if not self._may_take() or self._mail is None:
                return None
            mail, self._mail = self._mail, None
            if self._state == "paused":
                self._steps -= 1
                mail = replace(mail, at=time.monotonic())
            self._changed.notify_all()
            return mail

    def _may_take(self) -> bool:
        return self._mail is not None and (self._state != "paused" or self._steps > 0)

    def nudge(self) -> None:
        """Lets `take` return at once."""
        with self._changed:
            self._nudged = True
            self._changed.notify_all()

    def pause(self) -> None:
        """Holds a file; a camera cannot wait."""
        with self._changed:
            if not self.origin.live and self._state == "playing":
                self._state, self._steps = "paused", 0
                self._changed.notify_all()

    def play(self) -> None:
        """Goes on with a file; at its end, from the start again."""
        with self._changed:
            if self._state == "ended":
                self._again = True
            if self._state in ("paused", "ended"):
                self._state, self._began = "playing", None
                self._changed.notify_all()

    def step(self) -> None:
        """Lets one more frame of a paused file be taken; pauses one that plays."""
        self.pause()
        with self._changed:
            if self._state == "paused":
                self._steps = 1
                self._changed.notify_all()

    def close(self) -> None:
        """Ends the thread; one that waits for a network or a device may end later."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread.ident is None:
            self._close_frames()
            return
        frames = self._frames
        if frames is not None:
            frames.hurry()
        self._thread.join(1.0)

    def _close_frames(self) -> None:
        if self._frames is not None:
            self._frames.close()

    def _run(self) -> None:
        try:
            while not self._over:
                self._read_to_the_end()
                if self._over:
                    return
                if self.origin.live:
                    self._open_again()
                else:
                    self._wait_at_the_end()
        except Exception as error:  # whatever it is, the session has to know that no frame comes any more
            logger.error("unexpected", exc_info=error)
            self._stop("ended", f"{type(error).__name__}: {error}")
        finally:
            self._close_frames()

    def _read_to_the_end(self) -> None:
        """Delivers frames until there are no more, and says in `_reason` why, unless it is the end of a file."""
        frames, reason = self._frames, ""
        assert frames is not None
        try:
            while not self._over:
                picture = next(frames) if self._first is None else self._first
                self._first = None
                self._deliver(self._fitted(picture), frames.last_time)
        except StopIteration:
            reason = "the stream ended" if self.origin.live else ""
        except (TapsdkError, OSError) as error:
            reason = str(error)
        frames.close()
        self._frames, self._reason = None, reason

    def _deliver(self, picture: Frame, shown: float | None) -> None:
        with self._changed:
            moment = self._moment(shown)
            if not self.origin.live:
                self._wait_until_due(moment)
            elif self._state == "lost":
                self._state, self._reason = "playing", ""
            if self._over:
                return
            if self._mail is not None:
                self.dropped += 1
            self._mail = Arrival(picture, self._count, moment, time.monotonic())
            self._count, self._last = self._count + 1, moment
            self._changed.notify_all()

    def _moment(self, shown: float | None) -> float:
        """Seconds of this frame, later than the one before it."""
        step = 1 / (self.fps or USUAL_FPS)
        if self.origin.live:
            self._began = time.monotonic() if self._began is None else self._began
            moment = time.monotonic() - self._began
        else:
            moment = self._last + step if shown is None else self._offset + shown
        if self._last < 0:
            return max(moment, 0.0)
        return moment if moment > self._last else self._last + step / 1000

    def _wait_until_due(self, moment: float) -> None:
        """Of a file: until its clock shows `moment`, and as long as it is paused with a frame that was not taken."""
        while not self._over:
            if self._state == "paused":
                if self._mail is None:
                    return
                self._changed.wait()
                continue
            now = time.monotonic()
            if self._began is None or now - self._began - moment > LATE:
                self._began = now - moment
            if now - self._began >= moment:
                return
            self._changed.wait(moment - (now - self._began))

    def _wait_at_the_end(self) -> None:
        with self._changed:
            # The last frame is still to be taken.
            self._changed.wait_for(lambda: self._over or self._mail is None)
        while self._frames is None and not self._over:
            self._stop("ended", self._reason)
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._again)
                self._again = False
            self._offset = self._last + 1 / (self.fps or USUAL_FPS)
            try:
                self._frames, self._reason = self.origin.open(), ""
            except FramesError as error:
                self._reason = str(error)

    def _open_again(self) -> None:
        wait = FIRST_WAIT
        while True:
            self._stop("lost", self._reason)
            with self._changed:
                if self._changed.wait_for(lambda: self._over, wait):
                    return
            try:
                self._frames = self.origin.open()
                self._first = next(self._frames)
                return
            except (TapsdkError, OSError, StopIteration) as error:
                self._close_frames()
                self._frames, self._reason = None, str(error) or self._reason
                wait = min(2 * wait, LONGEST_WAIT)

    def _stop(self, state: State, reason: str) -> None:
        with self._changed:
            self._state, self._reason, self._nudged = state, reason, True
            self._changed.notify_all()

    def _fitted(self, picture: Frame) -> Frame:
        """In the size of the first frame, as points are counted in its pixels."""
        height, width = self.size
        if picture.shape[:2] == self.size:
            return picture
        import av

        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        return rgb_of(frame.reformat(width=width, height=height))
