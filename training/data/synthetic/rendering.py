"""Drawing posed layers: backward warps, motion blur, shadows, compositing within each layer's screen box."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.layers import Image, Layer, PosedLayer, Shadow
from training.data.synthetic.motion import Array, apply_homography, translation

Box = tuple[int, int, int, int]  # pixels x0, y0, x1, y1

_BLUR_STEP = 1.5  # pixels between the sub-frames that make up motion blur
_MAX_SUBFRAMES = 6
_HALF_PIXEL = translation(np.array([0.5, 0.5]))
_MINUS_HALF_PIXEL = translation(np.array([-0.5, -0.5]))
_LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def _screen_boxes(
    homographies: Array, size: tuple[int, int], slack: float, frame: tuple[int, int]
) -> NDArray[np.int64]:
    """Boxes [K, 4], maybe empty, that a texture (h, w) widened by `slack` can touch in the frame (h, w)."""
    h, w = size
    corners = np.array([[-slack, -slack], [w + slack, -slack], [-slack, h + slack], [w + slack, h + slack]])
    depth = homographies[:, 2, :2] @ corners.T + homographies[:, 2, 2:]
    corners = apply_homography(homographies[:, None], corners)
    limit = np.array([frame[1], frame[0]])
    low = np.clip(np.floor(corners.min(axis=1)), 0, limit)
    high = np.clip(np.ceil(corners.max(axis=1)), 0, limit)
    # A corner behind the camera: its projection bounds nothing.
    behind = depth.min(axis=1) < 1e-3
    low[behind], high[behind] = 0, limit
    return np.concatenate([low, high], axis=1).astype(int)


def _through(backward: Array, x0: int, y0: int) -> Array:
    """The backward map of raster coordinates as OpenCV wants it: pixel indices, counted from (x0, y0)."""
    return _MINUS_HALF_PIXEL @ backward @ translation(np.array([x0 + 0.5, y0 + 0.5]))


def _warp(layer: Layer, t: float, backward: Array, box: Box) -> Image:
    """The layer's RGBA as seen through `box` at time t."""
    x0, y0, x1, y1 = box
    border = cv2.BORDER_CONSTANT if layer.bounded else cv2.BORDER_REFLECT
    if layer.motion.waves is None:
        size = (x1 - x0, y1 - y0)
        return cv2.warpPerspective(layer.rgba, _through(backward, x0, y0), size, flags=_LINEAR, borderMode=border)
    x = np.arange(x0, x1, dtype=np.float32) + np.float32(0.5)
    y = (np.arange(y0, y1, dtype=np.float32) + np.float32(0.5))[:, None]
    m = (backward / backward[2, 2]).astype(np.float32)
    w = m[2, 0] * x + m[2, 1] * y + 1
    qx = (m[0, 0] * x + (m[0, 1] * y + m[0, 2])) / w
    qy = (m[1, 0] * x + (m[1, 1] * y + m[1, 2])) / w
    dx, dy = layer.motion.waves.offset_xy(qx, qy, t)
    return cv2.remap(layer.rgba, qx + (dx - 0.5), qy + (dy - 0.5), cv2.INTER_LINEAR, borderMode=border)


def _exposed(layer: Layer, times: Array, backward: Array, box: Box) -> Image:
    """The average of the layer's RGBA over the given times."""
    if len(times) == 1:
        return _warp(layer, float(times[0]), backward[0], box)
    total = np.zeros((box[3] - box[1], box[2] - box[0], 4), np.float32)
    for t, matrix in zip(times, backward, strict=True):
        cv2.accumulate(_warp(layer, float(t), matrix, box), total)
    return cv2.convertScaleAbs(total, alpha=1 / len(times))


def _scale(region: Image, light: Image) -> None:
    """Multiply `region [h, w, 4]` by `light [h, w]` / 255, in place."""
    cv2.multiply(region, cv2.merge([light] * 4), region, scale=1 / 255)


def composite(region: Image, image: Image) -> None:
    """Lays a premultiplied image [h, w, 4] over `region [h, w, 4]`, in place."""
    _scale(region, cv2.bitwise_not(cv2.extractChannel(image, 3)))
    cv2.add(region, image, region)


