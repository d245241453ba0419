"""What the camera does to the picture: exposure, colour, light, defocus, noise, compression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.config import SceneConfig
from training.data.synthetic.motion import Spline, wander

Image = NDArray[np.uint8]

_NOISE_SAMPLES = 1 << 20


@lru_cache(maxsize=1)
def _noise_pool() -> NDArray[np.float32]:
    """Unit Gaussian samples, drawn once: frames read it at random offsets."""
    return np.random.default_rng(0).standard_normal(_NOISE_SAMPLES, np.float32)


@dataclass(frozen=True)
class Appearance:
    """The effects that one clip gets; `apply` is deterministic given its generator."""

    tone: Spline | None = None  # log gain, log gamma, and red and blue log gains, over time
    light: Spline | None = None  # low-resolution log illumination, 3 x 3, over time
    matrix: NDArray[np.float64] | None = None  # colour transform [3, 4]
    defocus: float = 0.0  # sigma in pixels
    noise: float = 0.0  # sigma in grey levels
    jpeg_quality: int | None = None

    @classmethod
    def random(cls, rng: np.random.Generator, config: SceneConfig) -> Appearance:
        """Draw the effects of one clip."""
        tone = wander(rng, config.frames, 0.015, 4, reach=0.25)
        light = wander(rng, config.frames, 0.02, 9, reach=0.3)
        has_tone, has_light = rng.random(2) < (config.lighting, 0.5 * config.lighting)
        matrix = None
        if rng.random() < config.colour:
            gain = np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.08, 3))
            matrix = np.concatenate([np.diag(gain), 128 * (1 - gain[:, None]) + rng.normal(0, 15)], axis=1)
        if rng.random() < config.channel_shuffle:
            matrix = (np.eye(3, 4) if matrix is None else matrix)[:, [*rng.permutation(3), 3]]
        if rng.random() < config.greyscale:
            base = np.eye(3, 4) if matrix is None else matrix
            matrix = np.repeat((np.array([[0.299, 0.587, 0.114]]) @ base), 3, axis=0)
        drawn = cls(
            tone=tone if has_tone else None,
            light=light if has_light else None,
            matrix=matrix,
            defocus=float(rng.uniform(0.4, 1.2)) if rng.random() < config.defocus else 0.0,
            noise=float(rng.uniform(1, 10)) if rng.random() < config.noise else 0.0,
            jpeg_quality=int(rng.integers(*config.jpeg_quality)) if rng.random() < config.jpeg else None,
        )
        if not config.dim or rng.random() >= config.dim:
            return drawn
        exposure = np.exp(rng.uniform(np.log(0.2), np.log(0.5)))
        matrix = np.eye(3, 4) if matrix is None else matrix
        return replace(drawn, matrix=exposure * matrix, noise=float(rng.uniform(3, 10)))

    def apply(self, frame: Image, t: float, rng: np.random.Generator) -> Image:
        """The frame [H, W, 3] as the camera delivers it at time t."""
        if self.light is not None:
            frame = self._illuminate(frame, t)
        if self.defocus > 0:
            frame = cv2.GaussianBlur(frame, (0, 0), self.defocus)
        if self.matrix is not None:
            frame = cv2.transform(frame, self.matrix)
        if self.tone is not None:
            frame = cv2.LUT(frame, self._tone_table(t))
        if self.noise > 0:
            frame = self._add_noise(frame, rng)
        if self.jpeg_quality is not None:
            _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
            frame = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return frame

    def _illuminate(self, frame: Image, t: float) -> Image:
        assert self.light is not None
        coarse = np.exp(self.light(np.array(t))).reshape(3, 3).astype(np.float32)
        gain = cv2.resize(coarse, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_CUBIC)
        return cv2.multiply(frame, cv2.merge([gain] * 3), dtype=cv2.CV_8U)

    def _tone_table(self, t: float) -> Image:
        assert self.tone is not None
        gain, gamma, red, blue = self.tone(np.array(t))
        level = np.linspace(0, 1, 256)[:, None] ** np.exp(0.5 * gamma)
        level = level * np.exp([gain + 0.4 * red, gain, gain + 0.4 * blue])
        return np.clip(level * 255 + 0.5, 0, 255).astype(np.uint8)[:, None]

    def _add_noise(self, frame: Image, rng: np.random.Generator) -> Image:
        pool = _noise_pool()
        start = int(rng.integers(pool.size))
        noise = np.resize(pool[start:], frame.shape)
        return cv2.add(frame, self.noise * noise, dtype=cv2.CV_8U)
