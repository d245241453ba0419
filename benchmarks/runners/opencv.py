"""What somebody with a processor would otherwise take: OpenCV, in grey, from one frame to the next."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from benchmarks.runners import Turns
from benchmarks.workloads import Workload


def lucas_kanade(workload: Workload) -> Turns:
    """Pyramidal, with OpenCV's own window of 21 pixels and three halvings, there and back to know what is lost."""
    cv2.setNumThreads(workload.threads)
    before, xy, video = None, workload.xy()[:, None], workload.video()
    yield None
    for image in itertools.cycle(video):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if before is not None:
            there, _, _ = cv2.calcOpticalFlowPyrLK(before, grey, xy, None)
            back, _, _ = cv2.calcOpticalFlowPyrLK(grey, before, there, None)
            lost = np.linalg.norm(back - xy, axis=-1) > 1
            xy = np.where(lost[..., None], xy, there)
        before = grey
        yield xy[:, 0]


def dis(workload: Workload) -> Turns:
    """Dense flow, whose cost is that of the frame; read at the points."""
    cv2.setNumThreads(workload.threads)
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    before, xy, video = None, workload.xy(), workload.video()
    yield None
    for image in itertools.cycle(video):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if before is not None:
            moved = flow.calc(before, grey, None)
            x, y = np.clip(xy.T.astype(int), 0, [[workload.size[1] - 1], [workload.size[0] - 1]])
            xy = xy + moved[y, x]
        before = grey
        yield xy
