"""Drawing solid figures: rays against ellipsoids, a depth buffer, light from one side, motion blur, a soft shadow."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.layers import Image
from training.data.synthetic.motion import Array
from training.data.synthetic.rendering import Box, composite, subframes
from training.data.synthetic.solids import Part, Pose, PosedSolid, Solid, front

Floats = NDArray[np.float32]

_SUPERSAMPLING = 2
_MARGIN = 2  # pixels around a figure's box


class SolidExposure:
    """A posed figure while the shutter is open for `shutter` frames, centred on each frame's time."""

    def __init__(self, posed: PosedSolid, shutter: float, frame: tuple[int, int]) -> None:
        self.layer = posed.layer
        self.times, self.spans = subframes(posed.times, shutter, self._moved(posed, shutter))
        self.pose = posed.pose if shutter == 0 else self.layer.posed(self.times)
        self.part_boxes = _part_boxes(self.layer, self.pose)
        self.boxes = [self._box(first, last, frame) for first, last in self.spans]

    @staticmethod
    def _moved(posed: PosedSolid, shutter: float) -> Array:
        """[T] pixels that the part that moves most goes while the shutter is open."""
        ends = [_centres(posed.layer, posed.times + side * shutter / 2) for side in (-1, 1)]
        return np.linalg.norm(ends[1] - ends[0], axis=-1).max(axis=-1)

    def _box(self, first: int, last: int, frame: tuple[int, int]) -> Box:
        """What the figure can touch in the frame (h, w) while the shutter is open."""
        boxes = self.part_boxes[first:last].reshape(-1, 4)
        low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        limit = np.array([frame[1], frame[0]])
        x0, y0 = np.clip(np.floor(low) - _MARGIN, 0, limit).astype(int).tolist()
        x1, y1 = np.clip(np.ceil(high) + _MARGIN, 0, limit).astype(int).tolist()
        return x0, y0, x1, y1

    def draw(self, canvas: Image, frame: int) -> None:
        """Draw the figure in the given frame over `canvas [H, W, 4]` (colour in three channels), in place."""
        x0, y0, x1, y1 = box = self.boxes[frame]
        if x0 >= x1 or y0 >= y1:
            return
        first, last = self.spans[frame]
        total = np.zeros((y1 - y0, x1 - x0, 4), np.float32)
        for t in range(first, last):
            total += self._seen(t, box)
        image = cv2.convertScaleAbs(total, alpha=1 / (last - first))
        if self.layer.shadow:
            _darken(canvas, box, cv2.extractChannel(image, 3), self.layer.shadow)
        composite(canvas[y0:y1, x0:x1], image)

    def _seen(self, t: int, box: Box) -> Floats:
        """Premultiplied RGBA [h, w, 4] of the figure at one time, through a box."""
        x0, y0, x1, y1 = box
        view = _View(self.layer, box)
        x = np.arange(x0 * _SUPERSAMPLING, x1 * _SUPERSAMPLING, dtype=np.float32)
        y = np.arange(y0 * _SUPERSAMPLING, y1 * _SUPERSAMPLING, dtype=np.float32)
        x, y = (x + 0.5) / _SUPERSAMPLING, ((y + 0.5) / _SUPERSAMPLING)[:, None]
        m = (self.pose.to_stage[t] / self.pose.to_stage[t, 2, 2]).astype(np.float32)
        w = m[2, 0] * x + m[2, 1] * y + 1
        stage = (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / w, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / w
        boxes = (self.part_boxes[t] - np.array([x0, y0, x0, y0])) * _SUPERSAMPLING
        limit = np.array([x.shape[0], y.shape[0]] * 2)
        rounded = np.clip(np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], -1), 0, limit).astype(int)
        for index, part in enumerate(self.layer.parts):
            left, top, right, bottom = rounded[index].tolist()
            if left < right and top < bottom:
                inside = slice(top, bottom), slice(left, right)
                view.add(part, self.pose, (t, index), stage, inside)
        return cv2.resize(view.picture(), (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)


class _View:
    """What is nearest at each ray of a box: its depth, its place in the coat and its brightness."""

    def __init__(self, layer: Solid, box: Box) -> None:
        size = ((box[3] - box[1]) * _SUPERSAMPLING, (box[2] - box[0]) * _SUPERSAMPLING)
        self.layer = layer
        self.depth = np.full(size, np.inf, np.float32)
        self.u, self.v, self.light = (np.zeros(size, np.float32) for _ in range(3))

    def add(
        self, part: Part, pose: Pose, at: tuple[int, int], stage: tuple[Floats, Floats], inside: tuple[slice, slice]
    ) -> None:
        """Puts a part, in row (time, part) of a pose, where it is nearer than what is there."""
        centre, turn, shape = (each[at].astype(np.float32) for each in (pose.centre, pose.turn, pose.shape))
        offset = np.stack([stage[0][inside] - centre[0], stage[1][inside] - centre[1]], -1)
        z = front(shape, offset)
        depth = z + centre[2]
        nearer = depth < self.depth[inside]
        if not nearer.any():
            return
        q = np.concatenate([offset[nearer], z[nearer][:, None]], -1)
        local = q @ turn
        normal = q @ shape
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        lit = np.maximum(normal @ np.array(self.layer.light, np.float32), 0)
        self.depth[inside][nearer] = depth[nearer]
        self.light[inside][nearer] = part.tone * (self.layer.ambient + (1 - self.layer.ambient) * lit)
        self.u[inside][nearer], self.v[inside][nearer] = unrolled(local, part)

    def picture(self) -> Floats:
        """Premultiplied RGBA, 0 to 255."""
        colour = cv2.remap(self.layer.coat, self.u, self.v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        seen = np.isfinite(self.depth).astype(np.float32)
        # Overexposed where the light is strong, as a camera is; the average of saturated samples is saturated.
        colour = np.minimum(colour * (self.light * seen)[..., None], 255)
        return np.concatenate([colour, 255 * seen[..., None]], -1)


def unrolled(local: Floats, part: Part) -> tuple[Floats, Floats]:
    """Places [M] in the coat of points `local [M, 3]` of a part, its axes' coordinates.

    The surface is unrolled around the longest axis; its near and its far half mirror one another, so that no seam is
    left where they meet, and the two flanks of an animal are alike.
    """
    long = int(np.argmax(part.axes))
    along, across, deep = local[:, long], local[:, 1 if long != 1 else 0], local[:, 2 if long != 2 else 0]
    around = np.arctan2(np.abs(deep), across) * np.float32(np.sort(part.axes)[1])
    return part.patch[0] + along, part.patch[1] + around


def _part_boxes(layer: Solid, pose: Pose) -> Array:
    """Screen boxes [T, P, 4] of all parts."""
    reach = np.array([part.axes for part in layer.parts])
    # Half the width of a turned ellipsoid along an axis of the stage.
    half = np.sqrt(np.square(pose.turn * reach[:, None, :]).sum(-1))[..., :2]
    signs = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])
    corners = pose.centre[:, :, None, :2] + signs * half[:, :, None]
    xy = _projected(pose, corners.reshape(len(corners), -1, 2)).reshape(corners.shape)
    return np.concatenate([xy.min(2), xy.max(2)], -1)


