"""Solid figures: ellipsoids on joints that turn in depth, hide their own parts and are lit from one side.

A figure stands on a stage of its own: x to the right, y down, z away from the viewer, seen without perspective. From
there two coordinates go on to the screen as those of a flat layer do, by a homography of body and camera. A point of
its surface is (part, ux, uy, uz): the unit vector u, stretched by the part's half axes, is a place on its ellipsoid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.layers import Image
from training.data.synthetic.motion import Array, Body, Camera, Spline, apply_homography

IN_FRONT = 0.03
"""Share of a figure's size by which another part must be nearer to hide a point: less is the part's own surface."""


@dataclass(frozen=True)
class Part:
    """One ellipsoid. It hangs by a joint from its parent, which comes before it among the parts."""

    parent: int
    """-1: the figure's own root."""
    at: tuple[float, float, float]
    """The joint, in the parent's coordinates (origin at its centre)."""
    centre: tuple[float, float, float]
    """The ellipsoid's centre, from the joint, in its own coordinates."""
    axes: tuple[float, float, float]
    """Half axes."""
    rest: tuple[float, float, float]
    """Turns about x, y, z at rest, radians; the one about z comes last."""
    swing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """How far each of them goes to either side."""
    rate: float = 0.0
    phase: float = 0.0
    patch: tuple[float, float] = (0.0, 0.0)
    """Where its texture begins in the coat, texels."""
    tone: float = 1.0
    """Its brightness beside the coat's."""


@dataclass(frozen=True)
class Pose:
    """All parts at some times: from the unit ball to the stage and back."""

    centre: Array  # [T, P, 3]
    turn: Array  # [T, P, 3, 3] from the part's axes to the stage's
    shape: Array  # [T, P, 3, 3] matrices M with q M q = 1 for q on the surface, from the centre
    to_screen: Array  # [T, 3, 3] from (x, y) of the stage
    to_stage: Array  # [T, 3, 3]


@dataclass(frozen=True)
class Solid:
    """A figure. `coat [h, w, 3]` is what all of its parts are cut from; it continues by reflection."""

    parts: tuple[Part, ...]
    coat: Image
    camera: Camera
    parallax: float
    node: Body
    turning: Spline
    """Three channels: turns of the whole figure about x, y and z, radians."""
    light: tuple[float, float, float]
    """Unit vector towards the light."""
    ambient: float
    """Brightness of what is turned away from the light, as a share."""
    shadow: float = 0.0
    """How much it darkens what is below it."""

    @property
    def size(self) -> float:
        """About how far the figure reaches from its root, in pixels."""
        return float(sum(max(part.axes) for part in self.parts[:3]))

    def posed(self, times: Array) -> Pose:
        """The figure at `times [T]`."""
        times = np.asarray(times, np.float64)
        root = euler(self.turning(times))
        centres: list[Array] = []
        turns: list[Array] = []
        for part in self.parts:
            swung = np.sin(part.rate * times + part.phase)[:, None] * np.array(part.swing)
            own = euler(np.array(part.rest) + swung)
            if part.parent < 0:
                above, origin = root, np.zeros((len(times), 3))
            else:
                above, origin = turns[part.parent], centres[part.parent]
            turn = above @ own
            centres.append(origin + above @ np.array(part.at) + turn @ np.array(part.centre))
            turns.append(turn)
        turn = np.stack(turns, 1)
        scaled = turn / np.square(np.array([part.axes for part in self.parts]))[:, None]
        screen = self.camera.frame(times, self.parallax) @ self.node.frame(times)
        return Pose(np.stack(centres, 1), turn, scaled @ np.swapaxes(turn, -1, -2), screen, np.linalg.inv(screen))


