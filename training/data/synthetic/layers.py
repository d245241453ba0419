"""What a scene is made of: layers with a texture, a silhouette and a motion; their pose in each frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.motion import Array, LayerMotion, Spline, apply_homography

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Shadow:
    """A soft shadow that a layer casts on everything below it."""

    alpha: Image  # [h + 2 pad, w + 2 pad] how much it darkens
    pad: int
    shift: tuple[float, float]  # screen pixels


@dataclass(frozen=True)
class Layer:
    """A textured surface. `rgba [h, w, 4]` is premultiplied by its alpha; the background has `bounded=False`:
    it continues beyond its texture by reflection and covers the whole frame."""

    rgba: Image
    motion: LayerMotion
    bounded: bool = True
    log_gain: Spline | None = None
    shadow: Shadow | None = None

    def alpha_at(self, p: Array) -> Array:
        """Bilinear alpha [...] in [0, 1] at texture points `p [..., 2]`."""
        if not self.bounded:
            return np.ones(p.shape[:-1])
        h, w = self.rgba.shape[:2]
        x, y = p[..., 0] - 0.5, p[..., 1] - 0.5
        inside = (x > 0) & (y > 0) & (x < w - 1) & (y < h - 1)
        result = np.zeros(p.shape[:-1])
        x, y = x[inside], y[inside]
        i, j = y.astype(int), x.astype(int)
        fy, fx = y - i, x - j
        alpha = self.rgba[..., 3]
        upper = alpha[i, j] * (1 - fx) + alpha[i, j + 1] * fx
        lower = alpha[i + 1, j] * (1 - fx) + alpha[i + 1, j + 1] * fx
        result[inside] = (upper * (1 - fy) + lower * fy) / 255
        return result


@dataclass(frozen=True)
class PosedLayer:
    """A layer in the frames of one clip: frame f shows it at times[f], through forward[f] and its inverse."""

    coordinates = 2
    """Numbers that a point of its surface is: texels."""

    layer: Layer
    times: Array  # [T]
    forward: Array  # [T, 3, 3] texture to screen
    backward: Array  # [T, 3, 3] screen to texture

    @classmethod
    def of(cls, layer: Layer, times: Array) -> PosedLayer:
        forward = layer.motion.homography(times)
        return cls(layer, times, forward, np.linalg.inv(forward))

    def to_screen(self, p: Array) -> Array:
        """Screen positions [N, T, 2] of texture points `p [N, 2]` in every frame."""
        waves = self.layer.motion.waves
        q = np.broadcast_to(p[:, None], (len(p), len(self.times), 2))
        return apply_homography(self.forward, q if waves is None else waves.invert(q, self.times))

    def to_texture(self, x: Array, frame: NDArray[np.int64]) -> Array:
        """Texture points [..., 2] of screen points `x [..., 2]` in the given frames [...]."""
        q = apply_homography(self.backward[frame], x)
        waves = self.layer.motion.waves
        return q if waves is None else q + waves.offset(q, self.times[frame])

    def shows(self, p: Array) -> NDArray[np.bool_]:
        """[N, T] whether the layer itself leaves `p [N, 2]` in view: a flat one hides none of its own points."""
        return np.ones((len(p), len(self.times)), bool)

    def covers(self, x: Array, frame: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the layer's alpha exceeds 1/2 at screen points `x [..., 2]` in the given frames [...]."""
        if not self.layer.bounded:
            return np.ones(x.shape[:-1], bool)
        return self.layer.alpha_at(self.to_texture(x, frame)) > 0.5


def premultiply(rgb: Image, mask: NDArray[np.float32]) -> Image:
    """RGBA of a texture [h, w, 3] cut out by a mask [h, w] in [0, 1]."""
    alpha = cv2.convertScaleAbs(mask, alpha=255)
    return cv2.merge([*cv2.split(cv2.multiply(rgb, cv2.merge([alpha] * 3), scale=1 / 255)), alpha])


def cast_shadow(mask: NDArray[np.float32], sigma: float, strength: float, shift: tuple[float, float]) -> Shadow:
    """The shadow of a silhouette, blurred by `sigma` texels."""
    pad = int(2 * sigma) + 1
    wide = cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    return Shadow(cv2.convertScaleAbs(cv2.GaussianBlur(wide, (0, 0), sigma), alpha=255 * strength), pad, shift)
