"""How a model is to be run, as one value that every way in makes and hands on whole."""

from __future__ import annotations

from dataclasses import dataclass

from tapsdk.backends import Backend, Options
from tapsdk.geometry import Size
from tapsdk.runtime.pace import Pace


@dataclass(frozen=True)
class RunOptions:
    """What a caller may say of how a model runs.

    backend: a backend's name, with a plan if it matters ("onnxruntime:native"), or a backend that is open already;
        "auto": of all that are installed, the fastest of those whose tracks are right.
    plan: a plan's name; "" leaves it to measurement.
    device: as the engine names it, such as "cpu" or "cuda:1"; None: the engine's environment variable, else its choice.
    threads: of the CPU; None for the engine's own choice.
    points: how many will be tracked, about. Any number works; it is what is measured with.
    resolution: (height, width), or the side of a square of the same area; None: what the model was trained at.
    strict: what is named is measured too, and nothing that is measured may fail.
    pace: the model looks at every so many frames, and between them points follow the picture; "real-time": as seldom as
        it takes to keep up with `rate`, frames per second (`tapsdk.runtime.pace`).
    memory: bytes that tracking a video may take beside the model and a base of some 200 MB; None: half of what is free.
    """

    backend: str | Backend = "auto"
    plan: str = ""
    device: str | None = None
    threads: int | None = None
    points: int = 64
    resolution: int | Size | None = None
    strict: bool = False
    memory: int | None = None
    pace: Pace = 1
    rate: float | None = None

    @property
    def engine(self) -> Options:
        """What an engine wants to know of it."""
        return Options(device=self.device, threads=self.threads)