@dataclass(frozen=True)
class PosedSolid:
    """A figure in the frames of one clip, for choosing points on it and following them (`synthetic.sampling`)."""

    coordinates = 4
    """Numbers that a point of its surface is: its part, and a unit vector."""

    layer: Solid
    times: Array  # [T]
    pose: Pose

    @classmethod
    def of(cls, layer: Solid, times: Array) -> PosedSolid:
        return cls(layer, times, layer.posed(times))

    def to_screen(self, p: Array) -> Array:
        """Screen positions [N, T, 2] of surface points `p [N, 4]` in every frame."""
        return apply_homography(self.pose.to_screen, self._on_stage(p)[..., :2])

    def to_texture(self, x: Array, frame: NDArray[np.int64]) -> Array:
        """Surface points [M, 4] that are seen at screen points `x [M, 2]` in frames [M]; part -1 where none is."""
        depth, part, u = self._nearest(apply_homography(self.pose.to_stage[frame], x), frame)
        return np.concatenate([np.where(np.isfinite(depth), part, -1)[:, None], u], axis=-1)

    def covers(self, x: Array, frame: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether any part is at screen points `x [..., 2]` in the given frames [...]."""
        frame = np.broadcast_to(frame, x.shape[:-1])
        stage = apply_homography(self.pose.to_stage[frame], x)
        covered = np.zeros(x.shape[:-1], bool)
        for index in range(len(self.layer.parts)):
            offset = stage - self.pose.centre[frame, index, :2]
            covered |= roots(self.pose.shape[frame, index], offset)[2] > 0
        return covered

    def shows(self, p: Array) -> NDArray[np.bool_]:
        """[N, T] whether surface points `p [N, 4]` are turned to the viewer and no other part is before them."""
        stage = self._on_stage(p)
        part = p[:, 0].astype(int)
        axes = np.array([each.axes for each in self.layer.parts])[part]
        normal = np.einsum("tnij,nj->nti", self.pose.turn[:, part], p[:, 1:] / axes)
        frame = np.broadcast_to(np.arange(len(self.times)), stage.shape[:-1])
        nearest = self._nearest(stage[..., :2].reshape(-1, 2), frame.reshape(-1))[0].reshape(frame.shape)
        return (normal[..., 2] < 0) & (stage[..., 2] < nearest + IN_FRONT * self.layer.size)

    def _on_stage(self, p: Array) -> Array:
        """[N, T, 3] of surface points [N, 4]."""
        part = p[:, 0].astype(int)
        axes = np.array([each.axes for each in self.layer.parts])[part]
        turned = np.einsum("tnij,nj->nti", self.pose.turn[:, part], p[:, 1:] * axes)
        return turned + self.pose.centre[:, part].swapaxes(0, 1)

    def _nearest(self, stage: Array, frame: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64], Array]:
        """Depth [M] (infinite where nothing is), part [M] and unit vector [M, 3] of what is seen at `stage [M, 2]`."""
        depth, which = np.full(len(stage), np.inf), np.zeros(len(stage), int)
        u = np.zeros((len(stage), 3))
        for index, part in enumerate(self.layer.parts):
            turn, centre = self.pose.turn[frame, index], self.pose.centre[frame, index]
            offset = stage - centre[:, :2]
            z = front(self.pose.shape[frame, index], offset)
            nearer = z + centre[:, 2] < depth
            depth[nearer], which[nearer] = (z + centre[:, 2])[nearer], index
            q = np.concatenate([offset[nearer], z[nearer, None]], -1)
            u[nearer] = np.einsum("mij,mi->mj", turn[nearer], q) / np.array(part.axes)
        return depth, which, u


def euler(angles: Array) -> Array:
    """Rotations [..., 3, 3] by `angles [..., 3]` about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.moveaxis(np.cos(angles), -1, 0), np.moveaxis(np.sin(angles), -1, 0)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def roots(shape: Array, offset: Array) -> tuple[Array, Array, Array]:
    """b, a and the discriminant [...] of a z^2 + 2 b z + c = 0: where rays at `offset [..., 2]` meet ellipsoids."""
    x, y = offset[..., 0], offset[..., 1]
    a = shape[..., 2, 2]
    b = shape[..., 0, 2] * x + shape[..., 1, 2] * y
    c = shape[..., 0, 0] * x * x + 2 * shape[..., 0, 1] * x * y + shape[..., 1, 1] * y * y - 1
    return b, a, b * b - a * c


def front(shape: Array, offset: Array) -> Array:
    """Depth [...] from their centres at which rays at `offset [..., 2]` meet ellipsoids; infinite where they miss."""
    b, a, discriminant = roots(shape, offset)
    return np.where(discriminant > 0, (-b - np.sqrt(np.maximum(discriminant, 0))) / a, np.inf)