def _centres(layer: Solid, times: Array) -> Array:
    """Screen positions [T, P, 2] of the parts' centres."""
    pose = layer.posed(times)
    return _projected(pose, pose.centre[..., :2])


def _projected(pose: Pose, stage: Array) -> Array:
    """Screen positions [T, M, 2] of places [T, M, 2] on the stage; far away where they are behind the camera."""
    homogeneous = np.concatenate([stage, np.ones((*stage.shape[:2], 1))], -1) @ np.swapaxes(pose.to_screen, -1, -2)
    return homogeneous[..., :2] / np.maximum(homogeneous[..., 2:], 1e-3)


def _darken(canvas: Image, box: Box, alpha: Image, strength: float) -> None:
    """A soft shadow of a silhouette [h, w] on the canvas, a little below it."""
    x0, y0, x1, y1 = box
    sigma = 1 + 0.04 * (y1 - y0)
    down = min(int(2 * sigma), canvas.shape[0] - y1)
    y0, y1 = y0 + down, y1 + down
    shade = cv2.GaussianBlur(alpha, (0, 0), sigma)
    light = cv2.convertScaleAbs(shade, alpha=-strength, beta=255)
    region = canvas[y0:y1, x0:x1]
    cv2.multiply(region, cv2.merge([light] * 4), region, scale=1 / 255)
