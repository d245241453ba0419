"""Workers that a video kills. For processes of their own."""

import os
import signal
from pathlib import Path

from tapsdk.batch import local, on_ray
from tapsdk.batch.worker import Worker

_serve, _track = local.serve, Worker._track


def serve(pipe, settings):
    """As `tapsdk.batch.local.serve`, but v001.mp4 kills the process."""
    Worker._track = track
    _serve(pipe, settings)


class RayWorker(on_ray.RayWorker):
    """As `tapsdk.batch.on_ray.RayWorker`, but v001.mp4 kills the process."""

    def __init__(self, *args):
        Worker._track = track
        super().__init__(*args)


def track(self, job, part):
    if Path(job.video).name == "v001.mp4":
        os.kill(os.getpid(), signal.SIGKILL)
    return _track(self, job, part)