def subframes(times: Array, shutter: float, moved: Array) -> tuple[Array, list[list[int]]]:
    """Times at which to look while the shutter is open, and where those of each frame begin and end among them.

    moved: [T] pixels that something goes in that time; one sub-frame is enough for less than a step.
    """
    count = np.clip(np.ceil(moved / _BLUR_STEP), 1, _MAX_SUBFRAMES).astype(int)
    last = np.cumsum(count)
    within = np.arange(last[-1]) - np.repeat(last - count, count)
    inner = np.repeat(times, count) + shutter * ((within + 0.5) / np.repeat(count, count) - 0.5)
    return inner, np.stack([last - count, last], axis=1).tolist()


class _ShadowCaster:
    """The shadow of one layer, following it through the frames."""

    def __init__(self, shadow: Shadow, forward: Array, frame: tuple[int, int]) -> None:
        self.alpha = shadow.alpha
        matrices = translation(np.array(shadow.shift)) @ forward @ translation(-np.full(2, float(shadow.pad)))
        self.backward = np.linalg.inv(matrices)
        self.boxes = _screen_boxes(matrices, shadow.alpha.shape[:2], 0.0, frame).tolist()

    def darken(self, canvas: Image, frame: int) -> None:
        x0, y0, x1, y1 = self.boxes[frame]
        if x0 < x1 and y0 < y1:
            through = _through(self.backward[frame], x0, y0)
            alpha = cv2.warpPerspective(self.alpha, through, (x1 - x0, y1 - y0), flags=_LINEAR)
            _scale(canvas[y0:y1, x0:x1], cv2.bitwise_not(alpha))


class Exposure:
    """A posed layer while the shutter is open for `shutter` frames, centred on each frame's time."""

    def __init__(self, posed: PosedLayer, shutter: float, frame: tuple[int, int]) -> None:
        self.layer = posed.layer
        self.times, self.spans = subframes(posed.times, shutter, self._moved(posed, shutter))
        forward = posed.forward if shutter == 0 else self.layer.motion.homography(self.times)
        self.backward = posed.backward if shutter == 0 else np.linalg.inv(forward)
        self.boxes = self._frame_boxes(forward, np.array(self.spans)[:, 0], frame)
        self.shade = _ShadowCaster(self.layer.shadow, posed.forward, frame) if self.layer.shadow else None

    @staticmethod
    def _moved(posed: PosedLayer, shutter: float) -> Array:
        """[T] pixels that the corner that moves most goes while the shutter is open."""
        if shutter == 0:
            return np.zeros(len(posed.times))
        h, w = posed.layer.rgba.shape[:2]
        probes = np.array([[w / 2, h / 2], [0, 0], [w, 0], [0, h], [w, h]])
        ends = posed.layer.motion.homography(np.stack([posed.times - shutter / 2, posed.times + shutter / 2]))
        moved = np.diff(apply_homography(ends[:, :, None], probes), axis=0)[0]
        return np.linalg.norm(moved, axis=-1).max(axis=-1)

    def _frame_boxes(self, forward: Array, first: NDArray[np.int64], frame: tuple[int, int]) -> list[Box]:
        """What the layer can touch in each frame, over its sub-frames."""
        if not self.layer.bounded:
            return [(0, 0, frame[1], frame[0])] * len(first)
        waves = self.layer.motion.waves
        slack = 1.0 + (waves.bound if waves is not None else 0.0)
        boxes = _screen_boxes(forward, self.layer.rgba.shape[:2], slack, frame)
        low = np.minimum.reduceat(boxes[:, :2], first)
        high = np.maximum.reduceat(boxes[:, 2:], first)
        return [(x0, y0, x1, y1) for (x0, y0), (x1, y1) in zip(low.tolist(), high.tolist(), strict=True)]

    def draw(self, canvas: Image, frame: int) -> None:
        """Draw the layer in the given frame over `canvas [H, W, 4]` (colour in three channels), in place."""
        if self.shade is not None:
            self.shade.darken(canvas, frame)
        x0, y0, x1, y1 = box = self.boxes[frame]
        if x0 >= x1 or y0 >= y1:
            return
        first, last = self.spans[frame]
        image = _exposed(self.layer, self.times[first:last], self.backward[first:last], box)
        if self.layer.log_gain is not None:
            gain = np.exp(self.layer.log_gain(self.times[first])[0])
            alpha = cv2.extractChannel(image, 3)
            image = cv2.convertScaleAbs(image, alpha=float(gain))
            cv2.insertChannel(alpha, image, 3)
        region = canvas[y0:y1, x0:x1]
        if self.layer.bounded:
            composite(region, image)
        else:
            region[:] = image
